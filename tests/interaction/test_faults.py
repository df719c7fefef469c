"""Faults that systems of this kind have had, each shown to be absent: those of OSC, config, queue, log and start."""

import math
import re
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import neurig
import pytest
from neurig.interaction.complaints import Complaints
from neurig.interaction.log import EventLog
from neurig.osc import encode

from interaction.conftest import CONFIG
from interaction.instrument import Instrument, read_log, values_of

Start = Callable[..., Instrument]
Wait = Callable[..., Any]


def test_input_counts_in_every_mode(instrument: Start, wait_until: Wait) -> None:
    """1: input did nothing outside of callresponse."""
    player = instrument(CONFIG.replace("callresponse", "useronly"))
    for mode in ("useronly", "polyphony", "battle", "callresponse", "filter"):
        player.command("mode", mode)
        wanted = len(player.rows()) + 40
        for step in range(40):
            player.play(step / 40, 0.5, 0.5)
        wait_until(lambda wanted=wanted: len(player.rows()) == wanted, f"40 rows in {mode}")


BAD = [
    encode("/interface", [0.1, 0.2]), encode("/interface", [0.1] * 4), encode("/interface", []),
    encode("/interface", ["a", "b", "c"]), encode("/interface", [math.nan, 0.5, 0.5]),
    encode("/interface", [math.inf, 0.5, 0.5]), encode("/interface", [1.5, 0.5, 0.5]),
    encode("/interface", [-0.5, 0.5, 0.5]), b"", b"\0", b"/interface", b"/interface\0\0,fff\0\0\0\0\0\0",
    b"#bundle\0", b"#bundle\0\0\0\0\0\0\0\0\1\0\0\0\x99abc", b"\xff" * 2000, b"/\xff\xfe,f\0\0" + struct.pack(">f", 1),
    encode("/impsy/pitemp", [0.0]), encode("/impsy/pitemp", [-1.0]), encode("/impsy/pitemp", [math.nan]),
    encode("/impsy/pitemp", ["hot"]), encode("/impsy/pitemp", []), encode("/impsy/sigmatemp", [-1.0]),
    encode("/impsy/timescale", [-1.0]), encode("/impsy/timescale", [math.inf]), encode("/impsy/threshold", [-0.1]),
    encode("/impsy/mode", ["dance"]), encode("/impsy/mode", [3]), encode("/impsy/mode", []),
    encode("/impsy/pause", ["yes"]), encode("/impsy/pause", [2]), encode("/impsy/seed", [-1]),
    encode("/impsy/seed", [0.5]), encode("/impsy/seed", [math.inf]), encode("/impsy/mix", [2.0]),
    encode("/impsy/model", ["~nobody-at-all/a"]), encode("/impsy/model", ["long" * 100]),
    encode("/impsy/model", ["there-is-none.mdrnn"]), encode("/impsy/model", [0]), encode("/impsy/mod", ["battle"]),
    encode("/impsy/", []), encode("/nowhere", [1.0]),
]


@pytest.mark.parametrize("way", ["port", "command_port"])
def test_bad_packets_are_dropped_and_said(instrument: Start, wait_until: Wait, way: str) -> None:
    """2: one bad packet ended the process, or silenced it."""
    player = instrument()
    for data in BAD:
        player.send_bytes(data, getattr(player, way))
    player.play(0.25, 0.5, 0.75)
    assert values_of([player.ear.hear()])  # it answers
    assert [row[2] for row in player.rows()] == [[0.25, 0.5, 0.75]]
    wait_until(lambda: player.wait_for("there-is-none.mdrnn"), "the missing model")
    said = player.stop()
    assert len(re.findall("not OSC", said)) == 1, said  # said once, counted from then on
    assert all(line.startswith("warning: ") or ", log " in line for line in said.splitlines()), said
    for word in ("mode", "pitemp", "timescale", "seed"):
        assert re.search(rf"warning: .*{word} takes ", said), said
    assert "did you mean mode?" in said
    if way == "port":
        assert "/interface takes 3 numbers, not 2" in said and "values go from 0 to 1" in said


