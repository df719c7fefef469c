"""How the output of a device lies in time to its input: delay, drift of the clocks; and whether the device changes.

A device filters and distorts, so its answer is no delayed copy. What is compared is its linear part: the cross-spectrum
over the input's power spectrum (Welch 1967). Of its phase, what a minimum-phase filter of the same magnitude has is the
device's own. The rest is delay, found as the peak of the inverse transform of that phase alone (generalised
cross-correlation with phase transform, Knapp and Carter 1976).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, linalg, signal

Samples = NDArray[np.float32]
Reals = NDArray[np.float64]

_WINDOW = 8192  # samples of a spectrum
_CHUNK = 1 << 15  # samples in which a delay is measured on its own
_END = 8  # chunks, by which beginning and end of a recording are compared
_FINER = 8  # steps within a sample, between which a parabola is laid
_COHERENT = 0.3  # from which on a frequency is believed
_SEARCHED = 1 << 23  # samples, from the beginning, in which the first estimate is made
_SMEARED = 0.01  # s by which two clocks may part in a recording, for the first estimate
_CUT = 32  # samples of zeros that are taken for a dropout
_RARE = 2e-5  # dropouts to a sample: more are what the device does


NO_FILTER: Reals = np.zeros(_WINDOW // 2 + 1)  # the own phase of what only delays


@dataclass(frozen=True)
class Delay:
    """How late one signal answers another.

    :ivar samples: not a whole number; beyond what the device's own minimum-phase filter does
    :ivar polarity: 1, or -1 where the output is upside down
    :ivar clearness: 1 where all frequencies agree on it, near 0 for signals that have nothing to do with each other
    """

    samples: float
    polarity: int
    clearness: float


def coarse(x: Samples, y: Samples, rate: int) -> int:
    """The lag of ``y`` behind ``x`` to within some milliseconds, whichever it is and even where the clocks part."""
    x, y = x[:_SEARCHED], y[:_SEARCHED]
    n = fft.next_fast_len(len(x) + len(y), real=True)
    cross = fft.rfft(y, n)
    cross *= fft.rfft(x, n).conj()
    size = np.abs(cross)
    cross /= np.maximum(size, 1e-6 * size.max())
    power = fft.irfft(cross, n).astype(np.float64) ** 2
    width = round(_SMEARED * rate)
    total = np.cumsum(np.concatenate([power[-width:], power, power[:width]]))
    near = total[2 * width :] - total[: -2 * width]  # about each lag
    around = int(np.argmax(near))
    lags = np.arange(around - width, around + width + 1)
    lag = int(lags[np.argmax(power[lags % n])])
    return lag if lag < n // 2 else lag - n


def shifted(y: Samples, lag: int, length: int) -> Samples:
    """``length`` samples of ``y`` from ``lag`` on, with zeros where there is nothing."""
    part = y[max(lag, 0) : max(lag + length, 0)]
    before = min(max(-lag, 0), length)
    return np.pad(part, (before, length - before - len(part)))


def delay(x: Samples, y: Samples, band: float, own: Reals | None = None) -> Delay | None:
    """How late ``y`` answers ``x``, at most some thousand samples; None where there is too little to tell.

    :param y: as long as ``x``
    :param band: up to which frequency both are believed, in parts of the rate; steep filters of converters lie above
    :param own: the device's own phase where it is known, from :func:`own_phase`
    """
    spectra = _spectra(x, y)
    good, weights = _coherence(*spectra, band)
    if good.sum() < 16:
        return None
    if own is None:
        own = _minimum_phase(*spectra, good)
    n = _FINER * _WINDOW
    pulse = fft.irfft(weights * np.exp(1j * (np.angle(spectra[1]) - own)), n) * n / (2 * weights.sum())
    peak = int(np.argmax(np.abs(pulse)))
    left, top, right = np.abs(pulse[[peak - 1, peak, (peak + 1) % n]])
    place = peak + 0.5 * (left - right) / min(left - 2 * top + right, -1e-12)
    return Delay(float(place - n * (place > n / 2)) / _FINER, 1 if pulse[peak] > 0 else -1, float(top))


def own_phase(x: Samples, y: Samples, band: float) -> Reals | None:
    """The phase of the device if it is a minimum-phase filter; None where there is too little to tell."""
    spectra = _spectra(x, y)
    good, _ = _coherence(*spectra, band)
    return _minimum_phase(*spectra, good) if good.sum() >= 16 else None


def _coherence(input_power: Reals, cross: NDArray[np.complex128], output_power: Reals,
               band: float) -> tuple[NDArray[np.bool_], Reals]:
    """Which frequencies are believed, and how much each."""
    coherence = np.abs(cross) ** 2 / np.maximum(input_power * output_power, 1e-300)
    good = (coherence > _COHERENT) & (input_power > 1e-9 * input_power.max())
    good[int(band * _WINDOW) :] = False
    return good, np.where(good, coherence, 0)


def _minimum_phase(input_power: Reals, cross: NDArray[np.complex128], _: Reals, good: NDArray[np.bool_]) -> Reals:
    """Of the filter with the magnitude that the response has; between good frequencies it is interpolated."""
    magnitude = np.interp(np.arange(len(cross)), np.flatnonzero(good),
                          np.log(np.abs(cross[good]) / input_power[good]))
    cepstrum = fft.irfft(magnitude)
    cepstrum[1 : _WINDOW // 2] *= 2
    cepstrum[_WINDOW // 2 + 1 :] = 0
    return fft.rfft(cepstrum).imag


def onset(x: Samples, y: Samples, before: int = 256) -> int:
    """From which sample on ``y`` answers ``x``: where the linear response first stands out, -before at the earliest."""
    input_power, cross, _ = _spectra(x, y)
    response = fft.irfft(cross / (input_power + 1e-9 * input_power.max()))
    return _first(np.roll(response, before)[: _WINDOW // 2], before)


def onset_of_clicks(y: Samples, clicks: list[int], before: int = 256, after: int = 2048) -> int:
    """The same, out of the answers to single samples at the places ``clicks``."""
    answers = [shifted(y, click - before, before + after) for click in clicks]
    return _first(np.mean(answers, axis=0), before)


def _first(response: NDArray[np.floating], before: int) -> int:
    size = np.abs(response - np.median(response[: before // 2]))
    level = max(0.05 * size.max(), 2 * size[: before // 2].max())
    return int(np.argmax(size > level)) - before


@dataclass(frozen=True)
class Track:
    """The delay all along a recording.

    :ivar ppm: by how much the output's clock is faster, parts per million
    :ivar certain: may ``ppm`` be told from 0, and is it more than a sample in the whole recording?
    :ivar jump: samples that are missing (negative: doubled) somewhere, or 0
    :ivar at: s, where that is
    :ivar lost: at the beginning (0) or from here on (s), the output has nothing to do with the input; None: it has
    """

    ppm: float
    certain: bool
    jump: int = 0
    at: float = 0.0
    lost: float | None = None


def track(x: Samples, y: Samples, rate: int, band: float, own: Reals | None = None) -> Track:
    """Follows the delay of ``y`` along ``x``, both aligned to within some hundred samples.

    :param band: as in :func:`delay`
    :param own: the device's own phase; where it is not given, it is measured anew in each chunk, which is less exact
    """
    places, delays, heard, clear = [], [], [], []
    for start in range(0, len(x) - _CHUNK + 1, _CHUNK):
        part = delay(x[start : start + _CHUNK], y[start : start + _CHUNK], band, own)
        if part and part.clearness > 0.5:
            places.append(start + _CHUNK / 2)
            delays.append(part.samples)
        if part:
            heard.append(start)
            clear.append(part.clearness)
    if len(places) < 5:
        return Track(0.0, False)
    begins, ends = np.median(clear[:_END]), np.median(clear[-_END:])
    if len(clear) > 2 * _END and min(begins, ends) < 0.4 and max(begins, ends) > 0.7:
        last = int(np.flatnonzero(np.array(clear) > 0.7)[-1])
        return Track(0.0, False, lost=(heard[last] + _CHUNK) / rate if ends < begins else 0.0)
    at, late = np.array(places), np.array(delays)
    first, second = np.triu_indices(len(at), 1)
    slope = float(np.median((late[second] - late[first]) / (at[second] - at[first])))  # Theil-Sen
    spread = _spread(late - slope * at)
    jump, where = _jump(late, 0.3 * spread)
    if jump:
        return Track(0.0, False, -jump, float((at[where - 1] + at[where]) / 2 / rate))
    error = spread * np.sqrt(12 / len(at)) / (at[-1] - at[0])
    return Track(1e6 * slope, bool(abs(slope) > 5 * error and abs(slope) * len(x) > 1))


def _spread(values: Reals) -> float:
    """The standard deviation, as the middle half of the values has it."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _jump(late: Reals, spread: float, beside: int = 5) -> tuple[int, int]:
    """The step of more than 6 samples that best explains the delays, and the chunk that it comes before.

    :param spread: below which the delays have to lie about the two levels; else there is no jump: 0
    """
    jump, where = 0.0, 0
    for place in range(beside, len(late) - beside + 1):
        before, after = np.median(late[:place]), np.median(late[place:])
        left = _spread(np.concatenate([late[:place] - before, late[place:] - after]))
        if abs(after - before) > 6 and left < spread:
            jump, where, spread = float(after - before), place, left
    return round(jump), where


