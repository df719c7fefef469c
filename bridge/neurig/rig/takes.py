"""The recordings that go on, as the control process sees them: they outlive the audio process."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from neurig.files import unused
from neurig.rig.errors import RigError
from neurig.rig.state import Node
from neurig.rig.supervisor import AudioGone, Supervisor

log = logging.getLogger("neurig.rig")


class Takes:
    """:ivar ended: is called when a recording has ended, with what went wrong (empty: nothing)"""

    def __init__(self, audio: Supervisor, changed: Callable[[Node, str], None]) -> None:
        """:param changed: is called when a node's parameter has changed"""
        self.ended: Callable[[str], None] = lambda problem: None
        self._audio = audio
        self._changed = changed
        self._going: dict[int, tuple[Node, str]] = {}  # by node: the file
        self._replaced: set[str] = set()  # files that give way to a recording as soon as it can be made
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()  # by node: who starts or stops it

    def _turn(self, node: Node) -> asyncio.Lock:
        """Starts and stops of a node are done one after the other, as they were asked for."""
        return self._turns.setdefault(node.id, asyncio.Lock())

    def plan(self, node: Node) -> None:
        """Lets a recorder run from the first block on, when the audio process begins. An older file gives way."""
        self._going[node.id] = node, str(node.values["file"])
        self._replaced.add(str(node.values["file"]))
        node.values["record"] = 1

    async def start(self, node: Node) -> None:
        """:raises RigError: where it cannot be"""
        if not node.values["file"]:
            raise RigError("bad_value", f"set {node.name}/file first")
        async with self._turn(node):
            await self._audio.wait_up()  # not while a process is being built: resume() might just have been there
            if node.id in self._going:
                return
            path = unused(str(node.values["file"]))
            self._going[node.id] = node, path
            try:
                await self._ask(node, path)
            except AudioGone:
                await self._audio.wait_up()  # resume() does it
            except RigError:
                self._going.pop(node.id, None)
                raise
            if node.id in self._going:  # else it has ended already
                node.values["record"] = 1
                self._changed(node, "record")

    async def stop(self, node: Node) -> None:
        """Returns when the file is closed."""
        async with self._turn(node):
            while node.id in self._going:  # also where the audio process ended meanwhile, and resume() was there
                await self._audio.sure("stop_record", id=node.id)
                await asyncio.sleep(0.01)

    async def resume(self, nodes: set[int]) -> None:
        """Goes on with all of them in a new audio process, which has these nodes."""
        for number, (node, path) in list(self._going.items()):
            if number not in nodes:
                del self._going[number]
                continue
            try:
                await self._ask(node, path)
            except RigError as problem:
                self._end(number, problem.text)

    async def _ask(self, node: Node, path: str) -> None:
        if path in self._replaced:
            self._replaced.remove(path)
            try:
                Path(path).unlink(missing_ok=True)
            except OSError as problem:
                raise RigError("bad_file", f"{path}: {problem.strerror}") from None
        # The path was unused when the recording began: what is there now is the recording's own beginning.
        resume = os.path.exists(path)
        await self._audio.ask("record", id=node.id, path=path, length=node.values["length"], resume=resume)

    def forget(self, node: Node) -> None:
        """The node is gone; its recording is being closed."""
        self._going.pop(node.id, None)

    def told(self, number: int, path: str, problem: str) -> None:
        """The audio process has closed a file."""
        if self._going.get(number, (None, ""))[1] == path:
            self._end(number, problem)

    def _end(self, number: int, problem: str) -> None:
        node, path = self._going.pop(number)
        if problem:
            log.error("the recording %s ended early: %s", path, problem)
        node.values["record"] = 0
        self._changed(node, "record")
        self.ended(problem)


def settle_recording(file: str, base: Path) -> str:
    """The absolute path of a file for recordings.

    :raises RigError: bad_file where no recording can go there
    """
    if not file:
        return ""
    path = base / Path(file).expanduser()
    if path.suffix.lower() != ".wav":
        raise RigError("bad_file", f"{path}: recordings are .wav files")
    if not path.parent.is_dir():
        raise RigError("bad_file", f"{path}: there is no folder {path.parent}")
    return str(path)
