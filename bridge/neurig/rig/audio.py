"""The audio process: pyo's server with its graph, and one thread that does what the control process says.

It is started as ``python -m neurig.rig.audio SOCKET SETTINGS`` with an inherited socket, over which it first tells
that it is ``ready`` or has ``failed``. Requests then come over it (see ``wire.py``), and each that has a number,
``{"n": 7, "do": "connect", …}``, is answered with that number. The process ends when the other end does.
"""

import contextlib
import ctypes
import faulthandler
import gc
import json
import os
import queue
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from select import select
from typing import Any

os.environ.setdefault("PYO_GUI_WX", "0")

_LOOK_FOR_JACK = 2.0  # seconds between two looks, while the clock stands in for it
_LOOK_AT_WIRES = 0.5  # seconds between two looks at what JACK has connected


class AudioProcess:
    """Lives as long as the process."""

    def __init__(self, link: socket.socket) -> None:
        from neurig.rig.wire import Decoder

        self._link = link
        self._decoder = Decoder()
        self._results: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_in, self._wake_out = os.pipe()
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="reader")
        self._newest: dict[tuple[int, str], int] = {}  # of several files for one parameter, the last asked for
        self._running = True
        self._lost = ""  # why this process cannot go on, in plain words

    # -- starting

    def open(self, settings: dict[str, Any]) -> bool:
        """Boots pyo's server. Tells the control process how that went."""
        from neurig.rig import backends
        from neurig.rig.graph import Graph
        from neurig.rig.wire import BLOCK_SIZE_CHANGED

        try:
            opened = backends.open_backend(settings["backend"], settings, settings["crashed"], settings["fall_back"],
                                           lambda name: self._send({"trying": name}))
        except backends.Unavailable as problem:
            self._send({"failed": str(problem)})
            return False
        self._server, self._clock = opened.server, opened.clock
        self.graph = Graph(opened.server, opened.rate, opened.block, opened.inputs, opened.outputs, BLOCK_SIZE_CHANGED)
        if opened.backend == "clock" != settings["backend"] and settings["fall_back"]:
            threading.Thread(target=self._look_for_jack, name="look for JACK", daemon=True).start()
        if opened.jack_name:
            threading.Thread(target=self._watch_wires, args=[opened.jack_name], name="wires", daemon=True).start()
        import neurig.onnx  # noqa: F401  now: in the middle of a rig's life it would hold the GIL for a few blocks

        gc.collect()
        gc.freeze()
        gc.disable()  # collecting would stop the audio thread, which needs the GIL
        sys.setswitchinterval(5e-4)
        self._server.start()
        if self._clock:
            self._clock.start()
        self._send({"ready": {"backend": opened.backend, "why": opened.why, "rate": opened.rate, "block": opened.block,
                              "inputs": opened.inputs, "outputs": opened.outputs}})
        return True

    # -- the message thread

    def run(self) -> int:
        """Until the control process says so, or is gone. Returns the exit status."""
        while self._running:
            wait = self.graph.tick()
            ready, _, _ = select([self._link, self._wake_in], [], [], min(wait, 0.25))
            if not self._server.getIsBooted():
                self._lost = "the JACK server has gone"
            if self._lost:  # what is asked for now is for the next process
                self._send({"lost": self._lost})
                return 1
            if self._wake_in in ready:
                os.read(self._wake_in, 4096)
                while not self._results.empty():
                    self._results.get()()
            if self._link in ready:
                try:
                    data = self._link.recv(1 << 16)
                except ConnectionResetError:  # the control process ended with something of ours unread
                    data = b""
                if not data:
                    break
                for message in self._decoder.feed(data):
                    self._handle(message)
        self._end()
        return 0

    def _look_for_jack(self) -> None:
        """While the clock stands in for it. On a thread of its own: a JACK server that hangs does not answer."""
        from neurig.rig.backends import JackClient

        while True:
            with JackClient() as jack:
                if jack:
                    break
            time.sleep(_LOOK_FOR_JACK)

        def found() -> None:
            self._lost = "a JACK server is running now"

        self._from_other_thread(found)

    def _watch_wires(self, name: str) -> None:
        """Tells what the rig's ports are connected to, so that the next process can connect them again."""
        from neurig.rig.backends import JackClient

        with JackClient() as jack:
            known = None
            while jack:
                wires = jack.wires(name)
                if wires != known and self._server.getIsBooted():
                    known = wires
                    self._from_other_thread(lambda wires=wires: self._send({"wires": wires}))
                time.sleep(_LOOK_AT_WIRES)

    def _end(self) -> None:
        self._server.setAmp(0)
        recordings = list(filter(None, (getattr(node, "recording", None) for node in self.graph.nodes.values())))
        for recording in recordings:
            recording.stop()
        time.sleep(0.03)
        for recording in recordings:
            recording.wait(0.3)

    def _handle(self, message: dict[str, Any]) -> None:
        from neurig.rig.errors import RigError

        number = message.get("n")
        try:
            answer = getattr(self, "do_" + message["do"])(message)
        except RigError as problem:
            self._answer(number, error=[problem.code, problem.text])
        except Exception as problem:  # a mistake of ours must not silence the rig
            if self._server.getIsBooted():
                self._answer(number, error=["failed", f"{type(problem).__name__}: {problem}"])
        else:
            if answer is not _LATER:
                self._answer(number, **(answer or {}))

    def _answer(self, number: int | None, **answer: Any) -> None:
        if number is not None:
            self._send({"n": number} | answer)

    def _send(self, message: dict[str, Any]) -> None:
        from neurig.rig.wire import encode

        with contextlib.suppress(OSError):  # the control process has gone: run() will notice
            self._link.sendall(encode(message))

    def _from_other_thread(self, do: Callable[[], None]) -> None:
        self._results.put(do)
        os.write(self._wake_out, b".")

    # -- requests

    def do_ping(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"samples": self._server.getCurrentTimeInSamples(), "faults": self.graph.faults}

    def do_quit(self, message: dict[str, Any]) -> None:
        self._running = False

    def do_new(self, message: dict[str, Any]) -> Any:
        """One more node. Answered when its files are read."""
        return self._read([message["node"]], message["n"], lambda files: self._add([message["node"]], files))

    def do_build(self, message: dict[str, Any]) -> Any:
        """A whole rig in place of the one there is; crossfades. With ``lenient``, files that cannot be read are left
        out, and named in the answer."""

        def build(files: dict[tuple[int, str], Any]) -> dict[str, Any]:
            old = list(self.graph.nodes)
            answer = self._add(message["nodes"], files)
            self.graph.connect(message["connections"])
            self.graph.crossfade(old, message["seconds"])
            return answer

        return self._read(message["nodes"], message["n"], build, message["lenient"])

    def do_free(self, message: dict[str, Any]) -> None:
        self.graph.remove(message["id"])

    def do_connect(self, message: dict[str, Any]) -> None:
        self.graph.connect(message["edges"])

    def do_disconnect(self, message: dict[str, Any]) -> None:
        self.graph.disconnect(message["edges"])

    def do_set(self, message: dict[str, Any]) -> None:
        for number, name, value, ms in message["values"]:
            if number in self.graph.nodes:
                self.graph.nodes[number].set(name, value, ms / 1000)

    def do_put(self, message: dict[str, Any]) -> Any:
        """Another file for a parameter. Where several are asked for in short order, the last one counts."""
        from neurig.rig.errors import RigError

        number, name = message["id"], message["param"]
        self._newest[number, name] = message["n"]

        def put(files: dict[tuple[int, str], Any]) -> dict[str, Any]:
            if self._newest.get((number, name)) != message["n"]:
                raise RigError("failed", f"another {name} was asked for before this one was read")
            del self._newest[number, name]
            if number not in self.graph.nodes:
                raise RigError("not_found", "the node has been freed meanwhile")
            content = files[number, name]
            self.graph.nodes[number].put(name, content)
            return {"models": {number: _about(content)}}

        node = {"id": number, "type": message["type"], "files": {name: message["path"]}}
        return self._read([node], message["n"], put)

    def do_record(self, message: dict[str, Any]) -> None:
        node: Any = self.graph.nodes[message["id"]]

        def ended(recording: Any) -> None:
            about = {"id": message["id"], "path": recording.path, "problem": recording.problem}
            self._from_other_thread(lambda: self._send({"recorded": about}))

        node.record(message["path"], message["length"], message["resume"], ended)

    def do_stop_record(self, message: dict[str, Any]) -> None:
        node: Any = self.graph.nodes.get(message["id"])
        if node and node.recording:
            node.recording.stop()

    # -- files

    def _read(self, nodes: list[dict[str, Any]], number: int, then: Callable[[dict[tuple[int, str], Any]], Any],
              lenient: bool = False) -> Any:
        """Reads the files of nodes on other threads, then does something with them here, and answers."""
        from neurig.rig.errors import RigError
        from neurig.rig.graph import read

        def attempt(*what: Any) -> Any:
            try:
                return read(*what)
            except RigError as problem:
                return RigError(problem.code, problem.text)  # without a traceback, which would make a ring

        wanted = [(node["id"], name, node["type"], path) for node in nodes for name, path in node["files"].items()]
        futures = {(id_, name): self._readers.submit(attempt, type_, path, self.graph.rate, self.graph.block)
                   for id_, name, type_, path in wanted}

        def finish() -> None:
            files, problems = {}, []
            try:
                for key, future in futures.items():
                    content = future.result()
                    if not isinstance(content, RigError):
                        files[key] = content
                    elif lenient:
                        problems.append(content.text)
                    else:
                        raise RigError(content.code, content.text)
                answer = then(files)
            except RigError as problem:
                self._answer(number, error=[problem.code, problem.text])
            except Exception as problem:
                self._answer(number, error=["failed", f"{type(problem).__name__}: {problem}"])
            else:
                self._answer(number, problems=problems, **answer)
            finally:
                futures.clear()  # they know this function, and without a collector such a ring would stay for ever

        waiting = len(futures)
        if not waiting:
            finish()
            return _LATER

        def one_done(_: Any) -> None:
            def count_down() -> None:
                nonlocal waiting
                waiting -= 1
                if not waiting:
                    finish()

            self._from_other_thread(count_down)

        for future in futures.values():
            future.add_done_callback(one_done)
        return _LATER

    def _add(self, nodes: list[dict[str, Any]], files: dict[tuple[int, str], Any]) -> dict[str, Any]:
        models = {}
        for node in nodes:
            own = {name: files[node["id"], name] for name in node["files"] if (node["id"], name) in files}
            self.graph.add(node["id"], node["type"], node["values"], own)
            for content in own.values():
                models[node["id"]] = _about(content)
        return {"models": models}


_LATER = object()  # the answer comes later


def _about(content: Any) -> dict[str, Any]:
    """What the control process knows of a model."""
    knobs = [[knob.name, knob.default, knob.low, knob.high] for knob in getattr(content, "knobs", [])]
    return {"knobs": knobs, "latency": getattr(content, "latency", 0)}


def prepare_process() -> None:
    """Makes this an audio process: in front of others, in memory, and gone when the one that started it is."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the control process gets them too, and says when it is over
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)  # before other programs, where that is allowed
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(-3, 1 << 18)  # M_MMAP_THRESHOLD: what sound files took goes back to the system
        libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphan, even if this process hangs
        # With a limit, later allocations would fail.
        if os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
            libc.mlockall(1 | 2 | 4)  # MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT


def main(descriptor: int, settings: dict[str, Any]) -> None:
    prepare_process()
    os.set_inheritable(descriptor, False)
    process = AudioProcess(socket.socket(fileno=descriptor))
    status = process.run() if process.open(settings) else 1
    sys.stderr.flush()
    os._exit(status)  # nothing is left to do, and neither pyo's threads nor JACK's shall hold it up


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
