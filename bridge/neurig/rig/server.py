"""The control process: OSC requests, the rig's state, its predictors, and a hand on the audio process.

Requests are done one after the other, in the order in which they came. Setting and asking for parameters does not wait
for files to be read; everything else that a request changes is in place when it is answered.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import neurig
from neurig.files import write_atomic
from neurig.rig.config import Settings, locate, settle, split_address
from neurig.rig.errors import RigError
from neurig.rig.nodes import FILE, TYPES, Param, check_name, hint
from neurig.rig.osc import Client, OscPort
from neurig.rig.performer import Performer
from neurig.rig.state import Node, Rig
from neurig.rig.supervisor import AudioGone, CannotStart, Supervisor
from neurig.session import Event

log = logging.getLogger("neurig.rig")

COMMANDS = ("new", "free", "connect", "disconnect", "chain", "map", "unmap", "save", "load", "list", "ping", "subscribe",
            "unsubscribe", "quit")

_CROSSFADE = 0.05  # seconds, where load is not told how long
_LONGEST_RAMP = 600_000.0  # ms
_FLUSH = 0.002  # seconds: of values that come faster, the audio process gets the last
_MOST_REQUESTS = 20_000  # that may wait while a file is read
_MOST_SUBSCRIPTIONS = 4096


class Subscription:
    """Sends an address's values to one client, not faster than asked for, and always the last one."""

    def __init__(self, send: Callable[[list[Any]], None], rate: float) -> None:
        self._send = send
        self._pause = 1 / rate
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._values: list[Any] = []

    def offer(self, values: list[Any]) -> None:
        self._values = values
        if self._timer:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self._deliver()
        else:
            self._timer = loop.call_at(self._next, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        self._next = asyncio.get_running_loop().time() + self._pause
        self._send(self._values)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()


class Server:
    """A rig that is steered over OSC.

    :ivar rig: its state
    :ivar audio: the audio process
    :ivar osc: the port
    :ivar recorded: is called when a recording has ended, with what went wrong (empty: nothing)
    :ivar finished: set it, and the server ends
    """

    def __init__(self, settings: Settings, rig: Rig) -> None:
        self.rig = rig
        self.settings = settings
        self.audio = Supervisor(settings.audio, self._restore, self._audio_event)
        self.osc = OscPort(self._receive, lambda client, problem: self._refuse(
            client, settings.root, RigError("bad_request", problem)))
        self.finished = asyncio.Event()
        self.recorded: Callable[[str], None] = lambda problem: None
        self._requests: deque[tuple[Client, str, list[Any]]] = deque()
        self._arrived = asyncio.Event()
        self._busy = False
        self._refused = 0
        self._values: dict[tuple[int, str], tuple[Any, float]] = {}  # to be sent to the audio process
        self._flushing: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        self._reading: set[asyncio.Task[None]] = set()
        self._performers: dict[str, Performer] = {}
        self._subscriptions: dict[str, dict[Client, Subscription]] = {}
        self._recordings: dict[int, str] = {}  # paths of those that go on, by node

    # -- life

    async def run(self, started: Callable[[], None]) -> None:
        """Until it is told to end: by a signal, over OSC, or by setting ``finished``.

        :param started: is called when the rig plays
        :raises CannotStart: where the port cannot be opened, or there is no such audio
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.finished.set)
        try:
            await self.osc.open(self.settings.host, self.settings.port)
        except OSError as problem:
            raise CannotStart(f"{self.settings.host}:{self.settings.port} cannot be opened: "
                              f"{problem.strerror or problem}. Is another rig running? --port chooses another one") from None
        if not self.settings.host.startswith("127.") and self.settings.host != "localhost":
            log.warning("everybody who reaches %s can steer this rig", self.settings.host)
        audio = asyncio.create_task(self.audio.run())
        finished = asyncio.create_task(self.finished.wait())
        others = [finished, asyncio.create_task(self._work()), asyncio.create_task(self._start(started))]
        try:
            await asyncio.wait([audio, *others[:2]], return_when=asyncio.FIRST_COMPLETED)
            if audio.done():
                audio.result()
        finally:
            for performer in self._performers.values():
                performer.close()
            for task in (*others, *self._reading, audio):
                task.cancel()
            await asyncio.gather(*others, audio, return_exceptions=True)
            self.osc.close()

    async def _start(self, started: Callable[[], None]) -> None:
        await self._raise_performers(self.rig)
        await self.audio.wait_up()
        started()

    async def _raise_performers(self, rig: Rig) -> None:
        """The predictors of a rig that was read from a file. A model that cannot be read leaves its node without."""
        for node in rig.nodes.values():
            if node.type.name == "predictor":
                performer = self._performers[node.name] = self._performer(node)
                for file in node.files.values():
                    try:
                        await performer.load(locate(file))
                    except RigError as problem:
                        log.error("%s: %s", node.name, problem)

    def record_at_start(self, name: str) -> None:
        """Lets a recorder run from the first block on."""
        node = self.rig.nodes[name]
        self._recordings[node.id] = str(node.values["file"])
        node.values["record"] = 1

    def _performer(self, node: Node) -> Performer:
        return Performer(node.values, lambda event: self._play(node.name, event))

    # -- the audio process

    @staticmethod
    def _wire(node: Node) -> dict[str, Any]:
        """A node as the audio process is told of it."""
        files = {name: locate(file) for name, file in node.files.items()} if node.type.name != "recorder" else {}
        return {"id": node.id, "type": node.type.name, "values": node.values, "files": files}

    def _edges(self, links: Any) -> list[tuple[int, int]]:
        return [(self.rig.nodes[source].id, self.rig.nodes[sink].id) for source, sink, _ in links]

    async def _restore(self) -> None:
        """Builds the rig in an audio process that has just begun."""
        await self._build(self.rig, FADE_IN, lenient=True)
        for id_, path in list(self._recordings.items()):
            node = next(node for node in self.rig.nodes.values() if node.id == id_)
            try:
                await self._ask_to_record(node, path)
            except RigError as problem:
                self._recording_ended(id_, problem.text)
        self._send_values()

    async def _build(self, rig: Rig, seconds: float, lenient: bool) -> None:
        nodes = [self._wire(node) for node in rig.nodes.values() if node.type.name in _SOUNDING]
        edges = [(rig.nodes[source].id, rig.nodes[sink].id) for source, sink, _ in rig.connections]
        answer = await self.audio.ask("build", nodes=nodes, connections=edges, seconds=seconds, lenient=lenient)
        for problem in answer["problems"]:
            log.error("left out: %s", problem)
        by_id = {node.id: node for node in rig.nodes.values()}
        for id_, knobs in answer["knobs"].items():
            by_id[int(id_)].fit_knobs(Param(name, "number", *rest) for name, *rest in knobs)

    async def _sure(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """Asks the audio process; once more where it ended meanwhile and was brought back without what was asked."""
        for last in (False, True):
            await self.audio.wait_up()
            try:
                return await request()
            except AudioGone:
                if last:
                    raise RigError("failed", "the audio process ended while it did this, twice") from None

    def _audio_event(self, message: dict[str, Any]) -> None:
        if "recorded" in message:
            about = message["recorded"]
            if self._recordings.get(about["id"]) == about["path"]:
                self._recording_ended(about["id"], about["problem"])

    def _send_values(self) -> None:
        """Sends on what has been set since the last time."""
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        if self._values and self.audio.ready:
            self.audio.tell("set", values=[(id_, name, value, ms) for (id_, name), (value, ms) in self._values.items()])
            self._values.clear()
        self._flushed = time.monotonic()

    def _set_soon(self, node: Node, name: str, value: Any, ms: float) -> None:
        self._values[node.id, name] = value, ms
        if not self.audio.is_up:
            return  # _restore does it
        wait = self._flushed + _FLUSH - time.monotonic()
        if wait <= 0:
            self._send_values()
        elif not self._flushing:
            self._flushing = asyncio.get_running_loop().call_later(wait, self._send_values)

    # -- requests

    def _receive(self, client: Client, address: str, arguments: list[Any]) -> None:
        """A message has come. Requests that come while one is being worked on wait for their turn."""
        if not self._busy and not self._requests and not self._is_command(address):
            self._try(client, address, arguments)
        elif len(self._requests) < _MOST_REQUESTS:
            self._requests.append((client, address, arguments))
            self._arrived.set()
        else:
            if not self._refused:
                log.warning("%d requests are waiting: those that come now are refused", len(self._requests))
            self._refused += 1

    def _is_command(self, address: str) -> bool:
        return address.count("/") == self.settings.root.count("/") + 1

    async def _work(self) -> None:
        """Does the requests, one after the other."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._requests:
                client, address, arguments = self._requests.popleft()
                if not self._is_command(address):
                    self._try(client, address, arguments)
                    continue
                self._busy = True
                try:
                    await self._command(client, address, arguments)
                except RigError as problem:
                    self._refuse(client, address, problem)
                except Exception as problem:
                    log.exception("%s", address)
                    self._refuse(client, address, RigError("failed", f"{type(problem).__name__}: {problem}"))
                finally:
                    self._busy = False
            if self._refused:
                log.warning("%d requests were refused because too many were waiting", self._refused)
                self._refused = 0

    def _try(self, client: Client, address: str, arguments: list[Any]) -> None:
        try:
            self._parameter(client, address, arguments)
        except RigError as problem:
            self._refuse(client, address, problem)
        except Exception as problem:
            log.exception("%s", address)
            self._refuse(client, address, RigError("failed", f"{type(problem).__name__}: {problem}"))

    def _refuse(self, client: Client, address: str, problem: RigError) -> None:
        self._send(client, f"{self.settings.root}/error", address[:256], problem.code, problem.text)

    def _done(self, client: Client, address: str, *arguments: Any) -> None:
        self._send(client, f"{self.settings.root}/done", address, *arguments)

    def _send(self, client: Client, address: str, *arguments: Any) -> None:
        try:
            self.osc.send(client, address, list(arguments))
        except (OSError, ValueError) as problem:
            log.warning("no answer to %s:%d: %s", *client[:2], problem)

    # -- /rig/<node>/<param>

    def _parameter(self, client: Client, address: str, arguments: list[Any]) -> None:
        root = self.settings.root
        if not address.startswith(root + "/"):
            raise RigError("unknown", f"every address here begins with {root}/")
        parts = address[len(root) + 1 :].split("/")
        if len(parts) != 2:
            raise RigError("unknown", f"this is neither a command nor {root}/node/parameter")
        node = self.rig.node(parts[0])
        if node.type.name == "predictor" and parts[1] in ("input", "reset"):
            performer = self._performers[node.name]
            if parts[1] == "input":
                performer.input([_number(argument) for argument in arguments])
            else:
                performer.reset()
            return self._done(client, address, *arguments)
        param = node.param(parts[1])
        if not arguments:
            return self._send(client, address, node.values[param.name])
        if len(arguments) > 2 or len(arguments) == 2 and not param.is_number:
            raise RigError("bad_request", f"give {param.name} a value{' and perhaps a time in ms' if param.is_number else ''}")
        value = param.check(arguments[0])
        if param.kind == FILE:
            if node.type.name == "recorder":
                node.values[param.name] = _recording_path(str(value), self.settings.base)
                self._changed(node, param.name)
                return self._done(client, address, node.values[param.name])
            if not value:
                raise RigError("bad_value", f"give {param.name} a path")
            path = settle(str(value), self.settings.base)
            return self._in_background(client, address, self._put(client, address, node, param, path))
        if node.type.name == "recorder" and param.name == "record":
            return self._in_background(client, address, self._record(client, address, node, bool(value)))
        self._check_channel(node, param, value)
        ms = 0.0
        if len(arguments) == 2:
            ms = Param("the time", "number", 0.0, 0, _LONGEST_RAMP, "ms").check(arguments[1])
        self._set(node, param, value, float(ms))
        self._done(client, address, value)

    def _check_channel(self, node: Node, param: Param, value: Any) -> None:
        ready = self.audio.ready
        if param.name == "channel" and ready:
            count = ready.inputs if node.type.name == "input" else ready.outputs
            if value > count:
                raise RigError("bad_value", f"there are {count} {node.type.name} channels here, not {value}")

    def _set(self, node: Node, param: Param, value: Any, ms: float = 0.0) -> None:
        node.values[param.name] = value
        if node.name in self._performers:
            self._performers[node.name].set(param.name, value)
        elif node.type.name in _SOUNDING:
            self._set_soon(node, param.name, value, ms)
        self._changed(node, param.name)

    def _changed(self, node: Node, name: str) -> None:
        self._offer(f"{self.settings.root}/{node.name}/{name}", [node.values[name]])

    def _offer(self, address: str, values: list[Any]) -> None:
        for subscription in self._subscriptions.get(address, {}).values():
            subscription.offer(values)

    def _in_background(self, client: Client, address: str, work: Awaitable[None]) -> None:
        """Something that takes longer, while other requests are done."""

        async def guarded() -> None:
            try:
                await work
            except RigError as problem:
                self._refuse(client, address, problem)
            except AudioGone:
                self._refuse(client, address, RigError("failed", "the audio process ended while it did this; what was "
                                                                 "there before is back"))

        task = asyncio.create_task(guarded())
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _put(self, client: Client, address: str, node: Node, param: Param, path: str) -> None:
        """Another file for a node."""
        if node.name in self._performers:
            await self._performers[node.name].load(locate(path))
        else:
            await self.audio.wait_up()
            answer = await self.audio.ask("put", id=node.id, type=node.type.name, param=param.name, path=locate(path))
            node.fit_knobs(Param(name, "number", *rest) for name, *rest in answer["knobs"].get(str(node.id), []))
        node.values[param.name] = path
        self._changed(node, param.name)
        self._done(client, address, path)

    async def _record(self, client: Client, address: str, node: Node, start: bool) -> None:
        going_on = node.id in self._recordings
        if start and not going_on:
            if not node.values["file"]:
                raise RigError("bad_value", f"set {self.settings.root}/{node.name}/file first")
            path = self._recordings[node.id] = _unused(str(node.values["file"]))
            try:
                if self.audio.is_up:
                    await self._ask_to_record(node, path)
            except AudioGone:
                pass  # _restore does it
            except RigError:
                self._recordings.pop(node.id, None)
                raise
            await self.audio.wait_up()
            node.values["record"] = 1
            self._changed(node, "record")
        elif not start and going_on:
            await self._sure(lambda: self.audio.ask("stop_record", id=node.id))
            while node.id in self._recordings:  # until the file is closed
                await asyncio.sleep(0.01)
        self._done(client, address, int(start))

    async def _ask_to_record(self, node: Node, path: str) -> None:
        """The path was unused when the recording began: what is there now is the recording's own beginning."""
        await self.audio.ask("record", id=node.id, path=path, length=node.values["length"], resume=os.path.exists(path))

    def _recording_ended(self, id_: int, problem: str) -> None:
        path = self._recordings.pop(id_)
        if problem:
            log.error("the recording %s ended early: %s", path, problem)
        for node in self.rig.nodes.values():
            if node.id == id_:
                node.values["record"] = 0
                self._changed(node, "record")
        self.recorded(problem)

    # -- commands

    async def _command(self, client: Client, address: str, arguments: list[Any]) -> None:
        root = self.settings.root
        name = address[len(root) + 1 :]
        if not address.startswith(root + "/") or name not in COMMANDS:
            raise RigError("unknown", f"there is no request {address[:100]!r}{hint(name, COMMANDS)}: there are "
                                      f"{', '.join(COMMANDS)}, and {root}/node/parameter")
        answer = await getattr(self, "_" + name)(client, *_arguments(name, arguments))
        self._done(client, address, *(arguments if answer is None else answer))

    async def _ping(self, client: Client) -> list[Any]:
        return [neurig.__version__]

    async def _quit(self, client: Client) -> None:
        asyncio.get_running_loop().call_later(0.02, self.finished.set)  # when the answer is on its way

    async def _new(self, client: Client, name: Any, type_name: Any, *pairs: Any) -> list[Any]:
        if len(pairs) % 2 or not all(isinstance(key, str) for key in pairs[::2]):
            raise RigError("bad_request", "after the type come parameters and values, in pairs")
        values = dict(zip(pairs[::2], pairs[1::2], strict=True))
        if values.pop("record", 0):
            raise RigError("bad_value", "make the recorder first, then set record")
        node = self.rig.make(name, type_name, values)
        for param, file in node.files.items():
            node.values[param] = (_recording_path(file, self.settings.base) if node.type.name == "recorder"
                                  else settle(file, self.settings.base))
        for param in node.type.params:
            if param.name in values:
                self._check_channel(node, param, node.values[param.name])
        if node.type.name == "predictor":
            performer = self._performer(node)
            for file in node.files.values():
                await performer.load(locate(file))
            self._performers[node.name] = performer
        else:
            answer = await self._sure(lambda: self.audio.ask("new", node=self._wire(node)))
            asked = set(node.values)
            node.fit_knobs(Param(knob, "number", *rest) for knob, *rest in answer["knobs"].get(str(node.id), []))
            if unknown := asked - node.params.keys():
                self.audio.tell("free", id=node.id)
                node.param(unknown.pop())  # says what there is
        self.rig.add(node)
        return [node.name, node.type.name]

    async def _free(self, client: Client, name: Any) -> None:
        node = self.rig.node(name)
        if performer := self._performers.pop(node.name, None):
            performer.close()
        else:
            await self._sure(lambda: self.audio.ask("free", id=node.id))
        self.rig.remove(node.name)
        self._recordings.pop(node.id, None)

    async def _connect(self, client: Client, source: Any, sink: Any, number: Any = 1) -> None:
        await self._add_links(self.rig.check_connections([(source, sink, number)]))

    async def _chain(self, client: Client, *names: Any) -> None:
        await self._add_links(self.rig.check_chain(list(names)))

    async def _add_links(self, links: list[Any]) -> None:
        if links:
            await self._sure(lambda: self.audio.ask("connect", edges=self._edges(links)))
            self.rig.connect(links)

    async def _disconnect(self, client: Client, source: Any, sink: Any) -> None:
        links = self.rig.links_between(source, sink)
        await self._sure(lambda: self.audio.ask("disconnect", edges=self._edges(links)))
        self.rig.disconnect(links)

    async def _map(self, client: Client, predictor: Any, index: Any, address: Any, low: Any = None,
                   high: Any = None) -> None:
        self.rig.map(predictor, index, *split_address(address, self.settings.root), low, high)

    async def _unmap(self, client: Client, predictor: Any, index: Any) -> None:
        self.rig.unmap(predictor, index)

    async def _save(self, client: Client, name: Any) -> None:
        path = self._state_file(name)
        if self._reading:  # a model that is on its way belongs to the state
            await asyncio.wait(self._reading, timeout=10)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, self.rig.to_json())
        except OSError as problem:
            raise RigError("bad_file", f"{path}: {problem.strerror or problem}") from None

    async def _load(self, client: Client, name: Any, seconds: Any = _CROSSFADE) -> None:
        path = self._state_file(name)
        seconds = Param("the time", "number", 0.0, 0, 600, "s").check(seconds)
        try:
            rig = Rig.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RigError("not_found", f"nothing was saved as {name}") from None
        except (OSError, UnicodeDecodeError) as problem:
            raise RigError("bad_file", f"{path}: {problem}") from None
        except RigError as problem:
            raise RigError("bad_file", f"{path}: {problem.text}") from None
        for node in rig.nodes.values():
            for file in node.files.values():
                if node.type.name != "recorder":
                    settle(file, self.settings.base)
        predictors = {}
        for node in rig.nodes.values():
            if node.type.name == "predictor":
                predictors[node.name] = self._performer(node)
        try:
            for node_name, performer in predictors.items():
                for file in rig.nodes[node_name].files.values():
                    await performer.load(locate(file))
            await self._sure(lambda: self._build(rig, float(seconds), lenient=False))
        except RigError:
            for performer in predictors.values():
                performer.close()
            raise
        for performer in self._performers.values():
            performer.close()
        self._performers = predictors
        self.rig = rig
        self._values.clear()
        for node in rig.nodes.values():
            for param in node.params:
                self._changed(node, param)

    def _state_file(self, name: Any) -> Path:
        return self.settings.states / f"{check_name(name)}.json"

    async def _list(self, client: Client, kind: Any = "", of: Any = "") -> None:
        address = f"{self.settings.root}/list"
        if kind == "":
            for node in self.rig.nodes.values():
                self._send(client, address, "node", node.name, node.type.name)
            for source, sink, number in self.rig.connections:
                self._send(client, address, "connection", source, sink, number)
            for (predictor, index), map_ in self.rig.maps.items():
                self._send(client, address, "map", predictor, index, f"{self.settings.root}/{map_.node}/{map_.param}",
                           map_.low, map_.high)
        elif kind == "types":
            for type_ in TYPES:
                self._send(client, address, "type", type_)
        elif kind == "params":
            for owner, param, value in self._params(of):
                self._send(client, address, "param", owner, param.name, float(param.low), float(param.high),
                           param.default, param.unit, value)
        elif kind == "states":
            for path in sorted(self.settings.states.glob("*.json")):
                self._send(client, address, "state", path.stem)
        else:
            raise RigError("unknown", f"there is no list of {str(kind)[:60]!r}: there are types, params and states")

    def _params(self, of: Any) -> list[tuple[str, Param, Any]]:
        if of == "":
            return [(node.name, param, node.values[name]) for node in self.rig.nodes.values()
                    for name, param in node.params.items()]
        if isinstance(of, str) and of in self.rig.nodes:
            node = self.rig.nodes[of]
            return [(of, param, node.values[name]) for name, param in node.params.items()]
        if isinstance(of, str) and of in TYPES:
            return [(of, param, param.default) for param in TYPES[of].params]
        raise RigError("not_found", f"there is neither a node nor a type {str(of)[:60]!r}{hint(of, self.rig.nodes)}")

    async def _subscribe(self, client: Client, address: Any, rate: Any = 30.0) -> None:
        rate = Param("the rate", "number", 30.0, 0.1, 1000, "per second").check(rate)
        node_name, name = split_address(address, self.settings.root)
        node = self.rig.node(node_name)
        if not (node.type.name == "predictor" and name == "output"):
            node.param(name)
        if sum(map(len, self._subscriptions.values())) >= _MOST_SUBSCRIPTIONS:
            raise RigError("unavailable", f"there are {_MOST_SUBSCRIPTIONS} subscriptions already")
        clients = self._subscriptions.setdefault(address, {})
        if client in clients:
            clients[client].close()
        clients[client] = Subscription(lambda values: self._send(client, address, *values), float(rate))

    async def _unsubscribe(self, client: Client, address: Any) -> None:
        subscription = self._subscriptions.get(address, {}).pop(client, None) if isinstance(address, str) else None
        if subscription is None:
            raise RigError("not_found", f"{str(address)[:100]} was not subscribed to from here")
        subscription.close()
        if not self._subscriptions[address]:
            del self._subscriptions[address]

    # -- predictors

    def _play(self, name: str, event: Event) -> None:
        """A predictor has played a frame."""
        self._offer(f"{self.settings.root}/{name}/output", list(event.values))
        for index, x in enumerate(event.values, start=1):
            map_ = self.rig.maps.get((name, index))
            if map_ is None:
                continue
            node = self.rig.nodes[map_.node]
            if map_.param in node.params:
                param = node.params[map_.param]
                value = map_.low + x * (map_.high - map_.low)
                self._set(node, param, value if param.kind == "number" else round(value))


