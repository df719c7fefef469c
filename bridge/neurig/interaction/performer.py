"""Plays a :class:`~neurig.session.Session` in real time, on an event loop."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import neurig
from neurig.interaction.loop import aside
from neurig.session import Event, Session


class Overtaken(Exception):
    """A model that was asked for is no longer wanted."""


class Performer:
    """One predictor. Without a model it is silent.

    :ivar dimension: of its model; 0 without one
    """

    def __init__(self, values: dict[str, Any], play: Callable[[Event], None]) -> None:
        """:param values: mode, threshold, timescale, pitemp, sigmatemp, mix, seed, run; these stay the caller's,
            who calls :meth:`set` after each change
        :param play: is called with each frame when it is due
        """
        self._values = values
        self._play = play
        self._session: Session | None = None
        self._timer: asyncio.Handle | None = None
        self._loop = asyncio.get_running_loop()
        self._asked = 0
        self._closed = False

    async def load(self, path: str, dimension: int | None = None) -> None:
        """Goes on with another model. Playing goes on while it is read; where it cannot be used, the one before stays.

        :param dimension: that it has to have
        :raises ModelError, OSError: where it cannot be read, or has another dimension
        :raises Overtaken: where yet another one has been asked for meanwhile, or the performer was closed
        """
        self._asked += 1
        asked = self._asked
        seed = int(self._values["seed"])
        predictor = await aside(lambda: neurig.Predictor(path, seed))
        if dimension is not None and predictor.dimension != dimension:
            raise neurig.ModelError(f"{path}: has dimension {predictor.dimension}, but {dimension} is needed here")
        if asked != self._asked:
            raise Overtaken("another model was asked for before this one was read")
        if self._closed:
            raise Overtaken("the predictor has been closed meanwhile")
        self.use(predictor)

    def use(self, predictor: "neurig.Predictor") -> None:
        """Goes on with another predictor."""
        now, values = self._loop.time(), self._values
        if self._session:
            self._session.replace(predictor, now)
        else:
            self._session = Session(predictor, values["mode"], values["threshold"], values["timescale"],
                                    values["pitemp"], values["sigmatemp"], bool(values["run"]), now, mix=values["mix"])
        self._schedule()

    @property
    def dimension(self) -> int:
        return self._session.predictor.dimension if self._session else 0

    def set(self, name: str, value: Any) -> None:
        """A parameter has changed.

        :raises ValueError: where it cannot be so
        """
        session = self._session
        if session is None:
            return
        if name == "mode":
            session.set_mode(str(value), self._loop.time())
        elif name == "run":
            session.set_running(bool(value), self._loop.time())
        elif name == "seed":
            session.seed(int(value))
        else:
            setattr(session, name, value)
        self._schedule()

    def input(self, values: Sequence[float]) -> None:
        """A frame of the player's. Without a model nothing happens.

        :param values: x1 … x(dimension - 1), each 0..1
        :raises ValueError: where it does not fit the model
        """
        if self._session:
            self._session.input(values, self._loop.time())
            self._schedule()

    def reset(self) -> None:
        """The network forgets what was played."""
        if self._session:
            self._session.reset(self._loop.time())
            self._schedule()

    def close(self) -> None:
        self._closed = True
        self._session = None
        self._schedule()

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        due = self._session.due if self._session else None
        if due is None:
            return
        if due <= self._loop.time():  # an answer that is wanted at once does not wait for the loop's next round
            self._timer = self._loop.call_soon(self._perform)
        else:
            self._timer = self._loop.call_at(due, self._perform)

    def _perform(self) -> None:
        self._timer = None
        try:
            if self._session:
                for event in self._session.advance(self._loop.time()):
                    self._play(event)
        finally:
            self._schedule()
