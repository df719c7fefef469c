"""The gated WaveNet of Wright et al. 2020, which WaveNetVA, PedalNetRT and AmpEmulatorModel have as a ``.json`` file:
as such a file, and as one of NAM's WaveNets.

NAM's has no bias at its input, takes the signal into every layer, and sums the layers before a common output. So the
bias at the input goes into the layers' own biases; the signal's weights in the layers are zero; and each layer gets a
head of its own (``head1x1``), before the sum.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

# activation: NAM's, and that of the gate
_ACTIVATIONS = {"gated": ("Tanh", "Sigmoid"), "softgated": ("Softsign", "Softsign"), "tanh": ("Tanh", None),
                "sigmoid": ("Sigmoid", None), "relu": ("ReLU", None), "softsign": ("Softsign", None)}


def is_one(model: Mapping[str, Any]) -> bool:
    """Is a model file's JSON such a WaveNet's?"""
    return "variables" in model and "dilations" in model


def to_wavenetva(model: Mapping[str, Any], rate: float, metadata: Mapping[str, Any]) -> str:
    """The text of the ``.json`` file. Its numbers are text, as WaveNetVA reads them."""
    kept = ("activation", "output_channels", "input_channels", "residual_channels", "filter_width", "dilations")
    variables = [variable | {"data": [str(value) for value in variable["data"]]} for variable in model["variables"]]
    return json.dumps({name: model[name] for name in kept} | {"variables": variables, "metadata": dict(metadata),
                                                              "sample_rate": rate}, ensure_ascii=False) + "\n"


def to_nam(model: Mapping[str, Any], rate: float, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a ``.nam`` file.

    :raises ValueError: where NAM has no such network
    """
    name = model["activation"]
    if name not in _ACTIVATIONS:
        raise ValueError(f"NAM's WaveNets have no activation {name}")
    activation, gate = _ACTIVATIONS[name]
    channels, dilations, taps = model["residual_channels"], model["dilations"], model["filter_width"]
    rows = 2 * channels if gate else channels
    values = {(part["layer_idx"], part["name"]): np.array(part["data"], float) for part in model["variables"]}
    bias = values[-1, "b"]
    mix = values[len(dilations), "W"].reshape(len(dilations), channels)
    parts = [values[-1, "W"]]
    for layer in range(len(dilations)):
        conv = values[layer, "W_conv"].reshape(taps, channels, rows)
        own = values[layer, "b_conv"] + np.einsum("tio,i->o", conv, bias)
        out = values[layer, "W_out"].reshape(channels, channels).T
        parts += [conv.transpose(2, 1, 0), own, np.zeros(rows), out, values[layer, "b_out"], mix[layer], [0.0]]
    parts += [[1.0], values[len(dilations), "b"], [1.0]]  # what all heads go through: their sum, a bias, a scale
    array = {"input_size": 1, "condition_size": 1, "channels": channels, "kernel_size": taps, "dilations": dilations,
             "activation": activation, "gating_mode": "gated" if gate else "none",
             "head1x1": {"active": True, "out_channels": 1, "groups": 1},
             "head": {"out_channels": 1, "kernel_size": 1, "bias": True}}
    if gate:
        array["secondary_activation"] = gate
    weights = np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)
    return {"version": "0.7.0", "metadata": dict(metadata), "architecture": "WaveNet",
            "config": {"layers": [array], "head": None, "head_scale": 1.0},
            "weights": [float(str(weight)) for weight in weights], "sample_rate": rate}
