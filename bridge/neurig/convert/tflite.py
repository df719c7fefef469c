"""Predictors from TensorFlow Lite files, as IMPSY's converter and ``write_tflite.py`` write them; without TensorFlow.

A ``.tflite`` file is a flatbuffer (https://flatbuffers.dev): tables whose fields are found by number, at offsets from
one another. Few of them are needed here, so they are read as they stand. The field numbers are those of the format's
schema, ``schema.fbs``.

The weights are found by following the data, so that names and the order of the tensors do not matter, and files with
and without the signature ``serving_default`` are alike: each LSTM layer is a loop (WHILE), in whose body one product is
with the layer's input and one with its own last output, or, written here, it has no loop, and splits the sum of the
two; the network's answer joins mus, sigmas and pi.

Weights in half precision become float32. Weights quantised to 8 bits are multiplied out again, which gives the network
that TensorFlow Lite runs, but for its rounding of what flows between the layers; what quantising took from the weights
is lost, and a notice says so.
"""

import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from neurig import ModelError
from neurig.convert.mdrnn import HEADS, Mdrnn, Weights

_MAX_BYTES = 1 << 26
_ADD, _CONCATENATION, _DEQUANTIZE, _FULLY_CONNECTED, _SPLIT, _ELU, _WHILE = 0, 2, 6, 9, 49, 111, 119  # BuiltinOperator
_TYPES = {0: "<f4", 1: "<f2", 9: "<i1"}  # TensorType
_NOTICE = ("its weights were stored with 8 bits each, and have been multiplied out: it plays nearly as it did there, "
           "but not like the .keras or .h5 file that it was made from; where you have that, convert it instead")


def read(path: Path) -> Mdrnn:
    """Reads an MDRNN from a ``.tflite`` file.

    :raises ModelError: where the file is missing or holds none; the message is ``path: reason``
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ModelError(f"{path}: it is larger than {_MAX_BYTES >> 20} MiB")
        return parse(path.read_bytes(), path)
    except OSError as problem:
        raise ModelError(f"{path}: {os.strerror(problem.errno)}") from None


def parse(data: bytes, path: Path) -> Mdrnn:
    """Reads an MDRNN from the content of a ``.tflite`` file.

    :param path: what to call it in messages
    :raises ModelError: where there is none
    """
    try:
        file = _File(data)
        layers = [_lstm(file.graphs[op.body]) if op.code == _WHILE else _lstm_step(file.main, op)
                  for op in file.main.operators if op.code in (_WHILE, _SPLIT)]
        heads = _heads(file.main)
    except ValueError as problem:
        raise ModelError(f"{path}: {problem}") from None
    except (struct.error, IndexError, RecursionError):
        raise ModelError(f"{path}: this is not a TensorFlow Lite file, or it is damaged") from None
    return Mdrnn(layers, heads, path, notice=_NOTICE if file.is_quantised else "")


def _lstm(body: "_Graph") -> list[Weights]:
    """Kernel, recurrent kernel and bias of the LSTM layer that a loop's body computes."""
    products = {tuple(op.inputs)[0] in body.inputs: op for op in body.operators if op.code == _FULLY_CONNECTED}
    count = sum(op.code == _FULLY_CONNECTED for op in body.operators)
    if count != 2 or set(products) != {True, False}:
        raise ValueError("it has a loop that is not an LSTM layer")
    kernel, recurrent = (body.constant(products[own].inputs[1]) for own in (False, True))
    units = recurrent.shape[-1]
    biases = [body.constant(tensor) for op in body.operators if op.code in (_ADD, _FULLY_CONNECTED)
              for tensor in op.inputs if body.is_constant(tensor) and body.shape(tensor) == (4 * units,)]
    if recurrent.shape != (4 * units, units) or kernel.shape[:-1] != (4 * units,) or len(biases) != 1:
        raise ValueError("it has a loop that is not an LSTM layer: its products have the shapes "
                         f"{kernel.shape} and {recurrent.shape}")
    return [np.ascontiguousarray(kernel.T), np.ascontiguousarray(recurrent.T), biases[0]]


