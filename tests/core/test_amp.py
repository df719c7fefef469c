"""An amp in a signal path: crossfades, gains and bypass without a click, whatever comes in between."""

import json
from typing import Any

import numpy as np
import pytest

from neurig._core import ffi, lib
from neurig.model import parse

RATE = 48000


def gain_model(gain: float) -> Any:
    text = {"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [gain]}
    return parse(json.dumps(text | {"sample_rate": RATE}))


class Amp:
    """`neurig_amp` as a host drives it."""

    def __init__(self) -> None:
        self.handle = ffi.gc(lib.neurig_amp_new(RATE), lib.neurig_amp_free)
        self.freed = 0

    def swap(self, gain: float | None) -> None:
        fresh = ffi.NULL
        if gain is not None:
            fresh = lib.neurig_instance_new(gain_model(gain)._handle, RATE, 1, ffi.NULL, 0)
        self.free(lib.neurig_amp_swap(self.handle, fresh))

    def free(self, instance: Any) -> None:
        if instance != ffi.NULL:
            self.freed += 1
            lib.neurig_instance_free(instance)

    def process(self, x: np.ndarray, block: int = 64) -> np.ndarray:
        y = np.array(x, np.float32)
        for i in range(0, len(y), block):
            part = ffi.from_buffer("float[]", y[i : i + block])
            lib.neurig_amp_process(self.handle, part, part, min(block, len(y) - i))
            self.free(lib.neurig_amp_collect(self.handle))
        return y

    def set(self, param: int, value: float) -> None:
        lib.neurig_amp_set(self.handle, param, value)


ONES = np.ones(4800, np.float32)


def steepest(y: np.ndarray) -> float:
    return float(np.max(np.abs(np.diff(y))))


def test_silent_without_an_instance() -> None:
    assert not Amp().process(ONES).any()


def test_first_instance_holds_at_once() -> None:
    amp = Amp()
    amp.swap(0.5)
    amp.set(lib.NEURIG_AMP_GAIN, 20)
    assert np.allclose(amp.process(ONES), 5)


def test_crossfade() -> None:
    amp = Amp()
    amp.swap(1)
    assert np.allclose(amp.process(ONES), 1)
    amp.swap(0.2)
    y = amp.process(ONES)
    assert np.all(np.diff(y) <= 1e-6) and steepest(y) < 2 * 0.8 / 960
    assert np.allclose(y[961:], 0.2) and not np.allclose(y[900:950], 0.2, atol=1e-5)
    assert amp.freed == 1


def test_crossfade_time() -> None:
    amp = Amp()
    amp.set(lib.NEURIG_AMP_XFADE, 50)
    amp.swap(1)
    amp.process(ONES)
    amp.swap(0)
    y = amp.process(ONES)
    assert y[2399] > 0 and np.allclose(y[2401:], 0)


def test_swap_while_fading_waits_and_the_newest_wins() -> None:
    amp = Amp()
    amp.swap(1)
    amp.process(ONES)
    for gain in (0.5, 0.1, 0.9, 0.3):  # 0.1 and 0.9 are never heard
        amp.swap(gain)
        amp.process(ONES[:64])
    assert amp.freed == 2
    y = amp.process(ONES)
    assert steepest(y) < 2 / 960 and y[-1] == pytest.approx(0.3)
    assert amp.freed == 4


def test_unload_fades_out_and_back() -> None:
    amp = Amp()
    amp.swap(1)
    amp.process(ONES)
    amp.swap(None)
    y = amp.process(ONES)
    assert steepest(y) < 2 / 960 and y[-1] == 0
    amp.swap(1)
    y = amp.process(ONES)
    assert steepest(y) < 2 / 960 and y[-1] == 1


@pytest.mark.parametrize(("param", "value", "wanted"), [
    ("GAIN", -40, 0.5 * 0.01), ("GAIN", 20, 5), ("OUT", -6, 0.5 * 10 ** (-6 / 20)), ("OUT", 1000, 500), ("BYPASS", 1, 1),
])  # fmt: skip
def test_settings_glide(param: str, value: float, wanted: float) -> None:
    amp = Amp()
    amp.swap(0.5)
    amp.process(ONES)
    amp.set(getattr(lib, f"NEURIG_AMP_{param}"), value)
    y = amp.process(ONES)
    assert steepest(y) < 1.05 * abs(wanted - 0.5) / 960 + 1e-6
    assert np.allclose(y[970:], wanted, rtol=1e-5)


def test_nonsense_is_ignored() -> None:
    amp = Amp()
    amp.swap(0.5)
    for param, value in ((lib.NEURIG_AMP_GAIN, float("nan")), (99, 1), (-1, 1), (lib.NEURIG_AMP_OUT, float("inf"))):
        amp.set(param, value)
    assert np.allclose(amp.process(ONES), 0.5)


def test_load_in_the_middle_of_a_sine() -> None:
    """No step is larger than the louder signal's own plus half a decibel."""
    x = np.sin(2 * np.pi * 997 * np.arange(48000) / RATE).astype(np.float32)
    amp = Amp()
    amp.swap(1)
    amp.process(x[:20000])
    amp.swap(-0.7)
    y = amp.process(x[20000:])
    assert steepest(y) <= steepest(x) * 10 ** (0.5 / 20)


def test_a_model_that_remembers_its_beginning() -> None:
    """An echo later than the crossfade: it must not begin in the middle of the sine."""
    echo = {"receptive_field": 1201, "bias": False}
    text = {"architecture": "Linear", "config": echo, "weights": [0] * 1200 + [1], "sample_rate": RATE}
    model = parse(json.dumps(text))
    x = np.sin(2 * np.pi * 997 * np.arange(48000) / RATE + 1.5).astype(np.float32)
    for before in (None, 1):
        amp = Amp()
        amp.swap(before)
        amp.process(x[:4800])
        amp.free(lib.neurig_amp_swap(amp.handle, lib.neurig_instance_new(model._handle, RATE, 1, ffi.NULL, 0)))
        y = amp.process(x[4800:])
        assert np.allclose(y[3000:], x[6600:-1200], atol=1e-5)
        assert steepest(y) <= steepest(x) * 10 ** (0.5 / 20)


def test_block_sizes_give_the_same_samples() -> None:
    x = np.random.default_rng(0).normal(0, 0.3, 9600).astype(np.float32)
    outputs = []
    for block in (1, 7, 64, 333, 4800):
        amp = Amp()
        amp.swap(0.7)
        first = amp.process(x[:4800], block)
        amp.swap(0.2)
        amp.set(lib.NEURIG_AMP_GAIN, 6)
        outputs.append(np.concatenate([first, amp.process(x[4800:], block)]))
    for other in outputs[1:]:
        assert np.array_equal(other, outputs[0])


METADATA = {"loudness": -12.0, "input_level_dbu": 18.0, "output_level_dbu": 6.0}


def with_metadata(**metadata: float) -> Any:
    text = {"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [0.5], "sample_rate": RATE}
    return parse(json.dumps(text | {"metadata": metadata}))


def decibels(dB: float) -> float:
    return 10 ** (dB / 20)


@pytest.mark.parametrize(("metadata", "asked", "level", "gain"), [
    (METADATA, "RAW", "RAW", 0),
    (METADATA, "NORMALISED", "NORMALISED", -6),
    (METADATA, "CALIBRATED", "CALIBRATED", (10 - 18) + (6 - 10)),
    ({"loudness": -12.0, "input_level_dbu": 18.0}, "CALIBRATED", "CALIBRATED", (10 - 18) - 6),
    ({"loudness": -12.0}, "CALIBRATED", "NORMALISED", -6),
    ({}, "CALIBRATED", "RAW", 0),
    ({}, "NORMALISED", "RAW", 0),
    ({"loudness": 1e9}, "NORMALISED", "RAW", 0),
])  # fmt: skip
def test_levels(metadata: dict[str, float], asked: str, level: str, gain: float) -> None:
    """Set before the model comes, or glided to while it plays: the same level, falling back where the file is silent."""
    before, during = Amp(), Amp()
    for amp in (before, during):
        amp.set(lib.NEURIG_AMP_DBU, 10)
        if amp is before:
            amp.set(lib.NEURIG_AMP_LEVEL, getattr(lib, f"NEURIG_LEVEL_{asked}"))
        instance = lib.neurig_instance_new(with_metadata(**metadata)._handle, RATE, 1, ffi.NULL, 0)
        amp.free(lib.neurig_amp_swap(amp.handle, instance))
    assert np.allclose(before.process(ONES), 0.5 * decibels(gain), rtol=1e-5)
    assert np.allclose(during.process(ONES), 0.5)
    during.set(lib.NEURIG_AMP_LEVEL, getattr(lib, f"NEURIG_LEVEL_{asked}"))
    y = during.process(ONES)
    assert np.allclose(y[970:], 0.5 * decibels(gain), rtol=1e-5) and steepest(y) < 2.1 * 0.5 / 960
    assert lib.neurig_amp_level(during.handle) == getattr(lib, f"NEURIG_LEVEL_{level}")


def test_each_model_has_its_own_level() -> None:
    """Two models of different loudness, normalised: one fades into the other without a bump."""
    amp = Amp()
    amp.set(lib.NEURIG_AMP_LEVEL, lib.NEURIG_LEVEL_NORMALISED)
    for loudness in (-12.0, -24.0):
        instance = lib.neurig_instance_new(with_metadata(loudness=loudness)._handle, RATE, 1, ffi.NULL, 0)
        amp.free(lib.neurig_amp_swap(amp.handle, instance))
        y = amp.process(ONES)
        assert y[-1] == pytest.approx(0.5 * decibels(-18 - loudness), rel=1e-5)
    assert np.all(np.diff(y) >= -1e-6) and steepest(y) < 2 / 960


def test_channels_are_like_amps_side_by_side() -> None:
    """Two channels through a load, a change of gain and a crossfade to another model."""
    x = np.random.default_rng(5).normal(0, 0.3, (2, 6000)).astype(np.float32)
    both = ffi.gc(lib.neurig_amp_new_channels(RATE, 2), lib.neurig_amp_free)
    alone = [Amp(), Amp()]
    y = []
    for start, gain in ((0, 0.5), (2000, 2.0), (4000, None)):
        fresh = ffi.NULL
        if gain is not None:
            fresh = lib.neurig_instance_new_channels(gain_model(gain)._handle, RATE, 1, 2, 0, ffi.NULL, 0)
        lib.neurig_instance_free(lib.neurig_amp_swap(both, fresh))
        lib.neurig_amp_set(both, lib.NEURIG_AMP_GAIN, start / 1000)
        part = x[:, start : start + 2000].copy()
        wanted = []
        for amp, row in zip(alone, part, strict=True):
            amp.swap(gain)
            amp.set(lib.NEURIG_AMP_GAIN, start / 1000)
            wanted.append(amp.process(row, 2000))
        samples = ffi.from_buffer("float[]", part, require_writable=True)
        lib.neurig_amp_process(both, samples, samples, 2000)
        lib.neurig_instance_free(lib.neurig_amp_collect(both))
        y.append(np.array_equal(part, wanted))
    assert y == [True] * 3


def test_an_instance_of_other_channels_is_given_back() -> None:
    amp = Amp()
    amp.swap(0.5)
    stereo = lib.neurig_instance_new_channels(gain_model(2)._handle, RATE, 1, 2, 0, ffi.NULL, 0)
    assert lib.neurig_amp_swap(amp.handle, stereo) == stereo
    lib.neurig_instance_free(stereo)
    assert np.array_equal(amp.process(ONES), 0.5 * ONES)
