"""A rig as data: its nodes, how they are connected, and what the predictors move.

The control process holds one; from it the audio process is built, again and again where need be, and it is what
``save`` writes into a file.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Any

from neurig.rig.errors import RigError
from neurig.rig.nodes import FILE, INTEGER, KNOB, NUMBER, NodeType, Param, Value, check_name, find_type, hint

FORMAT = "neurig-rig"
VERSION = 1

_ids = count(1)


@dataclass
class Node:
    """:ivar id: a number of its own in the audio process; names may be used again, ids are not
    :ivar values: of all parameters
    :ivar knobs: of an amp whose model has knobs of its own
    :ivar latency: samples that its output lags behind its input
    """

    name: str
    type: NodeType
    values: dict[str, Value]
    knobs: dict[str, Param] = field(default_factory=dict)
    latency: int = 0
    id: int = field(default_factory=lambda: next(_ids))

    @property
    def params(self) -> dict[str, Param]:
        return {param.name: param for param in self.type.params} | self.knobs

    def param(self, name: str) -> Param:
        """:raises RigError: unknown where the node has no such parameter"""
        params = self.params
        if name not in params:
            raise RigError("unknown", f"{self.name} ({self.type.name}) has no parameter {name!r}{hint(name, params)}: "
                                      f"it has {', '.join(params)}")
        return params[name]

    def fit(self, model: Mapping[str, Any]) -> None:
        """Takes over the knobs and the latency of a model that was just loaded. Values of equal names stay.

        :param model: ``knobs``, of each its name, default, low and high; and ``latency``; empty where none was loaded
        """
        knobs = model.get("knobs", [])
        self.latency = model.get("latency", 0)
        own = {param.name for param in self.type.params}
        fresh = {knob[0]: Param(knob[0], NUMBER, *knob[1:], text=KNOB) for knob in knobs if knob[0] not in own}
        for name in self.knobs.keys() - fresh.keys():
            self.values.pop(name, None)
        self.knobs = fresh
        for name, param in fresh.items():
            self.values.setdefault(name, param.default)

    @property
    def files(self) -> dict[str, str]:
        """The file parameters that are set."""
        return {param.name: str(self.values[param.name]) for param in self.type.params
                if param.kind == FILE and self.values[param.name]}


@dataclass(frozen=True)
class Map:
    """A predictor's value that moves a parameter: 0..1 becomes low..high."""

    node: str
    param: str
    low: float
    high: float


Connection = tuple[str, str, int]  # from, to, the number of the input


