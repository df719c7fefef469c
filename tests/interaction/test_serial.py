"""Serial ports, at pseudo-terminals."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from neurig.interaction import loop
from neurig.interaction.complaints import Complaints
from neurig.interaction.port import Update
from neurig.interaction.serial import (
    Line,
    MidiStream,
    SerialMidiPort,
    SerialMidiSettings,
    SerialPort,
    SerialSettings,
)

from interaction.cable import Cable, until


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    cable = Cable(tmp_path)
    yield cable
    cable.unplug()


class Heard(list[list[tuple[int, float]]]):
    """What a port receives, and when."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, update: Update) -> None:
        self.times.append(time.perf_counter())
        self.append(list(update))


def with_text(cable: Cable, act: Callable[[SerialPort, Heard, Complaints], Coroutine[Any, Any, None]],
              dimension: int = 4, **table: Any) -> None:
    settings = SerialSettings.from_table({"port": str(cable.path)} | table, dimension)
    _with_port(SerialPort, settings, act)


def with_midi(cable: Cable, act: Callable[[SerialMidiPort, Heard, Complaints], Coroutine[Any, Any, None]],
              **table: Any) -> None:
    settings = {"port": str(cable.path), "input": [["note_on", 1], ["control_change", 1, 7]],
                "output": [["note_on", 1], ["control_change", 1, 7]]} | table
    _with_port(SerialMidiPort, SerialMidiSettings.from_table(settings, 3), act)


