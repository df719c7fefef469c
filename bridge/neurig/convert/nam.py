"""NAM's amps as ONNX graphs: LSTMs, and WaveNets of both generations without groups and FiLMs.

The graph has the state that the core keeps while it plays: of each convolution the past that it looks back on, of each
LSTM layer its output and cell. So it takes blocks of any length, and computes no sample twice.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neurig import ModelError
from neurig.convert import recurrent
from neurig.convert.mdrnn import Weights
from neurig.convert.onnx import Graph, facts

_OPERATORS = {"Tanh": "Tanh", "ReLU": "Relu", "Sigmoid": "Sigmoid", "LeakyReLU": "LeakyRelu", "Softsign": "Softsign",
              "Hardswish": "HardSwish"}  # NAM's activations that are one operator
_ALL = np.array([np.iinfo(np.int64).max])  # as the end of a slice
_READ = {"input_size", "condition_size", "channels", "bottleneck", "kernel_size", "kernel_sizes", "dilations",
         "activation", "gated", "gating_mode", "secondary_activation", "head_size", "head_bias", "head", "head1x1",
         "layer1x1"}
_UNCHANGING = (None, False, 1, "none")  # values of what else an array of layers may have, with which it does nothing


def write(source: Path, target: Path) -> str:
    """Writes the amp of a ``.nam`` file as an ``.onnx`` file.

    :returns: a sentence where not all of the amp is in there, else nothing
    :raises ModelError: where it is an amp of another kind
    :raises OSError: where the file cannot be written; one already there stays as it was
    """
    try:
        return write_model(json.loads(source.read_text(encoding="utf-8")), source.name, target)
    except ValueError as problem:
        raise ModelError(f"{source}: there is no way from it to ONNX yet: {problem}") from None


def write_model(model: Mapping[str, Any], name: str, target: Path) -> str:
    """The same for what such a file holds.

    :param name: of the file
    :raises ValueError: where it is an amp of another kind
    """
    notice = ""
    if model.get("architecture") == "SlimmableContainer":
        submodels = model["config"]["submodels"]
        notice = f"of its {len(submodels)} sizes the largest was converted"
        model = {"metadata": model.get("metadata"), "sample_rate": model.get("sample_rate")} | submodels[-1]["model"]
    rate = model.get("sample_rate") or 48000
    metadata = model.get("metadata") or {}
    if model.get("architecture") == "LSTM":
        # The state that the file stores is left out: a graph's begins at zero, and half a second of silence follows.
        recurrent.to_onnx(recurrent.from_nam(model, rate), name, target)
        return notice
    if model.get("architecture") != "WaveNet":
        raise ValueError(f"it is no WaveNet or LSTM, but {model.get('architecture')}")
    graph = Graph("WaveNet")
    signal = graph.input("signal", [1, 1, "n"])
    weights = _Weights(model["weights"])
    states = _wavenet(graph, signal, model["config"], weights)
    weights.end()
    for state, value, shape in states:
        graph.output(state, value, shape)
    graph.save(target, facts({"sample_rate": rate, "source": name} | metadata))
    return notice


class _Weights:
    """Takes a model's weights one after the other."""

    def __init__(self, values: list[float]) -> None:
        self._values = np.array(values, np.float32)
        self._place = 0

    def take(self, *shape: int) -> Weights:
        size = int(np.prod(shape))
        taken = self._values[self._place : self._place + size]
        self._place += size
        if len(taken) != size:
            raise ValueError("it has too few weights")
        return taken.reshape(shape)

    def end(self) -> None:
        if self._place != len(self._values):
            raise ValueError("it has too many weights")


State = tuple[str, str, list[int]]  # name, value and shape of an output


