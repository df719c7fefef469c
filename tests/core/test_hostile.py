"""Files made to exhaust memory, stack or patience: each is refused, or loads, within what the core promises."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurig
from core import models
from core.seeds import filled, seeds
from neurig.model import impulse_response, parse

MEMORY = 512  # MiB, beyond what Python has taken
SECONDS = 4  # of CPU; on an idle machine all stay under one

WIRE = '{"architecture": "Linear", "config": {"receptive_field": 1}, "weights": [1]'
CONDITION = '{"architecture": "WaveNet", "config": {"layers": [], "condition_dsp": '
MILLIONS = 64 << 20  # bytes, the largest file
NUMBERS = 8 << 20  # in one file


def wavenet(weights: int, *arrays: dict[str, Any], head: dict[str, Any] | None = None) -> str:
    text = json.dumps({"architecture": "WaveNet", "config": {"layers": list(arrays), "head": head}, "weights": 0})
    return text[:-2] + "[" + "0," * (weights - 1) + "0]}"


def in_groups() -> str:
    """Few weights, each of which 1024 groups pad with a thousand zeros."""
    array = models.layer_array(1, 1024, 1, [1] * 8, kernel=64)
    array |= {"groups_input": 1024, "layer1x1": {"active": True, "groups": 1024}}
    layer = 1024 * 64 + 1024 + 1024 + 1024 + 1024
    return wavenet(1024 + 8 * layer + 1024 + 1, array)


def container() -> str:
    """Sizes of which each is within the bound, and all together are not."""
    model = json.loads(wavenet(7 * 5 + 1, models.layer_array(1, 1, 1, [1 << 20] * 5, kernel=2)))
    model = filled("WaveNet", model["config"])
    entries = [{"max_value": n + 1, "model": model} for n in range(64)]
    return json.dumps({"architecture": "SlimmableContainer", "config": {"submodels": entries}})


def slimmable(channels: int, sizes: int, dilation: int) -> str:
    allowed = [*range(1, sizes), channels]
    array = models.layer_array(1, channels, 1, [dilation])
    array["slimmable"] = {"method": "slice_channels_uniform", "kwargs": {"allowed_channels": allowed}}
    return wavenet(channels + channels * channels * 4 + 3 * channels + channels + 1, array)


def names() -> str:
    entries = ",".join(f'"{n}.weight_ih_l0":[]' for n in range(600000))
    return '{"weight":[],' + entries + "}"


def recurrent_layers() -> str:
    layer = {"type": "lstm", "activation": "", "shape": [1], "weights": [[[0.5] * 4], [[0.5] * 4], [0.1] * 4]}
    return json.dumps({"in_shape": [1], "layers": [layer] * 1024, "samplerate": 1000000})


def long_self_check() -> str:
    layer = {"type": "activation", "activation": "tanh", "shape": [1], "weights": []}
    batch = [0] * 2000000
    return json.dumps({"in_shape": [1], "layers": [layer] * 1024, "input_batch": batch, "output_batch": batch})


def long_memory() -> str:
    return json.dumps(filled("WaveNet", {"layers": [models.layer_array(1, 1, 1, [1 << 20] * 5, kernel=2)]}))


def long_filter(bias: bool) -> str:
    length = 1 << 21
    text = json.dumps({"architecture": "Linear", "config": {"receptive_field": length, "bias": bias}, "weights": 0})
    return text[:-2] + "[" + "0," * (length + bias - 1) + "1]}"


# Words of the refusal; none where the file loads.
HOSTILE: dict[str, tuple[Callable[[], str], str]] = {
    "metadata nested a million deep": (lambda: WIRE + ', "metadata": ' + "[" * 1000000 + "]" * 1000000 + "}", "nested"),
    "conditions nested": (lambda: CONDITION * 100 + "0" + "}}" * 100, "nested"),
    "empty objects": (lambda: '{"a":[' + "{}," * (NUMBERS - 10) + "{}]}", "parts"),
    "short strings": (lambda: WIRE + ', "metadata": [' + '"",' * (NUMBERS - 100) + '""]}', "parts"),
    "as many parts as may be": (lambda: WIRE + ', "metadata": [' + "{}," * ((2 << 20) - 100) + "{}]}", ""),
    "as many numbers as may be": (lambda: WIRE + ', "metadata": [' + "0," * (NUMBERS - 100) + "0]}", ""),
    "numbers, written at length": (lambda: WIRE + ', "metadata": [' + "0.12345," * (NUMBERS - 100) + "0]}", ""),
    "a number too many": (lambda: WIRE + ', "metadata": [' + "0," * (NUMBERS + 1) + "0]}", "more than 8 million numbers"),
    "as many weights as may be": (lambda: wavenet(NUMBERS - 200, models.layer_array(1, 4, 1, [1])), "expected 85"),
    "weights in base64": (lambda: WIRE[:-3] + '"' + "A" * (MILLIONS - 128) + '"}', "expected 1 weights, found 12582888"),
    "a string without end": (lambda: '{"' + "\\" * (MILLIONS - 10), "not valid JSON"),
    "a matrix of zeros between groups": (in_groups, "more than 16 million"),
    "64 models of 60 MiB": (container, "64 MiB"),
    "64 sizes of a WaveNet that looks far back": (lambda: slimmable(64, 64, 10000), "64 MiB"),
    "64 sizes of a wide WaveNet": (lambda: slimmable(1000, 64, 1), "too large for its 64 sizes"),
    "names of a state_dict": (names, "entries"),
    "a thousand LSTMs": (recurrent_layers, ""),
    "a self-check of a million samples": (long_self_check, ""),
    "memory of five million samples": (long_memory, ""),
    "a filter of two million taps": (lambda: long_filter(True), ""),
}  # fmt: skip

SCRIPT = """
import resource, sys, time
import neurig
from core.test_hostile import HOSTILE
from neurig.model import parse
text = HOSTILE[sys.argv[1]][0]().encode()
assert len(text) <= 64 << 20, len(text)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before, start, error = peak(), time.process_time(), ""
try:
    model = parse(text)
    seconds = time.process_time() - start
except neurig.ModelError as refused:
    error, seconds = str(refused), time.process_time() - start
print(peak() - before, seconds, error)
"""


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file(name: str) -> None:
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, text=True, timeout=120,
                          env={"PYTHONPATH": tests})  # fmt: skip
    assert done.returncode == 0, done.stderr
    memory, seconds, error = (done.stdout.rstrip("\n") + " ").split(" ", 2)
    words = HOSTILE[name][1]
    assert words in error and bool(words) == bool(error.strip())
    assert int(memory) < MEMORY and float(seconds) < SECONDS, done.stdout


@pytest.mark.parametrize("name", [name for name in seeds() if name != "mdrnn"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3e38])
def test_a_sample_that_is_no_number(name: str, wrong: float) -> None:
    """A neighbour's accident passes: it does not stay in a filter or a cell."""
    for rate in (48000, 44100):
        instance = parse(seeds()[name]).instance(rate)
        instance.process(np.array([0.5, wrong, 0.5], np.float32))
        instance.process(np.zeros(4000, np.float32))
        assert np.all(np.isfinite(instance.process(np.full(64, 0.1, np.float32))))


def test_an_impulse_response_that_another_rate_makes_huge() -> None:
    cabinet = impulse_response(np.ones(1 << 20, np.float32), 1000)
    with pytest.raises(neurig.ModelError, match="longer than"):
        cabinet.instance(1000000)
