"""Requests over OSC, to a real server."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

import neurig
from neurig.files import share
from neurig.rig.nodes import TYPES
from rig.client import Client, Server, message

Wait = Callable[..., Any]


def chain(rig: Client) -> None:
    for name, type_name in (("in", "input"), ("amp", "amp"), ("echo", "delay"), ("out", "output")):
        rig.do("/rig/new", name, type_name)
    rig.do("/rig/chain", "in", "amp", "echo", "out")


class TestAnswers:
    def test_ping(self, rig: Client) -> None:
        assert rig.do("/rig/ping") == ("/rig/done", "/rig/ping", neurig.__version__)

    @pytest.mark.parametrize("type_name", TYPES)
    def test_every_type_is_made_set_asked_and_freed(self, rig: Client, type_name: str) -> None:
        assert rig.do("/rig/new", "x", type_name) == ("/rig/done", "/rig/new", "x", type_name)
        assert rig.list() == [("node", "x", type_name)]
        for param in TYPES[type_name].params:
            address = f"/rig/x/{param.name}"
            assert rig.get(address) == pytest.approx(param.default)
            if param.is_number and param.name not in ("channel", "record"):
                for value in (param.low, param.high, param.default):
                    assert rig.do(address, value) == ("/rig/done", address, pytest.approx(value))
                    assert rig.get(address) == pytest.approx(value)
                assert rig.fails(address, param.high + 1)[0] == "bad_value"
                assert rig.get(address) == pytest.approx(param.default)
        assert rig.do("/rig/free", "x") == ("/rig/done", "/rig/free", "x")
        assert rig.list() == []

    def test_what_can_be_no_knob_may_be_a_slip(self, rig: Client) -> None:
        code, text = rig.fails("/rig/new", "x", "amp", "model", "crunch.nam", "gian", 3)
        assert (code, text) == ("bad_value", "gian goes from 0 to 1, not 3 (did you mean gain?)")

    def test_new_takes_parameters(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "delay", "time", 120, "mix", 1)
        assert rig.get("/rig/x/time") == 120 and rig.get("/rig/x/mix") == 1

    def test_a_predictor_has_no_more_values_to_map_than_its_model(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "gain")
        rig.do("/rig/new", "hand", "predictor")
        rig.do("/rig/map", "hand", 9, "/rig/x/gain")  # a model may come that has so many
        rig.do("/rig/hand/model", "wander.mdrnn")
        rig.do("/rig/map", "hand", 3, "/rig/x/gain")
        assert rig.fails("/rig/map", "hand", 4, "/rig/x/gain") == ("bad_value", "index goes from 1 to 3, not 4")

    def test_list_describes_the_rig(self, rig: Client) -> None:
        chain(rig)
        rig.do("/rig/new", "hand", "predictor")
        rig.do("/rig/map", "hand", 2, "/rig/echo/time", 100, 300)
        assert rig.list() == [
            ("node", "in", "input"),
            ("node", "amp", "amp"),
            ("node", "echo", "delay"),
            ("node", "out", "output"),
            ("node", "hand", "predictor"),
            ("connection", "in", "amp", 1),
            ("connection", "amp", "echo", 1),
            ("connection", "echo", "out", 1),
            ("map", "hand", 2, "/rig/echo/time", 100, 300),
        ]
        rig.do("/rig/unmap", "hand", 2)
        rig.do("/rig/disconnect", "amp", "echo")
        assert ("connection", "amp", "echo", 1) not in rig.list() and rig.list()[-1][0] == "connection"

    def test_list_types_and_params(self, rig: Client) -> None:
        assert [entry[1] for entry in rig.list("types")] == list(TYPES)
        declared = TYPES["delay"].params
        assert rig.list("params", "delay") == [
            (
                "param",
                "delay",
                p.name,
                pytest.approx(p.low),
                pytest.approx(p.high),
                pytest.approx(p.default),
                p.unit,
                pytest.approx(p.default),
            )
            for p in declared
        ]
        rig.do("/rig/new", "x", "delay", "time", 120)
        assert rig.list("params", "x")[0] == ("param", "x", "time", 1, 2000, 350, "ms", 120)
        assert rig.list("params") == rig.list("params", "x")

    def test_a_ramp(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "gain")
        assert rig.do("/rig/x/gain", -6, 500) == ("/rig/done", "/rig/x/gain", -6.0)
        assert rig.get("/rig/x/gain") == -6

    def test_floats_ints_and_truth(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "amp")
        for value in (1, 1.0, True):
            assert rig.do("/rig/x/bypass", value)[-1] == 1
        assert rig.do("/rig/x/gain", True)[-1] == 1.0

    def test_requests_are_done_in_their_order(self, rig: Client) -> None:
        """A patch sends all at once and does not wait: the model takes its time, and what follows waits for it."""
        model = str(share("models", "crunch.nam"))
        requests = [
            ("/rig/new", "in", "input"),
            ("/rig/new", "amp", "amp", "model", model),
            ("/rig/amp/gain", 3.0),
            ("/rig/new", "out", "output"),
            ("/rig/chain", "in", "amp", "out"),
            ("/rig/out/gain", -3.0),
            ("/rig/free", "in"),
            ("/rig/list",),
        ]
        for request in requests:
            rig.send(*request)
        answers = []
        while not answers or answers[-1][:2] != ("/rig/done", "/rig/list"):
            answers.append(rig.receive())
        assert [answer[1] for answer in answers if answer[0] == "/rig/done"] == [request[0] for request in requests]
        assert ("/rig/list", "connection", "amp", "out", 1) in answers


BAD: list[tuple[tuple[Any, ...], str]] = [
    (("/other",), "unknown"),
    (("/rig",), "unknown"),
    (("/rig/",), "unknown"),
    (("/rig/nothing",), "unknown"),
    (("/rig/a/b/c", 1), "unknown"),
    (("/rig/amp/",), "unknown"),
    (("/rig//gain", 1), "not_found"),
    (("/rig/amp/nothing", 1), "unknown"),
    (("/rig/nobody/gain", 1), "not_found"),
    (("/rig/*/gain", 1), "not_found"),
    (("/rig/new",), "bad_request"),
    (("/rig/new", "x"), "bad_request"),
    (("/rig/new", "x", "nothing"), "unknown"),
    (("/rig/new", 1, "amp"), "bad_value"),
    (("/rig/new", "x", 1), "unknown"),
    (("/rig/new", "a/b", "amp"), "bad_value"),
    (("/rig/new", "list", "amp"), "bad_value"),
    (("/rig/new", "amp", "amp"), "exists"),
    (("/rig/new", "x", "gain", "gain"), "bad_request"),
    (("/rig/new", "x", "gain", 1, 2), "bad_request"),
    (("/rig/new", "x", "gain", "gain", "loud"), "bad_value"),
    (("/rig/new", "x", "gain", "nothing", 1), "unknown"),
    (("/rig/new", "x", "amp", "model", "nowhere.nam"), "bad_file"),
    (("/rig/new", "x", "amp", "model", 1), "bad_value"),
    (("/rig/new", "x", "player", "file", "nowhere.wav"), "bad_file"),
    (("/rig/new", "x", "predictor", "model", "crunch.nam"), "bad_file"),
    (("/rig/new", "x", "amp", "model", "wander.mdrnn"), "bad_file"),
    (("/rig/new", "x", "ir", "file", "crunch.nam"), "bad_file"),
    (("/rig/new", "x", "amp", "model", "crunch.nam", "no-such-knob", 0.5), "unknown"),
    (("/rig/new", "x", "output", "channel", 60), "bad_value"),
    (("/rig/new", "x", "recorder", "file", "x.mp3"), "bad_file"),
    (("/rig/new", "x", "recorder", "file", "/no/folder/x.wav"), "bad_file"),
    (("/rig/free",), "bad_request"),
    (("/rig/free", "nobody"), "not_found"),
    (("/rig/free", 1), "not_found"),
    (("/rig/connect", "amp"), "bad_request"),
    (("/rig/connect", "amp", "nobody"), "not_found"),
    (("/rig/connect", "echo", "amp"), "bad_value"),
    (("/rig/connect", "out", "amp"), "bad_value"),
    (("/rig/connect", "amp", "echo", 2), "bad_value"),
    (("/rig/connect", "amp", "echo", "left"), "bad_value"),
    (("/rig/disconnect", "in", "out"), "not_found"),
    (("/rig/chain", "in"), "bad_request"),
    (("/rig/chain", "in", "echo", "amp"), "bad_value"),
    (("/rig/chain", "in", "in"), "bad_value"),
    (("/rig/map", "amp", 1, "/rig/amp/gain"), "bad_value"),
    (("/rig/map", "amp", 1), "bad_request"),
    (("/rig/unmap", "amp", 1), "not_found"),
    (("/rig/load", "never-saved"), "not_found"),
    (("/rig/load", "../x"), "bad_value"),
    (("/rig/save",), "bad_request"),
    (("/rig/save", "a/b"), "bad_value"),
    (("/rig/save", 1), "bad_value"),
    (("/rig/list", "everything"), "unknown"),
    (("/rig/list", "params", "nobody"), "not_found"),
    (("/rig/list", 1), "unknown"),
    (("/rig/subscribe",), "bad_request"),
    (("/rig/subscribe", "/rig/nobody/gain"), "not_found"),
    (("/rig/subscribe", 1), "bad_value"),
    (("/rig/subscribe", "/rig/amp/gain", 0), "bad_value"),
    (("/rig/unsubscribe", "/rig/amp/gain"), "not_found"),
    (("/rig/unsubscribe", 1), "not_found"),
    (("/rig/amp/gain", "loud"), "bad_value"),
    (("/rig/amp/gain", 61), "bad_value"),
    (("/rig/amp/gain", float("nan")), "bad_value"),
    (("/rig/amp/gain", float("inf")), "bad_value"),
    (("/rig/amp/gain", -3.4e38), "bad_value"),
    (("/rig/amp/gain", 2**31 - 1), "bad_value"),
    (("/rig/amp/gain", b"blob"), "bad_value"),
    (("/rig/amp/gain", None), "bad_value"),
    (("/rig/amp/gain", [1, 2]), "bad_value"),
    (("/rig/amp/gain", 1, -5), "bad_value"),
    (("/rig/amp/gain", 1, "x"), "bad_value"),
    (("/rig/amp/gain", 1, 1e30), "bad_value"),
    (("/rig/amp/gain", 1, 2, 3), "bad_request"),
    (("/rig/amp/bypass", 0.5), "bad_value"),
    (("/rig/amp/model", "nowhere.nam"), "bad_file"),
    (("/rig/amp/model", 1), "bad_value"),
    (("/rig/amp/model", ""), "bad_value"),
    (("/rig/amp/model", "/"), "bad_file"),
    (("/rig/amp/model", "x" * 5000), "bad_file"),
    (("/rig/amp/model", "a", 1), "bad_request"),
    (("/rig/out/channel", 3), "bad_value"),
    (("/rig/in/channel", 0), "bad_value"),
    (("/rig/in/channel", 64), "bad_value"),
    (("/rig/hand/input", 0.5), "unavailable"),
    (("/rig/hand/mode", "solo"), "bad_value"),
    (("/rig/hand/mode", 1), "bad_value"),
    (("/rig/hand/pitemp", 0), "bad_value"),
    (("/rig/hand/timescale", -1), "bad_value"),
    (("/rig/hand/seed", -1), "bad_value"),
    (("/rig/take/record", 1), "bad_value"),
    (("/rig/take/file", "take.mp3"), "bad_file"),
    (("/rig/ping", 1), "bad_request"),
    (("/rig/quit", 1), "bad_request"),
]


def test_wrong_requests_are_refused_and_change_nothing(rig: Client) -> None:
    chain(rig)
    rig.do("/rig/new", "hand", "predictor")
    rig.do("/rig/new", "take", "recorder")
    before = rig.list(), rig.list("params")
    for request, code in BAD:
        answer = rig.fails(*request)
        assert answer[0] == code, (request, answer)
        assert len(answer[1]) > 10 and "\n" not in answer[1] and "Error" not in answer[1], (request, answer)
        assert (rig.list(), rig.list("params")) == before, request


def test_packets_that_are_not_osc(rig: Client) -> None:
    good = message("/rig/ping")
    packets = [
        b"",
        b"x",
        b"/",
        b"/rig",
        b"\0" * 4,
        b"/rig/ping",
        b"/rig/ping\0\0\0,",
        b"/rig/ping\0\0\0,f\0\0",
        b"#bundle\0",
        b"#bundle\0" + b"\0" * 7,
        b"#bundle\0" + b"\0" * 8 + b"\xff\xff\xff\xff",
        b"/rig/x\0\0,s\0\0\xff\xff\xff\xff",
        b"/rig/x\0\0,b\0\0\x7f\xff\xff\xff",
        b"/rig/x\0\0,[[[[",
        bytes(range(256)),
        b"#bundle\0" * 400,
    ]
    packets += [good[:cut] for cut in range(1, len(good))]
    for packet in packets:
        rig.socket.send(packet)
    for _ in range(len(packets)):
        answer = rig.receive(0.3)
        if answer is None:
            break
        # python-osc lets a missing end of padding pass
        assert (
            answer[:2] == ("/rig/done", "/rig/ping")
            or answer[0] == "/rig/error"
            and answer[2] in ("bad_request", "unknown")
        )
    assert rig.do("/rig/ping")


def test_random_bytes(rig: Client) -> None:
    import random

    random.seed(7)
    for _ in range(1500):
        rig.socket.send(random.randbytes(random.randrange(1, 200)))
    for _ in range(1500):
        data = bytearray(message("/rig/new", "x", "amp", "gain", 3.0))
        data[random.randrange(len(data))] = random.randrange(256)
        rig.socket.send(bytes(data))
    fresh = Client(rig.socket.getpeername()[1])
    assert fresh.do("/rig/ping")
    fresh.close()


def test_a_flood_of_noise_is_counted_not_answered(serve: Callable[..., Server], wait_until: Wait) -> None:
    server = serve()
    for _ in range(3000):
        server.client.socket.send(b"noise")
    fresh = Client(server.port)
    fresh.do("/rig/ping")
    fresh.close()
    answers = 0
    while server.client.receive(0.2):
        answers += 1
    assert 1 <= answers < 400
    time.sleep(1.1)
    assert "more packets were no OSC, and got no answer" in server.stop()


def test_a_flood_of_values(rig: Client) -> None:
    """4000 messages a second for two seconds: all are answered, the last one holds."""
    rig.do("/rig/new", "x", "gain")
    count, began = 8000, time.monotonic()
    answered = 0
    rig.socket.setblocking(False)
    for number in range(count):
        rig.send("/rig/x/gain", -(number % 90) - 0.5)
        while time.monotonic() < began + number / 4000:
            try:
                rig.socket.recv(4096)
                answered += 1
            except BlockingIOError:
                time.sleep(0.0002)
    rig.socket.settimeout(1.0)
    try:
        while answered < count:
            rig.socket.recv(4096)
            answered += 1
    except TimeoutError:
        pass
    assert answered >= 0.99 * count
    rig.do("/rig/x/gain", -7)
    assert rig.get("/rig/x/gain") == -7


def test_bundles_are_done_at_their_time(rig: Client) -> None:
    rig.do("/rig/new", "x", "gain")
    bundle = OscBundleBuilder(time.time() + 0.3)
    for value in (-1.0, -2.0):
        content = OscMessageBuilder("/rig/x/gain")
        content.add_arg(value)
        bundle.add_content(content.build())
    sent = time.monotonic()
    rig.socket.send(bundle.build().dgram)
    assert rig.get("/rig/x/gain") == 0
    answers = [rig.receive(), rig.receive()]
    assert 0.29 < time.monotonic() - sent < 0.45
    assert answers == [("/rig/done", "/rig/x/gain", -1.0), ("/rig/done", "/rig/x/gain", -2.0)]
    late = OscBundleBuilder(time.time() - 100)
    late.add_content(content.build())
    rig.socket.send(late.build().dgram)
    assert rig.receive() == ("/rig/done", "/rig/x/gain", -2.0)
    far = OscBundleBuilder(time.time() + 1e6)
    far.add_content(content.build())
    rig.socket.send(far.build().dgram)
    assert rig.receive()[2] == "bad_request"  # type: ignore[index]


class TestSubscriptions:
    def test_changes_are_told_to_those_who_asked(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "gain")
        other = Client(rig.socket.getpeername()[1])
        other.do("/rig/subscribe", "/rig/x/gain")
        rig.do("/rig/x/gain", -3)
        assert other.receive() == ("/rig/x/gain", -3.0)
        assert rig.receive(0.1) is None
        other.do("/rig/unsubscribe", "/rig/x/gain")
        rig.do("/rig/x/gain", -4)
        assert other.receive(0.2) is None
        other.close()

    def test_not_faster_than_asked_for_and_always_the_last(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "gain")
        other = Client(rig.socket.getpeername()[1])
        other.do("/rig/subscribe", "/rig/x/gain", 10)
        for number in range(500):
            rig.do("/rig/x/gain", -number / 10)
        heard = []
        while (value := other.receive(0.3)) is not None:
            heard.append(value[1])
        assert heard[-1] == pytest.approx(-49.9) and 2 <= len(heard) < 60
        other.close()


class TestModels:
    def test_knows_its_bundled_models(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "amp")
        assert rig.do("/rig/x/model", "crunch.nam")[-1] == "crunch.nam" == rig.get("/rig/x/model")

    def test_a_failed_load_keeps_the_model_and_says_why(self, rig: Client, tmp_path: Path) -> None:
        rig.do("/rig/new", "x", "amp", "model", "crunch.nam")
        for content, reason in (
            (b"", "empty"),
            (b"not JSON", "JSON"),
            (b'{"architecture": "Vacuum", "config": {}, "weights": []}', "Vacuum"),
        ):
            (tmp_path / "bad.nam").write_bytes(content)
            code, text = rig.fails("/rig/x/model", str(tmp_path / "bad.nam"))
            assert code == "bad_file" and "bad.nam" in text and reason in text
            assert rig.get("/rig/x/model") == "crunch.nam"

    def test_of_quick_loads_the_last_one_holds(self, rig: Client, amp_file: Callable[..., Path]) -> None:
        files = [str(amp_file(f"quick{number}.nam", number / 10)) for number in range(10)]
        rig.do("/rig/new", "x", "amp")
        for file in files:
            rig.send("/rig/x/model", file)
        answers = [rig.receive() for _ in files]
        assert all(answer is not None and answer[1] == "/rig/x/model" for answer in answers)
        assert rig.get("/rig/x/model") == files[-1]
        assert ("/rig/done", "/rig/x/model", files[-1]) in answers

    def test_an_answer_does_not_wait_for_a_file(self, rig: Client) -> None:
        rig.do("/rig/new", "x", "amp")
        rig.send("/rig/x/model", "crunch.nam")
        rig.send("/rig/x/gain", 3.0)
        assert {rig.receive()[1] for _ in range(2)} == {"/rig/x/gain", "/rig/x/model"}  # type: ignore[index]


def test_a_models_own_knobs(rig: Client, data: Path) -> None:
    """They are parameters of the amp for as long as it has the model."""
    model = str(data / "amps" / "HT40_Overdrive.json")
    assert rig.fails("/rig/new", "x", "amp", "model", model, "knob2", 0.7)[0] == "unknown" and rig.list() == []
    rig.do("/rig/new", "x", "amp", "model", model, "knob1", 0.7)
    assert rig.get("/rig/x/knob1") == pytest.approx(0.7)
    assert rig.do("/rig/x/knob1", 0.25, 100)[-1] == 0.25 and rig.fails("/rig/x/knob1", 1.5)[0] == "bad_value"
    assert rig.list("params", "x")[-1] == ("param", "x", "knob1", 0, 1, 0.5, "", 0.25)
    rig.do("/rig/x/model", str(data / "amps" / "TS9.json"))
    assert rig.get("/rig/x/knob1") == 0.25
    rig.do("/rig/save", "knobs")
    before = rig.list("params")
    rig.do("/rig/x/model", "crunch.nam")
    assert rig.fails("/rig/x/knob1", 0.5)[0] == "unknown"
    rig.do("/rig/load", "knobs")
    assert rig.list("params") == before


def test_the_sides_of_a_stereo_cabinet(rig: Client, tmp_path: Path) -> None:
    """A knob, too, also of an ir node."""
    import soundfile

    path = str(tmp_path / "stereo.wav")
    soundfile.write(path, [[1.0, 0.5], [0.25, 0.0]], 48000, "FLOAT")
    rig.do("/rig/new", "left", "ir", "file", path, "side", 0.0)
    rig.do("/rig/new", "both", "amp", "model", path)
    assert (rig.get("/rig/left/side"), rig.get("/rig/both/side")) == (0, 0.5)
    assert rig.do("/rig/left/side", 1, 50)[-1] == 1 and rig.fails("/rig/left/side", 2)[0] == "bad_value"
    rig.do("/rig/save", "sides")
    before = rig.list("params")
    rig.do("/rig/left/file", "open-back.wav")
    assert rig.fails("/rig/left/side", 0.5)[0] == "unknown"
    rig.do("/rig/load", "sides")
    assert rig.list("params") == before
    code, text = rig.fails("/rig/left/file", "crunch.nam")
    assert code == "bad_file" and "make a node of the type amp for it" in text


class TestStates:
    def test_there_and_back(self, serve: Callable[..., Server], tmp_path: Path) -> None:
        rig = serve().client
        chain(rig)
        rig.do("/rig/new", "hand", "predictor", "mode", "battle", "model", "wander.mdrnn", "run", 0)
        rig.do("/rig/amp/model", "crunch.nam")
        rig.do("/rig/amp/gain", 7.5)
        rig.do("/rig/map", "hand", 1, "/rig/echo/mix", 0.1, 0.4)
        before = rig.list(), rig.list("params")
        rig.do("/rig/save", "first")
        assert rig.list("states") == [("state", "first")]
        assert (tmp_path / "data" / "neurig" / "states" / "first.json").is_file()
        for name in ("in", "amp", "echo", "out", "hand"):
            rig.do("/rig/free", name)
        rig.do("/rig/new", "else", "reverb")
        assert rig.do("/rig/load", "first", 0.2) == ("/rig/done", "/rig/load", "first", pytest.approx(0.2))
        assert (rig.list(), rig.list("params")) == before
        rig.do("/rig/amp/gain", 1)
        other = serve().client  # another server on the same folder
        other.do("/rig/load", "first")
        assert (other.list(), other.list("params")) == before

    def test_what_cannot_be_loaded_changes_nothing(self, serve: Callable[..., Server], tmp_path: Path) -> None:
        rig = serve().client
        chain(rig)
        rig.do("/rig/amp/model", "crunch.nam")
        rig.do("/rig/save", "good")
        path = tmp_path / "data" / "neurig" / "states" / "good.json"
        before = rig.list(), rig.list("params")
        text = path.read_text()
        for damaged in ("", text[:100], text.replace("crunch.nam", "gone.nam"), text.replace('"amp"', '"lamp"')):
            path.write_text(damaged)
            code, reason = rig.fails("/rig/load", "good")
            assert code == "bad_file" and reason
            assert (rig.list(), rig.list("params")) == before


class TestPredictors:
    def test_battle_moves_what_it_is_mapped_to(
        self, rig: Client, predictor_file: Callable[..., Path], wait_until: Wait
    ) -> None:
        rig.do("/rig/new", "x", "gain")
        rig.do("/rig/new", "hand", "predictor", "model", str(predictor_file()), "mode", "battle", "sigmatemp", 1.0)
        rig.do("/rig/map", "hand", 1, "/rig/x/gain", -20, -10)
        rig.do("/rig/subscribe", "/rig/hand/output", 1000)
        frames = [rig.receive() for _ in range(5)]
        assert all(frame is not None and frame[0] == "/rig/hand/output" and len(frame) == 3 for frame in frames)
        rig.do("/rig/unsubscribe", "/rig/hand/output")
        gain = wait_until(lambda: (value := rig.get("/rig/x/gain")) != 0 and value, "the gain to move")
        assert -20 <= gain <= -10
        rig.do("/rig/hand/run", 0)
        gain = rig.get("/rig/x/gain")
        assert rig.receive(0.3) is None and rig.get("/rig/x/gain") == gain

    def test_callresponse(self, rig: Client, predictor_file: Callable[..., Path]) -> None:
        rig.do("/rig/new", "hand", "predictor", "model", str(predictor_file()), "threshold", 0.2)
        rig.do("/rig/subscribe", "/rig/hand/output")
        assert rig.receive(0.5) is None, "it plays although nobody has played before"
        rig.do("/rig/hand/input", 0.5, 0.5)
        began = time.monotonic()
        assert rig.receive()[0] == "/rig/hand/output" and time.monotonic() - began > 0.2  # type: ignore[index]
        assert rig.fails("/rig/hand/input", 0.5)[0] == "bad_value"
        assert rig.fails("/rig/hand/input", 0.5, 12)[0] == "bad_value"
        assert rig.fails("/rig/hand/input", 0.5, "x")[0] == "bad_value"

    def test_the_same_seed_plays_the_same(self, rig: Client, predictor_file: Callable[..., Path]) -> None:
        heard = []
        for name in ("a", "b"):
            rig.do(
                "/rig/new",
                name,
                "predictor",
                "model",
                str(predictor_file()),
                "mode",
                "polyphony",
                "seed",
                5,
                "timescale",
                0,
                "sigmatemp",
                1.0,
            )
            rig.do("/rig/subscribe", f"/rig/{name}/output", 1000)
            rig.do("/rig/" + name + "/input", 0.25, 0.75)
            heard.append(rig.receive()[1:])  # type: ignore[index]
        assert heard[0] == heard[1]

    def test_another_model_while_it_plays(self, rig: Client, predictor_file: Callable[..., Path]) -> None:
        rig.do("/rig/new", "hand", "predictor", "model", str(predictor_file()), "mode", "battle")
        rig.do("/rig/subscribe", "/rig/hand/output", 1000)
        assert len(rig.receive()) == 3  # type: ignore[arg-type]
        rig.send("/rig/hand/model", str(predictor_file("wide.mdrnn", dimension=5)))
        lengths = [
            len(answer) for answer in (rig.receive() for _ in range(30)) if answer and answer[0] == "/rig/hand/output"
        ]
        assert lengths[-1] == 5

    def test_bad_models(self, rig: Client) -> None:
        rig.do("/rig/new", "hand", "predictor")
        code, text = rig.fails("/rig/hand/model", "nowhere.mdrnn")
        assert code == "bad_file" and "nowhere.mdrnn" in text
        assert rig.fails("/rig/hand/model", "crunch.nam")[0] == "bad_file"


class TestRecorder:
    def test_records_what_passes_and_overwrites_nothing(
        self, serve: Callable[..., Server], tmp_path: Path, wait_until: Wait
    ) -> None:
        import soundfile

        rig = serve().client
        rig.do("/rig/new", "p", "player", "file", "phrase.wav")
        rig.do("/rig/new", "take", "recorder", "length", 0.5)
        rig.do("/rig/connect", "p", "take")
        assert rig.do("/rig/take/file", "take.wav")[-1] == str(tmp_path / "take.wav")
        for name in ("take.wav", "take-2.wav"):
            rig.do("/rig/take/record", 1)
            assert rig.get("/rig/take/record") == 1
            wait_until(lambda: rig.get("/rig/take/record") == 0, "the recording to end")
            samples, rate = soundfile.read(tmp_path / name)
            assert rate == 48000 and len(samples) == 24000 and abs(samples).max() > 0.01
        rig.do("/rig/take/length", 0)
        rig.do("/rig/take/record", 1)
        rig.do("/rig/take/record", 0)
        assert soundfile.info(tmp_path / "take-3.wav").samplerate == 48000

    def test_starts_and_stops_are_done_in_turn(self, serve: Callable[..., Server], tmp_path: Path) -> None:
        rig = serve().client
        rig.do("/rig/new", "take", "recorder", "file", "take.wav")
        for values in ((1, 0, 1), (0, 1, 0)):  # typed faster than files are closed
            for value in values:
                rig.send("/rig/take/record", value)
            assert [rig.receive() for _ in values] == [("/rig/done", "/rig/take/record", value) for value in values]
            assert rig.get("/rig/take/record") == values[-1]
        assert {path.name for path in tmp_path.glob("*.wav")} == {"take.wav", "take-2.wav", "take-3.wav"}


def test_loopback_only(shared_server: Server) -> None:
    """From another address of this machine it is not reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.2", 0))
    sockets = Path("/proc/net/udp").read_text()
    assert f"0100007F:{shared_server.port:04X}" in sockets and f"00000000:{shared_server.port:04X}" not in sockets


def test_another_root(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "rig.toml").write_text('[rig]\nroot = "/stage/left"\n')
    client = Client(serve(tmp_path / "rig.toml").port)
    client.send("/stage/left/ping")
    assert client.receive()[:2] == ("/stage/left/done", "/stage/left/ping")  # type: ignore[index]
    client.send("/rig/ping")
    assert client.receive()[:3] == ("/stage/left/error", "/rig/ping", "unknown")  # type: ignore[index]


def test_quit(serve: Callable[..., Server]) -> None:
    server = serve()
    assert server.client.do("/rig/quit") == ("/rig/done", "/rig/quit")
    assert server.process.wait(2) == 0