def _wavenet(graph: Graph, signal: str, config: dict[str, Any], weights: _Weights) -> Iterable[State]:
    """The signal passes through arrays of layers; what each layer skips into the head is summed."""
    if config.get("head") or config.get("condition_dsp") or config["layers"][0]["input_size"] != 1:
        raise ValueError("this WaveNet has a head after its head, a model for its condition, or several inputs")
    states: list[State] = []

    def convolution(x: str, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True) -> str:
        parts = [weights.take(outputs, inputs, kernel)] + ([weights.take(outputs)] if bias else [])
        past = (kernel - 1) * dilation
        if past:
            name, shape = f"past_{len(states)}", [1, inputs, past]
            x = graph.add("Concat", graph.input(name, shape), x, axis=2)
            states.append((f"{name}_next", graph.add("Slice", x, np.array([-past]), _ALL, np.array([2])), shape))
        return graph.add("Conv", x, *parts, dilations=[dilation])

    x, head = signal, ""
    for array in config["layers"]:
        _check(array)
        channels, dilations = array["channels"], array["dilations"]
        width = array.get("bottleneck") or channels
        head1x1, layer1x1 = ({"active": default} | (array.get(name) or {})
                             for name, default in (("head1x1", False), ("layer1x1", True)))
        kernels, activations, gatings, secondaries = (
            value if isinstance(value, list) else [value] * len(dilations)
            for value in (array.get("kernel_sizes") or array["kernel_size"], array["activation"],
                          array.get("gating_mode") or ("gated" if array.get("gated") else "none"),
                          array.get("secondary_activation")))
        x = convolution(x, array["input_size"], channels, bias=False)
        for kernel, dilation, activation, gating, secondary in zip(
                kernels, dilations, activations, gatings, secondaries, strict=True):
            rows = width * (1 if gating == "none" else 2)
            z = convolution(x, channels, rows, kernel, dilation)
            z = graph.add("Add", z, convolution(signal, array["condition_size"], rows, bias=False))
            if gating == "none":
                z = _activate(graph, z, activation)
            else:
                plain, gate = graph.add_all("Split", [z], ["z", "gate"], axis=1)
                z, gate = _activate(graph, plain, activation), _activate(graph, gate, secondary or "Sigmoid")
                if gating == "blended":
                    z = graph.add("Add", plain, graph.add("Mul", gate, graph.add("Sub", z, plain)))
                else:
                    z = graph.add("Mul", z, gate)
            through = convolution(z, width, channels) if layer1x1["active"] else z
            skip = convolution(z, width, head1x1["out_channels"]) if head1x1["active"] else z
            head = graph.add("Add", head, skip) if head else skip
            x = graph.add("Add", x, through)
        about = array.get("head") or {"out_channels": array["head_size"], "kernel_size": 1, "bias": array["head_bias"]}
        skipped = head1x1["out_channels"] if head1x1["active"] else width
        head = convolution(head, skipped, about["out_channels"], about["kernel_size"], bias=about["bias"])
    graph.output("made", graph.add("Mul", head, weights.take(1)), [1, 1, "n"])
    return states


def _check(array: dict[str, Any]) -> None:
    """:raises ValueError: where an array of layers has more than is known here"""
    for name, value in array.items():
        parts = value if isinstance(value, list) else [value]
        if name not in _READ and not all(part.get("active", name == "slimmable") is (name == "slimmable")
                                         if isinstance(part, dict) else part in _UNCHANGING for part in parts):
            raise ValueError(f"its layers have {name}")
    for name in ("head1x1", "layer1x1"):
        if isinstance(array.get(name), dict) and array[name].get("groups", 1) != 1:
            raise ValueError(f"its layers have a {name} in groups")


def _activate(graph: Graph, x: str, activation: str | dict[str, Any]) -> str:
    about = {"type": activation} if isinstance(activation, str) else activation
    name = about["type"]
    if name == "SiLU":
        return graph.add("Mul", x, graph.add("Sigmoid", x))
    if name == "Hardtanh":
        return graph.add("Clip", x, np.float32(about.get("min_val", -1)), np.float32(about.get("max_val", 1)))
    if name == "PReLU":
        slopes = about.get("negative_slopes") or [about.get("negative_slope", 0.25)]
        return graph.add("PRelu", x, np.array(slopes, np.float32).reshape(-1, 1))
    if name not in _OPERATORS:
        raise ValueError(f"its activation {name} is not among {', '.join([*_OPERATORS, 'SiLU', 'Hardtanh', 'PReLU'])}")
    slope = {"alpha": float(about.get("negative_slope", 0.01))} if name == "LeakyReLU" else {}
    return graph.add(_OPERATORS[name], x, **slope)
