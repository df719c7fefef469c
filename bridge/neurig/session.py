"""Who plays when: a player and a predictor, and the modes in which they play together.

A :class:`Session` neither sleeps nor looks at a clock. It is told what happened and what time it is, and tells which
frames are due:

>>> session = Session(neurig.Predictor("wander.mdrnn"), mode="callresponse", threshold=0.5)
>>> session.input([0.2, 0.4, 0.9], now=10.0)      # the player moves
>>> session.due                                   # and then rests: half a second later the network answers
10.5
>>> session.advance(now=session.due)              # frames to be heard now; the next one is due at session.due

Modes:

``callresponse``
    The network listens, and plays on where the player has rested for ``threshold`` seconds, until the player comes
    back. It does not play before it has heard something.
``polyphony``
    Each of the player's frames is answered by one of the network's.
``battle``
    The network plays on its own, from the start, and does not listen.
``useronly``
    The network is silent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Protocol

MODES = ("callresponse", "polyphony", "battle", "useronly")

SHORTEST = 0.001
"""Seconds: the least time between two frames of which the second follows from the first."""
LATEST = 1.0
"""Seconds: played later than that (the machine slept), a network goes on from now instead of catching up."""
MOST_PENDING = 64
"""Answers that may wait for their time; further ones are dropped, so that no backlog builds up."""
_TOLERANCE = 1e-3  # of values beyond 0 and 1, as rounding in a patch makes them


class Network(Protocol):
    """What a session needs of a predictor; :class:`neurig.Predictor` is one."""

    dimension: int

    def condition(self, frame: Any) -> None: ...
    def predict(self, pi_temp: float = ..., sigma_temp: float = ...) -> Any: ...
    def reset(self) -> None: ...
    def seed(self, seed: int) -> None: ...


@dataclass(frozen=True, order=True)
class Event:
    """A frame that the network plays.

    :ivar time: when it is due, in seconds of the session's clock
    :ivar dt: as the network gave it, in seconds, not yet scaled
    :ivar values: x1 … x(dimension - 1), each 0..1
    """

    time: float
    dt: float
    values: tuple[float, ...]


class Session:
    """One player and one predictor.

    :ivar threshold: seconds of rest after which the network takes over (callresponse)
    :ivar timescale: stretches the network's time steps; 2 is half as fast
    :ivar pitemp: above 0; flattens (large) or sharpens (small) the network's choices between alternatives
    :ivar sigmatemp: 0 or more; scales the variance of its values
    """

    def __init__(self, predictor: Network, mode: str = "callresponse", threshold: float = 0.1, timescale: float = 1.0,
                 pitemp: float = 1.0, sigmatemp: float = 0.01, run: bool = True, now: float = 0.0) -> None:
        """:param run: whether it plays from the start
        :param now: seconds, of any clock that never jumps
        """
        self.threshold = threshold
        self.timescale = timescale
        self.pitemp = pitemp
        self.sigmatemp = sigmatemp
        self._predictor = predictor
        self._mode = mode
        self._running = run
        self._begin = now  # battle: when it began
        self._last_input: float | None = None
        self._heard = False  # has the network something to answer?
        self._pending: list[Event] = []

    @property
    def predictor(self) -> Network:
        return self._predictor

    @property
    def mode(self) -> str:
        return self._mode

    @property
    def running(self) -> bool:
        return self._running

    def set_mode(self, mode: str, now: float) -> None:
        """Changes the mode. What was waiting to be played, or answered, is forgotten.

        :raises ValueError: where there is no such mode
        """
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}: there are {', '.join(MODES)}")
        self._mode = mode
        self._heard = False
        self._restart(now)

    def set_running(self, run: bool, now: float) -> None:
        """Pauses, or goes on. In the pause nothing is played and input is not listened to."""
        if run != self._running:
            self._running = run
            self._restart(now)

    def replace(self, predictor: Network, now: float) -> None:
        """Puts another predictor in place; the session goes on with it."""
        self._predictor = predictor
        self._restart(now)

    def reset(self, now: float) -> None:
        """The network forgets what was played, and what it was about to play."""
        self._predictor.reset()
        self._heard = False
        self._restart(now)

    def _restart(self, now: float) -> None:
        self._pending.clear()
        self._begin = now

    def input(self, values: Sequence[float], now: float) -> list[float]:
        """A frame of the player's.

        :param values: x1 … x(dimension - 1), each 0..1
        :returns: the frame with its time step, ``[dt, x1 …]``, as the network got it
        :raises ValueError: where the count is wrong, or a value is out of range; nothing has changed then
        """
        frame = [max(now - self._last_input, SHORTEST) if self._last_input is not None else SHORTEST,
                 *self._checked(values)]
        self._last_input = now
        if self._running and self._mode == "callresponse":
            self._pending.clear()
            self._heard = True
            self._predictor.condition(frame)
        elif self._running and self._mode == "polyphony":
            self._predictor.condition(frame)
            self._plan(now, shortest=0.0)
        return frame

    def _checked(self, values: Sequence[float]) -> list[float]:
        expected = self._predictor.dimension - 1
        if len(values) != expected:
            raise ValueError(f"this predictor takes {expected} values, not {len(values)}")
        for index, value in enumerate(values, start=1):
            if not math.isfinite(value) or not -_TOLERANCE <= value <= 1 + _TOLERANCE:
                raise ValueError(f"x{index} is {value:g}, but values go from 0 to 1")
        return [min(max(float(value), 0.0), 1.0) for value in values]

    @property
    def due(self) -> float | None:
        """When :meth:`advance` has something to do next, in seconds; ``None``: not before something else happens."""
        if not self._running or self._mode == "useronly":
            return None
        if self._pending:
            return self._pending[0].time
        if self._mode == "battle":
            return self._begin
        if self._mode == "callresponse" and self._heard and self._last_input is not None:
            return max(self._last_input + self.threshold, self._begin)
        return None

    def advance(self, now: float) -> list[Event]:
        """The frames that are due, in order; at most 64 at once (then :attr:`due` is still in the past)."""
        events: list[Event] = []
        while (due := self.due) is not None and due <= now and len(events) < MOST_PENDING:
            start = due if now - due < LATEST else now
            if self._pending:
                events.append(heappop(self._pending))
                if self._mode == "polyphony":
                    continue
            self._plan(start, shortest=SHORTEST)
        return events

    def _plan(self, start: float, shortest: float) -> None:
        """Asks the network for a frame, to be heard its time step after ``start``. Counting from when the frame
        before was due, not from when it was played, keeps the tempo."""
        dt, *values = (float(number) for number in self._predictor.predict(self.pitemp, self.sigmatemp))
        if len(self._pending) < MOST_PENDING:
            wait = max(max(dt, SHORTEST) * self.timescale, shortest)
            heappush(self._pending, Event(start + wait, dt, tuple(values)))
