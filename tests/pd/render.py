"""Real Pure Data in tests: patches run by ``pd -batch``, faster than real time and exact to the sample."""

import re
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

ROOT = Path(__file__).resolve().parents[2]
# What Pd says of a patch that is not as its author meant it. It goes on all the same, and its exit code stays 0.
COMPLAINT = re.compile(r"error|couldn't create|can't open|can't find|no such|no method|\(ignored\)|connection failed"
                       r"|multiply defined")


class Patch:
    """A patch under construction.

    :ivar folder: where the patch is, and where its objects look for files first; else a temporary one
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._lines: list[str] = []
        self._connections: list[str] = []

    def obj(self, text: str) -> int:
        """Adds an object, written as in Pd itself; returns its number."""
        return self._add("obj", text)

    def msg(self, text: str) -> int:
        """Adds a message box, written as in Pd itself; returns its number."""
        return self._add("msg", text)

    def sub(self, patch: "Patch", name: str = "inner") -> int:
        """Adds a subpatch; returns its number."""
        head, *rest = patch.text().split("\n")
        self._lines.append("\n".join([head.replace(" 12;", f" {name} 0;"), *rest, f"#X restore 0 0 pd {name};"]))
        return len(self._lines) - 1

    def connect(self, source: int, sink: int, outlet: int = 0, inlet: int = 0) -> None:
        self._connections.append(f"#X connect {source} {outlet} {sink} {inlet};")

    def chain(self, *numbers: int) -> None:
        """Connects each first outlet with the first inlet of the next."""
        for source, sink in zip(numbers, numbers[1:]):
            self.connect(source, sink)

    def at(self, trigger: int, ms: float, text: str, sink: int, inlet: int = 0) -> None:
        """A message to ``sink``, so many milliseconds after ``trigger`` has sent a bang."""
        delay, message = self.obj(f"delay {ms:.9g}"), self.msg(text)
        self.chain(trigger, delay, message)
        self.connect(message, sink, 0, inlet)

    def text(self) -> str:
        return "\n".join(["#N canvas 0 0 450 300 12;", *self._lines, *self._connections])

    def run(self, *options: str, batch: bool = True, pd: str = "pd") -> list[str]:
        """Runs the patch as :func:`run` does."""
        with tempfile.TemporaryDirectory() as folder:
            path = (self.folder or Path(folder)) / "test.pd"
            path.write_text(self.text() + "\n")
            return run(path, *options, batch=batch, pd=pd)

    def _add(self, kind: str, text: str) -> int:
        escaped = re.sub(r"([,;])", r" \\\1", text).replace("$", "\\$")
        number = len(self._lines)
        self._lines.append(f"#X {kind} {20 * number} {30 * number} {escaped};")  # inlets are ordered from left to right
        return number


class Boxes:
    """A patch from a file, changed for a test. Boxes of its uppermost window are named by kind and first words."""

    def __init__(self, path: Path) -> None:
        text = path.read_text()  # which is going to be written elsewhere
        for up in ("../..", ".."):
            text = text.replace(f" {up}/", f" {(path.parent / up).resolve()}/")
        self._statements = re.findall(r"#.*?(?<!\\);\n", text, re.S)
        self._boxes: list[int] = []  # where they are among the statements
        depth = 0
        for index, statement in enumerate(self._statements):
            kind = statement.split()[:2]
            depth += (kind == ["#N", "canvas"]) - (kind == ["#X", "restore"])
            if depth == 1 and kind[0] == "#X" and kind[1] not in ("connect", "declare"):
                self._boxes.append(index)

    def replace(self, kind: str, start: str, text: str) -> None:
        """Makes another box of one."""
        index = self._boxes[self._one(kind, start)]
        head = self._statements[index].split(maxsplit=4)[:4]
        self._statements[index] = f"{' '.join(head)} {text};\n"

    def click(self, ms: float, kind: str, start: str) -> None:
        """A click, so many milliseconds after opening, on each such box that does not wait for a number."""
        for box in self._find(kind, start):
            if "$" not in self._statements[self._boxes[box]]:
                self._connect(self._add("obj", "loadbang"), self._add("obj", f"delay {ms:.9g}"), box)

    def listen(self, kind: str, start: str, text: str) -> None:
        """Leads a box's first outlet to another object."""
        self._connect(self._one(kind, start), self._add("obj", text))

    def write(self, path: Path, quit_after: float | None = None) -> Path:
        """Writes the patch, which quits Pd so many milliseconds after opening; returns its path."""
        if quit_after is not None:
            end = self._add("msg", "\\; pd quit")
            self._connect(self._add("obj", "loadbang"), self._add("obj", f"delay {quit_after:.9g}"), end)
        path.write_text("".join(self._statements))
        return path

    def _find(self, kind: str, start: str) -> list[int]:
        words = [self._statements[index].split(maxsplit=4) for index in self._boxes]
        found = [number for number, box in enumerate(words) if box[1] == kind and box[4].startswith(start)]
        assert found, f"there is no box {kind} {start}"
        return found

    def _one(self, kind: str, start: str) -> int:
        [found] = self._find(kind, start)
        return found

    def _add(self, kind: str, text: str) -> int:
        self._statements.append(f"#X {kind} 10 10 {text};\n")
        self._boxes.append(len(self._statements) - 1)
        return len(self._boxes) - 1

    def _connect(self, *numbers: int) -> None:
        self._statements += [f"#X connect {source} 0 {sink} 0;\n" for source, sink in zip(numbers, numbers[1:])]