_SOUNDING = frozenset(TYPES) - {"predictor"}
FADE_IN = 0.02  # seconds: of a rig that was just built

_COUNTS = {"new": (2, 999), "free": (1, 1), "connect": (2, 3), "disconnect": (2, 2), "chain": (2, 999), "map": (3, 5),
           "unmap": (2, 2), "save": (1, 1), "load": (1, 2), "list": (0, 2), "ping": (0, 0), "subscribe": (1, 2),
           "unsubscribe": (1, 1), "quit": (0, 0)}
_FORMS = {"new": "name type [parameter value …]", "free": "name", "connect": "from to [input]", "disconnect": "from to",
          "chain": "from to …", "map": "predictor index address [low high]", "unmap": "predictor index", "save": "name",
          "load": "name [seconds]", "list": "[types | params [node or type] | states]", "ping": "nothing",
          "subscribe": "address [rate]", "unsubscribe": "address", "quit": "nothing"}


def _arguments(name: str, arguments: list[Any]) -> list[Any]:
    low, high = _COUNTS[name]
    if not low <= len(arguments) <= high or name == "map" and len(arguments) == 4:
        raise RigError("bad_request", f"{name} takes {_FORMS[name]}; there were {len(arguments)} arguments")
    return arguments


def _number(argument: Any) -> float:
    if not isinstance(argument, (int, float)):
        raise RigError("bad_value", f"a frame is made of numbers, not of {argument!r:.60}")
    return float(argument)


def _recording_path(file: str, base: Path) -> str:
    """:raises RigError: bad_file where no recording can go there"""
    if not file:
        return ""
    path = base / Path(file).expanduser()
    if path.suffix.lower() != ".wav":
        raise RigError("bad_file", f"{path}: recordings are .wav files")
    if not path.parent.is_dir():
        raise RigError("bad_file", f"{path}: there is no folder {path.parent}")
    return str(path)


def _unused(path: str) -> str:
    """The path, with a number where there is such a file already: no recording is ever written over another."""
    stem, suffix = os.path.splitext(path)
    number = 2
    while os.path.exists(path):
        path, number = f"{stem}-{number}{suffix}", number + 1
    return path


def run(settings: Settings, rig: Rig, started: Callable[[Server], None],
        prepare: Callable[[Server], None] = lambda server: None) -> int:
    """Runs a rig until it is told to end.

    :param started: is called when it plays
    :returns: an exit status
    """

    async def main() -> int:
        server = Server(settings, rig)
        prepare(server)
        try:
            await server.run(lambda: started(server))
        except CannotStart as problem:
            print(f"neurig: {problem}", file=sys.stderr)
            return 1
        return 0

    return asyncio.run(main())
