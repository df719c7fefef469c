"""Serial lines: frames as text, and MIDI.

::

    [serial]                        # a frame is a line of numbers from 0 to 1, "0.2500,1.0000", both ways
    port = "/dev/ttyACM0"           # `neurig ports` lists them
    baudrate = 115200

    [serialmidi]                    # MIDI, as on a DIN socket
    port = "/dev/ttyAMA0"
    baudrate = 31250
    input = [["note_on", 1]]        # see mapping.py
    output = [["note_on", 1]]

A device has one :class:`Line`, whoever reads and writes it. Where both tables name the same device, both speak over it,
at MIDI's rate; what comes in is told apart by MIDI's status bytes, which text does not have.
"""

import asyncio
import logging
import os
import termios
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import serial

from neurig.interaction import mapping
from neurig.interaction.complaints import Complaints
from neurig.interaction.loop import aside
from neurig.interaction.mapping import Mapping, Voices
from neurig.interaction.port import Update
from neurig.rig.nodes import hint

RETRY_AFTER = 0.5
"""Seconds between two attempts to open a device."""
BACKLOG = 0.05
"""Seconds of output that may be on its way; what is played beyond that waits, and the newest frame wins."""
LONGEST = 4096
"""Bytes of a line of text."""
UNSET = 0.5
"""Stands for what has never been set (NaN), since a line of text has all values."""
log = logging.getLogger("neurig")


@dataclass(frozen=True)
class SerialSettings:
    """:ivar values: of a frame, without the time step"""

    port: str
    baudrate: int
    values: int

    @classmethod
    def from_table(cls, table: dict[str, Any], dimension: int) -> "SerialSettings":
        """:raises ValueError: "key: what is wrong, and what it should be\""""
        _only(table, "port", "baudrate")
        return cls(_device(table), _rate(table, 115200), dimension - 1)


@dataclass(frozen=True)
class SerialMidiSettings:
    port: str
    baudrate: int
    input: Mapping
    output: Mapping

    @classmethod
    def from_table(cls, table: dict[str, Any], dimension: int) -> "SerialMidiSettings":
        """:raises ValueError: "key: what is wrong, and what it should be\""""
        _only(table, "port", "baudrate", "input", "output")
        return cls(_device(table), _rate(table, 31250), mapping.of(table, "input", dimension),
                   mapping.of(table, "output", dimension))


def _only(table: dict[str, Any], *keys: str) -> None:
    for key in table:
        if key not in keys:
            raise ValueError(f"{key}: there is no such setting{hint(key, keys)}: there are {', '.join(keys)}")


def _device(table: dict[str, Any]) -> str:
    port = table.get("port")
    if not isinstance(port, str) or not port:
        raise ValueError('port: has to be the name of a device, such as "/dev/ttyACM0"'
                         + (f", not {port!r}" if "port" in table else " (neurig ports lists them)"))
    return port


def _rate(table: dict[str, Any], default: int) -> int:
    rate = table.get("baudrate", default)
    if type(rate) is not int or not 50 <= rate <= 4_000_000:
        raise ValueError(f"baudrate: is a whole number from 50 to 4000000, such as {default}, not {rate!r}")
    return rate


class Speaker(Protocol):
    """Who reads and writes a line.

    :ivar midi: speaks MIDI; else text
    """

    midi: bool
    baudrate: int

    def hear(self, data: bytes) -> None:
        """Bytes have come in."""

    def opened(self) -> None:
        """The line is there: for the first time, or again."""

    def lost(self, reason: str) -> None:
        """The line is not there, or no longer; it is looked for."""

    def free(self) -> None:
        """The line, which was busy, takes more."""


