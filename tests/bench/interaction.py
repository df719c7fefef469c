"""How fast, how punctual and how light ``neurig run`` is; beside IMPSY, where that is given.

    python tests/bench/interaction.py                                   # neurig alone
    python tests/bench/interaction.py --peer /path/to/venv/bin/impsy    # IMPSY from PyPI, in a venv of its own

Both are programs that are started, played over OSC, and watched from outside; nothing in them is changed for it. The
model is of IMPSY's size s, dimension 9 (2 × 64 units). For lateness, one of that size whose time step is always the
same, so that it is known when each frame is due.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from neurig.convert import write
from neurig.convert.mdrnn import Mdrnn
from neurig.osc import encode
from numpy.typing import NDArray

DIMENSION, UNITS, MIXTURES = 9, 64, 5
STEP = 0.05  # seconds: of the model that is always the same
CONFIG = """
log_input = true
log_predictions = false
verbose = false
[interaction]
mode = "{mode}"
threshold = 0.1
input_thru = false
[model]
dimension = 9
file = "{model}"
size = "s"
sigmatemp = {sigmatemp}
pitemp = 1
timescale = {timescale}
[osc]
server_ip = "127.0.0.1"
server_port = {port}
client_ip = "127.0.0.1"
client_port = {ear}
[webui]
monitor_port = {monitor}
command_port = {commands}
"""


@dataclass
class Program:
    """A program that takes IMPSY's command line.

    :ivar command: how it is started
    :ivar suffix: of the models that it plays
    """

    name: str
    command: list[str]
    suffix: str
    figures: dict[str, str] = field(default_factory=dict)


class Session:
    """A running program, and the one who plays with it."""

    def __init__(self, program: Program, folder: Path, model: str, mode: str, timescale: float = 1.0,
                 sigmatemp: float = 0.01) -> None:
        self.ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.ear.bind(("127.0.0.1", 0))
        self.hand = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port, commands, monitor = (free_port() for _ in range(3))
        for old in (folder / "logs").glob("*"):
            old.unlink()
        (folder / "config.toml").write_text(CONFIG.format(
            mode=mode, timescale=timescale, sigmatemp=sigmatemp, model=model + program.suffix, port=self.port,
            ear=self.ear.getsockname()[1], commands=commands, monitor=monitor))
        self.folder = folder
        self.began = time.perf_counter()
        self.process = subprocess.Popen([*program.command, "run", "-c", "config.toml"], cwd=folder,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def play(self, *values: float) -> None:
        self.hand.sendto(encode("/interface", [*values, *[0.5] * (DIMENSION - 1 - len(values))]),
                         ("127.0.0.1", self.port))

    def hear(self, seconds: float) -> float | None:
        """When something was played; ``None`` where nothing was, for so long."""
        self.ear.settimeout(seconds)
        try:
            self.ear.recv(4096)
        except TimeoutError:
            return None
        return time.perf_counter()

    def drain(self, silence: float = 0.3) -> None:
        while self.hear(silence):
            pass

    def first_answer(self) -> float:
        """Seconds from the start until it answers."""
        while not (heard := self.hear(0.002)):
            self.play(0.1)
            if time.perf_counter() - self.began > 60:
                raise SystemExit("it does not answer")
        return heard - self.began

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """MB at most resident so far."""
        return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def log(self) -> list[str]:
        return [line for path in (self.folder / "logs").glob("*.log") for line in path.read_text().splitlines()]

    def stop(self) -> float:
        """Seconds until it has ended."""
        began = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.ear.close()
        self.hand.close()
        return time.perf_counter() - began


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def playing(program: Program, folder: Path, model: str, mode: str, timescale: float = 1.0,
            sigmatemp: float = 0.01) -> Iterator[Session]:
    session = Session(program, folder, model, mode, timescale, sigmatemp)
    try:
        yield session
    finally:
        if session.process.poll() is None:
            session.stop()


def network(steady: bool) -> Mdrnn:
    """Random weights; ``steady``: the time step is always STEP."""
    random = np.random.default_rng(1)
    layers = []
    for inputs in (DIMENSION, UNITS):
        layers.append([random.standard_normal((inputs, 4 * UNITS)) * 0.1,
                       random.standard_normal((UNITS, 4 * UNITS)) * 0.1, np.zeros(4 * UNITS)])
    mus, sigmas = random.standard_normal((2, UNITS, MIXTURES * DIMENSION)) * 0.1
    middle = np.full(MIXTURES * DIMENSION, 5.0)
    middle[::DIMENSION] = 10 * STEP
    if steady:
        mus[:, ::DIMENSION] = 0
    heads = {"mus": [mus, middle], "sigmas": [sigmas, np.full(MIXTURES * DIMENSION, -0.5)],
             "pi": [random.standard_normal((UNITS, MIXTURES)) * 0.1, np.zeros(MIXTURES)]}
    return Mdrnn([floats(layer) for layer in layers], {name: floats(head) for name, head in heads.items()},
                 Path("benchmark"))


def floats(arrays: list[NDArray[np.float64]]) -> list[NDArray[np.float32]]:
    return [array.astype(np.float32) for array in arrays]


def measure(program: Program, folder: Path) -> None:
    """Fills the program's figures."""
    figures = program.figures
    starts = []
    for _ in range(5):
        with playing(program, folder, "network", "polyphony", timescale=0) as session:
            starts.append(session.first_answer())
    figures["start to first prediction"] = f"{statistics.median(starts):.2f} s"
    with playing(program, folder, "network", "polyphony", timescale=0) as session:
        session.first_answer()
        session.drain()
        waits = []
        for number in range(1000):
            sent = time.perf_counter()
            session.play(number / 1000)
            if heard := session.hear(1.0):
                waits.append(1000 * (heard - sent))
            time.sleep(0.005)
        figures["OSC in → prediction out, median / p99"] = quantiles(waits)
        figures["memory"] = f"{session.memory():.0f} MB"
        session.drain()
        before, seconds = session.cpu(), 10
        time.sleep(seconds)
        figures["idle, of a core"] = f"{100 * (session.cpu() - before) / seconds:.1f} %"
        figures["Ctrl-C to exit"] = f"{session.stop():.2f} s"
    for name, flood in (("battle: lateness, median / p99", 0), ("the same, with 4000 messages a second", 4000)):
        with playing(program, folder, "steady", "battle", sigmatemp=0) as session:
            figures[name] = lateness(session, flood)
    with playing(program, folder, "network", "useronly") as session:
        time.sleep(1)
        while not session.log():
            session.play(0)
            time.sleep(0.2)
        before = len(session.log())
        figures["4000 messages a second"] = order(session, 8000, 4000, before)


