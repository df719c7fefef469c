"""WebSockets, for web pages and apps: a server that any number of clients connect to.

::

    [websocket]
    server_ip = "127.0.0.1"         # 0.0.0.0: from other machines, too
    server_port = 5001
    input = [["note_on", 1], ["control_change", 1, 42]]       # see mapping.py
    output = [["note_on", 1], ["control_change", 1, 42]]
    origins = ["https://my.page"]   # pages from elsewhere that may connect; those of this machine and network may

At ``ws://machine:5001/`` messages are MIDI in words, in both directions; channels count from 1::

    /channel/1/noteon/60/100        /channel/1/cc/42/127
    /channel/1/noteoff/60/0         /channel/1/pitchbend/8192       0..16383

At ``ws://machine:5001/json`` they are frames, in both directions; what is ``null`` stays as it is::

    {"values": [0.5, null, 1.0]}

A frame that cannot be used is answered there by ``{"error": "what is wrong"}``. Both kinds are understood at both
places.
"""

import asyncio
import ipaddress
import json
import logging
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from neurig.interaction import mapping
from neurig.interaction.complaints import Complaints
from neurig.interaction.mapping import Mapping, Voices
from neurig.interaction.port import Update
from neurig.rig.nodes import hint

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

RETRY_AFTER = 2.0
"""Seconds between two attempts to get the port."""
LONGEST = 8192
"""Bytes of a message; who sends a longer one is disconnected."""
MOST_CLIENTS = 64
BEHIND = 4096
"""Bytes that wait for a client who is too slow; then frames are left out for it, and the newest one waits."""
LOOK_EVERY = 0.02
"""Seconds between two looks whether a slow client takes more."""
log = logging.getLogger("neurig")
_KEYS = ("server_ip", "server_port", "input", "output", "origins")


@dataclass(frozen=True)
class WebSocketSettings:
    """:ivar values: of a frame, without the time step
    :ivar origins: of pages from elsewhere that may connect; ``"*"``: all
    """

    server_ip: str
    server_port: int
    input: Mapping
    output: Mapping
    origins: tuple[str, ...]
    values: int

    @classmethod
    def from_table(cls, table: dict[str, Any], dimension: int) -> "WebSocketSettings":
        """:raises ValueError: "key: what is wrong, and what it should be\""""
        for key in table:
            if key not in _KEYS:
                raise ValueError(f"{key}: there is no such setting{hint(key, _KEYS)}: there are {', '.join(_KEYS)}")
        address, port = table.get("server_ip", "127.0.0.1"), table.get("server_port", 5001)
        origins = table.get("origins", [])
        if not isinstance(address, str):
            raise ValueError(f'server_ip: is {address!r}, but has to be an address in quotes, such as "127.0.0.1"')
        if type(port) is not int or not 1 <= port <= 65535:
            raise ValueError(f"server_port: is {port!r}, but has to be a whole number from 1 to 65535")
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            raise ValueError(f'origins: has to be a list such as ["https://my.page"], not {origins!r}')
        return cls(address or "0.0.0.0", port, mapping.of(table, "input", dimension),
                   mapping.of(table, "output", dimension), tuple(origins), dimension - 1)


def to_words(message: bytes) -> str:
    """A MIDI message as it is written here."""
    channel, first, second = (message[0] & 0x0F) + 1, message[1], message[2]
    match message[0] & 0xF0:
        case mapping.NOTE_ON:
            return f"/channel/{channel}/noteon/{first}/{second}"
        case mapping.NOTE_OFF:
            return f"/channel/{channel}/noteoff/{first}/{second}"
        case mapping.CONTROL_CHANGE:
            return f"/channel/{channel}/cc/{first}/{second}"
    return f"/channel/{channel}/pitchbend/{second << 7 | first}"


_STATUS = {"noteon": mapping.NOTE_ON, "noteoff": mapping.NOTE_OFF, "cc": mapping.CONTROL_CHANGE}


def from_words(text: str) -> bytes:
    """The MIDI message that is written so.

    :raises ValueError: where it is none
    """
    match text.split("/"):
        case ["", "channel", channel, ("noteon" | "noteoff" | "cc") as kind, first, second]:
            return bytes((_STATUS[kind] | _number(channel, 1, 16) - 1, _number(first, 0, 127), _number(second, 0, 127)))
        case ["", "channel", channel, "pitchbend", value]:
            bend = _number(value, 0, mapping.BEND_MAX)
            return bytes((mapping.PITCH_BEND | _number(channel, 1, 16) - 1, bend & 0x7F, bend >> 7))
    raise ValueError("write /channel/1/noteon/60/100, …/noteoff/60/0, …/cc/42/127 or …/pitchbend/8192")


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and low <= int(text) <= high):
        raise ValueError(f"{text[:20]!r} has to be a whole number from {low} to {high}")
    return int(text)


