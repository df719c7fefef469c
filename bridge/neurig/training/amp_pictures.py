"""How an amp learned, drawn."""

from pathlib import Path

from matplotlib.figure import Figure

from neurig.files import atomic
from neurig.training.amp import Validation

_ESR, _KEPT, _RATE = "#20639b", "#d1495b", "#b8b8b8"


def learning_curve(history: list[Validation], best: int, path: Path) -> None:
    """Draws the error on the validation over the time of training, and the rate of learning beside it.

    :param history: one at least
    :param best: index of the validation whose weights are kept
    """
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    long = history[-1].seconds > 600
    times = [validation.seconds / (60 if long else 1) for validation in history]
    rates = axes.twinx()
    rates.plot(times, [validation.rate for validation in history], color=_RATE, linewidth=1)
    rates.set_ylabel("rate of learning", color=_RATE)
    rates.set_ylim(bottom=0)
    axes.set_zorder(rates.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.plot(times, [validation.esr for validation in history], ".-", color=_ESR)
    kept = history[best].esr
    label = f"kept: {kept:.3g} after step {history[best].step:,}"
    axes.plot(times[best], kept, "o", color=_KEPT, markersize=8, label=label)
    axes.set(yscale="log", xlabel="minutes of training" if long else "seconds of training",
             ylabel="error-to-signal ratio (ESR)", title="Error on the recording's validation part")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    with atomic(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
