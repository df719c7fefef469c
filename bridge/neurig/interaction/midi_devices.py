"""The process that holds the MIDI devices of one port, so that no driver can hold up who plays.

RtMidi waits inside its calls: a JACK client takes up to a tenth of a second to open, and one whose server hangs never
comes back. So it lives in a process of its own, which finds the devices, takes them up again when they return, passes
messages on, and ends the notes that sound when it loses its other end, even where that was killed. Where a call does
not come back, the process ends, and is started anew.

Over its standard input and output go lines, all about a device by its direction (``in``, ``out``) and its number::

    →  {"api": "auto", "virtual": false, "in": ["X-TOUCH"], "out": ["S-1", "Volca"]}     the first line
    →  0 903c64                                                   send this to output 0
    ←  + in 0 alsa X-TOUCH MINI:X-TOUCH MINI MIDI 1 24:0          is there
    ←  - out 1                                                    is not there (any more)
    ←  = 0 8123.456789 b00107                                     input 0, at this monotonic time
    ←  ! text                                                     something went wrong

Started with ``list`` as its argument, it writes what there is as one line of JSON and ends.
"""

import faulthandler
import json
import os
import re
import selectors
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import rtmidi

LOOK_EVERY = 0.25
"""Seconds between two looks for devices that have come or gone: shorter than a cable takes to be plugged in again."""
SETTLING = 0.1
"""Seconds after which something sent over a new connection of JACK's arrives: what is sent at once, does not. With a port
goes what was sent over it just before."""
LOSSES = 1.0
"""Seconds back from which a message may be lost where a machine was too busy for JACK: it drops what comes too late."""
MOST_WAITING = 1024
"""Messages that may wait to be passed on; the oldest are dropped."""
HANGS_AFTER = 8.0
"""Seconds after which a call to RtMidi is given up: more than the five that JACK itself waits for a client. One that is
killed while JACK waits makes it wait for the next one, too."""
CLIENT = "neurig"
APIS = {"alsa": rtmidi.API_LINUX_ALSA, "jack": rtmidi.API_UNIX_JACK, "coremidi": rtmidi.API_MACOSX_CORE,
        "windows": rtmidi.API_WINDOWS_MM}
_ORDER = ("coremidi", "windows", "alsa", "jack")  # where to look first


def watch() -> None:
    """Ends the process where it does not get here again in time. Does not need the interpreter's lock."""
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)


def available(api: str) -> bool:
    """Whether it is worth a try; RtMidi and the libraries below it would say so at length on standard error."""
    if APIS[api] not in rtmidi.get_compiled_api():
        return False
    if api == "alsa":
        return os.path.exists("/dev/snd/seq")
    if api == "jack":
        return _jack_runs()
    return True


def _jack_runs() -> bool:
    """A client is not told that its server has ended; the server's socket tells."""
    try:
        sockets = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True  # not Linux
    server = re.escape(os.environ.get("JACK_DEFAULT_SERVER", "default"))
    return re.search(rf"/jack_{server}(_\d+){{1,2}}$", sockets, re.MULTILINE) is not None


def find(wanted: str, names: list[str]) -> int | None:
    """Which port is meant: the one of that name, else the first that has it in its name, in whatever case.

    neurig's own ports are meant only where the name says so: else a port named after the device it is connected to
    would be taken for that device.
    """
    if wanted in names:
        return names.index(wanted)
    wanted = wanted.casefold()
    for index, name in enumerate(names):
        own = re.match(rf"{CLIENT}(-\d+)?:", name) is not None
        if wanted in name.casefold() and (not own or wanted.startswith(CLIENT)):
            return index
    return None


