"""One model, one signal, five hosts: Python offline, pyo, Pure Data, scsynth and supernova give the same samples; and
Python, the rig, Pure Data, scsynth and supernova play the same performance."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import neurig
import pd.render
import rig.client
import rig.render
import sc.render
from neurig.files import share
from neurig.session import MODES, Session

Signal = NDArray[np.float32]
RATE = 48000
SILENCE = np.zeros(4096, np.float32)

HOSTS: dict[str, Callable[[Path, Signal], Signal]] = {
    "pyo": lambda path, x: rig.render.render(path, x, rate=RATE),
    "Pure Data": lambda path, x: pd.render.render(f"neuralamp~ {path}", x, rate=RATE),
    "scsynth": lambda path, x: sc.render.render(path, x, rate=RATE, server="scsynth"),
    "supernova": lambda path, x: sc.render.render(path, x, rate=RATE, server="supernova"),
}

# One or two of every family; those that are bundled, or made here, are always tested.
BUNDLED = ["crunch.nam", "open-back.wav"]
STEREO = "stereo.flac"
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


@pytest.fixture(params=[*BUNDLED, STEREO, *OTHERS])
def model_path(request: pytest.FixtureRequest) -> Path:
    if request.param in BUNDLED:
        return share("models", request.param)
    if request.param == STEREO:  # an impulse response of another rate, too loud and with silence at its end
        path = request.getfixturevalue("tmp_path") / STEREO
        decay = np.exp(-np.arange(2000) / 150)[:, np.newaxis] * np.random.default_rng(1).uniform(-1, 1, (2000, 2))
        soundfile.write(path, np.pad(decay * np.hanning(4000)[:2000, np.newaxis], ((0, 9000), (0, 0))), 44100, "PCM_24")
        return path
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


Frames = NDArray[np.float64]  # rows of x1 …
SETTINGS = {"seed": 11, "sigmatemp": 0.3, "pitemp": 1.5, "timescale": 0.5}
SECONDS = 2


def by_python(path: Path) -> Frames:
    session, seconds = Session(neurig.Predictor(path), "battle", **SETTINGS), np.arange(0, SECONDS, 0.1)
    return np.array([event.values for now in seconds for event in session.advance(now)])


def by_pd(path: Path) -> Frames:
    flags = " ".join(f"-{name} {value}" for name, value in SETTINGS.items())
    patch = pd.render.Patch()
    patch.chain(patch.obj(f"mdrnn -mode battle {flags} {path}"), patch.obj("print"))
    patch.at(patch.obj("loadbang"), 1000 * SECONDS, "; pd quit", 0)
    return np.array([[float(number) for number in line.split()[1:]] for line in patch.run()])


def by_supercollider(path: Path, server: str) -> Frames:
    values = neurig.Predictor(path).dimension - 1
    played = sc.render.play(path, [], SECONDS, values, server, mode=MODES.index("battle"), **SETTINGS)
    return played[played[:, 1] > 0][:, 3:].astype(float)


def by_rig(path: Path, folder: Path) -> Frames:
    server = rig.client.Server(env={"XDG_DATA_HOME": str(folder)})
    client = rig.client.Client(server.port)
    try:
        settings = [part for setting in SETTINGS.items() for part in setting]
        client.do("/rig/new", "hand", "predictor", "model", str(path), "mode", "battle", "run", 0, *settings)
        client.do("/rig/subscribe", "/rig/hand/output", 1000)
        client.do("/rig/hand/run", 1)
        return np.array([client.receive()[1:] for _ in range(15)])
    finally:
        client.close()
        server.stop()


PLAYERS: dict[str, Callable[[Path, Path], Frames]] = {
    "Pure Data": lambda path, folder: by_pd(path),
    "scsynth": lambda path, folder: by_supercollider(path, "scsynth"),
    "supernova": lambda path, folder: by_supercollider(path, "supernova"),
    "rig": by_rig,
}


@pytest.mark.parametrize("player", PLAYERS)
def test_same_performance(player: str, tmp_path: Path) -> None:
    path = share("models", "wander.mdrnn")
    wanted, got = by_python(path), PLAYERS[player](path, tmp_path)
    assert len(got) >= 15
    count = min(len(wanted), len(got))
    assert abs(len(wanted) - count) <= 2 or player == "rig"
    np.testing.assert_allclose(got[:count], wanted[:count], rtol=1e-5, atol=1e-6)
