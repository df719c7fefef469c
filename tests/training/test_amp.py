"""An amp learns, to the same last bit however often it is interrupted, and the best of it is kept."""

import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from capture.conftest import RATE, device

from neurig.training import TrainingError, amp_presets
from neurig.training.amp import Settings, Training
from neurig.training.amp_data import Data, Part


@pytest.fixture(autouse=True)
def alone() -> None:
    """One thread: in such small networks several only wait for each other."""
    torch.set_num_threads(1)


def recordings(seconds: float = 6.0, knobs: tuple[float, ...] = (), rate: int = RATE) -> Data:
    """Noise that comes and goes through a device of one pole; with knobs, one part for each position of the gain."""
    random, n = np.random.default_rng(1), round(seconds * rate)
    x = random.normal(0, 0.2, n) * (0.5 + 0.5 * np.sin(np.arange(n) / 3000))
    parts: list[list[Part]] = [[], [], []]
    for knob in knobs or (None,):
        y = device(x * (1.0 if knob is None else 0.2 + knob))
        position = np.array([] if knob is None else [knob], np.float32)
        for place, (start, end) in zip(parts, ((0, 0.6), (0.6, 0.8), (0.8, 1)), strict=True):
            end = round(end * n)
            place.append(Part(x[:end].astype(np.float32), y[:end].astype(np.float32), position, round(start * n)))
    return Data(rate, ("gain",) if knobs else (), *parts)


def brief(**chosen: object) -> Settings:
    """A training of a few seconds."""
    return Settings(**{"architecture": "lstm-4", "loss": {"mse": 1.0}, "steps": 40, "batch": 16, "segment": 128,
                       "settle": 64, "stay": 4, "optimizer": "adam", "early_stopping": False} | chosen)


def weights(training: Training) -> list[float]:
    return training.best["weights"].tolist()


@pytest.mark.parametrize("architecture, optimizer, rate, steps, at_most", [
    ("lstm-8", "soap", 0.01, 150, 0.1), ("nano", "soap", 0.01, 40, 0.5), ("wavenet2", "adam", 0.01, 80, 0.5),
    ("gru-8", "adam", 0.02, 150, 0.2)])
def test_it_learns(architecture: str, optimizer: str, rate: float, steps: int, at_most: float) -> None:
    training = Training(recordings(), brief(architecture=architecture, optimizer=optimizer, rate=rate, steps=steps))
    before = training.esr(training.data.validation)
    training.run()
    assert training.progress.best_esr < min(at_most, 0.6 * before), training.progress.history
    assert training.progress.step == steps and training.finished == f"all {steps} steps done"
    assert training.progress.history[-1].rate < 0.01 * rate


def test_the_error_is_that_of_the_whole_part() -> None:
    """Computed in lanes, it is what the network makes of the part in one piece."""
    for architecture in ("nano", "lstm-4"):
        training = Training(recordings(8), brief(architecture=architecture))
        part = training.data.validation[0]
        with torch.no_grad():
            inputs = part.inputs(slice(0, len(part.source)))[None]
            whole = training.network(inputs)[0].numpy() / training.scale
        expected = whole[part.judged.start - len(part.source) :]
        assert np.abs(training.answer(part) - expected).max() < 1e-4 * np.abs(expected).max()
        target = part.target[part.judged].astype(np.float64)
        assert training.esr([part]) == pytest.approx(np.sum((expected - target) ** 2) / np.sum(target**2), rel=1e-3)


def test_a_part_at_the_beginning() -> None:
    """A file of its own for validation has nothing before it: silence is heard there."""
    data = recordings(8)
    data.validation[0] = Part(data.learned[0].source[:4000], data.learned[0].target[:4000], data.learned[0].knobs)
    training = Training(data, brief(architecture="nano"))
    part = data.validation[0]
    with torch.no_grad():
        padded = torch.nn.functional.pad(part.inputs(slice(0, 4000))[None], (training.network.receptive_field - 1, 0))
        expected = training.network(padded)[0, part.judged].numpy() / training.scale
    assert part.judged == slice(1000, 4000)
    assert np.abs(training.answer(part) - expected).max() < 1e-4 * np.abs(expected).max()


def test_knobs_are_learned() -> None:
    data = recordings(5, knobs=(0.1, 0.9))
    training = Training(data, brief(architecture="lstm-8", optimizer="soap", rate=0.01, steps=400))
    training.run()
    assert training.network.inputs == 2 and training.progress.best_esr < 0.1
    soft, loud = (np.square(training.answer(part)).mean() for part in data.validation)
    target_soft, target_loud = (np.square(part.target[part.judged]).mean() for part in data.validation)
    assert loud / soft == pytest.approx(target_loud / target_soft, rel=0.4) and target_loud > 4 * target_soft


@pytest.mark.parametrize("architecture", ["lstm-4", "nano"])
def test_the_same_seed_gives_the_same_amp(architecture: str) -> None:
    trainings = [Training(recordings(), brief(architecture=architecture, steps=12, seed=seed)) for seed in (1, 1, 2)]
    for training in trainings:
        training.run()
    one, again, other = map(weights, trainings)
    assert one == again != other


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
@pytest.mark.parametrize("stop_after", [1, 6, 25])
def test_a_stopped_training_goes_on_as_if_nothing_had_been(tmp_path: Path, optimizer: str, stop_after: int) -> None:
    settings, data = brief(optimizer=optimizer, batch=64, segment=256), recordings()
    whole = Training(data, settings)
    whole.run()
    stopped = Training(data, settings, tmp_path / "checkpoint.pt")
    stopped.run(stop=lambda: stopped.progress.step >= stop_after)
    assert stopped.progress.step == stop_after and not stopped.finished
    resumed = Training(data, settings, tmp_path / "checkpoint.pt")
    assert resumed.resume() == "" and resumed.progress.step == stop_after
    resumed.run()
    assert weights(resumed) == weights(whole)
    curves = [[(entry.step, entry.esr) for entry in training.progress.history if entry.step % training.epoch == 0]
              for training in (resumed, whole)]
    assert curves[0] == curves[1] and len(curves[0]) > 2


