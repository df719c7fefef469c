"""A two-stage tube amplifier with a push-pull output, as a circuit: the teacher of crunch.nam.

Signals are arrays [streams][samples], so that one pass in time simulates many streams at once. Inside, everything
runs at four times the sample rate. The sections are solved one after the other, each driving the next from its own
output resistance.
"""
from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, lfilter, resample_poly

RATE = 48000
OVERSAMPLING = 4
FULL_SCALE = 2.0        # volts at the input jack for a sample of 1.0
OUTPUT_VOLTS = 850.0    # volts across half the output transformer for a sample of 1.0


@dataclass(frozen=True)
class Stage:
    """A 12AX7 in common cathode: ohms, farads and volts."""
    source: float       # resistance in series with the grid
    coupling: float     # capacitor in front of it
    leak: float         # grid to ground
    plate: float
    cathode: float
    bypass: float       # capacitor across the cathode resistor
    supply: float
    miller: float       # input capacitance


FIRST = Stage(source=68e3, coupling=22e-9, leak=1e6, plate=100e3, cathode=2.7e3, bypass=0.68e-6, supply=290,
              miller=120e-12)
SECOND = Stage(source=220e3, coupling=4.7e-9, leak=470e3, plate=100e3, cathode=1.5e3, bypass=2.2e-6, supply=290,
               miller=120e-12)
GAIN = 0.11             # the gain pot between the stages
MASTER = 2.6            # from the tone stack to the grids of the output tubes, through the phase inverter
TREBLE, MIDDLE, BASS = 0.6, 0.6, 0.4


