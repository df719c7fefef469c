"""NeuralAmp and MDRNN in running servers, on a JACK server of the tests' own: what a client hears back, and what a
crowd does. NEURIG_OPERATIONS=3000 has longer runs of operations by chance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import neurig
import numpy as np
import pytest
from neurig.files import share

from core.models import mdrnn_file
from sc.random_operations import drive
from sc.render import SERVERS, UGen, environment, synthdef
from sc.server import Server

OPERATIONS = int(os.environ.get("NEURIG_OPERATIONS", "300"))  # of those by chance

@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest, jack_server, free_port, tmp_path: Path) -> Iterator[Server]:
    started = Server(request.param, free_port(), tmp_path, environment(tmp_path) | {
        key: jack_server.env[key] for key in jack_server.env if key.startswith("JACK")
    }, seconds=60)  # fmt: skip
    try:
        yield started.ready()
        assert started.process.poll() is None, f"the server has died:\n{started.log.read_text()}"
        started.send("/g_freeAll", 0)
        started.sync()  # scsynth does not always survive that JACK cancels its thread while that is busy
        started.send("/quit")
        assert started.process.wait(60) == 0
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
    assert server.command("neuralamp_read", 3, "~/é.nam")[1] == good, "in the home folder of the server's user"
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


@pytest.mark.parametrize("seed", [1, 2])
def test_operations_by_chance(server: Server, seed: int, tmp_path: Path) -> None:
    counts = drive(server, OPERATIONS, seed, tmp_path)
    assert sum(counts.values()) == OPERATIONS and min(counts.values()) > 0


def test_frames_without_a_clock(server: Server) -> None:
    """Those that Python gives, in pieces as at once; what is wrong is refused with a reason."""
    path = share("models", "wander.mdrnn")

    def ask(performance: int, position: int, count: int, *inputs: float, seed: int = 3, pitemp: float = 1.0,
            sigmatemp: float = 0.25, slot: int = 5) -> np.ndarray | str:  # fmt: skip
        values = server.report("mdrnn_predict", slot, performance, position, count, seed, pitemp, sigmatemp,
                               len(inputs), *map(float, inputs))  # fmt: skip
        return np.reshape(values[8:], (-1, 4)) if values[0] else bytes(map(int, values[8:])).decode()

    assert "empty" in ask(1, 0, 1)
    server.command("mdrnn_read", 5, str(path))
    predictor = neurig.Predictor(path, seed=3)
    expected = np.array([predictor.predict(1.0, 0.25) for _ in range(200)])
    assert len(ask(1, 0, 500)) == 126, "as many as there is room for"
    pieces = [ask(2, position, 50) for position in range(0, 200, 50)]
    np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(ask(2, 100, 50), expected[100:150], rtol=0, atol=1e-6)
    for number in range(100, 170):  # more performances than are kept
        ask(number, 0, 1)
    np.testing.assert_allclose(ask(2, 150, 50), expected[150:], rtol=0, atol=1e-6)
    frames = np.array([[0.1, 0.9, 0.9, 0.9], [0.2, 0.8, 0.9, 1.0]], np.float32)
    predictor = neurig.Predictor(path, seed=9)
    for frame in frames:
        predictor.condition(frame)
    expected = np.array([predictor.predict(1.0, 0.25) for _ in range(5)])
    np.testing.assert_allclose(ask(3, 0, 5, *frames.ravel(), seed=9), expected, rtol=0, atol=1e-6)

    assert "dimension" in ask(4, 0, 5, 0.1, 0.2)
    assert "from 0 to 1" in ask(4, 0, 5, 0.1, 0.2, 3, 0.2)
    assert "from 0" in ask(4, 0, 5, -1, 0.2, 0.3, 0.2)
    assert "from 0" in ask(4, 0, 5, *[float("nan")] * 4)
    for wrong in ({"pitemp": 0.0}, {"pitemp": float("nan")}, {"sigmatemp": -1.0}, {"sigmatemp": float("inf")}):
        assert "temp" in ask(4, 0, 5, **wrong)
    for position, count in ((-1, 1), (0, 0), (0, -7)):
        assert "position" in ask(4, position, count)
    assert "0 to 1023" in ask(4, 0, 1, slot=1024)
    assert isinstance(ask(4, 2**31 - 1, 1), np.ndarray), "a position far away is not waited for"
    server.command("neuralamp_read", 5, str(share("models", "crunch.nam")))
    assert len(ask(2, 0, 3)) == 3, "amps have slots of their own"
    for arguments in ((), ("x",), (5, "x", "y"), (5, 1, 0, 1, 3, 1.0, 0.1, 10**9), (5, 1, 0, 1, 3, 1.0, 0.1, -9, 1.0)):
        server.send("/cmd", "mdrnn_predict", *arguments)
    server.sync()


def test_a_performance_ends_with_its_model(server: Server, tmp_path: Path) -> None:
    """Another model that comes into the slot, perhaps at the same place in memory, plays its own frames."""
    large, small = tmp_path / "large.mdrnn", tmp_path / "small.mdrnn"
    for path, dimension in ((large, 60), (small, 2)):
        path.write_text(mdrnn_file(dimension, 4, 1, 1, np.random.default_rng(0)))
    predictor = neurig.Predictor(small, seed=3)
    expected = np.array([predictor.predict(1.0, 0.25) for _ in range(253)])[1:]
    for performance in range(5):
        server.command("mdrnn_read", 5, str(large))
        assert server.report("mdrnn_predict", 5, performance, 0, 1, 3, 1.0, 0.25, 0)[0] == 1
        server.ask("/cmd", "mdrnn_free", 5, answer=("/done", "mdrnn_free"))
        server.command("mdrnn_read", 5, str(small))
        played = np.reshape(server.report("mdrnn_predict", 5, performance, 1, 500, 3, 1.0, 0.25, 0)[8:], (-1, 2))
        np.testing.assert_allclose(played, expected, rtol=0, atol=1e-6)


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
