"""Whatever is changed in the middle of a full-scale sine, no host makes a step that is larger than those of the sound
before or after it, by more than half a decibel."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hosts
import pd.render
import rig.render
import sc.render
from core import seeds
from neurig.files import share
from sc.render import message

RATE = hosts.RATE
SEGMENT = RATE // 4  # samples between two changes; the last 0.1 s of them is at rest
Change = tuple[str, Any]  # a setting and its new value; or "load" and a file, or None
Host = Callable[[Path, list[Change], hosts.Signal], hosts.Signal]


def by_pd(first: Path, changes: list[Change], x: hosts.Signal, in_background: bool = False) -> hosts.Signal:
    names = {"level": "normalize"}
    told = [(0.0, f"async {int(in_background)}")]
    for number, (name, value) in enumerate(changes, 1):
        text = f"{names.get(name, name)} {value}" if value is not None else "unload"
        told.append((1000 * number * SEGMENT / RATE, text))
    return pd.render.render(f"neuralamp~ {first}", x, RATE, messages=told, batch=not in_background)


def by_supercollider(server: str) -> Host:
    def play(first: Path, changes: list[Change], x: hosts.Signal) -> hosts.Signal:
        events = []
        for number, (name, value) in enumerate(changes, 1):
            if name == "load":
                told = ("/cmd", "neuralamp_read", 0, str(value)) if value else ("/cmd", "neuralamp_free", 0)
            else:
                told = ("/n_set", 1000, name, float(value))
            events.append((number * SEGMENT / RATE, [message(*told)]))
        return sc.render.render(first, x, RATE, server, events=events)

    return play


def by_rig(first: Path, changes: list[Change], x: hosts.Signal) -> hosts.Signal:
    nodes = {"in": ("input", {}), "amp": ("amp", {"model": str(first)}), "out": ("output", {})}
    events = []
    for number, (name, value) in enumerate(changes, 1):
        if name == "load":
            what = ("put", "amp", "amp", "model", str(value))
        else:
            what = ("set", "amp", name, ["raw", "normalised"][int(value)] if name == "level" else value, 0)
        events.append((number * SEGMENT, *what))
    return rig.render.play(nodes, [("in", "amp"), ("amp", "out")], x, events, RATE)[:, 0]


HOSTS: dict[str, Host] = {
    "Pure Data": by_pd,
    "Pure Data, in real time": lambda first, changes, x: by_pd(first, changes, x, in_background=True),
    "scsynth": by_supercollider("scsynth"),
    "supernova": by_supercollider("supernova"),
    "rig": by_rig,
}
FASTER_THAN_REAL_TIME = [host for host in HOSTS if "real time" not in host]


def decibels_over(first: Path, changes: list[Change], host: str) -> dict[str, float]:
    """For each change the largest step after it, over the larger one of the sounds at rest before and after, in dB."""
    x = np.sin(2 * np.pi * 997 * np.arange(SEGMENT * (1 + len(changes))) / RATE).astype(np.float32)
    steps = np.abs(np.diff(HOSTS[host](first, changes, x), append=0)).reshape(-1, SEGMENT)
    steps[-1, -1] = 0
    at_rest = steps[:, -RATE // 10 :].max(1)
    assert (at_rest[:-1] + at_rest[1:] > 0).all()
    over = 20 * np.log10(steps[1:].max(1) / np.maximum(at_rest[1:], at_rest[:-1]))
    return {f"{number} {name} {value}": float(dB) for number, ((name, value), dB) in enumerate(zip(changes, over), 1)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models: a plain gain, one turned around, an echo that is later than a crossfade, and one of each family."""
    folder = tmp_path_factory.mktemp("models")
    taps = {"plain": [1.0], "turned": [-0.7], "echo": [0.0] * 1200 + [1.0]}
    texts = {name: text for name, text in seeds.seeds().items() if name != "mdrnn"}
    for name, weights in taps.items():
        config = {"receptive_field": len(weights), "bias": False}
        file = {"architecture": "Linear", "config": config, "weights": weights, "sample_rate": RATE}
        texts[name] = json.dumps(file | {"metadata": {"loudness": -12.0}})
    for name, text in texts.items():
        (folder / f"{name}.nam").write_text(text)
    return {name: folder / f"{name}.nam" for name in texts}


def quiet(over: dict[str, float]) -> None:
    assert not {change: dB for change, dB in over.items() if not dB <= 0.5}, over


@pytest.mark.parametrize("host", FASTER_THAN_REAL_TIME)
def test_models_of_every_kind(host: str, made: dict[str, Path]) -> None:
    files = [made["turned"], made["echo"], share("models", "crunch.nam"), share("models", "open-back.wav")]
    for name, file in made.items():
        files += [file, made["echo" if name == "lstm" else "turned"]]
    quiet(decibels_over(made["plain"], [("load", file) for file in files], host))


@pytest.mark.parametrize("host", FASTER_THAN_REAL_TIME)
def test_settings(host: str, made: dict[str, Path]) -> None:
    changes: list[Change] = [("gain", 12), ("gain", -12), ("gain", 0)]  # a real amp may be steepest in between
    changes += [("load", share("models", "crunch.nam")), ("out", -20), ("out", 6), ("bypass", 1), ("bypass", 0),
                ("level", 1), ("level", 0), ("load", made["container"]), ("slim", 0), ("slim", 1),
                ("load", made["echo"]), ("bypass", 1)]  # fmt: skip
    quiet(decibels_over(made["plain"], changes, host))


@pytest.mark.parametrize("host", HOSTS)
def test_nothing_is_loaded(host: str, made: dict[str, Path]) -> None:
    if host == "rig":
        changes = [("bypass", 1), ("load", made["echo"]), ("bypass", 0)]  # its amps always have a model
    else:
        changes = [("load", None), ("load", made["echo"]), ("load", None), ("load", share("models", "crunch.nam"))]
    quiet(decibels_over(made["plain"], changes, host))


@pytest.mark.parametrize("host", FASTER_THAN_REAL_TIME)
def test_models_of_the_field(host: str, data: Path, made: dict[str, Path]) -> None:
    """From a plain gain to each, and from each to the next."""
    files = sorted(path for path in (data / "amps").iterdir() if path.suffix != ".npy")
    names = [part for path in files for part in (path, made["turned"])] + files
    quiet(decibels_over(made["plain"], [("load", file) for file in names], host))
