"""NeuralAmp and MDRNN in running servers, on a JACK server of the tests' own: what a client hears back, and what a
crowd does."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage

from sc.render import SERVERS, UGen, environment, message, synthdef

REPORT = 512  # floats


class Server:
    """A running server, and a client of it."""

    def __init__(self, program: str, port: int, folder: Path, env: dict[str, str]) -> None:
        self.log = folder / f"{program}.log"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(0.2)
        command = [program, "-u", str(port), "-i", "0", "-o", "2", "-D", "0"]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output)

    def send(self, *parts: object) -> None:
        self.socket.send(message(*parts))  # type: ignore[arg-type]

    def ask(self, *parts: object, answer: tuple[object, ...], seconds: float = 10) -> list:
        """Sends a message and waits for one that begins as ``answer`` does; gives its arguments."""
        end = time.monotonic() + seconds
        self.send(*parts)
        while time.monotonic() < end:
            try:
                got = OscMessage(self.socket.recv(65536))
            except (TimeoutError, ConnectionRefusedError):
                if parts[0] == "/status":  # it may not have been there yet
                    time.sleep(0.05)
                    self.send(*parts)
                continue
            if (got.address, *got.params)[: len(answer)] == answer:
                return list(got.params)
        pytest.fail(f"no {answer[0]} to {parts[0]}; the server said:\n{self.log.read_text()}")

    def sync(self) -> None:
        self.ask("/sync", 1, answer=("/synced",))

    def command(self, name: str, *arguments: object) -> tuple[dict[str, float], str]:
        """Performs a command and has its report sent, in buffer 0."""
        report = message("/b_getn", 0, 0, REPORT)
        values = self.ask("/cmd", name, *arguments, 0, report, answer=("/b_setn", 0))[3:]
        names = ("ok", "loaded", "rate", "latency", "params", "users", "length")
        head = dict(zip(names, values, strict=False))
        return head, bytes(int(value) for value in values[8 : 8 + int(head["length"])]).decode()

    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, jack_server, free_port, tmp_path: Path) -> Iterator[Server]:
    started = Server(request.param, free_port(), tmp_path, environment(tmp_path) | {
        key: jack_server.env[key] for key in jack_server.env if key.startswith("JACK")
    })  # fmt: skip
    try:
        started.ask("/status", answer=("/status.reply",), seconds=20)
        started.ask("/b_alloc", 0, REPORT, 1, answer=("/done", "/b_alloc", 0))
        yield started
        assert started.process.poll() is None, f"the server has died:\n{started.log.read_text()}"
        started.send("/quit")
        if request.param == "scsynth":  # supernova sometimes aborts or hangs in quitting, also without our plugins
            assert started.process.wait(10) == 0
    finally:
        started.process.kill()
        started.process.wait()
        started.socket.close()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Writes an amp that delays its input: ``write(name, taps, rate)``."""

    def write(name: str, taps: int = 8, rate: int = 48000) -> str:
        config = {"receptive_field": taps, "bias": False}
        amp = {"architecture": "Linear", "config": config, "weights": [0.5] + [0] * (taps - 1), "sample_rate": rate}
        (tmp_path / name).write_text(json.dumps(amp))
        return str(tmp_path / name)

    return write


def define(server: Server) -> None:
    noise = UGen("WhiteNoise", [])
    amp = UGen("NeuralAmp", [noise, "model", "gain", 0, 0, 0, 12, 1])
    definition = synthdef("amp", [noise, amp, UGen("Out", [0, amp], outputs=0)], model=0, gain=-20)
    server.ask("/d_recv", definition, answer=("/done", "/d_recv"))


def test_reports(server: Server, write: Callable[..., str]) -> None:
    good, other = write("é.nam"), write("44.nam", rate=44100)
    head, text = server.command("neuralamp_query", 3)
    assert (head["ok"], head["loaded"], head["users"], text) == (1, 0, 0, "")
    head, text = server.command("neuralamp_read", 3, good)
    assert (head["ok"], head["loaded"], head["rate"], head["latency"], head["params"]) == (1, 1, 48000, 0, 0)
    assert text == good
    define(server)
    for node in (1000, 1001):
        server.send("/s_new", "amp", node, 0, 0, "model", 3)
    server.sync()
    assert server.command("neuralamp_query", 3)[0]["users"] == 2
    head, text = server.command("neuralamp_read", 3, good + ".not")
    assert (head["ok"], head["loaded"], head["rate"], head["users"]) == (0, 1, 48000, 2)
    assert "No such file" in text
    assert server.command("neuralamp_query", 3)[1] == good, "the old one is still there"
    head, _ = server.command("neuralamp_read", 3, other)
    assert head["rate"] == 44100 and head["latency"] > 0
    server.ask("/cmd", "neuralamp_free", 3, answer=("/done", "neuralamp_free"))
    assert server.command("neuralamp_query", 3)[0]["loaded"] == 0
    head, text = server.command("neuralamp_query", 4000)
    assert head["ok"] == 0 and "0 to 1023" in text
    # buffers that are too small, not there, or none
    server.ask("/b_alloc", 1, 4, 1, answer=("/done", "/b_alloc", 1))
    for buffer in (1, 2, -5, 10**6):
        server.send("/cmd", "neuralamp_query", 3, buffer)
        server.send("/cmd", "neuralamp_read", 3, good, buffer)
    server.sync()


