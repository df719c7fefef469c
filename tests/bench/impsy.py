"""IMPSY and neurig, measured side by side in the same run: with one config file, one model, the same messages.

    .venv/bin/python tests/bench/impsy.py --venv FOLDER [--only NAME …] [--training] [--json FILE]

IMPSY is installed from PyPI into the virtual environment FOLDER, if it is not there yet (2.5 GB). The folder of
reference data, which has the models and the training set, is named by NEURIG_TEST_DATA. Both run from a fresh folder
each, reached over OSC only. A table in Markdown is printed. The machine should have nothing else to do; its load is
noted.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurig import convert
from neurig.convert.mdrnn import SCALE
from neurig.training.sizes import SIZES, model_name, untrained

VERSION = "1.2.1"
DIMENSION = 9
STEP = 0.05  # seconds between the events of the network that plays evenly
TICKS = os.sysconf("SC_CLK_TCK")

CONFIG = """\
title = "measurement"
owner = ""
description = ""
log_input = true
log_predictions = false
verbose = false

[interaction]
mode = "{mode}"
threshold = 0.1
input_thru = false

[model]
dimension = {dimension}
file = "{model}"
size = "s"
sigmatemp = {sigmatemp}
pitemp = 1
timescale = {timescale}

[osc]
server_ip = "127.0.0.1"
server_port = {server_port}
client_ip = "127.0.0.1"
client_port = {client_port}

[webui]
monitor_port = {monitor_port}
command_port = {command_port}
"""


@dataclass(frozen=True)
class System:
    """:ivar command: what stands before `run` and `train`"""

    name: str
    python: Path
    command: tuple[str, ...]
    train: tuple[str, ...]


# ---- Playing --------------------------------------------------------------------------------------------------------


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def frame(values: list[float]) -> bytes:
    """An OSC message of floats to /interface."""
    tags = b"," + b"f" * len(values)
    return b"/interface\0\0" + tags + b"\0" * (4 - len(tags) % 4) + struct.pack(f">{len(values)}f", *values)


class Session:
    """A running `run`, and the other end of its OSC."""

    def __init__(self, system: System, folder: Path, model: Path, mode: str, timescale: float = 0,
                 sigmatemp: float = 0.01) -> None:
        self.folder = folder
        server_port, monitor_port, command_port = free_ports(3)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.bind(("127.0.0.1", 0))
        self.target = ("127.0.0.1", server_port)
        config = folder / "config.toml"
        config.write_text(CONFIG.format(
            mode=mode, dimension=DIMENSION, model=model, sigmatemp=sigmatemp, timescale=timescale,
            server_port=server_port, client_port=self.socket.getsockname()[1], monitor_port=monitor_port,
            command_port=command_port))
        self.log = (folder / "output.txt").open("w")
        self.started = time.perf_counter()
        self.process = subprocess.Popen([*system.command, "run", "-c", str(config), "-l", str(folder / "logs")],
                                        cwd=folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def send(self, values: list[float]) -> None:
        self.socket.sendto(frame(values), self.target)

    def receive(self, timeout: float) -> float | None:
        """When the next prediction came; None where none did within some seconds."""
        end = time.perf_counter() + timeout
        while (left := end - time.perf_counter()) > 0:
            self.socket.settimeout(left)
            with suppress(TimeoutError, ConnectionRefusedError):
                if self.socket.recv(4096).startswith(b"/impsy\0"):
                    return time.perf_counter()
        return None

    def await_first(self) -> float:
        """Plays 100 messages a second until the first prediction comes.

        :returns: seconds since the start of the process
        """
        return self._await(lambda: self.receive(0.01))

    def await_logged(self) -> None:
        """The same, until the log has the player's messages: for modes in which nothing is predicted."""
        def logged() -> float | None:
            time.sleep(0.01)
            return time.perf_counter() if self.rows() else None
        self._await(logged)

    def _await(self, came: Callable[[], float | None]) -> float:
        while True:
            with suppress(ConnectionRefusedError):
                self.send([0.5] * (DIMENSION - 1))
            if (at := came()) is not None:
                return at - self.started
            if self.process.poll() is not None or time.perf_counter() - self.started > 60:
                raise SystemExit(f"it did not begin to play:\n{(self.folder / 'output.txt').read_text()}")

    def drain(self) -> None:
        """Waits until nothing comes any more."""
        while self.receive(0.5) is not None:
            pass

    def rows(self) -> list[str]:
        """What the player did, as logged."""
        lines = [line for path in self.folder.glob("logs/*.log") for line in path.read_text().splitlines()]
        return [line for line in lines if ",interface," in line]

    def cpu(self) -> float:
        """Seconds of CPU time so far, with children."""
        return sum(cpu_seconds(pid) for pid in tree(self.process.pid))

    def memory(self) -> float:
        """Resident MiB, with children."""
        status = [Path(f"/proc/{pid}/status").read_text() for pid in tree(self.process.pid)]
        return sum(int(kib) for text in status for kib in re.findall(r"VmRSS:\s+(\d+)", text)) / 1024

    def end(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        self.log.close()


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in tree(int(child)))]