def _with_port(kind: type, settings: Any, act: Callable[[Any, Heard, Complaints], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        heard, complain = Heard(), Complaints(kind.name)
        port = kind(settings, heard, complain)
        await port.open()
        try:
            await act(port, heard, complain)
        finally:
            await port.close()
        assert not Line._all

    loop.run(main())


def is_open(port: SerialPort | SerialMidiPort) -> bool:
    return port._line is not None and port._line.is_open


class TestText:
    def test_frames_come_in_and_go_out(self, cable: Cable) -> None:
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            cable.send("0.25,0.5,1.0\r\n0,1,0.125\n\n 0.1 , 0.2,0.3\n")
            await until(lambda: len(heard) == 3, "3 frames")
            assert heard[0] == [(0, 0.25), (1, 0.5), (2, 1.0)]
            assert heard[2] == [(0, 0.1), (1, 0.2), (2, 0.3)]
            port.play([0.25, 1.0, 1 / 3])
            port.play([0.0, float("nan"), 0.99999])
            said = bytearray()
            await until(lambda: said.extend(cable.received()) or said.count(b"\n") == 2, "2 lines")
            assert said == b"0.2500,1.0000,0.3333\n0.0000,0.5000,1.0000\n"
            assert not complain.counts

        with_text(cable, act)

    def test_pieces_of_lines(self, cable: Cable) -> None:
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            for byte in b"0.25,0.5,1.0\n":
                cable.send(bytes([byte]))
                await asyncio.sleep(0.001)
            await until(lambda: heard, "the frame")
            assert heard == [[(0, 0.25), (1, 0.5), (2, 1.0)]]

        with_text(cable, act)

    @pytest.mark.parametrize(("line", "kind"), [
        (b"0.1,0.2\n", "wrong count"), (b"0.1,0.2,0.3,0.4\n", "wrong count"), (b"1\n", "wrong count"),
        (b"hello\n", "not numbers"), (b"0.1,,0.3\n", "not numbers"), (b"0.1;0.2;0.3\n", "not numbers"),
        (b"\xff\xfe\x80,1,2\n", "not text"), (b"x" * 5000 + b"\n", "overlong"), (b"1," * 2500 + b"\n", "overlong"),
        (b"\0\0\0\n", "not numbers"), (b"MicroPython v1.9.2 on 2018\n>>> \n", "not numbers"),
    ])
    def test_broken_lines_are_dropped_and_said(self, cable: Cable, line: bytes, kind: str) -> None:
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            cable.send(line)
            cable.send(b"0.25,0.5,1.0\n")
            await until(lambda: heard, "the good frame after it")
            assert heard == [[(0, 0.25), (1, 0.5), (2, 1.0)]]
            assert complain.counts[kind] >= 1 and set(complain.counts) == {kind}

        with_text(cable, act)

    def test_thousands_a_second_come_in_order(self, cable: Cable) -> None:
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            for start in range(0, 4000, 40):
                cable.send("".join(f"{number / 4000:.6f},0.5,0.5\n" for number in range(start, start + 40)))
                await asyncio.sleep(0.002)
            await until(lambda: len(heard) == 4000, "4000 frames")
            assert [frame[0][1] for frame in heard] == pytest.approx([number / 4000 for number in range(4000)], abs=1e-6)

        with_text(cable, act)

    def test_input_takes_well_under_a_millisecond(self, cable: Cable) -> None:
        delays = []

        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            for number in range(200):
                await asyncio.sleep(0.002)
                sent = time.perf_counter()
                cable.send("0.25,0.5,1.0\n")
                while len(heard) <= number:
                    await asyncio.sleep(0)
                delays.append(heard.times[-1] - sent)

        with_text(cable, act)
        assert sorted(delays)[len(delays) // 2] < 0.001

    def test_a_pulled_cable_is_taken_up_again(self, cable: Cable) -> None:
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            for number in range(1, 4):
                await until(lambda: is_open(port), "the port")
                cable.send("0.1,0.2,0")  # the rest of this line never comes
                cable.unplug()
                await until(lambda: not is_open(port), "the loss")
                port.play([0.1, 0.2, 0.3])  # into nothing
                cable.plug()
                await until(lambda: is_open(port), "the port again")
                cable.send("0.5,0.5,0.5\n")
                await until(lambda: len(heard) == number, "a frame")  # noqa: B023
                assert heard[-1] == [(0, 0.5), (1, 0.5), (2, 0.5)]
                port.play([0.25, 0.25, 0.25])
                said = bytearray()
                await until(lambda: said.extend(cable.received()) or b"\n" in said, "a line")  # noqa: B023
                assert said == b"0.2500,0.2500,0.2500\n"
            assert set(complain.counts) == {"device"}

        with_text(cable, act)

    def test_a_missing_device_is_said_once_and_waited_for(self, tmp_path: Path) -> None:
        cable = Cable(tmp_path, plugged=False)

        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            port.play([0.1, 0.2, 0.3])
            await asyncio.sleep(1.3)  # several attempts
            assert complain.counts == {"device": 1}
            cable.plug()
            await until(lambda: is_open(port), "the port")
            cable.send("0.5,0.5,0.5\n")
            await until(lambda: heard, "a frame")

        with_text(cable, act)
        cable.unplug()

    def test_who_reads_nothing_holds_nobody_up(self, cable: Cable) -> None:
        """And hears the newest frame when it reads again."""
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            longest = 0.0
            for number in range(20000):
                began = time.perf_counter()
                port.play([number / 20000, 0.5, 0.5])
                longest = max(longest, time.perf_counter() - began)
                if number % 100 == 0:
                    await asyncio.sleep(0)
            assert longest < 0.1
            assert complain.counts["behind"] > 0
            said = bytearray()
            await until(lambda: said.extend(cable.received()) or said.endswith(b"1.0000,0.5000,0.5000\n"), "the newest")
            frames = [float(line.split(b",")[0]) for line in said.splitlines()]
            assert frames == sorted(frames) and len(frames) < 20000

        with_text(cable, act)

    def test_a_device_that_another_program_has_is_waited_for(self, cable: Cable) -> None:
        async def act(port: SerialPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            second = Complaints("second")
            other = SerialPort(SerialSettings.from_table({"port": str(cable.path.resolve())}, 4), heard, second)
            await other.open()
            await until(lambda: second.counts["device"], "a complaint")
            assert not is_open(other)
            await port.close()
            await until(lambda: is_open(other), "the port")
            await other.close()

        with_text(cable, act)


class TestMidi:
    def test_messages_come_in_and_go_out(self, cable: Cable) -> None:
        async def act(port: SerialMidiPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            cable.send(bytes([0x90, 60, 100, 0xF8, 0xB0, 0xFE, 7, 127, 7, 0]))  # clocks, running status
            await until(lambda: len(heard) == 3, "3 messages")
            assert heard == [[(0, 60 / 127)], [(1, 1.0)], [(1, 0.0)]]
            port.play([60 / 127, 0.5])
            port.play([62 / 127, 0.5])
            said = bytearray()
            await until(lambda: said.extend(cable.received()) or len(said) >= 12, "12 bytes")
            assert said == bytes([0x90, 60, 127, 0xB0, 7, 64, 0x80, 60, 0, 0x90, 62, 127])
            assert not complain.counts

        with_midi(cable, act)
        assert cable.received() == bytes([0x80, 62, 0])  # closing ends the note

    def test_silence_ends_what_sounds(self, cable: Cable) -> None:
        async def act(port: SerialMidiPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            port.play([60 / 127, 0.5])
            port.silence()
            port.silence()
            said = bytearray()
            await until(lambda: said.extend(cable.received()) or len(said) >= 9, "9 bytes")
            assert said[-3:] == bytes([0x80, 60, 0])

        with_midi(cable, act)
        assert cable.received() == b""

    def test_notes_end_when_the_cable_is_back(self, cable: Cable) -> None:
        async def act(port: SerialMidiPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            port.play([60 / 127, 0.5])
            cable.unplug()
            await until(lambda: not is_open(port), "the loss")
            port.silence()
            cable.plug()
            said = bytearray()
            await until(lambda: said.extend(cable.received()) or said, "the note-off")
            assert said == bytes([0x80, 60, 0])

        with_midi(cable, act)

    def test_the_newest_frame_wins_on_a_slow_line(self, cable: Cable) -> None:
        """31250 baud are some thousand messages a second; no note hangs, and the sound is not seconds late."""
        notes = [["note_on", channel] for channel in (1, 2)]

        async def act(port: SerialMidiPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            began = time.monotonic()
            for number in range(128):
                port.play([number / 127, 1 - number / 127])
                await asyncio.sleep(0.001)
            said = bytearray()
            await until(lambda: said.extend(cable.received()) or said.endswith(bytes([0x91, 0, 127])), "the newest")
            took = time.monotonic() - began
            assert len(said) * 10 / 31250 < took + 0.06  # no more than the line can carry, but for the allowed backlog
            port.silence()
            await until(lambda: said.extend(cable.received()) or said.endswith(bytes([0x81, 0, 0])), "the end")
            sounding: set[tuple[int, int]] = set()
            for status, note, _ in zip(*[iter(said)] * 3, strict=True):
                (sounding.add if status & 0x10 else sounding.remove)((status & 0xF, note))
            assert not sounding and complain.counts["behind"]

        with_midi(cable, act, output=notes)

    def test_noise_is_said(self, cable: Cable) -> None:
        async def act(port: SerialMidiPort, heard: Heard, complain: Complaints) -> None:
            await until(lambda: is_open(port), "the port")
            cable.send(bytes(range(100)) + bytes([0x90, 60, 100]))
            await until(lambda: heard, "a message")
            assert heard == [[(0, 60 / 127)]] and complain.counts == {"stray bytes": 1}

        with_midi(cable, act)


class TestStream:
    @pytest.mark.parametrize(("data", "messages"), [
        ([0x90, 60, 100], [[0x90, 60, 100]]),
        ([0x90, 60, 100, 61, 101], [[0x90, 60, 100], [0x90, 61, 101]]),
        ([0x90, 60, 0xF8, 100], [[0x90, 60, 100]]),
        ([0x90, 60, 0xB0, 7, 1], [[0xB0, 7, 1]]),
        ([0xF0, 1, 2, 3, 0xF7, 0x90, 60, 100], [[0x90, 60, 100]]),
        ([0xF0, 1, 2, 0x90, 60, 100], [[0x90, 60, 100]]),
        ([0xC0, 5, 6, 0xD0, 1], [[0xC0, 5], [0xC0, 6], [0xD0, 1]]),
        ([0x90, 60, 100, 0xF2, 1, 2, 3, 4], [[0x90, 60, 100]]),
        ([0xF6, 0xE0, 0, 64], [[0xE0, 0, 64]]),
    ])
    def test_messages(self, data: list[int], messages: list[list[int]]) -> None:
        whole, piecewise = MidiStream(), MidiStream()
        expected = [bytes(message) for message in messages]
        assert whole.feed(bytes(data)) == expected
        assert [message for byte in data for message in piecewise.feed(bytes([byte]))] == expected


def test_text_and_midi_share_a_line(cable: Cable) -> None:
    """One owner; each hears its own."""
    async def main() -> None:
        text, notes = Heard(), Heard()
        complain = Complaints("serial")
        path = str(cable.path)
        one = SerialPort(SerialSettings.from_table({"port": path}, 3), text, complain)
        midi = SerialMidiSettings.from_table({"port": path, "input": [["note_on", 1]]}, 3)
        two = SerialMidiPort(midi, notes, complain)
        await one.open()
        await two.open()
        await until(lambda: is_open(one), "the line")
        assert one._line is two._line and one._line is not None
        assert one._line._serial is not None and one._line._serial.baudrate == 31250
        cable.send(b"0.25,0\x90\x3c\x64.5\n\xf00.1,0.2\n\xf71,1\n")  # a note within a line, text within exclusive
        await until(lambda: len(text) == 2 and notes, "all of it")
        assert text == [[(0, 0.25), (1, 0.5)], [(0, 1.0), (1, 1.0)]] and notes == [[(0, 60 / 127)]]
        one.play([0.5, 1.0])
        two.play([0.5, 1.0])
        said = bytearray()
        await until(lambda: said.extend(cable.received()) or len(said) >= 20, "both")
        assert said == b"0.5000,1.0000\n" + bytes([0xB0, 1, 64, 0xB0, 2, 127])
        await two.close()
        cable.send("0.5,0.5\n")
        await until(lambda: len(text) == 3, "a frame over the line that one still has")
        await one.close()
        assert not complain.counts and not Line._all

    loop.run(main())


@pytest.mark.parametrize(("kind", "table", "reason"), [
    (SerialSettings, {}, "port: has to be the name of a device"),
    (SerialSettings, {"port": 3}, "port: has to be the name of a device"),
    (SerialSettings, {"port": "x", "baudrate": "fast"}, "baudrate: is a whole number"),
    (SerialSettings, {"port": "x", "baudrate": 0}, "baudrate: is a whole number"),
    (SerialSettings, {"port": "x", "baud": 9600}, "baud: there is no such setting (did you mean baudrate?)"),
    (SerialMidiSettings, {"port": "x", "input": [["note", 1]]}, "input: entry 1"),
    (SerialMidiSettings, {"port": "x", "output": [["note_on", 1]] * 9}, "output: 9 entries"),
])
def test_wrong_settings_are_refused_with_the_reason(kind: Any, table: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError) as problem:
        kind.from_table(table, 4)
    assert str(problem.value).startswith(reason)
