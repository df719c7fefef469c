"""OSC over UDP, by python-osc's asyncio server: packets in, answers out."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_packet import OscPacket
from pythonosc.osc_server import AsyncIOOSCUDPServer

log = logging.getLogger("neurig.rig")

Client = tuple[str, int]

_MOST_WAITING = 10_000  # messages of bundles whose time is still to come
_FARTHEST = 3600.0  # seconds that a bundle's time may be ahead
_ERRORS_PER_SECOND = 100  # answers to packets that are not OSC; more are only counted
_BUFFER = 4 << 20  # bytes of packets that may wait in the system, where it allows so many


class OscPort(Dispatcher):
    """A UDP port for OSC.

    :ivar port: the number of the port
    """

    def __init__(self, receive: Callable[[Client, str, list[Any]], None],
                 refuse: Callable[[Client, str], None]) -> None:
        """:param receive: is called with each message: who sent it, its address, its arguments
        :param refuse: is called with what is wrong with a packet that is not OSC
        """
        super().__init__()
        self.port = 0
        self._receive = receive
        self._refuse = refuse
        self._waiting = 0
        self._errors = 0  # in this second

    async def open(self, host: str, port: int) -> None:
        """:raises OSError: where the port is taken, or the host is not this machine"""
        self._loop = asyncio.get_running_loop()
        server = AsyncIOOSCUDPServer((host, port), self, self._loop)  # type: ignore[arg-type]
        self._transport, _ = await server.create_serve_endpoint()
        own: socket.socket = self._transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self.port = own.getsockname()[1]

    def close(self) -> None:
        self._transport.close()

    def call_handlers_for_packet(self, data: bytes, client_address: Client) -> list[Any]:
        """python-osc's server gives each packet here. Its own dispatcher would sleep until a bundle's time has come,
        and pass over what is not OSC."""
        try:
            timed = [(message.time, message.message.address, list(message.message.params))
                     for message in OscPacket(data).messages]
        except Exception as problem:  # python-osc raises whatever the damage leads to
            self._refuse_packet(client_address, f"this is not OSC: {str(problem)[:200] or type(problem).__name__}")
            return []
        now = time.time()
        for when, address, arguments in timed:
            ahead = when - now
            if ahead <= 0:
                self._receive(client_address, address, arguments)
            elif ahead > _FARTHEST or self._waiting >= _MOST_WAITING:
                self._refuse_packet(client_address, f"a bundle's time is {ahead:.0f} s ahead" if ahead > _FARTHEST
                                    else "too many bundles wait for their time")
            else:
                self._waiting += 1
                self._loop.call_later(ahead, self._receive_late, client_address, address, arguments)
        return []

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

    def send(self, client: Client, address: str, arguments: list[Any]) -> None:
        message = OscMessageBuilder(address)
        for argument in arguments:
            if isinstance(argument, str):
                argument = argument.encode(errors="replace").decode()  # a path may hold what is not Unicode
            elif isinstance(argument, int) and not -2**31 <= argument < 2**31:
                argument = float(argument)
            message.add_arg(argument, _TAGS[type(argument)])
        self._transport.sendto(message.build().dgram, client)


_TAGS: dict[type, str] = {
    int: OscMessageBuilder.ARG_TYPE_INT,
    float: OscMessageBuilder.ARG_TYPE_FLOAT,
    str: OscMessageBuilder.ARG_TYPE_STRING,
}
