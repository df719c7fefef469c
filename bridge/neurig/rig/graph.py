"""The nodes as they sound: pyo's objects and the native ones of ``externals/pyo/kernel.h``, in pyo's graph.

Between two nodes is a block of samples in memory. Each node that takes a signal begins with a native object that sums
the blocks connected to it, each with a gain that is ramped when a connection is made or broken; what follows is native
too, or is made of pyo's objects, between two tables. Nothing here is real time: the functions run on the message
thread, and what they change falls between two blocks.
"""

import heapq
import math
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import numpy as np
import pyo64 as pyo
import soundfile

import neurig
from neurig._core import ffi, lib
from neurig.rig.errors import RigError
from neurig.rig.nodes import LEVELS, knob
from neurig.rig.recording import Recording

FADE = 0.02  # seconds: every change takes at least that long
_LONGEST_DELAY = 2.0  # seconds
_LONGEST_CLIP = 3600  # seconds
_SLACK = 256  # samples that a library has at least for a block, and for what holds it up
RING = 8  # seconds that a slow disk may keep a recorder waiting

Block = Any  # a cffi `double *`


class Graph:
    """The nodes on one pyo server.

    :ivar server: a booted pyo server
    :ivar rate: Hz
    :ivar block: frames
    :ivar inputs, outputs: channels of the hardware
    """

    def __init__(self, server: Any, rate: int, block: int, inputs: int, outputs: int, exit_status: int = 1) -> None:
        """:param exit_status: with which the process ends where JACK changes the block size"""
        self.server = server
        self.rate = rate
        self.block = block
        self.outputs = outputs
        self.nodes: dict[int, Node] = {}
        self._edges: set[tuple[int, int]] = set()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._turns = count()
        self._guard = self._callable(lib.neurig_node_guard, block, id(server._server), exit_status)
        self._hardware: list[tuple[Any, ...]] = []
        for channel in range(inputs):
            table, samples = self.table()
            source = pyo.Input(channel)
            self._hardware.append((samples, table, source, pyo.TableFill(source, table)))

    @property
    def inputs(self) -> int:
        return len(self._hardware)

    def hardware_input(self, channel: int) -> Block:
        """:param channel: counted from 1"""
        return self._hardware[channel - 1][0]

    # -- making pyo's and native objects

    def _callable(self, make: Callable[..., Any], *arguments: Any) -> Any:
        """Lets pyo call a native function in each block. Returns the pyo object."""
        made: list[Any] = []
        make(id(made), *arguments)
        caller = pyo.CallAlways_base(made[0], None)
        caller.play(0, 0)
        return caller

    def native(self, make: Callable[..., Any], block: Block = ffi.NULL, *arguments: Any) -> tuple[Any, Any]:
        """A native node. Returns its pointer, which is good for as long as the second thing, pyo's caller of it."""
        pointers = []

        def keep(*all_arguments: Any) -> None:
            pointers.append(make(*all_arguments))

        caller = self._callable(keep, self.block, block, *arguments)
        return pointers[0], caller

    def table(self) -> tuple[Any, Block]:
        """A pyo table as long as a block, and its memory."""
        table = pyo.DataTable(self.block)
        return table, ffi.from_buffer("double[]", memoryview(table.getBuffer()), require_writable=True)

    # -- the graph

    def add(self, number: int, type_name: str, values: dict[str, Any], files: dict[str, Any]) -> None:
        """Makes a node.

        :param number: the id of the node
        :param files: of its file parameters, what :func:`read` gave
        """
        self.nodes[number] = NODES[type_name](self, values)
        for name, content in files.items():
            self.nodes[number].put(name, content)

    def remove(self, number: int) -> None:
        """Fades a node out and lets go of it."""
        node = self.nodes.pop(number)
        node.fade(0, FADE)
        edges = [edge for edge in self._edges if number in edge]
        self._edges.difference_update(edges)
        sinks = [self.nodes[sink] for _, sink in edges if sink in self.nodes]
        for sink in sinks:
            sink.disconnect(number, self.samples(FADE))

        def let_go() -> None:
            for sink in sinks:
                sink.disconnect(number, 0)
            # Those that it listened to may be let go before it: a block must not be read after that.
            node.close()

        self.later(FADE + 0.05, let_go)

    def crossfade(self, old: Iterable[int], seconds: float) -> None:
        """Fades from some nodes, which are then removed, to all others, which were just made."""
        old = set(old)
        for number, node in self.nodes.items():
            if number not in old:
                node.fade(0, 0)
            node.fade(float(number not in old), seconds)

        def remove_old() -> None:
            for number in old & self.nodes.keys():
                self.remove(number)

        self.later(seconds, remove_old)

    def connect(self, edges: Iterable[tuple[int, int]]) -> None:
        for source, sink in edges:
            self._edges.add((source, sink))
            self.nodes[sink].connect(source, self.nodes[source].output, self.samples(FADE))
        self.order()

    def disconnect(self, edges: Iterable[tuple[int, int]]) -> None:
        for source, sink in edges:
            self._edges.discard((source, sink))
            self.nodes[sink].disconnect(source, self.samples(FADE))

    def order(self) -> None:
        """Puts pyo's streams in the order in which the signal runs, so that no connection costs a block."""
        ready = [number for number in self.nodes if not any(sink == number for _, sink in self._edges)]
        waiting = {number: sum(sink == number for _, sink in self._edges) for number in self.nodes}
        streams: list[Any] = []
        while ready:
            number = ready.pop(0)
            streams += self.nodes[number].streams
            for source, sink in self._edges:
                if source == number:
                    waiting[sink] -= 1
                    if not waiting[sink]:
                        ready.append(sink)
        # All in one call that runs no Python, so that the GIL is not given up and no block falls in between.
        list(map(self.server._server.changeStreamPosition, streams, streams))

    def samples(self, seconds: float) -> int:
        return max(1, round(seconds * self.rate))

    # -- time

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._turns), do))

    def tick(self) -> float:
        """Does what is due. Returns the seconds until something is again."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()
        return max(0.0, self._later[0][0] - now) if self._later else 60.0

    @property
    def faults(self) -> int:
        """Blocks with numbers that were none, in all nodes."""
        return sum(node.faults for node in self.nodes.values())


class Node:
    """What all nodes have. A node's streams run in the order in which they are made.

    :ivar output: the block that it gives
    :ivar streams: of pyo's objects
    """

    output: Block = ffi.NULL

    def __init__(self, graph: Graph, values: dict[str, Any]) -> None:
        self.graph = graph
        self._ramps: dict[str, tuple[Any, float]] = {}
        before = len(graph.server.getStreams())
        self.build(values)
        self.streams = graph.server.getStreams()[before:]

    def build(self, values: dict[str, Any]) -> None:
        raise TypeError("a node builds itself")

    def native(self, make: Callable[..., Any], block: Block = ffi.NULL, *arguments: Any) -> None:
        """The native object that the node begins with."""
        self.kernel, self._caller = self.graph.native(make, block, *arguments)
        self.output = lib.neurig_node_block(self.kernel)

    def connect(self, key: int, source: Block, ramp: int) -> None:
        lib.neurig_node_connect(self.kernel, key, source, ramp)

    def disconnect(self, key: int, ramp: int) -> None:
        lib.neurig_node_disconnect(self.kernel, key, ramp)

    def ramp(self, name: str, values: dict[str, Any], scale: float = 1.0) -> Any:
        """A parameter as a signal that never jumps."""
        value = values[name] * scale
        signal = pyo.SigTo(value, time=FADE, init=value)
        self._ramps[name] = signal, scale
        return signal

    def decibels(self, name: str, values: dict[str, Any]) -> Any:
        return pyo.DBToA(self.ramp(name, values))

    def set(self, name: str, value: Any, seconds: float) -> None:
        """Moves a parameter there."""
        signal, scale = self._ramps[name]
        signal.setTime(max(seconds, FADE))
        signal.setValue(value * scale)

    def put(self, name: str, content: Any) -> None:
        """Takes over what :func:`read` gave for a file parameter."""
        raise TypeError(f"{name} is no file of this node")

    def fade(self, level: float, seconds: float) -> None:
        """How loud the node is on its way out of the rig; of interest where it is heard directly."""

    def close(self) -> None:
        """Is called when nobody hears the node any more."""
        for stream in self.streams:
            self.graph.server._server.removeStream(stream.getId())

    @property
    def faults(self) -> int:
        return lib.neurig_node_faults(self.kernel)


class Input(Node):
    def build(self, values: dict[str, Any]) -> None:
        self.native(lib.neurig_node_sum)
        self._channel = 0
        self.set("channel", values["channel"], 0)

    def set(self, name: str, value: Any, seconds: float) -> None:
        lib.neurig_node_disconnect(self.kernel, self._channel, self.graph.samples(FADE))
        self._channel = value
        if value <= self.graph.inputs:  # a rig made for more channels than there are still plays
            lib.neurig_node_connect(self.kernel, value, self.graph.hardware_input(value), self.graph.samples(FADE))


class Player(Node):
    _PARAMS = {"rate": lib.NEURIG_NODE_RATE, "gain": lib.NEURIG_NODE_GAIN, "play": lib.NEURIG_NODE_PLAY}

    def build(self, values: dict[str, Any]) -> None:
        self.native(lib.neurig_node_player)
        self._clips: list[Any] = []
        for name, param in self._PARAMS.items():
            lib.neurig_node_set(self.kernel, param, values[name], 0)

    def set(self, name: str, value: Any, seconds: float) -> None:
        lib.neurig_node_set(self.kernel, self._PARAMS[name], value, self.graph.samples(max(seconds, FADE)))

    def put(self, name: str, content: Any) -> None:
        self._clips.append(content)
        lib.neurig_node_clip(self.kernel, ffi.from_buffer("float[]", content), len(content), self.graph.samples(FADE))
        if len(self._clips) > 1:
            self.graph.later(FADE + 0.1, lambda: self._clips.pop(0))


class Amp(Node):
    """A neurig_amp: for amps, and for impulse responses."""

    _PARAMS = {"gain": lib.NEURIG_AMP_GAIN, "out": lib.NEURIG_AMP_OUT, "bypass": lib.NEURIG_AMP_BYPASS,
               "xfade": lib.NEURIG_AMP_XFADE, "level": lib.NEURIG_AMP_LEVEL, "dbu": lib.NEURIG_AMP_DBU,
               "mix": lib.NEURIG_NODE_MIX, "slim": lib.NEURIG_NODE_SLIM}
    _AT_ONCE = ("bypass", "xfade", "level", "slim")

    def build(self, values: dict[str, Any]) -> None:
        self.native(lib.neurig_node_amp, ffi.NULL, self.graph.rate)
        self._values = {name: self._number(name, value) for name, value in values.items()
                        if name == "level" or not isinstance(value, str)}
        self._model: Any = None
        self._knobs: list[str] = []
        self._held = 0  # instances that the kernel has
        for name in self._PARAMS.keys() & self._values.keys():
            lib.neurig_node_set(self.kernel, self._PARAMS[name], self._values[name], 0)

    @staticmethod
    def _number(name: str, value: Any) -> Any:
        return LEVELS.index(value) if name == "level" else value

    def set(self, name: str, value: Any, seconds: float) -> None:
        self._values[name] = value = self._number(name, value)
        ramp = 0 if name in self._AT_ONCE else self.graph.samples(max(seconds, FADE))
        if name in self._PARAMS:
            lib.neurig_node_set(self.kernel, self._PARAMS[name], value, ramp)
        elif name in self._knobs:
            lib.neurig_node_set(self.kernel, lib.NEURIG_NODE_KNOBS + self._knobs.index(name), value, ramp)

    def put(self, name: str, content: "Prepared") -> None:
        instance = content.take()
        self._model = content.model  # keeps it for others who want the same
        self._knobs = [own.name for own in content.knobs]
        for index, own in enumerate(content.knobs):
            value = self._values.setdefault(own.name, own.default)
            lib.neurig_instance_set_param(instance, index, value)
            # The kernel's ramp starts from there; the instance that still sounds is not touched: it has no such knob,
            # or the same one, which then moves with it.
            lib.neurig_node_set(self.kernel, lib.NEURIG_NODE_KNOBS + index, value, 0)
        lib.neurig_instance_set_slim(instance, self._values.get("slim", 1))
        self._held += 1
        self._release(lib.neurig_node_swap(self.kernel, instance))
        if self._held > 1:
            self._collect()

    def _collect(self) -> None:
        """Frees the instances that have faded out."""
        self._release(lib.neurig_node_collect(self.kernel))
        if self._held > 1:
            self.graph.later(0.1, self._collect)

    def _release(self, instance: Any) -> None:
        if instance != ffi.NULL:
            self._held -= 1
            lib.neurig_instance_free(instance)

    def close(self) -> None:
        self._held = 0
        super().close()


class Effect(Node):
    """Made of pyo's objects."""

    def build(self, values: dict[str, Any]) -> None:
        self._entry, block = self.graph.table()
        self.native(lib.neurig_node_sum, block)
        self.dry = pyo.TableScan(self._entry)
        self._result = self.effect(values)
        self._exit, self.output = self.graph.table()
        self._fill = pyo.TableFill(self._result, self._exit)

    def effect(self, values: dict[str, Any]) -> Any:
        raise TypeError("an effect makes something of self.dry")


