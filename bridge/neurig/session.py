"""Who plays when: a player and a predictor, and the modes in which they play together.

A :class:`Session` neither sleeps nor looks at a clock. It is told what happened and what time it is, and tells which
frames are due:

>>> session = neurig.Session(neurig.Predictor("wander.mdrnn"), mode="callresponse", threshold=0.5)
>>> session.input([0.2, 0.4, 0.9], now=10.0)      # the player moves
>>> session.due                                   # and then rests: half a second later the network answers
10.5
>>> session.advance(now=session.due)              # frames to be heard now; the next one is due at session.due

Modes:

``callresponse``
    The network listens, and plays on where the player has rested for ``threshold`` seconds, until the player comes
    back. It does not play before it has heard something.
``polyphony``
    Each of the player's frames is answered by one of the network's, its time step later.
``battle``
    The network plays on its own, from the start, and does not listen.
``useronly``
    The network is silent.
``filter``
    Each of the player's frames is replaced by one of the network's, at once.

The state machine itself is the core's (``session.h``): Pure Data and SuperCollider play by the same one.
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from neurig._core import ffi, lib

MODES = ("callresponse", "polyphony", "battle", "useronly", "filter")

SHORTEST = 0.001
"""Seconds: the least time between two frames of which the second follows from the first."""
LATEST = 1.0
"""Seconds: played later than that (the machine slept), a network goes on from now instead of catching up."""
MOST_PENDING = 64
"""Predictions that may wait for their time. Beyond, an answer takes the place of the one asked for last, so that no
backlog builds up and the newest gesture is answered."""

_ROOM = 64  # numbers in a frame
_NOT_FINITE = "the network gave a number that is not finite"


class Network(Protocol):
    """What a session needs of a predictor; :class:`neurig.Predictor` is one.

    Frames are ``[dt, x1 … x(dimension - 1)]``, ``dt`` in seconds, each ``x`` in 0..1. What :meth:`predict` gives is
    limited to that by the session; it should also go on into the network like that.
    """

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


def _setting(name: str, range_: str, doc: str) -> property:
    """A number of a session's, which may be set while it plays."""
    setting: int = getattr(lib, f"NEURIG_SESSION_{name.upper()}")

    def get(self: "Session") -> float:
        return lib.neurig_session_get(self._handle, setting)

    def put(self: "Session", value: float) -> None:
        if lib.neurig_session_set(self._handle, setting, value) < 0:
            raise ValueError(f"{name} is {value:g}, but has to be {range_}")

    return property(get, put, doc=doc)


