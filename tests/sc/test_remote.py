"""Servers on another machine: their paths are their own. At 127.0.0.2 they are on this one, but sclang cannot know."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from neurig.files import share
from sc.render import PLUGINS, SERVERS
from sc.sclang import new_user, run_sclang

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.2"

DOCUMENT = r"""
{
	var there = { |port| NetAddr("127.0.0.2", port.getenv.asInteger) };
	var s = Server.remote(\far, there.("SERVER"), ServerOptions().maxLogins_(4)), rig = Rig(there.("RIG"));
	var bus = Bus.control(s, 5), amp, hand, heard, log, left = 4;
	var done = { |... what| what.join(" ").postln; left = left - 1 };
	SystemClock.sched(60, { 1.exit });
	while { s.serverRunning.not } { 0.05.wait };
	amp = NeuralAmpModel.read(s, "~/amp one 1.nam", { |model| done.("read", model.path) });
	NeuralAmpModel.read(s, "amp two.nam", onError: { |reason| done.("refused", reason) });
	hand = MDRNNModel.read(s, "~/hand.mdrnn", { |model|
		MDRNNPerformance(model).fetch(150, { |performance| done.("frames", performance.frames.size) })
	});
	rig.amp("~/amp one 1.nam").get(\model, { |path| done.("rig", path) });
	while { left > 0 or: { hand.numValues.isNil } } { 0.05.wait };
	log = hand.record("LOG".getenv);
	{ Out.kr(bus, [A2K.kr(NeuralAmp.ar(DC.ar(1), amp))] ++ MDRNN.kr(hand, mode: \battle).drop(1)) }.play(s);
	while { heard.isNil or: { heard[0] < 0.49 } or: { File.readAllString(log).size < 100 } } {
		bus.getn(5, { |values| heard = values });
		0.05.wait
	};
	"heard %".format(heard[0].round(0.01)).postln;
	"end".postln;
	0.exit
}.fork(AppClock);
"""


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """The home folder on the other machine, with an amp and a predictor in it."""
    folder = tmp_path / "far"
    folder.mkdir()
    config = {"receptive_field": 1, "bias": False}
    amp = {"architecture": "Linear", "config": config, "weights": [0.5], "sample_rate": 48000}
    (folder / "amp one 1.nam").write_text(json.dumps(amp))
    shutil.copy(share("models", "wander.mdrnn"), folder / "hand.mdrnn")
    return folder


@pytest.fixture(params=SERVERS)
def ports(
    request: pytest.FixtureRequest, far: Path, jack_server, free_port: Callable[[], int]
) -> Iterator[dict[str, str]]:
    """Those of an audio server and of a rig, which run there."""
    port, rig_port = str(free_port()), str(free_port())
    env = jack_server.env | {"HOME": str(far), "SC_PLUGIN_PATH": str(PLUGINS), "PYTHONPATH": str(ROOT / "bridge")}
    commands = [
        [request.param, "-u", port, "-B", ADDRESS, "-l", "4"],
        [sys.executable, "-m", "neurig.cli", "serve", "--backend", "clock", "--host", ADDRESS, "--port", rig_port],
    ]
    with (far / "log").open("wb") as log:
        started = [subprocess.Popen(command, env=env, cwd=far, stdout=log, stderr=log) for command in commands]
    try:
        yield {"SERVER": port, "RIG": rig_port}
    finally:
        for process in started:
            process.terminate()
            process.wait(10)


def test_a_server_on_another_machine_reads_its_own_files(far: Path, ports: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "near"
    extensions = home / ".local/share/SuperCollider/Extensions"
    extensions.mkdir(parents=True)
    (extensions / "neurig").symlink_to(ROOT / "sc")
    (home / "test.scd").write_text(DOCUMENT)
    env = new_user(home, os.environ | ports | {"LOG": str(home / "played.log")})
    posted = run_sclang(home / "test.scd", env)
    said = posted.splitlines()
    amp, missing = f"{far}/amp one 1.nam", "the file cannot be opened: No such file or directory"
    assert {f"read {amp}", f"refused {missing}", "frames 150", f"rig {amp}", "heard 0.5", "end"} <= set(said), posted
