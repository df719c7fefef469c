"""One small valid file of each family, for the fuzzer to start from."""

from __future__ import annotations

import functools
import io
import json
import re
from typing import Any

import numpy as np
import soundfile

import neurig
from core import models, stacks
from core.stacks import Stack
from neurig.model import parse

FILM = {"active": True, "shift": True, "groups": 1}
PLACES = ("conv_pre", "conv_post", "input_mixin_pre", "input_mixin_post", "activation_pre", "activation_post",
          "layer1x1_post", "head1x1_post")  # fmt: skip
EVERY_FILM = {f"{place}_film": FILM for place in PLACES}


def filled(architecture: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A NAM file with as many random weights as the core expects."""
    rng = np.random.default_rng(1)
    try:
        parse(models.model_file(architecture, config, [], **more))
    except neurig.ModelError as error:
        expected = re.search(r"expected (\d+) weights", str(error))
        assert expected, error
        return json.loads(models.model_file(architecture, config, rng.uniform(0.01, 0.3, int(expected[1])), **more))
    raise AssertionError("no weights were missed")


def a2_array(inputs: int, channels: int, head_size: int, **more: Any) -> dict[str, Any]:
    """A layer array with something of everything that newer WaveNets have."""
    return {"input_size": inputs, "condition_size": 2, "head_size": head_size, "channels": channels,
            "kernel_sizes": [3, 2], "dilations": [1, 5],
            "activation": ["Tanh", {"type": "LeakyReLU", "negative_slope": 0.1}], "gating_mode": ["gated", "blended"],
            "secondary_activation": ["Sigmoid", "Softsign"], "head_bias": True} | more  # fmt: skip


def a2() -> dict[str, Any]:
    condition = filled("WaveNet", {"layers": [models.layer_array(1, 2, 2, [1, 2])]})
    arrays = [
        a2_array(1, 4, 4, bottleneck=2, groups_input=2, groups_input_mixin=2, layer1x1={"active": True, "groups": 2},
                 head1x1={"active": True, "out_channels": 6, "groups": 2}, **EVERY_FILM),
        a2_array(4, 4, 3, gating_mode="none", activation="ReLU", layer1x1={"active": False},
                 conv_pre_film=FILM | {"shift": False},
                 head={"out_channels": 3, "kernel_size": 4, "head_dilation": 2, "bias": True}),
    ]  # fmt: skip
    head = {"channels": 5, "out_channels": 1, "kernel_sizes": [3, 2], "activation": "SiLU"}
    return filled("WaveNet", {"layers": arrays, "condition_dsp": condition, "head": head})


def slimmable() -> dict[str, Any]:
    sizes = {"method": "slice_channels_uniform", "kwargs": {"allowed_channels": [1, 2, 4]}}
    arrays = [models.layer_array(1, 4, 2, [1, 2]), models.layer_array(4, 4, 1, [8]) | {"bottleneck": 2}]
    return filled("WaveNet", {"layers": [array | {"slimmable": sizes} for array in arrays]})


def filtered() -> dict[str, Any]:
    """A WaveNet of any number of channels, for which the larger of two filters makes the condition."""
    sizes = [{"max_value": taps, "model": filled("Linear", {"receptive_field": taps})} for taps in (1, 70)]
    condition = {"architecture": "SlimmableContainer", "config": {"submodels": sizes}}
    array = models.layer_array(1, 3, 1, [1, 2]) | {"slimmable": {"method": "slice_channels_uniform"}}
    return filled("WaveNet", {"layers": [array], "condition_dsp": condition})


def container() -> dict[str, Any]:
    small = filled("WaveNet", {"layers": [models.layer_array(1, 2, 1, [1, 2])]})
    large = filled("LSTM", {"input_size": 1, "hidden_size": 3, "num_layers": 1})
    entries = [{"max_value": 0.5, "model": small}, {"max_value": 1, "model": large}]
    return {"version": "0.7.0", "architecture": "SlimmableContainer", "config": {"submodels": entries}, "weights": []}


def every_layer() -> Stack:
    stack = Stack(inputs=2).dense(8, "tanh").conv(6, 3, 2, groups=2, activation="relu").batch_norm().prelu()
    return stack.activation("softmax").gru(3).conv2d(3, 2, (2, 2)).activation("elu").lstm(2).dense(1, "sigmoid")


def checked(stack: Stack) -> dict[str, Any]:
    """As AIDA-X writes it: with gains and a recorded answer."""
    x = np.random.default_rng(2).normal(0, 0.3, 50)
    answer = stacks.run(stack, x, silence=0).tolist()
    return stack.file(in_skip=0, in_gain=1.5, out_gain=-3, metadata={"samplerate": "48000", "name": "x"},
                      samplerate=48000, input_batch=x.tolist(), output_batch=answer)  # fmt: skip


@functools.cache
def sounds() -> dict[str, bytes]:
    """A short stereo sound file of each format, as impulse responses are."""
    samples = np.random.default_rng(3).normal(0, 0.2, (40, 2))
    files = {}
    for name, subtype in (("wav", "FLOAT"), ("flac", "PCM_16"), ("aiff", "PCM_24")):
        soundfile.write(file := io.BytesIO(), samples, 48000, subtype, format=name)
        files[name] = file.getvalue()
    return files


@functools.cache
def seeds() -> dict[str, str]:
    """The text of a file for each family."""
    rng = np.random.default_rng(1)
    arrays = [models.layer_array(1, 4, 2, [1, 2, 4]), models.layer_array(4, 2, 1, [8], head_bias=True)]
    files = {
        "wavenet-a1": filled("WaveNet", {"layers": arrays, "head": None, "head_scale": 0.02}, sample_rate=48000,
                             metadata={"name": "x", "loudness": -20, "input_level_dbu": 12, "output_level_dbu": 13.5}),
        "wavenet-a2": a2(),
        "wavenet-slimmable": slimmable(),
        "wavenet-filtered": filtered(),
        "container": container(),
        "convnet": filled("ConvNet", {"channels": 3, "dilations": [1, 2, 4], "batchnorm": True, "activation": "Tanh"}),
        "lstm": filled("LSTM", {"input_size": 2, "hidden_size": 3, "num_layers": 2, "out_channels": 2}),
        "linear": filled("Linear", {"receptive_field": 70, "bias": True, "in_channels": 2, "out_channels": 3}),
        "mdrnn": json.loads(models.mdrnn_file(3, 4, 2, 2, rng)),
        "rtneural": every_layer().file(),
        "aidax": checked(Stack().lstm(3).dense(1)),
        "guitarml": stacks.guitarml("GRU", 3, inputs=2, layers=2, skip=1),
        "state-dict": {"conv.weight": rng.normal(size=(4, 1, 3)).tolist()}
                      | stacks.guitarml("LSTM", 3, inputs=4)["state_dict"],
        "wavenet-va": stacks.gated_wavenet(2, [1, 2], strings=True),
    }  # fmt: skip
    return {name: json.dumps(file) for name, file in files.items()}
