"""OSC in the words of IMPSY.

In: ``/interface x1 … xn`` (a frame of the player's, each 0..1) and commands, ``/impsy/mode callresponse`` and so on,
which are all in :data:`~neurig.interaction.stage.COMMANDS`. Out: ``/impsy x1 … xn``.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from neurig.interaction.complaints import Complaints
from neurig.interaction.port import Update
from neurig.osc import Client, OscSocket, resolve

_KEYS = ("server_ip", "server_port", "client_ip", "client_port")
_AGAIN = 10.0  # seconds after which a name that could not be found is looked for again


@dataclass(frozen=True)
class OscSettings:
    """:ivar server_ip: of this machine: where messages are taken from; 0.0.0.0: from everywhere
    :ivar client_ip: where predictions are sent to, as a number or a name
    :ivar dimension: of the model
    """

    dimension: int
    server_ip: str = "127.0.0.1"
    server_port: int = 6000
    client_ip: str = "127.0.0.1"
    client_port: int = 6001

    @classmethod
    def from_table(cls, table: dict[str, Any], dimension: int) -> "OscSettings":
        """:raises ValueError: what is wrong, and what it should be"""
        for key, value in table.items():
            if key not in _KEYS:
                from neurig.rig.nodes import hint

                raise ValueError(f"{key}: there is no such setting{hint(key, _KEYS)}: there are {', '.join(_KEYS)}")
            if key.endswith("_ip") and not isinstance(value, str):
                raise ValueError(f'{key}: is {value!r}, but has to be an address in quotes, such as "127.0.0.1"')
            if key.endswith("_port") and (type(value) is not int or not 1 <= value <= 65535):
                raise ValueError(f"{key}: is {value!r}, but has to be a whole number from 1 to 65535")
        settings = cls(dimension, **table)
        if settings.client_ip in ("", "0.0.0.0", "::", "localhost"):  # no place to send to: this machine is meant
            settings = cls(dimension, **{**table, "client_ip": "127.0.0.1"})
        return settings


class OscPort:
    """One predictor's OSC.

    :ivar number: of the UDP port
    """

    name = "osc"

    def __init__(self, settings: OscSettings, receive: Callable[[Update], None], complain: Complaints,
                 command: Callable[[Client, str, list[Any]], None]) -> None:
        """:param command: is called with each command: who sent it, its word, its arguments"""
        self._settings = settings
        self._receive = receive
        self._complain = complain
        self._command = command
        self._socket = OscSocket(self._message, self._refuse)
        self._client: Client | None = None
        self._finding: asyncio.Task[None] | None = None

    @property
    def number(self) -> int:
        return self._socket.port

    def __str__(self) -> str:
        settings = self._settings
        return f"OSC {settings.server_ip}:{settings.server_port} → {settings.client_ip}:{settings.client_port}"

    async def open(self) -> None:
        """:raises OSError: where the port is taken, or is not this machine's"""
        settings = self._settings
        await self._socket.open(settings.server_ip or "0.0.0.0", settings.server_port)
        self._finding = asyncio.create_task(self._find_client())
        await asyncio.sleep(0)  # an address in numbers is found at once

    async def _find_client(self) -> None:
        settings = self._settings
        while not self._client:
            try:
                self._client = (await resolve(settings.client_ip, settings.client_port))[-1]
            except OSError:
                self._complain("no client", f"{settings.client_ip} is not known here: predictions are sent as soon as "
                                            "it is. client_ip names the machine that they go to")
                await asyncio.sleep(_AGAIN)

    def play(self, values: Sequence[float]) -> None:
        if self._client:
            try:
                self._socket.send(self._client, "/impsy", [x if x == x else 0.5 for x in values])
            except OSError as problem:
                self._complain("not sent", f"{self._client[0]}:{self._client[1]} cannot be reached: {problem.strerror}")

    def silence(self) -> None:
        """OSC has no notes that could be left sounding."""

    async def close(self) -> None:
        if self._finding:
            self._finding.cancel()
        self._socket.close()

    def _refuse(self, client: Client, problem: str) -> None:
        self._complain("not OSC", f"{problem}, from {client[0]}")

    def _message(self, client: Client, address: str, arguments: list[Any]) -> None:
        if address == "/interface":
            expected = self._settings.dimension - 1
            if len(arguments) != expected:
                return self._complain("wrong count", f"/interface takes {expected} numbers, not {len(arguments)}")
            for argument in arguments:
                if type(argument) not in (float, int):
                    return self._complain("not a number", f"/interface takes numbers, not {str(argument)[:40]!r}")
            self._receive(list(enumerate(arguments)))
        elif address.startswith("/impsy/"):
            self._command(client, address[len("/impsy/"):], arguments)
        else:
            self._complain("unknown address", f"{address[:60]} is nothing that is listened to: /interface and "
                                              "/impsy/… are")
