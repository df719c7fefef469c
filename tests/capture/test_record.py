"""Recording through JACK: real servers with the dummy driver, a rig or a client as the device, and what goes wrong."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from capture.conftest import RATE, Samples
from click.testing import CliRunner
from conftest import JackServer, _run_jack
from python.helpers import Command, esr
from rig.client import Server

import neurig
from neurig.capture.check import check
from neurig.cli import main
from neurig.files import share

BLOCK = 8192  # so long that there are few xruns but those that are meant, on a busy machine, too
SECONDS = 3.2
DEVICE = Path(__file__).with_name("jack_device.py")
LOST = "This take is lost: JACK had an xrun after"


@pytest.fixture(scope="module")
def jack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JackServer]:
    yield from _run_jack(tmp_path_factory.mktemp("jack"), RATE, BLOCK)


class Device:
    """A client ``NAME`` of JACK that answers what it hears, and can be told to behave badly."""

    def __init__(self, server: JackServer, name: str) -> None:
        self.ports = ["--input", f"{name}:out", "--output", f"{name}:in"]
        self._process = subprocess.Popen([sys.executable, DEVICE, name], env=server.env, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        assert self._process.stdout and self._process.stdout.readline() == "ready\n"

    def tell(self, line: str) -> None:
        assert self._process.stdin and self._process.stdout
        print(line, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        self._process.communicate(timeout=10)


@contextmanager
def device_on(server: JackServer, name: str) -> Iterator[Device]:
    device = Device(server, name)
    try:
        yield device
    finally:
        device.end()


@pytest.fixture(scope="module")
def shared_device(jack: JackServer) -> Iterator[Device]:
    with device_on(jack, "device") as device:
        yield device


@pytest.fixture
def device(jack: JackServer, shared_device: Device, wait_until: Callable[..., Any]) -> Device:
    """Halves the signal, as long as it is not told otherwise."""
    wait_until(lambda: not any(port.startswith("neurig") for port in jack.ports()), "the last take to be over")
    shared_device.tell("late 0 0")
    shared_device.tell("gain 0.5")
    return shared_device


@pytest.fixture
def played(playing: Samples, tmp_path: Path) -> Path:
    """What is played into the device: a few seconds of strings."""
    path = tmp_path / "played.wav"
    start = round(1.2 * RATE)
    soundfile.write(path, playing[start : start + round(SECONDS * RATE)], RATE, "PCM_24")
    return path


@contextmanager
def recording(server: JackServer, played: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``neurig capture record`` while it runs, from the moment on that a take begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", "neurig.cli", "capture", "record", played.name, "out.wav", *arguments],
        cwd=played.parent, env=server.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        assert process.stderr
        first = process.stderr.readline()
        assert first.startswith("Take 1: 3 s through JACK (48000 Hz, 8192 frames)"), first
        yield process
    finally:
        process.kill()
        process.communicate()


def nothing_is_left(folder: Path) -> bool:
    return [path.name for path in folder.iterdir()] == ["played.wav"]


def test_a_rig_with_an_amp_is_recorded(jack: JackServer, played: Path, tmp_path: Path, command: Command) -> None:
    """What comes back is what the model makes of the signal, late by what JACK adds."""
    rig = Server(backend="jack", env=jack.env | {"XDG_DATA_HOME": str(tmp_path / "data")})
    try:
        [name] = {port.split(":")[0] for port in jack.ports() if port.startswith("neurig")}
        for node in (("in", "input"), ("amp", "amp", "model", str(share("models", "crunch.nam"))), ("out", "output")):
            rig.client.do("/rig/new", *node)
        rig.client.do("/rig/chain", "in", "amp", "out")
        done = command("capture", "record", played, "out.wav", "--input", f"{name}:output_1", "--output",
                       f"{name}:input_1", "--tries", 30, env=jack.env)
    finally:
        rig.stop()
    assert "24 bit" in done.stdout and done.stdout.endswith("Next: neurig train amp " + f"{played} out.wav\n")
    report = check(played, tmp_path / "out.wav")
    assert report.trainable and report.removed is not None and report.removed % BLOCK == 0
    made = neurig.load(share("models", "crunch.nam")).instance(RATE).process(report.aligned_input)
    assert esr(made, report.aligned_output) < 1e-10


def test_a_clipped_take_is_refused_at_once(jack: JackServer, device: Device, played: Path, command: Command) -> None:
    device.tell("gain 20")
    (played.parent / "out.wav").write_text("an older one")
    done = subprocess.run([sys.executable, "-m", "neurig.cli", "capture", "record", "played.wav", "out.wav",
                           *device.ports], cwd=played.parent, env=jack.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "was at full scale, and clipped: nothing was written. Lower the level" in done.stderr
    assert (played.parent / "out.wav").read_text() == "an older one"


def test_a_take_with_an_xrun_is_repeated(jack: JackServer, device: Device, played: Path, tmp_path: Path) -> None:
    device.tell("late 0.6 1")
    with recording(jack, played, *device.ports, "--float", "--tries", "30") as process:
        out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert errors.startswith(LOST) and "mono, take " in out and "32-bit float" in out
    report = check(played, tmp_path / "out.wav")
    assert esr(report.aligned_input, 2 * report.aligned_output) < 1e-12


def test_takes_that_are_all_lost(jack: JackServer, device: Device, played: Path, tmp_path: Path) -> None:
    device.tell("late 0.6 1000")
    with recording(jack, played, *device.ports, "--tries", "2") as process:
        out, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert errors.count(LOST) == 1
    assert "Error: out.wav: not written: 2 takes were lost, the last one because JACK had an xrun" in errors
    assert nothing_is_left(tmp_path)


def test_nothing_comes_back(jack: JackServer, device: Device, played: Path, tmp_path: Path) -> None:
    device.tell("gain 0")
    with recording(jack, played, *device.ports, "--tries", "30") as process:
        out, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "Nothing comes back yet" in errors
    assert "error: out.wav is silent" in out and "cannot be trained on" in errors
    assert (tmp_path / "out.wav").exists()


def test_meters_in_a_terminal(jack: JackServer, device: Device, played: Path) -> None:
    shown, terminal = os.openpty()
    process = subprocess.Popen([sys.executable, "-m", "neurig.cli", "capture", "record", "played.wav", "out.wav",
                                *device.ports, "--tries", "30"], cwd=played.parent, stdout=subprocess.PIPE,
                               stderr=terminal, env=jack.env | {"TERM": "xterm", "COLUMNS": "100"})
    os.close(terminal)
    text = b""
    with suppress(OSError):  # the terminal's other side is closed
        while part := os.read(shown, 4096):
            text += part
    os.close(shown)
    process.communicate(timeout=20)
    said = text.decode()
    assert process.returncode == 0 and "Traceback" not in said, said
    assert re.search(r"played  .*█.* -?\d+\.\d dB", said) and re.search(r"heard   .*█.*, highest -\d+\.\d dB", said)
    assert "s left" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(jack: JackServer, device: Device, played: Path, tmp_path: Path, wait_until: Callable[..., Any],
                 number: signal.Signals) -> None:
    before = jack.ports()
    with recording(jack, played, *device.ports) as process:
        assert len(jack.ports()) > len(before)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.endswith("Error: out.wav: not written, since the recording was stopped\n")
    assert nothing_is_left(tmp_path)
    wait_until(lambda: jack.ports() == before, "its ports to go")


def test_the_server_ends_midway(played: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    running = _run_jack(tmp_path_factory.mktemp("jack"), RATE, BLOCK)
    server = next(running)
    try:
        with device_on(server, "device") as device, recording(server, played, *device.ports) as process:
            os.kill(server.pid, signal.SIGTERM)
            os.waitpid(server.pid, 0)
            _, errors = process.communicate(timeout=30)
    finally:
        running.close()
    assert process.returncode == 1
    assert "Error: recording is not possible: the JACK server has gone" in errors
    assert nothing_is_left(tmp_path)


def test_the_recording_process_dies(jack: JackServer, device: Device, played: Path, tmp_path: Path) -> None:
    with recording(jack, played, *device.ports) as process:
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGSEGV)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "Error: the recording process ended in the middle (status -11)" in errors
    assert nothing_is_left(tmp_path)


@pytest.fixture
def refused(played: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Calls ``neurig capture record`` in this process, which fails and leaves nothing. Returns what it says."""

    def call(*arguments: str, env: dict[str, str] | None = None, source: str = "played.wav",
             target: str = "out.wav") -> str:
        monkeypatch.chdir(played.parent)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        before = sorted(played.parent.iterdir())
        done = CliRunner().invoke(main, ["capture", "record", source, target, *arguments])
        assert done.exit_code in (1, 2) and "Error: " in done.stderr, done.output
        assert sorted(played.parent.iterdir()) == before
        return done.stderr

    return call


