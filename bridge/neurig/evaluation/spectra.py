"""Signals looked at in short frames: short-time Fourier transforms, power spectra, cross-correlation."""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Signal = NDArray[np.float64]

_TOGETHER = 2**20  # samples in the frames that are transformed at a time: long files take no more memory


def hann(size: int) -> Signal:
    """A periodic Hann window: shifted copies of it, half a window apart, add up to one."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def transforms(signal: Signal, window: Signal, hop: int) -> Iterator[NDArray[np.complex128]]:
    """The short-time Fourier transform, some frames at a time.

    :param signal: shape (n,), at least as long as the window; what is left at the end is not looked at
    :param hop: samples from one frame to the next
    :returns: shape (some frames, len(window) / 2 + 1)
    """
    frames = sliding_window_view(signal, len(window))[::hop]
    together = max(1, _TOGETHER // len(window))
    for start in range(0, len(frames), together):
        yield np.fft.rfft(frames[start : start + together] * window, axis=-1)


def cross_spectra(first: Signal, second: Signal, rate: float, size: int) -> tuple[Signal, Signal, Signal, NDArray]:
    """Power spectral densities of two signals, and between them, after Welch: Hann windows that overlap by half.

    :param first: shape (n,); what is shorter than a window is filled up with silence
    :param second: shape (n,)
    :param size: of a window, samples
    :returns: the frequencies in Hz, the densities of both in 1/Hz (one-sided, full scale at 1), and the complex one
        between them, whose angle is that of the second signal relative to the first
    """
    window = hann(size)
    padding = (0, max(0, size - len(first)))
    sums = [np.zeros(size // 2 + 1), np.zeros(size // 2 + 1), np.zeros(size // 2 + 1, complex)]
    count = 0
    for one, other in zip(*(transforms(np.pad(signal, padding), window, size // 2) for signal in (first, second)),
                          strict=True):
        for total, products in zip(sums, (np.abs(one) ** 2, np.abs(other) ** 2, np.conj(one) * other), strict=True):
            total += products.sum(axis=0)
        count += len(one)
    scale = np.full(size // 2 + 1, 2.0)  # both halves of the spectrum, but for 0 Hz and half the rate, which are one
    scale[[0, -1]] = 1
    scale /= count * rate * np.sum(window**2)
    return np.fft.rfftfreq(size, 1 / rate), sums[0] * scale, sums[1] * scale, sums[2] * scale


def spectrogram(signal: Signal, size: int, columns: int) -> Signal:
    """How the power of a signal's frequencies changes.

    :param signal: shape (n,)
    :param size: of a window, samples
    :param columns: at most so many; each is the mean of the frames in it
    :returns: shape (size / 2 + 1, columns); a sine of amplitude 1 has the power 1
    """
    signal = np.pad(signal, size // 2)  # so that frames are around their time
    window = hann(size)
    hop = size // 4
    starts = np.arange(0, len(signal) - size + 1, hop)
    columns = min(columns, len(starts))
    means = []
    for group in np.split(starts, np.arange(1, columns) * len(starts) // columns):  # of the same duration, or nearly so
        part = signal[group[0] : group[-1] + size]
        means.append(sum(np.sum(np.abs(block) ** 2, axis=0) for block in transforms(part, window, hop)) / len(group))
    return np.stack(means, axis=1) * (2 / window.sum()) ** 2


def cross_correlation(first: Signal, second: Signal, most: int) -> Signal:
    """How alike two signals are where the second is moved: the sum of ``first[i] * second[i + lag]``, over the root of
    the product of both energies; 1 where they are the same but for their loudness, 0 where one of them is silent.

    :param first: shape (n,)
    :param second: shape (n,)
    :param most: the greatest lag, samples
    :returns: shape (2 * most + 1,), for the lags -most … most
    """
    size = 1 << (8 * most + 4096).bit_length()
    block = size - 2 * most
    sums = np.zeros(size // 2 + 1, complex)
    padded = np.pad(second, (most, most + block))
    for start in range(0, len(first), block):
        one = np.fft.rfft(first[start : start + block], size)
        other = np.fft.rfft(padded[start : start + size], size)
        sums += np.conj(one) * other
    energy = np.sqrt(np.sum(first**2) * np.sum(second**2))
    correlation = np.fft.irfft(sums, size)[: 2 * most + 1]
    return correlation / energy if energy else np.zeros_like(correlation)


def peak_of(correlation: Signal) -> tuple[float, float]:
    """Where a cross-correlation is greatest, whatever its sign.

    :returns: the lag in samples, by a parabola through the peak and its neighbours, and the value there; negative where
        one of the signals is the other way round
    """
    most = len(correlation) // 2
    peak = int(np.argmax(np.abs(correlation)))
    lag, value = float(peak - most), float(correlation[peak])
    if 0 < peak < len(correlation) - 1:
        before, after = correlation[peak - 1], correlation[peak + 1]
        curvature = before - 2 * value + after
        if curvature:
            lag += float(0.5 * (before - after) / curvature)
    return lag, value
