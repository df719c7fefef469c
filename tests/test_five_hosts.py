"""One model, one signal, five hosts: Python offline, pyo, Pure Data, scsynth and supernova give the same samples."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import neurig
import pd.render
import rig.render
import sc.render
from neurig.files import share

Signal = NDArray[np.float32]
RATE = 48000
SILENCE = np.zeros(4096, np.float32)

HOSTS: dict[str, Callable[[Path, Signal], Signal]] = {
    "pyo": lambda path, x: rig.render.render(path, x, rate=RATE),
    "Pure Data": lambda path, x: pd.render.render(f"neuralamp~ {path}", x, rate=RATE),
    "scsynth": lambda path, x: sc.render.render(path, x, rate=RATE, server="scsynth"),
    "supernova": lambda path, x: sc.render.render(path, x, rate=RATE, server="supernova"),
}

# One or two of every family; the first is bundled and always tested.
BUNDLED = "crunch.nam"
OTHERS = ["BossWN-standard.nam", "BossWN-nano.nam", "BossWN-a2.nam", "BossLSTM-1x16.nam", "linear_10.nam", "wavenet_condition_dsp.nam",
          "slimmable_wavenet.nam", "GRU16c_RTNeural.json", "MESA_MK3_CRUNCH_LIGHTEST_MELODISAMPO.aidax", "Muff-Pi.json", "TS9.json",
          "WaveNet2-muff.json"]  # fmt: skip


def signal() -> Signal:
    """Plucked notes and noise, between silences."""
    rng = np.random.default_rng(4)
    t = np.arange(RATE // 2) / RATE
    notes = sum(np.sin(2 * np.pi * f * t) * np.exp(-6 * t) for f in (82.4, 123.5, 329.6)) / 6
    x = np.concatenate([SILENCE, notes + rng.normal(0, 0.01, len(t)), SILENCE])
    return x.astype(np.float32)


@pytest.fixture(params=[BUNDLED, *OTHERS])
def model_path(request: pytest.FixtureRequest) -> Path:
    if request.param == BUNDLED:
        return share("models", BUNDLED)
    return request.getfixturevalue("data") / "amps" / request.param


@pytest.mark.parametrize("host", HOSTS)
def test_same_samples(host: str, model_path: Path) -> None:
    x = signal()
    instance = neurig.load(model_path).instance(RATE)
    if host == "pyo":  # it has been playing silence for a while, and what is recurrent remembers even that
        instance.process(np.zeros(round(rig.render.WARM_UP * RATE), np.float32))
    wanted = instance.process(x)
    got = HOSTS[host](model_path, x)[: len(x)]
    assert len(got) == len(x)
    assert np.abs(wanted).max() > 1e-3
    assert np.abs(got - wanted)[len(SILENCE) // 2 :].max() <= 1e-6