class Gate(Effect):
    # pyo's own look-ahead delays the signal by 25 ms even where it is set to 0: only its envelope is taken. It compares
    # the mean square with the threshold's amplitude, hence the factor 2.
    def effect(self, values: dict[str, Any]) -> Any:
        self._gate = pyo.Gate(self.dry, thresh=self.ramp("threshold", values, 2.0), risetime=values["attack"] / 1000,
                              falltime=values["release"] / 1000, lookahead=0, outputAmp=True)
        return pyo.Sig(self.dry, mul=self._gate)

    def set(self, name: str, value: Any, seconds: float) -> None:
        if name == "attack":
            self._gate.setRiseTime(value / 1000)
        elif name == "release":
            self._gate.setFallTime(value / 1000)
        else:
            super().set(name, value, seconds)


class Gain(Effect):
    def effect(self, values: dict[str, Any]) -> Any:
        return pyo.Sig(self.dry, mul=self.decibels("gain", values))


class Delay(Effect):
    def effect(self, values: dict[str, Any]) -> Any:
        self._echoes = pyo.SmoothDelay(self.dry, delay=self.ramp("time", values, 0.001),
                                       feedback=self.ramp("feedback", values), crossfade=0.05, maxdelay=_LONGEST_DELAY)
        return pyo.Interp(self.dry, self._echoes, interp=self.ramp("mix", values))


