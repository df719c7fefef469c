"""A Pd that runs in real time while a test talks to it: objects are made, told, deleted, and what they say is read."""

import re
import selectors
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pd.render import ROOT, Patch


class Live:
    """Pd, with one patch open, and in it an empty window, ``stage``.

    :ivar process: Pd's
    :ivar console: the lines that it has written so far
    """

    def __init__(self, port: int, *options: str, pd: str = "pd") -> None:
        """:param port: a TCP port that is free; through it Pd is told what to do
        :param options: of Pd's command line
        """
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "live.pd"
        path.write_text(_patch(port).text() + "\n")
        command = [pd, "-nogui", "-noprefs", "-noaudio", "-nomidi", "-stderr", "-path", str(ROOT / "pd"), *options]
        self.process = subprocess.Popen([*command, "-open", str(path)], stderr=subprocess.PIPE)
        self.console: list[str] = []
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.process.stderr, selectors.EVENT_READ)
        self.wait("live: ready")
        self._socket = socket.create_connection(("127.0.0.1", port))

    def send(self, *messages: str) -> None:
        """Sends messages, each to the receiver that its first word names: ``pd-stage obj 10 10 neurig.amp``."""
        self._socket.sendall("".join(f"{message};\n" for message in messages).encode())

    def stage(self, objects: Sequence[str], *cords: tuple[int, int, int, int]) -> None:
        """Fills the empty window.

        :param objects: as they are typed
        :param cords: from which object and outlet to which object and inlet
        """
        self.send("pd-stage clear")
        self.send(*(f"pd-stage obj 10 {30 * number} {text}" for number, text in enumerate(objects)))
        self.send(*(f"pd-stage connect {' '.join(map(str, cord))}" for cord in cords))
        self.send("pd-stage loadbang")  # what is made by messages does not bang by itself

    def wait(self, pattern: str, after: int = 0, seconds: float = 15.0) -> int:
        """Waits for a line, from number ``after`` on, that a pattern begins; returns the number of the next.

        :raises AssertionError: where it does not come
        """
        end = time.monotonic() + seconds
        while True:
            for number in range(after, len(self.console)):
                if re.match(pattern, self.console[number]):
                    return number + 1
            if not self._read(end - time.monotonic()):
                raise AssertionError(f"Pd did not say {pattern}, but: {self.console[after:]}")

    def settle(self, seconds: float) -> list[str]:
        """Reads on for some time; returns the lines that came."""
        before, end = len(self.console), time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            pass
        return self.console[before:]

    def quit(self) -> int:
        """Lets Pd quit by itself; returns its exit code."""
        self.send("pd quit")
        return self.process.wait(timeout=10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._socket.close()
        self._selector.close()
        self._folder.cleanup()

    def _read(self, seconds: float) -> bool:
        """Waits for more lines; False where the time is up, or Pd has ended."""
        if seconds <= 0 or not self._selector.select(seconds):
            return False
        assert self.process.stderr
        chunk = self.process.stderr.read1()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.console += [line.decode() for line in lines]
        return bool(chunk)


def _patch(port: int) -> Patch:
    patch = Patch()
    patch.sub(Patch(), "stage")
    listen, name = patch.obj(f"netreceive {port}"), patch.obj("list split 1")
    rest, receiver = patch.obj("list trim"), patch.obj("send")
    patch.connect(listen, name)
    # The words after the first come first: they wait until it has said whose they are.
    wait, both = patch.obj("list append"), patch.obj("t b l")
    patch.connect(name, wait, 1, 1)
    patch.connect(name, both)
    patch.connect(both, receiver, 1, 1)
    patch.connect(both, wait)
    patch.chain(wait, rest, receiver)
    patch.chain(patch.obj("loadbang"), patch.msg("ready"), patch.obj("print live"))
    return patch
