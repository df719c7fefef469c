"""Losses: what the training of an amp makes small. Each takes the network's answer and the device's, and is 0 where
both are the same.

=============== ================================================================= ==================================
name            what it is                                                        published by
=============== ================================================================= ==================================
``esr``         error-to-signal ratio after a high pass ("pre-emphasis", 0.95)    Wright et al. 2020
``segment_esr`` error-to-signal ratio of each segment, so that soft notes count   NAM ("ESR")
                as much as loud ones
``dc``          the square of the mean error over the target's power              Wright et al. 2020
``mse``         mean squared error, of a target at -18 dBFS rms                   NAM
``mrstft``      multi-resolution STFT loss, see :mod:`neurig.evaluation.metrics`  Yamamoto et al. 2020; auraloss
=============== ================================================================= ==================================

But for ``segment_esr``, energies are those of the whole batch: a segment of silence in it counts as what it is, next to
nothing.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from neurig.evaluation.metrics import PREEMPHASIS, RESOLUTIONS, SHORTEST
from neurig.training import TrainingError

_LEAST_ENERGY = 1e-10  # per sample, so that silence has a ratio
_SOFTEST = 10**-5.5  # mean square below which a segment counts less: -37 dB from that of all targets
_LEAST_POWER = 1e-8  # of a bin, so that silence has a logarithm

DEFAULTS = {
    "wright": {"esr": 1.0, "dc": 1.0},  # of their WaveNets and recurrent networks
    "nam": {"mse": 1.0},
}
"""The published weights, by whose they are."""


def esr(prediction: Tensor, target: Tensor, preemphasis: float = PREEMPHASIS) -> Tensor:
    """Error-to-signal ratio: the energy of the difference over that of the target, Σ(y - ŷ)² / Σy².

    :param prediction: ŷ, shape (batch, samples)
    :param target: y, shape (batch, samples)
    :param preemphasis: coefficient of a high pass over both, H(z) = 1 - preemphasis · z⁻¹; 0 for none
    """
    if preemphasis:
        prediction = prediction[:, 1:] - preemphasis * prediction[:, :-1]
        target = target[:, 1:] - preemphasis * target[:, :-1]
    return mse(prediction, target) / (target.square().mean() + _LEAST_ENERGY)


def segment_esr(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of the segments' error-to-signal ratios, without pre-emphasis. Segments softer than -55 dBFS rms count
    less."""
    ratio = (prediction - target).square().mean(1) / (target.square().mean(1) + _SOFTEST)
    return ratio.mean()


def dc(prediction: Tensor, target: Tensor) -> Tensor:
    """The square of each segment's mean error, over the power of the target."""
    return (prediction - target).mean(1).square().mean() / (target.square().mean() + _LEAST_ENERGY)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error."""
    return (prediction - target).square().mean()


def mrstft(prediction: Tensor, target: Tensor) -> Tensor:
    """Multi-resolution STFT loss: the mean over three resolutions of spectral convergence, ‖Y - Ŷ‖ / ‖Y‖ for each
    segment, plus the mean of |ln Y - ln Ŷ|. For one segment it is :func:`neurig.evaluation.metrics.mrstft`.

    :raises TrainingError: where the segments are too short
    """
    if target.shape[1] < SHORTEST:
        raise TrainingError(f"the multi-resolution STFT loss needs segments of {SHORTEST} samples, and these have "
                            f"{target.shape[1]}: give a longer --segment")
    total = prediction.new_zeros(())
    for size, hop, width in RESOLUTIONS:
        window = torch.hann_window(width, device=target.device)
        magnitudes = []
        for signal in (prediction, target):
            spectrum = torch.stft(signal, size, hop, width, window, return_complex=True)
            magnitudes.append((spectrum.real.square() + spectrum.imag.square()).clamp(min=_LEAST_POWER).sqrt())
        predicted, wanted = magnitudes
        missed, energy = (torch.linalg.vector_norm(part, dim=(1, 2)) for part in (wanted - predicted, wanted))
        total = total + (missed / energy).mean() + (wanted.log() - predicted.log()).abs().mean()
    return total / len(RESOLUTIONS)


ALL = {"esr": esr, "segment_esr": segment_esr, "dc": dc, "mse": mse, "mrstft": mrstft}
"""The losses by name."""


class Loss:
    """A sum of losses, each with its weight.

    :ivar weights: by the losses' names
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        """:raises TrainingError: where a name is unknown, or no weight is positive"""
        for name, weight in weights.items():
            if name not in ALL:
                raise TrainingError(f"there is no loss {name!r}: there are {', '.join(ALL)}")
            if not 0 <= weight < math.inf:
                raise TrainingError(f"the weight of the loss {name} is {weight}, but has to be 0 or more")
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        if not self.weights:
            raise TrainingError("no loss has a weight above 0: there is nothing to learn from")

    def __call__(self, prediction: Tensor, target: Tensor) -> Tensor:
        """:param prediction: shape (batch, samples)
        :param target: shape (batch, samples)
        """
        total = prediction.new_zeros(())
        for name, weight in self.weights.items():
            total = total + weight * ALL[name](prediction, target)
        return total
