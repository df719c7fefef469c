"""The training of predictors: it learns, what it learned is what plays, and nothing that befalls it loses more than a
second."""

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from matplotlib.image import imread
from python.helpers import Command
from training.conftest import wave

import neurig
from neurig.cli import main
from neurig.convert import read
from neurig.dataset import Dataset, DatasetError, load, save
from neurig.model import parse
from neurig.training import TrainingError
from neurig.training.mdrnn import Network, Progress, Settings, Training, Windows
from neurig.training.sizes import SIZES, Size, untrained

torch.set_num_threads(1)  # as the command has it, for networks of these sizes
TINY = Settings(size="xxs", epochs=3, batch=32)
NAME = "musicMDRNN-dim3-layers2-units16-mixtures5-scale10"


def weights(training: Training) -> list[float]:
    return training.best.weights(Path("test"), {}).weights.tolist()


def test_windows_are_those_of_impsy(waves: Dataset) -> None:
    windows = Windows(waves.performances)
    slices = [rows[start : start + 51] for rows in waves.performances for start in range(len(rows) - 50)]
    assert len(windows) == len(slices) == 300 and windows.learned == 270
    assert np.array_equal(windows[torch.arange(300)].numpy(), np.array(slices) * np.float32(10))


@pytest.mark.parametrize(("size", "dimension"), [("xxs", 2), ("xs", 64), ("s", 9), ("m", 4), ("l", 4)])
def test_what_is_trained_is_what_plays(size: str, dimension: int) -> None:
    """The core gives PyTorch's mixtures, step after step."""
    start = untrained(dimension, SIZES[size], seed=4)
    network = Network(start)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(5)))
    exported = network.weights(Path("test"), {})
    frames = np.random.default_rng(6).uniform(0, 1, (64, dimension)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(10 * frames)[None])[:3]
    predictor = neurig.Predictor(parse(exported.text(), Path("test.mdrnn")))
    for step, frame in enumerate(frames):
        predictor.condition(frame)
        for ours, theirs in zip(predictor.mixture(), expected, strict=True):
            assert np.abs(ours - theirs[0, step].numpy()).max() < 1e-5
    again = Network(exported)
    assert all(map(torch.equal, again.state_dict().values(), network.state_dict().values()))


def test_the_loss_is_the_likelihood(waves: Dataset) -> None:
    """Computed a second time, from the core's mixtures and in float64."""
    training = Training(waves, TINY)
    windows = training.windows[torch.arange(2)]
    predictor = neurig.Predictor(parse(training.network.weights(Path("test"), {}).text(), Path("test")))
    losses = []
    for window in windows.numpy().astype(np.float64):
        predictor.reset()
        for row, following in zip(window, window[1:], strict=False):
            predictor.condition(row / 10)
            mus, sigmas, logits = (array.astype(np.float64) for array in predictor.mixture())
            density = np.exp(-0.5 * ((following - mus) / sigmas) ** 2) / (sigmas * math.sqrt(2 * math.pi))
            pis = np.exp(logits) / np.exp(logits).sum()
            losses.append(-math.log((pis * density.prod(axis=1)).sum()))
    assert training.network.loss(windows).item() == pytest.approx(np.mean(losses), abs=1e-4)


def test_it_begins_as_keras_does() -> None:
    network = untrained(4, SIZES["s"], seed=1)
    for layer, inputs in zip(network.layers, (4, 64), strict=True):
        kernel, recurrent, bias = layer
        limit = math.sqrt(6 / (inputs + 256))
        assert 0.95 * limit < np.abs(kernel).max() <= limit and abs(kernel.mean()) < 0.1 * limit
        assert np.allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
        assert bias.tolist() == [0.0] * 64 + [1.0] * 64 + [0.0] * 128
    assert not np.array_equal(network.weights, untrained(4, SIZES["s"], seed=2).weights)


