"""`neurig train amp` as a user runs it, and the profile that it makes."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from capture.conftest import RATE, device
from capture.conftest import playing, whole  # noqa: F401 - fixtures
from python.helpers import Command
from training.test_amp import brief, recordings

import neurig
from neurig.training import amp_profile
from neurig.training.amp import Training
from neurig.training.amp_data import SETTLING, Part

SMALL = ("--arch", "lstm-4", "--threads", 1, "--optimizer", "adam", "--batch", 16, "--segment", 128)
Files = tuple[Path, Path]


@pytest.fixture(scope="module")
def files(playing: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Files:  # noqa: F811
    """What was played into a device, and what came out of it 40 samples later: 6 s."""
    folder = tmp_path_factory.mktemp("recorded")
    x = playing[: 6 * RATE]
    paths = folder / "dry.wav", folder / "muff.wav"
    for path, samples in zip(paths, (x, np.concatenate([np.zeros(40), device(x)])), strict=True):
        soundfile.write(path, samples, RATE, "PCM_24")
    return paths


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-u", "-m", "neurig.cli", "train", "amp", *map(str, arguments)],
                            cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def weights(profile: Path) -> list[float]:
    return json.loads((profile / "model.nam").read_text())["weights"]


def test_command(command: Command, files: Files, tmp_path: Path) -> None:
    done = command("train", "amp", *files, *SMALL, "--epochs", 4, "--name", "My Muff", "--gear-type", "pedal",
                   "--gear-make", "us", "--tone-type", "fuzz", "--input-level-dbu", 12.5)
    profile = tmp_path / "profiles/My Muff"
    assert re.search(r"lstm-4, 101 weights; 4 s at 48000 Hz to learn from; \d+ steps, 4 epochs", done.stdout)
    assert len(re.findall(r"^step \d+, \d+ %: ESR [\d.e-]+, best [\d.e-]+; .* left$", done.stdout, re.M)) == 4
    assert "profiles/My Muff: ESR" in done.stdout and "report.html" in done.stdout
    assert "late by 40" in done.stderr and "were removed" in done.stderr
    assert sorted(path.name for path in profile.iterdir()) == [
        "checkpoint.pt", "config.json", "history.csv", "learning.png", "metrics.json", "model.nam", "report.html"]
    assert (profile / "learning.png").read_bytes().startswith(b"\x89PNG")
    assert "data:audio" in (profile / "report.html").read_text()

    model = neurig.load(profile / "model.nam")
    metrics, about = json.loads((profile / "metrics.json").read_text()), model.info["metadata"]
    config, log = json.loads((profile / "config.json").read_text()), (profile / "history.csv").read_text().splitlines()
    assert model.rate == RATE and about["name"] == "My Muff"
    assert (about["gear_type"], about["gear_make"], about["tone_type"], about["input_level_dbu"]) == (
        "pedal", "us", "fuzz", 12.5)
    assert -60 < about["loudness"] < 0 and 0 <= about["gain"] <= 1
    assert about["training"]["test_esr"] == metrics["test"]["esr"] and metrics["agreement_with_pytorch"] < 1e-10
    assert config["settings"]["seed"] == 0 and config["recordings"][0]["removed"] == pytest.approx(40, abs=1)
    assert log[0] == "step,seconds,rate,loss,validation_esr" and len(log) == 5
    best = min(float(line.split(",")[-1]) for line in log[1:])
    assert metrics["validation"]["esr"] == pytest.approx(best, rel=1e-4)

    # The figures are those of the file: the last fifth, after a moment to settle.
    x, y = (soundfile.read(path, dtype="float32")[0] for path in files)
    removed = config["recordings"][0]["removed"]
    n = min(len(x), len(y) - removed)
    x, y = x[:n], y[removed : removed + n]
    first = len(x) - round(len(x) / 5) + 8192
    error = model.instance(RATE).process(x)[first:] - y[first:]
    assert np.sum(error**2) / np.sum(y[first:] ** 2) == pytest.approx(metrics["test"]["esr"], rel=1e-3)

    again = command("train", "amp", *files, *SMALL, "--epochs", 4, "--name", "My Muff")
    assert "Going on after step" in again.stdout and "steps done" in again.stdout
    anew = command("train", "amp", *files, *SMALL, "--epochs", 4, "--restart", "-o", "other")
    assert "Going on" not in anew.stdout and weights(tmp_path / "other") == weights(profile)
    made = weights(profile)
    other = command("train", "amp", *files, *SMALL, "--epochs", 1, "--seed", 2, "--name", "My Muff")
    assert "had another seed. The earlier one is now in profiles/My Muff/earlier-1" in other.stdout
    assert weights(profile / "earlier-1") == made != weights(profile), "nothing is lost"
    (profile / "checkpoint.pt").unlink()
    made = weights(profile)
    other = command("train", "amp", *files, *SMALL, "--epochs", 1, "--name", "My Muff")
    assert "checkpoint.pt is missing. The earlier one is now in profiles/My Muff/earlier-2" in other.stdout
    assert weights(profile / "earlier-2") == made, "nor is one whose checkpoint was thrown away"


def test_knobs(command: Command, files: Files, tmp_path: Path) -> None:
    loud = tmp_path / "loud.wav"
    y = soundfile.read(files[1])[0]
    soundfile.write(loud, 0.3 * y, RATE, "PCM_24")
    command("train", "amp", "--pair", *files, "gain=0.2", "volume=0", "--pair", files[0], loud, "volume=1", "gain=1",
            *SMALL, "--epochs", 1, "-o", "p")
    model = neurig.load(tmp_path / "p/model.nam")
    assert model.params == ("gain", "volume")
    metrics = json.loads((tmp_path / "p/metrics.json").read_text())
    assert [Path(pair["output"]).name for pair in metrics["pairs"]] == ["muff.wav", "loud.wav"]


def test_killed_at_any_moment(files: Files, tmp_path: Path, command: Command,
                              wait_until: Callable[..., object]) -> None:
    """kill -9 costs what was learned since the last checkpoint, and the end is the same to the last bit."""
    arguments = (*files, *SMALL, "--epochs", 80, "--no-earlystopping", "-o", "p")
    checkpoint = tmp_path / "p/checkpoint.pt"
    for more in (0.0, 0.7):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(tmp_path, *arguments)
        wait_until(lambda old=before: checkpoint.exists() and checkpoint.stat().st_mtime_ns > old, "a checkpoint", 60)
        time.sleep(more)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it had ended before"
    (tmp_path / "p/.checkpoint.pt.1.tmp").write_text("left by a training that was killed as it wrote")
    done = command("train", "amp", *arguments, "--resume")
    assert "Going on after step" in done.stdout
    assert not list((tmp_path / "p").glob(".*"))
    command("train", "amp", *arguments[:-1], "whole")
    assert weights(tmp_path / "p") == weights(tmp_path / "whole")


def test_an_early_end_keeps_the_best(files: Files, tmp_path: Path) -> None:
    process = start(tmp_path, *files, *SMALL, "--minutes", 60, "-o", "p")
    for line in process.stdout:
        if line.startswith("step"):
            break
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "the same command goes on" in said, said
    assert neurig.load(tmp_path / "p/model.nam").is_amp


@pytest.mark.parametrize("architecture, knobs", [
    ("nano", False), ("feather", True), ("a2-lite", False), ("a2-lite", True), ("wavenet1", False), ("wavenet2", True),
    ("lstm-5", True), ("lstm-3x18", False), ("gru-4", False)])
def test_the_core_plays_what_was_trained(architecture: str, knobs: bool, tmp_path: Path) -> None:
    data = recordings(6, (0.2, 0.8) if knobs else (), rate=44100)
    training = Training(data, brief(architecture=architecture))
    network, model, error = amp_profile.export(training, tmp_path)
    assert error < 1e-10 and len(model.params) == knobs and model.rate == 44100
    assert model.path == tmp_path / ("model.json" if architecture in ("wavenet1", "gru-4") else "model.nam")
    part = data.test[0]
    instance = model.instance(44100)
    for index, value in enumerate(part.knobs):
        instance.set(index, float(value))
    ours, core = training.answer(part), instance.process(part.source)[part.judged]
    assert np.sum((ours - core) ** 2) < 1e-6 * np.sum(core**2), "it is as loud as the device, and not as the training"


def test_the_core_agrees_where_the_test_begins_silently(tmp_path: Path) -> None:
    """Of a silent answer there is no error-to-signal ratio: the rounding of a float would be all of it."""
    data = recordings(6)
    [part] = data.test
    silent = 2 * SETTLING + RATE  # more than what is heard of it at first
    signal = np.concatenate([np.zeros(silent, np.float32), part.source[part.start :]])
    target = np.concatenate([np.zeros(silent, np.float32), part.target[part.start :]])
    quiet = replace(data, test=[Part(signal, target, part.knobs)])
    training = Training(quiet, brief(architecture="lstm-4"))
    for name, tensor in training.network.tensors().items():  # no bias: silence is silent
        if "bias" in name:
            tensor.data.zero_()
    training.best = training.network.state_dict()
    assert amp_profile.export(training, tmp_path)[2] < 1e-10


def test_an_export_that_does_not_agree_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(recordings(6), brief())
    real = training.network.export
    monkeypatch.setattr(type(training.network), "export",
                        lambda self, about: (file := real(about)) | {"weights": [w + 1e-4 for w in file["weights"]]})
    with pytest.raises(neurig.training.TrainingError, match="does not play what was trained"):
        amp_profile.export(training, tmp_path)


@pytest.mark.parametrize("arguments, code, words", [
    (("dry", "nothing.wav"), 1, "nothing.wav: there is no such file"),
    (("muff", "dry"), 1, "order IN OUT"),
    (("dry", "dry"), 1, "is a copy of"),
    (("dry", "nothing.wav", "--arch", "wavenet9"), 1, "there is no architecture 'wavenet9'"),
    (("dry", "muff", "--arch", "lstm-4", "--loss", "beauty=1"), 1, "there is no loss 'beauty'"),
    (("dry", "muff", "--arch", "lstm-4", "--resume"), 1, "no training to go on with: profiles/muff/checkpoint.pt is missing"),
    (("dry", "muff", "--arch", "lstm-4", "-o", "dry"), 1, "dry.wav: this is a file, and a profile is a folder"),
    (("dry", "muff", "--arch", "nano", "--batch", 1_000_000), 1, "at most a --batch of 409"),
    (("dry", "muff", "--device", "cuda:7"), 1, "no device cuda:7"),
    (("dry", "muff", "--minutes", 1, "--epochs", 3), 1, "give one of them"),
    (("--pair", "dry", "muff", "gain=2"), 1, "gain is at 2"),
    (("--pair", "dry", "muff", "gain=loud"), 2, "a knob is given as name=0.3"),
    (("--pair", "dry"), 2, "a pair is two files"),
    (("dry",), 2, "IN and OUT are both needed"),
    ((), 2, "give IN and OUT"),
])
def test_refusals(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...],
                  code: int, words: str) -> None:
    from click.testing import CliRunner

    from neurig.cli import main

    monkeypatch.chdir(tmp_path)
    names = {"dry": str(files[0]), "muff": str(files[1])}
    done = CliRunner().invoke(main, ["train", "amp", *(str(names.get(word, word)) for word in arguments)])
    assert done.exit_code == code and words in done.output, done.output
    assert not list(tmp_path.glob("profiles/*/model*"))