def lateness(session: Session, flood: int) -> str:
    """How much later than due the frames of the steady model come, counted from the earliest; and the tempo."""
    assert session.hear(60), "nothing is played"
    sender = flooding(session.port, flood) if flood else None
    times = [heard for _ in range(200) if (heard := session.hear(5))]
    if sender:
        sender.kill()
        sender.wait()
    late = np.array(times) - STEP * np.arange(len(times))
    drift = (times[-1] - times[0]) / (STEP * (len(times) - 1)) - 1
    steps = 1000 * np.abs(np.diff(times) - STEP)
    if abs(drift) < 1e-3:
        steps = 1000 * (late - late.min())
    return f"{quantiles(steps.tolist())}, tempo {-100 * drift / (1 + drift):+.2f} %"


def flooding(port: int, rate: int) -> subprocess.Popen[bytes]:
    """A process that sends so many messages a second."""
    program = ("import socket, time\n"
               "from neurig.osc import encode\n"
               "hand = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
               f"message, began, number = encode('/interface', [0.5] * {DIMENSION - 1}), time.perf_counter(), 0\n"
               "while True:\n"
               "    number += 4\n"
               f"    for _ in range(4): hand.sendto(message, ('127.0.0.1', {port}))\n"
               f"    time.sleep(max(0, began + number / {rate} - time.perf_counter()))\n")
    return subprocess.Popen([sys.executable, "-c", program])


def order(session: Session, count: int, rate: int, before: int) -> str:
    began = time.perf_counter()
    for number in range(count):
        session.play(number / count)
        while time.perf_counter() < began + (number + 1) / rate:
            time.sleep(0)
    time.sleep(2)
    heard = [float(line.split(",")[2]) for line in session.log()[before:]]
    swapped = sum(later < earlier for earlier, later in zip(heard, heard[1:], strict=False))
    return f"{100 * (1 - len(heard) / count):.1f} % lost, {swapped} out of order"


def quantiles(milliseconds: list[float]) -> str:
    if len(milliseconds) < 2:
        return "nothing heard"
    cuts = statistics.quantiles(milliseconds, n=100)
    return f"{cuts[49]:.2f} / {cuts[98]:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="IMPSY's command")
    options = parser.parse_args()
    programs = [Program("neurig", [sys.executable, "-m", "neurig.cli"], ".mdrnn")]
    if options.peer:
        programs.append(Program("IMPSY", [options.peer], ".tflite"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        for model, steady in (("network", False), ("steady", True)):
            write(network(steady), folder / f"{model}.mdrnn")
            if options.peer:
                write(network(steady), folder / f"{model}.keras")
                subprocess.run([options.peer, "convert-tflite", f"{model}.keras"], cwd=folder, check=True,
                               stdout=subprocess.DEVNULL)
        for program in programs:
            measure(program, folder)
    print("| | " + " | ".join(program.name for program in programs) + " |")
    print("|---" * (len(programs) + 1) + "|")
    for figure in programs[0].figures:
        print(f"| {figure} | " + " | ".join(program.figures[figure] for program in programs) + " |")


if __name__ == "__main__":
    main()