def test_it_learns_and_keeps_the_best(waves: Dataset) -> None:
    training = Training(waves, Settings(size="xs", epochs=40, batch=16, patience=4, rate=0.02))
    before = training.validate(training.network)
    training.run()
    progress = training.progress
    losses = [epoch.validation for epoch in progress.history]
    assert progress.best_loss == min(losses) < before - 3
    assert training.validate(training.best) == progress.best_loss
    assert all(epoch.seconds > 0 and math.isfinite(epoch.loss) for epoch in progress.history)
    # at this rate the last is not the best, and early stopping has seen it
    assert len(losses) == progress.best + 4 < 40 and losses[-1] > min(losses)
    assert training.finished == "no better for 4 epochs"


def test_the_same_seed_gives_the_same_network(waves: Dataset) -> None:
    def result(**settings: Any) -> list[float]:
        training = Training(waves, Settings(**{"size": "xxs", "epochs": 2, "batch": 32} | settings))
        training.run()
        return weights(training)

    assert result() == result()
    assert result() != result(seed=1)
    assert result() != result(batch=16)


def test_impsys_own_set(data: Path) -> None:
    """After three epochs IMPSY's validation loss is above 4; tests/bench/impsy.py compares whole trainings."""
    training = Training(load(data / "impsy/training-dataset-4d-12ksmall.npz"), Settings(size="xs", epochs=3))
    assert (len(training.windows), training.windows.learned, training.batches) == (11874, 10686, 167)
    training.run()
    assert training.progress.best_loss < 4


@pytest.mark.parametrize("stop_after", [1, 8, 9, 10, 17])
def test_a_stopped_training_goes_on_as_if_nothing_had_been(waves: Dataset, tmp_path: Path, stop_after: int) -> None:
    """After any batch, in an epoch or at its end."""
    whole = Training(waves, TINY)
    whole.run()
    assert whole.batches == 9
    batches = 0

    def count(_: Progress) -> None:
        nonlocal batches
        batches += 1

    stopped = Training(waves, TINY, tmp_path / "checkpoint.pt")
    stopped.run(count, lambda: batches == stop_after)
    assert batches == stop_after and not stopped.finished
    resumed = Training(waves, TINY, tmp_path / "checkpoint.pt")
    assert resumed.resume() == ""
    resumed.run()
    assert weights(resumed) == weights(whole)
    assert [(epoch.loss, epoch.validation) for epoch in resumed.progress.history] == \
        [(epoch.loss, epoch.validation) for epoch in whole.progress.history]


