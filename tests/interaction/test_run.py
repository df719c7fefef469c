"""``neurig run`` as a whole: it starts, plays, is steered, and ends."""

import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from neurig.session import MODES

from interaction.cable import Cable
from interaction.conftest import CONFIG
from interaction.instrument import Ear, Instrument, values_of

Start = Callable[..., Instrument]
Wait = Callable[..., Any]


class TestLife:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize("mode", ["callresponse", "battle"])
    def test_ends_at_once_and_well(self, instrument: Start, number: int, mode: str) -> None:
        player = instrument(CONFIG.replace("callresponse", mode))
        player.play(0.5, 0.5, 0.5)
        player.ear.hear()
        began = time.monotonic()
        player.process.send_signal(number)
        assert player.process.wait(5) == 0
        assert time.monotonic() - began < 0.3

    def test_a_port_that_is_taken_is_said(self, instrument: Start) -> None:
        first = instrument()
        other = instrument(CONFIG.replace("PORT", str(first.port)), ready=False)
        assert other.process.wait(10) == 1
        said = other.stop()
        assert re.search(rf"127.0.0.1:{first.port} cannot be listened to: .*server_port chooses", said)
        assert said.count("\n") == 0, said

    def test_the_command_port_may_be_taken(self, instrument: Start) -> None:
        first = instrument()
        second = instrument(CONFIG.replace("COMMANDS", str(first.command_port)))
        second.play(0.5, 0.5, 0.5)
        assert second.ear.hear()
        assert "command_port chooses another one" in second.stop()

    def test_an_address_of_another_machine_is_said(self, instrument: Start) -> None:
        player = instrument(CONFIG.replace('server_ip = "127.0.0.1"', 'server_ip = "192.0.2.1"'), ready=False)
        assert player.process.wait(10) == 1
        assert "server_ip has to be an address of this machine" in player.stop()

    def test_names_that_are_not_known_are_waited_for(self, instrument: Start, wait_until: Wait) -> None:
        player = instrument(CONFIG.replace('client_ip = "127.0.0.1"', 'client_ip = "no.such.host.invalid"'))
        player.play(0.5, 0.5, 0.5)
        wait_until(player.rows, "a row")
        player.wait_for("no.such.host.invalid is not known here")

    def test_init_makes_a_folder_that_runs(self, tmp_path: Path, free_port: Callable[[], int]) -> None:
        def init(*arguments: str) -> str:
            return subprocess.run([sys.executable, "-m", "neurig.cli", "init", *arguments], cwd=tmp_path,
                                  capture_output=True, text=True, check=True).stdout

        assert "neurig run" in init("here")
        folder = tmp_path / "here"
        assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "datasets", "logs", "models"]
        text = (folder / "config.toml").read_text()
        for number, word in (("6000", "PORT"), ("6001", "EAR"), ("4002", "COMMANDS"), ("4001", "MONITOR")):
            text = re.sub(rf"^(\w+ *= ){number}", rf"\1{word}", text, flags=re.MULTILINE)
        player = Instrument(folder, text, free_port=free_port)
        player.play(0.5, 0.5, 0.5)
        assert len(player.ear.hear()) == 4
        assert "warning" not in player.stop()
        (folder / "config.toml").write_text("# mine")
        assert "stays as it is" in init("here") and (folder / "config.toml").read_text() == "# mine"
        init("here", "--force")
        assert "[interaction]" in (folder / "config.toml").read_text()

    def test_init_leaves_no_half_model_on_a_full_disk(self, tmp_path: Path) -> None:
        def full() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))

        command = [sys.executable, "-B", "-m", "neurig.cli", "init", "my stage"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=full)
        assert done.returncode == 1 and "wander.mdrnn" in done.stderr and "Traceback" not in done.stderr
        assert not list((tmp_path / "my stage" / "models").iterdir())
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "cd 'my stage'; neurig run" in done.stdout

    def test_all_that_the_config_of_init_explains_is_right(self, tmp_path: Path) -> None:
        """Its remarks, with the # taken away, are settings."""
        from neurig.files import share
        from neurig.interaction.config import read

        first, several = re.split("# ---- Several predictors.*", share("examples", "predictor/config.toml").read_text())
        wanted = re.compile(r"^# ((?:\[|  \[|\]|\w+(?:\.\"[^\"]*\")? = )[^\n]*)$", re.MULTILINE)
        (tmp_path / "one.toml").write_text(wanted.sub(r"\1", first))
        (tmp_path / "more.toml").write_text(wanted.sub(r"\1", re.sub("^#   ", "# ", several, flags=re.MULTILINE)))
        one, more = read(tmp_path / "one.toml"), read(tmp_path / "more.toml")
        assert set(one.predictors[0].ports) == {"osc", "midi", "serial", "serialmidi", "websocket"}
        assert [predictor.name for predictor in more.predictors] == ["hand", "shadow"]
        assert more.predictors[0].maps[0].low == -12
        assert not [line for line in one.warnings + more.warnings if "no setting" in line]

    def test_without_config_and_model_it_says_what_to_do(self, tmp_path: Path) -> None:
        result = subprocess.run([sys.executable, "-m", "neurig.cli", "run"], cwd=tmp_path, capture_output=True,
                                text=True)
        assert result.returncode == 1
        assert "neurig init" in result.stderr