class Lines:
    """Standard output as a bounded queue: whoever writes never waits."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._lock = threading.Lock()
        os.set_blocking(fd, False)

    def write(self, line: str) -> None:
        with self._lock:
            self._waiting.append(line.encode(errors="replace")[:4000] + b"\n")  # a pipe takes so much whole, or nothing
            self._flush()

    def flush(self) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        try:
            while self._waiting:
                os.write(self.fd, self._waiting[0])
                self._waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:  # the other end is gone, which standard input is about to tell
            self._waiting.clear()


class Device:
    """One that is wanted: open, or looked for.

    :ivar api: where it was found; ``None`` while it is looked for
    """

    def __init__(self, direction: str, number: int, name: str, lines: Lines) -> None:
        self.name = name
        self.api: str | None = None
        self._full_name = ""
        self._virtual = False
        self._direction = direction
        self._number = number
        self._make = rtmidi.MidiIn if direction == "in" else rtmidi.MidiOut
        self._lines = lines
        self._port: Any = None
        self._sounding: set[tuple[int, int]] = set()  # status of the note-off, note
        self._ended: dict[tuple[int, int], float] = {}  # when

    def take(self, api: str, names: list[str]) -> None:
        """Opens it if it is among these."""
        index = find(self.name, names)
        if index is not None:
            def opening(port: Any) -> None:
                port.open_port(index, f"{self._direction} {self.name}"[:60])
                if port.get_ports()[index:index + 1] != [names[index]]:  # it is opened by its number, which has changed
                    port.delete()
                    raise OSError("other devices came or went meanwhile")

            self._open(api, names[index], opening)

    def offer(self, api: str) -> None:
        """Opens a port that others connect to."""
        self._virtual = True
        self._open(api, self.name, lambda port: port.open_virtual_port(self.name))

    def _open(self, api: str, full_name: str, opening: Any) -> None:
        watch()
        port = self._make(APIS[api], CLIENT)
        if self._make is rtmidi.MidiIn:
            port.set_callback(self._received)
        opening(port)
        if api == "jack" and self._make is rtmidi.MidiOut:
            time.sleep(SETTLING)
        self._port, self.api, self._full_name = port, api, full_name
        self._lines.write(f"+ {self._direction} {self._number} {api} {full_name}")

    def present(self, names: list[str]) -> bool:
        return self._virtual or self._full_name in names

    def _received(self, event: tuple[list[int], float], _: Any = None) -> None:
        """Called on a thread of the driver's."""
        self._lines.write(f"= {self._number} {time.monotonic():.6f} {bytes(event[0]).hex()}")

    def send(self, message: bytes) -> None:
        if self._port is None:
            return
        self._port.send_message(message)
        status, note = message[0] & 0xF0, message[1] if len(message) > 1 else 0
        end = 0x80 | message[0] & 0x0F, note
        if status == 0x90 and message[2] > 0:
            self._sounding.add(end)
        elif status in (0x80, 0x90):
            self._sounding.discard(end)
            self._ended[end] = time.monotonic()

    def lose(self) -> None:
        self.close()
        self._lines.write(f"- {self._direction} {self._number}")

    def mute(self) -> None:
        """No more messages come in. One that is on its way in is given time: it wants the interpreter's lock, which
        closing the port does not let go of."""
        if self._port is not None and self._make is rtmidi.MidiIn:
            self._port.cancel_callback()
            time.sleep(0.05)

    def close(self) -> None:
        """Ends its notes."""
        self.mute()
        self.silence()
        port, self._port, self.api = self._port, None, None
        if port is not None:
            port.delete()

    def silence(self) -> None:
        """Ends the notes that sound, and those again whose end may not have arrived."""
        now = time.monotonic()
        late = [end for end, sent in self._ended.items() if self.api == "jack" and now - sent < LOSSES]
        for status, note in dict.fromkeys([*self._sounding, *late]):
            self._port.send_message((status, note, 0))
        self._ended |= dict.fromkeys(self._sounding, now)
        self._sounding.clear()