class Rig:
    """:ivar nodes: by name, in the order in which they were made
    :ivar connections: in the order in which they were made
    :ivar maps: by predictor and index
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.connections: dict[Connection, None] = {}
        self.maps: dict[tuple[str, int], Map] = {}

    # -- nodes

    def node(self, name: Any) -> Node:
        """:raises RigError: not_found where there is no such node"""
        if not isinstance(name, str) or name not in self.nodes:
            raise RigError("not_found", f"there is no node {str(name)[:64]!r}{hint(name, self.nodes)}")
        return self.nodes[name]

    def make(self, name: Any, type_name: Any, values: Mapping[str, Any]) -> Node:
        """A node that is not part of the rig yet.

        A node with a model takes values of names that it does not know: they may be the model's knobs.
        """
        name = check_name(name)
        if name in self.nodes:
            raise RigError("exists", f"there is a node {name} already ({self.nodes[name].type.name})")
        type_ = find_type(type_name)
        node = Node(name, type_, {param.name: param.default for param in type_.params})
        for key, value in values.items():
            if key not in node.values and type_.name in ("amp", "ir") and (values.get("model") or values.get("file")):
                try:
                    node.values[key] = Param(key, NUMBER, 0.5).check(value)
                except RigError as problem:
                    raise RigError(problem.code, problem.text + hint(key, node.values)) from None
            else:
                node.values[key] = node.param(key).check(value)
        return node

    def add(self, node: Node) -> None:
        self.nodes[node.name] = node

    def remove(self, name: str) -> None:
        """Takes a node away, with its connections and maps."""
        del self.nodes[name]
        self.connections = {link: None for link in self.connections if name not in link[:2]}
        self.maps = {key: map_ for key, map_ in self.maps.items() if name not in (key[0], map_.node)}

    # -- connections

    def check_connections(self, pairs: Iterable[tuple[Any, Any, Any]]) -> list[Connection]:
        """The connections of a list that are not there yet.

        :raises RigError: where one is impossible; bad_value where they would make a loop
        """
        fresh: dict[Connection, None] = {}
        for source, sink, number in pairs:
            for name, count_, what in ((source, self.node(source).type.outputs, "output"),
                                       (sink, self.node(sink).type.inputs, "input")):
                if not count_:
                    raise RigError("bad_value", f"{name} ({self.node(name).type.name}) has no {what}")
            if not isinstance(number, (int, float)) or not 1 <= number <= self.node(sink).type.inputs:
                raise RigError("bad_value", f"{sink} has {self.node(sink).type.inputs} input, counted from 1; "
                                            f"there is no {str(number)[:20]}")
            link = (source, sink, int(number))
            if link in self.connections or link in fresh:
                continue
            if way := self._way(sink, source, [*self.connections, *fresh]):
                raise RigError("bad_value", f"{source} to {sink} would make a loop: {' > '.join([*way, sink])}")
            fresh[link] = None
        return list(fresh)

    @staticmethod
    def _way(start: str, goal: str, links: list[Connection]) -> list[str] | None:
        """The nodes on a way from start to goal, if there is one."""
        ways, seen = [[start]], {start}
        while ways:
            way = ways.pop()
            if way[-1] == goal:
                return way
            for source, sink, _ in links:
                if source == way[-1] and sink not in seen:
                    seen.add(sink)
                    ways.append([*way, sink])
        return None

    def check_chain(self, names: list[Any]) -> list[Connection]:
        """:raises RigError: where the nodes cannot be connected one after the other"""
        if len(names) < 2:
            raise RigError("bad_request", "a chain has at least two nodes")
        return self.check_connections((a, b, 1) for a, b in pairwise(names))

    def edges(self, links: Iterable[Connection]) -> list[tuple[int, int]]:
        """Connections as the audio process knows them."""
        return [(self.nodes[source].id, self.nodes[sink].id) for source, sink, _ in links]

    def connect(self, links: Iterable[Connection]) -> None:
        self.connections |= dict.fromkeys(links)

    def links_between(self, source: Any, sink: Any) -> list[Connection]:
        """:raises RigError: not_found where there are none"""
        self.node(source), self.node(sink)
        if found := [link for link in self.connections if link[:2] == (source, sink)]:
            return found
        raise RigError("not_found", f"{source} is not connected to {sink}")

    def disconnect(self, links: Iterable[Connection]) -> None:
        for link in links:
            del self.connections[link]

    # -- maps

    def map(self, predictor: Any, index: Any, node: Any, param: str, low: Any = None, high: Any = None,
            values: int = 1024) -> Map:
        """Lets a predictor's value number ``index`` (counted from 1) move a parameter.

        :param values: how many it has; where it has no model yet, none is too many
        """
        if self.node(predictor).type.name != "predictor":
            raise RigError("bad_value", f"{predictor} is no predictor: its type is {self.node(predictor).type.name}")
        index = Param("index", INTEGER, 1, 1, values).check(index)
        declared = self.node(node).param(param)
        if not declared.is_number or self.node(node).type.name in ("predictor", "recorder"):
            raise RigError("bad_value", f"{node}/{param} is nothing that a predictor can move")
        limits = [declared.check(limit) if limit is not None else own
                  for limit, own in ((low, declared.low), (high, declared.high))]
        made = Map(node, param, float(limits[0]), float(limits[1]))
        self.maps[predictor, int(index)] = made
        return made

    def unmap(self, predictor: Any, index: Any) -> None:
        self.node(predictor)
        if (predictor, index) not in self.maps:
            raise RigError("not_found", f"value {str(index)[:20]} of {predictor} moves nothing")
        del self.maps[predictor, index]

    # -- files

    def to_json(self) -> str:
        return json.dumps({
            "format": FORMAT,
            "version": VERSION,
            "nodes": [{"name": node.name, "type": node.type.name, "params": node.values | _at_rest(node),
                       **({"knobs": sorted(node.knobs)} if node.knobs else {})} for node in self.nodes.values()],
            "connections": list(self.connections),
            "maps": [{"predictor": predictor, "index": index, "node": map_.node, "param": map_.param,
                      "low": map_.low, "high": map_.high} for (predictor, index), map_ in self.maps.items()],
        }, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Rig":
        """:raises RigError: bad_file, where it is not a rig or does not hold together"""
        try:
            content = json.loads(text)
            if not isinstance(content, dict) or content.get("format") != FORMAT:
                raise RigError("bad_file", "it is not a saved rig")
            if content["version"] != VERSION:
                raise RigError("bad_file", f"its version is {content['version']}; this neurig reads {VERSION}")
            rig = cls()
            for entry in content["nodes"]:
                rig.add(rig.make(entry["name"], entry["type"], entry["params"]))
                names = entry.get("knobs", [])
                rig.nodes[entry["name"]].knobs = {name: Param(name, NUMBER, 0.5, text=KNOB) for name in names}
            rig.connect(rig.check_connections(tuple(link) for link in content["connections"]))
            for entry in content["maps"]:
                rig.map(*(entry[key] for key in ("predictor", "index", "node", "param", "low", "high")))
        except RigError as problem:
            raise RigError("bad_file", problem.text) from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise RigError("bad_file", f"it is damaged: {type(problem).__name__} {problem}") from None
        return rig


def _at_rest(node: Node) -> dict[str, Value]:
    """A recorder is saved as not recording: a state that is loaded must not write into files."""
    return {"record": 0} if node.type.name == "recorder" else {}