def test_what_a_checkpoint_is_not_for(waves: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Training(waves, TINY, path).run()
    longer = Settings(size="xxs", epochs=4, batch=32, patience=3, early_stopping=False)
    assert Training(waves, longer, path).resume() == ""
    for other, what in ((Settings(size="xs", epochs=3, batch=32), "size"), (Settings(size="xxs", batch=16, seed=1),
                        "batch and seed"), (Settings(size="xxs", batch=32, rate=0.1), "rate")):
        assert Training(waves, other, path).resume().endswith(f"had another {what}")
    assert Training(Dataset(waves.performances[:1]), TINY, path).resume().endswith("had another dataset")
    assert Training(waves, TINY, tmp_path / "none.pt").resume().endswith("none.pt is missing")
    whole = path.read_bytes()
    for broken in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(TrainingError, match="no whole checkpoint .* --restart begins anew"):
            Training(waves, TINY, path).resume()


def test_a_checkpoint_runs_nothing(waves: Dataset, tmp_path: Path) -> None:
    marker, path = tmp_path / "was here", tmp_path / "checkpoint.pt"

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (marker,)

    torch.save({"identity": Touch()}, path)
    with pytest.raises(TrainingError):
        Training(waves, TINY, path).resume()
    assert not marker.exists()


def test_refusals(waves: Dataset) -> None:
    with pytest.raises(DatasetError, match="longest of 1 performance has 51 rows, and 52 are needed. Record longer"):
        Training(Dataset([wave(51, 3)]), TINY)
    rows = wave(60, 3)
    rows[3, 1] = np.nan
    with pytest.raises(DatasetError, match="performance 1 has numbers that are not finite. Collate it again"):
        Training(Dataset([rows]), TINY)
    rows[:, 1] = 3e38
    with pytest.raises(TrainingError, match="the loss was no number any more in epoch 1. Look for outliers"):
        Training(Dataset([rows]), TINY).run()
    assert Training(Dataset([wave(20, 3), wave(60, 3)]), TINY).batches == 1  # short ones are passed over


def test_a_loss_that_is_no_number_spoils_nothing(waves: Dataset) -> None:
    training = Training(waves, TINY)
    training.run(stop=lambda: len(training.progress.history) == 2)
    kept, best = weights(training), training.progress.best_loss
    with torch.no_grad():
        training.network.head.bias[0] = math.nan
    training.run()
    assert training.finished == "the loss was no number any more in epoch 3"
    assert weights(training) == kept and training.validate(training.best) == best


# ---- The command ----------------------------------------------------------------------------------------------------


Here = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """Runs `neurig train mdrnn` in this process, where PyTorch is loaded already; gives what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> str:
        done = CliRunner().invoke(main, ["train", "mdrnn", *map(str, arguments)])
        assert done.exit_code == code, done.output
        assert code != 1 or done.output.startswith("Error: ") and done.output.count("\n") == 1, done.output
        return done.output

    return run


def start(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "neurig.cli", "train", "mdrnn", *map(str, arguments)], cwd=folder,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(process: subprocess.Popen[str], words: str) -> None:
    """Reads what a training says until it has said something."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if words in line:
            return
    pytest.fail(f"it ended before it said {words!r}: {''.join(said)}")


def test_command(command: Command, here: Here, waves_file: Path, tmp_path: Path) -> None:
    done = command("train", "mdrnn", waves_file, "-M", "xxs", "-N", 2, "-B", 32, "--onnx")
    assert "300 windows of dimension 3, of which 30 for validation" in done.stdout
    assert "epoch 2/2: loss " in done.stdout and "(all 2 epochs done)" in done.stdout
    models = tmp_path / "models"
    about = neurig.load(models / f"{NAME}.mdrnn").info
    assert (about["dimension"], about["units"], about["layers"], about["mixtures"]) == (3, 16, 2, 5)
    assert about["metadata"]["source"] == "waves.npz" and about["metadata"]["epoch"] == 2
    folder = models / f"{NAME}.training"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", "history.csv", "learning.png",
                                                             "performance.png"]
    history = [line.split(",") for line in (folder / "history.csv").read_text().splitlines()]
    assert history[0] == ["epoch", "loss", "validation_loss", "seconds"] and len(history) == 3
    assert about["metadata"]["validation_loss"] == pytest.approx(min(float(line[2]) for line in history[1:]), abs=1e-4)
    for name in ("learning.png", "performance.png"):
        picture = imread(folder / name)
        assert picture.shape[0] > 300 and picture.shape[1] > 600
        for colour in ("#20639b", "#d1495b"):  # both curves are there
            wanted = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
            assert (np.abs(picture[..., :3] - wanted).max(axis=-1) < 0.05).sum() > 20, f"{name} has nothing in {colour}"
    session = onnxruntime.InferenceSession(models / f"{NAME}.onnx")
    assert session.get_inputs()[0].shape == [1, 1, 3]

    first = (models / f"{NAME}.mdrnn").read_bytes()
    again = here(waves_file, "-M", "xxs", "-N", 2, "-B", 32)
    assert "Going on after epoch 2: all 2 epochs done" in again and "epoch 1/2" not in again
    anew = here(waves_file, "-M", "xxs", "-N", 2, "-B", 32, "--restart")
    assert "epoch 1/2" in anew and (models / f"{NAME}.mdrnn").read_bytes() == first
    more = here(waves_file, "-M", "xxs", "-N", 3, "-B", 32)
    assert "Going on after epoch 2\n" in more and "epoch 3/3" in more


