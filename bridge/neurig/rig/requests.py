"""The requests that build a rig: ``/rig/new``, ``/rig/connect``, ``/rig/load`` and the others, one method each."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import neurig
from neurig.files import write_atomic
from neurig.osc import Client
from neurig.rig.config import locate, settle, split_address
from neurig.rig.errors import RigError
from neurig.rig.nodes import TYPES, Param, check_name, hint
from neurig.rig.state import Connection, Rig
from neurig.rig.takes import settle_recording

if TYPE_CHECKING:
    from neurig.rig.server import Server

FORMS = {
    "new": "name type [parameter value …]", "free": "name", "connect": "from to [input]", "disconnect": "from to",
    "chain": "from to …", "map": "predictor index address [low high]", "unmap": "predictor index", "save": "name",
    "load": "name [seconds]", "list": "[types | params [node or type] | states]", "ping": "nothing",
    "subscribe": "address [rate]", "unsubscribe": "address", "quit": "nothing",
}
"""What each takes, in words."""
_COUNTS = {
    "new": (2, 999), "free": (1, 1), "connect": (2, 3), "disconnect": (2, 2), "chain": (2, 999), "map": (3, 5),
    "unmap": (2, 2), "save": (1, 1), "load": (1, 2), "list": (0, 2), "ping": (0, 0), "subscribe": (1, 2),
    "unsubscribe": (1, 1), "quit": (0, 0),
}

_CROSSFADE = 0.05  # seconds, where load is not told how long


class Requests:
    """Does them for a server, one at a time. Those that fail raise RigError, and everything is as it was."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    async def do(self, client: Client, name: str, arguments: list[Any]) -> list[Any]:
        """:returns: the arguments of the answer ``done``
        :raises RigError: where it is refused
        """
        if name not in FORMS:
            root = self._server.settings.root
            raise RigError("unknown", f"there is no request {root}/{name[:60]}{hint(name, FORMS)}: there are "
                                      f"{', '.join(FORMS)}, and {root}/node/parameter")
        low, high = _COUNTS[name]
        if not low <= len(arguments) <= high or (name == "map" and len(arguments) == 4):
            raise RigError("bad_request", f"{name} takes {FORMS[name]}; there were {len(arguments)} arguments")
        answer = await getattr(self, "_" + name)(client, *arguments)
        return arguments if answer is None else answer

    async def _ping(self, client: Client) -> list[Any]:
        return [neurig.__version__]

    async def _quit(self, client: Client) -> None:
        asyncio.get_running_loop().call_later(0.02, self._server.finished.set)  # when the answer is on its way

    # -- nodes

    async def _new(self, client: Client, name: Any, type_name: Any, *pairs: Any) -> list[Any]:
        server = self._server
        if len(pairs) % 2 or not all(isinstance(key, str) for key in pairs[::2]):
            raise RigError("bad_request", "after the type come parameters and values, in pairs")
        values = dict(zip(pairs[::2], pairs[1::2], strict=True))
        if values.pop("record", 0):
            raise RigError("bad_value", "make the recorder first, then set record")
        node = server.rig.make(name, type_name, values)
        for file_param, file in node.files.items():
            node.values[file_param] = (settle_recording if node.type.name == "recorder" else settle)(
                file, server.settings.base)
        for param in node.type.params:
            if param.name in values:
                server.check_channel(node, param, node.values[param.name])
        if node.type.name == "predictor":
            performer = server.performer(node)
            for file in node.files.values():
                await performer.load(locate(file))
            server.performers[node.name] = performer
        else:
            answer = await server.audio.sure("new", node=server.wire(node))
            asked = set(node.values)
            node.fit(answer["models"].get(str(node.id), {}))
            if unknown := asked - node.params.keys():
                server.audio.tell("free", id=node.id)
                node.param(unknown.pop())  # says what there is
        server.rig.add(node)
        return [node.name, node.type.name]

    async def _free(self, client: Client, name: Any) -> None:
        server = self._server
        node = server.rig.node(name)
        if performer := server.performers.pop(node.name, None):
            performer.close()
            server.silence(node.name)
        else:
            await server.audio.sure("free", id=node.id)
        server.rig.remove(node.name)
        server.takes.forget(node)

    # -- connections and maps

    async def _connect(self, client: Client, source: Any, sink: Any, number: Any = 1) -> None:
        await self._add(self._server.rig.check_connections([(source, sink, number)]))

    async def _chain(self, client: Client, *names: Any) -> None:
        await self._add(self._server.rig.check_chain(list(names)))

    async def _add(self, links: list[Connection]) -> None:
        if links:
            await self._server.audio.sure("connect", edges=self._server.rig.edges(links))
            self._server.rig.connect(links)

    async def _disconnect(self, client: Client, source: Any, sink: Any) -> None:
        links = self._server.rig.links_between(source, sink)
        await self._server.audio.sure("disconnect", edges=self._server.rig.edges(links))
        self._server.rig.disconnect(links)

    async def _map(self, client: Client, predictor: Any, index: Any, address: Any, low: Any = None,
                   high: Any = None) -> None:
        server = self._server
        performer = server.performers.get(server.rig.node(predictor).name)
        known = {"values": performer.dimension - 1} if performer and performer.dimension else {}
        server.rig.map(predictor, index, *split_address(address, server.settings.root), low, high, **known)

    async def _unmap(self, client: Client, predictor: Any, index: Any) -> None:
        self._server.rig.unmap(predictor, index)

    # -- states

    async def _save(self, client: Client, name: Any) -> None:
        path = self._state_file(name)
        await self._server.background_done()  # a model that is on its way belongs to the state
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, self._server.rig.to_json())
        except OSError as problem:
            raise RigError("bad_file", f"{path}: {problem.strerror or problem}") from None

    async def _load(self, client: Client, name: Any, seconds: Any = _CROSSFADE) -> None:
        server = self._server
        path = self._state_file(name)
        seconds = Param("the time", "number", 0.0, 0, 600, "s").check(seconds)
        rig = self._read(path, name)
        performers = {}
        try:
            for node in rig.nodes.values():
                if node.type.name == "predictor":
                    performers[node.name] = server.performer(node)
                    for file in node.files.values():
                        await performers[node.name].load(locate(file))
            await server.build(rig, float(seconds))
        except RigError:
            for performer in performers.values():
                performer.close()
            raise
        server.exchange(rig, performers)

    def _read(self, path: Path, name: str) -> Rig:
        """A saved rig, all of whose files are there."""
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
                    settle(file, self._server.settings.base)
        return rig

    def _state_file(self, name: Any) -> Path:
        return self._server.settings.states / f"{check_name(name)}.json"

    # -- questions

    async def _list(self, client: Client, kind: Any = "", of: Any = "") -> None:
        server, root = self._server, self._server.settings.root

        def tell(*values: Any) -> None:
            server.send(client, f"{root}/list", *values)

        if kind == "":
            for node in server.rig.nodes.values():
                tell("node", node.name, node.type.name)
            for source, sink, number in server.rig.connections:
                tell("connection", source, sink, number)
            for (predictor, index), map_ in server.rig.maps.items():
                tell("map", predictor, index, f"{root}/{map_.node}/{map_.param}", map_.low, map_.high)
        elif kind == "types":
            for type_ in TYPES:
                tell("type", type_)
        elif kind == "params":
            for owner, param, value in self._params(of):
                tell("param", owner, param.name, float(param.low), float(param.high), param.default, param.unit, value)
        elif kind == "latency":
            for node in server.rig.nodes.values():
                if node.latency:
                    tell("latency", node.name, node.latency)
        elif kind == "states":
            for path in sorted(server.settings.states.glob("*.json")):
                tell("state", path.stem)
        else:
            raise RigError("unknown",
                           f"there is no list of {str(kind)[:60]!r}: there are types, params, latency and states")

    def _params(self, of: Any) -> list[tuple[str, Param, Any]]:
        nodes = self._server.rig.nodes
        if of == "":
            return [(node.name, param, node.values[name]) for node in nodes.values()
                    for name, param in node.params.items()]
        if isinstance(of, str) and of in nodes:
            return [(of, param, nodes[of].values[name]) for name, param in nodes[of].params.items()]
        if isinstance(of, str) and of in TYPES:
            return [(of, param, param.default) for param in TYPES[of].params]
        raise RigError("not_found", f"there is neither a node nor a type {str(of)[:60]!r}{hint(of, nodes)}")

    async def _subscribe(self, client: Client, address: Any, rate: Any = 30.0) -> None:
        rate = Param("the rate", "number", 30.0, 0.1, 1000, "per second").check(rate)
        node_name, name = split_address(address, self._server.settings.root)
        node = self._server.rig.node(node_name)
        if not (node.type.name == "predictor" and name == "output"):
            node.param(name)
        self._server.subscriptions.add(client, address, float(rate))

    async def _unsubscribe(self, client: Client, address: Any) -> None:
        self._server.subscriptions.remove(client, address)
