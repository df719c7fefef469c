"""Anyone's ONNX model as an amp or a predictor, through onnxruntime.

The first input takes the signal or the frame; the first output gives the answer. All further inputs are the model's
state: each is zero at first, and then gets what the output in the same place gave the time before. All is float32.

**Amps** have an input whose last axis (but for axes of length 1) has no fixed length: time. All other axes count 1, as
in ``(1, 1, n)``, ``(batch, n)`` or ``(n,)``. The output is as long as the input, or shorter. A model without state
gets, before each new block, as many of the samples before as it needs: its *context*, which the model states (below),
or by which its output is shorter than its input. A model with state gets the new samples alone, and gives one for each.

**Predictors** have an input with a fixed last axis, the frame ``[dt, x1 … x(dimension - 1)]``. The output is either

- ``dimension`` numbers: the next frame itself, the same at any temperature; or
- a mixture, ``mixtures * (2 * dimension + 1)`` numbers: mus (one after the other for each component), sigmas (standard
  deviations), and the logits of the components. Frames are then drawn from it as from an MDRNN.

What shapes cannot say, the model may state in its metadata (a *metadata property* in ONNX's words, text each):

=============== =============================================================================================
``sample_rate`` amps: Hz; 48000 where it is not there
``context``     amps without state: samples
``scale``       predictors: what frames are multiplied with on their way in, and answers divided by on their
                way out; 10 for mixtures, as in IMPSY, else 1, where it is not there
others          are shown, and ``loudness``, ``input_level_dbu`` and ``output_level_dbu`` used as in a .nam file
=============== =============================================================================================

onnxruntime may allocate and wait, so on an audio thread such an amp belongs into an instance that computes elsewhere
(``neurig_instance_new_deferred`` of the core), as the rig makes it. A predictor's step takes some hundredths of a
millisecond more than that of the core.
"""

import json
import math
import os
import sys
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from neurig import ModelError
from neurig._core import ffi, lib
from neurig.convert.onnx import count_weights
from neurig.model import Model

_MAX_BYTES = 1 << 30
_LONGEST = 1 << 20  # samples of context
_TRIAL = 64  # samples that an amp is tried with


def load(path: str | os.PathLike[str]) -> Model:
    """Reads an ``.onnx`` file.

    :raises ModelError: where the file is missing, or keeps to nothing of the above; the message is ``path: reason``
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it is larger than {_MAX_BYTES >> 30} GiB")
        graph = _Graph(path)
        engine = _Amp(graph) if graph.time is not None else _Predictor(graph)
    except OSError as problem:
        raise ModelError(f"{path}: {os.strerror(problem.errno) if problem.errno else problem}") from None
    except ValueError as problem:
        raise ModelError(f"{path}: {problem}") from None
    return engine.model(path)


class _Graph:
    """A session of onnxruntime, and its state as one row of floats.

    :ivar time: the axis of the first input whose length is free; ``None`` where there is none
    :ivar width: the length of its last axis that is not 1, where that is fixed
    :ivar state: floats of all states together
    :ivar weights: the numbers that the file's tensors hold
    """

    def __init__(self, path: Path) -> None:
        """:raises ValueError: where this is no ONNX model, or one with other inputs and outputs"""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # a block is too short to share
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's classes have no common base but this
            raise ValueError(f"onnxruntime cannot load it: {_sentence(problem)}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if not inputs or len(inputs) != len(outputs):
            raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs: beside the signal, each state "
                             "goes in and comes out")
        for value in (*inputs, *outputs):
            if value.type != "tensor(float)":
                raise ValueError(f"{value.name} is a {value.type}, but has to be float32")
        meta = self._session.get_modelmeta()
        self.name = meta.graph_name or "graph"
        self.metadata: dict[str, Any] = {name: _plain(text) for name, text in meta.custom_metadata_map.items()}
        shape = list(inputs[0].shape)
        last = max((axis for axis, length in enumerate(shape) if length != 1), default=len(shape) - 1)
        self.time = last if shape and not isinstance(shape[last], int) else None
        self.width = shape[last] if shape and self.time is None else 0
        self._shape = [length if isinstance(length, int) else 1 for length in shape]
        if any(length != 1 for axis, length in enumerate(self._shape) if axis != last):
            raise ValueError(f"{inputs[0].name} has the shape {tuple(shape)}: one signal or frame is wanted, so all "
                             "axes but one have to be 1 or free")
        self._states = [[length if isinstance(length, int) else 1 for length in value.shape] for value in inputs[1:]]
        self._sizes = [math.prod(shape) for shape in self._states]
        self.state = sum(self._sizes)
        self._names = [value.name for value in inputs]
        self._outputs = [value.name for value in outputs]
        self.has_state = len(inputs) > 1
        self.weights = count_weights(path)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A number from the metadata.

        :raises ValueError: where it is none, or out of range
        """
        value = self.metadata.get(name, default)
        if not isinstance(value, (int, float)) or not low <= value <= high:
            raise ValueError(f"its metadata's {name} is {value!r}, but has to be a number from {low:g} to {high:g}")
        return value

    def run(self, signal: NDArray[np.float32], memory: NDArray[np.float32]) -> NDArray[np.float32]:
        """The first output, flat. The state in ``memory`` goes on.

        :raises ValueError: where onnxruntime cannot run it, or a state changes its shape
        """
        shape = [len(signal) if axis == self.time else length for axis, length in enumerate(self._shape)]
        given = {self._names[0]: signal.reshape(shape)}
        places = np.split(memory, np.cumsum(self._sizes)[:-1]) if self._states else []
        for name, shape, place in zip(self._names[1:], self._states, places, strict=True):
            given[name] = place.reshape(shape)
        try:
            answer, *after = self._session.run(self._outputs, given)
        except Exception as problem:
            raise ValueError(f"onnxruntime cannot run it: {_sentence(problem)}") from None
        for name, place, value in zip(self._outputs[1:], places, after, strict=True):
            if value.size != place.size:
                raise ValueError(f"the state {name} changes its shape to {value.shape}")
            place[:] = value.ravel()
        return answer.ravel()