def test_crowd(server: Server, write: Callable[..., str], tmp_path: Path) -> None:
    """300 times at random: create, free, replace, with good files and bad ones."""
    define(server)
    (tmp_path / "bad.nam").write_text("{")
    files = [write("a.nam"), write("b.nam", 4000), write("c.nam", rate=44100), str(tmp_path / "bad.nam"), "/nothing"]
    choose = random.Random(3)
    alive: list[int] = []
    for k in range(300):
        action = choose.random()
        if action < 0.45:
            alive.append(1000 + k)
            server.send("/s_new", "amp", 1000 + k, 0, 0, "model", choose.randrange(4))
        elif action < 0.75 and alive:
            server.send("/n_free", alive.pop(choose.randrange(len(alive))))
        elif action < 0.8 and alive:
            server.send("/n_run", choose.choice(alive), choose.randrange(2))
        elif action < 0.97:
            server.send("/cmd", "neuralamp_read", choose.randrange(3), choose.choice(files))
        else:
            server.send("/cmd", "neuralamp_free", choose.randrange(3))
        if k % 10 == 0:
            server.sync()
    _, ugens, synths, *_ = server.ask("/status", answer=("/status.reply",))
    assert synths == len(alive) and ugens == 4 * len(alive)
    assert sum(server.command("neuralamp_query", slot)[0]["users"] for slot in range(4)) == len(alive)
    assert server.command("neuralamp_read", 0, files[1])[0]["ok"] == 1
    server.send("/g_freeAll", 0)
    server.sync()
    assert server.command("neuralamp_query", 0)[0]["users"] == 0


def test_crowd_of_predictors(server: Server, predictor_file: Callable[..., Path], tmp_path: Path) -> None:
    """300 times at random: create, free, replace, record, with models that fit, that do not, and that are none."""
    hands = [UGen("LFNoise0", [50], "control"), UGen("LFNoise0", [50], "control")]
    settings = ["mode", 0.05, 0.1, 1, 0.01, 1, 1, 0, UGen("Dust", [2], "control"), UGen("Dust", [30], "control")]
    player = UGen("MDRNN", ["model", *settings, *hands], "control", 4)
    definition = synthdef("player", [*hands, *settings[-2:], player], model=0, mode=0)
    server.ask("/d_recv", definition, answer=("/done", "/d_recv"))
    server.ask("/notify", 1, answer=("/done", "/notify"))
    (tmp_path / "bad.mdrnn").write_text("{")
    files = [predictor_file(), predictor_file("other.mdrnn", seed=2), predictor_file("wide.mdrnn", dimension=9),
             tmp_path / "bad.mdrnn", "/nothing"]  # fmt: skip
    choose, alive = random.Random(4), []
    for k in range(300):
        action = choose.random()
        if action < 0.45:
            alive.append(1000 + k)
            server.send("/s_new", "player", 1000 + k, 0, 0, "model", choose.randrange(4), "mode", choose.randrange(5))
        elif action < 0.65 and alive:
            server.send("/n_free", alive.pop(choose.randrange(len(alive))))
        elif action < 0.75 and alive:
            server.send("/n_set", choose.choice(alive), "mode", choose.randrange(5))
        elif action < 0.8:
            server.send("/cmd", "mdrnn_record", choose.randrange(4), choose.randrange(2))
        elif action < 0.97:
            server.send("/cmd", "mdrnn_read", choose.randrange(3), str(choose.choice(files)))
        else:
            server.send("/cmd", "mdrnn_free", choose.randrange(3))
        if k % 10 == 0:
            server.sync()
    assert server.ask("/status", answer=("/status.reply",))[2] == len(alive)
    assert sum(server.command("mdrnn_query", slot)[0]["users"] for slot in range(4)) == len(alive)
    assert server.command("mdrnn_read", 0, str(files[0]))[0]["ok"] == 1
    server.send("/cmd", "mdrnn_record", 0, 1)
    server.send("/s_new", "player", 5000, 0, 0, "model", 0, "mode", 2)
    frame = server.ask("/sync", 2, answer=("/mdrnn", 5000, 0, 0.0))
    assert len(frame) == 7 and all(0 <= value <= 1 for value in frame[4:])
    server.send("/g_freeAll", 0)
    server.sync()
    assert server.command("mdrnn_query", 0)[0]["users"] == 0


def test_what_is_replaced_is_freed(server: Server, write: Callable[..., str]) -> None:
    """Models of 1 MiB each, replaced a hundred times under three units: memory stays what it was."""
    define(server)
    files = [write("a.nam", 100_000), write("b.nam", 100_000)]
    server.command("neuralamp_read", 0, files[0])
    for node in range(1000, 1003):
        server.send("/s_new", "amp", node, 0, 0)

    def replace(times: int) -> float:
        for k in range(times):
            assert server.command("neuralamp_read", 0, files[k % 2])[0]["ok"] == 1
        return server.memory()

    before = replace(10)
    assert replace(60) < before + 60
