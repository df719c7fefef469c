"""Faults that systems of this kind have had at their ports, each shown to be absent; and a small instrument plays."""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from conftest import JackServer, _run_jack
from interaction.cable import Cable
from interaction.conftest import CONFIG
from interaction.instrument import Instrument
from interaction.midi_instrument import MidiInstrument

Start = Callable[..., Instrument]
Wait = Callable[..., Any]
MODES = ("useronly", "polyphony", "battle", "callresponse")

MIDI = CONFIG + """
[midi]
api = "jack"
in_device = ["Keyboard"]
out_device = ["Synth"]
input."Keyboard" = [["note_on", 1], ["control_change", 1, 7], ["pitch_bend", 1]]
output."Synth" = [["note_on", 3], ["note_on", 4], ["control_change", 3, 7]]
"""


@pytest.fixture(scope="module")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JackServer]:
    yield from _run_jack(tmp_path_factory.mktemp("jack"), 48000, 512)


@pytest.fixture
def plug(jack: JackServer) -> Iterator[Callable[[str], MidiInstrument]]:
    instruments: list[MidiInstrument] = []

    def start(name: str) -> MidiInstrument:
        instruments.append(MidiInstrument(jack.env, name))
        return instruments[-1]

    yield start
    for instrument in instruments:
        instrument.unplug()


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    cable = Cable(tmp_path)
    yield cable
    cable.unplug()


def frames(cable: Cable, seconds: float) -> list[list[float]]:
    """What a small device is sent."""
    data, end = bytearray(), time.monotonic() + seconds
    while time.monotonic() < end:
        data += cable.received()
        time.sleep(0.01)
    return [[float(cell) for cell in line.split(b",")] for line in data.splitlines()]


class TestInputCountsInEveryMode:
    """1: MIDI and serial input did nothing outside of callresponse."""

    def rows(self, player: Instrument) -> int:
        return len([row for row in player.rows() if row[1] == "interface"])

    def test_midi(self, instrument: Start, plug: Callable[[str], MidiInstrument], jack: JackServer,
                  wait_until: Wait) -> None:
        keyboard, synth = plug("Keyboard"), plug("Synth")
        player = instrument(MIDI.replace('["pitch_bend", 1]', '["note_velocity", 1]'), env=jack.env)
        player.play(0.5, 0.5, 0.5)  # so that all values are known
        wait_until(lambda: keyboard.send(0x90, 60, 100) and self.rows(player) > 1, "the first row", 30, every=0.2)
        for mode in MODES:
            player.command("mode", mode)
            time.sleep(0.1)
            before = self.rows(player)
            for number in range(40):
                keyboard.send(0xB0, 7, number)
                time.sleep(0.002)
            wait_until(lambda: self.rows(player) == before + 40, f"40 rows in {mode}")  # noqa: B023
        assert synth.messages

    def test_serial(self, instrument: Start, cable: Cable, wait_until: Wait) -> None:
        player = instrument(CONFIG + f'[serial]\nport = "{cable.path}"\n')
        wait_until(lambda: cable.send("0.5,0.5,0.5\n") or self.rows(player), "the first row", 30, every=0.2)
        for mode in MODES:
            player.command("mode", mode)
            time.sleep(0.1)
            before = self.rows(player)
            for number in range(50):
                cable.send(f"{number / 50},0.5,0.5\n")
                cable.received()
                time.sleep(0.002)
            wait_until(lambda: self.rows(player) == before + 50, f"50 rows in {mode}")  # noqa: B023

    def test_serial_midi_and_websocket(self, instrument: Start, cable: Cable, wait_until: Wait,
                                       free_port: Callable[[], int]) -> None:
        number = free_port()
        player = instrument(CONFIG + f'[serialmidi]\nport = "{cable.path}"\n[websocket]\nserver_port = {number}\n')
        player.play(0.5, 0.5, 0.5)  # so that all values are known
        wait_until(lambda: cable.send(bytes([0xB0, 1, 64])) or self.rows(player) > 1, "the first row", 30, every=0.2)
        with connect(f"ws://127.0.0.1:{number}/", close_timeout=0.2) as page:
            for mode in MODES:
                player.command("mode", mode)
                time.sleep(0.1)
                before = self.rows(player)
                for value in range(20):
                    cable.send(bytes([0xB0, 2, value]))
                    page.send(f"/channel/1/cc/3/{value}")
                    cable.received()
                    time.sleep(0.004)
                wait_until(lambda: self.rows(player) == before + 40, f"40 rows in {mode}")  # noqa: B023


