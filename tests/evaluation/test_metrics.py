"""The figures against other libraries' computations, and against what is known by hand."""

from collections.abc import Callable

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray

from neurig.evaluation import metrics, spectra

RATE = 48000


@pytest.fixture
def pair() -> tuple[NDArray, NDArray]:
    """Coloured noise that comes and goes, with silence in it, and the same through a soft limiter."""
    random = np.random.default_rng(5)
    noise = scipy.signal.lfilter([0.1], [1, -0.9], random.normal(0, 1, 20001))
    target = noise * np.sin(np.arange(20001) / 3000) ** 2
    target[9000:12000] = 0
    return target, np.tanh(1.1 * target) + random.normal(0, 1e-3, 20001)


@pytest.mark.parametrize("metric", metrics.ALL.values())
def test_of_the_same_all_are_zero(metric: Callable, pair: tuple[NDArray, NDArray]) -> None:
    assert metric(pair[0], pair[0]) == 0
    assert metric(*pair) > 1e-4


def test_by_hand() -> None:
    assert metrics.esr([3, 4], [3, 2]) == pytest.approx(4 / 25)
    assert metrics.mae([1, -1, 0.5, 0], [0.5, -1, 0, 0.25]) == pytest.approx(1.25 / 4)
    # filtered: [1, 1.05], [1, 0.05]
    assert metrics.esr_preemphasis([1, 2], [1, 1]) == pytest.approx(1 / (1 + 1.05**2))


@pytest.mark.parametrize("gain", [0, 0.5, 0.99, 1.1, -1])
def test_a_wrong_gain_has_a_known_error(gain: float, pair: tuple[NDArray, NDArray]) -> None:
    target = pair[0]
    for metric in (metrics.esr, metrics.esr_preemphasis):
        assert metric(target, gain * target) == pytest.approx((1 - gain) ** 2)
    assert metrics.mae(target, gain * target) == pytest.approx(abs(1 - gain) * np.abs(target).mean())


def test_a_gain_has_a_known_spectral_distance() -> None:
    """On steady noise: spectral convergence is 1 - gain, and the distance of the logarithms is that of the gain's."""
    target = np.random.default_rng(1).normal(0, 0.3, RATE)
    assert metrics.mrstft(target, 0.5 * target) == pytest.approx(0.5 + np.log(2), rel=1e-5)


def test_preemphasis_is_the_published_filter(pair: tuple[NDArray, NDArray]) -> None:
    target, prediction = (scipy.signal.lfilter([1, -0.95], 1, signal) for signal in pair)
    assert metrics.esr_preemphasis(*pair) == pytest.approx(np.sum((target - prediction) ** 2) / np.sum(target**2))


def test_preemphasis_hears_highs() -> None:
    time = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 100 * time), 0.01 * np.sin(2 * np.pi * 5000 * time)
    assert metrics.esr_preemphasis(low + high, low) > 50 * metrics.esr(low + high, low)


@pytest.mark.parametrize("samples", [1025, 2048, 20001])
def test_mrstft_is_pytorchs(samples: int, pair: tuple[NDArray, NDArray]) -> None:
    target, prediction = (torch.from_numpy(signal[:samples].copy()) for signal in pair)
    losses = []
    for size, hop, width in ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)):
        window = torch.hann_window(width, dtype=torch.float64)
        y, predicted = (
            torch.stft(signal, size, hop, width, window, return_complex=True).abs().square().clamp(min=1e-8).sqrt()
            for signal in (target, prediction)
        )
        losses.append((y - predicted).norm() / y.norm() + (y.log() - predicted.log()).abs().mean())
    assert metrics.mrstft(*(signal[:samples] for signal in pair)) == pytest.approx(float(sum(losses)) / 3, rel=1e-9)


def test_single_precision_is_not_lost() -> None:
    """Squares of many samples are summed in double precision, whatever comes in."""
    target = np.full(2_000_000, 0.7, np.float32)
    assert metrics.esr(target, target * np.float32(1 - 2**-12)) == pytest.approx(2**-24, rel=1e-3)


@pytest.mark.parametrize(("target", "prediction", "reason"), [
    ([0.0, 0.0], [1.0, 0.0], "silent"),
    ([1.0, 0.0], [1.0], "shapes"),
    ([[1.0]], [[1.0]], "one channel"),
    ([], [], "no samples"),
])
def test_what_cannot_be_compared(target: list, prediction: list, reason: str) -> None:
    for metric in (metrics.esr, metrics.esr_preemphasis):
        with pytest.raises(ValueError, match=reason):
            metric(target, prediction)
    with pytest.raises(ValueError, match="1024 samples are too few"):
        metrics.mrstft(np.ones(1024), np.ones(1024))


def test_densities_are_scipys(pair: tuple[NDArray, NDArray]) -> None:
    frequencies, first, second, between = spectra.cross_spectra(*pair, RATE, 1024)
    expected = [scipy.signal.csd(one, other, RATE, "hann", 1024, detrend=False)
                for one, other in ((pair[0], pair[0]), (pair[1], pair[1]), pair)]
    assert np.allclose(frequencies, expected[0][0])
    for found, (_, density) in zip((first, second, between), expected, strict=True):
        assert np.allclose(found, density, rtol=1e-9, atol=1e-18)


def test_a_sine_in_the_spectrogram() -> None:
    """0.5 of full scale at 3 kHz, in the second half only."""
    sine = 0.5 * np.sin(2 * np.pi * 3000 / RATE * np.arange(RATE)) * (np.arange(RATE) >= RATE / 2)
    power = spectra.spectrogram(sine, 2048, 50)
    assert power.shape == (1025, 50) and power[:, :23].max() < 1e-20
    assert np.allclose(power[3000 * 2048 // RATE, 27:47], 0.25, rtol=1e-6)
    assert spectra.spectrogram(sine[:100], 2048, 50).shape == (1025, 1)


@pytest.mark.parametrize("most", [1, 60, 900])
def test_cross_correlation_is_scipys(most: int, pair: tuple[NDArray, NDArray]) -> None:
    first, second = pair
    whole = scipy.signal.correlate(second, first, "full") / np.sqrt(np.sum(first**2) * np.sum(second**2))
    middle = len(first) - 1
    assert np.allclose(spectra.cross_correlation(first, second, most), whole[middle - most : middle + most + 1])


@pytest.mark.parametrize(("delay", "sign"), [(0, 1), (37, 1), (-12, -1), (3.25, 1)])
def test_the_delay_is_found(delay: float, sign: int) -> None:
    noise = scipy.signal.firwin(101, 0.2)
    signal = scipy.signal.lfilter(noise, 1, np.random.default_rng(2).normal(size=30000))
    turns = np.exp(-2j * np.pi * np.fft.rfftfreq(len(signal)) * delay)
    later = sign * np.fft.irfft(np.fft.rfft(signal) * turns)
    lag, likeness = spectra.peak_of(spectra.cross_correlation(signal, later, 100))
    assert lag == pytest.approx(delay, abs=0.05) and likeness * sign > 0.95