class Line:
    """A serial device, and its one owner. It is opened, and opened again when it comes back."""

    _all: ClassVar[dict[tuple[asyncio.AbstractEventLoop, str], "Line"]] = {}

    @classmethod
    def join(cls, path: str, speaker: Speaker) -> "Line":
        """The line of a device, with one more who speaks over it."""
        key = asyncio.get_running_loop(), path
        if key not in cls._all:
            cls._all[key] = cls(path)
        line = cls._all[key]
        line._speakers.append(speaker)
        if line._serial:
            line._tune()
            speaker.opened()
        if line._task is None:
            line._task = asyncio.get_running_loop().create_task(line._hold())
        return line

    def __init__(self, path: str) -> None:
        self.path = path
        self._speakers: list[Speaker] = []
        self._serial: serial.Serial | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._out = bytearray()
        self._idle_at = 0.0  # when all that was written will have left, at the line's rate
        self._timer: asyncio.TimerHandle | None = None
        self._message = 0  # data bytes that a MIDI message still wants, where text and MIDI share the line

    async def leave(self, speaker: Speaker) -> None:
        """The last one to leave closes the device, when what was written has left; but does not wait for long."""
        if speaker not in self._speakers:
            return
        self._speakers.remove(speaker)
        if self._speakers:
            return
        self._all.pop((self._loop, self.path), None)
        end = self._loop.time() + 0.2
        while self._serial and end > self._loop.time() and (self._out or self._idle_at > self._loop.time()):
            await asyncio.sleep(0.005)
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def is_open(self) -> bool:
        return self._serial is not None

    @property
    def busy(self) -> bool:
        """Whether more would come too late."""
        return bool(self._out) or self._idle_at - self._loop.time() > BACKLOG

    def write(self, data: bytes) -> None:
        """Never waits. All of it is written, even where the line is busy; nothing where it is not there."""
        if self._serial is None or not data:
            return
        now = self._loop.time()
        self._idle_at = max(self._idle_at, now) + len(data) * 10 / self._rate  # with start and stop bit
        if not self._out:
            data = data[self._push(data):]
        if data and self._serial:
            if not self._out:
                self._loop.add_writer(self._serial.fd, self._writable)
            self._out += data
        if self.busy and self._timer is None:
            self._timer = self._loop.call_at(self._idle_at - BACKLOG, self._calm)

    def _push(self, data: bytes | bytearray) -> int:
        assert self._serial
        try:
            return os.write(self._serial.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self._gone.set()
            return 0

    def _writable(self) -> None:
        del self._out[:self._push(self._out)]
        if not self._out and self._serial:
            self._loop.remove_writer(self._serial.fd)
            self._calm()

    def _calm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._out:
            return  # goes on when the device takes bytes again
        if self.busy:
            self._timer = self._loop.call_at(self._idle_at - BACKLOG, self._calm)
            return
        for speaker in self._speakers:
            speaker.free()

    @property
    def _rate(self) -> int:
        """MIDI devices have but one rate."""
        return next((speaker.baudrate for speaker in self._speakers if speaker.midi), self._speakers[0].baudrate)

    def _tune(self) -> None:
        if self._serial and self._serial.baudrate != self._rate:
            try:
                self._serial.baudrate = self._rate
            except (serial.SerialException, OSError, termios.error):
                self._gone.set()

    # -- opening, reading

    async def _hold(self) -> None:
        try:
            while True:
                reason = await self._open()
                if not reason:
                    await self._gone.wait()
                    self._close()
                    reason = "has gone"
                for speaker in self._speakers:
                    speaker.lost(reason)
                await asyncio.sleep(RETRY_AFTER)
        finally:
            self._close()

    async def _open(self) -> str:
        """:returns: why it cannot be opened, or nothing"""
        rate = self._rate
        opening = asyncio.ensure_future(aside(lambda: serial.Serial(
            self.path, rate, timeout=0, write_timeout=0, exclusive=True)))
        try:
            self._serial = await asyncio.shield(opening)
        except asyncio.CancelledError:  # nobody wants it any more
            opening.add_done_callback(lambda done: done.cancelled() or done.exception() or done.result().close())
            raise
        except (serial.SerialException, OSError, termios.error, ValueError) as problem:
            return _reason(problem)
        self._gone.clear()
        self._idle_at, self._message = 0.0, 0
        self._tune()
        assert self._serial
        self._loop.add_reader(self._serial.fd, self._readable)
        for speaker in self._speakers:
            speaker.opened()
        return ""

    def _close(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._serial:
            self._loop.remove_reader(self._serial.fd)
            self._loop.remove_writer(self._serial.fd)
            device, self._serial = self._serial, None
            try:
                if self._out:  # closing would wait for a device that takes nothing
                    device.reset_output_buffer()
                device.close()
            except (serial.SerialException, OSError, termios.error):  # it has gone for good
                pass
            self._out.clear()

    def _readable(self) -> None:
        assert self._serial
        try:
            data = os.read(self._serial.fd, 65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._serial.fd)
            self._gone.set()
            return
        shared = len({speaker.midi for speaker in self._speakers}) == 2
        for midi, part in self._parts(data) if shared else [(None, data)]:
            for speaker in tuple(self._speakers):
                if midi in (None, speaker.midi):
                    speaker.hear(part)

    def _parts(self, data: bytes) -> Iterator[tuple[bool, bytes]]:
        """MIDI (True) and text, in order. Each message has its status byte, as running status would look like text."""
        start, kind = 0, False
        for index, byte in enumerate(data):
            midi = byte >= 0x80 or self._message != 0
            if 0x80 <= byte < 0xF8:
                self._message = data_bytes(byte) if byte != 0xF0 else -1  # system exclusive: until the next status
            elif byte < 0x80 and midi:
                self._message -= 1
            if midi != kind:
                yield kind, data[start:index]
                start, kind = index, midi
        yield kind, data[start:]


def _reason(problem: Exception) -> str:
    number = getattr(problem, "errno", None)
    if isinstance(problem, FileNotFoundError) or number == 2:
        return "is not there"
    if number == 13:
        return "may not be opened by you; on Linux the group dialout may: sudo usermod -aG dialout $USER"
    if number in (11, 16):
        return "is in use by another program"
    return f"does not open: {problem}"


class _Port(ABC):
    """What the two kinds of ports have in common."""

    name: str
    midi: bool

    def __init__(self, path: str, baudrate: int, receive: Callable[[Update], None], complain: Complaints) -> None:
        self.baudrate = baudrate
        self._path = path
        self._receive = receive
        self._complain = complain
        self._line: Line | None = None
        self._waiting: Sequence[float] | None = None
        self._there: bool | None = None

    async def open(self) -> None:
        """Begins to look for the device."""
        self._line = Line.join(self._path, self)

    async def close(self) -> None:
        line, self._line = self._line, None
        if line:
            self._waiting = None
            line.write(self._last_words())
            await line.leave(self)

    def _last_words(self) -> bytes:
        return b""

    @abstractmethod
    def _encode(self, values: Sequence[float]) -> bytes:
        """A frame as it is sent."""

    @abstractmethod
    def hear(self, data: bytes) -> None:
        """Bytes have come in."""

    def play(self, values: Sequence[float]) -> None:
        if self._line is None or not self._line.is_open:
            return
        if self._line.busy:
            if self._waiting is not None:
                self._complain("behind", f"{self._path} does not keep up at {self.baudrate} baud: frames are left out")
            self._waiting = tuple(values)
        else:
            self._line.write(self._encode(values))

    def free(self) -> None:
        values, self._waiting = self._waiting, None
        if values is not None:
            self.play(values)

    def opened(self) -> None:
        self._there = True
        log.info("%s: %s is open at %d baud", self.name, self._path, self.baudrate)

    def lost(self, reason: str) -> None:
        """Said once, not at each attempt."""
        if self._there is not False:
            self._complain("device", f"{self._path} {reason}; neurig goes on looking for it")
        self._there = False
        self._waiting = None


class SerialPort(_Port):
    """A :class:`~neurig.interaction.port.Port` for frames as lines of text."""

    name = "serial"
    midi = False

    def __init__(self, settings: SerialSettings, receive: Callable[[Update], None], complain: Complaints) -> None:
        super().__init__(settings.port, settings.baudrate, receive, complain)
        self._values = settings.values
        self._text = b""
        self._overlong = False

    def silence(self) -> None:
        """There are no notes; but what has not left yet is no longer wanted."""
        self._waiting = None

    def _encode(self, values: Sequence[float]) -> bytes:
        known = [value if value == value else UNSET for value in values]
        return (",".join(f"{value:.4f}" for value in known) + "\n").encode()

    def opened(self) -> None:
        super().opened()
        self._text, self._overlong = b"", False

    def hear(self, data: bytes) -> None:
        *lines, self._text = (self._text + data).replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            if self._overlong:  # the end of it
                self._overlong = False
            elif len(line) > LONGEST:
                self._complain_of_length()
            elif line.strip():
                self._hear_line(line)
        if len(self._text) > LONGEST:
            if not self._overlong:
                self._complain_of_length()
            self._text, self._overlong = b"", True

    def _complain_of_length(self) -> None:
        self._complain("overlong", f"a line is longer than {LONGEST} bytes: end each frame with a newline")

    def _hear_line(self, line: bytes) -> None:
        try:
            values = [float(cell) for cell in line.decode().split(",")]
        except UnicodeDecodeError:
            self._complain("not text", f"{_shown(line)} is not text: does the device send at {self.baudrate} baud?")
            return
        except ValueError:
            self._complain("not numbers", f"{_shown(line)} is not a line of numbers such as 0.25,1.0")
            return
        if len(values) != self._values:
            self._complain("wrong count",
                           f"{_shown(line)} has {len(values)} values, but there have to be {self._values}")
            return
        self._receive(list(enumerate(values)))


def _shown(line: bytes) -> str:
    return repr(line[:40].decode(errors="replace")) + ("…" if len(line) > 40 else "")


class SerialMidiPort(_Port):
    """A :class:`~neurig.interaction.port.Port` for MIDI over a serial line."""

    name = "serialmidi"
    midi = True

    def __init__(self, settings: SerialMidiSettings, receive: Callable[[Update], None], complain: Complaints) -> None:
        super().__init__(settings.port, settings.baudrate, receive, complain)
        self._mapping = settings.input
        self._voices = Voices(settings.output)
        self._owed: list[bytes] = []  # note-offs for when the line is back
        self._messages = MidiStream()

    def _encode(self, values: Sequence[float]) -> bytes:
        return b"".join(self._voices.play(values))

    def silence(self) -> None:
        self._waiting = None
        messages = self._voices.silence()
        if self._line and self._line.is_open:
            self._line.write(b"".join(messages))
        else:
            self._owed += messages

    def _last_words(self) -> bytes:
        return b"".join(self._voices.silence())

    def opened(self) -> None:
        super().opened()
        self._messages = MidiStream()
        owed, self._owed = self._owed, []
        if self._line:
            self._line.write(b"".join(owed))

    def lost(self, reason: str) -> None:
        super().lost(reason)
        self._owed += self._voices.silence()

    def hear(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            update = mapping.updates(message, self._mapping)
            if update:
                self._receive(update)
        if self._messages.stray:
            self._complain("stray bytes", "data bytes without a MIDI message: is the other end at "
                                          f"{self.baudrate} baud?")
            self._messages.stray = 0


def data_bytes(status: int) -> int:
    """How many data bytes follow a status byte; for system exclusive, whose end is a status byte, none."""
    if status < 0xF0:
        return 1 if status & 0xF0 in (0xC0, 0xD0) else 2
    return {0xF1: 1, 0xF2: 2, 0xF3: 1}.get(status, 0)


class MidiStream:
    """Messages out of a stream of bytes: with running status, clocks in between, and system exclusive passed over.

    :ivar stray: how many data bytes belonged to no message
    """

    def __init__(self) -> None:
        self.stray = 0
        self._message = bytearray()
        self._wanted = 0
        self._exclusive = False

    def feed(self, data: bytes) -> list[bytes]:
        """The channel messages that are complete now."""
        messages = []
        for byte in data:
            if byte >= 0xF8:  # clock and the like may stand anywhere
                continue
            if byte >= 0x80:
                self._exclusive = byte == 0xF0
                self._message = bytearray([byte])
                self._wanted = data_bytes(byte)
            elif self._exclusive:
                continue
            elif not self._wanted:
                self.stray += 1
            else:
                self._message.append(byte)
                if len(self._message) > self._wanted:
                    if self._message[0] < 0xF0:
                        messages.append(bytes(self._message))
                    else:
                        self._wanted = 0  # system messages have no running status
                    del self._message[1:]
        return messages
