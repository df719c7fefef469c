"""[neurig.amp], [neurig.predictor], [neurig.node], [neurig.param] in real Pd; a server that comes and goes."""

import os
import re
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pd.live import Live
from pd.render import complaints
from rig.client import Client


class Server:
    """A rig server on a port of its own, which may end and start again."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "neurig.cli", "serve", "--backend", "clock", "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                         cwd=self._folder, env=os.environ | {"XDG_DATA_HOME": str(self._folder)})
        said = self._process.stdout.readline()
        assert "neurig plays" in said, said + self._process.stdout.read()

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        assert self._process
        self._process.terminate()
        said, _ = self._process.communicate(timeout=10)
        assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[Server]:
    running = Server(free_port(), tmp_path_factory.mktemp("rig"))
    yield running
    running.stop()


@pytest.fixture
def rig(server: Server) -> Iterator[Client]:
    """Another client of the server, which is empty before the test."""
    client = Client(server.port)
    for kind, name, *_ in client.list():
        if kind == "node":
            client.do("/rig/free", name)
    yield client
    client.close()


def nodes(rig: Client) -> dict[str, str]:
    return {name: kind for entry, name, kind, *_ in rig.list() if entry == "node"}


def connections(rig: Client) -> list[tuple[str, str]]:
    return [(a, b) for entry, a, b, *_ in rig.list() if entry == "connection"]


Wait = Callable[..., object]


# ---- A node ---------------------------------------------------------------------------------------------------------


def amp(live: Live, server: Server, arguments: str = "lead crunch.nam gain -6", name: str = "neurig.amp") -> None:
    """One object, which prints what it says, and is told what is sent to ``tell``."""
    live.stage([f"{name} -port {server.port} {arguments}", "print value", "print there", "r tell"],
               (0, 0, 1, 0), (0, 1, 2, 0), (3, 0, 0, 0))


def test_it_is_made_with_its_model_and_values_and_tells_them(live: Live, server: Server, rig: Client) -> None:
    amp(live, server)
    live.wait("there: 1")
    assert nodes(rig) == {"lead": "amp"}
    assert rig.get("/rig/lead/gain") == -6 and rig.get("/rig/lead/model") == "crunch.nam"
    assert "value: gain -6" in live.console and "value: bypass 0" in live.console
    assert not complaints(live.console), live.console


@pytest.mark.parametrize(("arguments", "name", "values"), [
    ("lead", "lead", {"gain": 0, "model": ""}), ("lead gain 3 out -3", "lead", {"gain": 3, "out": -3}),
    ("lead crunch.nam out 1", "lead", {"out": 1, "gain": 0}),
])  # fmt: skip
def test_arguments(
    live: Live, server: Server, rig: Client, arguments: str, name: str, values: dict[str, object]
) -> None:
    amp(live, server, arguments)
    live.wait("there: 1")
    assert nodes(rig) == {name: "amp"}
    assert {key: rig.get(f"/rig/{name}/{key}") for key in values} == values


def test_values_are_set_asked_for_and_followed(live: Live, server: Server, rig: Client) -> None:
    amp(live, server)
    at = live.wait("there: 1")
    live.send("tell gain 3")
    at = live.wait("value: gain 3", at)
    assert rig.get("/rig/lead/gain") == 3
    live.send("tell gain")
    at = live.wait("value: gain 3", at)
    rig.do("/rig/lead/out", -12.0)
    at = live.wait("value: out -12", at)
    live.send("tell gain -20 100")
    at = live.wait("value: gain -20", at)
    live.send("tell bang")
    end = live.wait("value: slim", at)
    assert [line.split()[1] for line in live.console[at:end]] == [
        "model", "gain", "out", "bypass", "xfade", "level", "dbu", "slim"]


def test_another_model_while_it_plays(live: Live, server: Server, rig: Client, amp_file: Callable[..., Path]) -> None:
    amp(live, server)
    at = live.wait("there: 1")
    other = amp_file("with space, and comma.nam")
    live.send(f"tell model {str(other).replace(' ', chr(92) + ' ').replace(',', chr(92) + ',')}")
    live.wait(r"value: model .*with\\ space", at)
    assert rig.get("/rig/lead/model") == str(other)


def test_it_is_freed_with_its_object_and_with_pd(live: Live, server: Server, rig: Client, wait_until: Wait) -> None:
    for end in ("pd-stage clear", "pd quit"):
        at = len(live.console)
        amp(live, server)
        live.wait("there: 1", at)
        assert nodes(rig) == {"lead": "amp"}
        live.send(end)
        wait_until(lambda: not nodes(rig), f"the node's end by {end}")
    assert live.process.wait(timeout=10) == 0


def test_in_every_pd(
    pd: str, server: Server, rig: Client, free_port: Callable[[], int], wait_until: Wait
) -> None:
    """Made, set, followed; and freed, where Pd quits."""
    live = Live(free_port(), pd=pd)
    try:
        port = server.port
        live.stage([f"neurig.amp -port {port} lead crunch.nam gain -6", f"neurig.param -port {port} /rig/lead/gain",
                    "print value", "r turn", f"neurig.predictor -port {port} hand wander.mdrnn mode battle",
                    "print played", f"neurig.rig -port {port}", "print up"],
                   (1, 0, 2, 0), (3, 0, 1, 0), (4, 0, 5, 0), (6, 1, 7, 0))
        for said in ("value: -6", "played: ", "up: 1"):
            live.wait(said)
        live.send("turn 3.25")
        live.wait("value: 3.25")
        assert rig.get("/rig/lead/gain") == 3.25 and nodes(rig) == {"lead": "amp", "hand": "predictor"}
        assert not complaints(live.console), live.console
        assert live.quit() == 0
        wait_until(lambda: not nodes(rig), "the nodes' end")
    finally:
        live.close()


def test_a_patch_that_is_closed_frees_what_is_in_it(live: Live, server: Server, rig: Client, wait_until: Wait,
                                                     tmp_path: Path) -> None:
    (tmp_path / "song.pd").write_text(f"#N canvas 0 0 300 200 12;\n#X obj 10 10 neurig.amp -port {server.port} deep;\n")
    live.send(f"pd open song.pd {tmp_path}")
    wait_until(lambda: nodes(rig) == {"deep": "amp"}, "the node")
    live.send("pd-song.pd menuclose 1")
    wait_until(lambda: not nodes(rig), "its end")


def test_what_was_there_before_is_taken_over_and_stays(live: Live, server: Server, rig: Client) -> None:
    rig.do("/rig/new", "lead", "amp", "gain", 9.0)
    amp(live, server)
    live.wait("there: 1")
    assert "value: gain 9" in live.console
    live.send("pd-stage clear")
    assert live.settle(0.5) == [] and nodes(rig) == {"lead": "amp"}


def test_wrong_values_and_names_are_told(live: Live, server: Server, rig: Client) -> None:
    amp(live, server)
    at = live.wait("there: 1")
    live.send("tell gian 3", "tell gain 1000", "tell gain")
    live.wait("value: gain -6", at)
    told = live.console[at:]
    errors = [line.split()[2:4] for line in told if line.startswith("value: error")]
    assert errors == [["/rig/lead/gian", "unknown"], ["/rig/lead/gain", "bad_value"]]
    assert "did you mean gain?" in told[0] and told[0].endswith("(lead: /rig/lead/gian unknown)")
    assert "neurig: gain goes from -60 to 60 dB, not 1000 (lead: /rig/lead/gain bad_value)" in told


@pytest.mark.parametrize(("arguments", "code"), [
    ("le.ad", "bad_value"), ("free", "bad_value"), ("lead nowhere.nam", "bad_file"), ("lead gian 3", "unknown"),
    ("lead gain 999", "bad_value"),
])  # fmt: skip
def test_what_cannot_be_made_is_told_once(live: Live, server: Server, rig: Client, arguments: str, code: str) -> None:
    amp(live, server, arguments)
    live.wait(f"value: error /rig/new {code}")
    live.settle(2.5)
    assert len([line for line in live.console if line.startswith("neurig: ")]) == 1 and not nodes(rig)


def test_a_node_needs_a_name_and_a_type(live: Live, server: Server) -> None:
    amp(live, server, "lead", name="neurig.node")
    live.wait("neurig.node: a node has a name and a type")


@pytest.mark.parametrize("name", ["neurig.node", "neurig.amp", "neurig.predictor", "neurig.param"])
def test_without_a_name_they_do_nothing(live: Live, server: Server, rig: Client, name: str) -> None:
    amp(live, server, "", name=name)
    assert live.settle(0.7) == [] and not nodes(rig)


def test_connections_are_kept(live: Live, server: Server, rig: Client, wait_until: Wait) -> None:
    """Whatever is made first, and whatever somebody else does."""
    live.stage([f"neurig.amp -port {server.port} lead", f"neurig.node -port {server.port} cab ir file open-back.wav",
                f"neurig.node -port {server.port} echo delay time 100", "r tell", "r tell-cab"],
               (3, 0, 0, 0), (4, 0, 1, 0))
    live.send("tell connect cab", "tell-cab connect echo")
    wait_until(lambda: connections(rig) == [("lead", "cab"), ("cab", "echo")], "two connections")
    rig.do("/rig/free", "cab")
    wait_until(lambda: sorted(connections(rig)) == [("cab", "echo"), ("lead", "cab")], "them, with another cabinet")
    live.send("tell disconnect cab")
    wait_until(lambda: connections(rig) == [("cab", "echo")], "one")
    live.settle(1.2)
    assert connections(rig) == [("cab", "echo")]
    live.send("tell connect nowhere")
    live.wait(r"neurig: there is no node 'nowhere' \(lead: /rig/connect not_found\)")
    assert live.settle(1.2) == []


def test_half_a_message_does_not_end_what_is_kept(live: Live, server: Server, rig: Client, wait_until: Wait) -> None:
    live.stage([f"neurig.amp -port {server.port} lead", f"neurig.node -port {server.port} cab ir file open-back.wav",
                "r tell"], (2, 0, 0, 0))
    live.send("tell connect cab")
    wait_until(lambda: connections(rig) == [("lead", "cab")], "a connection")
    for word in ("connect", "map", "disconnect", "unmap"):
        at = len(live.console)
        live.send(f"tell {word}")
        live.wait(rf"neurig: {word} takes .* \(lead: /rig/{word} bad_request\)", at)
    assert not complaints(live.console), live.console
    rig.do("/rig/free", "cab")
    wait_until(lambda: connections(rig) == [("lead", "cab")], "it, with another cabinet")


COMING_AND_GOING = ["neurig.amp -port {} {} gain 3", "neurig.amp -port {} {} crunch.nam", "neurig.node -port {} {} delay",
                    "neurig.predictor -port {} {} run 0", "neurig.param -port {} /rig/{}/gain"]


def test_hundreds_come_and_go(live: Live, server: Server, rig: Client, wait_until: Wait) -> None:
    """What remains on the server is what remains in the patch, and nobody complains."""
    random = np.random.default_rng(1)
    for turn in range(60):
        names = [f"n{number}" for number in random.integers(0, 8, size=int(random.integers(0, 6)))]
        kinds = random.choice(COMING_AND_GOING, size=len(names))
        live.stage([kind.format(server.port, name) for kind, name in zip(kinds, names)])
        if turn % 10 == 9:
            live.settle(0.6)
    live.stage([f"neurig.amp -port {server.port} last", "print there"], (0, 1, 1, 0))
    live.wait("there: 1")
    wait_until(lambda: nodes(rig) == {"last": "amp"}, "the only one that remains")
    assert not complaints(line for line in live.console if not line.startswith("neurig: ")), live.console
    live.send("pd-stage clear")
    wait_until(lambda: not nodes(rig), "its end")


# ---- The server goes and comes --------------------------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Server]:
    server = Server(free_port(), tmp_path)
    yield server
    server.stop()


def test_all_is_made_again_where_the_server_returns(live: Live, mortal: Server, wait_until: Wait) -> None:
    port = mortal.port
    live.stage([f"neurig.amp -port {port} lead crunch.nam gain -6", f"neurig.node -port {port} out output", "r tell",
                "print there", f"neurig.param -port {port} /rig/lead/out", "r turn", "print turned",
                "print there-param", f"neurig.predictor -port {port} hand wander.mdrnn mode battle", "r tell-hand",
                "print amp"],
               (2, 0, 0, 0), (0, 1, 3, 0), (5, 0, 4, 0), (4, 0, 6, 0), (4, 2, 7, 0), (9, 0, 8, 0), (0, 0, 10, 0))
    live.send("tell connect out", "tell-hand map 1 /rig/lead/gain -20 20")
    at = max(live.wait("there-param: 1"), live.wait("there: 1"))
    live.send("turn -3", "tell slim 0.5")
    live.wait("turned: -3", at)
    live.wait("amp: out -3", at)  # the node has heard of it
    client = Client(port)
    wait_until(lambda: len(client.list()) == 5, "three nodes, a connection and a map")
    wait_until(lambda: client.get("/rig/lead/gain") != -6, "the predictor's hand on the gain")
    client.close()

    before = len(live.console)
    mortal.kill()
    at = live.wait("there: 0", before)
    live.wait("neurig: no answer: is a rig running", before)
    live.send("tell dbu 3")  # is meant for later
    mortal.start()
    at = live.wait("there: 1", at)
    client = Client(port)
    assert {key: client.get(f"/rig/lead/{key}") for key in ("slim", "dbu", "out")} == {"slim": 0.5, "dbu": 3, "out": -3}
    wait_until(lambda: len(client.list()) == 5, "all of it again")
    client.do("/rig/lead/out", -9.0)
    live.wait("turned: -9", at)
    client.close()


def test_an_absent_server_is_told_once(live: Live, free_port: Callable[[], int]) -> None:
    port = free_port()
    live.stage([f"neurig.amp -port {port} lead", f"neurig.param -port {port} /rig/lead/gain", "r tell"],
               (2, 0, 0, 0), (2, 0, 1, 0))
    live.send("tell -3", "tell bang")
    live.settle(4.5)
    assert [line.split("(")[-1] for line in live.console[1:]] == ["lead: /rig unavailable)"]


# ---- A parameter ----------------------------------------------------------------------------------------------------


def param(live: Live, server: Server, arguments: str = "/rig/lead/gain") -> None:
    live.stage([f"neurig.param -port {server.port} {arguments}", "print value", "print about", "print there", "r turn"],
               (0, 0, 1, 0), (0, 1, 2, 0), (0, 2, 3, 0), (4, 0, 0, 0))


def test_a_parameter_tells_what_it_is_and_follows(live: Live, server: Server, rig: Client) -> None:
    rig.do("/rig/new", "lead", "amp", "gain", -6.0)
    param(live, server)
    live.wait("about: unit dB")
    assert live.console[1:] == ["there: 1", "value: -6", "about: range -60 60", "about: default 0", "about: unit dB"]
    rig.do("/rig/lead/gain", 2.0)
    at = live.wait("value: 2")
    live.send("turn 5")
    at = live.wait("value: 5", at)
    assert rig.get("/rig/lead/gain") == 5
    live.send("turn bang")
    live.wait("value: 5", at)


def test_a_parameter_that_is_a_word(live: Live, server: Server, rig: Client) -> None:
    rig.do("/rig/new", "lead", "amp")
    param(live, server, "/rig/lead/level")
    at = live.wait("value: symbol raw")
    live.send("turn normalised")
    at = live.wait("value: symbol normalised", at)
    live.send("turn symbol raw")
    live.wait("value: symbol raw", at)
    assert rig.get("/rig/lead/level") == "raw"


def test_a_parameter_ramps_and_refuses(live: Live, server: Server, rig: Client) -> None:
    rig.do("/rig/new", "lead", "amp")
    param(live, server)
    at = live.wait("about: unit dB")
    live.send("turn -20 100")
    at = live.wait("value: -20", at)
    live.send("turn 1000")
    at = live.wait(r"about: error /rig/lead/gain bad_value", at)
    assert re.match(r"neurig: gain goes .* not 1000 \(/rig/lead/gain: /rig/lead/gain bad_value\)", live.console[at - 2])
    assert live.settle(0.6) == [] and rig.get("/rig/lead/gain") == -20


def test_a_slider_on_both_sides_comes_to_rest(live: Live, server: Server, rig: Client) -> None:
    """A slider that sends to the parameter, and is moved by it, does not go round and round."""
    rig.do("/rig/new", "lead", "amp")
    slider = "hsl 128 15 -60 60 0 0 empty empty empty -2 -8 0 10 #fcfcfc #000000 #000000 0 1"
    live.stage([f"neurig.param -port {server.port} /rig/lead/gain", slider, "print moved", "r turn"],
               (0, 0, 1, 0), (1, 0, 0, 0), (1, 0, 2, 0), (3, 0, 1, 0))
    at = live.wait("moved: ")
    rig.do("/rig/lead/gain", 7.3)
    live.wait("moved: 7", at)
    live.send("turn 12")
    live.settle(1)
    assert live.settle(1.2) == [] and rig.get("/rig/lead/gain") == pytest.approx(12, abs=1)


def test_a_parameter_comes_with_its_node_and_goes(live: Live, server: Server, rig: Client) -> None:
    param(live, server)
    live.wait(r"neurig: there is no node 'lead'")
    assert live.settle(1.2) == []
    rig.do("/rig/new", "lead", "amp", "gain", 4.0)
    at = live.wait("about: unit dB", live.wait("value: 4"))
    rig.do("/rig/free", "lead")
    at = live.wait("there: 0", at)
    rig.do("/rig/new", "lead", "amp", "gain", 4.0)
    live.wait("value: 4", at)


def test_another_address(live: Live, server: Server, rig: Client) -> None:
    rig.do("/rig/new", "lead", "amp", "gain", 4.0, "out", -4.0)
    param(live, server)
    at = live.wait("about: unit dB")
    live.send("turn address /rig/lead/out")
    at = live.wait("value: -4", at)
    rig.do("/rig/lead/gain", 1.0)
    assert not [line for line in live.settle(0.7) if line.startswith("value")]


def test_a_parameter_that_is_deleted_subscribes_no_more(
    live: Live, server: Server, rig: Client, free_port: Callable[[], int], wait_until: Wait
) -> None:
    """Heard on the line, by a socket that passes packets on."""
    rig.do("/rig/new", "lead", "amp")
    heard: list[bytes] = []
    udp = socket.AF_INET, socket.SOCK_DGRAM
    with socket.socket(*udp) as line, socket.socket(*udp) as far:
        line.bind(("127.0.0.1", free_port()))
        far.connect(("127.0.0.1", server.port))
        pd: list[tuple[str, int]] = []

        def pass_on() -> None:
            for ready in select.select([line, far], [], [], 0.02)[0]:
                if ready is line:
                    packet, sender = line.recvfrom(65536)
                    pd[:] = [sender]
                    heard.append(packet)
                    far.send(packet)
                else:
                    line.sendto(far.recv(65536), pd[0])

        def is_heard(word: bytes) -> bool:
            pass_on()
            return any(packet.startswith(b"/rig/" + word) for packet in heard)

        live.stage([f"neurig.param -port {line.getsockname()[1]} /rig/lead/gain", "print value"], (0, 0, 1, 0))
        wait_until(lambda: is_heard(b"subscribe"), "the subscription")
        wait_until(lambda: pass_on() or live.settle(0.001) or "value: 0" in live.console, "its value")
        live.send("pd-stage clear")
        wait_until(lambda: is_heard(b"unsubscribe"), "its end")


@pytest.mark.parametrize(("arguments", "said"), [
    ("lead/gain", "neurig: 'lead/gain' is not a parameter's address"), ("/rig/lead/gian", "neurig: lead .* has no"),
])  # fmt: skip
def test_wrong_addresses(live: Live, server: Server, rig: Client, arguments: str, said: str) -> None:
    rig.do("/rig/new", "lead", "amp")
    param(live, server, arguments)
    live.wait(said)


# ---- A predictor ----------------------------------------------------------------------------------------------------


def test_a_predictor_plays_and_is_played_with(live: Live, server: Server, rig: Client) -> None:
    live.stage([f"neurig.predictor -port {server.port} hand wander.mdrnn mode battle", "print played", "print value",
                "print there", "r tell"], (0, 0, 1, 0), (0, 1, 2, 0), (0, 2, 3, 0), (4, 0, 0, 0))
    at = live.wait("there: 1")
    assert nodes(rig) == {"hand": "predictor"} and "value: mode battle" in live.console
    at = live.wait(r"played: (\S+ ){2}\S+$", at)
    live.send("tell mode useronly", "tell 0.1 0.2 0.3")
    at = live.wait("value: mode useronly", at)
    live.send("tell mode polyphony")
    at = live.wait("value: mode polyphony", at)
    live.settle(0.3)
    at = len(live.console)
    live.send("tell 0.5 0.5 0.5")
    live.wait(r"played: (\S+ ){2}\S+$", at)
    live.send("tell 0.5 0.5 0.5 0.5 0.5")
    live.wait(r"value: error /rig/hand/input", at)


def test_its_maps(live: Live, server: Server, rig: Client, wait_until: Wait) -> None:
    live.stage([f"neurig.amp -port {server.port} lead",
                f"neurig.predictor -port {server.port} hand wander.mdrnn mode battle", "r tell"], (2, 0, 1, 0))
    live.send("tell map 1 /rig/lead/gain -18 12")
    wait_until(lambda: ("map", "hand", 1, "/rig/lead/gain", -18, 12) in rig.list(), "the map")
    live.send("tell unmap 1")
    wait_until(lambda: not [entry for entry in rig.list() if entry[0] == "map"], "its end")