class Reverb(Effect):
    def effect(self, values: dict[str, Any]) -> Any:
        return pyo.Freeverb(self.dry, size=self.ramp("size", values), damp=self.ramp("damp", values),
                            bal=self.ramp("mix", values))


class Limiter(Effect):
    # An envelope that rises at once and never is below the signal: what is divided by it is never over the ceiling.
    def effect(self, values: dict[str, Any]) -> Any:
        ceiling = self.decibels("ceiling", values)
        self._envelope = pyo.Follower2(self.dry, risetime=0, falltime=values["release"] / 1000)
        return pyo.Sig(self.dry, mul=ceiling / pyo.Max(self._envelope, comp=ceiling))

    def set(self, name: str, value: Any, seconds: float) -> None:
        if name == "release":
            self._envelope.setFalltime(value / 1000)
        else:
            super().set(name, value, seconds)


class Output(Node):
    def build(self, values: dict[str, Any]) -> None:
        self._entry, block = self.graph.table()
        self.native(lib.neurig_node_sum, block)
        self._signal = pyo.Sig(pyo.TableScan(self._entry), mul=self.decibels("gain", values))
        self._switches = []
        self._channels = []
        for channel in range(1, self.graph.outputs + 1):
            is_open = float(values["channel"] in (0, channel))
            self._switches.append(pyo.SigTo(is_open, time=FADE, init=is_open))
            self._channels.append(pyo.Sig(self._signal, mul=self._switches[-1]).out(channel - 1))

    def set(self, name: str, value: Any, seconds: float) -> None:
        if name == "channel":
            for channel, switch in enumerate(self._switches, start=1):
                switch.setValue(float(value in (0, channel)))
        else:
            super().set(name, value, seconds)

    def fade(self, level: float, seconds: float) -> None:
        lib.neurig_node_level(self.kernel, level, self.graph.samples(seconds) if seconds else 0)


