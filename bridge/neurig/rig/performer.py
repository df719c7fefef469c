"""A predictor node: plays a :class:`~neurig.session.Session` in real time, on the event loop of the control process."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import neurig
from neurig.rig.errors import RigError
from neurig.rig.nodes import Value
from neurig.session import Event, Session


class Performer:
    """One predictor node.

    :ivar dimension: of its model; 0 without one
    """

    def __init__(self, values: dict[str, Any], play: Callable[[Event], None]) -> None:
        """:param values: of the node's parameters, which stay the node's
        :param play: is called with each frame when it is due
        """
        self._values = values
        self._play = play
        self._session: Session | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._asked = 0
        self._closed = False

    async def load(self, path: str) -> None:
        """Goes on with another model.

        :raises RigError: where it cannot be read; the one before goes on
        """
        self._asked += 1
        asked = self._asked
        try:
            predictor = await self._loop.run_in_executor(None, partial(read, path, int(self._values["seed"])))
        except (neurig.ModelError, OSError) as problem:
            raise RigError("bad_file", str(problem)) from None
        if asked != self._asked:
            raise RigError("failed", "another model was asked for before this one was read")
        if self._closed:
            raise RigError("not_found", "the node has been freed meanwhile")
        self.use(predictor)

    def use(self, predictor: "neurig.Predictor") -> None:
        values = self._values
        if self._session:
            self._session.replace(predictor, self._loop.time())
        else:
            self._session = Session(predictor, values["mode"], values["threshold"], values["timescale"],
                                    values["pitemp"], values["sigmatemp"], bool(values["run"]), self._loop.time())
        self._schedule()

    @property
    def dimension(self) -> int:
        return self._session.predictor.dimension if self._session else 0

    def set(self, name: str, value: Value) -> None:
        """A parameter has changed."""
        session = self._session
        if session is None:
            return
        if name == "mode":
            session.set_mode(str(value), self._loop.time())
        elif name == "run":
            session.set_running(bool(value), self._loop.time())
        elif name == "seed":
            session.predictor.seed(int(value))
        else:
            setattr(session, name, value)
        self._schedule()

    def input(self, values: Sequence[float]) -> None:
        """A frame of the player's.

        :raises RigError: where it does not fit the model
        """
        if self._session is None:
            raise RigError("unavailable", "this predictor has no model yet")
        try:
            self._session.input(values, self._loop.time())
        except ValueError as problem:
            raise RigError("bad_value", str(problem)) from None
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
        if self._session and (due := self._session.due) is not None:
            self._timer = self._loop.call_at(due, self._perform)

    def _perform(self) -> None:
        if self._session:
            for event in self._session.advance(self._loop.time()):
                self._play(event)
        self._schedule()


def read(path: str, seed: int) -> "neurig.Predictor":
    """May take a while; for any thread."""
    return neurig.Predictor(path, seed)


