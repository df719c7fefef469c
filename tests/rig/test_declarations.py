"""Types of node, the state of a rig, and config files: pure data."""

import json
import math
from pathlib import Path

import pytest

from neurig.files import share
from neurig.rig import config
from neurig.rig.errors import RigError
from neurig.rig.nodes import CHOICE, FILE, RESERVED, TYPES, Param, check_name, describe, find_type
from neurig.rig.requests import FORMS
from neurig.rig.state import Rig

ALL = [(type_, param) for type_ in TYPES.values() for param in type_.params]


@pytest.mark.parametrize(("type_", "param"), ALL, ids=[f"{type_.name}-{param.name}" for type_, param in ALL])
def test_declarations_hold_together(type_: object, param: Param) -> None:
    assert param.text and check_name(param.name)
    assert param.check(param.default) == param.default if param.kind != FILE else param.default == ""
    if param.is_number:
        assert param.low < param.high
        for value in (param.low, param.high):
            assert param.check(value) == value
        for value in (
            param.low - 1,
            param.high + 1,
            math.nan,
            math.inf,
            -math.inf,
            1e300,
            10**400,
            "1",
            None,
            [1.0],
            b"1",
        ):
            with pytest.raises(RigError) as caught:
                param.check(value)
            assert caught.value.code == "bad_value" and param.name in caught.value.text
    else:
        for value in (1, 1.5, None, True, "\0"):
            with pytest.raises(RigError, match=param.name):
                param.check(value)
    if param.kind == CHOICE:
        assert param.choices and all(param.check(choice) == choice for choice in param.choices)
        with pytest.raises(RigError, match="is one of"):
            param.check("nothing")


def test_whole_numbers_may_come_as_floats() -> None:
    channel = Param("channel", "integer", 1, 1, 64)
    assert channel.check(2.0) == 2 and isinstance(channel.check(2.0), int)
    with pytest.raises(RigError, match="whole number"):
        channel.check(2.5)


@pytest.mark.parametrize("name", ["amp", "Amp_2-b", "0", "x" * 64])
def test_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "a/b", "a b", "ä", "x" * 65, "a\n", 7, None, "*", "{a,b}", *sorted(RESERVED)])
def test_names_that_are_none(name: object) -> None:
    with pytest.raises(RigError) as caught:
        check_name(name)
    assert caught.value.code == "bad_value"


def test_requests_cannot_be_names() -> None:
    assert set(FORMS) <= RESERVED


def test_a_near_miss_is_named() -> None:
    with pytest.raises(RigError, match="did you mean limiter"):
        find_type("limitter")
    rig = Rig()
    rig.add(rig.make("amp", "amp", {}))
    with pytest.raises(RigError, match="did you mean gain"):
        rig.node("amp").param("gian")


def test_the_reference_is_up_to_date() -> None:
    """If not: python -m neurig.rig.nodes > examples/nodes.md"""
    assert share("examples", "nodes.md").read_text() == describe()


def a_rig() -> Rig:
    rig = Rig()
    for name, type_name in (
        ("in", "input"),
        ("amp", "amp"),
        ("delay", "delay"),
        ("out", "output"),
        ("hand", "predictor"),
        ("take", "recorder"),
    ):
        rig.add(rig.make(name, type_name, {}))
    rig.connect(rig.check_chain(["in", "amp", "delay", "out"]))
    rig.map("hand", 1, "amp", "gain", -6, 6)
    return rig