@pytest.mark.parametrize("backend, reason", [
    ("jack", "no JACK server is running"), ("portaudio", "no sound card was found"),
    ("auto", "no JACK server is running and no sound card was found"),
])
def test_there_is_nothing_to_record_with(refused: Callable[..., str], backend: str, reason: str) -> None:
    if backend != "jack" and Path("/dev/snd").exists():  # there is, and the tests shall not be heard
        reason, arguments = "a sound card's inputs are counted", ["--input", "any:port"]
        reason = f"no JACK server is running and {reason}" if backend == "auto" else reason
    else:
        arguments = []
    said = refused("--backend", backend, *arguments, env={"JACK_DEFAULT_SERVER": "neurig-none"})
    assert f"Error: recording is not possible: {reason}" in said


@pytest.mark.parametrize("arguments, reason", [
    (["--input", "3"], "JACK's sound card has no input 3: it has 2"),
    (["--output", "nobody:in"], "JACK has no port nobody:in to play to. There are "),
    (["--input", "system:playback_1"], "JACK has no port system:playback_1 to listen to"),
    (["--level", "12"], "at +12 dB it would be clipped when it is played; at most +"),
])
def test_what_cannot_be(jack: JackServer, refused: Callable[..., str], arguments: list[str], reason: str) -> None:
    assert reason in refused(*arguments, env=jack.env)


def test_wrong_files(played: Path, refused: Callable[..., str]) -> None:
    assert "there is no such file" in refused(source="none.wav")
    assert "this is the signal" in refused(target="played.wav")
    assert "has to end in .wav" in refused(target="out.mp3")
    soundfile.write(played.with_name("silent.wav"), np.zeros(RATE), RATE)
    assert "it is silent" in refused(source="silent.wav")
    assert "'0' is neither a channel's number" in refused("--input", "0")
