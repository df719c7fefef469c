"""Instances that compute on a thread of their own: the same samples, a fixed time later."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import neurig
from neurig._core import ffi, lib
from neurig.files import share

BLOCK = 64
X = np.random.default_rng(3).normal(0, 0.1, 150 * BLOCK).astype(np.float32)


class Deferred:
    """One, as a host has it."""

    def __init__(self, model: neurig.Model, delay: int, rate: float = 48000, channels: int = 1) -> None:
        error = ffi.new("char[]", 512)
        self.model = model
        self.handle = lib.neurig_instance_new_deferred(model._handle, rate, 1, channels, delay, error, 512)
        if self.handle == ffi.NULL:
            raise neurig.ModelError(ffi.string(error).decode())
        self.handle = ffi.gc(self.handle, lib.neurig_instance_free)

    def play(self, samples: np.ndarray, block: int = BLOCK, pause: float = 0.001,
             before: Callable[[int], None] = lambda start: None) -> np.ndarray:
        """Block by block, as an audio thread does, only not as regularly; `before` is called with each block's start.

        :param samples: shape (n,), or (channels, n)
        """
        output = np.empty_like(samples)
        for start in range(0, samples.shape[-1], block):
            part = np.ascontiguousarray(samples[..., start : start + block])
            made = np.empty_like(part)
            before(start)
            lib.neurig_instance_process(self.handle, ffi.from_buffer("float[]", part),
                                        ffi.from_buffer("float[]", made, require_writable=True), part.shape[-1])
            output[..., start : start + block] = made
            if pause:
                time.sleep(pause)
        return output

    @property
    def late(self) -> int:
        return lib.neurig_instance_late(self.handle)


@pytest.fixture(scope="module")
def model() -> neurig.Model:
    return neurig.load(share("models", "crunch.nam"))


@pytest.mark.parametrize(("delay", "block", "rate"), [(6400, BLOCK, 48000), (6001, 48, 48000), (7000, BLOCK, 44100)])
def test_the_same_samples_later(model: neurig.Model, delay: int, block: int, rate: int) -> None:
    deferred, direct = Deferred(model, delay, rate), model.instance(rate)
    y = deferred.play(X, block)
    assert lib.neurig_instance_latency(deferred.handle) == direct.latency + delay
    assert deferred.late == 0  # else this machine held the thread up for a tenth of a second
    assert np.array_equal(y[delay:], direct.process(X)[:-delay]) and not y[:delay].any()


def test_what_is_not_ready_is_silence_and_shifts_nothing(model: neurig.Model) -> None:
    """Without a pause no thread can keep up with a delay of one sample."""
    deferred = Deferred(model, 1)
    y = deferred.play(X, pause=0)
    expected = model.instance(48000).process(X)
    missing = (y[1:] == 0) & (expected[:-1] != 0)
    assert deferred.late >= missing.sum() > 0
    late = deferred.late
    time.sleep(0.05)
    again = deferred.play(X[:1], pause=0.05)  # now it has caught up, and the sample before is there
    assert deferred.late == late and again[0] != 0


def test_reset_forgets_what_is_on_its_way(model: neurig.Model) -> None:
    delay = 100 * BLOCK
    deferred = Deferred(model, delay)
    deferred.play(X[: 20 * BLOCK])
    lib.neurig_instance_reset(deferred.handle)
    y = deferred.play(X)
    assert not y[:delay].any() and np.array_equal(y[delay:], model.instance(48000).process(X)[:-delay])


def test_channels(model: neurig.Model) -> None:
    x = X[: 60 * BLOCK].reshape(3, -1)
    y = Deferred(model, 5000, channels=3).play(np.concatenate([x, np.zeros((3, 5000), np.float32)], 1))
    for channel in range(3):
        assert np.array_equal(y[channel, 5000:], model.instance(48000).process(x[channel]))


def test_settings_hold_from_the_sample_on_that_comes_after_them(tmp_path: Path) -> None:
    """A knob that is turned thousands of times, and a worker that is waited for: not one value comes at a wrong time."""
    dense = {"type": "dense", "shape": [1], "weights": [[[1], [1]], [0]]}  # the sum of the signal and a knob
    (tmp_path / "adder.json").write_text(json.dumps({"in_shape": [2], "layers": [dense]}))
    model = neurig.load(tmp_path / "adder.json")
    deferred, direct, delay = Deferred(model, 640), model.instance(48000), 640
    lib.neurig_instance_set_waiting(deferred.handle, 1)
    x = np.tile(X, 4)
    knob = np.random.default_rng(5).uniform(0, 1, len(x) // 16)
    y = deferred.play(x, 16, 0, lambda at: lib.neurig_instance_set_param(deferred.handle, 0, knob[at // 16]))
    assert lib.neurig_instance_param(deferred.handle, 0) == np.float32(knob[-1])
    expected = np.empty_like(x)
    for number, value in enumerate(knob):
        direct.set(0, value)
        expected[16 * number : 16 * (number + 1)] = direct.process(x[16 * number : 16 * (number + 1)])
    assert np.array_equal(y[delay:], expected[:-delay]) and deferred.late == 0
    assert lib.neurig_instance_cpu(deferred.handle) > 0


def test_waiting_for_it_leaves_no_gap(model: neurig.Model) -> None:
    for delay, block in ((1, 64), (64, 64), (700, 20000)):
        deferred = Deferred(model, delay)
        lib.neurig_instance_set_waiting(deferred.handle, 1)
        y = deferred.play(np.tile(X, 4), block, 0)
        assert np.array_equal(y[delay:], model.instance(48000).process(np.tile(X, 4))[:-delay]) and deferred.late == 0


def test_it_ends_with_its_thread(model: neurig.Model) -> None:
    before = _threads()
    instances = [Deferred(model, BLOCK) for _ in range(5)]
    for instance in instances:
        instance.play(X[:BLOCK])
    assert _threads() == before + 5
    for instance in instances:
        ffi.release(instance.handle)
    assert _threads() == before


def _threads() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))


@pytest.mark.parametrize("delay", [-1, 1 << 21])
def test_delays_out_of_range(model: neurig.Model, delay: int) -> None:
    with pytest.raises(neurig.ModelError, match="out of range"):
        Deferred(model, delay)
