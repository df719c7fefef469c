"""Several models beside one device: how near each comes to it, and what that costs, to choose one for a machine."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from neurig import bench
from neurig.evaluation import Channel, EvaluationError, evaluate
from neurig.files import atomic
from neurig.model import Model, load

SUFFIXES = (".svg", ".png", ".pdf")
_LEAST = 1e-16  # an error that is drawn
_BEST, _OTHER = "#20639b", "#868e96"  # colours


@dataclass(frozen=True)
class Candidate:
    """A model, in one of the sizes that it comes in.

    :ivar model: the path as it was given
    :ivar title: its file's name, or as much of the path as tells it from the others
    :ivar slim: the size, 0 (smallest) to 1; None for a model of one size
    :ivar metrics: ``esr``, ``esr_preemphasis``, ``mae``, ``mrstft``
    :ivar ns_per_sample: of CPU time on one core of this machine, median of the rounds
    :ivar ns_low, ns_high: quartiles
    :ivar real_time_factor: how many times faster than real time that is at the model's rate
    :ivar macs: multiply-adds for each sample; None where the file does not tell, or ``slim`` is less than 1
    :ivar is_best: does none of the others cost less, and come nearer?
    :ivar notices: what the user should know
    """

    model: str
    title: str
    slim: float | None
    metrics: dict[str, float]
    ns_per_sample: float
    ns_low: float
    ns_high: float
    real_time_factor: float
    macs: int | None
    is_best: bool = False
    notices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What to call it."""
        return self.title + ("" if self.slim is None else f", slim {self.slim:.2g}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare(
    models: Sequence[str | os.PathLike[str]],
    source: str | os.PathLike[str],
    recorded: str | os.PathLike[str],
    channel: Channel | None = None,
    block: int = 64,
    rounds: int = 5,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Candidate]:
    """Compares each model's answer with the device's, and measures what it costs.

    :param models: files, or profiles (folders that the trainer made); one that comes in several sizes counts several
        times
    :param source: what went into the device
    :param recorded: what came out of it
    :param channel: which one, of stereo files
    :param block: samples that are computed at once, where cost is measured
    :param rounds: of which the median counts
    :param progress: is told which model is looked at
    :returns: the cheapest first
    :raises EvaluationError: where they cannot be compared
    :raises ModelError: where a model cannot be read
    """
    loaded = [(os.fspath(path), load(_file(Path(path)))) for path in models]
    for path, model in loaded:
        if not model.is_amp:
            raise EvaluationError(f"{path}: this is a predictor: it makes no sound that could be compared")
    played = bench.signal()
    found = []
    for (path, model), title in zip(loaded, _titles([path for path, _ in loaded]), strict=True):
        progress(title)
        for slim in _sizes(model):
            done = evaluate(model, source, recorded, slim=slim, channel=channel)
            [row] = bench.measure([model], played, [block], rounds=rounds, slim=slim)
            macs = model.info.get("macs") if slim in (None, 1) else None
            cost = (row.ns_per_sample or 0, row.ns_low or 0, row.ns_high or 0, row.real_time_factor or 0)
            found.append(Candidate(path, title, slim, done.metrics, *cost, macs, notices=done.notices))
    found.sort(key=lambda candidate: candidate.ns_per_sample)
    best, nearest = [], np.inf
    for candidate in found:
        best.append(Candidate(**vars(candidate) | {"is_best": candidate.metrics["esr"] < nearest}))
        nearest = min(nearest, candidate.metrics["esr"])
    return best


def _file(path: Path) -> Path:
    """The model in a profile."""
    if path.is_dir():
        for name in ("model.nam", "model.json"):
            if (path / name).is_file():
                return path / name
        raise EvaluationError(f"{path}: there is no model.nam or model.json in this folder")
    return path


def _titles(paths: Sequence[str]) -> list[str]:
    """The last parts of paths, as few as tell them from each other."""
    parts = [Path(path).parts for path in dict.fromkeys(paths)]
    depth = next((n for n in range(1, max(map(len, parts))) if len({part[-n:] for part in parts}) == len(parts)), 99)
    return [str(Path(*Path(path).parts[-depth:])) for path in paths]


def _sizes(model: Model) -> list[float | None]:
    """A ``slim`` for each size that a model comes in."""
    if model.sizes < 2 or model.path is None:
        return [None]
    submodels = json.loads(model.path.read_text(encoding="utf-8"))["config"].get("submodels")
    if not submodels:
        return [number / (model.sizes - 1) for number in range(model.sizes)]
    starts = [0.0, *(submodel["max_value"] for submodel in submodels[:-1])]  # each goes to where the next one begins
    return [*starts[:-1], 1.0]


