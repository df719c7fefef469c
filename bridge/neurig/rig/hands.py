"""The devices at which a predictor node is played, and on which it plays: MIDI, serial lines, WebSockets."""

from collections.abc import Callable, Sequence
from typing import Any

from neurig.interaction import devices
from neurig.interaction.complaints import Complaints
from neurig.interaction.port import Port, Update
from neurig.rig.errors import RigError
from neurig.rig.performer import Performer

_UNSET = 0.5  # what the network is told of a value that the player has never set


class Hands:
    """The devices of one predictor node. They belong to its name: where the node goes they rest, and where one of that
    name comes they play again."""

    def __init__(self, name: str, settings: dict[str, Any], performer: Callable[[], Performer | None]) -> None:
        """:param settings: of the devices, by their kinds
        :param performer: gives who plays the node, if there is one
        """
        self._performer = performer
        self._frame: dict[int, float] = {}
        self._sounds = False
        self._ports: list[Port] = []
        for kind, settings_ in settings.items():
            complain = Complaints(f"{name}: {kind}")

            def receive(update: Update, complain: Complaints = complain) -> None:
                self._receive(update, complain)

            self._ports.append(devices.make(kind, settings_, receive, complain))

    async def open(self) -> None:
        for port in self._ports:
            await port.open()

    async def close(self) -> None:
        for port in self._ports:
            await port.close()

    def play(self, values: Sequence[float]) -> None:
        """A frame of the network's."""
        self._sounds = True
        for port in self._ports:
            port.play(values)

    def silence(self) -> None:
        """Ends the notes of the network's."""
        if self._sounds:
            self._sounds = False
            for port in self._ports:
                port.silence()

    def _receive(self, update: Update, complain: Complaints) -> None:
        performer = self._performer()
        if performer is None or not performer.dimension:
            return
        frame = self._frame | dict(update)
        try:
            performer.input([frame.get(index, _UNSET) for index in range(performer.dimension - 1)])
        except RigError as problem:
            complain(problem.code, problem.text)
        else:
            self._frame = frame
