"""Writes models/open-back.wav: the impulse response of a 12-inch speaker in an open-back box, close microphone.

The speaker's magnitude is designed in the frequency domain and made minimum phase, so that nothing of it comes before
the direct sound; what the box and the room give back is then added as delayed, duller copies.
"""
from pathlib import Path

import numpy as np
from scipy.io import wavfile
from scipy.signal import lfilter

RATE = 48000
LENGTH = 4096
FFT = 65536
# Peaks and dips of the cone and the baffle: centre (Hz), gain (dB), width (octaves).
RESONANCES = ((92, 6.0, 0.7), (230, 1.5, 1.0), (430, -3.5, 1.1), (1250, -1.5, 0.5), (1700, 2.0, 0.4), (2550, 7.0, 0.75),
              (3300, 2.0, 0.2), (3750, -4.0, 0.15), (4400, 4.0, 0.3), (5300, -5.0, 0.2), (6200, 3.0, 0.25))
# What comes back: delay (ms), gain, low-pass (Hz). The back wave has the opposite sign.
ECHOES = ((0.62, -0.30, 3200), (1.15, -0.22, 2000), (1.9, 0.14, 2600), (3.1, 0.10, 2200), (5.3, -0.05, 1600),
          (7.9, 0.035, 1400), (11.6, 0.03, 1200), (15.7, -0.02, 1000))


def minimum_phase(magnitude: np.ndarray) -> np.ndarray:
    """The impulse response of `magnitude` (half spectrum), by way of the cepstrum."""
    cepstrum = np.fft.irfft(np.log(magnitude))
    cepstrum[1:FFT // 2] *= 2
    cepstrum[FFT // 2 + 1:] = 0
    return np.fft.irfft(np.exp(np.fft.rfft(cepstrum)))


def speaker() -> np.ndarray:
    f = np.maximum(np.fft.rfftfreq(FFT, 1 / RATE), 1.0)
    octaves = np.log2(f)
    db = sum(gain * np.exp(-0.5 * ((octaves - np.log2(centre)) / (width / 2.355)) ** 2)
             for centre, gain, width in RESONANCES)
    db -= 10 * np.log10(1 + (78 / f) ** 6)              # open back: front and back cancel below the resonance
    db -= 10 * np.log10(1 + (f / 5000) ** 9)            # the cone gives up
    return minimum_phase(10 ** (np.maximum(db, -80) / 20))[:LENGTH]


def loudness(ir: np.ndarray) -> float:
    """How much louder pink noise gets, as an amplitude ratio, from 60 Hz to 10 kHz."""
    f = np.fft.rfftfreq(FFT, 1 / RATE)
    band = (f >= 60) & (f <= 10000)
    power = np.abs(np.fft.rfft(ir, FFT)) ** 2
    return float(np.sqrt((power[band] / f[band]).sum() / (1 / f[band]).sum()))


def cabinet() -> np.ndarray:
    direct = speaker()
    ir = direct.copy()
    for ms, gain, cutoff in ECHOES:
        delay, pole = round(ms * RATE / 1000), np.exp(-2 * np.pi * cutoff / RATE)
        ir[delay:] += gain * lfilter([1 - pole], [1, -pole], direct[:-delay])
    fade = np.ones(LENGTH)
    fade[LENGTH // 2:] = 0.5 + 0.5 * np.cos(np.linspace(0, np.pi, LENGTH // 2))
    ir *= fade
    return ir / loudness(ir)


if __name__ == "__main__":
    path = Path(__file__).parents[1] / "open-back.wav"
    wavfile.write(path, RATE, cabinet().astype(np.float32))
    print(f"{path}: {LENGTH} samples, {path.stat().st_size} bytes")