class TestNotesEnd:
    """6: notes hung when the player took over, and after the end."""

    @pytest.fixture
    def synth(self, plug: Callable[[str], MidiInstrument]) -> Iterator[MidiInstrument]:
        plug("Keyboard")
        synth = plug("Synth")
        yield synth
        print(*(f"{when:.3f} {message.hex()}" for when, message in synth.received))  # beside a failure

    def playing(self, instrument: Start, synth: MidiInstrument, jack: JackServer, wait_until: Wait) -> Instrument:
        player = instrument(MIDI, env=jack.env)
        player.play(0.1, 0.2, 0.3)
        wait_until(lambda: len(synth.sounding) == 2, "notes of the network's", seconds=20)
        return player

    def test_where_the_player_takes_over(self, instrument: Start, synth: MidiInstrument, jack: JackServer,
                                         wait_until: Wait) -> None:
        player = self.playing(instrument, synth, jack, wait_until)
        player.command("threshold", 5.0)
        wait_until(lambda: player.play(0.5, 0.5, 0.5) or not synth.sounding, "silence", every=0.1)

    @pytest.mark.parametrize("command", [("mode", "useronly"), ("pause", 1), ("reset",)])
    def test_at_a_command(self, instrument: Start, synth: MidiInstrument, jack: JackServer, wait_until: Wait,
                          command: tuple[Any, ...]) -> None:
        player = self.playing(instrument, synth, jack, wait_until)
        player.command(*command)
        wait_until(lambda: not synth.sounding, "silence")

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_at_the_end(self, instrument: Start, synth: MidiInstrument, jack: JackServer, wait_until: Wait,
                        number: int) -> None:
        player = self.playing(instrument, synth, jack, wait_until)
        player.stop(number)
        wait_until(lambda: not synth.sounding, "silence")

    def test_over_a_serial_line(self, instrument: Start, cable: Cable, wait_until: Wait) -> None:
        player = instrument(CONFIG + f'[serialmidi]\nport = "{cable.path}"\n'
                                     'output = [["note_on", 1], ["note_on", 2]]\n')
        said = bytearray()

        def sounding() -> set[tuple[int, int]]:
            said.extend(cable.received())
            notes: set[tuple[int, int]] = set()
            for status, note, _ in zip(*[iter(said)] * 3, strict=False):
                (notes.add if status & 0x10 else notes.discard)((status & 0xF, note))
            return notes

        wait_until(lambda: player.play(0.1, 0.2, 0.3) or time.sleep(0.2) or len(sounding()) == 2, "notes")
        player.stop(signal.SIGTERM)
        assert not sounding()


def openings(player: Instrument, cable: Cable) -> int:
    """How many times the player has the device open."""
    terminal = os.readlink(cable.path)
    return [os.readlink(link) for link in Path(f"/proc/{player.process.pid}/fd").iterdir()].count(terminal)


class TestSerialOwner:
    def test_the_port_stays_open(self, instrument: Start, cable: Cable, wait_until: Wait) -> None:
        """12: it was opened anew for each output."""
        player = instrument(CONFIG.replace("callresponse", "battle") + f'[serial]\nport = "{cable.path}"\n')
        wait_until(lambda: cable.received(), "output")
        cable.mark()
        assert len(frames(cable, 1.0)) > 5
        assert cable.is_marked() and openings(player, cable) == 1

    def test_it_has_one_owner(self, instrument: Start, cable: Cable, wait_until: Wait) -> None:
        """14: serial and serialmidi fought over one port. Both speak over it, and hear what is theirs."""
        player = instrument(CONFIG + f"""
[serial]
port = "{cable.path}"
[serialmidi]
port = "{cable.path}"
input = [["note_on", 1]]
output = [["note_on", 1]]
""")
        wait_until(lambda: openings(player, cable) == 1, "the port")
        for number in range(40):
            cable.send(f"{number / 100},0.5,0.5\n".encode() + bytes([0x90, number + 60, 100]))
            time.sleep(0.005)
        wait_until(lambda: len([row for row in player.rows() if row[1] == "interface"]) == 80, "all of both")
        heard = [row[2][0] for row in player.rows() if row[1] == "interface"]
        assert heard[0::2] == [number / 100 for number in range(40)]
        assert heard[1::2] == pytest.approx([(number + 60) / 127 for number in range(40)])
        said = bytearray()
        wait_until(lambda: said.extend(cable.received()) or said.count(b"\n") > 3, "the answer")
        text = re.findall(rb"0\.\d{4},0\.\d{4},0\.\d{4}\n", said)
        assert len(text) == said.count(b"\n") and said.count(b"\x90") >= len(text) - 1
        assert openings(player, cable) == 1


class TestMicrobit:
    """A small instrument that sends lines of text over USB, as the example for the micro:bit does."""

    @pytest.mark.parametrize("name", ["serial-example.toml"])
    def test_plays(self, data: Path, instrument: Start, cable: Cable, wait_until: Wait, name: str) -> None:
        config = (data / "impsy" / "configs" / name).read_text().replace("/dev/tty.usbmodem1102", str(cable.path))
        config = config.replace("models/musicMDRNN-dim4-layers2-units64-mixtures5-scale10.tflite", "small.mdrnn")
        config += "\n[webui]\nmonitor_port = MONITOR\ncommand_port = COMMANDS\n"
        player = instrument(config)
        wait_until(lambda: cable.send("0.5000,0.5000,0.5000\r\n") or player.rows(), "the first row", every=0.2)
        cable.send("0.1000,0.9")
        cable.send("000,0.3333\r\n")
        wait_until(lambda: [0.1, 0.9, 0.3333] in [row[2] for row in player.rows()], "the next row")
        answer = frames(cable, 1.5)
        assert len(answer) > 3 and all(len(frame) == 3 and all(0 <= x <= 1 for x in frame) for frame in answer)
        cable.unplug()
        player.wait_for("has gone")
        time.sleep(0.2)
        cable.plug()
        wait_until(lambda: cable.received(), "the network, which has gone on")
        cable.send("oops\r\n0.2,0.2\r\n\xff\xfe\r\n0.7,0.7,0.7\r\n".encode("latin-1"))
        wait_until(lambda: [0.7, 0.7, 0.7] in [row[2] for row in player.rows()], "a row after broken lines")
        said = player.stop()
        for words in ("is not a line of numbers", "has 2 values, but there have to be 3", "is not text"):
            assert words in said
