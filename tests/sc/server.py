"""A running scsynth or supernova, and a client of it that needs no sclang."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from pythonosc.osc_message import OscMessage

from sc.render import message

REPORT = 512  # floats


class Server:
    """A running server, and a client of it."""

    def __init__(self, program: str, port: int, folder: Path, env: dict[str, str], *options: str,
                 wrapper: tuple[str, ...] = (), seconds: float = 10) -> None:  # fmt: skip
        """Starts a server.

        :param folder: where it runs, and writes ``PROGRAM.log``
        :param options: more of the command line
        :param wrapper: a command that runs it, as valgrind
        :param seconds: that an answer may take
        """
        self.seconds = seconds
        self.log = folder / f"{program}.log"
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.settimeout(0.2)
        command = [*wrapper, program, "-u", str(port), "-i", "0", "-o", "2", "-D", "0", *options]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output)

    def send(self, *parts: object) -> None:
        self.socket.send(message(*parts))  # type: ignore[arg-type]

    def ask(self, *parts: object, answer: tuple[object, ...]) -> list:
        """Sends a message and waits for one that begins as ``answer`` does; gives its arguments."""
        end = time.monotonic() + self.seconds
        self.send(*parts)
        while time.monotonic() < end and self.process.poll() is None:
            try:
                got = OscMessage(self.socket.recv(65536))
            except (TimeoutError, ConnectionRefusedError):
                if parts[0] == "/status":  # it may not have been there yet
                    time.sleep(0.05)
                    self.send(*parts)
                continue
            if (got.address, *got.params)[: len(answer)] == answer:
                return list(got.params)
        raise AssertionError(f"no {answer[0]} to {parts[0]}; the server said:\n{self.log.read_text()[-4000:]}")

    def sync(self) -> None:
        self.ask("/sync", 1, answer=("/synced",))

    def ready(self) -> Server:
        """Waits until it answers, and has a buffer for reports."""
        self.ask("/status", answer=("/status.reply",))
        self.ask("/b_alloc", 0, REPORT, 1, answer=("/done", "/b_alloc", 0))
        return self

    def report(self, name: str, *arguments: object) -> list[float]:
        """Performs a command and has its report sent, in buffer 0; gives the head's eight numbers and the body's."""
        report = message("/b_getn", 0, 0, REPORT)
        values = self.ask("/cmd", name, *arguments, 0, report, answer=("/b_setn", 0))[3:]
        return values[: 8 + int(values[6])]

    def command(self, name: str, *arguments: object) -> tuple[dict[str, float], str]:
        """The same with a report of text, by names."""
        values = self.report(name, *arguments)
        names = ("ok", "loaded", "rate", "latency", "params", "users", "length")
        return dict(zip(names, values, strict=False)), bytes(map(int, values[8:])).decode()

    def memory(self) -> float:
        """Resident memory in MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024
