"""Recording a device: a signal is played into it, and what comes out is kept, through JACK or a sound card.

A take that is clipped, or that JACK was too late for (an xrun), is worth nothing: the one is refused as soon as it
happens, the other repeated. The audio runs in a process of its own, see ``take.py``.
"""

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import neurig
from neurig.capture import wav
from neurig.capture.check import Channel, Report, check, read
from neurig.files import atomic
from neurig.rig.wire import BLOCK_SIZE_CHANGED, Decoder

BACKENDS = ("auto", "jack", "portaudio")
TRIES = 5
_PATIENCE = 10.0  # seconds without a word after which the audio is taken for hung
_SILENT = 10 ** (-60 / 20)
_AUDIBLE = 10 ** (-40 / 20)
_LISTENED = 2.0  # seconds in which something was played, after which something should have come back

Port = int | str
"""A channel of the sound card, counted from 1, or with JACK the name of any port."""


class RecordError(RuntimeError):
    """There is no recording. The message is one line, and says what to do."""


@dataclass(frozen=True)
class Started:
    """A take has begun.

    :ivar take: counted from 1
    :ivar why: this backend, in plain words
    :ivar rate: Hz
    :ivar block: frames
    :ivar seconds: that it will last
    """

    take: int
    why: str
    rate: int
    block: int
    seconds: float


@dataclass(frozen=True)
class Levels:
    """How far a take is.

    :ivar seconds: since the signal began
    :ivar played: peak of the last tenth of a second, full scale at 1
    :ivar heard: likewise, of what came back
    """

    seconds: float
    played: float
    heard: float


@dataclass(frozen=True)
class Silent:
    """The signal has been playing for a while, and nothing comes back."""


@dataclass(frozen=True)
class Again:
    """A take was lost, and another one follows.

    :ivar why: in plain words
    """

    why: str


Event = Started | Levels | Silent | Again


@dataclass(frozen=True)
class Recording:
    """What was recorded.

    :ivar rate: Hz, JACK's or the sound card's
    :ivar seconds: longer than the signal: the end of the answer is late
    :ivar peak: full scale at 1
    :ivar takes: that it took
    :ivar report: how the signal and the recording go together, from :func:`neurig.capture.check.check`
    """

    rate: int
    seconds: float
    peak: float
    takes: int
    report: Report


class _Lost(Exception):
    """The take has to be repeated; the message is the reason, in plain words."""


def record(
    signal: str | os.PathLike[str],
    target: str | os.PathLike[str],
    show: Callable[[Event], None] = lambda event: None,
    *,
    backend: str = "auto",
    input: Port = 1,
    output: Port = 1,
    level: float = 0.0,
    channel: Channel | None = None,
    block: int = 512,
    tries: int = TRIES,
    floating: bool = False,
) -> Recording:
    """Plays a signal into a device, records what comes out, and judges the two.

    The file appears when a take is complete and sound; before that, and without one, a file already there stays as it
    is.

    :param signal: a sound file of any kind; JACK plays it at its own rate, a sound card at the file's
    :param target: a WAV file, mono, at the rate that was recorded at
    :param show: is told what happens
    :param backend: ``"jack"``, ``"portaudio"`` (the sound card), or the first of them that is there
    :param input: where the device's answer comes in
    :param output: where the signal goes out
    :param level: dB that the signal is played louder (or, negative, softer) than it is in the file
    :param channel: which one, of a stereo file
    :param block: frames; JACK has its own
    :param tries: takes after which xruns are no longer put up with
    :param floating: write 32-bit float instead of 24 bits
    :raises CaptureError: where the signal cannot be read
    :raises RecordError: where nothing could be recorded
    :raises OSError: where the file cannot be written
    """
    source = read(Path(signal), channel, [])
    target = Path(target)
    if target.exists() and target.samefile(signal):
        raise RecordError(f"{target}: this is the signal; give the recording another name")
    samples = source.samples * np.float32(10 ** (level / 20))
    peak = float(np.abs(samples).max())
    if peak > 1:
        raise RecordError(f"{signal}: at {level:+g} dB it would be clipped when it is played; at most "
                          f"{level - 20 * np.log10(peak):+.1f} dB are possible")
    if peak < _SILENT:
        raise RecordError(f"{signal}: it is silent, so there would be no answer")
    with atomic(target) as unfinished, tempfile.TemporaryDirectory(prefix="neurig-") as folder:
        settings = {"backend": backend, "input": input, "output": output, "block": block, "rate": source.rate,
                    "signal": f"{folder}/signal.npy", "answer": f"{folder}/answer.npy"}
        np.save(settings["signal"], samples)
        for take in range(1, tries + 1):
            try:
                started = _take(settings, len(samples) / source.rate, take, show)
                answer = np.load(settings["answer"])
                wav.write(unfinished, answer, started.rate, "FLOAT" if floating else "PCM_24")
                report = check(signal, unfinished, channel, called=target)
                jump = next((problem.what for problem in report.problems if problem.kind == "jump"), None)
                if not jump or take == tries:
                    break
                raise _Lost(jump.rstrip("."))
            except _Lost as loss:
                if take == tries:
                    raise RecordError(f"{target}: not written: {tries} take{'s were' if tries > 1 else ' was'} lost, "
                                      f"the last one because {loss}. Close other programs, or take a larger block "
                                      "(of JACK: in its settings; of a sound card: --block)") from None
                show(Again(str(loss)))
    return Recording(started.rate, len(answer) / started.rate, float(np.abs(answer).max()), take, report)


