"""How each kind of network learns best, and for how long: found by measurement (``tests/bench/training.py``)."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from neurig.training import TrainingError
from neurig.training.amp import Settings
from neurig.training.amp_data import Data
from neurig.training.losses import DEFAULTS

PRESETS = {"fast": 3_000, "normal": 20_000, "best": 100_000}
"""Steps of the optimizer; small recurrent networks, whose steps are short, take some times as many."""


@dataclass(frozen=True)
class Recipe:
    """What suits a kind of network; the fields are those of :class:`~neurig.training.amp.Settings`."""

    loss: str
    rate: float
    batch: int = 16
    segment: int = 2048
    optimizer: str = "soap"
    steps: int = 1  # for one of a preset's


_RECIPES = {  # by the beginning of the architecture's name; the first that fits
    "a2": Recipe("nam", 0.005),
    "wavenet": Recipe("wright", 0.005),
    "lstm": Recipe("nam", 0.005, 32, 512, steps=4),
    "gru": Recipe("nam", 0.005, 32, 512, steps=4),
    "": Recipe("nam", 0.01, segment=1024),
}


def recipe(architecture: str) -> Recipe:
    """What suits an architecture."""
    return next(recipe for name, recipe in _RECIPES.items() if architecture.startswith(name))


def settings(data: Data, architecture: str, preset: str = "normal", epochs: int | None = None,
             minutes: float | None = None, losses: Any = (), **chosen: Any) -> Settings:
    """What a training is to be, out of what was chosen and what suits the architecture.

    :param preset: a name of :data:`PRESETS`
    :param epochs: as many passes over what is learned, instead of the preset's steps
    :param minutes: so long, instead
    :param losses: names and weights; empty for the published ones
    :param chosen: other fields of :class:`~neurig.training.amp.Settings`; None for what suits
    :raises TrainingError: where both epochs and minutes are given
    """
    if epochs and minutes:
        raise TrainingError("--epochs and --minutes say two things about how long: give one of them")
    suits = recipe(architecture)
    loss = dict(losses) or dict(DEFAULTS[suits.loss])
    usual = {name: getattr(suits, name) for name in ("rate", "batch", "segment", "optimizer")}
    if "mrstft" in loss:
        usual["segment"] = max(2048, suits.segment)  # it needs room for its longest window
    chosen = usual | {name: value for name, value in chosen.items() if value is not None}
    made = Settings(architecture, loss, **{"steps": suits.steps * PRESETS[preset]} | chosen)
    if minutes:
        return replace(made, steps=None, minutes=minutes)
    if epochs:
        learned = sum(map(len, data.learned))
        return replace(made, steps=epochs * max(1, round(learned / (made.batch * made.segment))))
    return made


def device(name: str, threads: int | None) -> str:
    """The device that PyTorch computes on, and its number of threads set.

    :param name: ``"auto"`` for a GPU where there is one, else one of PyTorch's
    :param threads: None for as many as there are cores
    :raises TrainingError: where it is not there
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as problem:
        reason = str(problem).partition("\n")[0]
        raise TrainingError(f"there is no device {name} to compute on ({reason}): try --device cpu") from None
    return name
