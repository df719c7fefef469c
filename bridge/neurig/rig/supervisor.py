"""The control process's hold on the audio process: starts it, talks to it, and brings it back."""

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import neurig
from neurig.rig.config import Audio
from neurig.rig.errors import RigError
from neurig.rig.wire import BLOCK_SIZE_CHANGED, Decoder, encode

log = logging.getLogger("neurig.rig")

BEAT = 0.1  # seconds between two questions whether it is alive
SILENCE = 0.6  # seconds without an answer after which it is taken for hung
STALL = 2.0  # seconds without a new block after which its audio is taken for hung
START = 10.0  # seconds that it has until it begins to open its audio
OPEN = 2.0  # seconds that it has to open one backend
MOST_CRASHES, IN_SECONDS = 5, 10.0
REST = 5.0, 60.0  # seconds to wait after so many crashes: at first, and at most
END = 0.5  # seconds that it has for a clean end


class AudioGone(Exception):
    """The audio process ended before it had answered."""


class CannotStart(Exception):
    """There is no audio of the wanted kind; the message is the reason."""


@dataclass
class Ready:
    """What the audio process opened."""

    backend: str
    why: str
    rate: int
    block: int
    inputs: int
    outputs: int


class Supervisor:
    """:ivar ready: about the audio that runs; ``None`` while there is none
    :ivar restarts: how often the audio process was brought back
    """

    def __init__(self, audio: Audio, restore: Callable[[], Coroutine[Any, Any, None]],
                 event: Callable[[dict[str, Any]], None]) -> None:
        """:param restore: builds the rig in a new audio process
        :param event: is told what the audio process says unasked
        """
        self.ready: Ready | None = None
        self.restarts = 0
        self._rests_until = 0.0
        self._audio = audio
        self._restore = restore
        self._event = event
        self._settled = asyncio.Event()  # it is up, or rests after too many crashes
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._linked = False  # is there somebody to answer?
        self._crashed: list[str] = []  # backends that the process did not survive opening
        self._trying = ""
        self._lost = ""  # why the process ended by itself, in its own words
        self._wires: list[list[str]] | None = None  # what JACK has connected the rig to
        self._patience = 0.0  # until when it may take to open its audio
        self._was_up = False
        self._stopping = False

    # -- talking

    @property
    def is_up(self) -> bool:
        """Is the rig built, and does it play?"""
        return self._settled.is_set() and not self._rests_until

    async def wait_up(self) -> None:
        """:raises RigError: unavailable, where that may take long"""
        await self._settled.wait()
        if self._rests_until:
            raise RigError("unavailable", "the audio process keeps failing; next try in "
                                          f"{max(1.0, self._rests_until - time.monotonic()):.0f} s")

    def tell(self, do: str, **message: Any) -> None:
        """A request without an answer; lost where there is no audio process."""
        if self._writer and self._linked:
            self._writer.write(encode({"do": do} | message))

    async def ask(self, do: str, **message: Any) -> dict[str, Any]:
        """A request and its answer.

        :raises RigError: where it was refused
        :raises AudioGone: where the audio process ended meanwhile
        """
        if not self._linked:
            raise AudioGone
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            self.tell(do, n=number, **message)
            return await answer
        finally:
            self._answers.pop(number, None)

    async def sure(self, do: str, **message: Any) -> dict[str, Any]:
        """Asks; once more where the process ended meanwhile and was brought back without what was asked.

        :raises RigError: where it was refused, or the process keeps ending
        """
        await self.wait_up()
        try:
            return await self.ask(do, **message)
        except AudioGone:
            await self.wait_up()
        try:
            return await self.ask(do, **message)
        except AudioGone:
            raise RigError("failed", "the audio process ended while it did this, twice") from None

    # -- keeping it alive

    async def run(self) -> None:
        """Until it is cancelled.

        :raises CannotStart: where the first start shows that there is no such audio
        """
        crashes: deque[float] = deque(maxlen=MOST_CRASHES)
        rest = REST[0]
        try:
            while True:
                began = time.monotonic()
                reason = await self._live()
                if time.monotonic() - began > 2 * IN_SECONDS:
                    crashes.clear()
                    rest = REST[0]
                crashes.append(time.monotonic())
                if len(crashes) == MOST_CRASHES and crashes[-1] - crashes[0] < IN_SECONDS:
                    log.error("the audio process failed %d times in %.0f s (%s); next try in %.0f s", MOST_CRASHES,
                              crashes[-1] - crashes[0], reason, rest)
                    self._rests_until = time.monotonic() + rest
                    self._settled.set()
                    await asyncio.sleep(rest)
                    self._settled.clear()
                    self._rests_until = 0.0
                    rest = min(2 * rest, REST[1])
                    crashes.clear()
                else:
                    log.warning("%s: bringing the audio process back", reason)
                self.restarts += 1
        finally:
            await self._end()

    async def _live(self) -> str:
        """One life of the audio process. Returns why it ended."""
        self._lost = self._trying = ""
        reader = await self._spawn()
        listening = asyncio.create_task(self._listen(reader))
        opened: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self._opened = opened
        reason = ""
        try:
            done: set[Any] = set()
            self._patience = time.monotonic() + START
            while not done and time.monotonic() < self._patience:
                done, _ = await asyncio.wait([listening, opened], timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
            if opened not in done:
                if self._trying and self._trying != "clock":
                    self._crashed.append(self._trying)
                return f"it {'ended' if done else 'hung'} when it opened {self._trying or 'pyo'}"
            self.ready = opened.result()
            self._crashed = []
            building = asyncio.create_task(self._build())
            beating = asyncio.create_task(self._beat())
            try:
                await asyncio.wait([building, listening, beating], return_when=asyncio.FIRST_COMPLETED)
                if building.done() and not listening.done():
                    await building
                    await asyncio.wait([listening, beating], return_when=asyncio.FIRST_COMPLETED)
                reason = beating.result() if beating.done() else ""
            except AudioGone:
                pass
            except RigError as problem:
                reason = f"the rig could not be built: {problem.text}"
                if not self._was_up:
                    raise CannotStart(reason) from None
            finally:
                for task in (building, beating):
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError, AudioGone, RigError):
                        await task
        except asyncio.CancelledError:
            self._stopping = True
            raise
        finally:
            self._cut()
            opened.cancel()
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening
            if not self._stopping:
                status = await self._end(0.05)
                reason = reason or self._lost or _ended(status)
        return reason

    async def _build(self) -> None:
        await self._restore()
        self._was_up = True
        self._settled.set()  # at once: what is asked for between the two would be lost

    async def _spawn(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        settings = asdict(self._audio) | {"crashed": self._crashed, "fall_back": self._was_up, "wires": self._wires}
        path = os.pathsep.join([str(Path(neurig.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "neurig.rig.audio", str(theirs.fileno()), json.dumps(settings)],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": path},
                stdout=None if log.isEnabledFor(logging.DEBUG) else subprocess.DEVNULL,
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        self._linked = True
        return reader

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        decoder = Decoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                for message in decoder.feed(data):
                    self._take(message)
        self._cut()

    def _cut(self) -> None:
        """There is nobody left to answer."""
        self.ready = None
        self._settled.clear()  # first, so that those who ask again wait for the next process
        self._linked = False
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AudioGone())

    def _take(self, message: dict[str, Any]) -> None:
        if "n" in message:
            answer = self._answers.get(message["n"])
            if answer and not answer.done():
                if "error" in message:
                    answer.set_exception(RigError(*message["error"]))
                else:
                    answer.set_result(message)
        elif "trying" in message:
            self._trying = message["trying"]
            self._patience = time.monotonic() + OPEN
        elif "ready" in message:
            if not self._opened.done():
                self._opened.set_result(Ready(**message["ready"]))
        elif "failed" in message:
            if not self._was_up and not self._opened.done():
                self._opened.set_exception(CannotStart(message["failed"]))
            self._lost = message["failed"]
        elif "lost" in message:
            self._lost = message["lost"]
            self._wires = None
        elif "wires" in message:
            self._wires = message["wires"]
        else:
            self._event(message)

    async def _beat(self) -> str:
        """Asks again and again whether it is alive. Returns what is wrong when it is not."""
        samples, moved = -1, time.monotonic()
        while True:
            try:
                async with asyncio.timeout(SILENCE):  # wait_for of Python 3.11 can miss that it is cancelled
                    answer = await self.ask("ping")
            except TimeoutError:
                return "the audio process does not answer"
            except AudioGone:
                return ""
            if answer["samples"] != samples:
                samples, moved = answer["samples"], time.monotonic()
            elif time.monotonic() > moved + STALL:
                return "the audio has stopped"
            await asyncio.sleep(BEAT)

    async def _end(self, patience: float = END) -> int | None:
        """Ends the audio process; cleanly, where it does so in time. Returns its exit status."""
        process, writer = self._process, self._writer
        if process is None:
            return None
        self._process = self._writer = None
        if writer:
            writer.write(encode({"do": "quit"}))
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(0.1):
                    await writer.drain()
        end = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < end:
            await asyncio.sleep(0.005)
        status = process.poll()
        if status is None:
            process.kill()
        process.wait()
        if writer:
            writer.close()
        return status


def _ended(status: int | None) -> str:
    if status == BLOCK_SIZE_CHANGED:
        return "JACK's block size has changed"
    return "the audio process was ended" if status is None else f"the audio process ended with status {status}"
