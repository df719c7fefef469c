"""Who wants to be told of which address's values, and how often."""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from neurig.osc import Client
from neurig.rig.errors import RigError

log = logging.getLogger("neurig.rig")

_MOST = 4096
_GONE = 60.0  # seconds without a word from a client, after which others may have its place; patches ping


class Subscriptions:
    """All that a server has."""

    def __init__(self, send: Callable[..., None]) -> None:
        """:param send: is called with the client, the address, and the values"""
        self._send = send
        self._by_address: dict[str, dict[Client, Subscription]] = {}
        self._heard: dict[Client, float] = {}  # when those that have subscriptions last sent something

    def hear(self, client: Client) -> None:
        """A client has sent something."""
        if client in self._heard:
            self._heard[client] = monotonic()

    def add(self, client: Client, address: str, rate: float) -> None:
        """:param rate: messages per second, at most
        :raises RigError: unavailable, where there are too many
        """
        if sum(map(len, self._by_address.values())) >= _MOST:
            self._forget_one()
        self._heard[client] = monotonic()
        clients = self._by_address.setdefault(address, {})
        if client in clients:
            clients[client].close()
        clients[client] = Subscription(lambda values: self._send(client, address, *values), rate)

    def remove(self, client: Client, address: Any) -> None:
        """:raises RigError: not_found"""
        clients = self._by_address.get(address, {}) if isinstance(address, str) else {}
        if client not in clients:
            raise RigError("not_found", f"{str(address)[:100]} was not subscribed to from here")
        clients.pop(client).close()
        if not clients:
            del self._by_address[address]
        if not any(client in others for others in self._by_address.values()):
            del self._heard[client]

    def _forget_one(self) -> None:
        """Makes room: a program that was killed, or a patch that was closed, has not unsubscribed.

        :raises RigError: unavailable, where all clients are there
        """
        quiet = min(self._heard, key=self._heard.__getitem__)
        if monotonic() - self._heard[quiet] < _GONE:
            raise RigError("unavailable", f"there are {_MOST} subscriptions already")
        log.warning("%s:%d, which has been silent for long, is told nothing more: others subscribe", *quiet[:2])
        for address in [address for address, clients in self._by_address.items() if quiet in clients]:
            self.remove(quiet, address)

    def offer(self, address: str, values: list[Any]) -> None:
        """An address has new values."""
        for subscription in self._by_address.get(address, {}).values():
            subscription.offer(values)


class Subscription:
    """Sends values to one client, not faster than asked for, and always the last ones."""

    def __init__(self, send: Callable[[list[Any]], None], rate: float) -> None:
        self._send = send
        self._pause = 1 / rate
        self._next = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._values: list[Any] = []

    def offer(self, values: list[Any]) -> None:
        self._values = values
        if self._timer:
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._next:
            self._deliver()
        else:
            self._timer = loop.call_at(self._next, self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        self._next = asyncio.get_running_loop().time() + self._pause
        self._send(self._values)

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
