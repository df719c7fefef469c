"""MIDI in and out, over ALSA, JACK or whatever the system has.

::

    [midi]
    in_device = ["X-TOUCH"]                     # parts of names; `neurig ports` lists them
    out_device = ["Volca", "S-1"]
    input."X-TOUCH" = [["control_change", 11, 1], ["control_change", 11, 2]]       # see mapping.py
    output."Volca" = [["note_on", 1], ["control_change", 1, 42]]
    output."S-1" = [["note_on", 3]]
    thru_matrix."X-TOUCH" = ["S-1"]             # what the player changes is heard there at once
    feedback_protection = true                  # drops what a device that also plays sends back
    feedback_threshold = 0.02                   # seconds
    api = "auto"                                # or alsa, jack, coremidi, windows
    virtual = false                             # true: ports of these names, for others to connect to

The devices are held by a process of their own (``midi_devices.py``), which says when they come and go.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import neurig
from neurig.interaction import mapping
from neurig.interaction.complaints import Complaints
from neurig.interaction.mapping import Mapping, Voices
from neurig.interaction.port import Update
from neurig.rig.nodes import hint

APIS = ("auto", "alsa", "jack", "coremidi", "windows")
_KEYS = ("in_device", "out_device", "input", "output", "thru_matrix", "feedback_protection", "feedback_threshold",
         "api", "virtual")
RESTART_AFTER = 0.5
"""Seconds until a process that has ended is started anew."""
HANGS_AFTER = 2.0
"""Seconds that the process may take to end: JACK is slow where the machine is busy, and suffers from clients that are
killed."""
UNNOTICED = 1.0
"""Seconds for which a device may have been gone before that is known."""
log = logging.getLogger("neurig")


@dataclass(frozen=True)
class Device:
    """:ivar name: a part of it, as in the config"""

    name: str
    mapping: Mapping


@dataclass(frozen=True)
class MidiSettings:
    """:ivar thru_matrix: names of inputs → of the outputs where what the player changes is heard at once
    :ivar feedback_threshold: seconds
    :ivar virtual: ports for others to connect to, instead of connections to devices
    """

    inputs: tuple[Device, ...] = ()
    outputs: tuple[Device, ...] = ()
    thru_matrix: tuple[tuple[str, tuple[str, ...]], ...] = ()
    feedback_protection: bool = False
    feedback_threshold: float = 0.02
    api: str = "auto"
    virtual: bool = False

    @classmethod
    def from_table(cls, table: dict[str, Any], dimension: int) -> "MidiSettings":
        """:raises ValueError: "key: what is wrong, and what it should be\""""
        table = dict(table)
        inputs = _devices(table, "in_device", "input", dimension)
        outputs = _devices(table, "out_device", "output", dimension)
        protection = table.pop("feedback_protection", False)
        threshold = table.pop("feedback_threshold", 0.02)
        api, virtual = table.pop("api", "auto"), table.pop("virtual", False)
        for key, value in (("feedback_protection", protection), ("virtual", virtual)):
            if not isinstance(value, bool):
                raise ValueError(f"{key}: has to be true or false, not {value!r}")
        if type(threshold) not in (int, float) or not 0 <= threshold <= 10:
            raise ValueError(f"feedback_threshold: goes from 0 to 10 (seconds), not {threshold!r}")
        if api not in APIS:
            raise ValueError(f"api: is one of {', '.join(APIS)}, not {api!r}")
        matrix = _thru_matrix(table.pop("thru_matrix", {}), inputs, outputs)
        for key in table:
            raise ValueError(f"{key}: there is no such setting{hint(key, _KEYS)}: there are {', '.join(_KEYS)}")
        return cls(inputs, outputs, matrix, protection, float(threshold), api, virtual)


def _names(key: str, value: Any) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f'{key}: has to be a list of names, such as ["X-TOUCH"], not {value!r}')
    return [name for name in dict.fromkeys(names) if name.strip()]  # forms that nobody filled in have empty names


def _devices(table: dict[str, Any], names_key: str, mapping_key: str, dimension: int) -> tuple[Device, ...]:
    names = _names(names_key, table.pop(names_key, []))
    mappings = table.pop(mapping_key, None)
    devices = []
    for name in names:
        where = f'{mapping_key}."{name}"'
        if mappings is None:
            devices.append(Device(name, mapping.default(dimension)))
            continue
        if isinstance(mappings, dict) and name not in mappings:
            others = ", ".join(f'"{other}"' for other in mappings) or "none"
            raise ValueError(f'{where}: is missing; {names_key} has "{name}", but there are mappings for: {others}')
        if not isinstance(mappings, dict):
            where = mapping_key
        try:
            devices.append(Device(name, mapping.parse(mappings[name] if isinstance(mappings, dict) else mappings,
                                                      dimension)))
        except ValueError as problem:
            raise ValueError(f"{where}: {problem}") from None
    return tuple(devices)


