"""The MDRNN step against NumPy, its sampler against the mixture it draws from, and a session's rules."""

import numpy as np
import pytest

import neurig
from core import models
from neurig.model import parse


@pytest.mark.parametrize(("dimension", "units", "layers", "mixtures"), [
    (2, 16, 2, 5), (3, 32, 2, 5), (4, 64, 2, 5), (9, 128, 2, 5), (17, 256, 2, 5), (9, 512, 3, 5),  # xxs … xl
    (64, 512, 3, 64),
    (9, 64, 3, 1), (64, 7, 1, 64), (2, 1, 1, 1), (5, 33, 2, 7),
])  # fmt: skip
def test_step(dimension: int, units: int, layers: int, mixtures: int) -> None:
    rng = np.random.default_rng(1)
    text = models.mdrnn_file(dimension, units, layers, mixtures, rng)
    frames = rng.uniform(0, 1, (30, dimension))
    mus, sigmas, logits = models.mdrnn(text, frames)
    predictor = neurig.Predictor(parse(text))
    assert (predictor.dimension, predictor.mixtures) == (dimension, mixtures)
    for n, frame in enumerate(frames):
        predictor.condition(frame)
        got = predictor.mixture()
        for part, wanted in zip(got, (mus[n], sigmas[n], logits[n]), strict=True):
            assert part.shape == wanted.shape
            assert np.max(np.abs(part - wanted)) < 1e-5


def small(seed: int = 0) -> neurig.Predictor:
    return neurig.Predictor(parse(models.mdrnn_file(4, 16, 2, 5, np.random.default_rng(7))), seed)


def test_sampler_draws_from_the_mixture() -> None:
    """20000 draws: mean and covariance of the Gaussian mixture, at two settings of the temperatures."""
    predictor = small()
    predictor.condition([0.1, 0.2, 0.8, 0.4])
    mus, sigmas, logits = (part.astype(float) for part in predictor.mixture())
    for pi_temp, sigma_temp in ((1.0, 1.0), (2.5, 0.2)):
        draws = np.array([predictor.sample(pi_temp, sigma_temp) for _ in range(20000)]) * 10
        pis = np.exp(logits / pi_temp) / np.sum(np.exp(logits / pi_temp))
        mean = pis @ mus
        variance = pis @ (mus**2 + sigma_temp * sigmas**2) - mean**2
        assert np.all(np.abs(draws.mean(0) - mean) < 5 * np.sqrt(variance / len(draws)))
        assert np.allclose(draws.var(0), variance, rtol=0.06)


def test_cold_sampling_takes_the_likeliest_mean() -> None:
    predictor = small()
    predictor.condition([0.1, 0.2, 0.8, 0.4])
    mus, _, logits = predictor.mixture()
    assert np.allclose(predictor.sample(1e-3, 0), mus[np.argmax(logits)] / 10, atol=1e-6)


def test_same_seed_same_performance() -> None:
    play = lambda p: np.array([p.predict(1.5, 0.5) for _ in range(200)])  # noqa: E731
    assert np.array_equal(play(small(11)), play(small(11)))
    assert not np.array_equal(play(small(11)), play(small(12)))
    again = small(3)
    play(again)
    again.reset()
    again.seed(11)
    assert np.array_equal(play(again), play(small(11)))


def test_predictions_are_playable() -> None:
    """However hot: dt at least a millisecond, x within 0..1."""
    predictor = small()
    frames = np.array([predictor.predict(10, 50) for _ in range(2000)])
    assert frames[:, 0].min() == np.float32(0.001)
    assert frames[:, 1:].min() == 0 and frames[:, 1:].max() == 1


def test_a_prediction_after_a_condition_takes_no_second_step() -> None:
    """A player's last frame enters the network once, though a prediction follows it."""
    first, second = small(5), small(5)
    frame = [0.1, 0.3, 0.6, 0.9]
    first.condition(frame)
    mixture = first.mixture()
    predicted = first.predict(1, 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(first.mixture(), mixture, strict=True))
    # the next prediction goes on from the one before
    second.condition(frame)
    second.predict(1, 0.1)
    second.condition(predicted)
    first.predict(1, 0.1)
    assert all(np.array_equal(a, b) for a, b in zip(first.mixture(), second.mixture(), strict=True))