def test_killed(command: Command, waves: Dataset, waves_file: Path, tmp_path: Path,
                wait_until: Callable[..., object]) -> None:
    """kill -9 costs what was learned since the last checkpoint, and the end is the same to the last bit."""
    settings = Settings(size="xxs", epochs=60, batch=8, early_stopping=False)
    arguments = (waves_file, "-M", "xxs", "-N", 60, "-B", 8, "--no-earlystopping", "--name", "killed")
    checkpoint = tmp_path / "models/killed.training/checkpoint.pt"
    process = start(tmp_path, *arguments)
    wait_until(checkpoint.exists, "the first checkpoint", 60)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (checkpoint.parent / ".checkpoint.pt.1.tmp").write_text("left by a training that was killed as it wrote")
    done = command("train", "mdrnn", *arguments)
    assert "Going on after epoch" in done.stdout
    whole = Training(waves, settings)
    whole.run()
    assert read(tmp_path / "models/killed.mdrnn").weights.tolist() == weights(whole)
    assert not list(checkpoint.parent.glob(".*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_early_end_keeps_the_best(waves_file: Path, tmp_path: Path, number: int) -> None:
    process = start(tmp_path, waves_file, "-M", "xxs", "-N", 100000, "-P", 100000, "--name", "early")
    wait_for(process, "epoch 3/")
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "models/early.mdrnn: validation loss" in said.replace(os.sep, "/") and "the same command goes on" in said
    about = neurig.load(tmp_path / "models/early.mdrnn").info["metadata"]
    history = (tmp_path / "models/early.training/history.csv").read_text().splitlines()[1:]
    assert about["validation_loss"] == pytest.approx(min(float(line.split(",")[2]) for line in history), abs=1e-4)


def test_an_end_in_the_first_epoch(tmp_path: Path, wait_until: Callable[..., object]) -> None:
    save(Dataset([wave(20000, 3)]), tmp_path / "long.npz")
    process = start(tmp_path, "long.npz", "-B", 1, "--name", "early")
    wait_until((tmp_path / "models/early.training/checkpoint.pt").exists, "the first checkpoint", 60)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "early.mdrnn: validation loss" in said, said
    assert neurig.load(tmp_path / "models/early.mdrnn").is_predictor


def test_which_dataset(here: Here, waves_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "datasets"
    folder.mkdir()
    assert "datasets: there is no dataset" in here(code=1)
    waves_file.rename(folder / "training-dataset-3d.npz")
    quick = ("-M", "xxs", "-N", 1)
    here(*quick)
    here(*quick, "-D", 3, "-O", "others/deep")
    assert (tmp_path / f"others/deep/{NAME}.mdrnn").exists()
    save(Dataset([wave(60, 4)]), folder / "more.npz")
    assert "there are more.npz, training-dataset-3d.npz. Name the one" in here(code=1)
    assert "its dimension is 4, not 3" in here(folder / "more.npz", "-D", 3, code=1)
    assert "No such file" in here("none.npz", code=1)
    assert "No such file" in here("-D", 7, code=1)
    for wrong in (["-M", "huge"], ["-N", "0"], ["-B", "0"], ["--rate", "0"]):
        here(*wrong, code=2)


def test_without_pytorch(waves_file: Path) -> None:
    code = """if True:
        import sys
        class Absent:
            def find_spec(self, name, *_):
                if name == "torch":
                    raise ModuleNotFoundError("No module named 'torch'", name=name)
        sys.meta_path.insert(0, Absent())
        from neurig.cli import main
        main()"""
    done = subprocess.run([sys.executable, "-c", code, "train", "mdrnn", waves_file], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ("Error: training needs PyTorch and matplotlib (No module named 'torch'): "
                           "pip install 'neurig[train]'\n")


def test_test_mdrnn(command: Command, tmp_path: Path) -> None:
    made = command("test-mdrnn", "-D", 9, "-M", "xs").stdout
    for words in ("dimension 9, 2 layers of 32 units, 5 mixtures", "build", "prediction", "µs, 99 % within"):
        assert words in made
    text = untrained(5, Size(24, layers=1), seed=1).text()
    (tmp_path / "mine.mdrnn").write_text(text)
    loaded = command("test-mdrnn", "mine.mdrnn", "--steps", 10).stdout
    assert "dimension 5, 1 layers of 24 units" in loaded and "load" in loaded
    assert "none.mdrnn" in command("test-mdrnn", "none.mdrnn", code=1).stderr
