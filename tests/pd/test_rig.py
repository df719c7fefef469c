"""[neurig.rig] in real Pd steers a real server: over OSC, on a JACK server without hardware."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from neurig.files import share
from pd.live import Live
from pd.render import Boxes, Patch, complaints, run
from rig.client import Client


@contextmanager
def serving(folder: Path, port: int, *options: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """A rig server on this port, ready; its saved states go into the folder."""
    command = [sys.executable, "-m", "neurig.cli", "serve", "--port", str(port), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
                              env=os.environ | {"XDG_DATA_HOME": str(folder)} | (env or {}))
    try:
        said = server.stdout.readline()
        assert "neurig plays" in said, said + server.stdout.read()
        yield
    finally:
        server.terminate()
        server.communicate(timeout=10)


@pytest.fixture(scope="module")
def clocked_port(tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]) -> Iterator[int]:
    """The port of a server that plays without sound."""
    port = free_port()
    with serving(tmp_path_factory.mktemp("rig"), port, "--backend", "clock"):
        yield port


def ask(port: int, *steps: str | float) -> list[list[str]]:
    """Sends messages through [neurig.rig], each when all before it has been answered; a number is a pause in ms.

    :returns: for each step, what came out of it (as ``out: …``) or was posted
    """
    patch = Patch()
    rig, out = patch.obj(f"neurig.rig -port {port}"), patch.obj("print out")
    patch.connect(rig, out)
    # We ask for an answer at the start and after each step: it leads on to the next.
    done, ping, each, count, up = (patch.obj(text) for text in ("route done", "route /rig/ping", "t b", "f 1", "+ 1"))
    choose = patch.obj("sel " + " ".join(str(number) for number in range(1, len(steps) + 2)))
    patch.chain(rig, done, ping, each, count, choose)
    patch.chain(count, up)
    patch.connect(up, count, inlet=1)
    again = patch.msg("ping")
    patch.chain(patch.obj("loadbang"), again, rig)
    for number, step in enumerate(steps):
        if isinstance(step, str):
            message = patch.msg(f"{step}, ping")
            patch.connect(message, rig)
        else:
            message = patch.obj(f"delay {step}")
            patch.connect(message, again)
        patch.connect(choose, message, outlet=number)
    patch.connect(choose, patch.msg("; pd quit"), outlet=len(steps))

    told: list[list[str]] = [[]]
    for line in patch.run(batch=False):
        if line.startswith("out: done /rig/ping "):
            told.append([])
        else:
            told[-1].append(line)
    assert not told[0] and not told[-1] and len(told) == len(steps) + 2, told
    return told[1:-1]


def test_builds_asks_and_takes_apart(clocked_port: int) -> None:
    told = ask(
        clocked_port,
        "new a1 gain gain -3, new b1 gain, chain a1 b1", "a1 gain", "a1 gain -12, a1 gain", "show",
        "b1 gain -20 50", "b1 gain", "disconnect a1 b1, free a1, free b1", "show",
    )  # fmt: skip
    assert told[0] == ["out: done /rig/new a1 gain", "out: done /rig/new b1 gain", "out: done /rig/chain a1 b1"]
    assert told[1] == ["out: a1 gain -3"]
    assert told[2] == ["out: done /rig/a1/gain -12", "out: a1 gain -12"]
    assert told[3] == ["out: show node a1 gain", "out: show node b1 gain", "out: show connection a1 b1 1",
                       "out: done /rig/list"]
    assert told[5] == ["out: b1 gain -20"]
    assert told[7] == ["out: done /rig/list"]


def test_every_word_of_the_rig(clocked_port: int) -> None:
    told = ask(
        clocked_port,
        "show types", "show params delay", "new hand predictor model wander.mdrnn run 0, new g2 gain",
        "map hand 1 /rig/g2/gain -6 6, unmap hand 1", "save evening, free g2, load evening, g2 gain",
        "subscribe /rig/g2/gain, unsubscribe /rig/g2/gain", "connect g2 g2, free hand, free g2",
    )  # fmt: skip
    assert "out: show type amp" in told[0] and told[0][-1] == "out: done /rig/list types"
    assert any(line.startswith("out: show param delay time 1 2000 350 ms") for line in told[1])
    assert [line.split()[2] for line in told[2]] == ["/rig/new", "/rig/new"]
    assert [line.split()[2] for line in told[3]] == ["/rig/map", "/rig/unmap"]
    assert told[4][-1] == "out: g2 gain 0" and not complaints(told[4])
    assert [line.split()[2] for line in told[5] if "done" in line] == ["/rig/subscribe", "/rig/unsubscribe"]
    assert told[6][-2:] == ["out: done /rig/free hand", "out: done /rig/free g2"]


@pytest.mark.parametrize("message, code", [
    ("amp gain 3", "not_found"), ("fly away", "not_found"), ("new", "bad_request"), ("new x rocket", "unknown"),
    ("new x amp model nowhere.nam", "bad_file"), ("load never", "not_found"), ("1 2 3", "not_found"),
])  # fmt: skip
def test_errors_come_out_and_are_in_the_console(clocked_port: int, message: str, code: str) -> None:
    told = ask(clocked_port, message)[0]
    assert len(told) == 2
    assert told[0].startswith("neurig: ") and told[0].endswith(f" {code})")
    assert told[1].startswith("out: error /rig/") and told[1].split()[3] == code


def test_says_when_no_server_answers(free_port: Callable[[], int]) -> None:
    patch = Patch()
    begin, rig = patch.obj("loadbang"), patch.obj(f"neurig.rig -port {free_port()}")
    patch.chain(begin, rig, patch.obj("print out"))
    patch.at(begin, 3200, "; pd quit", rig)
    told = patch.run(batch=False)
    assert told[0] == "neurig: no answer: is a rig running (neurig serve)? (/rig unavailable)"
    assert told[1].startswith("out: error /rig unavailable ") and len(told) == 2


def test_follows_what_it_subscribed_to(clocked_port: int) -> None:
    told = ask(clocked_port, "new g3 gain, subscribe /rig/g3/gain", "g3 gain -20 100", 300, "free g3")
    values = [float(line.split()[-1]) for line in told[1] + told[2] if line.startswith("out: g3 gain")]
    assert values and values[-1] == -20


def test_sound_is_built_and_steered_from_pd(jack_server: object, tmp_path: Path, free_port: Callable[[], int]) -> None:
    """A steady signal at two levels through a rig on JACK, recorded by the rig: the recording has both."""
    heard, port = tmp_path / "heard.wav", free_port()
    soundfile.write(tmp_path / "ones.wav", np.full(48000, 0.5), 48000)
    with serving(tmp_path, port, "--backend", "jack", env=jack_server.env):
        told = ask(
            port,
            f"new ones player file {tmp_path}/ones.wav, new g gain, new rec recorder file {heard}, new out output, "
            "chain ones g rec out", 100, "rec record 1", 800, "g gain -20", 800, "rec record 0", 200,
            "free ones, free g, free rec, free out",
        )  # fmt: skip
        assert not any(map(complaints, told)), told
    y, rate = soundfile.read(heard)
    assert rate == jack_server.rate and 0.4 < len(y) / rate < 5
    assert y.max() == pytest.approx(0.5, abs=1e-3)
    assert y[-1000:].mean() == pytest.approx(0.05, abs=1e-4)


def at_port(patch: Path, port: int, folder: Path) -> Path:
    """A copy of a patch whose objects look for their server at this port."""
    text = re.sub(r"(?<= )(neurig\.(?:rig|node|amp|predictor|param))(?=[ ;,])", rf"\1 -port {port}", patch.read_text())
    copy = folder / patch.name
    copy.write_text(text)
    return copy


def test_the_example_builds_and_steers_a_rig(
    live: Live, tmp_path: Path, free_port: Callable[[], int], wait_until: Callable[..., object]
) -> None:
    port = free_port()
    patch = at_port(share("examples", "pd/steer-rig.pd"), port, tmp_path)
    with serving(tmp_path, port, "--backend", "clock"):
        client = Client(port)
        live.send(f"pd open {patch.name} {patch.parent}")
        wait_until(lambda: [entry[0] for entry in client.list()].count("connection") == 4, "four connections")
        whole = ["connection"] * 4 + ["map"] * 3 + ["node"] * 6
        wait_until(lambda: sorted(entry[0] for entry in client.list()) == whole, "the nodes and maps")
        assert client.get("/rig/pd-guitar/play") == 0 and client.get("/rig/pd-hand/run") == 0
        live.send("steer-play 1", "steer-hand 1")
        knobs = "/rig/pd-amp/gain", "/rig/pd-echo/time", "/rig/pd-echo/feedback"
        before = [client.get(knob) for knob in knobs]
        wait_until(lambda: all(client.get(knob) != value for knob, value in zip(knobs, before)), "moving knobs")
        assert client.get("/rig/pd-guitar/play") == 1
        live.send(f"pd-{patch.name} menuclose 1")
        wait_until(lambda: not client.list(), "the rig's end")
        client.close()
    assert not complaints(live.console) and len(live.console) == 1, live.console


@pytest.mark.parametrize("name", ["neurig.amp", "neurig.node", "neurig.predictor", "neurig.param"])
def test_the_help_patches_of_the_nodes(
    live: Live, name: str, clocked_port: int, tmp_path: Path, wait_until: Callable[..., object]
) -> None:
    """They make what they show, say nothing that is wrong, and take it away."""
    client = Client(clocked_port)
    for kind, node, *_ in client.list():
        if kind == "node":
            client.do("/rig/free", node)
    patch = at_port(share("pd", f"{name}-help.pd"), clocked_port, tmp_path)
    made = set(re.findall(r"#X obj \d+ \d+ neurig\.(?:node|amp|predictor) -port \d+\s(help-\w+)", patch.read_text()))
    assert made
    live.send(f"pd open {patch.name} {patch.parent}")
    wait_until(lambda: {entry[1] for entry in client.list() if entry[0] == "node"} == made, f"{made}")
    live.send(f"pd-{patch.name} menuclose 1")
    wait_until(lambda: not client.list(), "their end")
    client.close()
    assert len(live.console) == 1, live.console


def test_the_help_patch_speaks_with_a_rig(clocked_port: int, tmp_path: Path) -> None:
    boxes = Boxes(share("pd", "neurig.rig-help.pd"))
    boxes.replace("obj", "neurig.rig -port", f"neurig.rig -port {clocked_port}")
    messages = "new guitar", "amp gain", "out gain", "new hand", "free hand", "show", "amp gian", "save", "load", \
        "free guitar"
    for number, start in enumerate(messages, 1):
        boxes.click(150 * number, "msg", start)
    boxes.click(100, "obj", "bng ")
    console = run(boxes.write(tmp_path / "help.pd", quit_after=1800), batch=False)
    assert not [line for line in console if line.startswith("error")], "\n".join(console)
    mistakes = [line for line in console if line.startswith("neurig: ")]
    assert [line.split("(")[-1] for line in mistakes] == ["/rig/amp/gain bad_value)", "/rig/amp/gian unknown)"]
    assert "show: node amp amp" in console
