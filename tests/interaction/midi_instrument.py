"""A MIDI instrument that is plugged into JACK: a process with one output and one input, like a keyboard with sound."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import IO, Any

PROGRAM = """
import os, select, sys, time
import rtmidi

source, sink = rtmidi.MidiOut(rtmidi.API_UNIX_JACK, sys.argv[1]), rtmidi.MidiIn(rtmidi.API_UNIX_JACK, sys.argv[1])
if sys.argv[2:]:
    source.open_port(source.get_ports().index(sys.argv[2]), "keys")
    sink.open_port(sink.get_ports().index(sys.argv[3]), "sound")
else:
    source.open_virtual_port("keys")
    sink.open_virtual_port("sound")
os.write(1, b"ready\\n")
rest = b""
while True:
    if select.select([0], [], [], 0.001)[0]:
        data = os.read(0, 65536)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\\n")
        for line in lines:
            source.send_message(bytes.fromhex(line.decode()))
    while event := sink.get_message():
        os.write(1, f"{time.monotonic():.6f} {bytes(event[0]).hex()}\\n".encode())
for port in source, sink:
    port.delete()
os._exit(0)
"""


class MidiInstrument:
    """:ivar name: of its ports, before the colon
    :ivar received: when, and which message
    """

    def __init__(self, env: dict[str, str], name: str, *ports: str) -> None:
        """:param ports: one that it plays into and one that it hears, if any"""
        self.name = name
        self.received: list[tuple[float, bytes]] = []
        self._process = subprocess.Popen([sys.executable, "-c", PROGRAM, name, *ports], env=env, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        output: Any = self._process.stdout
        assert output.readline() == b"ready\n", "the instrument did not start"
        self._reader = threading.Thread(target=self._read, args=(output,), daemon=True)
        self._reader.start()

    def _read(self, output: IO[bytes]) -> None:
        for line in output:
            time_, message = line.split()
            self.received.append((float(time_), bytes.fromhex(message.decode())))

    @property
    def messages(self) -> list[bytes]:
        return [message for _, message in self.received]

    @property
    def sounding(self) -> set[tuple[int, int]]:
        """Channels from 0, and notes, that have begun and not ended."""
        notes: set[tuple[int, int]] = set()
        for message in self.messages:
            voice = message[0] & 0xF, message[1]
            if message[0] & 0xF0 == 0x90 and message[2]:
                notes.add(voice)
            elif message[0] & 0xF0 in (0x80, 0x90):
                notes.discard(voice)
        return notes

    def send(self, *message: int) -> float:
        """:returns: when"""
        assert self._process.stdin
        sent = time.monotonic()
        self._process.stdin.write(bytes(message).hex().encode() + b"\n")
        self._process.stdin.flush()
        return sent

    def unplug(self) -> None:
        assert self._process.stdin
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)
