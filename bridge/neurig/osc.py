"""OSC over UDP for an asyncio loop: packets in, packets out.

Messages of numbers, which come and go by the thousand, are read and written here; everything else is python-osc's.
"""

import asyncio
import logging
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

log = logging.getLogger("neurig")

Client = tuple[str, int]

_MOST_WAITING = 10_000  # messages of bundles whose time is still to come
_FARTHEST = 3600.0  # seconds that a bundle's time may be ahead
_ERRORS_PER_SECOND = 100  # that are answered; more are only counted
_BUFFER = 4 << 20  # bytes of packets that may wait in the system, where it allows so many
_AT_ONCE = 0.0002  # seconds: so long packets are read before timers that are due have their turn
_MOST_SHAPES = 512  # kinds of messages of which the form is remembered


class OscSocket:
    """A UDP port for OSC.

    :ivar port: the number of the port
    """

    def __init__(self, receive: Callable[[Client, str, list[Any]], None],
                 refuse: Callable[[Client, str], None]) -> None:
        """:param receive: is called with each message: who sent it, its address, its arguments
        :param refuse: is called with what is wrong with a packet that is not OSC
        """
        self.port = 0
        self._receive = receive
        self._refuse = refuse
        self._socket: socket.socket | None = None
        self._buffer = memoryview(bytearray(65536))
        self._waiting = 0
        self._errors = 0  # in this second

    async def open(self, host: str, port: int) -> None:
        """:raises OSError: where the port is taken, or the host is not this machine"""
        self._loop = asyncio.get_running_loop()
        family, *_, address = await resolve(host, port)
        own = socket.socket(family, socket.SOCK_DGRAM)
        try:
            own.setblocking(False)
            _enlarge(own)
            own.bind(address)
        except OSError:
            own.close()
            raise
        self._socket = own
        self.port = own.getsockname()[1]
        self._loop.add_reader(own, self._readable)

    def close(self) -> None:
        if self._socket:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def send(self, client: Client, address: str, arguments: Sequence[Any]) -> None:
        """:raises OSError, ValueError: where it cannot be sent"""
        if self._socket:
            self._socket.sendto(encode(address, arguments), client)

    def _readable(self) -> None:
        """Reads what has come, so that nothing is lost while the system's buffer fills; but not for too long."""
        end = self._loop.time() + _AT_ONCE
        while self._socket:
            try:
                size, client = self._socket.recvfrom_into(self._buffer)
            except OSError:  # there is no more
                return
            self._packet(bytes(self._buffer[:size]), client)
            if self._loop.time() >= end:
                return

    def _packet(self, data: bytes, client: Client) -> None:
        try:
            if message := decode_numbers(data):
                return self._receive(client, *message)
            timed = _decode(data)
        except OscError as problem:
            return self._refuse_packet(client, f"this is not OSC: {problem}")
        now = time.time()
        for when, address, arguments in timed:
            ahead = when - now
            if ahead <= 0:
                self._receive(client, address, arguments)
            elif ahead > _FARTHEST or self._waiting >= _MOST_WAITING:
                self._refuse_packet(client, f"a bundle's time is {ahead:.0f} s ahead" if ahead > _FARTHEST
                                    else "too many bundles wait for their time")
            else:
                self._waiting += 1
                self._loop.call_later(ahead, self._receive_late, client, address, arguments)

    def _receive_late(self, client: Client, address: str, arguments: list[Any]) -> None:
        self._waiting -= 1
        self._receive(client, address, arguments)

    def _refuse_packet(self, client: Client, problem: str) -> None:
        if not self._errors:
            self._loop.call_later(1.0, self._next_second)
        self._errors += 1
        if self._errors <= _ERRORS_PER_SECOND:
            self._refuse(client, problem)

    def _next_second(self) -> None:
        if self._errors > _ERRORS_PER_SECOND:
            log.warning("%d more packets were no OSC, and got no answer", self._errors - _ERRORS_PER_SECOND)
        self._errors = 0