def test_nothing_is_lost_and_order_is_kept_at_4000_messages_a_second(instrument: Start, wait_until: Wait) -> None:
    """3: input was reordered from 200 messages a second on, and lost."""
    player = instrument()
    count, rate = 8000, 4000
    began = time.perf_counter()
    for number in range(count):
        player.play(number / count, (number % 7) / 7, 0.5)
        while time.perf_counter() < began + (number + 1) / rate:
            pass
    wait_until(lambda: len([row for row in player.rows() if row[1] == "interface"]) >= count, f"all {count} rows")
    heard = [row[2][0] for row in player.rows() if row[1] == "interface"]
    assert heard == [struct.unpack("f", struct.pack("f", number / count))[0] for number in range(count)]


def test_no_backlog_builds_up(instrument: Start) -> None:
    """4: queues were unbounded: seconds of stale answers after a fast gesture, and after a change of mode."""
    player = instrument(CONFIG.replace("callresponse", "polyphony") + "\n")
    for number in range(200):  # the network's time step is 50 ms, the player's 5 ms
        player.play(number / 200, 0.5, 0.5)
        time.sleep(0.005)
    player.ear.all(silence=0.15)
    began = time.monotonic()
    assert not player.ear.all(silence=0.3), "answers after 150 ms of silence"
    assert time.monotonic() - began < 1
    for number in range(50):
        player.play(number / 50, 0.5, 0.5)
    player.command("mode", "useronly")
    time.sleep(0.02)  # what was sent before the command was done
    player.ear.all(silence=0.01)
    player.command("mode", "polyphony")
    assert not player.ear.all(silence=0.3), "a change of mode replays nothing"


def test_each_event_enters_the_network_once(instrument: Start, wait_until: Wait) -> None:
    """5: the player's last event entered the network twice when the response began."""
    player = instrument(CONFIG.replace("[model]", "[model]\nseed = 7"), "--sigma-temp", "0")
    for number in range(5):
        player.play(number / 5, 0.9, 0.1)
        time.sleep(0.02)
    answer = values_of([player.ear.hear() for _ in range(5)])
    rows = [row for row in player.rows() if row[1] == "interface"]
    assert len(rows) == 5
    network = neurig.Predictor(player.folder / "small.mdrnn", seed=7)
    times = [row[0] for row in rows]
    for number, row in enumerate(rows):
        dt = (times[number] - times[number - 1]).total_seconds() if number else 0.001
        network.condition([dt, *row[2]])
    expected = [network.predict(1, 0)[1:].tolist() for _ in range(5)]
    assert expected == [pytest.approx(frame, abs=1e-4) for frame in answer]
    network.reset()
    network.seed(7)
    for row in [*rows, rows[-1]]:  # as the fault would have it: another answer
        network.condition([0.02, *row[2]])
    assert network.predict(1, 0)[1:].tolist() != pytest.approx(answer[0], abs=1e-4)


def test_silent_until_it_has_heard_something(instrument: Start) -> None:
    """7: it played by itself at the start, and logged what nobody had played."""
    player = instrument()
    assert not player.ear.all(silence=1.0)
    assert not player.rows()
    player.play(0.5, 0.5, 0.5)
    assert player.ear.hear()


WIZARD = """# Generated by Setup Wizard

title = "My Instrument"
owner = ""
description = ""

log_input = true
log_predictions = false
verbose = true

[interaction]
mode = "callresponse"
threshold = 0.1
input_thru = true

[model]
dimension = 9
file = ""
size = "s"
sigmatemp = 0.01
pitemp = 1
timescale = 1

[midi]
in_device = [""]
out_device = [""]

[osc]
server_ip = "0.0.0.0"
server_port = PORT
client_ip = "localhost"
client_port = EAR

[websocket]
server_ip = "0.0.0.0"
server_port = WEB

[serial]
port = "/dev/ttyAMA0"
baudrate = 115200

[webui]
monitor_port = MONITOR
command_port = COMMANDS
"""


