"""Impulse responses: exact convolution, no latency, any block size, any rate."""

import numpy as np
import pytest
from scipy.signal import fftconvolve, resample_poly

from neurig.model import impulse_response

X = np.random.default_rng(0).normal(0, 0.3, 20000).astype(np.float32)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 128, 129, 1000, 8192])
def test_convolution(length: int) -> None:
    taps = np.random.default_rng(length).normal(0, 1 / np.sqrt(length), length).astype(np.float32)
    model = impulse_response(taps, 48000)
    instance = model.instance(48000)
    assert instance.latency == 0 and model.info["architecture"] == "IR"
    wanted = fftconvolve(X.astype(float), taps.astype(float))[: len(X)]
    assert np.max(np.abs(instance.process(X) - wanted)) < 1e-5


def test_impulse_gives_the_response() -> None:
    taps = np.linspace(1, -1, 500).astype(np.float32)
    impulse = np.zeros(700, np.float32)
    impulse[100] = 1
    y = impulse_response(taps, 48000).instance(48000).process(impulse)
    assert np.allclose(y[100:600], taps, atol=1e-6) and np.allclose(y[:100], 0, atol=1e-6)


def test_block_sizes_give_the_same_samples() -> None:
    model = impulse_response(np.random.default_rng(1).normal(0, 0.03, 3000), 48000)
    wanted = model.instance(48000).process(X)
    for block in (1, 7, 64, 333, 4096):
        instance = model.instance(48000)
        y = np.concatenate([instance.process(X[i : i + block]) for i in range(0, len(X), block)])
        assert np.array_equal(y, wanted), block


@pytest.mark.parametrize(("rate", "up", "down"), [(96000, 2, 1), (44100, 147, 160)])
def test_resampled_to_the_hosts_rate(rate: int, up: int, down: int) -> None:
    """No latency at any rate, and the same filter: its gain at a few frequencies is that at its own rate."""
    n = np.arange(2000)
    onset = np.minimum(n / 20, 1) ** 2  # an abrupt start would ring before time 0 at another rate, where nothing can be
    taps = (onset * np.exp(-n / 150) * np.cos(2 * np.pi * 1200 * n / 48000) / 100).astype(np.float32)
    instance = impulse_response(taps, 48000).instance(rate)
    assert instance.latency == 0
    impulse = np.zeros(8192, np.float32)
    impulse[0] = 1
    y = instance.process(impulse)
    for frequency in (300, 1200, 5000, 12000):
        at = np.exp(-2j * np.pi * frequency / rate * np.arange(len(y)))
        wanted = np.sum(taps * np.exp(-2j * np.pi * frequency / 48000 * n))
        assert abs(abs(np.sum(y * at)) / abs(wanted) - 1) < 0.01, frequency
    assert abs(np.argmax(np.abs(y)) - np.argmax(np.abs(resample_poly(taps, up, down)))) <= 2
