"""The rig over JACK: real servers with the dummy driver."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from conftest import JackServer, _run_jack
from rig.client import Client, Server

Serve = Callable[..., Server]
Wait = Callable[..., Any]


@contextmanager
def jack(folder: Path) -> Iterator[JackServer]:
    """A JACK server of the test's own, which the test may end."""
    running = _run_jack(folder, rate=48000, block=64)
    server = next(running)
    try:
        yield server
    finally:
        running.close()


def clients(jack_server: JackServer) -> set[str]:
    """The names of the rigs."""
    return {port.split(":")[0] for port in jack_server.ports() if port.startswith("neurig")}


def only_client(jack_server: JackServer) -> str:
    (name,) = clients(jack_server)
    return name


def record(rig: Client, path: Path, seconds: float) -> np.ndarray:
    path.unlink(missing_ok=True)
    rig.do("/rig/take/file", str(path))
    rig.do("/rig/take/length", seconds)
    rig.do("/rig/take/record", 1)
    end = time.monotonic() + seconds + 20
    while rig.get("/rig/take/record"):
        assert time.monotonic() < end, "the recording does not end"
        time.sleep(0.05)
    return soundfile.read(path, dtype="float32")[0]


def test_plays_and_hears(serve: Serve, jack_server: JackServer, tmp_path: Path, wait_until: Wait) -> None:
    """From an output through JACK to an input: every sample arrives, once."""
    server = serve(backend="auto", env=jack_server.env)
    assert "through JACK (48000 Hz, 64 frames)" in server.started
    rig = server.client
    noise = (np.random.default_rng(3).standard_normal(24000) * 0.1).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", noise, 48000, subtype="FLOAT")
    rig.do("/rig/new", "p", "player", "file", str(tmp_path / "noise.wav"))
    rig.do("/rig/new", "out", "output", "channel", 1)
    rig.do("/rig/new", "in", "input", "channel", 2)
    rig.do("/rig/new", "take", "recorder")
    rig.do("/rig/connect", "p", "out")
    rig.do("/rig/connect", "in", "take")
    client = only_client(jack_server)
    connections = subprocess.run(
        ["jack_lsp", "-c", f"{client}:output_1"], env=jack_server.env, capture_output=True, text=True
    )
    assert "system:playback_1" in connections.stdout, "it did not connect itself to the card"
    jack_server.connect(f"{client}:output_1", f"{client}:input_2")
    heard = record(rig, tmp_path / "take.wav", 1.0)[4800:]
    start = int(np.argmax(np.correlate(np.tile(noise, 3), heard[:2000], "valid")))
    loop = np.tile(noise, 4)[start : start + len(heard)]
    assert np.abs(heard - loop).max() == 0


def test_connections_come_back_with_the_audio_process(serve: Serve, jack_server: JackServer, wait_until: Wait) -> None:
    """Those that somebody made, and not those that somebody broke."""
    server = serve(backend="jack", env=jack_server.env)
    client = only_client(jack_server)

    def wires() -> list[str]:
        listing = subprocess.run(["jack_lsp", "-c", client], env=jack_server.env, capture_output=True, text=True).stdout
        return sorted(
            f"{port} {other}"
            for part in re.split(r"\n(?=\S)", listing)
            for port, *others in [part.split()]
            for other in others
            if client in port
        )

    jack_server.connect(f"{client}:output_2", f"{client}:input_1")
    subprocess.run(["jack_disconnect", f"{client}:output_1", "system:playback_1"], env=jack_server.env, check=True)
    before = wires()
    assert f"{client}:output_2 {client}:input_1" in before and f"{client}:output_1 system:playback_1" not in before
    time.sleep(1.2)  # it looks every half second
    audio = server.audio_pid
    assert audio
    os.kill(audio, signal.SIGKILL)
    server.client.do("/rig/new", "x", "gain")
    wait_until(lambda: wires() == before, f"the connections {before}")


