"""Predictors as TensorFlow Lite files: one step of the network, state in and state out, as IMPSY runs it.

Inputs are ``inputs`` (1, 1, dimension), then ``state_h_0``, ``state_c_0``, ``state_h_1`` … (1, units); outputs the
mixture (1, mixtures * (2 * dimension + 1)) and the states again. Frames and mixture are in the network's scale. All is
float32, of TensorFlow Lite's own operators. The numbers of fields and operators are those of the format's schema,
``schema.fbs``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import flatbuffers
import numpy as np

from neurig import ModelError
from neurig.convert.mdrnn import HEADS, SCALE, Mdrnn
from neurig.files import atomic

# operator → BuiltinOperator, its BuiltinOptions
_OPERATORS = {"ADD": (0, 11), "CONCATENATION": (2, 10), "FULLY_CONNECTED": (9, 8), "LOGISTIC": (14, 0), "MUL": (18, 21),
              "TANH": (28, 0), "SPLIT": (49, 35), "ELU": (111, 0)}
_OPTIONS = {"CONCATENATION": 1, "SPLIT": 4}  # what the first field of the options is: the axis, the number of parts
_FLOAT32, _INT32 = 0, 2  # TensorType
_VERSION = 3
_ALIGNED = 16  # bytes, of what is in buffers


def write(network: Mdrnn, path: Path) -> None:
    """Writes a ``.tflite`` file, which appears when it is complete.

    :raises ModelError: where the network scales its input otherwise than IMPSY does
    :raises OSError: where the folder is missing, full or read-only; an old file is still there then
    """
    if network.scale != SCALE:
        raise ModelError(f"{path}: this network scales its input by {network.scale:g}, but IMPSY always by {SCALE}")
    with atomic(path) as temporary:
        temporary.write_bytes(_graph(network).file())


def _graph(network: Mdrnn) -> "_Graph":
    graph = _Graph()
    row = (1, network.units)
    frame = graph.input("inputs", (1, 1, network.dimension))
    states = [(graph.input(f"state_h_{layer}", row), graph.input(f"state_c_{layer}", row))
              for layer in range(len(network.layers))]
    axis = graph.constant(np.array(1, np.int32))
    x, given = frame, []
    for (kernel, recurrent, bias), (h, c) in zip(network.layers, states, strict=True):
        wide = (1, 4 * network.units)
        out = graph.tensor("state", row)  # IMPSY takes the states in the order of their numbers: h before c
        product = graph.dense(x, kernel, bias, wide)
        gates = graph.add("ADD", [product, graph.dense(h, recurrent, None, wide)], wide)
        i, f, g, o = graph.add_all("SPLIT", [axis, gates], [row] * 4)
        i, f, o = (graph.add("LOGISTIC", [gate], row) for gate in (i, f, o))
        kept = graph.add("MUL", [f, c], row)
        new = graph.add("MUL", [i, graph.add("TANH", [g], row)], row)
        cell = graph.add("ADD", [kept, new], row)
        x = graph.add_all("MUL", [o, graph.add("TANH", [cell], row)], [], [out])[0]
        given += [x, cell]
    heads = []
    for name in HEADS:
        kernel, bias = network.heads[name]
        head = graph.dense(x, kernel, bias, (1, len(bias)))
        if name == "sigmas":  # elu(x) + 1, and never 0
            head = graph.add("ELU", [head], (1, len(bias)))
            head = graph.add("ADD", [head, graph.constant(np.array([1 + 1e-7], np.float32))], (1, len(bias)))
        heads.append(head)
    mixture = graph.add("CONCATENATION", heads, (1, network.mixtures * (2 * network.dimension + 1)))
    graph.outputs = [mixture, *given]
    return graph


class _Graph:
    """What a file says, in Python's words.

    :ivar inputs, outputs: numbers of tensors
    """

    def __init__(self) -> None:
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self._tensors: list[tuple[str, tuple[int, ...], int, int]] = []  # name, shape, type, buffer
        self._buffers: list[bytes] = [b""]  # the first is nobody's
        self._operators: list[tuple[str, list[int], list[int]]] = []

    def tensor(self, name: str, shape: tuple[int, ...], kind: int = _FLOAT32, buffer: int = 0) -> int:
        self._tensors.append((f"{name}_{len(self._tensors)}", shape, kind, buffer))
        return len(self._tensors) - 1

    def input(self, name: str, shape: tuple[int, ...]) -> int:
        self._tensors.append((name, shape, _FLOAT32, 0))
        self.inputs.append(len(self._tensors) - 1)
        return self.inputs[-1]

    def constant(self, array: np.ndarray) -> int:
        self._buffers.append(array.tobytes())
        kind = _INT32 if array.dtype == np.int32 else _FLOAT32
        return self.tensor("constant", array.shape, kind, len(self._buffers) - 1)

    def add(self, operator: str, inputs: list[int], shape: tuple[int, ...]) -> int:
        return self.add_all(operator, inputs, [shape])[0]

    def add_all(self, operator: str, inputs: list[int], shapes: list[tuple[int, ...]],
                outputs: Sequence[int] = ()) -> list[int]:
        outputs = [*outputs, *(self.tensor(operator.lower(), shape) for shape in shapes)]
        self._operators.append((operator, inputs, outputs))
        return outputs

    def dense(self, x: int, kernel: np.ndarray, bias: np.ndarray | None, shape: tuple[int, ...]) -> int:
        weights = [self.constant(np.ascontiguousarray(kernel.T))] + ([] if bias is None else [self.constant(bias)])
        return self.add("FULLY_CONNECTED", [x, *weights], shape)

    def file(self) -> bytearray:
        """The flatbuffer. It is built from its end, so that what is referred to comes first."""
        builder = flatbuffers.Builder(sum(map(len, self._buffers)) + 65536)
        codes = sorted({name for name, _, _ in self._operators})
        buffers = _tables(builder, self._buffers, lambda data: _table(builder, [_bytes(builder, data)] if data else []))
        operator_codes = _tables(builder, codes, lambda name: _table(
            builder, [("b", _OPERATORS[name][0]), None, None, ("i", _OPERATORS[name][0])]))
        tensors = _tables(builder, self._tensors, lambda tensor: _table(
            builder, [_numbers(builder, tensor[1]), ("b", tensor[2]), ("I", tensor[3]),
                      builder.CreateString(tensor[0])]))
        operators = _tables(builder, self._operators, lambda operator: _table(
            builder, [("I", codes.index(operator[0])), _numbers(builder, operator[1]), _numbers(builder, operator[2]),
                      *_options(builder, operator[0])]))
        subgraph = _table(builder, [tensors, _numbers(builder, self.inputs), _numbers(builder, self.outputs), operators,
                                    builder.CreateString("main")])
        subgraphs = _tables(builder, [subgraph], lambda table: table)
        description = builder.CreateString("MDRNN")
        builder.Finish(_table(builder, [("I", _VERSION), operator_codes, subgraphs, description, buffers]), b"TFL3")
        return builder.Output()


def _options(builder: flatbuffers.Builder, operator: str) -> list:
    kind = _OPERATORS[operator][1]
    if not kind:
        return []
    return [("B", kind), _table(builder, [("i", _OPTIONS[operator])] if operator in _OPTIONS else [])]


def _table(builder: flatbuffers.Builder, fields: Sequence) -> int:
    """A table; of each field in order its type and number, or the offset of what it refers to, or ``None``."""
    builder.StartObject(len(fields))
    put = {"b": builder.PrependInt8Slot, "B": builder.PrependUint8Slot, "i": builder.PrependInt32Slot,
           "I": builder.PrependUint32Slot}
    for place, field in enumerate(fields):
        if isinstance(field, int):
            builder.PrependUOffsetTRelativeSlot(place, field, 0)
        elif field is not None:
            put[field[0]](place, field[1], 0)
    return builder.EndObject()


def _tables(builder: flatbuffers.Builder, items: Sequence, make: Callable) -> int:
    tables = [make(item) for item in items]
    builder.StartVector(4, len(tables), 4)
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _numbers(builder: flatbuffers.Builder, numbers: Sequence[int]) -> int:
    return builder.CreateNumpyVector(np.array(numbers, np.int32))


def _bytes(builder: flatbuffers.Builder, data: bytes) -> int:
    builder.StartVector(1, len(data), _ALIGNED)
    builder.head -= len(data)
    builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
    return builder.EndVector()