def _lstm_step(main: "_Graph", split: "_Operator") -> list[Weights]:
    """Kernel, recurrent kernel and bias of the LSTM layer whose gates an operator splits."""
    total = main.maker(split.inputs[-1])
    products = [main.maker(tensor) for tensor in total.inputs] if total and total.code == _ADD else []
    if sorted(len(op.inputs) for op in products if op and op.code == _FULLY_CONNECTED) != [2, 3]:
        raise ValueError("it splits what is not an LSTM layer's gates")
    (_, recurrent), (_, kernel, bias) = sorted((op.inputs for op in products if op), key=len)
    kernel, recurrent, bias = (main.constant(tensor) for tensor in (kernel, recurrent, bias))
    if kernel.ndim != 2 or recurrent.shape != (kernel.shape[0], kernel.shape[0] // 4):
        raise ValueError(f"it has an LSTM layer whose products have the shapes {kernel.shape} and {recurrent.shape}")
    return [np.ascontiguousarray(kernel.T), np.ascontiguousarray(recurrent.T), bias]


def _heads(main: "_Graph") -> dict[str, list[Weights]]:
    """Kernel and bias of the dense layers mus, sigmas and pi."""
    ends = [op for op in main.operators if op.code == _CONCATENATION and op.outputs[0] in main.outputs]
    if len(ends) != 1 or len(ends[0].inputs) != len(HEADS):
        raise ValueError("it has no mixture density output: no concatenation of mus, sigmas and pi")
    heads = {}
    for name, tensor in zip(HEADS, ends[0].inputs, strict=True):
        maker = main.maker(tensor)
        for _ in range(2):  # sigmas: elu(x) + 1
            if maker and maker.code in (_ADD, _ELU):
                maker = next(filter(None, (main.maker(source) for source in maker.inputs)), None)
        if not maker or maker.code != _FULLY_CONNECTED or len(maker.inputs) != 3:
            raise ValueError(f"{name} is not made by a dense layer")
        kernel, bias = (main.constant(tensor) for tensor in maker.inputs[1:])
        heads[name] = [np.ascontiguousarray(kernel.T), bias]
    return heads


class _Table:
    """A table of a flatbuffer. A field that the file leaves out has its default.

    :raises struct.error: on every access outside of the file
    """

    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self._place = place
        self._fields = place - self._number("i", place)

    def _number(self, kind: str, place: int) -> Any:
        if place < 0:
            raise struct.error("before the start of the file")
        return struct.unpack_from("<" + kind, self._data, place)[0]

    def _field(self, field: int) -> int:
        """Where a field is; 0 where it is left out."""
        entry = 4 + 2 * field
        offset = self._number("H", self._fields + entry) if entry < self._number("H", self._fields) else 0
        return self._place + offset if offset else 0

    def _vector(self, field: int) -> tuple[int, int]:
        """Where a vector's elements are, and how many."""
        place = self._field(field)
        if not place:
            return 0, 0
        place += self._number("I", place)
        return place + 4, self._number("I", place)

    def number(self, field: int, kind: str, default: int = 0) -> Any:
        place = self._field(field)
        return self._number(kind, place) if place else default

    def numbers(self, field: int, kind: str) -> list[Any]:
        place, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}{kind}", self._data, place))

    def bytes(self, field: int) -> bytes:
        place, count = self._vector(field)
        if place + count > len(self._data):
            raise struct.error("beyond the end of the file")
        return self._data[place : place + count]

    def table(self, field: int) -> "_Table | None":
        place = self._field(field)
        return _Table(self._data, place + self._number("I", place)) if place else None

    def tables(self, field: int) -> list["_Table"]:
        place, count = self._vector(field)
        if place + 4 * count > len(self._data):
            raise struct.error("beyond the end of the file")
        return [_Table(self._data, at + self._number("I", at)) for at in range(place, place + 4 * count, 4)]


