"""Every way in which a file can be wrong gets a sentence that says which, and nothing is allocated for it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import neurig
from core import models, wrong_stacks
from neurig._core import ffi, lib
from neurig.model import impulse_response, parse

ARRAYS = [models.layer_array(1, 4, 1, [1, 2])]
WEIGHTS = models.wavenet_weights(ARRAYS, np.random.default_rng(0))
GOOD = json.loads(models.model_file("WaveNet", {"layers": ARRAYS}, WEIGHTS))
LSTM = {"input_size": 1, "hidden_size": 2, "num_layers": 1}
MDRNN = {"dimension": 3, "units": 4, "layers": 1, "mixtures": 2, "scale": 10}


def changed(**parts: object) -> str:
    return json.dumps(GOOD | parts)


def layer(**parts: object) -> str:
    return json.dumps(GOOD | {"config": {"layers": [ARRAYS[0] | parts]}})


def conditioned(**condition: object) -> str:
    return changed(config={"layers": ARRAYS, "condition_dsp": condition})


WRONG = {
    "empty": ("", "empty"),
    "text": ("this is no model", "neither JSON nor a WAV"),
    "a web page": ("\n<!DOCTYPE html>", "neither JSON nor a WAV"),
    "a picture": ("\x89PNG\r\n\x1a\n\0\0", "neither JSON nor a WAV"),
    "blank": (" \n", "neither JSON nor a WAV"),
    "not JSON": ("{this is no model}", "not valid JSON"),
    "cut off": (json.dumps(GOOD)[:300], "not valid JSON"),
    "a list": ("[1, 2, 3]", "no object"),
    "no architecture": ('{"weights": []}', 'no "architecture"'),
    "architecture is a number": (changed(architecture=7), "must be a string"),
    "unknown architecture": (changed(architecture="Transformer"), '"Transformer"'),
    "no config": (json.dumps({k: v for k, v in GOOD.items() if k != "config"}), 'no "config"'),
    "no weights": (json.dumps({k: v for k, v in GOOD.items() if k != "weights"}), 'no "weights"'),
    "a weight too few": (changed(weights=GOOD["weights"][:-1]), f"expected {len(WEIGHTS)} weights, found {len(WEIGHTS) - 1}"),
    "a weight too many": (changed(weights=[*GOOD["weights"], 0]), f"expected {len(WEIGHTS)} weights, found {len(WEIGHTS) + 1}"),
    "a weight is NaN": (json.dumps(GOOD | {"weights": [float("nan"), *GOOD["weights"][1:]]}), "NaN"),
    "a weight is null": (changed(weights=[None, *GOOD["weights"][1:]]), "weight 0 is null"),
    "a weight is text": (changed(weights=["a", *GOOD["weights"][1:]]), "weight 0 is not a number"),
    "a weight is too large": (changed(weights=[1e39, *GOOD["weights"][1:]]), "weight 0 is not finite"),
    "weights that overflow": (changed(weights=[3e38] * len(WEIGHTS)), "no finite output"),
    "no layers": (changed(config={"layers": []}), "config.layers"),
    "a layer is a number": (changed(config={"layers": [3]}), "config.layers[0] is not a JSON object"),
    "channels 0": (layer(channels=0), "config.layers[0].channels is 0"),
    "channels 2.5": (layer(channels=2.5), "whole number"),
    "channels huge": (layer(channels=10**12), "config.layers[0].channels"),
    "kernel huge": (layer(kernel_size=10**9), "kernel_size"),
    "dilation huge": (layer(dilations=[2**40]), "dilations"),
    "memory huge": (layer(channels=1000, dilations=[2**20]), "needs"),
    "too many layers": (changed(config={"layers": [ARRAYS[0] | {"dilations": [1] * 600}] * 2}), "layers"),
    "a weight beyond all numbers": (changed(weights=[7, *GOOD["weights"][1:]]).replace("[7,", "[1e999,"), "too large to be finite"),
    "activation unknown": (layer(activation="Wobble"), '"Wobble"'),
    "sample rate absurd": (changed(sample_rate=-1), "sample_rate"),
    "LSTM of no units": (models.model_file("LSTM", LSTM | {"hidden_size": 0}, []), "hidden_size"),
    "LSTM of no output": (models.model_file("LSTM", LSTM | {"out_channels": 0}, []), "out_channels"),
    "condition unknown": (conditioned(architecture="X"), "in config.condition_dsp: its architecture is"),
    "condition of no sizes": (conditioned(architecture="SlimmableContainer", config={"submodels": []}),
                              "in config.condition_dsp: config.submodels"),
    "Linear of no input": (models.model_file("Linear", {"receptive_field": 1, "in_channels": 0}, [1]), "in_channels"),
    "LSTM without weights": (models.model_file("LSTM", LSTM, []), "found 0"),
    "Linear of no length": (models.model_file("Linear", {"receptive_field": 0, "bias": False}, []), "receptive_field"),
    "Linear too long": (models.model_file("Linear", {"receptive_field": 10**10, "bias": False}, []), "receptive_field"),
    "MDRNN of one dimension": (models.model_file("MDRNN", MDRNN | {"dimension": 1}, []), "dimension"),
    "MDRNN without weights": (models.model_file("MDRNN", MDRNN, []), "found 0"),
    "deeply nested": ("[" * 100000, "nested more than 64 deep"),
} | wrong_stacks.WRONG


@pytest.mark.parametrize("name", WRONG)
def test_wrong_file(name: str) -> None:
    text, words = WRONG[name]
    with pytest.raises(neurig.ModelError) as refused:
        parse(text)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(neurig.ModelError, match="absent.nam: the file cannot be opened"):
        neurig.load(tmp_path / "absent.nam")
    with pytest.raises(neurig.ModelError, match="folder"):
        neurig.load(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.nam")
    error = ffi.new("char[200]")
    assert lib.neurig_model_load(bytes(tmp_path / "pipe.nam"), error, 200) == ffi.NULL
    assert ffi.string(error) == b"it is no file, but a pipe or a device"


def test_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.nam"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(neurig.ModelError, match="larger than 64 MiB"):
        neurig.load(path)


def test_hostile_sizes_cost_no_memory() -> None:
    """All wrong files together stay under a limit that any of their claims would burst."""
    script = (
        "import resource, sys\n"
        "from core.test_errors import WRONG\n"
        "from neurig.model import parse\n"
        "import neurig\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for text, _ in WRONG.values():\n"
        "    try: parse(text)\n"
        "    except neurig.ModelError: pass\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    tests = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60,
                          env={"PYTHONPATH": tests})
    assert int(done.stdout) < 64 * 1024  # KiB, as Linux counts


@pytest.mark.parametrize(("samples", "rate", "words"), [
    (np.zeros(0), 48000, "empty"), (np.array([0, np.nan]), 48000, "sample 1"), (np.ones(5), 3, "rate"),
])  # fmt: skip
def test_wrong_impulse_response(samples: np.ndarray, rate: float, words: str) -> None:
    with pytest.raises(neurig.ModelError, match=words):
        impulse_response(samples, rate)


def test_kinds_are_not_mixed_up() -> None:
    rng = np.random.default_rng(0)
    predictor, amp = parse(models.mdrnn_file(3, 4, 1, 2, rng)), parse(json.dumps(GOOD))
    with pytest.raises(neurig.ModelError, match="predictor, not an amp"):
        predictor.instance()
    with pytest.raises(neurig.ModelError, match="amp, not a predictor"):
        neurig.Predictor(amp)


@pytest.mark.parametrize("rate", [0, -48000, 999, 2e6, float("nan")])
def test_wrong_host_rate(rate: float) -> None:
    with pytest.raises(neurig.ModelError, match="out of range"):
        parse(json.dumps(GOOD)).instance(rate)


@pytest.mark.parametrize(("content", "words"), [
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"), (b"PK\x03\x04", "an archive"), (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
    (b"\x08\x08\x12\x06", "ONNX"),
])  # fmt: skip
def test_files_for_python_are_known(content: bytes, words: str) -> None:
    """Where there is no Python, in Pd and SuperCollider, they are refused with what to do."""
    with pytest.raises(neurig.ModelError, match=words):
        parse(content)
