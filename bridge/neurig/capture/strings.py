"""An electric guitar: six plucked strings over a humbucker, as digital waveguides.

Each string is a loop of delay, losses and dispersion (Karplus and Strong 1983; Jaffe and Smith 1983), computed for
two planes of vibration that are slightly out of tune with each other. Pitch and damping may change at any sample, so
slides, bends, vibrato and palm mutes come out of the same loop. Where the pick strikes and where the pickup listens
are fixed distances from the bridge, hence fixed comb filters for all frets of a string.
"""
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

RATE = 48000
TUNING = (82.41, 110.0, 146.83, 196.0, 246.94, 329.63)  # Hz, E standard, from the lowest
PICKUP = (0.07, 0.11)                                   # the humbucker's two coils, from the bridge, in string lengths
APERTURE = 0.012                                        # what one coil hears, in string lengths
STIFFNESS = (8, 7, 5, 4, 3, 2)                          # allpass filters in each string's loop: dispersion
ALLPASS = 0.6                                           # and their pole
GUARD = 12                                              # samples that the loop's filters reach across


@dataclass
class Pluck:
    """One stroke of the pick: at `time` (s), with `level` (1: usual), at `place` (string lengths from the bridge)."""
    time: float
    level: float = 1.0
    place: float = 0.16
    mute: bool = False


def comb(x: np.ndarray, delay: float) -> np.ndarray:
    """x(t) - x(t - delay), with `delay` in samples: the reflection at the bridge comes back inverted."""
    whole = int(delay)
    part = delay - whole
    late = np.concatenate([np.zeros(whole), x])[:len(x)]
    return x - (1 - part) * late - part * np.concatenate([[0.0], late[:-1]])


def stroke(open_period: float, pluck: Pluck) -> np.ndarray:
    """What the pick gives to the string: a short push, shorter and rougher the harder it is."""
    width = int(RATE * 0.0006 / (0.6 + 0.9 * min(pluck.level, 1.5)) * (1.4 if pluck.mute else 1.0))
    push = np.zeros(int(open_period) + 4 * width)
    push[:width] = np.hanning(width + 2)[1:-1]
    push /= push.sum()
    grain = np.random.default_rng(0).standard_normal(2 * width)     # the pick's edge: the same at every stroke
    push[:2 * width] += 0.05 / width * grain * np.hanning(2 * width)
    return pluck.level * comb(push, pluck.place * open_period)


def string(number: int, pitch: np.ndarray, plucks: list[Pluck], muted: np.ndarray,
           stopped: np.ndarray) -> np.ndarray:
    """The pickup's signal of one string.

    :param number: 0 (lowest) to 5
    :param pitch: the fundamental in Hz, for every sample
    :param plucks: strokes of the pick, in order
    :param muted: palm mute, 0..1, for every sample
    :param stopped: whether the string is damped, 0..1, for every sample
    """
    n = len(pitch)
    open_period = RATE / TUNING[number]
    force = np.zeros(n + 4096)
    touched = np.zeros(n)                               # the pick stops what still rings, just before it lets go
    for pluck in plucks:
        start = int(pluck.time * RATE)
        push = stroke(open_period, pluck)
        force[start:start + len(push)] += push
        touched[max(0, start - int(1.2 * open_period)):start] = 1
    touched = np.convolve(touched, np.hanning(96) / np.hanning(96).sum(), "same")

    # Losses per turn of the loop: one gain for all partials, and a symmetric filter that takes more from high ones.
    t60 = 1 / (1 / (6.5 - 0.6 * number) + muted / 0.45 + stopped / 0.05)              # s, at the fundamental
    t60_5k = 1 / (1 / (1.1 - 0.08 * number) + muted / 0.12 + stopped / 0.02)          # s, at 5 kHz
    gain = 10 ** (-3 / (t60 * pitch)) * 0.2 ** touched
    high = np.minimum((1 - 10 ** (-1.5 / (t60_5k * pitch))) / (1 - np.cos(2 * np.pi * 5000 / RATE)), 0.5)

    # The loop's filters delay too; the line makes up for it, so that the fundamental is in tune.
    a = np.poly([ALLPASS] * STIFFNESS[number])
    b = a[::-1]
    w = 2 * np.pi * pitch / RATE
    z = np.exp(-1j * w)
    phase = -STIFFNESS[number] * np.angle((z - ALLPASS) / (1 - ALLPASS * z))
    planes = np.array([1.0, 1.0007])[:, None]
    delay = RATE / pitch * planes - phase / w - 2       # 2: the two symmetric filters
    losses = np.array([1.0, 0.45])[:, None]             # the plane towards the body dies away sooner
    gain = 10 ** (np.log10(gain) / losses)
    block = int(delay.min()) - 4

    wave = np.zeros((2, GUARD + n))
    delayed, smooth = np.zeros_like(wave), np.zeros_like(wave)
    state = np.zeros((2, len(a) - 1))
    rows = np.arange(2)[:, None]
    for start in range(0, n, block):
        at = np.arange(start, min(n, start + block))
        now = slice(GUARD + at[0], GUARD + at[-1] + 1)
        read = GUARD + at - delay[:, at]
        whole = np.floor(read).astype(int)
        f = read - whole                                # third-order Lagrange interpolation
        taps = [wave[rows, np.maximum(whole + k, 0)] for k in (-1, 0, 1, 2)]
        delayed[:, now] = (-f * (f - 1) * (f - 2) / 6 * taps[0] + (f + 1) * (f - 1) * (f - 2) / 2 * taps[1]
                           - (f + 1) * f * (f - 2) / 2 * taps[2] + (f + 1) * f * (f - 1) / 6 * taps[3])
        s = high[at]
        for source, target in ((delayed, smooth), (smooth, wave)):
            target[:, now] = ((1 - s) * source[:, now.start - 1:now.stop - 1]
                              + s / 2 * (source[:, now] + source[:, now.start - 2:now.stop - 2]))
        turned, state = lfilter(b, a, gain[:, at] * wave[:, now], axis=1, zi=state)
        wave[:, now] = turned + force[at]
    motion = wave[:, GUARD:].T @ [0.7, 0.3]

    # Each coil hears the string over some width, and its echo from the bridge.
    aperture = np.hanning(max(3, round(2 * APERTURE * open_period)) + 2)[1:-1]
    heard = sum(comb(motion, place * open_period) for place in PICKUP) / len(PICKUP)
    return np.convolve(heard, aperture / aperture.sum())[:n]


def pickup(x: np.ndarray) -> np.ndarray:
    """The sum of the strings as it leaves the guitar: velocity from force, and the coil's resonance at 3.6 kHz."""
    x = lfilter([1, -1], [1, -0.997], lfilter([0.06], [1, -0.985], x))
    w, q = 2 * np.pi * 3600 / RATE, 1.6
    alpha, c = np.sin(w) / (2 * q), np.cos(w)
    return lfilter([(1 - c) / 2, 1 - c, (1 - c) / 2], [1 + alpha, -2 * c, 1 - alpha], x)