class _Operator:
    """One step of a graph.

    :ivar inputs, outputs: numbers of tensors; -1 for an input that is left out
    :ivar body: of a WHILE, the number of the graph that it repeats
    """

    def __init__(self, table: _Table, codes: list[int]) -> None:
        self.code = codes[table.number(0, "I")]
        self.inputs: list[int] = [tensor for tensor in table.numbers(1, "i") if tensor >= 0]
        self.outputs: list[int] = table.numbers(2, "i")
        options = table.table(4)
        self.body: int = options.number(1, "i") if options and self.code == _WHILE else -1


class _Graph:
    """A subgraph: tensors, and the operators that make one from another.

    :ivar given: of a loop's body, which tensors of ``main`` its inputs are at first
    """

    def __init__(self, table: _Table, file: "_File") -> None:
        self._file = file
        self.given: dict[int, int] = {}
        self._tensors = table.tables(0)
        self.inputs: list[int] = table.numbers(1, "i")
        self.outputs: list[int] = table.numbers(2, "i")
        self.operators = [_Operator(operator, file.codes) for operator in table.tables(3)]

    def maker(self, tensor: int) -> _Operator | None:
        """The operator that a tensor comes from."""
        return next((op for op in self.operators if tensor in op.outputs), None)

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self._tensors[tensor].numbers(0, "i"))

    def is_constant(self, tensor: int) -> bool:
        """Is it in the file, or passed on from there?"""
        maker = self.maker(tensor)
        if maker and maker.code == _DEQUANTIZE:  # how weights of half precision are used
            return self.is_constant(maker.inputs[0])
        if tensor in self.inputs:
            return tensor in self.given and self._file.main.is_constant(self.given[tensor])
        return maker is None and bool(self._content(tensor))

    def constant(self, tensor: int) -> Weights:
        """A tensor of weights.

        :raises ValueError: where it is none
        """
        if not self.is_constant(tensor):
            raise ValueError("it has weights that are not in the file")
        maker = self.maker(tensor)
        if maker:
            return self.constant(maker.inputs[0])
        if tensor in self.inputs:
            return self._file.main.constant(self.given[tensor])
        about = self._tensors[tensor]
        shape, kind = self.shape(tensor), about.number(1, "b")
        if kind not in _TYPES:
            raise ValueError(f"it has weights of a kind that is not read: tensor type {kind}")
        content, dtype = self._content(tensor), np.dtype(_TYPES[kind])
        if min(shape, default=1) < 0 or len(content) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"it has weights of the shape {shape} in {len(content)} bytes")
        array = np.frombuffer(content, dtype).reshape(shape)
        if array.dtype != np.int8:
            return array.astype(np.float32)
        self._file.is_quantised = True
        quantisation = about.table(4)
        scales = np.array(quantisation.numbers(2, "f") if quantisation else [], np.float32)
        zeros = np.array(quantisation.numbers(3, "q") if quantisation else [], np.float32)
        channel = quantisation.number(6, "i") if quantisation else 0
        if not scales.size or scales.size != zeros.size or scales.size not in (1, shape[channel]):
            raise ValueError("it has weights of 8 bits without what they are to be multiplied with")
        along = [-1 if axis == channel else 1 for axis in range(len(shape))]
        return (array - zeros.reshape(along)) * scales.reshape(along)

    def _content(self, tensor: int) -> bytes:
        return self._file.buffers[self._tensors[tensor].number(2, "I")].bytes(0)


class _File:
    """The model: what is in ``main``, and the graphs that its loops repeat.

    :ivar is_quantised: has a weight of 8 bits been read?
    """

    def __init__(self, data: bytes) -> None:
        if data[4:8] != b"TFL3":
            raise ValueError("the file is empty" if not data else "this is not a TensorFlow Lite file")
        root = _Table(data, struct.unpack_from("<I", data)[0])
        self.is_quantised = False
        self.codes = [max(code.number(0, "b"), code.number(3, "i")) for code in root.tables(1)]
        self.buffers = root.tables(4)
        self.graphs = [_Graph(graph, self) for graph in root.tables(2)]
        self.main = self.graphs[0]
        for loop in self.main.operators:
            if loop.code == _WHILE:
                body = self.graphs[loop.body]
                body.given = dict(zip(body.inputs, loop.inputs))