async def resolve(host: str, port: int) -> tuple[Any, ...]:
    """What ``socket.getaddrinfo`` says of a UDP port: the family first, the address last.

    :raises OSError: where there is no such host
    """
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    except OSError:  # a name: that may take its time
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        return next((one for one in found if one[0] == socket.AF_INET), found[0])


def _enlarge(own: socket.socket) -> None:
    """As many packets as the system allows may wait; more than that with its permission."""
    try:
        own.setsockopt(socket.SOL_SOCKET, 33, _BUFFER)  # SO_RCVBUFFORCE of Linux: for root
    except OSError:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


class OscError(ValueError):
    """A packet that is not OSC."""


_Shape = tuple[str, struct.Struct]
_shapes: dict[bytes, _Shape | None] = {}  # by a message's first bytes: address and type tags
_TYPES = {"f": "f", "d": "d", "i": "i", "h": "q"}


def decode_numbers(data: bytes) -> tuple[str, list[Any]] | None:
    """Address and arguments of a message all of whose arguments are numbers; ``None`` of anything else."""
    end = data.find(b"\0", data.find(b","))
    end += 4 - end % 4
    header = data[:end]
    try:
        shape = _shapes[header]
    except KeyError:
        shape = _shape(header)
        if len(_shapes) < _MOST_SHAPES:
            _shapes[header] = shape
    if shape is None or shape[1].size != len(data) - end:
        return None
    return shape[0], list(shape[1].unpack_from(data, end))


def _shape(header: bytes) -> _Shape | None:
    address, comma, tags = header.partition(b",")
    address, padding = address.rstrip(b"\0"), len(address) - len(address.rstrip(b"\0"))
    tags = tags.rstrip(b"\0")
    if not comma or not address.startswith(b"/") or not 1 <= padding <= 4 or (len(address) + padding) % 4:
        return None
    try:
        return address.decode("ascii"), struct.Struct(">" + "".join(_TYPES[tag] for tag in tags.decode("ascii")))
    except (KeyError, UnicodeDecodeError):
        return None


def _decode(data: bytes) -> list[tuple[float, str, list[Any]]]:
    """Times, addresses and arguments of a packet's messages.

    :raises OscError:
    """
    from pythonosc.osc_packet import OscPacket

    before = logging.root.manager.disable
    logging.disable()  # it would say what is wrong, of each packet
    try:
        return [(message.time, message.message.address, list(message.message.params))
                for message in OscPacket(data).messages]
    except Exception as problem:  # python-osc raises whatever the damage leads to
        raise OscError(str(problem)[:200] or type(problem).__name__) from None
    finally:
        logging.disable(before)


_headers: dict[tuple[str, int], tuple[bytes, struct.Struct]] = {}


def encode(address: str, arguments: Sequence[Any]) -> bytes:
    """A message. Integers that OSC's 32 bits do not hold become floats.

    :raises ValueError: where a number is too large for that, too
    """
    if any(type(argument) is not float for argument in arguments):
        return _encode(address, arguments)
    key = address, len(arguments)
    if key not in _headers:
        if len(_headers) >= _MOST_SHAPES:
            _headers.clear()
        tags = "," + "f" * len(arguments)
        _headers[key] = _padded(address) + _padded(tags), struct.Struct(f">{len(arguments)}f")
    header, form = _headers[key]
    try:
        return header + form.pack(*arguments)
    except OverflowError:
        raise ValueError("a number is too large for OSC") from None


def _padded(text: str) -> bytes:
    encoded = text.encode()
    return encoded + bytes(4 - len(encoded) % 4)


def _encode(address: str, arguments: Sequence[Any]) -> bytes:
    from pythonosc.osc_message_builder import OscMessageBuilder

    message = OscMessageBuilder(address)
    for argument in arguments:
        if isinstance(argument, str):  # a path may hold what is not Unicode
            message.add_arg(argument.encode(errors="replace").decode(), OscMessageBuilder.ARG_TYPE_STRING)
        elif isinstance(argument, int) and -2**31 <= argument < 2**31:
            message.add_arg(int(argument), OscMessageBuilder.ARG_TYPE_INT)
        else:
            message.add_arg(float(argument), OscMessageBuilder.ARG_TYPE_FLOAT)
    return bytes(message.build().dgram)