class Recorder(Node):
    def build(self, values: dict[str, Any]) -> None:
        self.native(lib.neurig_node_recorder, ffi.NULL, RING * self.graph.rate)
        self.recording: Recording | None = None

    def record(self, path: str, length: float, resume: bool, ended: Callable[[Recording], None]) -> None:
        """Starts a recording.

        :param length: seconds; 0: until it is stopped
        :param resume: go on with the file where it ends
        :param ended: is called, on a thread of its own, when the file is closed
        :raises RigError: where the file cannot be written
        """
        self.recording = Recording(self.kernel, self._caller, path, self.graph.rate, length, resume, ended)

    def set(self, name: str, value: Any, seconds: float) -> None:
        pass  # its parameters are for the next recording

    def close(self) -> None:
        if self.recording:
            self.recording.stop()
        super().close()


NODES: dict[str, type[Node]] = {
    "input": Input, "player": Player, "gate": Gate, "amp": Amp, "ir": Amp, "gain": Gain, "delay": Delay,
    "reverb": Reverb, "limiter": Limiter, "output": Output, "recorder": Recorder,
}


# -- files: read on other threads, while the rig plays on

class Prepared:
    """A model's instance, ready to be put in place, or to be forgotten.

    What a library plays, which may wait, computes on a thread of its own: it is heard some blocks later.

    :ivar latency: samples
    """

    def __init__(self, model: neurig.Model, rate: int, block: int) -> None:
        error = ffi.new("char[]", 512)
        if "backend" in model.info:
            delay = block * max(2, math.ceil(_SLACK / block))
            instance = lib.neurig_instance_new_deferred(model._handle, rate, 1, 1, delay, error, 512)
        else:
            instance = lib.neurig_instance_new(model._handle, rate, 1, error, 512)
        if instance == ffi.NULL:
            raise RigError("bad_file", f"{model.path}: {ffi.string(error).decode(errors='replace')}")
        self._instance = ffi.gc(instance, lib.neurig_instance_free)
        self.latency = lib.neurig_instance_latency(instance)
        self.model = model
        self.knobs = [knob(*(param[key] for key in ("name", "default", "low", "high")))
                      for param in model.info.get("params", [])]

    def take(self) -> Any:
        """The instance; the caller owns it."""
        ffi.gc(self._instance, None)
        return self._instance


