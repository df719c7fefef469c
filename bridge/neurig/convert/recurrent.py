"""Amps of LSTM or GRU layers under one linear output: read from every format that has them, and written to others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neurig.convert.mdrnn import Weights
from neurig.convert.onnx import Graph, facts, lstm

AIDAX_UNITS = (8, 12, 16, 20, 24, 32, 40, 64, 80)
"""The sizes that AIDA-X has compiled in: one layer each, LSTM or GRU, of 1 to 3 inputs."""

_CHECKED = 1024  # samples with which AIDA-X checks itself


@dataclass(frozen=True)
class Layer:
    """One layer, with its weights as Keras has them.

    :ivar kernel: shape (in, gates * units); the gates are i f c o, or of a GRU z r n
    :ivar recurrent: shape (units, gates * units)
    :ivar bias: shape (4 * units,), of a GRU (2, 3 * units)
    """

    kernel: Weights
    recurrent: Weights
    bias: Weights

    @property
    def units(self) -> int:
        return len(self.recurrent)

    @property
    def inputs(self) -> int:
        return len(self.kernel)


@dataclass(frozen=True)
class Recurrent:
    """Such an amp: ``out_gain * (head(layers(in_gain * x)) + skip * in_gain * x)``.

    :ivar head: shape (units,)
    :ivar skip: is the input added to the output?
    :ivar in_gain, out_gain: factors
    """

    cell: Literal["lstm", "gru"]
    layers: Sequence[Layer]
    head: Weights
    head_bias: float
    rate: float
    skip: bool = False
    in_gain: float = 1.0
    out_gain: float = 1.0
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """The signal and the knobs."""
        return self.layers[0].inputs


def read(model: Mapping[str, Any], rate: float) -> Recurrent | None:
    """The amp in a model file's JSON; None where it is of another kind.

    :param model: of a file that the core plays, so it need not be checked here
    :param rate: Hz, the model's
    """
    metadata = model.get("metadata") or {}
    if model.get("architecture") == "LSTM":
        return from_nam(model, rate)
    if "model_data" in model:
        return _from_guitarml(model, rate, metadata)
    if "layers" in model and "in_shape" in model:
        return _from_keras(model, rate, metadata)
    return None


def from_nam(model: Mapping[str, Any], rate: float) -> Recurrent:
    """The LSTM in a ``.nam`` file's JSON, without the state that it begins with; of several outputs the first."""
    config, weights = model["config"], np.array(model["weights"], np.float32)
    units, inputs, layers, place = config["hidden_size"], config["input_size"], [], 0
    outputs = config.get("out_channels", 1)
    for _ in range(config["num_layers"]):
        matrix = weights[place : (place := place + 4 * units * (inputs + units))].reshape(4 * units, -1)
        bias = weights[place : (place := place + 4 * units)]
        place += 2 * units  # that state
        layers.append(Layer(matrix[:, :inputs].T, matrix[:, inputs:].T, bias))
        inputs = units
    return Recurrent("lstm", layers, weights[place : place + units], float(weights[place + outputs * units]), rate,
                     metadata=model.get("metadata") or {})


def _from_guitarml(model: Mapping[str, Any], rate: float, metadata: Mapping[str, Any]) -> Recurrent:
    about, state = model["model_data"], model["state_dict"]
    is_lstm = about["unit_type"] == "LSTM"

    def keras(name: str, of: int) -> Weights:
        """With the gates on the last axis, of a GRU in Keras's order."""
        values = np.array(state[f"rec.{name}_l{of}"], np.float32).T
        if is_lstm:
            return values
        r, z, n = np.split(values, 3, axis=-1)
        return np.concatenate([z, r, n], axis=-1)

    layers = []
    for number in range(about.get("num_layers", 1)):
        size = (4 if is_lstm else 3) * about["hidden_size"]
        biases = [keras(name, number) if f"rec.{name}_l{number}" in state else np.zeros(size, np.float32)
                  for name in ("bias_ih", "bias_hh")]
        layers.append(Layer(keras("weight_ih", number), keras("weight_hh", number),
                            biases[0] + biases[1] if is_lstm else np.stack(biases)))
    bias = np.ravel(state.get("lin.bias", 0.0))
    return Recurrent("lstm" if is_lstm else "gru", layers, np.array(state["lin.weight"], np.float32)[0],
                     float(bias[0]), rate, about.get("skip", 0) == 1, metadata=metadata)