def change(x: Samples, y: Samples, rate: int, frames: int = 400, classes: int = 8) -> tuple[float, float]:
    """How much better the device is described by a filter for each 150 ms than by a filter for each level.

    A device that moves (flanger, chorus with short delays, phaser) is well described by many filters and badly by one
    for all that is equally loud; a distortion is hardly better described by many, if each may choose its gain.

    :return: share of the output's energy that is left by the filters for levels, and by many; medians over frames
    """
    length, taps = round(0.15 * rate), 256
    starts = np.arange(0, len(x) - length + 1, length)
    loud = [s for s in starts if np.mean(x[s : s + length] ** 2) > 1e-6 and np.mean(y[s : s + length] ** 2) > 1e-6]
    if len(loud) < 10:
        return 0.0, 0.0
    n = fft.next_fast_len(length + taps, real=True)
    autos, crosses, levels = [], [], []
    for start in np.array(loud)[np.linspace(0, len(loud) - 1, min(len(loud), frames)).astype(int)]:
        part = y[start : start + length].astype(np.float64)
        spectrum = fft.rfft(x[start : start + length].astype(np.float64), n)
        energy = part @ part
        auto = fft.irfft(np.abs(spectrum) ** 2, n)[:taps]
        levels.append(auto[0])
        auto[0] *= 1 + 1e-6
        autos.append(auto / energy)
        crosses.append(fft.irfft(fft.rfft(part, n) * spectrum.conj(), n)[:taps] / energy)
    by_level, by_many = [], []
    for alike in np.array_split(np.argsort(levels), min(classes, len(levels) // 5)):
        common = linalg.solve_toeplitz(sum(autos[frame] for frame in alike), sum(crosses[frame] for frame in alike))
        for auto, cross in ((autos[frame], crosses[frame]) for frame in alike):
            by_level.append(1 - (common @ cross) ** 2 / (common @ linalg.matmul_toeplitz(auto, common)))
            by_many.append(1 - linalg.solve_toeplitz(auto, cross) @ cross)
    return float(np.median(by_level)), max(float(np.median(by_many)), 0.0)


def dropouts(x: Samples, y: Samples) -> list[tuple[int, int]]:
    """Where ``y`` is cut out: stretches of zeros, sharp at both ends, while ``x`` is loud. What a device does, such as
    a fuzz with a dead zone, it does often; then there are none.

    :return: where each begins, and its length
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], y == 0, [False]]))).reshape(-1, 2)
    edges = edges[edges[:, 1] - edges[:, 0] >= _CUT]
    loud, heard = 0.1 * np.abs(x).max(initial=0), 0.1 * np.abs(y).max(initial=0)
    found = [(int(first), int(end - first)) for first, end in edges
             if np.abs(x[first:end]).max() > loud and np.abs(y[max(first - _CUT, 0) : first]).max(initial=0) > heard
             and np.abs(y[end : end + _CUT]).max(initial=0) > heard]
    return found if len(found) < _RARE * len(x) else []


def silences(x: Samples, y: Samples, rate: int) -> list[tuple[int, int]]:
    """Where ``y`` is silent for a while: far softer than what a filter would make of ``x``, and than where ``x`` has
    lower peaks.

    :return: where each begins, and its length
    """
    n = round(0.05 * rate)
    count = len(x) // n
    input_power, cross, _ = _spectra(x, y)
    response = fft.irfft(cross / (input_power + 1e-6 * input_power.max()))
    filter = np.roll(response, _WINDOW // 2).astype(np.float32)
    expected = signal.oaconvolve(x, filter)[_WINDOW // 2 :]
    played = _decibels(np.abs(x[: count * n]).reshape(count, n).max(1).astype(np.float64) ** 2)
    likely, heard = (_decibels(np.square(part[: count * n]).reshape(count, n).mean(1, np.float64))
                     for part in (expected, y))
    silent = np.zeros(count + 2, bool)
    for frame in np.flatnonzero((heard < likely - 40) & (played > played.max(initial=-np.inf) - 30)):
        softer = heard[(played > played[frame] - 20) & (played < played[frame] - 6)]
        silent[frame + 1] = len(softer) >= 10 and heard[frame] < np.percentile(softer, 90) - 40
    edges = n * np.flatnonzero(np.diff(silent)).reshape(-1, 2)
    return [(int(first), int(end - first)) for first, end in edges if end - first >= 3 * n]


def _decibels(power: Reals) -> Reals:
    return 10 * np.log10(power + 1e-20)


def find(part: Samples, whole: Samples) -> int:
    """Where ``whole`` is most like ``part``."""
    if len(whole) < len(part):
        return 0
    n = fft.next_fast_len(len(whole), real=True)
    likeness = fft.irfft(fft.rfft(whole, n) * fft.rfft(part, n).conj(), n)[: len(whole) - len(part) + 1]
    energy = np.cumsum(np.concatenate([[0.0], np.square(whole, dtype=np.float64)]))
    energy = energy[len(part) :] - energy[: -len(part)]
    return int(np.argmax(likeness / np.sqrt(energy + 1e-3 * energy.max() + 1e-30)))


def _spectra(x: Samples, y: Samples) -> tuple[Reals, NDArray[np.complex128], Reals]:
    """Power of ``x``, cross-spectrum, power of ``y``: sums over windows that overlap by half."""
    window = np.hanning(_WINDOW + 1)[:-1]
    bins = _WINDOW // 2 + 1
    input_power, output_power, cross = np.zeros(bins), np.zeros(bins), np.zeros(bins, np.complex128)
    for start in range(0, len(x) - _WINDOW + 1, _WINDOW // 2):
        a = fft.rfft(window * x[start : start + _WINDOW])
        b = fft.rfft(window * y[start : start + _WINDOW])
        input_power += np.abs(a) ** 2
        output_power += np.abs(b) ** 2
        cross += b * a.conj()
    return input_power, cross, output_power