class TestPlaying:
    def test_the_command_knows_all_modes(self) -> None:
        from neurig.cli.predictors import run

        option = next(option for option in run.params if option.name == "mode")
        assert tuple(option.type.choices) == MODES

    @pytest.mark.parametrize("mode", MODES)
    def test_modes(self, instrument: Start, mode: str) -> None:
        player = instrument(CONFIG.replace('"callresponse"', f'"{mode}"'))
        if mode == "battle":
            assert len(player.ear.hear()) == 4
            return
        assert not player.ear.all(silence=0.3)
        player.play(0.25, 0.5, 0.75)
        answers = [] if mode == "useronly" else [player.ear.hear()]
        more = len(player.ear.all(silence=0.3)) if mode != "callresponse" else 0
        assert (len(answers), more) == (0 if mode == "useronly" else 1, 0)

    def test_the_player_takes_over(self, instrument: Start) -> None:
        player = instrument()
        player.play(0.5, 0.5, 0.5)
        assert player.ear.hear() and player.ear.hear()
        player.play(0.5, 0.5, 0.5)
        player.ear.all(silence=0.03)  # what was under way
        for _ in range(15):
            player.play(0.5, 0.5, 0.5)
            assert not player.ear.all(silence=0.02)
        assert player.ear.hear()  # and back

    def test_the_same_seed_plays_the_same(self, instrument: Start) -> None:
        def performance(*options: str) -> list[list[float]]:
            player = instrument(CONFIG.replace("callresponse", "battle").replace("[model]", "[model]\nseed = 3"))
            return values_of([player.ear.hear() for _ in range(8)])

        assert performance() == performance()

    def test_commands(self, instrument: Start) -> None:
        player = instrument(CONFIG.replace("callresponse", "battle"))
        player.ear.hear()
        player.command("pause", 1)
        player.ear.all(silence=0.1)
        assert not player.ear.all(silence=0.3)
        player.command("pause", 0.0)
        assert player.ear.hear()
        player.command("timescale", 100.0)  # so slow that it seems to rest
        player.ear.all(silence=0.2)
        player.command("timescale", 0.2)
        player.command("mode", "battle")
        began = time.monotonic()
        heard = [player.ear.hear() for _ in range(20)]
        assert time.monotonic() - began < 0.6, "5 times as fast: 100 frames per second"
        player.command("seed", 5)
        player.command("reset")
        player.command("sigmatemp", 0)
        player.command("pitemp", 0.001)
        player.command("threshold", 0.3)
        player.command("log_predictions", 1)
        player.command("input_thru", 1)
        assert player.ear.all(silence=0.0001) is not None and heard
        time.sleep(0.2)
        assert {row[1] for row in player.rows()} == {"rnn"}
        assert "takes" not in player.stop()

    def test_another_model_while_it_plays(self, instrument: Start, predictor_file: Callable[..., Path]) -> None:
        player = instrument(CONFIG.replace("callresponse", "battle"))
        player.ear.hear()
        fast = predictor_file("fast.mdrnn", dimension=4, tempo=200.0, seed=10)  # 4.6 to 6.9 ms a step
        player.command("model", str(predictor_file("three.mdrnn", dimension=3)))
        player.wait_for("three.mdrnn: has dimension 3, but 4 is needed here; the one before goes on")
        player.ear.hear()
        player.command("model", str(fast))
        player.wait_for("plays .*fast.mdrnn")
        player.command("sigmatemp", 0)  # time steps without chance
        player.ear.hear()
        player.ear.all(silence=0.0001)
        began = time.monotonic()
        for _ in range(40):
            player.ear.hear()
        assert time.monotonic() - began < 0.6, "the faster one plays"

    def test_without_a_model_it_waits_for_one(self, instrument: Start) -> None:
        player = instrument(CONFIG.replace('file = "small.mdrnn"', 'dimension = 4\nfile = "later.mdrnn"'))
        player.play(0.1, 0.2, 0.3)
        assert not player.ear.all(silence=0.3)
        assert [row[1] for row in player.rows()] == ["interface"]
        player.command("model", "small.mdrnn")
        player.wait_for("plays .*small.mdrnn")
        player.play(0.1, 0.2, 0.3)
        assert player.ear.hear()

    def test_logs(self, instrument: Start, wait_until: Wait) -> None:
        player = instrument(CONFIG.replace("callresponse", "polyphony"), "--log-predictions")
        player.play(0.25, 0.5, 0.75)
        heard = player.ear.hear()
        wait_until(lambda: len(player.rows()) == 2, "2 rows")
        (_, source, values), (_, answer, prediction) = player.rows()
        assert (source, values, answer) == ("interface", [0.25, 0.5, 0.75], "rnn")
        assert prediction == [pytest.approx(value, abs=1e-7) for value in heard[1:]]
        path, = (player.folder / "logs").glob("*")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-4d-mdrnn.log", path.name)
        player.command("log_input", 0)
        player.play(0.25, 0.5, 0.75)
        player.ear.hear()
        wait_until(lambda: [row[1] for row in player.rows()] == ["interface", "rnn", "rnn"], "the prediction alone")

    def test_the_monitor_hears_all(self, instrument: Start) -> None:
        player = instrument(CONFIG.replace("callresponse", "polyphony"))
        player.play(0.25, 0.5, 0.75)
        assert player.monitor.hear() == ("/monitor/in", 0.25, 0.5, 0.75)
        address, *values = player.monitor.hear()
        assert address == "/monitor/out" and values == list(player.ear.hear()[1:])


