"""Predictors from Python and from the command: the network's equations, the draws, and what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from python.helpers import Command, Mdrnn

import neurig
from neurig.files import share

GOLDEN = "musicMDRNN-dim{}-layers2-units64-mixtures5-scale10"


def _frames(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.uniform(0, 1, (count, dimension)).astype(np.float32)


def _equal(found: np.ndarray, reference: np.ndarray) -> bool:
    """To within 1e-4. Some sigmas are beyond 300, where the references themselves, in float32, are 9e-5 from exact: the
    order of a sum decides there, so a millionth of the value is allowed on top."""
    return np.allclose(found, reference, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("sizes", [(3, 8, 2, 4), (2, 1, 1, 1), (9, 33, 3, 5), (4, 64, 2, 5)])
def test_steps_follow_the_equations(tmp_path: Path, sizes: tuple[int, int, int, int]) -> None:
    model = Mdrnn(*sizes)
    predictor = neurig.Predictor(model.write(tmp_path / "m.mdrnn"))
    assert (predictor.dimension, predictor.mixtures) == (model.dimension, model.mixtures)
    frames = _frames(64, model.dimension)
    for frame, expected in zip(frames, model.steps(frames), strict=True):
        predictor.condition(frame)
        for found, wanted in zip(predictor.mixture(), expected, strict=True):
            assert found.shape == wanted.shape
            assert np.abs(found - wanted).max() < 1e-4


@pytest.mark.parametrize("dimension", [4, 9])
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_reference_steps(data: Path, dimension: int, kind: str) -> None:
    name = GOLDEN.format(dimension)
    golden = np.load(data / "impsy/golden" / f"{name}.npz")
    predictor = neurig.Predictor(data / "impsy/models" / f"{name}.{kind}")
    for step, frame in enumerate(golden["inputs"]):
        predictor.condition(frame)
        mus, sigmas, logits = predictor.mixture()
        assert _equal(mus, golden["mus"][step])
        assert _equal(sigmas, golden["sigmas"][step])
        assert _equal(logits, golden["pi_logits"][step])


def test_reference_steps_through_the_command(data: Path, command: Command, tmp_path: Path) -> None:
    name = GOLDEN.format(4)
    golden = np.load(data / "impsy/golden" / f"{name}.npz")
    np.savetxt(tmp_path / "frames.csv", golden["inputs"], fmt="%.9g", delimiter=",", header="dt,x1,x2,x3", comments="")
    command("convert", data / "impsy/models" / f"{name}.keras", "four.mdrnn")
    for model in ("four.mdrnn", data / "impsy/models" / f"{name}.h5"):
        answers = [json.loads(line) for line in command("step", model, "frames.csv").stdout.splitlines()]
        assert len(answers) == 64
        for key in ("mus", "sigmas", "pis"):
            found = np.array([answer[key] for answer in answers])
            assert found.shape == golden[key].shape
            assert _equal(found, golden[key])


def test_the_same_seed_gives_the_same_performance(mdrnn_file: Path) -> None:
    def play(predictor: neurig.Predictor) -> list[list[float]]:
        predictor.condition([0.1, 0.2, 0.3])
        return [predictor.predict(1.2, 0.5).tolist() for _ in range(50)]

    first, same, other = (neurig.Predictor(mdrnn_file, seed) for seed in (7, 7, 8))
    performance = play(first)
    assert performance == play(same)
    assert performance != play(other)
    first.reset()
    assert performance != play(first)  # the generator has gone on
    first.reset()
    first.seed(7)
    assert performance == play(first)


def test_two_sessions_share_a_model_and_nothing_else(mdrnn_file: Path) -> None:
    model = neurig.load(mdrnn_file)
    alone, one, two = (neurig.Predictor(model, seed=3) for _ in range(3))
    for frame in _frames(20, 3):
        alone.condition(frame)
        one.condition(frame)
        two.condition(frame[::-1])
        assert np.array_equal(alone.predict(), one.predict())
        two.predict()


def test_predictions_can_be_played(mdrnn_file: Path) -> None:
    predictor = neurig.Predictor(mdrnn_file, seed=1)
    frames = np.array([predictor.predict(2.0, 400.0) for _ in range(500)])
    assert frames.dtype == np.float32 and np.isfinite(frames).all()
    # With a variance like this some were out of range.
    assert frames[:, 0].min() == np.float32(0.001)
    assert frames[:, 1:].min() == 0 and frames[:, 1:].max() == 1


def test_a_prediction_is_the_next_input(mdrnn_file: Path) -> None:
    runs_on, told = neurig.Predictor(mdrnn_file, seed=5), neurig.Predictor(mdrnn_file, seed=5)
    for predictor in (runs_on, told):
        predictor.condition([0.1, 0.5, 0.9])
    for _ in range(30):
        frame = told.predict()
        assert np.array_equal(runs_on.predict(), frame)
        told.condition(frame)


def test_draws_are_from_the_mixture(mdrnn_file: Path) -> None:
    predictor = neurig.Predictor(mdrnn_file, seed=11)
    predictor.condition([0.1, 0.5, 0.9])
    mus, sigmas, logits = (array.astype(float) for array in predictor.mixture())
    pi_temp, sigma_temp, count = 0.7, 0.3, 20000
    pis = np.exp(logits / pi_temp) / np.exp(logits / pi_temp).sum()
    mean = pis @ mus
    variance = pis @ (sigmas**2 * sigma_temp + mus**2) - mean**2
    draws = 10 * np.array([predictor.sample(pi_temp, sigma_temp) for _ in range(count)], float)
    error = np.sqrt(variance / count)
    assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * error)
    assert np.all(np.abs(draws.var(axis=0) / variance - 1) < 0.1)
    # Without variance each draw is a component's mean, as often as the component is likely.
    draws = 10 * np.array([predictor.sample(pi_temp, 0.0) for _ in range(count)], float)
    nearest = np.abs(draws[:, None] - mus).sum(axis=2)
    assert nearest.min(axis=1).max() < 1e-4
    share_of_each = np.bincount(nearest.argmin(axis=1), minlength=len(pis)) / count
    assert np.abs(share_of_each - pis).max() < 5 * math.sqrt(0.25 / count)


def test_wrong_frames_change_nothing(mdrnn_file: Path) -> None:
    predictor = neurig.Predictor(mdrnn_file)
    predictor.condition([0.1, 0.5, 0.9])
    before = predictor.mixture()
    for frame, reason in (
        ([0.1, 0.5], "has 3 numbers .* not 2 numbers"),
        ([[0.1, 0.5, 0.9]], r"shape \(1, 3\)"),
        (0.5, "shape"),
        ([0.1, float("nan"), 0.9], "finite"),
        ([0.1, float("inf"), 0.9], "finite"),
    ):
        with pytest.raises(ValueError, match=reason):
            predictor.condition(frame)
    for now, then in zip(predictor.mixture(), before, strict=True):
        assert np.array_equal(now, then)


def test_wrong_temperatures_and_seeds(mdrnn_file: Path) -> None:
    predictor = neurig.Predictor(mdrnn_file)
    for draw in (predictor.predict, predictor.sample):
        for temperatures in ((0, 0.01), (-1, 0.01), (float("nan"), 0.01), (1, -0.1), (1, float("inf"))):
            with pytest.raises(ValueError, match="_temp is"):
                draw(*temperatures)
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="seed"):
            predictor.seed(seed)
        with pytest.raises(ValueError, match="seed"):
            neurig.Predictor(mdrnn_file, seed)


def test_an_amp_is_no_predictor(gain_model: Path) -> None:
    with pytest.raises(neurig.ModelError, match="gain.nam: "):
        neurig.Predictor(gain_model)


def test_the_bundled_predictor(tmp_path: Path) -> None:
    predictor = neurig.Predictor(share("models", "wander.mdrnn"), seed=1)
    assert (predictor.dimension, predictor.mixtures) == (4, 5)
    frames = np.array([predictor.predict() for _ in range(300)])
    assert np.isfinite(frames).all()
    assert frames[:, 1:].std(axis=0).min() > 0.02, "it should move all its three values"


def test_step_samples_by_seed(command: Command, mdrnn_file: Path) -> None:
    rows = "0.1,0.2,0.3\n0.2,0.3,0.4\n" * 5

    def samples(*options: object) -> list[list[float]]:
        lines = command("step", mdrnn_file, "-", "--sample", *options, stdin=rows).stdout.splitlines()
        return [json.loads(line)["sample"] for line in lines]

    assert samples("--seed", 4) == samples("--seed", 4)
    assert samples("--seed", 4) != samples("--seed", 5)
    assert samples() == samples("--seed", 0)
    predictor = neurig.Predictor(mdrnn_file, 4)
    expected = []
    for row in rows.splitlines():
        predictor.condition([float(cell) for cell in row.split(",")])
        expected.append(predictor.sample(2.0, 0.5))
    found = samples("--seed", 4, "--pi-temp", 2, "--sigma-temp", 0.5)
    assert np.array_equal(np.array(found, np.float32), expected)
    first = json.loads(command("step", mdrnn_file, "-", stdin=rows).stdout.splitlines()[0])
    assert list(first) == ["mus", "sigmas", "pis"]
    assert np.array(first["mus"]).shape == np.array(first["sigmas"]).shape == (4, 3)
    assert math.isclose(sum(first["pis"]), 1, abs_tol=1e-9)


def test_step_reads_tables_as_people_write_them(command: Command, mdrnn_file: Path, tmp_path: Path) -> None:
    plain = command("step", mdrnn_file, "-", stdin="0.1,0.2,0.3\n1,0,1\n").stdout
    assert plain.count("\n") == 2
    (tmp_path / "sheet.csv").write_bytes(b"\xef\xbb\xbfdt,x1,x2\r\n 0.1, 0.2, 0.3\r\n\r\n1,0,1e0")
    assert command("step", mdrnn_file, "sheet.csv").stdout == plain
    assert command("step", mdrnn_file, "-", stdin="").stdout == ""


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("0.1,0.2", "has 3 numbers (dt and 2 values), not 2 numbers"),
        ("0.1,0.2,0.3,0.4", "not 4 numbers"),
        ("0.1,loud,0.3", "'loud' is not a number"),
        ("dt,x1,x2", "'dt' is not a number"),
        ("0.1,,0.3", "'' is not a number"),
        ("0.1,nan,0.3", "finite"),
    ],
)
def test_step_names_the_line_that_is_wrong(command: Command, mdrnn_file: Path, row: str, reason: str) -> None:
    done = command("step", mdrnn_file, "-", stdin=f"dt,x1,x2\n0.1,0.2,0.3\n{row}\n0.1,0.2,0.3\n", code=1)
    assert f"line 3: " in done.stderr and reason in done.stderr
    assert done.stdout.count("\n") == 1  # what was before it has been answered
