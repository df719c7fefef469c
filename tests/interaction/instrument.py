"""``neurig run`` of a test's own, and the player who sits at it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from neurig.osc import encode
from pythonosc.osc_message import OscMessage

Message = tuple[Any, ...]  # the address, and the arguments
Row = tuple[datetime, str, list[float | None]]


class Ear:
    """A UDP port that OSC is sent to."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def hear(self, seconds: float = 5.0) -> Message:
        """The next message."""
        self._socket.settimeout(seconds)
        message = OscMessage(self._socket.recv(65536))
        return message.address, *message.params

    def all(self, silence: float = 0.3) -> list[Message]:
        """All messages until there is silence."""
        messages = []
        while True:
            try:
                messages.append(self.hear(silence))
            except TimeoutError:
                return messages

    def close(self) -> None:
        self._socket.close()


class Instrument:
    """A running ``neurig run``.

    :ivar port: that ``/interface`` goes to
    :ivar command_port: that commands go to
    :ivar ear: what is played
    :ivar monitor: the monitor stream
    :ivar said: the lines on standard error so far
    """

    def __init__(self, folder: Path, config: str, *arguments: Any, free_port: Callable[[], int],
                 ready: bool = True, name: str = "config.toml", **popen: Any) -> None:
        """:param config: TOML, in which PORT, EAR, COMMANDS and MONITOR are put in
        :param ready: whether to wait until it plays
        """
        self.folder = folder
        self.ear, self.monitor = Ear(), Ear()
        self.port, self.command_port = free_port(), free_port()
        for word, number in (("PORT", self.port), ("EAR", self.ear.port), ("COMMANDS", self.command_port),
                             ("MONITOR", self.monitor.port)):
            config = re.sub(rf"\b{word}\b", str(number), config)
        (folder / name).write_text(config, encoding="utf-8")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.said: list[str] = []
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": folder} | popen
        self.process = subprocess.Popen([sys.executable, "-m", "neurig.cli", "run", "-c", str(folder / name),
                                         *map(str, arguments)], **options)
        if ready:
            self.wait_for(r": .*, log ")

    def wait_for(self, pattern: str, seconds: float = 20.0) -> str:
        """The next line on standard error that has this in it."""
        assert self.process.stderr
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            line = self._line(end - time.monotonic())
            if line is None:
                break
            self.said.append(line)
            if re.search(pattern, line):
                return line
        self.process.kill()
        raise AssertionError(f"{pattern!r} was not said, but:\n" + "\n".join(self.said))

    def _line(self, seconds: float) -> str | None:
        """``None`` where there is none in time, or it has ended."""
        pipe = self.process.stderr
        assert pipe
        if not hasattr(self, "_rest"):
            self._rest = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(max(seconds, 0)):
                    return None
                if not (data := os.read(pipe.fileno(), 1 << 16)):
                    return None
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def play(self, *values: float, port: int | None = None) -> None:
        """The player's hands."""
        self.send("/interface", *values, port=port)

    def send(self, address: str, *arguments: Any, port: int | None = None) -> None:
        self.send_bytes(encode(address, arguments), port)

    def send_bytes(self, data: bytes, port: int | None = None) -> None:
        self._socket.sendto(data, ("127.0.0.1", port or self.port))

    def command(self, word: str, *arguments: Any, port: int | None = None) -> None:
        """Takes its turn after what was played before; at another port it may not."""
        self.send(f"/impsy/{word}", *arguments, port=port)

    def rows(self, pattern: str = "*-mdrnn.log") -> list[Row]:
        """What is logged."""
        return [row for path in sorted((self.folder / "logs").glob(pattern)) for row in read_log(path)]

    def cpu(self) -> float:
        """Seconds of CPU time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """The most that has been resident, in MB, of all its processes."""
        pids = [self.process.pid, *map(int, Path(
            f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())]
        peaks = [re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
        return sum(int(peak[1]) for peak in peaks if peak) / 1024

    def stop(self, number: int = signal.SIGINT) -> str:
        """Ends it, and gives all that it said on standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            _, errors = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.said += (getattr(self, "_rest", b"") + (errors or b"")).decode().splitlines()
        self._rest = b""
        self.ear.close()
        self.monitor.close()
        self._socket.close()
        return "\n".join(self.said)


def read_log(path: Path) -> list[Row]:
    rows = []
    for line in path.read_text().splitlines():
        time_, source, *cells = line.split(",")
        rows.append((datetime.fromisoformat(time_), source, [float(cell) if cell else None for cell in cells]))
    return rows


def values_of(messages: Sequence[Message]) -> list[list[float]]:
    return [list(message[1:]) for message in messages]
