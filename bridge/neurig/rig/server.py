"""The control process: takes what comes over OSC, keeps the rig's state, plays its predictors, and has a hand on the
audio process.

Requests are done one after the other, in the order in which they came. Setting and asking for parameters does not wait
for files to be read; everything else that a request changes is in place when it is answered.
"""

import asyncio
import logging
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from neurig.interaction import loop
from neurig.osc import Client, OscSocket
from neurig.rig.config import Settings, locate, settle
from neurig.rig.errors import RigError
from neurig.rig.hands import Hands
from neurig.rig.nodes import FILE, TYPES, Param
from neurig.rig.performer import Performer
from neurig.rig.requests import Requests
from neurig.rig.state import Node, Rig
from neurig.rig.subscriptions import Subscriptions
from neurig.rig.supervisor import AudioGone, CannotStart, Supervisor
from neurig.rig.takes import Takes, settle_recording
from neurig.session import Event

log = logging.getLogger("neurig.rig")

_FADE_IN = 0.02  # seconds: of a rig that was just built
_LONGEST_RAMP = 600_000.0  # ms
_FLUSH = 0.002  # seconds: of values that come faster, the audio process gets the last
_MOST_REQUESTS = 20_000  # that may wait while a file is read
_SOUNDING = frozenset(TYPES) - {"predictor"}  # types that are in the audio process