class Session:
    """One player and one predictor. For one thread at a time."""

    def __init__(self, predictor: Network, mode: str = "callresponse", threshold: float = 0.1, timescale: float = 1.0,
                 pitemp: float = 1.0, sigmatemp: float = 0.01, run: bool = True, now: float = 0.0, *,
                 mix: float = 1.0, seed: int | None = None) -> None:
        """:param predictor: a :class:`neurig.Predictor`, or another :class:`Network`
        :param run: whether it plays from the start
        :param now: seconds, of any clock that never jumps
        :param seed: as for :meth:`seed`; ``None``: the predictor's chance goes on as it is
        :raises ValueError: where there is no such mode, or a number is out of range
        """
        error = ffi.new("char[]", 256)
        handle = lib.neurig_session_new(_ROOM, now, error, len(error))
        if handle == ffi.NULL:
            raise MemoryError(ffi.string(error).decode())
        self._handle = ffi.gc(handle, lib.neurig_session_free)
        self._self = ffi.new_handle(self)
        self._error = error
        self._time = ffi.new("double *")
        self._problem: BaseException | None = None  # what a network in Python raised
        self.set_mode(mode, now)
        self.threshold = threshold
        self.timescale = timescale
        self.pitemp = pitemp
        self.sigmatemp = sigmatemp
        self.mix = mix
        if seed is not None:
            self.seed(seed)
        lib.neurig_session_run(self._handle, run, now)
        self.replace(predictor, now)

    @property
    def predictor(self) -> Network:
        return self._predictor

    @property
    def mode(self) -> str:
        return MODES[lib.neurig_session_mode(self._handle)]

    @property
    def running(self) -> bool:
        return bool(lib.neurig_session_running(self._handle))

    threshold = _setting("threshold", "0 or more", """Seconds from 0: callresponse: rest after which the network takes
        over.""")
    timescale = _setting("timescale", "0 or more", """From 0: stretches the network's time steps; 2 is half as fast.""")
    pitemp = _setting("pitemp", "above 0", """Above 0: flattens (large) or sharpens (small) the network's choices between
        alternatives.""")
    sigmatemp = _setting("sigmatemp", "0 or more", """From 0: scales the variance of the network's values.""")
    mix = _setting("mix", "from 0 to 1", """0..1: the values heard are ``(1 - mix) * player + mix * network``.

        The player's are those that are answered (polyphony, filter), or where the hands are at that time (callresponse,
        battle); before the first of them the network is heard alone. The network goes on from what it played, not from
        the mix, and its time steps stay its own.
        """)

    def set_mode(self, mode: str, now: float) -> None:
        """Changes the mode. What was waiting to be played, or answered, is forgotten.

        :raises ValueError: where there is no such mode
        """
        if mode not in MODES:
            raise ValueError(f"no mode {mode!r}: there are {', '.join(MODES)}")
        lib.neurig_session_set_mode(self._handle, MODES.index(mode), now)

    def set_running(self, run: bool, now: float) -> None:
        """Pauses, or goes on. In the pause nothing is played and input is not listened to."""
        lib.neurig_session_run(self._handle, run, now)

    def replace(self, predictor: Network, now: float) -> None:
        """Puts another predictor in place; the session goes on with it."""
        network = getattr(predictor, "_network", None)
        if network is None:
            network = ffi.new("neurig_network *", {
                "dimension": predictor.dimension, "handle": self._self,
                "condition": lib.neurig_python_condition, "predict": lib.neurig_python_predict,
                "reset": lib.neurig_python_reset, "seed": lib.neurig_python_seed,
            })
        self._predictor = predictor
        self._lock = getattr(predictor, "_lock", nullcontext())
        dimension = predictor.dimension
        self._values = ffi.new("double[]", dimension - 1)
        self._frame = ffi.new("double[]", dimension)
        if lib.neurig_session_replace(self._handle, network, now) < 0:
            raise MemoryError("there is not enough memory")
        self._raise()

    def reset(self, now: float) -> None:
        """The network forgets what was played, and what it was about to play."""
        with self._lock:
            lib.neurig_session_reset(self._handle, now)
        self._raise()

    def seed(self, seed: int) -> None:
        """Restarts the chance of this predictor, and of each that is put in place later: the same seed and the same
        events give the same performance.

        :param seed: 0..2⁶⁴ - 1
        """
        if not 0 <= seed < 2**64:
            raise ValueError(f"a seed is a whole number from 0 to 2^64 - 1, not {seed}")
        lib.neurig_session_seed(self._handle, seed)
        self._raise()

    def input(self, values: Sequence[float], now: float) -> list[float]:
        """A frame of the player's.

        :param values: x1 … x(dimension - 1), each 0..1
        :returns: the frame with its time step, ``[dt, x1 …]``, as the network got it
        :raises ValueError: where the count is wrong, or a value is out of range; nothing has changed then. Where the
            network fails: as in :meth:`advance`
        """
        count = len(values)
        if count == len(self._values):
            self._values[0:count] = values
        with self._lock:
            done = lib.neurig_session_input(self._handle, self._values, count, now, self._frame, self._error, 256)
        self._raise()
        if done < 0:
            raise ValueError(ffi.string(self._error).decode())
        return list(self._frame)

    @property
    def due(self) -> float | None:
        """When :meth:`advance` has something to do next, in seconds; ``None``: not before something else happens."""
        due = lib.neurig_session_due(self._handle)
        return None if due == math.inf else due

    def advance(self, now: float) -> list[Event]:
        """The frames that are due, in order; at most 64 at once (then :attr:`due` is still in the past).

        A network that fails is silent from then on, until the player, or a change of mode, predictor or pause, asks it
        anew.

        :raises ValueError: where it gave a number that is not finite; what a :class:`Network` raised, comes through
        """
        events: list[Event] = []
        with self._lock:
            while len(events) < MOST_PENDING:
                found = lib.neurig_session_advance(self._handle, now, self._time, self._frame)
                if found <= 0:
                    break
                dt, *values = self._frame
                events.append(Event(self._time[0], dt, tuple(values)))
        self._raise()
        if found < 0:
            raise ValueError(_NOT_FINITE)
        return events

    def _raise(self) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem


# ---- Networks in Python: the core calls these, with what _self of the session is

@ffi.def_extern(error=-1)
def neurig_python_condition(handle: Any, frame: Any) -> int:
    session = ffi.from_handle(handle)
    try:
        session._predictor.condition(ffi.unpack(frame, session._predictor.dimension))
    except BaseException as problem:  # goes on where the session was called
        session._problem = problem
        return -1
    return 0


@ffi.def_extern(error=-1)
def neurig_python_predict(handle: Any, pi_temp: float, sigma_temp: float, frame: Any) -> int:
    session = ffi.from_handle(handle)
    try:
        predicted = session._predictor.predict(pi_temp, sigma_temp)
        if len(predicted) != session._predictor.dimension:
            raise ValueError(f"the network gave {len(predicted)} numbers for a frame of {session._predictor.dimension}")
        if not all(map(math.isfinite, predicted)):
            raise ValueError(_NOT_FINITE)
        frame[0 : len(predicted)] = predicted
    except BaseException as problem:
        session._problem = problem
        return -1
    return 0


@ffi.def_extern()
def neurig_python_reset(handle: Any) -> None:
    session = ffi.from_handle(handle)
    try:
        session._predictor.reset()
    except BaseException as problem:
        session._problem = problem


@ffi.def_extern()
def neurig_python_seed(handle: Any, seed: int) -> None:
    session = ffi.from_handle(handle)
    try:
        session._predictor.seed(seed)
    except BaseException as problem:
        session._problem = problem
