"""What the tests of all folders share: the reference data, small predictors, free ports, a private JACK server, and a way
to wait."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

T = TypeVar("T")

# In the background, or under nohup, these are ignored; what the tests start is ended by them all the same.
for _number, _usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _usual)


COMPUTING = ("core", "evaluation", "models", "python", "training")
"""Folders whose tests need no sound server and no clock."""


class _Scheduling(LoadScopeScheduling):
    """Of two processes, for pytest-xdist: those tests that play run one after the other, beside those that compute."""

    def _split_scope(self, nodeid: str) -> str:
        folder = nodeid.split("/")[1]
        return folder if folder in COMPUTING else "playing"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling:
    return _Scheduling(config, log)


ALONE = "interaction"
"""During this folder's tests, which look at the clock, the other process waits. On a busy machine JACK, too, may stand
still for good when many clients come and go."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    here = Path(__file__)
    with here.open() as gate, here.with_name("hosts.py").open() as machine:  # any two files
        fcntl.flock(gate, fcntl.LOCK_EX)  # who waits for the machine is the next
        fcntl.flock(machine, fcntl.LOCK_EX if item.path.parent.name == ALONE else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        try:
            return (yield)
        finally:
            fcntl.flock(machine, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of reference models, renders and recordings; tests that need it are skipped where it is absent."""
    folder = os.environ.get("NEURIG_TEST_DATA")
    if not folder:
        pytest.skip("NEURIG_TEST_DATA is not set: it names the folder with the reference data")
    path = Path(folder)
    assert path.is_dir(), f"NEURIG_TEST_DATA is {folder}, which is not a folder"
    return path.resolve()


@pytest.fixture(scope="session")
def predictor_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a small predictor with random weights and gives its path. It plays about `tempo` frames per second."""
    folder = tmp_path_factory.mktemp("predictors")

    def write(name: str = "small.mdrnn", dimension: int = 3, tempo: float = 20.0, seed: int = 1) -> Path:
        units, layers, mixtures, random = 8, 2, 2, np.random.default_rng(seed)
        weights = []
        for layer in range(layers):
            inputs = dimension if layer == 0 else units
            weights += [
                random.standard_normal((inputs, 4 * units)) * 0.2,
                random.standard_normal((units, 4 * units)) * 0.2,
                np.zeros(4 * units),
            ]
        mus = np.full((mixtures, dimension), 5.0)  # of tenths: the middle
        mus[:, 0] = 10.0 / tempo
        weights += [
            random.standard_normal((units, mixtures * dimension)) * 0.3,
            mus,
            np.zeros((units, mixtures * dimension)),
            np.full(mixtures * dimension, -0.5),
            np.zeros((units, mixtures)),
            np.zeros(mixtures),
        ]
        path = folder / name
        path.write_text(
            json.dumps(
                {
                    "architecture": "MDRNN",
                    "version": "1.0",
                    "config": {
                        "dimension": dimension,
                        "units": units,
                        "layers": layers,
                        "mixtures": mixtures,
                        "scale": 10,
                    },
                    "metadata": {},
                    "weights": np.concatenate([np.ravel(part) for part in weights]).tolist(),
                }
            )
        )
        return path

    return write


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Gives a UDP port of the loopback interface that nobody uses; another one at each call."""
    return _free_port


_ports_given: set[int] = set()


def _free_port() -> int:
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _ports_given:
            _ports_given.add(port)
            return port


@pytest.fixture
def wait_until() -> Callable[..., object]:
    """The function :func:`_wait_until`: waits for a condition, and fails with a sentence that says which."""
    return _wait_until


def _wait_until(condition: Callable[[], T], what: str, seconds: float = 10.0, every: float = 0.02) -> T:
    """Calls ``condition`` until its result is true and returns that result.

    :param what: what is waited for, for the failure's message
    :param seconds: after which the test fails
    :param every: seconds between two calls
    """
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds:g} s in vain for {what}")
        time.sleep(every)


@dataclass(frozen=True)
class JackServer:
    """A JACK server of a test's own.

    :ivar name: the server's name
    :ivar env: environment for its clients (give it to ``subprocess.Popen(..., env=...)``)
    :ivar rate: Hz
    :ivar block: frames
    :ivar pid: of jackd
    """

    name: str
    env: dict[str, str] = field(repr=False)
    rate: int
    block: int
    pid: int

    def ports(self) -> list[str]:
        """The names of all ports, as ``client:port``."""
        listing = subprocess.run(["jack_lsp"], env=self.env, check=True, capture_output=True, text=True, timeout=10)
        return listing.stdout.splitlines()

    def connect(self, source: str, sink: str) -> None:
        """Connects two ports.

        :raises subprocess.CalledProcessError: where one is missing
        """
        subprocess.run(["jack_connect", source, sink], env=self.env, check=True, capture_output=True, timeout=10)


@pytest.fixture(scope="session")
def jack_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JackServer]:
    """A JACK server with the dummy driver at 48 kHz and 64 frames, ready for clients, for the whole run.

    It has no hardware and shares nothing with other servers; tests name their clients so that they do not meet.
    """
    yield from _run_jack(tmp_path_factory.mktemp("jack"), rate=48000, block=64)


def _run_jack(folder: Path, rate: int, block: int, *options: str) -> Iterator[JackServer]:
    if shutil.which("jackd") is None:
        pytest.fail("jackd is missing: ./check installs it")
    name, lock = _jack_name()
    env = os.environ | {
        "JACK_DEFAULT_SERVER": name,
        "JACK_NO_START_SERVER": "1",
        "JACK_NO_AUDIO_RESERVATION": "1",
    }
    log = folder / "jackd.log"
    priority = "--realtime" if _realtime() else "--no-realtime"  # a busy machine makes it lose what is late
    command = ["jackd", priority, *options, "--name", name,
               "-d", "dummy", "--rate", str(rate), "--period", str(block)]
    with log.open("wb") as output:
        server = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        ready = subprocess.run(["jack_wait", "--wait", "--timeout", "20"], env=env, capture_output=True, text=True)
        assert ready.returncode == 0 and server.poll() is None, f"jackd did not start:\n{log.read_text()}"
        yield JackServer(name=name, env=env, rate=rate, block=block, pid=server.pid)
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        lock.close()


def _realtime() -> bool:
    """Whether this user's threads may be real-time threads."""
    return subprocess.run(["chrt", "--rr", "10", "true"], capture_output=True).returncode == 0


def _command(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:  # it has ended
        return ""


def _jack_name() -> tuple[str, IO[str]]:
    """A server name that no test run uses, and the open file that keeps it so.

    JACK's registry holds eight names and forgets a server that was killed only when one of the same name starts.
    So the names are few; and a registry whose servers are all dead is removed.
    """
    folder = Path(tempfile.gettempdir())
    with (folder / "neurig-test-jack.lock").open("w") as registry:
        fcntl.flock(registry, fcntl.LOCK_EX)
        if not any(_command(process) in ("jackd", "jackdbus") for process in Path("/proc").glob("[0-9]*")):
            Path("/dev/shm/jack-shm-registry").unlink(missing_ok=True)
        for number in range(8):
            lock = (folder / f"neurig-test-jack-{number}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return f"neurig-test-{number}", lock
            except BlockingIOError:
                lock.close()
    pytest.fail("eight JACK servers of tests are running already")