def _take(settings: dict[str, Any], seconds: float, number: int, show: Callable[[Event], None]) -> Started:
    """One take, until the answer is in its file.

    :raises _Lost: where it has to be repeated
    :raises RecordError: where that is of no use
    """
    started: Started | None = None
    listened, before, answered = 0.0, 0.0, False
    with closing(_messages(settings)) as messages:
        for message in messages:
            if "failed" in message:
                raise RecordError(f"recording is not possible: {message['failed']}")
            if "ready" in message:
                started = Started(number, seconds=seconds, **message["ready"])
                show(started)
            elif "done" in message and started:
                return started
            elif "levels" in message:
                levels = message["levels"]
                at = f"after {levels['seconds']:.1f} s"
                if levels["full"]:
                    raise RecordError(f"{at}, what came back was at full scale, and clipped: nothing was written. "
                                      "Lower the level into the recorder, and record again")
                if levels["xruns"]:
                    raise _Lost(f"JACK had an xrun {at}")
                answered = answered or levels["heard"] > _SILENT
                if levels["played"] > _AUDIBLE:
                    listened += levels["seconds"] - before
                before = levels["seconds"]
                show(Levels(levels["seconds"], levels["played"], levels["heard"]))
                if listened > _LISTENED and not answered:
                    answered = True
                    show(Silent())
    raise RecordError("the recording process ended without a word")


def _messages(settings: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
    """What the process of a take tells. It is ended with the iterator.

    :raises RecordError: where it ends or hangs
    """
    with _process(settings) as (process, link), selectors.DefaultSelector() as selector:
        selector.register(link, selectors.EVENT_READ)
        decoder = Decoder()
        while True:
            if not selector.select(_PATIENCE):
                raise RecordError("recording is not possible: JACK or the sound card does not answer")
            data = link.recv(1 << 16)
            if not data:
                status = process.wait()
                if status == BLOCK_SIZE_CHANGED:
                    raise _Lost("JACK's block size was changed")
                raise RecordError(f"the recording process ended in the middle (status {status})")
            yield from decoder.feed(data)


@contextmanager
def _process(settings: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    ours, theirs = socket.socketpair()
    path = os.pathsep.join([str(Path(neurig.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "neurig.capture.take", str(theirs.fileno()), json.dumps(settings)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                env=os.environ | {"PYTHONPATH": path},
            )
        try:
            yield process, ours
        finally:
            process.kill()
            process.wait()