def table(candidates: Sequence[Candidate]) -> str:
    """For the terminal, which is a Markdown table, too."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.MARKDOWN)
    made.add_column("", justify="right")
    made.add_column("model", no_wrap=True)
    for title in ("ESR", "pre-emphasised", "ns/sample", "quartiles", "× real time", "multiply-adds", ""):
        made.add_column(title, no_wrap=True, justify="right")
    for number, one in enumerate(candidates, start=1):
        made.add_row(str(number), one.name, f"{one.metrics['esr']:.2e}", f"{one.metrics['esr_preemphasis']:.2e}",
                     f"{one.ns_per_sample:.1f}", f"{one.ns_low:.1f}–{one.ns_high:.1f}", f"{one.real_time_factor:.0f}",
                     f"{one.macs:,}" if one.macs else "", "best at its cost" if one.is_best else "")
    console = Console(width=250, markup=False, emoji=False, highlight=False)
    with console.capture() as captured:
        console.print(made)
    return captured.get().strip()


def to_json(candidates: Sequence[Candidate]) -> str:
    """A list of objects."""
    return "[" + ",\n ".join(json.dumps(one.as_dict(), ensure_ascii=False) for one in candidates) + "]"


def require(path: str | os.PathLike[str]) -> None:
    """To be asked before the work begins.

    :raises EvaluationError: where no picture can be made under that name, or matplotlib is not installed
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise EvaluationError(f"{path}: a picture's name ends in {', '.join(SUFFIXES)}")
    if find_spec("matplotlib") is None:
        raise EvaluationError("a picture needs matplotlib, which is not installed: pip install 'neurig[train]'")


def plot(candidates: Sequence[Candidate], path: str | os.PathLike[str]) -> None:
    """Draws error over cost, both on logarithmic scales, with a line through those that are best at their cost.

    :raises EvaluationError: as :func:`require`
    :raises OSError: where the file cannot be written
    """
    require(path)
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from neurig.evaluation.pictures import style

    cost = np.array([one.ns_per_sample for one in candidates])
    error = np.array([max(one.metrics["esr"], _LEAST) for one in candidates])
    best = np.array([one.is_best for one in candidates])
    with style():
        figure = Figure(figsize=(10.5, max(5.5, 1.5 + 0.3 * len(candidates))), layout="constrained")
        axes, beside = figure.subplots(1, 2, width_ratios=(2.2, 1))
        axes.set(xscale="log", yscale="log", xlabel="ns of CPU time for each sample: less is cheaper",
                 ylabel="error-to-signal ratio: less is nearer to the device")
        axes.step(cost[best], error[best], where="post", color=_BEST, linewidth=1, alpha=0.5)
        axes.set_xlim(cost.min() / 1.5, cost.max() * 1.5)
        axes.set_ylim(error.min() / 3, error.max() * 3)
        beside.set_axis_off()
        # Names beside the points would lie upon each other.
        for number, (one, x, y) in reversed(list(enumerate(zip(candidates, cost, error, strict=True), start=1))):
            colour = _BEST if one.is_best else _OTHER
            axes.plot(x, y, "o", color=colour, markersize=15, markeredgecolor="white")
            axes.annotate(str(number), (x, y), color="white", ha="center", va="center", fontsize=8, fontweight="bold")
            height = 1 - (number - 0.5) / max(len(candidates) + 2, 10)
            beside.plot(0.04, height, "o", color=colour, markersize=15, transform=beside.transAxes, clip_on=False)
            beside.text(0.04, height, str(number), color="white", ha="center", va="center", fontsize=8,
                        fontweight="bold", transform=beside.transAxes)
            beside.text(0.1, height, one.name, va="center", transform=beside.transAxes)
        beside.text(0, 0, "blue: none is both cheaper and nearer", color=_BEST, transform=beside.transAxes)
        axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        top = axes.secondary_xaxis("top", functions=(_times, _times))
        top.set_xlabel("times faster than real time at 48 kHz, on one core of this machine")
        top.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        top.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        top.xaxis.set_minor_formatter(NullFormatter())
        with atomic(path) as temporary:
            figure.savefig(temporary, format=Path(path).suffix[1:].lower(), dpi=130)


def _times(cost: Any) -> Any:
    """Of ns for each sample at 48 kHz: how many times faster than real time; and the other way round."""
    return 1e9 / 48000 / np.maximum(cost, 1e-9)