def test_what_a_checkpoint_is_not_for(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    assert "checkpoint.pt is missing" in Training(recordings(), brief(), checkpoint).resume()
    Training(recordings(), brief(steps=2), checkpoint).run()
    assert "seed" in Training(recordings(), brief(seed=5), checkpoint).resume()
    assert "recordings" in Training(recordings(5), brief(), checkpoint).resume()
    assert Training(recordings(), brief(steps=4), checkpoint).resume() == ""  # longer
    content = checkpoint.read_bytes()
    for broken in (content[: len(content) // 2], b"", b"not this"):
        checkpoint.write_bytes(broken)
        with pytest.raises(TrainingError, match="no whole checkpoint .* --restart"):
            Training(recordings(), brief(), checkpoint).resume()


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    checkpoint = tmp_path / "checkpoint.pt"
    torch.save({"identity": Trap()}, checkpoint, pickle_module=pickle)
    with pytest.raises(TrainingError):
        Training(recordings(), brief(), checkpoint).resume()
    assert not (tmp_path / "trapped").exists()


def test_minutes_anneal_to_the_budget() -> None:
    """By a clock that runs a second a step: the rate rises, falls along a cosine, and all ends on time."""
    now = 0.0

    def clock() -> float:
        return now

    rates = []

    def tick(progress: object) -> None:
        nonlocal now
        now += 1
        rates.append(training.progress.rate)

    training = Training(recordings(), brief(steps=None, minutes=2, rate=0.01), clock=clock)
    training.run(tick)
    assert training.progress.seconds == pytest.approx(120, abs=2) and training.done == 1 and training.left == 0
    peak = int(np.argmax(rates))
    assert rates[peak] == pytest.approx(0.01, rel=0.05) and 3 <= peak <= 10
    assert rates[62] == pytest.approx(0.01 * 0.5 * (1 + math.cos(math.pi * (62 / 120 - 0.05) / 0.95)), rel=0.1)
    assert rates[-1] < 1e-4 and rates[peak:] == sorted(rates[peak:], reverse=True)


def test_early_stopping_and_the_best_is_kept() -> None:
    """With far too high a rate nothing gets better: the training ends, and the best of it is what is kept."""
    training = Training(recordings(), brief(steps=4000, rate=3.0, warm=0.5, early_stopping=True, patience=4))
    training.run()
    history, best = training.progress.history, training.progress.best
    assert training.finished == "no better in 4 validations" and best == len(history) - 5
    assert history[best].esr == min(entry.esr for entry in history)
    training.network.load_state_dict(training.best)
    assert training.esr(training.data.validation) == pytest.approx(history[best].esr, rel=1e-5)


def test_a_loss_that_is_no_number_costs_rate_and_not_the_training() -> None:
    training = Training(recordings(), brief(steps=30))
    real, calls = training.loss, 0

    def broken(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(prediction, target) * (math.nan if calls in (10, 11) else 1)

    training.loss = broken  # type: ignore[assignment]
    training.run()
    assert training.progress.slower == 2 and training.finished == "all 30 steps done"
    assert all(map(math.isfinite, weights(training))) and math.isfinite(training.progress.best_esr)
    hopeless = Training(recordings(), brief(steps=30))
    hopeless.loss = lambda prediction, target: real(prediction, target) * math.nan  # type: ignore[assignment]
    with pytest.raises(TrainingError, match="Lower the --rate"):
        hopeless.run()


def test_refusals() -> None:
    with pytest.raises(TrainingError, match="no architecture 'wavenet9'"):
        Training(recordings(), brief(architecture="wavenet9"))
    with pytest.raises(TrainingError, match="too short for standard"):
        Training(recordings(0.2), brief(architecture="standard"))
    with pytest.raises(TrainingError, match="give one of them"):
        brief(minutes=3)
    with pytest.raises(TrainingError, match="one of them"):
        amp_presets.settings(recordings(), "nano", epochs=3, minutes=2)
    with pytest.raises(TrainingError, match="no device nonsense"):
        amp_presets.device("nonsense", None)


def test_presets() -> None:
    data = recordings()
    fast, best = (amp_presets.settings(data, "feather", preset) for preset in ("fast", "best"))
    assert 0 < 10 * fast.steps <= best.steps and fast.loss == {"mse": 1.0}
    assert amp_presets.settings(data, "wavenet2").loss == {"esr": 1.0, "dc": 1.0}
    assert amp_presets.settings(data, "lstm-16", losses=[("mrstft", 0.5)], batch=8, rate=None).loss == {"mrstft": 0.5}
    timed = amp_presets.settings(data, "lstm-16", minutes=3)
    assert timed.minutes == 3 and timed.steps is None
    training = Training(data, amp_presets.settings(data, "nano", epochs=3))
    assert training.settings.steps == 3 * training.epoch
