"""Judging a model: what it makes of a recording's input, compared with what the device made of it.

======================================= =================================================
:mod:`~neurig.evaluation.metrics`       the figures
:mod:`~neurig.evaluation.spectra`       Fourier transforms of long signals
:mod:`~neurig.evaluation.pictures`      the comparison, drawn
:mod:`~neurig.evaluation.report`        figures, pictures and sound as one HTML or PDF file
:mod:`~neurig.evaluation.cost`          several models: error against cost
======================================= =================================================
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

from neurig.evaluation import metrics
from neurig.evaluation.spectra import Signal, cross_correlation, peak_of
from neurig.model import Model
from neurig.render import RenderError, read, render_samples

Channel = Literal["left", "right"]

SHORTEST = 2 * metrics.SHORTEST  # samples of a comparison
LONGEST_LAG = 0.05  # seconds, that a signal is looked for in the other one
_LATE = 0.5  # samples, from which on a delay is worth a word
_ALIKE = 0.3  # of the cross-correlation: below, two signals have so little in common that a delay says nothing


class EvaluationError(ValueError):
    """A comparison that is not possible. The message is one line, and names the file that it is about."""


@dataclass(frozen=True)
class Evaluation:
    """A model's answer beside the device's.

    :ivar model: the model
    :ivar source: the file with what went into both
    :ivar recorded: the file with what came out of the device
    :ivar rate: Hz, that of the device's recording
    :ivar target: the device's answer, shape (n,), full scale at 1
    :ivar prediction: the model's, shape (n,)
    :ivar metrics: the figures by name: ``esr``, ``esr_preemphasis``, ``mae``, ``mrstft``
    :ivar correlation: shape (2 * m + 1,), the cross-correlation of target and prediction at the lags -m … m
    :ivar delay: samples by which the prediction is later than the target, with a fraction
    :ivar notices: what the user should know, a line each
    """

    model: Model
    source: Path
    recorded: Path
    rate: int
    target: Signal
    prediction: Signal
    metrics: dict[str, float]
    correlation: Signal
    delay: float
    notices: tuple[str, ...]

    @property
    def name(self) -> str:
        """What to call the model."""
        return self.model.path.name if self.model.path else repr(self.model)

    @property
    def error(self) -> Signal:
        """Prediction less target."""
        return self.prediction - self.target

    @property
    def seconds(self) -> float:
        """How long what is compared lasts."""
        return len(self.target) / self.rate


def evaluate(
    model: Model,
    source: str | os.PathLike[str],
    recorded: str | os.PathLike[str],
    params: Mapping[str | int, float] | None = None,
    slim: float | None = None,
    channel: Channel | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    exact: bool = False,
) -> Evaluation:
    """Runs what went into a device through a model, and compares with what came out of the device.

    All happens at the rate of ``recorded``: ``source`` is converted where it has another, and so does the model, whose
    latency is taken off. Of files of different length the part that both have is compared.

    :param source: a sound file of any kind and rate
    :param recorded: likewise
    :param params: the model's own knobs by name or index, 0..1; those not named are at 0.5
    :param slim: size of a model that comes in several, 0 (smallest) to 1 (full)
    :param channel: which one of stereo files; needed where their two differ
    :param progress: called now and then with the samples done and those there are
    :param exact: LSTMs and GRUs in double precision
    :raises EvaluationError: where the files cannot be compared
    :raises RenderError: where the model is no amp, a knob is unknown, or a file cannot be read
    """
    source, recorded = Path(source), Path(recorded)
    notices = []
    played, played_rate = _read(source, channel)
    target, rate = _read(recorded, channel)
    if played_rate != rate:
        played = soxr.resample(played, played_rate, rate, "VHQ")
        notices.append(f"{source}: converted from {played_rate} to {rate} Hz, the rate of {recorded}")
    length = min(len(played), len(target))
    if abs(len(played) - len(target)) > (2 if played_rate != rate else 0):
        longer, excess = (source, len(played) - length) if len(played) > length else (recorded, len(target) - length)
        notices.append(f"{longer}: the last {excess} of its samples ({excess / rate:.3f} s) have no counterpart and "
                       "are left out")
    if length < SHORTEST:
        raise EvaluationError(f"{recorded}: {length} samples are too few to compare: it takes {SHORTEST}")
    played, target = played[:length], target[:length].astype(np.float64)
    if not target.any():
        raise EvaluationError(f"{recorded}: it is silent: there is nothing to compare with")
    prediction = render_samples(model, played, rate, params, slim, progress, exact=exact).astype(np.float64)
    if not np.isfinite(prediction).all():
        raise EvaluationError(f"{model.path or 'the model'}: its answer to {source} has values that are no numbers")
    return compare(model, source, recorded, rate, target, prediction, notices)


def compare(model: Model, source: Path, recorded: Path, rate: int, target: Signal, prediction: Signal,
            notices: Sequence[str] = ()) -> Evaluation:
    """The figures of a model's answer beside the device's.

    :param source: the file that was played into both
    :param recorded: the file with what came out of the device
    :param rate: Hz
    :param target: the device's answer, shape (n,), at least :data:`SHORTEST` samples and not silent
    :param prediction: the model's, shape (n,)
    :param notices: what the user should know already
    """
    notices = list(notices)
    correlation = cross_correlation(target, prediction, max(1, min(round(LONGEST_LAG * rate), len(target) // 2)))
    delay, likeness = peak_of(correlation)
    if abs(likeness) >= _ALIKE:
        if abs(delay) >= _LATE:
            earlier, later = (recorded, model.path) if delay > 0 else (model.path, recorded)
            notices.append(f"{later} is {abs(delay):.1f} samples later than {earlier}: the figures count that as "
                           "error. `neurig capture check IN OUT -o ALIGNED.wav` aligns a recording")
        if likeness < 0:
            notices.append(f"{recorded}: it is upside down against the model (inverted polarity)")
    else:
        notices.append(f"{recorded} and the answer of {model.path} have little in common: do the model and the two "
                       "files belong together?")
    figures = {name: metric(target, prediction) for name, metric in metrics.ALL.items()}
    return Evaluation(model, source, recorded, rate, target, prediction, figures, correlation, delay, tuple(notices))


def _read(path: Path, channel: Channel | None) -> tuple[NDArray[np.float32], int]:
    """One channel of a sound file, and its rate.

    :raises EvaluationError: where it is not clear which, or it is not usable
    """
    samples, rate = read(path)
    if samples.shape[1] > 2:
        raise EvaluationError(f"{path}: it has {samples.shape[1]} channels. Export the one that counts as mono")
    if not np.isfinite(samples).all():
        raise EvaluationError(f"{path}: it has samples that are no numbers")
    if channel is None and not np.array_equal(samples[:, 0], samples[:, -1]):
        raise EvaluationError(f"{path}: it is stereo, and its channels differ. Say which one with --channel left or "
                              "--channel right")
    return np.ascontiguousarray(samples[:, -1 if channel == "right" else 0]), rate


__all__ = ["Evaluation", "EvaluationError", "RenderError", "compare", "evaluate"]
