"""How a predictor learned, and what it plays, drawn."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neurig.convert.mdrnn import Mdrnn
from neurig.dataset import Rows
from neurig.files import atomic
from neurig.model import parse
from neurig.predictor import Predictor
from neurig.training.mdrnn import Epoch

_PLAYED, _PREDICTED, _FAINT = "#20639b", "#d1495b", "#b8b8b8"
_MOST = 8  # values drawn; a picture of more is not looked at


def learning_curve(history: list[Epoch], best: int, path: Path) -> None:
    """Draws the losses of each epoch.

    :param best: the epoch whose weights are kept, counted from 1
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    epochs = range(1, len(history) + 1)
    axes.plot(epochs, [epoch.loss for epoch in history], ".-", color=_FAINT, label="while learning")
    axes.plot(epochs, [epoch.validation for epoch in history], ".-", color=_PLAYED, label="validation")
    kept = history[best - 1].validation
    axes.plot(best, kept, "o", color=_PREDICTED, markersize=8, label=f"kept: {kept:.3f} in epoch {best}")
    axes.set(xlabel="epoch", ylabel="negative log likelihood of a row", title="The less a row surprises, the lower")
    late = [loss for epoch in history[len(history) // 8 :] for loss in (epoch.loss, epoch.validation)]
    margin = 0.05 * (max(late) - min(late)) + 1e-3
    axes.set_ylim(min(*late, kept) - margin, max(late) + margin)  # the fall at the beginning would make all that follows flat
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    _write(figure, path)


def continued(network: Mdrnn, played: Rows, rows: int, seed: int) -> Rows:
    """What neurig plays after a performance: the predictor hears all of it, then goes on by itself.

    :returns: shape (rows, dimension)
    """
    predictor = Predictor(parse(network.text(), network.source), seed)
    for row in played:
        predictor.condition(row)
    return np.array([predictor.predict() for _ in range(rows)])


def performance(played: Rows, predicted: Rows, path: Path) -> None:
    """Draws a performance beside another: the values and the time steps over time, and how often each occurs."""
    shown = min(played.shape[1] - 1, _MOST)
    figure = Figure(figsize=(13, 1.6 * (shown + 1)), layout="constrained")
    grid = figure.subplots(shown + 1, 3, width_ratios=(4, 4, 1.2), sharey="row", squeeze=False)
    both = ("played", played, _PLAYED), ("predicted: how it would go on", predicted, _PREDICTED)
    seconds = max(min(rows[:, 0].sum(dtype=np.float64) for _, rows, _ in both), 1e-3)
    steps = np.concatenate([played[:, 0], predicted[:, 0]]).clip(1e-4)
    edges = np.geomspace(steps.min() / 1.1, steps.max() * 1.1, 41)
    names = [*(f"x{value + 1}" for value in range(shown)), "dt [s]"]
    for index, (line, name) in enumerate(zip(grid, names, strict=True)):
        column = index + 1 if index < shown else 0
        for axes, (title, rows, colour) in zip(line, both, strict=False):
            values = rows[:, column] if column else np.maximum(rows[:, 0], 1e-4)
            axes.step(np.cumsum(rows[:, 0], dtype=np.float64), values, where="post", color=colour, linewidth=0.9)
            axes.set_xlim(0, seconds)
            axes.grid(alpha=0.3)
            _how_often(line[2], values, np.linspace(0, 1, 41) if column else edges, colour)
            if not index:
                axes.set_title(title)
        line[0].set_ylabel(name)
        line[0].set(ylim=(-0.05, 1.05)) if column else line[0].set_yscale("log")
    for axes in grid[-1, :2]:
        axes.set_xlabel("seconds")
    grid[0, 2].set_title("how often")
    _write(figure, path)


def _how_often(axes: Axes, values: np.ndarray, edges: np.ndarray, colour: str) -> None:
    """A histogram on its side, so that it stands on the values' own axis."""
    share = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
    axes.stairs(share, edges, orientation="horizontal", color=colour, fill=True, alpha=0.45)
    axes.set_xticks([])


def _write(figure: Figure, path: Path) -> None:
    """The file appears when it is complete."""
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
