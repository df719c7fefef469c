"""ONNX files, written: a graph of operators, and predictors as such graphs. Of others', the weights are counted.

An ``.onnx`` file is a message in Protocol Buffers (https://protobuf.dev/programming-guides/encoding). Eight small kinds
of message are needed here, so they are encoded as they stand, and neither the ``onnx`` package (33 MB with what it
needs) nor PyTorch has to be installed. The field numbers are those of the format's definition, ``onnx.proto``.

What neurig wants of an ONNX model, and so what is written here, is told in :mod:`neurig.onnx`.
"""

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from neurig.convert.mdrnn import HEADS, Mdrnn, Weights
from neurig.files import atomic

_OPERATORS = 17  # the version of ONNX's set of operators
_VERSION = 8  # of the file format, which goes with it
_TENSOR_TYPES = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}
_FLOATS = (1, 10, 11, 16)  # types of tensors: of 32, 16 and 64 bits, and bfloat16

Shape = Sequence[int | str]  # a word stands for a length that is known only when the graph runs


def write(network: Mdrnn, path: Path) -> None:
    """Writes a predictor that takes a frame and its state, and gives a mixture and its next state.

    :raises OSError: where the file cannot be written; one already there stays as it was
    """
    graph = Graph("mdrnn")
    state = [1, 1, network.units]
    signal = graph.input("frame", [1, 1, network.dimension])
    after = []
    for number, arrays in enumerate(network.layers):
        own = [graph.input(f"{part}_{number}", state) for part in "hc"]
        _, signal, cell = lstm(graph, signal, *arrays, *own)
        after += [signal, cell]
    parts = []
    for name in HEADS:
        kernel, bias = network.heads[name]
        parts.append(graph.add("Add", graph.add("MatMul", signal, kernel), bias))
    parts[1] = graph.add("Add", graph.add("Elu", parts[1]), np.float32(1 + 1e-7))
    size = network.mixtures * (2 * network.dimension + 1)
    graph.output("mixture", graph.add("Concat", *parts, axis=-1), [1, 1, size])
    for name, value in zip([f"{part}_{number}" for number in range(len(network.layers)) for part in "hc"], after,
                           strict=True):
        graph.output(f"{name}_next", value, state)
    graph.save(path, {"scale": f"{network.scale:g}", "source": network.source.name})


def lstm(graph: "Graph", signal: str, kernel: Weights, recurrent: Weights, bias: Weights, h: str,
         c: str) -> tuple[str, ...]:
    """An LSTM layer over a signal of shape (frames, 1, in).

    :param kernel, recurrent, bias: with the gates in Keras's order
    :param h, c: its state, shape (1, 1, units)
    :returns: its outputs, shape (frames, 1, 1, units), and its state after the last frame
    """
    units = recurrent.shape[0]

    def gates(array: Weights) -> Weights:
        """In ONNX's order (input, output, forget, cell), outputs first."""
        i, f, g, o = np.split(array, 4, axis=-1)
        return np.ascontiguousarray(np.concatenate([i, o, f, g], axis=-1).T[np.newaxis])

    both = np.concatenate([gates(bias), np.zeros((1, 4 * units), np.float32)], axis=1)  # ONNX has a second bias
    inputs = [signal, gates(kernel), gates(recurrent), both, "", h, c]
    return graph.add_all("LSTM", inputs, ["y", "h", "c"], hidden_size=units)


def facts(about: Mapping[str, Any]) -> dict[str, str]:
    """What of a model's metadata can be a metadata property: words and numbers, as text."""
    return {name: str(value) for name, value in about.items() if isinstance(value, (str, int, float))}