class Devices:
    """All of one port, and the looks for them."""

    def __init__(self, settings: dict[str, Any], lines: Lines) -> None:
        self.outputs = [Device("out", number, name, lines) for number, name in enumerate(settings["out"])]
        self._inputs = [Device("in", number, name, lines) for number, name in enumerate(settings["in"])]
        self._virtual = settings["virtual"]
        self._apis = _ORDER if settings["api"] == "auto" else (settings["api"],)
        self._lines = lines
        self._scouts: dict[str, tuple[Any, Any]] = {}  # API → an input and an output that only look
        self._problems: set[str] = set()
        self._looked = False

    def look(self) -> None:
        """Takes up what has come, and lets go of what has gone.

        Where JACK has ended this process ends, too, to be started anew: JACK's library does not recover.
        """
        if "jack" in self._scouts and not _jack_runs():
            os._exit(0)
        apis = [api for api in self._apis if self._reach(api)]
        if not apis:
            self._problem("there is no MIDI here, neither ALSA's nor JACK's" if len(self._apis) > 1 else
                          f"{self._apis[0]} is not there")
        for api in apis:
            for devices, scout in zip((self._inputs, self.outputs), self._scouts[api], strict=True):
                names = scout.get_ports()
                for device in devices:
                    self._follow(device, api, names)
        if apis and not self._looked:
            self._looked = True
            for device in (*self._inputs, *self.outputs):
                if device.api is None:
                    device.lose()

    def _reach(self, api: str) -> bool:
        if api not in self._scouts and available(api):
            watch()
            try:
                self._scouts[api] = rtmidi.MidiIn(APIS[api], CLIENT), rtmidi.MidiOut(APIS[api], CLIENT)
            except (rtmidi.RtMidiError, OSError) as problem:
                self._problem(f"{api} does not let neurig in: {problem}")
        return api in self._scouts

    def _follow(self, device: Device, api: str, names: list[str]) -> None:
        if device.api == api and not device.present(names):
            device.lose()
        if device.api is None:
            try:
                if self._virtual:
                    device.offer(api)
                else:
                    device.take(api, names)
            except (rtmidi.RtMidiError, OSError) as problem:
                self._problem(f"{device.name} does not open: {problem}")

    def _problem(self, text: str) -> None:
        if text not in self._problems:
            self._problems.add(text)
            self._lines.write(f"! {text}")

    def close(self) -> None:
        jack = any(device.api == "jack" for device in self.outputs)
        for _ in range(5 if jack else 1):  # JACK may stand still for a while, and then loses what waited
            for device in self.outputs:
                device.silence()
            time.sleep(SETTLING if jack else 0)
        for device in (*self.outputs, *self._inputs):
            device.close()
        for scouts in self._scouts.values():
            for scout in scouts:
                scout.delete()


def serve() -> None:
    """Until standard input ends."""
    lines = Lines(1)
    commands = selectors.DefaultSelector()
    commands.register(0, selectors.EVENT_READ)
    rest = b""
    devices: Devices | None = None
    next_look = time.monotonic()
    watched = 0.0
    while True:
        if time.monotonic() > watched + 1:
            watched = time.monotonic()
            watch()
        if commands.select(max(next_look - time.monotonic(), 0.0) if devices else None):
            data = os.read(0, 65536)
            if not data:
                break
            *complete, rest = (rest + data).split(b"\n")
            for command in complete:
                if devices is None:
                    devices = Devices(json.loads(command), lines)
                else:
                    number, message = command.split()
                    devices.outputs[int(number)].send(bytes.fromhex(message.decode()))
        if devices and time.monotonic() >= next_look:
            devices.look()
            next_look = time.monotonic() + LOOK_EVERY
        lines.flush()
    if devices:
        devices.close()


def listing() -> dict[str, dict[str, list[str]]]:
    """The inputs and outputs of each API that there is."""
    found = {}
    for api in filter(available, _ORDER):
        try:
            source, sink = rtmidi.MidiIn(APIS[api], CLIENT), rtmidi.MidiOut(APIS[api], CLIENT)
        except (rtmidi.RtMidiError, OSError):
            continue
        found[api] = {"inputs": source.get_ports(), "outputs": sink.get_ports()}
        source.delete()  # JACK waits for seconds for a client that has gone without a word
        sink.delete()
    return found


def main() -> None:
    if sys.argv[1:] == ["list"]:
        print(json.dumps(listing()), flush=True)
    else:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the other end decides, and has notes to end first
        serve()
    os._exit(0)  # without the destructors of what a driver may still be using


if __name__ == "__main__":
    main()
