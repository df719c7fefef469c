"""A rig server of a test's own, and an OSC client for it."""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

ERROR = "/rig/error"
DONE = "/rig/done"

Message = tuple[Any, ...]  # the address, and the arguments


def message(address: str, *arguments: Any) -> bytes:
    builder = OscMessageBuilder(address)
    for argument in arguments:
        builder.add_arg(argument)
    return builder.build().dgram


class Client:
    """Sends and receives on one socket, as patches do."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.socket.connect(("127.0.0.1", port))

    def send(self, address: str, *arguments: Any) -> None:
        self.socket.send(message(address, *arguments))

    def receive(self, seconds: float = 5.0) -> Message | None:
        self.socket.settimeout(seconds)
        try:
            packet = OscMessage(self.socket.recv(1 << 16))
        except TimeoutError:
            return None
        return (packet.address, *packet.params)

    def request(self, address: str, *arguments: Any, seconds: float = 10.0) -> list[Message]:
        """Sends a request and returns all answers up to the last one."""
        self.send(address, *arguments)
        answers: list[Message] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = self.receive(end - time.monotonic())
            assert answer is not None, f"no answer to {address} {arguments}; before: {answers}"
            answers.append(answer)
            if (
                answer[0] == address != "/rig/list"
                and not arguments
                or answer[0] in (DONE, ERROR)
                and answer[1] == address
            ):
                return answers
        raise AssertionError(f"no end of the answers to {address}: {answers}")

    def do(self, address: str, *arguments: Any) -> Message:
        """A request that has to succeed. Returns the last answer."""
        answer = self.request(address, *arguments)[-1]
        assert answer[0] != ERROR, answer
        return answer

    def fails(self, address: str, *arguments: Any) -> tuple[str, str]:
        """A request that has to be refused. Returns the code and the text."""
        answer = self.request(address, *arguments)[-1]
        assert answer[0] == ERROR, answer
        return answer[2], answer[3]

    def get(self, address: str) -> Any:
        answer = self.do(address)
        assert answer[0] == address, answer
        return answer[1]

    def list(self, *kind: str) -> list[Message]:
        return [answer[1:] for answer in self.request("/rig/list", *kind)[:-1]]

    def close(self) -> None:
        self.socket.close()


class Server:
    """``neurig serve``, as a process.

    :ivar started: its first line, which says through what it plays
    :ivar seconds: from the start to that line
    """

    def __init__(
        self,
        *arguments: str | Path,
        backend: str = "clock",
        command: str = "serve",
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        ready: str = r"neurig plays .*",
    ) -> None:
        began = time.monotonic()
        options = ["--backend", backend] if backend else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neurig.cli", command, *map(str, arguments), "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | (env or {}),
            cwd=cwd,
        )
        self._lines: list[str] = []
        self.started = self.line(ready)
        self.seconds = time.monotonic() - began
        port = re.search(r"(?:127\.0\.0\.1:|UDP port )(\d+)", self.started)
        while not port:
            self.started += self.line()
            port = re.search(r"(?:127\.0\.0\.1:|UDP port )(\d+)", self.started)
        self.port = int(port[1])
        self.client = Client(self.port)

    def line(self, pattern: str = "", seconds: float = 20.0) -> str:
        """The next line on its standard output, which has to match."""
        assert self.process.stdout and self.process.stderr
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not self._lines and not selector.select(seconds):
                self.process.kill()
                raise AssertionError(f"the server said nothing for {seconds} s: {self.process.stderr.read().decode()}")
        if not self._lines:
            self._lines = os.read(self.process.stdout.fileno(), 1 << 16).decode().splitlines(keepends=True)
        line = self._lines.pop(0) if self._lines else ""
        if not re.match(pattern, line):
            self.process.kill()
            raise AssertionError(f"the server did not start: {line}{self.process.stderr.read().decode()}")
        return line

    @property
    def audio_pid(self) -> int | None:
        """Of the audio process, if there is one."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        audio = [int(child) for child in children if b"neurig.rig.audio" in command_line(int(child))]
        return audio[0] if audio else None

    def stop(self) -> str:
        """Ends it. Returns what it wrote to standard error."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            _, errors = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, errors = self.process.communicate()
            raise AssertionError(f"the server did not end: {errors.decode()}") from None
        return errors.decode()


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def is_alive(pid: int) -> bool:
    """Does the process run? A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
