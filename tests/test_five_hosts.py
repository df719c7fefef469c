"""One file, one signal: Python, ``neurig render``, the rig, Pure Data, scsynth and supernova give the same samples, for
amps of every family; and Python, the rig, Pure Data, scsynth and supernova play the same performance."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import hosts
import neurig
import pd.render
import rig.client
import rig.render
import sc.render
from core import seeds
from neurig.files import share
from neurig.session import MODES, Session

RATE = hosts.RATE
SILENCE = np.zeros(4096, np.float32)

HOSTS: dict[str, Callable[[Sequence[Path], hosts.Signal], hosts.Signal]] = {
    "neurig render": hosts.command,
    "rig": hosts.by_rig,
    "Pure Data": hosts.by_pd,
    "scsynth": lambda paths, x: hosts.by_supercollider(paths, x, "scsynth"),
    "supernova": lambda paths, x: hosts.by_supercollider(paths, x, "supernova"),
}


def signal() -> hosts.Signal:
    """Plucked notes and noise, between silences."""
    rng = np.random.default_rng(4)
    t = np.arange(RATE // 4) / RATE
    notes = sum(np.sin(2 * np.pi * f * t) * np.exp(-6 * t) for f in (82.4, 123.5, 329.6)) / 6
    x = np.concatenate([SILENCE, notes + rng.normal(0, 0.01, len(t)), SILENCE])
    return x.astype(np.float32)


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The bundled ones, one that is made for each family, and an impulse response of another rate, too loud and with
    silence at its end."""
    folder = tmp_path_factory.mktemp("families")
    for name, text in seeds.seeds().items():
        if name != "mdrnn":
            (folder / f"{name}.json").write_text(text)
    decay = np.exp(-np.arange(2000) / 150)[:, np.newaxis] * np.random.default_rng(1).uniform(-1, 1, (2000, 2))
    decay *= np.hanning(4000)[:2000, np.newaxis]
    soundfile.write(folder / "stereo.flac", np.pad(decay, ((0, 9000), (0, 0))), 44100, "PCM_24")
    return [share("models", "crunch.nam"), share("models", "open-back.wav"), *sorted(folder.iterdir())]


@pytest.fixture(scope="module")
def field(data: Path) -> list[Path]:
    """All amps of the reference data."""
    return sorted(path for path in (data / "amps").iterdir() if path.suffix != ".npy")


@pytest.mark.parametrize("files", ["families", "field"])
@pytest.mark.parametrize("host", HOSTS)
def test_same_samples(host: str, files: str, request: pytest.FixtureRequest) -> None:
    paths, x = request.getfixturevalue(files), signal()
    # The rig has been playing silence for a while, and what is recurrent remembers even that.
    before = np.zeros(round(rig.render.WARM_UP * RATE) if host == "rig" else 0, np.float32)
    wanted = hosts.python(paths, np.concatenate([before, x]))[len(before) :]
    got = HOSTS[host](paths, x)
    assert got.shape == wanted.shape
    size = np.abs(wanted).max(0)
    assert (size > 1e-3).all()
    off = np.abs(got - wanted)[len(SILENCE) // 2 :].max(0) / np.maximum(1, size)
    assert not {path.name: error for path, error in zip(paths, off, strict=True) if not error <= 1e-6}


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
