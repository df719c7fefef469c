"""One predictor and what surrounds it: the ways in and out, the log, the predictors and knobs that it moves."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import neurig
from neurig.interaction import devices
from neurig.interaction.complaints import Complaints
from neurig.interaction.config import PredictorSettings
from neurig.interaction.log import EventLog
from neurig.interaction.osc import OscPort
from neurig.interaction.performer import Overtaken, Performer
from neurig.interaction.port import Port, Update
from neurig.osc import Client
from neurig.session import MODES, Event

log = logging.getLogger("neurig")

UNSET = 0.5
"""What the network is told of a value that the player has never set."""

COMMANDS = {
    "mode": f"one of {', '.join(MODES)}",
    "pause": "1, or 0 to go on",
    "reset": "nothing",
    "sigmatemp": "a number from 0",
    "pitemp": "a number above 0",
    "timescale": "a number from 0",
    "threshold": "a number from 0 (seconds)",
    "mix": "a number from 0 to 1",
    "seed": "a whole number from 0",
    "model": "the path of a model file",
    "input_thru": "1 or 0",
    "log_input": "1 or 0",
    "log_predictions": "1 or 0",
}
"""What can be changed while it plays, and what each command takes."""

_RANGES: dict[str, Callable[[float], bool]] = {
    "sigmatemp": lambda x: x >= 0,
    "pitemp": lambda x: x > 0,
    "timescale": lambda x: x >= 0,
    "threshold": lambda x: x >= 0,
    "mix": lambda x: 0 <= x <= 1,
}
_SWITCHES = ("input_thru", "log_input", "log_predictions")
_THRU = ("midi", "serialmidi", "websocket")  # what comes in there can be passed on to what is heard
_BETWEEN_MODELS = 0.2  # seconds, so that who asks too often fills neither machine nor screen
_TOLERANCE = 1e-3  # of values beyond 0 and 1, as rounding in a patch makes them


class Watcher(Protocol):
    """Is told of every frame."""

    def __call__(self, name: str, way: str, values: Sequence[float]) -> None:
        """:param name: of the predictor
        :param way: ``"in"`` or ``"out"``
        """


class Stage:
    """One predictor, with all that belongs to it.

    :ivar settings: as they are now
    :ivar ports: the ways in and out that are open
    :ivar complain: about what is wrong with what comes in
    :ivar received: frames of the player's
    :ivar played: frames of the network's
    :ivar last_in: the player's latest frame; NaN: has not been set
    :ivar last_out: the network's latest frame
    """

    def __init__(self, settings: PredictorSettings, loop: asyncio.AbstractEventLoop, logs: Path, watch: Watcher,
                 turn: Callable[[Any, float], None], alone: bool) -> None:
        """:param turn: is called with each map and the value, 0..1, that it has to send
        :param alone: whether this is the only predictor
        """
        self.settings = settings
        self.ports: list[Port] = []
        self.received = self.played = 0
        self.last_in: list[float] = [math.nan] * (settings.dimension - 1)
        self.last_out: Sequence[float] = ()
        self.complain = Complaints("neurig" if alone else settings.name)
        self._complaints = [self.complain]
        self.feeds: list[Stage] = []
        self._time = loop.time
        self._watch = watch
        self._turn = turn
        self._frame: list[float | None] = [None] * (settings.dimension - 1)
        self._missing = settings.dimension - 1  # values that have never been set
        self._network_sounds = False
        self._log = EventLog(logs, settings.dimension, loop.time(), self.complain, "" if alone else settings.name)
        self._performer = Performer(settings.values, self._play)
        self._closed = False
        self._wanted = ""  # a model's file
        self._loading: asyncio.Task[None] | None = None
        for name, port_settings in settings.ports.items():
            self.ports.append(self._port(name, port_settings, alone))

    def _port(self, name: str, settings: Any, alone: bool) -> Port:
        """A way in and out; the code of those that are not used is not read."""
        thru = name in _THRU
        complain = Complaints(name if alone else f"{self.settings.name}: {name}")
        self._complaints.append(complain)

        def receive(update: Update) -> None:
            self._receive(update, "interface", complain, thru)

        if name == "osc":
            return OscPort(settings, receive, complain, self.command)
        return devices.make(name, settings, receive, complain)

    @property
    def has_model(self) -> bool:
        return self._performer.dimension > 0

    @property
    def complaints(self) -> int:
        """How much there was to complain about."""
        return sum(complain.counts.total() for complain in self._complaints)

    def __str__(self) -> str:
        settings = self.settings
        model = settings.predictor and settings.predictor.model.path
        ways = ", ".join(str(port) if isinstance(port, OscPort) else port.name for port in self.ports)
        return (f"{settings.name}: {model or 'no model'}, {settings.values['mode']}, {settings.dimension - 1} values, "
                f"{ways or 'no way in or out'}, log {self._log.path}")

    async def open(self) -> None:
        """:raises OSError: where its UDP port cannot be had"""
        for port in self.ports:
            try:
                await port.open()
            except OSError as problem:
                if isinstance(port, OscPort):
                    raise
                self.complain(port.name, f"[{port.name}] cannot be opened: {problem.strerror or problem}")
        if self.settings.predictor:
            self._performer.use(self.settings.predictor)

    def silence(self) -> None:
        """Ends all notes that sound."""
        self._network_sounds = False
        for port in self.ports:
            port.silence()

    async def close(self) -> None:
        self._closed = True
        self._performer.close()
        await asyncio.gather(*(port.close() for port in self.ports))
        self._log.close()

    # -- what is played

    def _receive(self, update: Update, source: str, complain: Complaints, thru: bool) -> None:
        """What the player, or another predictor, has done."""
        for index, value in update:
            if not -_TOLERANCE <= value <= 1 + _TOLERANCE:  # also where it is no number
                return complain("out of range", f"x{index + 1} is {value:g}, but values go from 0 to 1")
        if self._closed or not update:
            return
        frame = self._frame
        for index, value in update:
            if frame[index] is None:
                self._missing -= 1
            frame[index] = min(max(float(value), 0.0), 1.0)
        settings = self.settings
        self.received += 1
        known = [math.nan if value is None else value for value in frame] if self._missing else list(frame)
        self.last_in = known  # type: ignore[assignment]
        if settings.log_input:
            self._log.write("partial" if self._missing and source == "interface" else source, frame, self._time())
        self._watch(settings.name, "in", self.last_in)
        running = settings.values["run"]
        if self._network_sounds and settings.values["mode"] == "callresponse":
            self.silence()  # the player takes over
        self._performer.input([UNSET if value is None else value for value in frame] if self._missing else known)
        if thru and running and settings.input_thru:
            for port in self.ports:
                port.play(self.last_in)

    def _play(self, event: Event) -> None:
        """The network plays."""
        values, settings = event.values, self.settings
        self._network_sounds = True
        self.played += 1
        self.last_out = values
        for port in self.ports:
            port.play(values)
        for map_ in settings.maps:
            self._turn(map_, values[map_.index - 1])
        if settings.log_predictions:
            self._log.write("rnn", values, self._time())
        self._watch(settings.name, "out", values)
        for stage in self.feeds:
            stage._receive(list(enumerate(values)), settings.name, stage.complain, thru=False)

    # -- what is changed while it plays

    def command(self, client: Client, word: str, arguments: Sequence[Any]) -> None:
        """Does what a command says; complains where that cannot be."""
        if word not in COMMANDS:
            from neurig.rig.nodes import hint

            self.complain("unknown command", f"there is no command {word[:40]}{hint(word, list(COMMANDS))}: there are "
                                             f"{', '.join(COMMANDS)}")
        elif word == "model" and not client[0].startswith("127."):
            self.complain("model from elsewhere", f"{client[0]} asks for another model, but only this machine may")
        else:
            try:
                self._do(word, arguments)
            except (ValueError, TypeError, OverflowError):
                given = " ".join(str(argument) for argument in arguments)[:60] or "nothing"
                self.complain(f"wrong {word}", f"{word} takes {COMMANDS[word]}, not {given}")

    def _do(self, word: str, arguments: Sequence[Any]) -> None:
        """:raises ValueError, TypeError, OverflowError: where the arguments are wrong; nothing has changed then"""
        values = self.settings.values
        if word == "reset":  # with or without arguments, as buttons send them
            self._performer.reset()
            return self.silence()
        argument, = arguments
        if word == "mode":
            if argument not in MODES:
                raise ValueError
            values["mode"] = argument
            self._performer.set("mode", argument)
            self.silence()
        elif word == "pause":
            values["run"] = not _switch(argument)
            self._performer.set("run", values["run"])
            if not values["run"]:
                self.silence()
        elif word == "model":
            if not isinstance(argument, str) or not argument:
                raise ValueError
            self._wanted = argument
            if not self._loading:
                self._loading = asyncio.create_task(self._load())
        elif word == "seed":
            if not 0 <= int(argument) == float(argument) < 2**63:
                raise ValueError
            values["seed"] = int(argument)
            self._performer.set("seed", values["seed"])
        elif word in _SWITCHES:
            setattr(self.settings, word, bool(_switch(argument)))
            if word == "input_thru" and not argument:
                self.silence()
        else:
            value = _number(argument)
            if not _RANGES[word](value):
                raise ValueError
            values[word] = value
            self._performer.set(word, value)

    async def _load(self) -> None:
        """Another model; while it is read, what there is goes on. One at a time; of those wanted, the latest."""
        try:
            while self._wanted:
                file, self._wanted = self._wanted, ""
                await self._load_one(file)
                await asyncio.sleep(_BETWEEN_MODELS)
        finally:
            self._loading = None

    async def _load_one(self, file: str) -> None:
        try:
            path = Path(file).expanduser()
            if not path.exists() and not path.is_absolute():
                path = self.settings.base / path
            await self._performer.load(str(path), self.settings.dimension)
        except (ValueError, OSError, RuntimeError) as problem:  # ModelError is a ValueError
            self.complain.counts["model"] += 1
            log.warning("%s%s", problem, "; the one before goes on" if self.has_model else "")
        except Overtaken:  # this stage has been closed
            pass
        else:
            log.info("%s plays %s", self.settings.name, path)


def _number(argument: Any) -> float:
    if not isinstance(argument, (int, float)) or isinstance(argument, bool) or not math.isfinite(argument):
        raise ValueError
    return float(argument)


def _switch(argument: Any) -> int:
    if argument not in (0, 1, True, False):
        raise ValueError
    return int(argument)