def run(path: Path, *options: str, batch: bool = True, pd: str = "pd", seconds: float = 60) -> list[str]:
    """Opens a patch in Pd, with our objects on the search path, until it sends ``; pd quit``.

    :param options: of Pd's command line
    :param batch: as fast as it can (the default), or in real time
    :param seconds: after which this gives up
    :returns: the console's lines
    :raises AssertionError: where Pd ended in another way
    """
    command = [pd, "-nogui", "-noprefs", "-noaudio", "-nomidi", "-stderr", "-path", str(ROOT / "pd"), *options]
    command += ["-batch"] if batch else []
    done = subprocess.run([*command, "-open", str(path)], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"pd ended with {done.returncode}:\n{done.stderr}"
    return done.stderr.splitlines()


def complaints(console: Iterable[str]) -> list[str]:
    """Those of the console's lines that tell of something wrong."""
    return [line for line in console if COMPLAINT.search(line)]


def talk(
    object_text: str, messages: Sequence[str], *, outlets: Iterable[int] = (), folder: Path | None = None,
    batch: bool = True, every: float = 20, pd: str = "pd",
) -> list[list[str]]:
    """Sends messages to an object, one after the other, while a signal of ones goes through it.

    :param messages: as they are typed
    :param outlets: those whose messages are printed, as ``out 1: loaded …`` for outlet 1
    :param folder: of the patch
    :param batch: as in :func:`run`
    :param every: ms from one message to the next
    :param pd: Pd's command
    :returns: the console's lines while the patch was opened, then those that followed each message
    """
    patch = Patch(folder)
    begin = patch.obj("loadbang")
    started, dsp = patch.obj("t b b"), patch.msg("; pd dsp 1")
    tested, step = patch.obj(object_text), patch.obj("print neurig-step")
    patch.chain(begin, started)
    patch.connect(started, dsp, outlet=1)
    for outlet in outlets:
        patch.connect(tested, patch.obj(f"print out {outlet}"), outlet)
    for number, text in enumerate(messages, 1):
        patch.at(started, every * number, str(number), step)
        patch.at(started, every * number, text, tested)
    wait, end = patch.obj(f"delay {every * (len(messages) + 1)}"), patch.msg("; pd quit")
    patch.chain(started, wait, end)
    steps: list[list[str]] = [[]]
    for line in patch.run(batch=batch, pd=pd):
        if line.startswith("neurig-step: "):
            steps.append([])
        else:
            steps[-1].append(line)
    assert len(steps) == len(messages) + 1
    return steps


def render(
    object_text: str, x: ArrayLike, rate: int = 48000, *, block: int = 64, messages: Iterable[tuple[float, str]] = (),
    outlets: int | None = None, multichannel: bool = False, batch: bool = True, pd: str = "pd",
) -> NDArray[np.float32]:
    """Sends a signal through a Pd object.

    :param object_text: the object as it is typed, for instance ``neuralamp~ /models/crunch.nam``
    :param x: the signal, shape (n,), or those of several inlets, shape (n, inlets)
    :param rate: Hz
    :param block: size of the object's blocks, a power of two
    :param messages: for the object: milliseconds after the start, and the message as it is typed
    :param outlets: how many outlets for signals it has (default: as many as inlets)
    :param multichannel: all signals through one inlet and one outlet, as the channels of one signal; from Pd 0.54 on
    :param batch: as in :func:`run`
    :param pd: Pd's command
    :returns: float32, (n,) or (n, outlets); larger blocks' delay is taken off
    :raises AssertionError: where Pd complained of anything
    """
    signal = np.asarray(x, np.float32)
    delay = max(0, block - 64)  # in and out of a subpatch of larger blocks
    frames = len(signal) + delay
    inlets = range(signal[:1].size)
    sounding = range(len(inlets) if outlets is None else outlets)
    ins, outs = [f"neurig-in-{inlet}" for inlet in inlets], [f"neurig-out-{outlet}" for outlet in sounding]
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "in.wav", Path(folder) / "out.wav"
        soundfile.write(source, signal, rate, subtype="FLOAT")

        inner = Patch()
        heard = [inner.obj("inlet~") for _ in inlets]
        told, tested = inner.obj("inlet"), inner.obj(object_text)
        inner.obj(f"block~ {block}")
        sink = origin = tested
        if multichannel:
            sink, origin = inner.obj(f"snake~ in {len(inlets)}"), inner.obj(f"snake~ out {len(inlets)}")
            inner.chain(sink, tested, origin)
        for inlet in inlets:
            inner.connect(heard[inlet], sink, 0, inlet)
        for outlet in sounding:
            inner.connect(origin, inner.obj("outlet~"), outlet)
        inner.connect(told, tested)

        patch = Patch()
        for name in ins:
            patch.obj(f"table {name}")
        for name in outs:
            patch.obj(f"table {name} {frames}")
        begin = patch.obj("loadbang")
        order = patch.obj("t b b b")
        play, outer = [patch.obj(f"tabplay~ {name}") for name in ins], patch.sub(inner)
        record = [patch.obj(f"tabwrite~ {name}") for name in outs]
        read = patch.msg(f"read -resize -maxsize 1e9 {source} {' '.join(ins)}")
        write = patch.msg(f"write -wave -bytes 4 -rate {rate} {result} {' '.join(outs)}")
        file, dsp = patch.obj("soundfiler"), patch.msg("; pd dsp 1")
        end, quit_pd = patch.obj("t b b"), patch.msg("; pd quit")
        wait = patch.obj(f"delay {1000 * (frames + 128) / rate:.9g}")
        patch.chain(begin, order)
        patch.connect(order, read, outlet=2)
        patch.connect(order, dsp, outlet=1)
        for first in (*play, *record, wait):
            patch.connect(order, first)
        for inlet in inlets:
            patch.connect(play[inlet], outer, 0, inlet)
        for outlet in sounding:
            patch.connect(outer, record[outlet], outlet)
        patch.chain(read, file)
        for ms, text in messages:
            patch.at(order, ms, text, outer, inlet=len(inlets))
        patch.chain(wait, end, quit_pd)
        patch.connect(end, write, outlet=1)
        patch.chain(write, file)

        console = patch.run("-r", str(rate), batch=batch, pd=pd)
        wrong = complaints(console)
        assert not wrong, "\n".join(wrong)
        y, written_rate = soundfile.read(result, dtype="float32")
    assert written_rate == rate and len(y) == frames
    return y[delay:] if y.ndim == signal.ndim else y[delay:].reshape(len(signal), -1)