class Graph:
    """A graph under construction. Values have names; weights become values where they are used."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._weights: list[bytes] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []
        self._count = 0

    def input(self, name: str, shape: Shape) -> str:
        """A value that is given from outside; returns its name."""
        self._inputs.append(_value(name, shape))
        return name

    def output(self, name: str, value: str, shape: Shape) -> None:
        """Gives a value to the outside."""
        self._nodes.append(_node("Identity", [value], [name]))
        self._outputs.append(_value(name, shape))

    def add(self, operator: str, *inputs: str | ArrayLike, **attributes: Any) -> str:
        """An operator of one output; returns the output's name.

        :param inputs: names of values, or weights
        """
        return self.add_all(operator, inputs, ["y"], **attributes)[0]

    def add_all(self, operator: str, inputs: Sequence[str | ArrayLike], outputs: Sequence[str],
                **attributes: Any) -> tuple[str, ...]:
        """An operator of several outputs; returns their names.

        :param outputs: a word for each
        """
        self._count += 1
        names = tuple(f"{operator.lower()}_{self._count}_{word}" for word in outputs)
        sources = [source if isinstance(source, str) else self._weight(source) for source in inputs]
        self._nodes.append(_node(operator, sources, names, attributes))
        return names

    def _weight(self, values: ArrayLike) -> str:
        array = np.asarray(values)
        name = f"weights_{len(self._weights)}"
        self._weights.append(
            _message({1: list(array.shape), 2: _TENSOR_TYPES[array.dtype], 8: name, 9: array.tobytes()}))
        return name

    def save(self, path: Path, metadata: dict[str, str]) -> None:
        """:raises OSError: where the file cannot be written; one already there stays as it was"""
        graph = _message({1: self._nodes, 2: self._name, 5: self._weights, 11: self._inputs, 12: self._outputs})
        properties = [_message({1: key, 2: text}) for key, text in metadata.items()]
        model = _message({1: _VERSION, 2: "neurig", 7: graph, 8: _message({2: _OPERATORS}), 14: properties})
        with atomic(path) as temporary:
            temporary.write_bytes(model)


def _node(operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any] = {}) -> bytes:
    kinds = {float: (2, 1), int: (3, 2), str: (4, 3), list: (8, 7)}  # of an attribute: field of the value, type
    written = [_message({1: name, kinds[type(value)][0]: value, 20: kinds[type(value)][1]})
               for name, value in attributes.items()]
    return _message({1: list(inputs), 2: list(outputs), 4: operator, 5: written})


def _value(name: str, shape: Shape) -> bytes:
    lengths = [_message({2 if isinstance(length, str) else 1: length}) for length in shape]
    tensor = _message({1: _TENSOR_TYPES[np.dtype(np.float32)], 2: _message({1: lengths})})
    return _message({1: name, 2: _message({1: tensor})})


def _message(fields: dict[int, Any]) -> bytes:
    """A message in Protocol Buffers: its fields by number; several values of one field as a list."""
    written = bytearray()
    for number, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, float):
                written += _varint(number << 3 | 5) + struct.pack("<f", value)
            elif isinstance(value, int):
                written += _varint(number << 3) + _varint(value % (1 << 64))
            else:
                content = value.encode() if isinstance(value, str) else value
                written += _varint(number << 3 | 2) + _varint(len(content)) + content
    return bytes(written)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more follow."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


# ---- Read -----------------------------------------------------------------------------------------------------------


def count_weights(path: Path) -> int:
    """How many floating-point numbers the tensors of an ``.onnx`` file hold."""
    total = 0
    try:
        for graph in _parts(memoryview(path.read_bytes()), 7):
            for tensor in _parts(graph, 5):
                kind, lengths = 0, []
                for field, value in _fields(tensor):
                    if field == 1:
                        lengths += [value] if isinstance(value, int) else _whole_numbers(value)
                    elif field == 2:
                        kind = value
                total += math.prod(lengths) if kind in _FLOATS else 0
    except IndexError:  # no such messages: another of onnxruntime's formats
        return 0
    return total


def _parts(message: memoryview, number: int) -> Iterator[memoryview]:
    """The messages within a message, in its field of that number."""
    return (value for field, value in _fields(message) if field == number and not isinstance(value, int))


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message in Protocol Buffers (https://protobuf.dev), but for numbers of a
    fixed length.

    :raises IndexError: where it ends too early
    """
    at = 0
    while at < len(message):
        tag, at = _whole_number(message, at)
        field, kind = divmod(tag, 8)
        if kind == 0:
            value, at = _whole_number(message, at)
            yield field, value
        elif kind == 2:
            size, at = _whole_number(message, at)
            yield field, message[at : at + size]
            at += size
        else:
            at += 8 if kind == 1 else 4


def _whole_number(message: memoryview, at: int) -> tuple[int, int]:
    """A number, seven bits to a byte, the lowest first, whose eighth bit says that more follow; and where it ends."""
    value, place = message[at] & 127, 7
    while message[at] > 127:
        at, place = at + 1, place + 7
        value |= (message[at] & 127) << (place - 7)
    return value, at + 1


def _whole_numbers(message: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(message):
        number, at = _whole_number(message, at)
        numbers.append(number)
    return numbers