def _thru_matrix(table: Any, inputs: tuple[Device, ...], outputs: tuple[Device, ...]
                 ) -> tuple[tuple[str, tuple[str, ...]], ...]:
    if not isinstance(table, dict):
        raise ValueError('thru_matrix: write thru_matrix."an input" = ["an output"]')
    matrix = []
    for source, sinks in table.items():
        sinks = _names(f'thru_matrix."{source}"', sinks)
        for name, key, devices in ((source, "in_device", inputs), *((sink, "out_device", outputs) for sink in sinks)):
            if name not in [device.name for device in devices]:
                raise ValueError(f'thru_matrix."{source}": "{name}" is not in {key}')
        matrix.append((source, tuple(sinks)))
    return tuple(matrix)


def devices_process(*arguments: str) -> tuple[list[str], dict[str, str]]:
    """The command that starts ``midi_devices.py``, and its environment."""
    path = os.pathsep.join([str(Path(neurig.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    return ([sys.executable, "-P", "-m", "neurig.interaction.midi_devices", *arguments],
            os.environ | {"PYTHONPATH": path})


class _Output:
    """:ivar owed: note-offs for a device that has gone, sent when it is back
    :ivar ended: when, and the latest note-offs
    :ivar played: status and note → when it was played last
    """

    def __init__(self, device: Device) -> None:
        self.name = device.name
        self.voices = Voices(device.mapping)
        self.present = False
        self.owed: list[bytes] = []
        self.ended: deque[tuple[float, bytes]] = deque(maxlen=128)
        self.played: dict[bytes, float] = {}

    def lose(self) -> None:
        """The device has gone, and took with it the note-offs of the moment in which nobody knew."""
        self.present = False
        late = [message for sent, message in self.ended if time.monotonic() - sent < UNNOTICED]
        self.owed += [*late, *self.voices.silence()]


class MidiPort(asyncio.SubprocessProtocol):
    """A :class:`~neurig.interaction.port.Port` to MIDI devices."""

    name = "midi"

    def __init__(self, settings: MidiSettings, receive: Callable[[Update], None], complain: Complaints) -> None:
        self._settings = settings
        self._receive = receive
        self._complain = complain
        self._outputs = [_Output(device) for device in settings.outputs]
        names = [device.name for device in settings.outputs]
        matrix = dict(settings.thru_matrix)
        self._thru = [[self._outputs[names.index(sink)] for sink in matrix.get(device.name, ())]
                      for device in settings.inputs]
        self._twins = [next((output for output in self._outputs if output.name == device.name), None)
                       for device in settings.inputs]  # of an input: the output of the same device
        self._inputs_present = [False] * len(settings.inputs)
        self._unmapped: set[str] = set()
        self._process: asyncio.SubprocessTransport | None = None
        self._pipe: Any = None
        self._rest = b""
        self._full = False
        self._waiting: Sequence[float] | None = None
        self._restart: asyncio.Task[None] | None = None
        self._closed = False
        self._ended: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Begins to look for the devices."""
        loop, settings = asyncio.get_running_loop(), self._settings
        self._ended = loop.create_future()
        self._rest, self._full = b"", False
        command, environment = devices_process()
        self._process, _ = await loop.subprocess_exec(
            lambda: self, *command, env=environment, stderr=subprocess.DEVNULL,
            start_new_session=True)  # a Ctrl-C is for this process only
        self._pipe = self._process.get_pipe_transport(0)
        self._pipe.set_write_buffer_limits(high=4096)
        self._pipe.write(json.dumps({
            "api": settings.api, "virtual": settings.virtual,
            "in": [device.name for device in settings.inputs],
            "out": [device.name for device in settings.outputs]}).encode() + b"\n")

    def play(self, values: Sequence[float]) -> None:
        if self._full:  # the devices take nothing at the moment: the newest frame waits
            if self._waiting is not None:
                self._complain("behind", "a MIDI device does not keep up: frames are left out")
            self._waiting = tuple(values)
            return
        for output in self._outputs:
            if output.present:
                self._send(output, output.voices.play(values))

    def silence(self) -> None:
        self._waiting = None
        for output in self._outputs:
            messages = output.voices.silence()
            if output.present:
                self._send(output, messages)
            else:
                output.owed += messages

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.silence()
        if self._restart:
            self._restart.cancel()
        if self._pipe and self._process and self._ended:
            self._pipe.close()  # what is written already is still sent
            try:
                await asyncio.wait_for(asyncio.shield(self._ended), HANGS_AFTER)
            except TimeoutError:
                self._process.kill()
                await self._ended

    def _send(self, output: _Output, messages: list[bytes]) -> None:
        if not messages:
            return
        now = time.monotonic()
        for message in messages:
            kind = message[0] & 0xF0
            if kind == mapping.NOTE_ON:
                output.played[message[:2]] = now
            elif kind == mapping.NOTE_OFF:
                output.ended.append((now, message))
        number = self._outputs.index(output)
        self._pipe.write(b"".join(b"%d %b\n" % (number, message.hex().encode()) for message in messages))

    # -- what the process with the devices says

    def pipe_data_received(self, fd: int, data: Any) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            what, _, text = line.decode(errors="replace").partition(" ")
            if what == "=":
                number, arrived, message = text.split()
                self._heard(int(number), float(arrived), bytes.fromhex(message))
            elif what == "!":
                self._complain("system", f"{text}; neurig goes on looking")
            else:
                direction, number, *name = text.split(" ", 3)
                self._changed(direction, int(number), what == "+", " ".join(name))

    def _heard(self, number: int, arrived: float, message: bytes) -> None:
        if self._closed:
            return
        device = self._settings.inputs[number]
        if not message or message[0] < 0x80 or any(byte > 127 for byte in message[1:]) and message[0] < 0xF0:
            self._complain("broken message", f"{device.name} sent {message[:8].hex(' ')}, which is not MIDI")
            return
        if self._settings.feedback_protection and self._is_echo(number, arrived, message):
            return
        update = mapping.updates(message, device.mapping)
        if not update:
            self._mention(device, message)
            return
        self._receive(update)
        for output in self._thru[number]:
            if output.present:
                self._send(output, output.voices.change(update))

    def _is_echo(self, number: int, arrived: float, message: bytes) -> bool:
        twin = self._twins[number]
        return twin is not None and arrived - twin.played.get(message[:2], -1e9) < self._settings.feedback_threshold

    def _mention(self, device: Device, message: bytes) -> None:
        """Says once what is not in the mapping, for those who look for the right entry."""
        sounds = message[0] & 0xF0 == mapping.NOTE_ON and message[2:] > b"\0"
        if sounds or message[0] & 0xF0 in (mapping.CONTROL_CHANGE, mapping.PITCH_BEND):
            what = mapping.describe(message)
            if what not in self._unmapped:
                self._unmapped.add(what)
                log.info('midi: "%s" sends %s, which is not in its mapping', device.name, what)

    def _changed(self, direction: str, number: int, present: bool, name: str) -> None:
        """A device has come or gone. The first word about one that is not there says so, too."""
        if direction == "in":
            device, was = self._settings.inputs[number].name, self._inputs_present[number]
            self._inputs_present[number] = present
        else:
            output = self._outputs[number]
            device, was = output.name, output.present
            if present:
                output.present = True
                self._send(output, list(dict.fromkeys(output.owed)))
                output.owed = []
            else:
                output.lose()
        way = "input" if direction == "in" else "output"
        if present:
            log.info('midi: %s "%s" is %s', way, device, name)
        elif was:
            self._complain(f"lost {way} {device}", f'{way} "{device}" has gone; neurig waits for it')
            if direction == "in":
                self.silence()  # nobody is left to end what was played on it
        else:
            self._complain(f"missing {way} {device}", f'there is no {way} "{device}" yet; neurig goes on looking '
                                                "(neurig ports lists what there is)")

    # -- of asyncio

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not self._closed:
            self.play(waiting)

    def connection_lost(self, problem: Exception | None) -> None:
        """The process has ended: it was asked to, or its MIDI system has gone, or something ended it."""
        status = self._process.get_returncode() if self._process else 0
        self._process = self._pipe = None
        if self._ended and not self._ended.done():
            self._ended.set_result(None)
        if self._closed:
            return
        if status:
            self._complain("process", f"the process that holds the devices ended with status {status}; it is "
                                      "started anew (neurig ports may tell why)")
        self._full = False
        for number, output in enumerate(self._outputs):
            if output.present:
                self._changed("out", number, False, "")
        for number, present in enumerate(self._inputs_present):
            if present:
                self._changed("in", number, False, "")
        self._restart = asyncio.get_running_loop().create_task(self._again())

    async def _again(self) -> None:
        await asyncio.sleep(RESTART_AFTER)
        await self.open()