class _Engine:
    """A graph as the core plays it: see ``neurig_engine`` in ``neurig.h``."""

    def __init__(self, graph: _Graph) -> None:
        self.graph = graph
        self.state = graph.state
        self.failed = False

    def about(self) -> dict[str, Any]:
        raise TypeError("an engine is an amp or a predictor")

    def model(self, path: Path) -> Model:
        """:raises ModelError: where the core refuses it"""
        key = next(_keys)
        _engines[key] = self
        engine = ffi.new("neurig_engine *", {"handle": ffi.cast("void *", key), "state": self.state,
                                             "process": lib.neurig_python_process, "step": lib.neurig_python_step,
                                             "release": lib.neurig_python_release})
        about = {"family": "ONNX", "architecture": self.graph.name, "weights": self.graph.weights,
                 "metadata": self.graph.metadata} | self.about()
        error = ffi.new("char[]", 512)
        handle = lib.neurig_model_from_engine(engine, json.dumps(about).encode(), error, 512)
        if handle == ffi.NULL:
            del _engines[key]
            raise ModelError(f"{path}: {ffi.string(error).decode(errors='replace')}")
        return Model(handle, path)

    def run(self, signal: NDArray[np.float32], memory: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """What the graph gives, or nothing where it fails, which is said once."""
        try:
            return self.graph.run(signal, memory)
        except ValueError as problem:
            if not self.failed:
                self.failed = True
                print(f"neurig: {self.graph.name}: {problem}", file=sys.stderr)
            return None


class _Amp(_Engine):
    """A graph over a signal. Without state of the graph's own, what is kept is the context."""

    def __init__(self, graph: _Graph) -> None:
        super().__init__(graph)
        self.rate = graph.number("sample_rate", 48000, 1000, 1e6)
        if graph.has_state:
            self.context, given = 0, _TRIAL
        else:
            stated = "context" in graph.metadata
            self.context = int(graph.number("context", 0, 0, _LONGEST)) if stated else self._measured()
            self.state, given = self.context, self.context + _TRIAL
        made = len(graph.run(np.zeros(given, np.float32), np.zeros(graph.state, np.float32)))
        if not _TRIAL <= made <= given:
            context = f", {self.context} of them context," if self.context else ""
            raise ValueError(f"of {given} samples{context} it makes {made}")

    def _measured(self) -> int:
        """By how many samples the output is shorter than the input; too short an input is an error for many graphs."""
        for length in (1 << 10, 1 << 14, 1 << 17, _LONGEST):
            try:
                made = len(self.graph.run(np.zeros(length, np.float32), np.zeros(0, np.float32)))
            except ValueError:
                continue
            if 0 < made <= length:
                return length - made
            raise ValueError(f"of {length} samples it makes {made}")
        raise ValueError(f"it does not run with {_LONGEST} samples")

    def about(self) -> dict[str, Any]:
        memory = {"receptive_field": None} if self.graph.has_state else {"receptive_field": self.context + 1}
        prewarm = int(self.rate / 2) if self.graph.has_state else 0
        return {"kind": "amp", "sample_rate": self.rate, "prewarm": prewarm, "backend": "onnxruntime"} | memory

    def process(self, memory: NDArray[np.float32], signal: NDArray[np.float32], made: NDArray[np.float32]) -> bool:
        """:returns: did it work?"""
        if self.graph.has_state:
            answer = self.run(signal, memory)
        else:
            signal = np.concatenate([memory, signal])
            answer = self.run(signal, memory[:0])
            memory[:] = signal[len(signal) - len(memory) :]
        if answer is None or len(answer) < len(made):
            return False
        made[:] = answer[len(answer) - len(made) :]
        return True


class _Predictor(_Engine):
    """A graph over frames."""

    def __init__(self, graph: _Graph) -> None:
        super().__init__(graph)
        self.dimension = graph.width
        if not 2 <= self.dimension <= 64:
            raise ValueError(f"its input has the fixed length {self.dimension}: a predictor's frames have from 2 to 64 "
                             "numbers, and an amp's samples need an axis of free length (a dynamic axis)")
        size = len(graph.run(np.zeros(self.dimension, np.float32), np.zeros(graph.state, np.float32)))
        self.is_plain = size == self.dimension
        self.mixtures, rest = (1, 0) if self.is_plain else divmod(size, 2 * self.dimension + 1)
        if rest or not self.mixtures:
            raise ValueError(f"of frames of {self.dimension} numbers it makes {size} numbers: {self.dimension} are the "
                             f"next frame, multiples of {2 * self.dimension + 1} a mixture")
        self.scale = graph.number("scale", 1 if self.is_plain else 10, 1e-3, 1e3)

    def about(self) -> dict[str, Any]:
        return {"kind": "predictor", "dimension": self.dimension, "mixtures": self.mixtures, "scale": self.scale,
                "backend": "onnxruntime"}

    def step(self, memory: NDArray[np.float32], frame: NDArray[np.float32], mus: NDArray[np.float32],
             sigmas: NDArray[np.float32], logits: NDArray[np.float32]) -> bool:
        """:returns: did it work?"""
        answer = self.run(frame, memory)
        if answer is None or not np.isfinite(answer).all():
            return False
        if self.is_plain:
            mus[:], sigmas[:], logits[:] = answer, 0, 0
        else:
            mus[:], sigmas[:], logits[:] = np.split(answer, [mus.size, 2 * mus.size])
        return True


_engines: dict[int, Any] = {}  # as long as the core has a model of theirs
_keys = count(1)


def _row(pointer: Any, length: int) -> NDArray[np.float32]:
    return np.frombuffer(ffi.buffer(pointer, 4 * length), np.float32)


@ffi.def_extern(error=-1)
def neurig_python_process(handle: Any, memory: Any, samples: Any, made: Any, n: int) -> int:
    engine = _engines[int(ffi.cast("uintptr_t", handle))]
    # The core may give the same memory for both.
    return 0 if engine.process(_row(memory, engine.state), _row(samples, n).copy(), _row(made, n)) else -1


@ffi.def_extern(error=-1)
def neurig_python_step(handle: Any, memory: Any, frame: Any, mus: Any, sigmas: Any, logits: Any) -> int:
    engine = _engines[int(ffi.cast("uintptr_t", handle))]
    size = engine.mixtures * engine.dimension
    rows = _row(frame, engine.dimension), _row(mus, size), _row(sigmas, size), _row(logits, engine.mixtures)
    return 0 if engine.step(_row(memory, engine.state), *rows) else -1


@ffi.def_extern()
def neurig_python_release(handle: Any) -> None:
    _engines.pop(int(ffi.cast("uintptr_t", handle)), None)


def _plain(text: str) -> Any:
    """A number where the text is one."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if not math.isfinite(value) else int(value) if value == int(value) else value


def _sentence(problem: Exception) -> str:
    """onnxruntime's message in one line, without what it puts in front."""
    text = " ".join(str(problem).split())
    return text.split(" : ", 3)[-1][:200] or type(problem).__name__