def from_json(text: str, values: int) -> Update:
    """What a JSON frame changes.

    :param values: that a frame has
    :raises ValueError: where it is no frame
    """
    try:
        frame = json.loads(text)["values"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError('write {"values": [0.5, 1.0]}') from None
    if not isinstance(frame, list) or not all(value is None or type(value) in (int, float) for value in frame):
        raise ValueError("values has to be a list of numbers")
    if len(frame) != values:
        raise ValueError(f"there are {len(frame)} values, but there have to be {values}")
    try:
        return [(index, float(value)) for index, value in enumerate(frame) if value is not None]
    except OverflowError:
        raise ValueError("values go from 0 to 1") from None


class _Client:
    """:ivar waiting: a frame that is sent when the client takes more"""

    def __init__(self, connection: "ServerConnection", output: Mapping, as_json: bool) -> None:
        self.connection = connection
        self.as_json = as_json
        self.voices = Voices(output)
        self.waiting: Sequence[float] | None = None

    @property
    def behind(self) -> bool:
        return self.connection.transport.get_write_buffer_size() > BEHIND


class WebSocketPort:
    """A :class:`~neurig.interaction.port.Port` for WebSocket clients."""

    name = "websocket"

    def __init__(self, settings: WebSocketSettings, receive: Callable[[Update], None], complain: Complaints) -> None:
        self._settings = settings
        self._receive = receive
        self._complain = complain
        self._clients: set[_Client] = set()
        self._server: Server | None = None
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Begins to serve, or to wait for the port where another program has it."""
        from websockets.asyncio.server import broadcast

        self._broadcast = broadcast
        if not await self._serve():
            self._opening = asyncio.create_task(self._serve_later())

    async def _serve_later(self) -> None:
        while not await self._serve():
            await asyncio.sleep(RETRY_AFTER)

    async def _serve(self) -> bool:
        from websockets.asyncio.server import serve

        quiet = logging.getLogger("neurig.websocket")
        quiet.setLevel(logging.CRITICAL)  # what clients do wrong is said by complaints
        settings = self._settings
        try:
            self._server = await serve(
                self._attend, settings.server_ip, settings.server_port, process_request=self._admit, compression=None,
                max_size=LONGEST, close_timeout=0.3, server_header=None, logger=quiet)
        except OSError as problem:
            self._complain("port", f"port {settings.server_port} of {settings.server_ip} cannot be had "
                                   f"({problem.strerror or problem}); neurig goes on trying")
            return False
        log.info("websocket: ws://%s:%d", settings.server_ip, settings.server_port)
        return True

    def play(self, values: Sequence[float]) -> None:
        text = self._to_json(values) if any(client.as_json for client in self._clients) else ""
        for client in self._clients:
            if not client.behind:
                client.waiting = None
                self._tell(client, values, text)
                continue
            if client.waiting is not None:
                self._complain("slow client", "a client does not keep up: frames are left out for it")
            client.waiting = tuple(values)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _tell(self, client: _Client, values: Sequence[float], text: str) -> None:
        if client.as_json:
            self._broadcast((client.connection,), text)
        else:
            for message in client.voices.play(values):
                self._broadcast((client.connection,), to_words(message))

    def _look(self) -> None:
        self._timer = None
        for client in self._clients:
            if client.waiting is not None and not client.behind:
                values, client.waiting = client.waiting, None
                self._tell(client, values, self._to_json(values))
        if any(client.waiting is not None for client in self._clients):
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    @staticmethod
    def _to_json(values: Sequence[float]) -> str:
        return json.dumps({"values": [round(value, 6) if value == value else None for value in values]})

    def silence(self) -> None:
        for client in self._clients:
            client.waiting = None
            for message in client.voices.silence():
                self._broadcast((client.connection,), to_words(message))

    async def close(self) -> None:
        self.silence()
        if self._opening:
            self._opening.cancel()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        server, self._server = self._server, None
        if server:
            server.close()
            try:
                await asyncio.wait_for(server.wait_closed(), 0.5)
            except TimeoutError:  # who does not answer is cut off
                for client in self._clients:
                    client.connection.transport.abort()

    # -- clients

    def _admit(self, connection: "ServerConnection", request: "Request") -> "Response | None":
        """Pages from elsewhere, which a browser lets connect to any machine, are turned away."""
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_welcome(origin, request.headers.get("Host", "")):
            self._complain("origin", f"a web page from {origin[:80]!r} was turned away; to let it in, write origins = "
                                     f"[{json.dumps(origin[:80])}] into [websocket]")
            return connection.respond(HTTPStatus.FORBIDDEN, "This page may not connect.\n")
        if len(self._clients) >= MOST_CLIENTS:
            self._complain("clients", f"there are {MOST_CLIENTS} clients already: no more are let in")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "There are too many clients.\n")
        return None

    def _is_welcome(self, origin: str, host: str) -> bool:
        allowed = self._settings.origins
        if origin in allowed or "*" in allowed:
            return True
        try:
            page = urlsplit(origin).hostname or ""
            served_here = page != "" and page == urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        try:
            address = ipaddress.ip_address(page)
        except ValueError:
            local = "." not in page or page.endswith((".local", ".localhost"))  # no name that anybody can register
            return page == "localhost" or local and served_here
        return address.is_loopback or address.is_private or served_here

    async def _attend(self, connection: "ServerConnection") -> None:
        from websockets.exceptions import ConnectionClosed, ConnectionClosedError

        as_json = connection.request is not None and connection.request.path.split("?")[0] == "/json"
        client = _Client(connection, self._settings.output, as_json)
        raw = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)  # what waits there cannot be taken back
        self._clients.add(client)
        try:
            while True:
                self._hear(client, await connection.recv())
                await asyncio.sleep(0)  # a client that floods gives way to the others, and to the clock
        except ConnectionClosedError as problem:
            if problem.sent and problem.sent.code == 1009:
                self._complain("too long", f"a client sent more than {LONGEST} bytes at once, and was disconnected")
        except ConnectionClosed:
            pass
        except Exception:
            log.exception("websocket: a client was given up")
        finally:
            self._clients.discard(client)

    def _hear(self, client: _Client, message: str | bytes) -> None:
        try:
            if isinstance(message, bytes):
                raise ValueError("messages are text, not binary")
            if message.lstrip()[:1] == "{":
                self._receive(from_json(message, self._settings.values))
            elif update := mapping.updates(from_words(message), self._settings.input):
                self._receive(update)
        except ValueError as problem:
            self._complain("bad message", f"{message[:60]!r}: {problem}")
            if client.as_json and not client.behind:
                self._broadcast((client.connection,), json.dumps({"error": str(problem)}))