class TestConnections:
    def test_once_is_enough(self) -> None:
        rig = a_rig()
        assert rig.check_connections([("in", "amp", 1)]) == []

    @pytest.mark.parametrize(
        "links", [[("amp", "amp", 1)], [("delay", "amp", 1)], [("amp", "take", 1), ("take", "amp", 1)]]
    )
    def test_loops_are_refused(self, links: list) -> None:
        rig = a_rig()
        before = dict(rig.connections)
        with pytest.raises(RigError, match="would make a loop"):
            rig.check_connections(links)
        assert rig.connections == before

    def test_the_loop_is_shown(self) -> None:
        with pytest.raises(RigError, match="delay to amp would make a loop: amp > delay > amp"):
            a_rig().check_connections([("delay", "amp", 1)])

    @pytest.mark.parametrize(
        ("link", "code"),
        [
            (("out", "amp", 1), "bad_value"),
            (("amp", "in", 1), "bad_value"),
            (("hand", "amp", 1), "bad_value"),
            (("amp", "out", 2), "bad_value"),
            (("amp", "out", 0), "bad_value"),
            (("amp", "out", "x"), "bad_value"),
            (("nobody", "amp", 1), "not_found"),
            (("amp", "nobody", 1), "not_found"),
            ((1, 2, 3), "not_found"),
        ],
    )
    def test_impossible_ones(self, link: tuple, code: str) -> None:
        with pytest.raises(RigError) as caught:
            a_rig().check_connections([link])
        assert caught.value.code == code

    def test_a_node_takes_what_is_its_own_with_it(self) -> None:
        rig = a_rig()
        rig.remove("amp")
        assert list(rig.connections) == [("delay", "out", 1)] and not rig.maps


class TestMaps:
    def test_the_range_is_the_parameters_unless_given(self) -> None:
        rig = a_rig()
        made = rig.map("hand", 2, "delay", "mix")
        assert (made.low, made.high) == (0, 1)
        assert (rig.map("hand", 2, "delay", "mix", 0.9, 0.1).low) == 0.9

    @pytest.mark.parametrize(
        "arguments",
        [
            ("amp", 1, "amp", "gain"),
            ("hand", 0, "amp", "gain"),
            ("hand", 1.5, "amp", "gain"),
            ("hand", "x", "amp", "gain"),
            ("hand", 1, "amp", "model"),
            ("hand", 1, "hand", "run"),
            ("hand", 1, "amp", "nothing"),
            ("hand", 1, "nobody", "gain"),
            ("hand", 1, "amp", "gain", -100, 0),
            ("hand", 1, "amp", "gain", "a", "b"),
            ("hand", 1, "take", "record"),
        ],
    )
    def test_impossible_ones(self, arguments: tuple) -> None:
        rig = a_rig()
        with pytest.raises(RigError):
            rig.map(*arguments)
        assert list(rig.maps) == [("hand", 1)]


class TestFiles:
    def test_there_and_back(self) -> None:
        rig = a_rig()
        rig.nodes["amp"].values["gain"] = 7.5
        again = Rig.from_json(rig.to_json())
        assert again.to_json() == rig.to_json() and again.nodes["amp"].values["gain"] == 7.5
        assert list(again.nodes) == list(rig.nodes) and again.maps == rig.maps

    def test_a_recorder_does_not_record_when_it_is_loaded(self) -> None:
        rig = a_rig()
        rig.nodes["take"].values["record"] = 1
        assert Rig.from_json(rig.to_json()).nodes["take"].values["record"] == 0

    def test_every_cut_is_noticed(self) -> None:
        text = a_rig().to_json()
        for length in range(0, len(text) - 1, 7):
            with pytest.raises(RigError) as caught:
                Rig.from_json(text[:length])
            assert caught.value.code == "bad_file"

    @pytest.mark.parametrize(
        "change",
        [
            {"format": "other"},
            {"version": 2},
            {"nodes": 1},
            {"nodes": [1]},
            {"nodes": [{}]},
            {"connections": [["in"]]},
            {"connections": [["amp", "in", 1]]},
            {"connections": [["out", "in", 1]]},
            {"maps": [{}]},
            {"maps": None},
            {"nodes": [{"name": "a", "type": "nothing", "params": {}}]},
            {"nodes": [{"name": "a/b", "type": "amp", "params": {}}]},
            {"nodes": [{"name": "a", "type": "gain", "params": {"gain": 1e9}}]},
            {"nodes": [{"name": "a", "type": "gain", "params": {"gain": "loud"}}]},
            {"nodes": [{"name": "a", "type": "gain", "params": {}}] * 2},
        ],
    )
    def test_damage_is_noticed(self, change: dict) -> None:
        with pytest.raises(RigError) as caught:
            Rig.from_json(json.dumps(json.loads(a_rig().to_json()) | change))
        assert caught.value.code == "bad_file"