def softplus(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log(1 + exp(x)) and its derivative."""
    e = np.exp(-np.abs(x))
    return np.maximum(x, 0) + np.log1p(e), np.where(x > 0, 1, e) / (1 + e)


def soft_power(x: np.ndarray, factor: float, bend: float, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """factor · (softplus(bend·x)/bend) ** exponent and its derivative."""
    s, ds = softplus(bend * x)
    power = factor * (s / bend) ** (exponent - 1)
    return power * s / bend, exponent * power * ds


def cathode_current(vgk: np.ndarray, vpk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a 12AX7, and its derivative by vpk (Dempwolf and Zölzer 2011, tube RSD-1)."""
    current, slope = soft_power(vpk / 103.2 + vgk, 2.242e-3, 3.40, 1.26)
    return current, slope / 103.2


def grid_current(vgk: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return soft_power(vgk, 6.177e-4, 9.901, 1.314)


def triode(e: np.ndarray, stage: Stage) -> np.ndarray:
    """The plate's voltage, less its value at rest, for the source voltage `e`."""
    dt = 1 / (RATE * OVERSAMPLING)
    pole = np.exp(-dt / (stage.source * stage.miller))
    e = np.ascontiguousarray(lfilter([1 - pole], [1, -pole], e, axis=1).T)
    g_source, g_leak, g_plate = 1 / stage.source, 1 / stage.leak, 1 / stage.plate
    streams = e.shape[1]
    vg, vc, vk, vp = (np.full(streams, v) for v in (0.0, 0.0, 1.5, 200.0))

    def step(drive: np.ndarray | float, dt_coupling: float, dt_cathode: float) -> None:
        nonlocal vg, vc, vk, vp
        for _ in range(2):                              # Newton's method at the grid
            ig, slope = grid_current(vg - vk)
            vg = vg - ((vg - drive + vc) * g_source + vg * g_leak + ig) / (g_source + g_leak + slope)
        for _ in range(2):                              # and at the plate
            ik, slope = cathode_current(vg - vk, vp - vk)
            vp = vp - ((vp - stage.supply) * g_plate + ik - ig) / (g_plate + slope)
        vc = vc + dt_coupling * (drive - vc - vg) * g_source / stage.coupling
        vk = vk + dt_cathode * (ik - vk / stage.cathode) / stage.bypass

    for _ in range(1000):                               # silence, in longer steps, until the cathode is at rest
        step(0.0, 0.0, 0.1 * stage.cathode * stage.bypass)
    rest = vp
    out = np.empty_like(e)
    for i, drive in enumerate(e):
        step(drive, dt, dt)
        out[i] = vp
    return (out - rest).T


def tone_stack() -> np.ndarray:
    """The impulse response of treble, middle and bass at the oversampled rate, by nodal analysis at every frequency."""
    length = 16384
    driver, top, wiper, bottom, slope, bass, middle, ground = range(8)
    follower = 1.3e3                                    # the output resistance of what drives it
    resistors = ((driver, ground, follower), (driver, slope, 33e3), (top, wiper, 250e3 * (1 - TREBLE)),
                 (wiper, bottom, 250e3 * TREBLE), (bottom, bass, 1e6 * BASS ** 2), (bass, middle, 25e3 * (1 - MIDDLE)),
                 (middle, ground, 25e3 * MIDDLE), (wiper, ground, 1e6))
    capacitors = ((driver, top, 470e-12), (slope, bottom, 22e-9), (slope, middle, 22e-9))
    s = 2j * np.pi * np.fft.rfftfreq(length, 1 / (RATE * OVERSAMPLING))
    admittance = np.zeros((len(s), 8, 8), complex)
    for a, b, value in [(a, b, 1 / r) for a, b, r in resistors] + [(a, b, s * c) for a, b, c in capacitors]:
        for row, column, sign in ((a, a, 1), (b, b, 1), (a, b, -1), (b, a, -1)):
            admittance[:, row, column] += sign * value
    current = np.zeros((7, 1))
    current[driver] = 1 / follower                      # a source of one volt
    return np.fft.irfft(np.linalg.solve(admittance[:, :7, :7], current)[:, wiper, 0])


def output_tubes(x: np.ndarray) -> np.ndarray:
    """Two EL34 in push-pull, class AB: the voltage over half of the transformer, for that at the grids.

    It has no memory, so that it can be solved beforehand for a grid of inputs.
    """
    supply, screen, bias, load = 400.0, 380.0, -35.0, 850.0  # ohms across half the primary

    def plate_current(vg: np.ndarray, vp: np.ndarray) -> np.ndarray:
        vg = -3.0 * softplus(-vg / 3.0)[0]              # the grid conducts and holds the voltage below zero
        e1 = screen / 60 * softplus(60 * (1 / 11 + vg / screen))[0]
        return 2 * e1 ** 1.35 / 650 * np.arctan(np.maximum(vp, 0) / 24)

    grid = np.linspace(-300, 300, 6001)
    low, high = np.full_like(grid, -supply), np.full_like(grid, supply)
    for _ in range(50):                                 # bisection: the current falls as the voltage rises
        v = (low + high) / 2
        surplus = plate_current(bias + grid, supply - v) - plate_current(bias - grid, supply + v) - v / load
        low, high = np.where(surplus > 0, v, low), np.where(surplus > 0, high, v)
    return np.interp(x, grid, (low + high) / 2)


def transformer(x: np.ndarray) -> np.ndarray:
    """The output transformer passes 45 Hz to 9 kHz."""
    high, low = (np.exp(-2 * np.pi * f / (RATE * OVERSAMPLING)) for f in (45, 9000))
    x = lfilter([(1 + high) / 2, -(1 + high) / 2], [1, -high], x, axis=1)
    return lfilter([1 - low], [1, -low], x, axis=1)


def amplifier(x: np.ndarray) -> np.ndarray:
    """The amp's output [streams][samples] at 48 kHz for its input, both with 1.0 as full scale."""
    volts = resample_poly(FULL_SCALE * x, OVERSAMPLING, 1, axis=1)
    volts = triode(volts, FIRST)
    volts = triode(GAIN * volts, SECOND)
    volts = fftconvolve(volts, tone_stack()[None], axes=1)[:, :volts.shape[1]]
    volts = transformer(output_tubes(MASTER * volts))
    return resample_poly(volts, 1, OVERSAMPLING, axis=1) / OUTPUT_VOLTS
