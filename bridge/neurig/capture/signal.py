"""The test signal: what to play into a device so that an amp can learn it from the answer.

For the default 180 s, the passages are (a longer or shorter signal has more or less of those in the middle):

========  =======  ===================================================================================================
from, s   name     what
========  =======  ===================================================================================================
0.00      clicks   two clicks of one sample, 0.5 s apart: how late the answer comes
1.00      silence  the device's own noise
2.87      phrase   5 s of plucked strings, softer and harder
7.87      sweeps   sines from 20 Hz to 20 kHz (or a little below half the rate), three times, at -40, -20 and -4 dBFS
17.77     steps    tones of 82, 330 and 1319 Hz in turn, 60 dB softer to full: every step 3 dB up
25.97     noise    white and pink in turn, in bursts of 0.25 s whose levels are drawn from -50 to -8 dBFS rms
40.77     strings  notes, dead notes and chords across the neck, peaks at -40 to -1 dBFS, each level equally often
172.50    repeat   the phrase, sample for sample: a device that answers otherwise now changes with time
177.50    silence
179.00    clicks   as at the beginning: whether the clocks of player and recorder went apart
========  =======  ===================================================================================================

All that is drawn by chance comes from the seed. The peak is -1 dBFS.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from neurig.capture import strings, wav
from neurig.files import atomic

RATES = (22050, 192000)
SECONDS = (30.0, 1200.0)
PEAK = 10 ** (-1 / 20)
CLICKS = (0.25, 0.75)  # s, from the beginning of their passage

# Phrase and repeat are so far apart that no chorus of a round number of Hz is at the same place again.
_BEFORE = (("clicks", 1.0), ("silence", 1.87), ("phrase", 5.0))
_SHARES = (("sweeps", 0.06), ("steps", 0.05), ("noise", 0.09), ("strings", 0.8))
_AFTER = (("repeat", 5.0), ("silence", 1.5), ("clicks", 1.0))
_TONES = (82.41, 329.63, 1318.51)  # Hz
_BURST = 0.25  # s
_FADE = 0.01  # s, at both ends of a tone or sweep
_TAG = "neurig capture"

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Passage:
    """A part of the signal.

    :ivar start: s, from the beginning of the signal
    :ivar seconds: its length
    """

    name: str
    start: float
    seconds: float


def plan(seconds: float = 180.0) -> list[Passage]:
    """The passages of a signal, in order."""
    middle = seconds - sum(length for _, length in _BEFORE + _AFTER)
    shares = [(name, round(share * middle, 1)) for name, share in _SHARES[:-1]]
    rest = round(middle - sum(length for _, length in shares), 6)
    passages, start = [], 0.0
    for name, length in (*_BEFORE, *shares, (_SHARES[-1][0], rest), *_AFTER):
        passages.append(Passage(name, round(start, 6), length))
        start += length
    return passages


def signal(seconds: float = 180.0, rate: int = 48000, seed: int = 0) -> Samples:
    """The test signal, mono.

    :param seconds: 30 to 1200
    :param rate: Hz, 22050 to 192000
    :raises ValueError: where one of them is out of range
    """
    if not SECONDS[0] <= seconds <= SECONDS[1]:
        raise ValueError(f"{seconds} s is out of range: a test signal has {SECONDS[0]:.0f} to {SECONDS[1]:.0f} s")
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{rate} Hz is out of range: {RATES[0]} to {RATES[1]} Hz")
    random = np.random.default_rng(seed)
    whole = np.zeros(round(seconds * rate))
    phrase = np.zeros(0)
    for passage in plan(seconds):
        n = round(passage.seconds * rate)
        match passage.name:
            case "clicks":
                part = np.zeros(n)
                part[[round(click * rate) for click in CLICKS]] = PEAK
            case "silence":
                part = np.zeros(n)
            case "phrase":
                part = phrase = _strings(n, rate, random)
            case "sweeps":
                part = _sweeps(n, rate)
            case "steps":
                part = _steps(n, rate)
            case "noise":
                part = _noise(n, rate, random)
            case "strings":
                part = _strings(n, rate, random)
            case "repeat":
                part = phrase
        first = round(passage.start * rate)
        whole[first : first + len(part)] = part[: len(whole) - first]
    return whole


def _faded(tone: Samples, rate: int) -> Samples:
    n = round(_FADE * rate)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(n) / n)
    tone[:n] *= ramp
    tone[-n:] *= ramp[::-1]
    return tone


def _sweeps(n: int, rate: int) -> Samples:
    part, length = np.zeros(n), n // 3
    low, high = 20.0, min(20000.0, 0.46 * rate)
    octaves = np.log(high / low)
    time = np.arange(length) / length
    phase = 2 * np.pi * low * (length / rate) / octaves * np.expm1(octaves * time)
    for index, level in enumerate((-40, -20, -4)):
        part[index * length : (index + 1) * length] = _faded(10 ** (level / 20) * np.sin(phase), rate)
    return part


def _steps(n: int, rate: int) -> Samples:
    levels = np.arange(-61, 0, 3)  # dBFS
    part, length = np.zeros(n), n // len(levels)
    time = np.arange(length) / rate
    for index, level in enumerate(levels):
        tone = np.sin(2 * np.pi * _TONES[index % len(_TONES)] * time)
        part[index * length : (index + 1) * length] = _faded(10 ** (level / 20) * tone, rate)
    return part


def _noise(n: int, rate: int, random: np.random.Generator) -> Samples:
    length = round(_BURST * rate)
    part = np.zeros(n)
    for index, start in enumerate(range(0, n, length)):
        burst = random.standard_normal(length)
        if index % 2:  # pink: 3 dB less per octave, from 20 Hz
            spectrum = np.fft.rfft(burst)
            spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(length, 1 / rate), 20))
            burst = np.fft.irfft(spectrum, length)
        level = 10 ** (random.uniform(-50, -8) / 20) / np.sqrt(np.mean(burst**2))
        part[start : start + length] = (burst * min(level, PEAK / np.abs(burst).max()))[: n - start]
    return part


def _strings(n: int, rate: int, random: np.random.Generator) -> Samples:
    """Notes, dead notes and chords, one after the other: all six strings up to the 19th fret, at all levels."""
    total = -(-n * strings.RATE // rate)
    part = np.zeros(total)
    places = random.permutation(6 * 20)
    start = number = 0
    while start < total:
        length = min(round(random.choice([0.25, 0.5, 1, 2], p=[0.2, 0.4, 0.3, 0.1]) * strings.RATE), total - start)
        kind = random.choice(["note", "chord", "dead"], p=[0.65, 0.2, 0.15])
        # The golden ratio's multiples visit all levels equally often, however many notes there are.
        level = -40 + 39 * (number * 0.618034 % 1)  # dBFS
        tone = strings.pickup(_plucked(int(places[number % len(places)]), kind, level, length, random))
        part[start : start + length] = tone * (10 ** (level / 20) / np.abs(tone).max())
        start, number = start + length, number + 1
    if rate != strings.RATE:
        part = soxr.resample(part, strings.RATE, rate, "VHQ")
    return np.clip(np.pad(part, (0, max(0, n - len(part))))[:n], -PEAK, PEAK)


def _plucked(place: int, kind: str, level: float, length: int, random: np.random.Generator) -> Samples:
    """One stroke at a place of the neck (20 frets on each string); a chord lies about it."""
    lowest, fret = divmod(place, 20)
    picking = random.uniform(0.08, 0.3)  # string lengths from the bridge
    hardness = 10 ** ((level + 8) / 40)
    chord = kind == "chord"
    motion = np.zeros(length)
    for order, number in enumerate(range(min(lowest, 2), 6) if chord else [lowest]):
        fretted = fret % 12 + random.integers(0, 3) if chord else fret
        pitch = np.full(length, strings.TUNING[number] * 2 ** (fretted / 12))
        pluck = strings.Pluck(0.005 + 0.012 * order, hardness, picking, kind == "dead")
        muted, stopped = np.full(length, float(kind == "dead")), np.zeros(length)
        stopped[-round(0.05 * strings.RATE) :] = 1
        motion += strings.string(number, pitch, [pluck], muted, stopped)
    return motion


def describe(seconds: float, rate: int, seed: int) -> str:
    """What a file says about the signal in it: JSON, for its comment."""
    about = {"signal": _TAG, "seconds": seconds, "rate": rate, "seed": seed,
             "passages": [asdict(passage) for passage in plan(seconds)]}
    return json.dumps(about)


def described(comment: str) -> list[Passage] | None:
    """The passages that a file's comment tells of; None where the file is not ours."""
    try:
        about = json.loads(comment)
        if not isinstance(about, Mapping) or about.get("signal") != _TAG:
            return None
        return [Passage(str(part["name"]), float(part["start"]), float(part["seconds"])) for part in about["passages"]]
    except (ValueError, KeyError, TypeError):
        return None


def make(path: str | os.PathLike[str], seconds: float = 180.0, rate: int = 48000, seed: int = 0) -> None:
    """Writes the test signal: a 24-bit WAV file, whose comment describes it (JSON).

    :raises ValueError: as :func:`signal`
    :raises OSError: where the file cannot be written; one that was there is there still
    """
    with atomic(path) as temporary:
        samples = signal(seconds, rate, seed)
        wav.write(temporary, samples, rate, "PCM_24", describe(seconds, rate, seed))