def _from_keras(model: Mapping[str, Any], rate: float, metadata: Mapping[str, Any]) -> Recurrent | None:
    *cells, last = model["layers"]
    kinds = {layer["type"] for layer in cells}
    if len(kinds) != 1 or not kinds <= {"lstm", "gru"} or not last["type"].endswith("dense") or last.get("activation"):
        return None
    cell: Literal["lstm", "gru"] = "lstm" if kinds == {"lstm"} else "gru"
    layers = []
    for layer in cells:
        kernel, recurrent, *rest = (np.array(part, np.float32) for part in layer["weights"])
        none = np.zeros(kernel.shape[1] if cell == "lstm" else (2, kernel.shape[1]), np.float32)
        layers.append(Layer(kernel, recurrent, rest[0] if rest else none))
    head, *bias = last["weights"]
    in_gain, out_gain = (10 ** (float(model.get(name) or 0) / 20) for name in ("in_gain", "out_gain"))
    return Recurrent(cell, layers, np.array(head, np.float32)[:, 0], float(bias[0][0]) if bias else 0.0, rate,
                     model.get("in_skip") == 1, in_gain, out_gain, metadata)


def to_nam(amp: Recurrent) -> str:
    """The text of a ``.nam`` file.

    :raises ValueError: where that has no place for it
    """
    if amp.cell != "lstm":
        raise ValueError("it is a GRU, and NAM has LSTMs")
    if amp.skip:
        raise ValueError("it adds its input to its output, which NAM's LSTMs do not")
    if len({layer.units for layer in amp.layers}) > 1:
        raise ValueError("its layers are of several sizes, those of NAM of one")
    parts = []
    for number, layer in enumerate(amp.layers):
        kernel = layer.kernel.copy()
        if number == 0:
            kernel[0] *= amp.in_gain  # the signal; not the knobs
        parts += [np.concatenate([kernel, layer.recurrent]).T, layer.bias, np.zeros(2 * layer.units)]
    parts += [amp.head * amp.out_gain, np.float32(amp.head_bias * amp.out_gain)]
    config = {"input_size": amp.inputs, "hidden_size": amp.layers[0].units, "num_layers": len(amp.layers)}
    if amp.inputs > 1:
        config["in_channels"] = amp.inputs
    return _text({"version": "0.5.4", "metadata": dict(amp.metadata), "architecture": "LSTM", "config": config,
                  "weights": _numbers(np.concatenate([np.ravel(part) for part in parts])), "sample_rate": amp.rate})


def to_aidax(amp: Recurrent) -> str:
    """The text of an ``.aidax`` file, with an answer that it can be checked against.

    :raises ValueError: where AIDA-X could not play it
    """
    if len(amp.layers) > 1:
        raise ValueError(f"it has {len(amp.layers)} layers, and AIDA-X plays one")
    [layer] = amp.layers
    if layer.units not in AIDAX_UNITS:
        raise ValueError(f"it has {layer.units} units, and AIDA-X plays {', '.join(map(str, AIDAX_UNITS))}")
    if amp.inputs > 3:
        raise ValueError(f"it has {amp.inputs - 1} knobs, and AIDA-X plays two at most")
    signal = np.sin(np.arange(_CHECKED) ** 2 * 1e-4) * np.linspace(0, 0.5, _CHECKED)
    answer = _response(amp.cell, layer, signal) @ amp.head.astype(float) + amp.head_bias + amp.skip * signal
    metadata = {"samplerate": f"{amp.rate:g}"} | dict(amp.metadata)
    shape = [None, None]
    file = {
        "in_shape": [*shape, amp.inputs], "in_skip": int(amp.skip), "metadata": metadata,
        "layers": [{"type": amp.cell, "activation": "", "shape": [*shape, layer.units],
                    "weights": [_numbers(part) for part in (layer.kernel, layer.recurrent, layer.bias)]},
                   {"type": "dense", "activation": "", "shape": [*shape, 1],
                    "weights": [_numbers(amp.head[:, np.newaxis]), [amp.head_bias]]}],
        "input_batch": _numbers(signal), "output_batch": _numbers(answer),
    }
    for name, factor in (("in_gain", amp.in_gain), ("out_gain", amp.out_gain)):
        if factor != 1:
            file[name] = 20 * float(np.log10(factor))
    return _text(file)