PAIR = """
[[predictor]]
name = "hand"
model = "small.mdrnn"
mode = "polyphony"
feeds = ["voice"]
  [predictor.osc]
  server_port = PORT
  client_port = EAR
  [[predictor.map]]
  index = 2
  address = "/rig/amp/gain"
  low = -12
  high = 12
  port = KNOB
[[predictor]]
name = "voice"
model = "small.mdrnn"
mode = "filter"
log_predictions = true
  [predictor.osc]
  server_port = SECOND
  client_port = VOICE
[webui]
monitor_port = MONITOR
command_port = COMMANDS
"""


class TestSeveral:
    def test_one_feeds_another_and_a_knob(self, instrument: Start, free_port: Callable[[], int],
                                          wait_until: Wait) -> None:
        knob, voice = Ear(), Ear()
        player = instrument(PAIR.replace("KNOB", str(knob.port)).replace("VOICE", str(voice.port))
                            .replace("SECOND", str(free_port())))
        player.play(0.25, 0.5, 0.75)
        first = player.ear.hear()
        address, value = knob.hear()
        assert address == "/rig/amp/gain" and value == pytest.approx(-12 + 24 * first[2], abs=1e-5)
        second = voice.hear()
        assert len(second) == 4
        wait_until(lambda: len(player.rows()) == 3, "rows of both")
        assert [row[1] for row in player.rows("*-hand-4d-mdrnn.log")] == ["interface"]
        fed, played = player.rows("*-voice-4d-mdrnn.log")
        assert (fed[1], played[1]) == ("hand", "rnn")
        assert fed[2] == [pytest.approx(value, abs=1e-7) for value in first[1:]]
        player.command("mode", "useronly")
        player.play(0.25, 0.5, 0.75)
        assert not voice.all(silence=0.3) and not player.ear.all(silence=0.01)
        player.command("voice/mode", "dance", port=player.command_port)
        player.wait_for("voice: mode takes one of")
        player.command("mode", "battle", port=player.command_port)
        assert player.ear.hear() and voice.hear()
        knob.close()
        voice.close()


NOTES = """
[interaction]
mode = "callresponse"
threshold = 0.1
[model]
file = "small.mdrnn"
[osc]
server_port = PORT
client_port = EAR
[serialmidi]
port = "CABLE"
input = [["note_on", 1], ["control_change", 1, 7], ["control_change", 1, 8]]
output = [["note_on", 1], ["note_on", 2], ["control_change", 1, 8]]
[webui]
monitor_port = MONITOR
command_port = COMMANDS
"""