def test_defaults_of_the_wizard_run(instrument: Start, free_port: Callable[[], int], wait_until: Wait) -> None:
    """8: the defaults of the set-up wizard ended the run."""
    player = instrument(WIZARD.replace("WEB", str(free_port())))
    player.play(*[0.5] * 8)
    wait_until(lambda: player.rows(), "a row")
    assert "no model" in "\n".join(player.said)


def test_a_quoted_title_is_named(tmp_path: Path) -> None:
    """8: a title with quotation marks made invalid TOML, of which nobody said where."""
    (tmp_path / "config.toml").write_text(WIZARD.replace("My Instrument", 'My "best" one'))
    result = subprocess.run([sys.executable, "-m", "neurig.cli", "run"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert 'config.toml:3: ' in result.stderr and '\\"' in result.stderr and "Traceback" not in result.stderr


def test_nothing_heavy_is_imported(instrument: Start) -> None:
    """11: TensorFlow was imported even for --help."""
    player = instrument()
    player.play(0.5, 0.5, 0.5)
    player.ear.hear()
    maps = Path(f"/proc/{player.process.pid}/maps").read_text()
    assert "numpy" in maps  # so that the next line means something
    assert not re.findall(r"/(tensorflow|torch|onnxruntime|h5py|scipy|pyo|rtmidi|websockets|soundfile)/", maps)


def test_time_steps_are_those_of_the_monotonic_clock(tmp_path: Path) -> None:
    """13: the wall clock was used for time steps. That the network is told the steps of the log shows in the test of 5.
    """
    log = EventLog(tmp_path, 4, now=1000.0, complain=Complaints("log"))
    for now in (1000.5, 1000.75, 4600.75):
        log.write("interface", [0.1, 0.2, 0.3], now)
    log.close()
    first, *others = [row[0] for row in read_log(log.path)]
    assert [(other - first).total_seconds() for other in others] == [0.25, 3600.25]


class TestLog:
    def test_programs_that_begin_in_the_same_second_have_each_their_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class OneMoment(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime(2026, 1, 2, 3, 4, 5)

        monkeypatch.setattr("neurig.interaction.log.datetime", OneMoment)
        logs = [EventLog(tmp_path, 4, now=0.0, complain=Complaints("log")) for _ in range(3)]
        for value in (0.1, 0.2):
            for number, log in enumerate(logs):
                log.write("interface", [value, number, 0.5], now=value)
        for number, log in enumerate(logs):
            log.close()
            assert [row[2] for row in read_log(log.path)] == [[0.1, number, 0.5], [0.2, number, 0.5]]
            assert re.fullmatch(r"2026-01-02T03-04-05-(\d-)?4d-mdrnn.log", log.path.name)
        assert len(list(tmp_path.iterdir())) == 3

    def test_a_killed_process_loses_nothing(self, instrument: Start, wait_until: Wait) -> None:
        player = instrument()
        for number in range(500):
            player.play(number / 500, 0.5, 0.5)
            time.sleep(0.001)
        wait_until(lambda: len(player.rows()) >= 499, "499 rows")
        player.process.kill()
        player.process.wait()
        assert len(player.rows()) == 500

    def test_a_full_disk_is_said_once_and_playing_goes_on(self, instrument: Start) -> None:
        limit = 4000  # bytes that a file of the process may have

        def small_disk() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        player = instrument(preexec_fn=small_disk)
        for number in range(300):
            player.play(number / 300, 0.5, 0.5)
            time.sleep(0.002)
        assert player.ear.hear()
        said = player.stop()
        path, = (player.folder / "logs").glob("*")
        assert path.stat().st_size == limit
        assert said.count("cannot be written") + said.count("Playing goes on") == 2, said

    def test_a_log_that_was_removed_is_begun_anew(self, instrument: Start, wait_until: Wait) -> None:
        player = instrument()
        player.play(0.1, 0.2, 0.3)
        wait_until(lambda: player.rows(), "a row")
        for path in (player.folder / "logs").glob("*"):
            path.unlink()
        player.play(0.5, 0.5, 0.5)
        wait_until(lambda: [row[2] for row in player.rows()] == [[0.5, 0.5, 0.5]], "the next row")
