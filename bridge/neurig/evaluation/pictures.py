"""Target, prediction and what is between them, drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from neurig.evaluation import Evaluation
from neurig.evaluation.spectra import Signal, cross_spectra, hann, peak_of, spectrogram

_TARGET, _PREDICTION, _ERROR, _INK, _FAINT = "#20639b", "#d1495b", "#b7791f", "#343a40", "#adb5bd"
_WIDTH = 10.5  # inches, of all pictures
_ZOOM = 0.012  # seconds, to either side of the loudest point
_SPECTRUM = 16384  # samples of the magnitude spectra
_WELCH = 8192  # samples of a window of the power spectral densities
_WINDOW = 2048  # samples, of a spectrogram
_COLUMNS = 1000
_ENERGY = 0.05  # seconds, of which each is a point of the error's energy
_LOWEST = 20  # Hz
_FLOOR = 1e-20  # power, so that silence has a place on a scale in dB
_BANDS = 48  # to the octave, in which spectra are drawn
_HEARD = 1e-8  # of the loudest frequency's power: phases of less are not drawn
_COHERENT = 0.5  # likewise, of less coherence
_STYLE = {
    "font.size": 9.5, "axes.titlesize": 10.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": _FAINT, "axes.labelcolor": _INK, "text.color": _INK, "xtick.color": _INK, "ytick.color": _INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#dee2e6",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "lines.linewidth": 1.1,
    "svg.hashsalt": "neurig", "svg.fonttype": "path", "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Picture:
    """One picture of a report.

    :ivar name: short, of small letters
    :ivar title: for people
    :ivar text: how to read it, a sentence or two
    :ivar figure: what is drawn
    """

    name: str
    title: str
    text: str
    figure: Figure


@contextmanager
def style() -> Iterator[None]:
    """How the pictures look, while they are drawn and written."""
    with matplotlib.rc_context(_STYLE):
        yield


def pictures(evaluation: Evaluation) -> Iterator[Picture]:
    """All pictures of a comparison, one after the other. To be drawn and written inside :func:`style`."""
    yield _waveform(evaluation)
    yield _error_spectrogram(evaluation)
    yield _magnitude_spectra(evaluation)
    yield _power_spectral_density(evaluation)
    yield _error_energy(evaluation)
    yield _cross_correlation(evaluation)
    yield _phase_difference(evaluation)


def _loudest(evaluation: Evaluation) -> int:
    return int(np.argmax(np.abs(evaluation.target)))


def _waveform(evaluation: Evaluation) -> Picture:
    figure = Figure(figsize=(_WIDTH, 6.6), layout="constrained")
    whole, near, error = figure.subplots(3, 1, height_ratios=(1, 2.6, 1.2))
    loudest, rate = _loudest(evaluation), evaluation.rate
    first = max(0, loudest - round(_ZOOM * rate))
    last = min(len(evaluation.target), loudest + round(_ZOOM * rate))
    for signal, colour, label in ((evaluation.target, _TARGET, "target"), (evaluation.error, _ERROR, "error")):
        starts = np.unique(np.linspace(0, len(signal), 1500, endpoint=False).astype(int))
        low, high = np.minimum.reduceat(signal, starts), np.maximum.reduceat(signal, starts)
        whole.fill_between(starts / rate, low, high, color=colour, linewidth=0.4, label=label)
    whole.axvspan(first / rate, last / rate, color=_PREDICTION, alpha=0.35, linewidth=0)
    whole.axvline(loudest / rate, color=_PREDICTION, linewidth=0.8)
    whole.set(xlim=(0, evaluation.seconds), xlabel="seconds", title="All of it; the red line is the loudest point")
    milliseconds = (np.arange(first, last) - loudest) * 1e3 / rate
    near.plot(milliseconds, evaluation.target[first:last], color=_TARGET, linewidth=2.6, alpha=0.55, label="target")
    near.plot(milliseconds, evaluation.prediction[first:last], color=_PREDICTION, linewidth=1, label="prediction")
    near.set(title=f"Around the loudest point, at {loudest / rate:.3f} s")
    near.tick_params(labelbottom=False)
    error.fill_between(milliseconds, np.abs(evaluation.error[first:last]), color=_ERROR, linewidth=0, alpha=0.8)
    error.set(title="Absolute error there, on a scale of its own", xlabel="milliseconds from the loudest point")
    error.set_ylim(0, None)
    for axes in (near, error):
        axes.set_xlim(milliseconds[0], milliseconds[-1])
    for axes in (whole, near):
        _legend(axes)
    return Picture("waveform", "Waveform", "Target and prediction on top of each other where the target is loudest. "
                   "Where the model is right, the red line runs in the middle of the blue one.", figure)


def _error_spectrogram(evaluation: Evaluation) -> Picture:
    figure = Figure(figsize=(_WIDTH, 6), layout="constrained")
    grid = figure.subplots(2, 1, sharex=True)
    powers = [spectrogram(signal, _WINDOW, _COLUMNS) for signal in (evaluation.target, evaluation.error)]
    top = _decibels(powers[0].max())
    edges = (np.arange(_WINDOW // 2 + 2) - 0.5) * evaluation.rate / _WINDOW
    for axes, title, power in zip(grid, ("Target", "Error"), powers, strict=True):
        columns = np.linspace(0, evaluation.seconds, power.shape[1] + 1)
        mesh = axes.pcolormesh(columns, edges[1:], _decibels(power[1:]) - top, vmin=-100, vmax=0, cmap="magma",
                               rasterized=True)
        axes.set(title=title, yscale="log", ylabel="Hz")
        axes.set_ylim(2 * evaluation.rate / _WINDOW, evaluation.rate / 2)
        axes.yaxis.set_major_formatter(FuncFormatter(_hertz))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(False)
    grid[1].set_xlabel("seconds")
    figure.colorbar(mesh, ax=grid, label="dB below the target's loudest", aspect=40, pad=0.01)
    return Picture("error-spectrogram", "Error spectrogram", "When and at which frequencies the prediction is wrong, "
                   "below the target's spectrogram in the same colours: the darker, the better.", figure)


def _magnitude_spectra(evaluation: Evaluation) -> Picture:
    figure, axes = _one()
    size = min(_SPECTRUM, len(evaluation.target))
    first = min(max(0, _loudest(evaluation) - size // 2), len(evaluation.target) - size)
    window = hann(size)
    frequencies = np.fft.rfftfreq(size, 1 / evaluation.rate)
    for signal, drawn in zip(_signals(evaluation), _drawn(), strict=True):
        magnitude = np.abs(np.fft.rfft(signal[first : first + size] * window)) * 2 / window.sum()
        bands, power = _in_bands(frequencies, magnitude**2)
        axes.plot(bands, _decibels(power), **drawn)
    _over_frequencies(axes, evaluation.rate, "dB of full scale")
    axes.set_title(f"{size / evaluation.rate * 1000:.0f} ms around {_loudest(evaluation) / evaluation.rate:.3f} s")
    return Picture("magnitude-spectra", "Magnitude spectra", "The frequencies around the loudest point: each harmonic "
                   "that the device makes should have its like.", figure)


def _power_spectral_density(evaluation: Evaluation) -> Picture:
    figure, axes = _one()
    for signal, drawn in zip(_signals(evaluation), _drawn(), strict=True):
        bands, density = _in_bands(*cross_spectra(signal, signal, evaluation.rate, _WELCH)[:2])
        axes.plot(bands, _decibels(density), **drawn)
    _over_frequencies(axes, evaluation.rate, "dB of full scale, per Hz")
    axes.set_title("Mean over all of the recording (Welch)")
    return Picture("power-spectral-density", "Power spectral density", "How loud each frequency is on the whole, and "
                   "how far below it the error lies.", figure)


def _error_energy(evaluation: Evaluation) -> Picture:
    figure, axes = _one()
    hop = max(1, round(_ENERGY * evaluation.rate))
    starts = np.arange(0, len(evaluation.target), hop)
    lengths = np.diff(np.append(starts, len(evaluation.target)))
    target, error = (_decibels(np.add.reduceat(signal**2, starts) / lengths)
                     for signal in (evaluation.target, evaluation.error))
    seconds = (starts + lengths / 2) / evaluation.rate
    top = target.max()
    bottom = max(min(*np.percentile(target, (2, 50)), np.percentile(error, 2)), top - 140) - 3
    axes.fill_between(seconds, bottom, target.clip(bottom), color=_TARGET, alpha=0.25, linewidth=0, label="target")
    axes.plot(seconds, error, color=_ERROR, label="error")
    mean = float(_decibels(np.mean(evaluation.error**2)))
    if mean > bottom:
        axes.axhline(mean, color=_INK, linewidth=0.8, linestyle="--", label=f"error, mean: {mean:.1f} dB")
    axes.set(xlim=(0, evaluation.seconds), ylim=(bottom, top + 5), xlabel="seconds", ylabel="dB of full scale",
             title=f"Mean power of every {_ENERGY * 1000:.0f} ms")
    _legend(axes)
    return Picture("error-energy", "Error energy over time", "Where in the recording the model is wrong: the distance "
                   "from the line to the edge of the blue area is what the error is masked by.", figure)


def _cross_correlation(evaluation: Evaluation) -> Picture:
    figure, axes = _one()
    correlation, most = evaluation.correlation, len(evaluation.correlation) // 2
    milliseconds = np.arange(-most, most + 1) * 1e3 / evaluation.rate
    delay, value = peak_of(correlation)
    axes.plot(milliseconds, correlation, color=_TARGET)
    axes.axvline(0, color=_FAINT, linewidth=0.8)
    axes.plot(delay * 1e3 / evaluation.rate, value, "o", color=_PREDICTION, markersize=6,
              label=f"{value:.6f} at {delay:+.2f} samples ({delay * 1e6 / evaluation.rate:+.1f} µs)")
    axes.set(xlim=(milliseconds[0], milliseconds[-1]), xlabel="milliseconds that the prediction is later",
             ylabel="correlation", title="Likeness of target and prediction, one moved against the other")
    _legend(axes)
    return Picture("cross-correlation", "Cross-correlation", "One peak of 1 in the middle: in time and the right way "
                   "round. A peak beside it: target and prediction are not aligned. A negative one: inverted polarity.",
                   figure)


def _phase_difference(evaluation: Evaluation) -> Picture:
    figure, axes = _one()
    frequencies, *densities = cross_spectra(evaluation.target, evaluation.prediction, evaluation.rate, _WELCH)
    bands, target = _in_bands(frequencies, densities[0])
    prediction, between = (_in_bands(frequencies, density)[1] for density in densities[1:])
    sure = (target > _HEARD * target.max()) & (np.abs(between) ** 2 > _COHERENT * target * prediction)
    degrees = np.where(sure, np.degrees(np.angle(between)), np.nan)
    limit = min(185.0, max(1.0, 1.15 * float(np.abs(degrees[sure]).max(initial=0))))
    degrees[1:][np.abs(np.diff(degrees)) > 180] = np.nan  # no line from the bottom to the top
    axes.axhline(0, color=_FAINT, linewidth=0.8)
    axes.plot(bands, degrees, color=_PREDICTION)
    _over_frequencies(axes, evaluation.rate, "degrees")
    axes.set_ylim(-limit, limit)
    axes.set_title("Phase of the prediction against the target, where they have a relation (coherence above one half)")
    return Picture("phase-difference", "Phase difference", "Above zero the prediction is ahead, below it lags. A curve "
                   "that falls ever more steeply towards high frequencies is a delay.", figure)


def _one() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, 3.7), layout="constrained")
    return figure, figure.subplots()


def _signals(evaluation: Evaluation) -> tuple[Signal, Signal, Signal]:
    return evaluation.target, evaluation.prediction, evaluation.error


def _drawn() -> tuple[dict, dict, dict]:
    """How target, prediction and error are drawn as lines."""
    return ({"color": _TARGET, "linewidth": 2.4, "alpha": 0.5, "label": "target"},
            {"color": _PREDICTION, "linewidth": 0.9, "label": "prediction"},
            {"color": _ERROR, "linewidth": 0.9, "label": "error"})


def _over_frequencies(axes: Axes, rate: float, unit: str) -> None:
    """A logarithmic axis of frequencies, and levels down to where the quietest line that matters lies."""
    axes.set_xscale("log")
    axes.set_xlim(_LOWEST, rate / 2)
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(_hertz))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="Hz", ylabel=unit)
    levels = [line.get_ydata() for line in axes.lines if line.get_label() in ("target", "prediction", "error")]
    if levels:
        top = max(float(np.max(level)) for level in levels[:2])
        lowest = min(float(np.percentile(level, 2)) for level in levels)
        axes.set_ylim(max(lowest, top - 180) - 3, top + 5)
        _legend(axes)


def _in_bands(frequencies: Signal, values: np.ndarray) -> tuple[Signal, np.ndarray]:
    """Means over narrow bands, as wide as the ear has them, where there are several frequencies to a band.

    :param frequencies: shape (n,), Hz, evenly spaced from 0
    :param values: shape (n,)
    :returns: the frequencies and values of the bands from 20 Hz on
    """
    heard = frequencies >= min(_LOWEST, frequencies[-1] / 2)
    frequencies, values = frequencies[heard], values[heard]
    bands = np.floor(_BANDS * np.log2(frequencies))
    starts = np.flatnonzero(np.diff(bands, prepend=-np.inf))
    lengths = np.diff(np.append(starts, len(bands)))
    return np.add.reduceat(frequencies, starts) / lengths, np.add.reduceat(values, starts) / lengths


def _legend(axes: Axes) -> None:
    """Above the picture, so that it hides nothing."""
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1, ncols=3)


def _hertz(value: float, _: object = None) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _decibels(power: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.maximum(power, _FLOOR))