class TestConfig:
    @pytest.mark.parametrize("path", sorted(share("examples").glob("*.toml")), ids=lambda path: path.name)
    def test_examples(self, path: Path) -> None:
        settings, rig = config.read(path)
        assert rig.nodes and rig.connections and settings.base == path.parent
        for node in rig.nodes.values():
            for file in node.files.values():
                assert Path(config.locate(file)).is_file()

    def test_options_go_before_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "rig.toml"
        path.write_text('[rig]\nport = 9100\nroot = "/gig"\n[audio]\nblock = 128\nrate = 44100\n')
        settings, _ = config.read(path, port=9200, block=32)
        assert (settings.port, settings.root, settings.audio.block, settings.audio.rate) == (9200, "/gig", 32, 44100)

    def test_paths_are_relative_to_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "amps").mkdir()
        (tmp_path / "amps" / "own.nam").write_bytes(share("models", "crunch.nam").read_bytes())
        path = tmp_path / "rig.toml"
        path.write_text('[rig]\nstates = "states"\n[[node]]\nname = "a"\ntype = "amp"\nmodel = "amps/own.nam"\n')
        settings, rig = config.read(path)
        assert rig.nodes["a"].values["model"] == str(tmp_path / "amps" / "own.nam")
        assert settings.states == tmp_path / "states"

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("chain = [", "not TOML"),
            ("[rigg]", r"\[rigg\] is nothing that a rig has \(did you mean rig"),
            ("[rig]\nport = 'x'", "port is 'x'"),
            ("[rig]\nport = 99999", "port goes from 0 to 65535"),
            ("[rig]\nportt = 1", "did you mean port"),
            ("[rig]\nroot = 'rig'", "root is an OSC address"),
            ("rig = 1", "write \\[rig\\]"),
            ("node = 1", r"write \[\[node\]\]"),
            ("[audio]\nbackend = 'alsa'", "backend is one of"),
            ("[audio]\nrate = true", "rate is True"),
            ("[audio]\nblock = 1", "block goes from 16"),
            ("[[node]]\nname = 'a'", "no node type"),
            ("[[node]]\nname = 'a b'\ntype = 'amp'", "a name is"),
            ("[[node]]\nname = 'a'\ntype = 'gain'\ngian = 3", "did you mean gain"),
            ("[[node]]\nname = 'a'\ntype = 'gain'\ngain = 300", "gain goes from"),
            ("[[node]]\nname = 'a'\ntype = 'amp'\nmodel = 'nowhere.nam'", "no such file"),
            ("[[node]]\nname = 'a'\ntype = 'gain'\nchain = ['a']", "chain belongs to the top"),
            ("chain = ['a', 'b']", "there is no node 'a'"),
            ("chain = 'a'", "chain is a list"),
            ("chain = ['a']", "at least two"),
            ("[[map]]\npredictor = 'p'", "not a parameter's address"),
            ("[[map]]\naddres = 'p'", "has no addres"),
        ],
    )
    def test_wrong_ones_are_refused_with_the_reason(self, tmp_path: Path, text: str, problem: str) -> None:
        path = tmp_path / "rig.toml"
        path.write_text(text)
        with pytest.raises(config.ConfigError, match=problem) as caught:
            config.read(path)
        assert str(caught.value).startswith(f"{path}: ")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(config.ConfigError, match="No such file"):
            config.read(tmp_path / "rig.toml")
