"""What the tests of captures share: the signal, a device, and files of both."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from python.conftest import command  # noqa: F401 - a fixture
from scipy.signal import lfilter

from neurig.capture import signal

RATE = 48000
Samples = NDArray[np.float64]
Pair = Callable[..., tuple[Path, Path]]


def device(x: Samples) -> Samples:
    """An amp: it distorts, and then takes highs away."""
    return lfilter([0.4], [1, -0.6], np.tanh(2 * x))


def delayed(x: Samples, samples: float) -> Samples:
    """Later by any number of samples, exactly (what is band-limited stays so)."""
    n = 2 * len(x)
    return np.fft.irfft(np.fft.rfft(x, n) * np.exp(-2j * np.pi * np.fft.rfftfreq(n) * samples), n)[: len(x)]


@pytest.fixture(scope="session")
def whole() -> Samples:
    """The test signal, 30 s."""
    return signal.signal(30, RATE, seed=3)


@pytest.fixture(scope="session")
def playing(whole: Samples) -> Samples:
    """Ten seconds of it: what somebody may have played."""
    return whole[8 * RATE : 18 * RATE]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Writes an input and an output."""

    def write(x: Samples, y: Samples, rate: int = RATE, output_rate: int = RATE, format: str = "wav",
              subtype: str = "PCM_24") -> tuple[Path, Path]:
        paths = tmp_path / f"in.{format}", tmp_path / f"out.{format}"
        for path, samples, its_rate in zip(paths, (x, y), (rate, output_rate), strict=True):
            soundfile.write(path, samples, its_rate, subtype)
        return paths

    return write