class TestNotes:
    """What comes over MIDI changes a part of the frame; what is played over MIDI has to end."""

    @pytest.fixture
    def cable(self, tmp_path: Path) -> Iterator[Cable]:
        cable = Cable(tmp_path)
        yield cable
        cable.unplug()

    @pytest.mark.parametrize("end", ["takeover", "mode", "pause", "reset", "SIGTERM", "SIGINT"])
    def test_all_notes_end(self, instrument: Start, cable: Cable, wait_until: Wait, end: str) -> None:
        player = instrument(NOTES.replace("CABLE", str(cable.path)), "--timescale", "3")
        heard = bytearray()

        def sounding() -> set[tuple[int, int]]:
            heard.extend(cable.received())
            notes = set()
            for status, note, velocity in zip(heard[::3], heard[1::3], heard[2::3], strict=False):
                if status & 0xF0 == 0x90 and velocity:
                    notes.add((status & 0xF, note))
                elif status & 0xF0 in (0x80, 0x90):
                    notes.discard((status & 0xF, note))
            return notes

        player.wait_for("ttyTEST is open")
        player.play(0.5, 0.5, 0.5)
        wait_until(lambda: len(sounding()) == 2, "two notes", every=0.001)
        if end == "takeover":
            player.play(0.6, 0.6, 0.6)
        elif end.startswith("SIG"):
            player.process.send_signal(getattr(signal, end))
        else:
            player.command(end, *{"mode": ["useronly"], "pause": [1], "reset": []}[end])
        wait_until(lambda: not sounding(), "the notes to end", seconds=0.9 if end == "takeover" else 5, every=0.001)

    def test_the_players_notes_are_heard_on_request(self, instrument: Start, cable: Cable, wait_until: Wait) -> None:
        player = instrument(NOTES.replace("CABLE", str(cable.path)), "--input-thru", "--mode", "useronly")
        player.wait_for("ttyTEST is open")
        cable.send(bytes((0x90, 60, 100)))
        wait_until(lambda: cable.received().startswith(bytes((0x90, 60, 127))), "the note")
        assert values_of([player.ear.hear()]) == [[pytest.approx(60 / 127), 0.5, 0.5]]
        player.command("input_thru", 0)
        wait_until(lambda: cable.received() == bytes((0x80, 60, 0)), "its end")
        cable.send(bytes((0x90, 64, 100)))
        wait_until(lambda: len(player.rows()) == 2, "the second note")
        assert not cable.received() and not player.ear.all(silence=0.1)

    def test_what_was_never_set_is_not_the_players(self, instrument: Start, cable: Cable, wait_until: Wait) -> None:
        """The network is told the middle; nothing is sent to knobs that nobody has turned; and it is no training
        data."""
        player = instrument(NOTES.replace("CABLE", str(cable.path)), "--input-thru", "--mode", "useronly")
        player.wait_for("ttyTEST is open")
        cable.send(bytes((0xB0, 8, 127)))
        assert player.monitor.hear() == ("/monitor/in", 0.5, 0.5, 1.0)
        wait_until(lambda: cable.received() == bytes((0xB0, 8, 127)), "the knob alone")
        cable.send(bytes((0x90, 127, 1, 0xB0, 7, 0)))
        wait_until(lambda: len(player.rows()) == 3, "3 rows")
        assert [(row[1], row[2]) for row in player.rows()] == [
            ("partial", [None, None, 1]), ("partial", [1, None, 1]), ("interface", [1, 0, 1])]


class TestTerminal:
    def shown(self, instrument: Start, *options: str) -> str:
        """What a terminal shows while the player plays once."""
        outer, inner = pty.openpty()
        player = instrument(CONFIG, *options, stdout=inner, stderr=inner, ready=False,
                            env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"})
        os.close(inner)
        text = b""
        try:
            end = time.monotonic() + 10
            while b"network" not in text and b"log " not in text and time.monotonic() < end:
                text += os.read(outer, 65536)
            player.play(0.0, 0.5, 1.0)
            player.ear.hear()
            end = time.monotonic() + 0.5
            while time.monotonic() < end:
                if select.select([outer], [], [], 0.05)[0]:
                    text += os.read(outer, 65536)
            began = time.monotonic()
            player.process.send_signal(signal.SIGINT)
            assert player.process.wait(5) == 0
            assert time.monotonic() - began < 0.3
        finally:
            os.close(outer)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())

    def test_a_quiet_line(self, instrument: Start) -> None:
        text = self.shown(instrument)
        assert re.search(r"predictor callresponse  you ▁▅█ 1  network [▁-█]{3} [1-9]", text), text
        assert " in 0.000" not in text

    def test_frames_on_request(self, instrument: Start) -> None:
        text = self.shown(instrument, "-v")
        assert " in 0.000 0.500 1.000" in text and re.search(r"out [01]\.\d{3} [01]\.\d{3} [01]\.\d{3}", text), text

    def test_frames_without_a_terminal(self, instrument: Start) -> None:
        player = instrument(CONFIG, "-v")
        player.play(0.0, 0.5, 1.0)
        player.ear.hear()
        player.process.send_signal(signal.SIGINT)
        out, _ = player.process.communicate(timeout=5)
        assert out.decode().startswith(" in 0.000 0.500 1.000\nout ")
