"""A serial cable that can be pulled: a pseudo-terminal under a name that stays the same."""

from __future__ import annotations

import asyncio
import os
import termios
import time
import tty
from collections.abc import Callable
from pathlib import Path


class Cable:
    """The device's end of it.

    :ivar path: of the computer's end
    """

    def __init__(self, folder: Path, plugged: bool = True) -> None:
        self.path = folder / "ttyTEST"
        self._master = -1
        if plugged:
            self.plug()

    def plug(self) -> None:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(self._master, False)
        self.path.unlink(missing_ok=True)
        self.path.symlink_to(os.ttyname(slave))
        os.close(slave)

    def unplug(self) -> None:
        if self._master >= 0:
            self.path.unlink(missing_ok=True)  # the terminal's number may be another one's the moment it is closed
            os.close(self._master)
            self._master = -1

    def send(self, data: bytes | str) -> None:
        data = data.encode() if isinstance(data, str) else data
        end = time.monotonic() + 5
        while data:
            try:
                data = data[os.write(self._master, data):]
            except BlockingIOError:
                assert time.monotonic() < end, "nobody reads"
                time.sleep(0.001)

    def received(self) -> bytes:
        """What has come since the last time."""
        data = b""
        try:
            while part := os.read(self._master, 65536):
                data += part
        except (BlockingIOError, OSError):  # nothing, or the computer's end is closed
            pass
        return data


    def mark(self) -> None:
        """Sets something about the line that whoever opens it sets anew."""
        attributes = termios.tcgetattr(self._master)
        attributes[6][termios.VTIME] = 7
        termios.tcsetattr(self._master, termios.TCSANOW, attributes)

    def is_marked(self) -> bool:
        return termios.tcgetattr(self._master)[6][termios.VTIME] in (7, b"\x07")


async def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Waits while the event loop goes on."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s in vain for {what}"
        await asyncio.sleep(0.005)