def test_two_rigs_on_one_server(serve: Serve, jack_server: JackServer) -> None:
    first, second = serve(backend="jack", env=jack_server.env), serve(backend="jack", env=jack_server.env)
    assert first.client.do("/rig/ping") and second.client.do("/rig/ping")
    assert len(clients(jack_server)) == 2


def test_jack_ends_and_comes_back(serve: Serve, tmp_path: Path, wait_until: Wait) -> None:
    """While it is away, a clock drives the rig: recordings and predictors go on."""
    with jack(tmp_path) as jack_server:
        server = serve(backend="auto", env=jack_server.env)
        rig = server.client
        rig.do("/rig/new", "take", "recorder")
        os.kill(
            jack_server.pid, signal.SIGTERM
        )  # killed, it would leave its name in JACK's registry, which holds eight
        os.waitpid(jack_server.pid, 0)  # as long as it is a zombie, JACK takes its name for taken
        rig.do("/rig/new", "x", "gain")
        record(rig, tmp_path / "a.wav", 0.2)
        command = [
            "jackd",
            "--no-realtime",
            "--name",
            jack_server.name,
            "-d",
            "dummy",
            "--rate",
            "48000",
            "--period",
            "128",
        ]
        again = subprocess.Popen(command, env=jack_server.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(
                lambda: (
                    b"neurig:output_1" in subprocess.run(["jack_lsp"], env=jack_server.env, capture_output=True).stdout
                ),
                "the rig to come back to JACK",
                every=0.2,
            )
            record(rig, tmp_path / "b.wav", 0.2)
            assert {entry[1] for entry in rig.list()} == {"take", "x"}
        finally:
            server.stop()
            again.terminate()
            again.wait()


def test_another_block_size(serve: Serve, tmp_path: Path, wait_until: Wait) -> None:
    """JACK changes it while the rig plays: the audio process starts again before pyo writes past its buffers."""
    with jack(tmp_path) as jack_server:
        server = serve(backend="jack", env=jack_server.env)
        rig = server.client
        rig.do("/rig/new", "p", "player", "file", "phrase.wav")
        rig.do("/rig/new", "take", "recorder")
        rig.do("/rig/new", "out", "output")
        rig.do("/rig/chain", "p", "take", "out")
        for size in (512, 32):
            old = server.audio_pid
            subprocess.run(
                ["jack_bufsize", str(size)], env=jack_server.env, check=True, capture_output=True, timeout=10
            )
            wait_until(lambda old=old: server.audio_pid not in (None, old), "a new audio process")
            sound = record(rig, tmp_path / "take.wav", 0.5)
            assert np.abs(sound).max() > 0.01 and len(rig.list()) == 5
        errors = server.stop()
        assert "JACK's block size has changed" in errors


def test_jack_hangs(serve: Serve, tmp_path: Path, wait_until: Wait) -> None:
    """It is noticed, and the rig goes on to answer, and ends."""
    with jack(tmp_path) as jack_server:
        server = serve(backend="auto", env=jack_server.env)
        audio = server.audio_pid
        os.kill(jack_server.pid, signal.SIGSTOP)
        try:
            assert server.client.do("/rig/ping")
            assert server.client.request("/rig/new", "x", "gain", seconds=20)[-1][0] == "/rig/done"
            wait_until(lambda: server.audio_pid != audio, "the audio process to be replaced")
            assert server.client.request("/rig/new", "y", "gain", seconds=20)[-1][0] == "/rig/done"
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(5)
            assert time.monotonic() - began < 1.5
        finally:
            os.kill(jack_server.pid, signal.SIGCONT)


@pytest.mark.parametrize("key", ["rate", "block"])
def test_jack_has_its_own_rate_and_block(serve: Serve, jack_server: JackServer, tmp_path: Path, key: str) -> None:
    (tmp_path / "rig.toml").write_text(f"[audio]\n{key} = {44100 if key == 'rate' else 1024}\n")
    assert "(48000 Hz, 64 frames)" in serve(tmp_path / "rig.toml", backend="jack", env=jack_server.env).started
