"""How far a model's answer is from the device's, in figures. All are 0 where both are the same, and are computed in
double precision, whatever the signals come in."""

import numpy as np
from numpy.typing import ArrayLike

from neurig.evaluation.spectra import Signal, hann, transforms

PREEMPHASIS = 0.95
"""The coefficient of the high pass before the error-to-signal ratio, as in Wright et al. 2020."""

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
"""Of the multi-resolution STFT loss, as published: sizes of the Fourier transform, hops, and sizes of the window."""

SHORTEST = max(size for size, _, _ in RESOLUTIONS) // 2 + 1
"""Samples that the multi-resolution STFT loss needs."""

_LEAST_POWER = 1e-8  # of a bin, so that silence has a logarithm


def esr(target: ArrayLike, prediction: ArrayLike) -> float:
    """Error-to-signal ratio: the energy of the difference over that of the target, Σ(y - ŷ)² / Σy².

    :param target: y, shape (n,)
    :param prediction: ŷ, shape (n,)
    :raises ValueError: where the shapes differ, or the target is silent
    """
    y, predicted = _both(target, prediction)
    energy = float(np.sum(y**2))
    if not energy:
        raise ValueError("the target is silent, and to nothing there is no ratio")
    return float(np.sum((y - predicted) ** 2)) / energy


def esr_preemphasis(target: ArrayLike, prediction: ArrayLike) -> float:
    """The error-to-signal ratio after a first-order high pass, H(z) = 1 - 0.95 z⁻¹, over both signals.

    It is closer to the ear than the plain one, which a guitar's lowest octaves decide (Wright, Damskägg, Juvela,
    Välimäki: Real-Time Guitar Amplifier Emulation with Deep Learning, Applied Sciences 10(3), 2020). Before the first
    sample there is silence.

    :param target: shape (n,)
    :param prediction: shape (n,)
    :raises ValueError: where the shapes differ, or the target is silent
    """
    y, predicted = _both(target, prediction)
    return esr(_preemphasised(y), _preemphasised(predicted))


def mae(target: ArrayLike, prediction: ArrayLike) -> float:
    """Mean absolute error: Σ|y - ŷ| / n, full scale at 1.

    :param target: y, shape (n,)
    :param prediction: ŷ, shape (n,)
    :raises ValueError: where the shapes differ, or there are no samples
    """
    y, predicted = _both(target, prediction)
    return float(np.mean(np.abs(y - predicted)))


def mrstft(target: ArrayLike, prediction: ArrayLike) -> float:
    """Multi-resolution STFT loss (Yamamoto et al. 2020; Steinmetz and Reiss: auraloss, 2020): the mean over three
    resolutions of spectral convergence plus logarithmic magnitude distance, both with the weight 1.

    With the magnitudes Y of the target and Ŷ of the prediction, spectral convergence is ‖Y - Ŷ‖ / ‖Y‖ (the root of the
    sum of the squares over all frames and bins), the distance is the mean of |ln Y - ln Ŷ|. Hann windows, periodic, in
    the middle of the transform; frames around every multiple of the hop, the signal mirrored at both ends; the power of
    a bin is at least 1e-8. That is auraloss's ``MultiResolutionSTFTLoss`` as it comes.

    :param target: shape (n,), at least 1025 samples
    :param prediction: shape (n,)
    :raises ValueError: where the shapes differ, or there are too few samples
    """
    y, predicted = _both(target, prediction)
    if len(y) < SHORTEST:
        raise ValueError(f"{len(y)} samples are too few for the multi-resolution STFT loss, which needs {SHORTEST}")
    return float(np.mean([_stft_loss(y, predicted, *resolution) for resolution in RESOLUTIONS]))


ALL = {"esr": esr, "esr_preemphasis": esr_preemphasis, "mae": mae, "mrstft": mrstft}
"""The metrics by the names that they have in JSON."""


def _both(target: ArrayLike, prediction: ArrayLike) -> tuple[Signal, Signal]:
    y, predicted = np.asarray(target, np.float64), np.asarray(prediction, np.float64)
    if y.shape != predicted.shape or y.ndim != 1:
        raise ValueError(f"two signals of one channel and length are compared, not shapes {y.shape}, {predicted.shape}")
    if not len(y):
        raise ValueError("there are no samples to compare")
    return y, predicted


def _preemphasised(signal: Signal) -> Signal:
    filtered = signal.copy()
    filtered[1:] -= PREEMPHASIS * signal[:-1]
    return filtered


def _stft_loss(target: Signal, prediction: Signal, size: int, hop: int, width: int) -> float:
    before = (size - width) // 2
    window = np.pad(hann(width), (before, size - width - before))
    parts = (transforms(np.pad(signal, size // 2, mode="reflect"), window, hop) for signal in (target, prediction))
    difference = energy = distance = 0.0
    bins = 0
    for spectra in zip(*parts, strict=True):
        y, predicted = (np.sqrt(np.maximum(part.real**2 + part.imag**2, _LEAST_POWER)) for part in spectra)
        difference += float(np.sum((y - predicted) ** 2))
        energy += float(np.sum(y**2))
        distance += float(np.sum(np.abs(np.log(y) - np.log(predicted))))
        bins += y.size
    return float(np.sqrt(difference / energy)) + distance / bins
