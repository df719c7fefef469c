"""How the control process and the audio process talk: lines of JSON over a socket of their own."""

import json
from collections.abc import Iterator
from typing import Any


BLOCK_SIZE_CHANGED = 76
"""Exit status of the audio process: JACK's block size is another one now, and a new process is needed."""


def encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Decoder:
    """Messages out of a stream of bytes, however it is cut."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return map(json.loads, lines)
