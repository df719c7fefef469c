"""Plays a rig through pyo's ``manual`` server, block by block: exact, without a clock or a device.

The graph is the audio process's own. It runs in a process of its own, because pyo has one server per process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

WARM_UP = 0.2  # seconds of silence before the signal: pyo fades its output in


def play(
    nodes: dict[str, tuple[str, dict[str, Any]]],
    connections: Sequence[tuple[str, str]],
    x: ArrayLike,
    events: Sequence[tuple[Any, ...]] = (),
    rate: int = 48000,
    block: int = 64,
    check: str = "",
    channels: int = 2,
) -> NDArray[np.float32]:
    """Sends a signal through a rig.

    :param nodes: in the order in which they are made: type and parameters by name
    :param connections: of nodes, in the order in which they are made
    :param x: the first input channel, shape (n,); the second one hears it negated
    :param events: each is a sample, rounded up to a block, a method of the graph, and its arguments: ``(4800, "set",
        "amp", "gain", 6.0, 0.1)``. Names of nodes stand for their numbers.
    :param check: a Python expression of ``graph`` that is asked for at the end and has to be true
    :param channels: of the output
    :returns: float32, shape (n, channels)
    """
    with tempfile.TemporaryDirectory() as folder:
        source, result, job = (Path(folder) / name for name in ("x.npy", "y.npy", "job.json"))
        np.save(source, np.asarray(x, np.float64))
        job.write_text(
            json.dumps([nodes, list(connections), list(events), rate, block, check, channels, str(source), str(result)])
        )
        process = subprocess.run([sys.executable, __file__, str(job)], capture_output=True, text=True, timeout=120)
        said = [line for line in process.stderr.splitlines() if not line.endswith("; the first is heard")]
        assert process.returncode == 0 and not said, process.stdout + process.stderr
        return np.load(result)


def render(model: Path, x: ArrayLike, rate: int = 48000, block: int = 64) -> NDArray[np.float32]:
    """Sends a signal through an amp node of a rig, between an input and an output.

    :param x: the signal, shape (n,)
    :param rate: Hz
    :param block: frames
    :returns: float32, shape (n,)
    """
    nodes = {"in": ("input", {}), "amp": ("amp", {"model": str(model)}), "out": ("output", {})}
    return play(nodes, [("in", "amp"), ("amp", "out")], x, rate=rate, block=block)[:, 0]


def _main(job: str) -> None:
    import ctypes
    import os

    os.environ["PYO_GUI_WX"] = "0"

    import pyo64

    from neurig.rig import graph as graph_module
    from neurig.rig.nodes import TYPES

    nodes, connections, events, rate, block, check, channels, source, result = json.loads(Path(job).read_text())
    server = pyo64.Server(sr=rate, nchnls=channels, ichnls=2, buffersize=block, duplex=1, audio="manual")
    server.setVerbosity(1)
    server.boot()
    graph = graph_module.Graph(server, rate, block, 2, channels, exit_status=9)
    server.start()
    heard = np.ctypeslib.as_array((ctypes.c_double * (2 * block)).from_address(int(server.getInputAddr(), 16)))
    played = np.ctypeslib.as_array((ctypes.c_float * (channels * block)).from_address(int(server.getOutputAddr(), 16)))

    computed = 0
    graph_module.time.monotonic = lambda: computed / rate  # type: ignore[assignment]  # frees nodes in the signal's time
    numbers: dict[str, int] = {}

    def add(name: str, type_name: str, values: dict[str, Any]) -> None:
        declared = TYPES[type_name]
        numbers[name] = max([0, *numbers.values()]) + 1
        all_values = {param.name: param.default for param in declared.params} | values
        files = {
            key: graph_module.read(type_name, values[key], rate, block)
            for key in ("model", "file")
            if values.get(key) and type_name != "recorder"
        }
        graph.add(numbers[name], type_name, all_values, files)

    def set_(name: str, param: str, value: Any, seconds: float) -> None:
        graph.nodes[numbers[name]].set(param, value, seconds)

    def put(name: str, type_name: str, param: str, path: str) -> None:
        graph.nodes[numbers[name]].put(param, graph_module.read(type_name, path, rate, block))

    def connect(*pairs: list[str]) -> None:
        graph.connect([(numbers[a], numbers[b]) for a, b in pairs])

    def disconnect(*pairs: list[str]) -> None:
        graph.disconnect([(numbers[a], numbers[b]) for a, b in pairs])

    def remove(name: str) -> None:
        graph.remove(numbers[name])

    def crossfade(old: list[str], seconds: float) -> None:
        graph.crossfade([numbers[name] for name in old], seconds)

    def record(name: str, path: str, resume: bool) -> None:
        graph.nodes[numbers[name]].record(path, 0.0, resume, lambda recording: None)

    def stop(name: str) -> None:
        graph.nodes[numbers[name]].recording.stop()

    methods = {
        "crossfade": crossfade,
        "set": set_,
        "put": put,
        "connect": connect,
        "disconnect": disconnect,
        "remove": remove,
        "add": add,
        "record": record,
        "stop": stop,
    }
    for name, (type_name, values) in nodes.items():
        add(name, type_name, values)
    connect(*connections)

    x = np.load(source)
    warm_up = -(-round(WARM_UP * rate) // block) * block
    length = -(-len(x) // block) * block
    signal = np.concatenate([np.zeros(warm_up), x, np.zeros(length - len(x))])
    y = np.zeros((len(signal), channels), np.float32)
    waiting = sorted(events, key=lambda event: event[0])
    for start in range(0, len(signal), block):
        while waiting and waiting[0][0] <= start - warm_up:
            _, method, *arguments = waiting.pop(0)
            methods[method](*arguments)
        graph.tick()
        heard[0::2] = signal[start : start + block]
        heard[1::2] = -signal[start : start + block]
        server.process()
        y[start : start + block] = played.reshape(block, channels)
        computed += block
    if check and not eval(check, {"graph": graph, "numbers": numbers, "server": server}):
        sys.exit(f"{check} does not hold: {len(graph.nodes)} nodes, {len(server.getStreams())} streams")
    np.save(result, y[warm_up : warm_up + len(x)])
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    _main(sys.argv[1])