_models: weakref.WeakValueDictionary[tuple[Any, ...], neurig.Model] = weakref.WeakValueDictionary()


def read(type_name: str, path: str, rate: int, block: int) -> Any:
    """The content of a node's file, ready for :meth:`Node.put`. May take a while, and be called on any thread.

    :raises RigError: bad_file, with the reason
    """
    try:
        if type_name == "player":
            return _clip(path, rate)
        about = os.stat(path)
        key = (type_name, os.path.realpath(path), about.st_mtime_ns, about.st_size)
        model = _models.get(key)
        if model is None:
            model = neurig.load(path)
            if not model.is_amp:
                raise RigError("bad_file", f"{path}: it is a predictor, not an amp")
            if type_name == "ir" and model.info["family"] != "IR":
                raise RigError("bad_file", f"{path}: it is an amp; make a node of the type amp for it")
            if warning := model.info.get("warning"):
                print(f"neurig: {path}: {warning}", file=sys.stderr)
            _models[key] = model
        return Prepared(model, rate, block)
    except (OSError, neurig.ModelError, soundfile.LibsndfileError) as problem:
        reason = getattr(problem, "strerror", None) or getattr(problem, "error_string", None) or str(problem)
        text = reason if str(path) in reason else f"{path}: {reason}"
        raise RigError("bad_file", text) from None


def _clip(path: str, rate: int) -> Any:
    """A sound file as float32 of one channel, at the rig's rate."""
    with soundfile.SoundFile(path) as file:
        if not 0 < file.frames <= _LONGEST_CLIP * file.samplerate:
            raise RigError("bad_file", f"{path}: {'it is empty' if not file.frames else 'it is longer than an hour'}")
        samples = file.read(dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
        file_rate = file.samplerate
    if not len(samples):
        raise RigError("bad_file", f"{path}: it is damaged: it has no samples")
    if file_rate != rate:
        import soxr

        # With what comes before and after in the loop, so that its ends meet as well as they did.
        tail = min(len(samples), file_rate)
        around = np.concatenate([samples[-tail:], samples, samples[:tail]])
        length = round(len(samples) * rate / file_rate)
        start = round(tail * rate / file_rate)
        samples = soxr.resample(around, file_rate, rate, "VHQ")[start : start + length]
    return np.ascontiguousarray(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), dtype=np.float32)