class Server:
    """A rig that is steered over OSC.

    :ivar settings: see ``config.py``
    :ivar rig: its state
    :ivar audio: the audio process
    :ivar osc: the port
    :ivar performers: the predictors, by the names of their nodes
    :ivar hands: the devices that they are played with, by the same names
    :ivar subscriptions: who is told of what
    :ivar takes: the recordings that go on
    :ivar finished: set it, and the server ends
    """

    def __init__(self, settings: Settings, rig: Rig) -> None:
        self.settings = settings
        self.rig = rig
        self.audio = Supervisor(settings.audio, self._restore, self._audio_event)
        self.osc = OscSocket(self._receive, lambda client, problem: self._refuse(
            client, settings.root, RigError("bad_request", problem)))
        self.performers: dict[str, Performer] = {}
        self.hands = {name: Hands(name, devices, lambda name=name: self.performers.get(name))
                      for name, devices in settings.hands.items()}
        self.subscriptions = Subscriptions(self.send)
        self.takes = Takes(self.audio, self._changed)
        self.finished = asyncio.Event()
        self._requests = Requests(self)
        self._waiting: deque[tuple[Client, str, list[Any]]] = deque()
        self._arrived = asyncio.Event()
        self._busy = False
        self._refused = 0
        self._values: dict[tuple[int, str], tuple[Any, float]] = {}  # to be sent to the audio process
        self._flushing: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        self._background: set[asyncio.Task[None]] = set()

    # -- life

    async def run(self, started: Callable[[], None]) -> None:
        """Until it is told to end: by a signal, over OSC, or by setting ``finished``.

        :param started: is called when the rig plays
        :raises CannotStart: where the port cannot be opened, or there is no such audio
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as SIGHUP under nohup
                loop.add_signal_handler(number, self.finished.set)
        host, port = self.settings.host, self.settings.port
        try:
            await self.osc.open(host, port)
        except OSError as problem:
            raise CannotStart(f"{host}:{port} cannot be opened: {problem.strerror or problem}. Is another rig running? "
                              "--port chooses another one") from None
        if not host.startswith("127.") and host != "localhost":
            log.warning("everybody who reaches %s can steer this rig", host)
        audio = asyncio.create_task(self.audio.run())
        finished = asyncio.create_task(self.finished.wait())
        work = asyncio.create_task(self._work())
        start = asyncio.create_task(self._start(started))
        try:
            await asyncio.wait([audio, finished, work], return_when=asyncio.FIRST_COMPLETED)
            for task in (audio, work):
                if task.done():
                    task.result()
        finally:
            for performer in self.performers.values():
                performer.close()
            tasks = [audio, finished, work, start, *self._background]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, *[hands.close() for hands in self.hands.values()], return_exceptions=True)
            self.osc.close()

    async def _start(self, started: Callable[[], None]) -> None:
        for node in self.rig.nodes.values():
            if node.type.name == "predictor":
                performer = self.performers[node.name] = self.performer(node)
                for file in node.files.values():
                    try:
                        await performer.load(locate(file))
                    except RigError as problem:
                        log.error("%s: %s", node.name, problem)
        for hands in self.hands.values():
            await hands.open()
        while not self.audio.is_up:
            try:
                await self.audio.wait_up()
            except RigError:  # it rests; it was said
                await asyncio.sleep(1)
        started()

    # -- the audio process

    @staticmethod
    def wire(node: Node) -> dict[str, Any]:
        """A node as the audio process is told of it."""
        files = {name: locate(file) for name, file in node.files.items()} if node.type.name != "recorder" else {}
        return {"id": node.id, "type": node.type.name, "values": node.values, "files": files}

    async def _restore(self) -> None:
        """Builds the rig in an audio process that has just begun."""
        await self._ask_to_build(self.rig, _FADE_IN, lenient=True)
        await self.takes.resume({node.id for node in self.rig.nodes.values()})
        self._send_values()

    async def build(self, rig: Rig, seconds: float) -> None:
        """Crossfades from the rig that plays to another one.

        :raises RigError: where one of its files cannot be read; the one that plays goes on
        """
        for last in (False, True):
            await self.audio.wait_up()
            try:
                return await self._ask_to_build(rig, seconds, lenient=False)
            except AudioGone:
                if last:
                    raise RigError("failed", "the audio process ended while it did this, twice") from None

    async def _ask_to_build(self, rig: Rig, seconds: float, lenient: bool) -> None:
        nodes = [self.wire(node) for node in rig.nodes.values() if node.type.name in _SOUNDING]
        answer = await self.audio.ask("build", nodes=nodes, connections=rig.edges(rig.connections), seconds=seconds,
                                      lenient=lenient)
        for problem in answer["problems"]:
            log.error("left out: %s", problem)
        by_id = {node.id: node for node in rig.nodes.values()}
        for id_, model in answer["models"].items():
            by_id[int(id_)].fit(model)

    def exchange(self, rig: Rig, performers: dict[str, Performer]) -> None:
        """Another rig, which has just been built, takes the place of this one."""
        for performer in self.performers.values():
            performer.close()
        self.performers = performers
        for hands in self.hands.values():
            hands.silence()
        self.rig = rig
        self._values.clear()
        for node in rig.nodes.values():
            for param in node.params:
                self._changed(node, param)

    def _audio_event(self, message: dict[str, Any]) -> None:
        if "recorded" in message:
            about = message["recorded"]
            self.takes.told(about["id"], about["path"], about["problem"])

    def _send_values(self) -> None:
        """Sends on what has been set since the last time."""
        if self._flushing:
            self._flushing.cancel()
            self._flushing = None
        if self._values and self.audio.ready:
            self.audio.tell("set", values=[(*key, *value) for key, value in self._values.items()])
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

    # -- what comes, and what is answered

    def _receive(self, client: Client, address: str, arguments: list[Any]) -> None:
        """A message has come. Messages that come while a request is being worked on wait for their turn."""
        self.subscriptions.hear(client)
        if not self._busy and not self._waiting and not self._is_request(address):
            self._do_parameter(client, address, arguments)
        elif len(self._waiting) < _MOST_REQUESTS:
            self._waiting.append((client, address, arguments))
            self._arrived.set()
        else:
            if not self._refused:
                log.warning("%d requests are waiting: those that come now are dropped", len(self._waiting))
            self._refused += 1

    def _is_request(self, address: str) -> bool:
        """Is it one word after the root? Parameters have two."""
        return address.startswith(self.settings.root + "/") and "/" not in address[len(self.settings.root) + 1 :]

    async def _work(self) -> None:
        """Does what is waiting, one after the other."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                client, address, arguments = self._waiting.popleft()
                if not self._is_request(address):
                    self._do_parameter(client, address, arguments)
                    continue
                self._busy = True
                try:
                    name = address[len(self.settings.root) + 1 :]
                    self._done(client, address, *await self._requests.do(client, name, arguments))
                except Exception as problem:
                    self._refuse(client, address, problem)
                finally:
                    self._busy = False
            if self._refused:
                log.warning("%d requests were dropped because too many were waiting", self._refused)
                self._refused = 0

    def _do_parameter(self, client: Client, address: str, arguments: list[Any]) -> None:
        try:
            self._parameter(client, address, arguments)
        except Exception as problem:
            self._refuse(client, address, problem)

    def _in_background(self, client: Client, address: str, work: Coroutine[Any, Any, Any]) -> None:
        """Does something that takes longer, while others go on; answers with what it returns."""

        async def guarded() -> None:
            try:
                self._done(client, address, await work)
            except Exception as problem:
                self._refuse(client, address, problem)

        task = asyncio.create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def background_done(self) -> None:
        """Waits for what is done in the background; ten seconds at most."""
        if self._background:
            await asyncio.wait(self._background, timeout=10)

    def send(self, client: Client, address: str, *arguments: Any) -> None:
        try:
            self.osc.send(client, address, list(arguments))
        except (OSError, ValueError) as problem:
            log.warning("no answer to %s:%d: %s", *client[:2], problem)

    def _done(self, client: Client, address: str, *arguments: Any) -> None:
        self.send(client, f"{self.settings.root}/done", address, *arguments)

    def _refuse(self, client: Client, address: str, problem: Exception) -> None:
        if isinstance(problem, AudioGone):
            problem = RigError("failed", "the audio process ended while it did this; what was there before is back")
        elif not isinstance(problem, RigError):  # a mistake of ours
            log.error("%s", address, exc_info=problem)
            problem = RigError("failed", f"{type(problem).__name__}: {problem}")
        self.send(client, f"{self.settings.root}/error", address[:256], problem.code, problem.text)

    # -- /rig/node/parameter

    def _parameter(self, client: Client, address: str, arguments: list[Any]) -> None:
        root = self.settings.root
        if not address.startswith(root + "/"):
            raise RigError("unknown", f"every address here begins with {root}/")
        parts = address[len(root) + 1 :].split("/")
        if len(parts) != 2:
            raise RigError("unknown", f"this is neither a request nor {root}/node/parameter")
        node = self.rig.node(parts[0])
        if node.name in self.performers and parts[1] in ("input", "reset"):
            performer = self.performers[node.name]
            if parts[1] == "input":
                performer.input([_number(argument) for argument in arguments])
            else:
                performer.reset()
                self.silence(node.name)
            return self._done(client, address, *arguments)
        param = node.param(parts[1])
        if not arguments:
            return self.send(client, address, node.values[param.name])
        if len(arguments) > (2 if param.is_number else 1):
            raise RigError("bad_request", f"give {param.name} one value{' and perhaps ms' if param.is_number else ''}")
        value = param.check(arguments[0])
        if param.kind == FILE and node.type.name != "recorder":
            if not value:
                raise RigError("bad_value", f"give {param.name} a path")
            path = settle(str(value), self.settings.base)
            return self._in_background(client, address, self._put(node, param, path))
        if node.type.name == "recorder" and param.name == "record":
            return self._in_background(client, address, self._record(node, int(value)))
        if param.kind == FILE:
            value = settle_recording(str(value), self.settings.base)
        self.check_channel(node, param, value)
        ms = Param("the time", "number", 0, 0, _LONGEST_RAMP, "ms").check(arguments[1]) if arguments[1:] else 0.0
        self._set(node, param, value, float(ms))
        self._done(client, address, value)

    def check_channel(self, node: Node, param: Param, value: Any) -> None:
        """:raises RigError: where the hardware has no such channel"""
        ready = self.audio.ready
        if param.name == "channel" and ready:
            count = ready.inputs if node.type.name == "input" else ready.outputs
            if value > count:
                raise RigError("bad_value", f"there are {count} {node.type.name} channels here, not {value}")

    def _set(self, node: Node, param: Param, value: Any, ms: float = 0.0) -> None:
        node.values[param.name] = value
        if node.name in self.performers:
            self.performers[node.name].set(param.name, value)
            if param.name in ("mode", "run"):
                self.silence(node.name)
        elif node.type.name in _SOUNDING:
            self._set_soon(node, param.name, value, ms)
        self._changed(node, param.name)

    def _changed(self, node: Node, name: str) -> None:
        self.subscriptions.offer(f"{self.settings.root}/{node.name}/{name}", [node.values[name]])

    async def _put(self, node: Node, param: Param, path: str) -> str:
        """Another file for a node."""
        if node.name in self.performers:
            await self.performers[node.name].load(locate(path))
        else:
            await self.audio.wait_up()
            answer = await self.audio.ask("put", id=node.id, type=node.type.name, param=param.name, path=locate(path))
            node.fit(answer["models"].get(str(node.id), {}))
        node.values[param.name] = path
        self._changed(node, param.name)
        return path

    async def _record(self, node: Node, value: int) -> int:
        await (self.takes.start(node) if value else self.takes.stop(node))
        return value

    # -- predictors

    def performer(self, node: Node) -> Performer:
        """What plays a predictor node."""
        return Performer(node.values, lambda event: self._play(node.name, event), lambda: self.silence(node.name))

    def silence(self, name: str) -> None:
        """Ends the notes that a predictor plays on its devices."""
        if name in self.hands:
            self.hands[name].silence()

    def _play(self, name: str, event: Event) -> None:
        """A predictor has played a frame."""
        self.subscriptions.offer(f"{self.settings.root}/{name}/output", list(event.values))
        if name in self.hands:
            self.hands[name].play(event.values)
        for index, x in enumerate(event.values, start=1):
            map_ = self.rig.maps.get((name, index))
            if map_ and map_.param in self.rig.nodes[map_.node].params:
                node = self.rig.nodes[map_.node]
                param = node.params[map_.param]
                value = map_.low + x * (map_.high - map_.low)
                self._set(node, param, value if param.kind == "number" else round(value))


def _number(argument: Any) -> float:
    if not isinstance(argument, (int, float)):
        raise RigError("bad_value", f"a frame is made of numbers, not of {argument!r:.60}")
    return float(argument)


def run(settings: Settings, rig: Rig, started: Callable[[Server], None],
        prepare: Callable[[Server], None] = lambda server: None) -> int:
    """Runs a rig until it is told to end.

    :param started: is called when it plays
    :param prepare: is called before anything starts
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

    return loop.run(main())
