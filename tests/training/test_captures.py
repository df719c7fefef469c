"""Many captures: pairs are found by their names, each becomes a profile, and one that is lost is tried again."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from neurig.bench import signal as guitar
from neurig.capture.signal import make
from neurig.cli import main
from neurig.cli.captures import _passed
from neurig.training import TrainingError
from neurig.training.captures import Ledger, find, plan

RATE = 48000
Wait = Callable[..., Any]


@pytest.mark.parametrize("files, pairs", [
    (["input.wav", "output.wav"], {"output": "input.wav output.wav"}),
    (["input.flac", "lead.wav", "clean.aiff"], {"lead": "input.flac lead.wav", "clean": "input.flac clean.aiff"}),
    (["input.wav", "output.wav", "output-dirty.wav"],
     {"output": "input.wav output.wav", "dirty": "input.wav output-dirty.wav"}),
    (["saw-input.wav", "saw-target.wav", "Big Muff_in.wav", "Big Muff_OUT.wav"],
     {"saw": "saw-input.wav saw-target.wav", "Big-Muff": "Big Muff_in.wav Big Muff_OUT.wav"}),
    (["a/dry.wav", "a/wet.wav", "b/c/di.wav", "b/c/crunch.wav", "notes.txt", ".hidden.wav"],
     {"a": "a/dry.wav a/wet.wav", "b/c/crunch": "b/c/di.wav b/c/crunch.wav"}),
    (["a-in.wav", "b-in.wav", "a-out.wav"], {"a": "a-in.wav a-out.wav"}),
])
def test_pairs_are_found_by_their_names(tmp_path: Path, files: list[str], pairs: dict[str, str]) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {one.name: " ".join(str(path.relative_to(tmp_path)) for path in (one.input, one.output))
            for one in find(tmp_path)} == pairs


def test_own_signal_is_an_input_whatever_its_name(tmp_path: Path) -> None:
    make(tmp_path / "test.wav", 30, RATE)
    (tmp_path / "recorded.wav").touch()
    [found] = find(tmp_path)
    assert (found.name, found.input.name, found.output.name) == ("recorded", "test.wav", "recorded.wav")


def test_folders_without_pairs(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="there is no such folder"):
        find(tmp_path / "none")
    with pytest.raises(TrainingError, match="there are no recordings. A pair is named"):
        find(tmp_path)
    for name in ("a-in.wav", "b-in.wav", "c-out.wav"):
        (tmp_path / name).touch()
    with pytest.raises(TrainingError, match="c-out.wav: there is no input beside it"):
        find(tmp_path)
    (tmp_path / "c-out.wav").rename(tmp_path / "a-out.wav")
    (tmp_path / "a_target.wav").touch()
    with pytest.raises(TrainingError, match="several recordings would make the profile a/nano"):
        plan(tmp_path, ["nano"])


@pytest.mark.parametrize("arguments", [["in.wav"], ["--pair", "a", "b"], ["--name", "x"], ["--validate", "a", "b"]])
def test_what_is_not_for_many(tmp_path: Path, arguments: list[str]) -> None:
    done = CliRunner().invoke(main, ["train", "amp", "--captures", str(tmp_path), *arguments])
    assert done.exit_code == 2 and f"{arguments[0]}: not together with --captures" in done.stderr


@pytest.mark.parametrize("arguments, passed", [
    (["--captures", "x", "-oDIR", "-P20", "--seed=3"], ["-P20", "--seed=3"]),
    (["-o", "DIR", "--arch=nano,lite", "--ray", "--minutes", "2", "--captures=x"], ["--minutes", "2"]),
    (["--captures", "x", "--ray", "head:6379", "--input-level-dbu", "-12", "-P", "5"],
     ["--input-level-dbu", "-12", "-P", "5"]),
])
def test_what_each_training_gets(arguments: list[str], passed: list[str]) -> None:
    assert _passed(arguments) == passed


@pytest.mark.parametrize("architectures", ["nano,wavenet9", "nano,", ""])
def test_unknown_architectures(recordings: Path, architectures: str) -> None:
    done = CliRunner().invoke(main, ["train", "amp", "--captures", str(recordings), "--arch", architectures])
    assert done.exit_code == 1 and "there is no architecture" in done.stderr and "to train" not in done.stdout


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """What somebody played, and what two devices made of it; one of the recordings is silent."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    x = np.tile(guitar(None, 2.0), 2)
    for name, samples in (("input", x), ("drive", np.tanh(4 * x)), ("soft", 0.6 * np.tanh(x)), ("silent", 0 * x)):
        soundfile.write(folder / f"{name}.wav", samples, RATE, "PCM_24")
    return folder


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "neurig.cli", "train", "amp", "--captures", "recordings", "--arch", "lstm-2",
               "--threads", "1", *map(str, arguments)]
    return subprocess.Popen(command, cwd=folder, env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    try:
        out, errors = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == code, out + errors
    return out, errors


def trainings(folder: Path) -> dict[str, tuple[int, int]]:
    """The process of each training that writes there, and its parent, by the name of what it learns."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
            if "train" in words and "--name" in words and any(word.startswith(str(folder)) for word in words):
                parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                found[words[words.index("--name") + 1]] = int(process.name), int(parent)
        except OSError:  # it has ended
            pass
    return found


def test_each_in_turn_and_what_is_done_is_not_done_again(recordings: Path, tmp_path: Path) -> None:
    (recordings / "drive.wav").unlink()
    out, errors = finish(start(tmp_path, "--epochs", 1), code=1)
    assert "recordings: 2 captures, 2 amps to train" in out
    assert errors.endswith("Error: 1 of 2 amps could not be trained: silent/lstm-2\n")
    ledger = Ledger.read(tmp_path / "profiles").outcomes
    assert (ledger["soft/lstm-2"].state, ledger["silent/lstm-2"].state) == ("done", "refused")
    assert "silent.wav is silent" in ledger["silent/lstm-2"].why and ledger["silent/lstm-2"].attempts == 1
    model = json.loads((tmp_path / "profiles" / "soft" / "lstm-2" / "model.nam").read_text())
    assert model["metadata"]["name"] == "soft" and ledger["soft/lstm-2"].esr > 0
    (recordings / "silent.wav").unlink()
    out, _ = finish(start(tmp_path, "--epochs", 1))
    assert "soft/lstm-2: done before" in out and "step" not in out


def test_one_that_is_killed_goes_on_and_ctrl_c_keeps_the_best(recordings: Path, tmp_path: Path,
                                                              wait_until: Wait) -> None:
    (recordings / "silent.wav").unlink()
    (recordings / "soft.wav").unlink()
    process = start(tmp_path, "--minutes", 5, "-o", tmp_path / "amps")
    checkpoint = tmp_path / "amps" / "drive" / "lstm-2" / "checkpoint.pt"
    wait_until(checkpoint.exists, "a checkpoint", 200)
    pid, _ = trainings(tmp_path)["drive"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: trainings(tmp_path).get("drive", (pid, 0))[0] != pid, "another attempt", 60)
    before = checkpoint.stat().st_mtime_ns
    wait_until(lambda: checkpoint.stat().st_mtime_ns != before, "another checkpoint", 200)
    process.send_signal(signal.SIGINT)
    out, errors = finish(process, code=1)
    assert "drive/lstm-2: lost (it was ended by SIGKILL); once more" in errors
    assert "Going on after step" in out
    assert errors.endswith(f"Error: stopped; the same command goes on ({tmp_path}/amps/captures.json)\n")
    outcome = Ledger.read(tmp_path / "amps").outcomes["drive/lstm-2"]
    assert (outcome.state, outcome.attempts) == ("stopped", 2) and outcome.esr
    assert (tmp_path / "amps" / "drive" / "lstm-2" / "model.nam").exists()


def test_a_cluster_of_which_a_worker_is_killed(recordings: Path, tmp_path: Path, wait_until: Wait) -> None:
    """Two at a time on this machine's cores: the one goes on elsewhere, the other notices nothing."""
    pytest.importorskip("ray", reason="Ray is not installed (250 MB): pip install 'neurig[cluster]'")
    process = start(tmp_path, "--minutes", 0.3, "--ray")
    trials = tmp_path / "cache" / "neurig" / "trials"

    def running() -> dict[str, tuple[int, int]]:
        return trainings(trials)

    wait_until(lambda: {"drive", "soft"} <= running().keys(), "two workers", 200)
    wait_until(lambda: len(list(trials.glob("*/profile/checkpoint.pt"))) == 2, "two checkpoints", 200)
    pid, worker = running()["drive"]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: pid not in [one for one, _ in running().values()], "the killed worker's training to end", 20)
    out, errors = finish(process, code=1)
    assert "drive/lstm-2: lost (Ray lost it (worker crashed)); once more" in errors
    ledger = Ledger.read(tmp_path / "profiles").outcomes
    assert {name: (one.state, one.attempts) for name, one in ledger.items()} == {
        "drive/lstm-2": ("done", 2), "soft/lstm-2": ("done", 1), "silent/lstm-2": ("refused", 1)}
    assert ledger["silent/lstm-2"].why.startswith("recordings/silent.wav is silent")
    for name in ("drive", "soft"):
        assert (tmp_path / "profiles" / name / "lstm-2" / "model.nam").exists()
    assert not any(trials.iterdir())


def test_no_cluster(recordings: Path, tmp_path: Path) -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        reason = "a cluster takes Ray, which is not installed: pip install 'neurig[cluster]'"
    else:
        reason = "there is no Ray cluster at 127.0.0.1:1 (Connection refused)"
    _, errors = finish(start(tmp_path, "--ray", "127.0.0.1:1"), code=1)
    assert f"Error: {reason}" in errors