def cpu_seconds(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / TICKS


@contextmanager
def playing(system: System, model: Path, mode: str, **settings: float) -> Iterator[Session]:
    with tempfile.TemporaryDirectory() as folder:
        session = Session(system, Path(folder), model, mode, **settings)
        try:
            yield session
        finally:
            session.end()


# ---- What is measured -----------------------------------------------------------------------------------------------

Figures = dict[str, float]


@dataclass(frozen=True)
class Models:
    """:ivar usual: a network that was trained
    :ivar even: one of the same size, whose events come every :data:`STEP`
    """

    usual: Path
    even: Path


IMPSY_STEPS = """
import json, sys, time
from pathlib import Path
import numpy as np
from impsy.mdrnn import TfliteMDRNN
model = TfliteMDRNN.from_file(Path(sys.argv[1]))
model.pi_temp, model.sigma_temp = 1, 0.01
frames = np.random.default_rng(1).uniform(0, 1, (3000, model.dimension)).astype(np.float32)
took = []
for frame in frames:
    began = time.perf_counter()
    model.generate(frame)
    took.append(time.perf_counter() - began)
print(json.dumps(took[500:]))
"""
NEURIG_STEPS = """
import json, sys, time
import numpy as np
from neurig import Predictor
from neurig._core import ffi, lib
predictor = Predictor(sys.argv[1])
frames = np.random.default_rng(1).uniform(0, 1, (3000, predictor.dimension)).astype(np.float32)
took = []
for frame in frames:
    began = time.perf_counter()
    predictor.condition(frame)
    predictor.predict(1.0, 0.01)
    took.append(time.perf_counter() - began)
core = []
answer = ffi.new("float[]", predictor.dimension)
for frame in frames:
    given = ffi.from_buffer("float[]", frame)
    began = time.perf_counter()
    lib.neurig_predictor_condition(predictor._handle, given)
    lib.neurig_predictor_predict(predictor._handle, 1.0, 0.01, answer)
    core.append(time.perf_counter() - began)
print(json.dumps(took[500:]))
print(json.dumps(core[500:]))
"""


def step(system: System, models: Models) -> Figures:
    """One step of the network with a draw from its mixture, called from Python."""
    code = IMPSY_STEPS if system.name == "IMPSY" else NEURIG_STEPS
    done = subprocess.run([system.python, "-c", code, models.usual], check=True, capture_output=True, text=True)
    took = [1e6 * np.array(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]
    figures = {"step, median [µs]": float(np.median(took[0])), "step, p99 [µs]": float(np.quantile(took[0], 0.99))}
    if len(took) > 1:
        figures["step in the core, median [µs]"] = float(np.median(took[1]))
    return figures


def start(system: System, models: Models) -> Figures:
    """From the start of the process to the first prediction, while the player plays."""
    seconds = []
    for _ in range(5):
        with playing(system, models.usual, "polyphony") as session:
            seconds.append(session.await_first())
    return {"start to first prediction, median of 5 [s]": statistics.median(seconds)}


def memory_and_idle(system: System, models: Models) -> Figures:
    """A session that has played and rests now."""
    with playing(system, models.usual, "polyphony") as session:
        session.await_first()
        session.drain()
        before, began = session.cpu(), time.perf_counter()
        time.sleep(10)
        share = (session.cpu() - before) / (time.perf_counter() - began)
        return {"memory of run [MiB]": session.memory(), "idle CPU [%]": 100 * share}


def latency(system: System, models: Models) -> Figures:
    """From a message of the player's to the prediction that answers it."""
    random = np.random.default_rng(2)
    took, unanswered = [], 0
    with playing(system, models.usual, "polyphony") as session:
        session.await_first()
        session.drain()
        for _ in range(400):
            time.sleep(random.uniform(0.02, 0.06))
            values = random.uniform(0, 1, DIMENSION - 1).tolist()
            began = time.perf_counter()
            session.send(values)
            came = session.receive(1.0)
            if came is None:
                unanswered += 1
            else:
                took.append(1e3 * (came - began))
    return {"OSC in → prediction out, median [ms]": float(np.median(took)),
            "OSC in → prediction out, p99 [ms]": float(np.quantile(took, 0.99)), "of 400 unanswered": unanswered}


def lateness(system: System, models: Models) -> Figures:
    """Of a network that plays by itself, an event each 50 ms: how far each is from 50 ms after the one before."""
    with playing(system, models.even, "battle", timescale=1, sigmatemp=0) as session:
        session.await_first()
        times = [session.receive(5) for _ in range(420)][20:]
    if None in times:
        raise SystemExit(f"{system.name} stopped playing in battle mode")
    steps = np.diff(np.array(times, float))
    return {"lateness in battle, median [ms]": 1e3 * float(np.median(np.abs(steps - STEP))),
            "lateness in battle, p99 [ms]": 1e3 * float(np.quantile(np.abs(steps - STEP), 0.99)),
            "slower than it should play by [%]": 100 * float(steps.mean() / STEP - 1)}


def flood(system: System, models: Models) -> Figures:
    """Messages at a rate, each with its number: which of them are in the log, and in what order."""
    figures = {}
    for rate in (200, 1000, 4000):
        count = 4 * rate
        with playing(system, models.usual, "polyphony") as session:
            session.await_first()
            session.drain()
            before = len(session.rows())
            began = time.perf_counter()
            for number in range(count):
                while (early := began + number / rate - time.perf_counter()) > 0:
                    time.sleep(early)
                session.send([number / (count - 1)] * (DIMENSION - 1))
            seen, quiet = before, 0.0
            while quiet < 2:  # until the log no longer grows
                time.sleep(0.5)
                now = len(session.rows())
                quiet, seen = (0.0, now) if now > seen else (quiet + 0.5, seen)
            numbers = np.array([float(row.split(",")[2]) for row in session.rows()[before:]])
        figures |= {f"lost at {rate}/s [%]": 100 * (1 - len(numbers) / count),
                    f"out of order at {rate}/s [%]": 100 * float((np.diff(numbers) < 0).sum()) / count}
    return figures


MEASUREMENTS: dict[str, Callable[[System, Models], Figures]] = {
    "step": step, "start": start, "idle": memory_and_idle, "latency": latency, "lateness": lateness, "flood": flood,
}


def training(system: System, dataset: Path, size: str, epochs: int) -> Figures:
    """The losses and the CPU time of each epoch, as the trainer's own output shows them."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            ["nice", "-n", "19", *system.train, str(dataset), "-M", size, "-N", str(epochs), "--no-earlystopping"],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})
        assert process.stdout is not None
        validation, marks = [], [cpu_seconds(process.pid)]
        output = ""
        for line in process.stdout:
            output += line
            if found := re.search(r"(?:val_loss:|, validation) (-?\d+\.\d+)", line):
                validation.append(float(found[1]))
                marks.append(cpu_seconds(process.pid))
        if process.wait() or len(validation) != epochs:
            raise SystemExit(f"{system.name} did not train:\n{output[-2000:]}")
    # The first epoch has the start of the program in it.
    return {f"training {size}: CPU per epoch [s]": (marks[-1] - marks[1]) / (epochs - 1),
            f"training {size}: best validation loss of {epochs} epochs": min(validation)}


# ---- The whole ------------------------------------------------------------------------------------------------------


def install(venv: Path) -> System:
    command = venv / "bin/impsy"
    if not command.exists():
        if shutil.disk_usage(venv.parent).free < 6 << 30:
            raise SystemExit(f"{venv}: IMPSY takes 2.5 GB there, and more while it is installed; there is no room")
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", f"impsy=={VERSION}"], check=True)
    return System("IMPSY", venv / "bin/python", (str(command),), (str(command), "train"))


def even_network(folder: Path, impsy: System) -> Path:
    """A network whose time step is always :data:`STEP`, in the format that IMPSY plays fastest: .tflite."""
    network = untrained(DIMENSION, SIZES["s"], seed=1)
    for name, (kernel, bias) in network.heads.items():
        kernel[:] = 0
        bias[:] = -10 if name == "sigmas" else 0 if name == "pi" else SCALE / 2
    network.heads["mus"][1][::DIMENSION] = SCALE * STEP
    keras = folder / f"{model_name(DIMENSION, SIZES['s'])}.keras"
    convert.write(network, keras)
    done = subprocess.run([*impsy.command, "convert-tflite", "-m", keras, "-o", folder], cwd=folder,
                          capture_output=True, text=True)
    made = keras.with_suffix(".tflite")
    if not made.exists():
        raise SystemExit(f"IMPSY could not convert {keras.name}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return made


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, required=True, help="IMPSY's virtual environment, made if need be")
    parser.add_argument("--only", nargs="*", choices=MEASUREMENTS, default=list(MEASUREMENTS), metavar="NAME",
                        help=f"of {', '.join(MEASUREMENTS)}")
    parser.add_argument("--training", action="store_true", help="compare trainings, too: some minutes")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--json", type=Path, help="write the figures, for programs")
    options = parser.parse_args()
    if "NEURIG_TEST_DATA" not in os.environ:
        raise SystemExit("NEURIG_TEST_DATA is not set: it names the folder with the reference data")
    data = Path(os.environ["NEURIG_TEST_DATA"]).resolve() / "impsy"

    impsy = install(options.venv.absolute())
    command = (sys.executable, "-m", "neurig.cli")
    systems = impsy, System("neurig", Path(sys.executable), command, (*command, "train", "mdrnn"))
    results: dict[str, Figures] = {system.name: {} for system in systems}

    def note(system: System, figures: Figures) -> None:
        results[system.name] |= figures
        for name, value in figures.items():
            print(f"{system.name}: {name} {shown(value)}", file=sys.stderr, flush=True)

    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        models = Models(data / f"models/{model_name(DIMENSION, SIZES['s'])}.tflite", even_network(Path(folder), impsy))
        for name in options.only:
            for system in systems:
                note(system, MEASUREMENTS[name](system, models))
    for size in ("xs", "s") if options.training else ():
        for system in systems:
            note(system, training(system, data / "training-dataset-4d-12ksmall.npz", size, options.epochs))

    names = list(dict.fromkeys(name for figures in results.values() for name in figures))
    print(f"Load of the machine: {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end "
          f"({os.cpu_count()} cores)\n\n| | IMPSY {VERSION} | neurig |\n|---|---|---|")
    for name in names:
        print(f"| {name} | {shown(results['IMPSY'].get(name))} | {shown(results['neurig'].get(name))} |")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