def to_onnx(amp: Recurrent, name: str, target: Path) -> None:
    """Writes an ``.onnx`` file as :mod:`neurig.onnx` describes it.

    :param name: of the file that it comes from
    :raises ValueError: where that has no place for it
    :raises OSError: where the file cannot be written; one already there stays as it was
    """
    if amp.inputs > 1:
        raise ValueError("it has knobs, and an ONNX amp has one input, the signal")
    graph = Graph(amp.cell.upper())
    signal = graph.input("signal", [1, 1, "n"])
    heard = graph.add("Mul", signal, np.float32(amp.in_gain))
    x = graph.add("Transpose", heard, perm=[2, 0, 1])
    states = []
    for number, layer in enumerate(amp.layers):
        own = [graph.input(f"{part}_{number}", [1, 1, layer.units]) for part in ("hc" if amp.cell == "lstm" else "h")]
        make = lstm if amp.cell == "lstm" else _gru
        outputs, *after = make(graph, x, layer.kernel, layer.recurrent, layer.bias, *own)
        states += [(f"{part}_next", value, [1, 1, layer.units]) for part, value in zip(own, after, strict=True)]
        x = graph.add("Squeeze", outputs, np.array([1]))
    made = graph.add("Add", graph.add("MatMul", x, amp.head[:, np.newaxis]), np.float32(amp.head_bias))
    made = graph.add("Transpose", made, perm=[1, 2, 0])
    if amp.skip:
        made = graph.add("Add", made, heard)
    graph.output("made", graph.add("Mul", made, np.float32(amp.out_gain)), [1, 1, "n"])
    for state, value, shape in states:
        graph.output(state, value, shape)
    graph.save(target, facts({"sample_rate": f"{amp.rate:g}", "source": name} | dict(amp.metadata)))


def _gru(graph: Graph, signal: str, kernel: Weights, recurrent: Weights, bias: Weights, h: str) -> tuple[str, ...]:
    """As :func:`neurig.convert.onnx.lstm`; ONNX has Keras's order."""
    inputs = [signal, kernel.T[np.newaxis], recurrent.T[np.newaxis], bias.reshape(1, -1), "", h]
    return graph.add_all("GRU", inputs, ["y", "h"], hidden_size=len(recurrent), linear_before_reset=1)


def _response(cell: str, layer: Layer, signal: np.ndarray) -> np.ndarray:
    """The layer's outputs from zero state, with the knobs at 0, in double precision; shape (n, units)."""
    kernel, recurrent, bias = (part.astype(float) for part in (layer.kernel[0], layer.recurrent, layer.bias))
    h, c, outputs = np.zeros(layer.units), np.zeros(layer.units), []

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 0.5 + 0.5 * np.tanh(0.5 * x)

    for sample in signal:
        if cell == "lstm":
            i, f, g, o = np.split(sample * kernel + h @ recurrent + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            (xz, xr, xn), (hz, hr, hn) = (np.split(part, 3) for part in (sample * kernel + bias[0],
                                                                         h @ recurrent + bias[1]))
            z = sigmoid(xz + hz)
            h = z * h + (1 - z) * np.tanh(xn + sigmoid(xr + hr) * hn)
        outputs.append(h)
    return np.array(outputs)


def _numbers(values: np.ndarray) -> Any:
    """Nested lists of the shortest numbers that are these float32."""
    flat = [float(str(value)) for value in np.ravel(values).astype(np.float32)]
    return np.array(flat).reshape(np.shape(values)).tolist()


def _text(file: dict[str, Any]) -> str:
    return json.dumps(file, ensure_ascii=False) + "\n"
