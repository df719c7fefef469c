"""Ways in and out of a predictor."""

from collections.abc import Sequence
from typing import Protocol

Update = Sequence[tuple[int, float]]
"""What a message changes in the player's frame: indices from 0 over x1 … xn, and their values, 0..1."""


class Port(Protocol):
    """A way in and out of one predictor: OSC, MIDI, serial, WebSocket.

    All methods are called on the event loop's thread, and none of them blocks. A port is made with its settings, with
    ``receive`` (a ``Callable[[Update], None]``, to be called on the event loop's thread with each of the player's
    messages) and with ``complain`` (:class:`~neurig.interaction.complaints.Complaints`).

    :ivar name: ``"osc"``, ``"midi"``, …, for logs and the live line
    """

    name: str

    async def open(self) -> None:
        """Begins. A device that is missing is said once, waited for, and taken up when it comes."""

    def play(self, values: Sequence[float]) -> None:
        """Lets a frame be heard.

        :param values: x1 … xn, each 0..1; NaN: was never set, and stays as it is
        """

    def silence(self) -> None:
        """Ends all notes that sound."""

    async def close(self) -> None:
        """Silences, then lets go of the device. May be called again."""
