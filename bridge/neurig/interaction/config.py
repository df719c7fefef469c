"""The file that ``neurig run`` reads. TOML, in one of two forms.

IMPSY's, which describes one predictor::

    log_input = true
    [interaction]                         # mode, threshold, input_thru
    [model]                               # file, dimension, sigmatemp, pitemp, timescale
    [osc]                                 # and [midi], [serial], [serialmidi], [websocket]: the ways in and out

and neurig's own, for any number of them::

    [[predictor]]
    name = "hand"
    model = "models/wander.mdrnn"
    mode = "callresponse"
    feeds = ["voice"]                     # predictors that hear what this one plays
      [predictor.osc]                     # the ways in and out, as above
      [[predictor.map]]                   # x1 turns a knob of a rig, or of anything that speaks OSC
      index = 1
      address = "/rig/amp/gain"
      low = -12
      high = 12

``neurig init`` writes one with all settings explained. Relative paths are relative to the file, else to the folder that
neurig runs in, else to the models that come with neurig.
"""

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import neurig
from neurig.files import share
from neurig.interaction.devices import settings_of
from neurig.interaction.lines import Keys, line_of
from neurig.interaction.osc import OscSettings
from neurig.session import MODES

T = TypeVar("T")

SIZES = ("xxs", "xs", "s", "m", "l", "xl")
DIMENSIONS = (2, 64)
PORTS = ("osc", "midi", "serial", "serialmidi", "websocket")
"""The ways in and out."""
ABOUT = ("title", "owner", "name", "description")  # of a file; nothing depends on them


class ConfigError(ValueError):
    """A config that cannot be used. The message has a line for each problem: ``file:line: reason``."""


@dataclass(frozen=True)
class Map:
    """One of the predictor's values turns something, over OSC.

    :ivar index: 1 … dimension - 1
    :ivar low: what is sent where the value is 0
    :ivar high: what is sent where it is 1
    """

    index: int
    address: str
    low: float
    high: float
    host: str
    port: int


@dataclass
class PredictorSettings:
    """One predictor, ready to be played.

    :ivar base: folder that relative paths start from
    :ivar predictor: ``None``: there is no model, and the player is only recorded
    :ivar values: mode, threshold, timescale, pitemp, sigmatemp, mix, seed, run
    :ivar ports: settings of the ways in and out, by their names
    :ivar feeds: names of predictors that hear what this one plays
    """

    name: str
    base: Path
    dimension: int
    predictor: "neurig.Predictor | None"
    values: dict[str, Any]
    input_thru: bool
    log_input: bool
    log_predictions: bool
    ports: dict[str, Any]
    feeds: tuple[str, ...] = ()
    maps: tuple[Map, ...] = ()


@dataclass
class Settings:
    """:ivar verbose: every frame is shown
    :ivar command_port: UDP port of this machine that takes commands for all predictors
    :ivar monitor_port: UDP port of this machine that all frames are sent to
    :ivar warnings: what is odd about the file, but can be played
    """

    predictors: list[PredictorSettings] = field(default_factory=list)
    verbose: bool = False
    command_port: int = 4002
    monitor_port: int = 4001
    warnings: list[str] = field(default_factory=list)


def read(path: Path | None, overrides: Mapping[str, Any] = {}) -> Settings:
    """The settings of a config file; without one, a predictor with OSC at IMPSY's ports.

    :param overrides: go before what the file says, for every predictor: dimension, mode, threshold, input_thru,
        sigmatemp, pitemp, timescale, verbose, log_input, log_predictions, model (a path)
    :raises ConfigError: where the file cannot be used
    """
    if path is None:
        return _Reader("", Path.cwd(), "").settings({"osc": {}, "model": {}}, overrides)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as problem:
        raise ConfigError(f"{path}: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path}: byte {problem.start} is not UTF-8: save the file as UTF-8 text") from None
    except tomllib.TOMLDecodeError as problem:
        raise ConfigError(_not_toml(path, text, str(problem))) from None
    return _Reader(str(path), path.resolve().parent, text).settings(content, overrides)


def _not_toml(path: Path, text: str, problem: str) -> str:
    place = re.search(r" \(at line (\d+), column (\d+)\)", problem)
    if not place:
        return f"{path}:{len(text.splitlines())}: {problem}"
    reason = problem.replace(place[0], "")
    lines = text.splitlines()
    line = lines[int(place[1]) - 1].strip() if int(place[1]) <= len(lines) else ""
    advice = ""
    if line.count('"') > 2 and "=" in line:
        advice = '. A " inside of text is written \\"'
    elif re.match(r"[\w.-]+\s*=\s*[A-Za-z]", line) and "Invalid value" in reason:
        advice = '. Text stands in quotes: "…"'
    return f"{path}:{place[1]}: this is not TOML: {reason}, column {place[2]}: {line[:60]}{advice}"


class _Reader:
    """Reads one file, and collects what is wrong with it."""

    def __init__(self, file: str, base: Path, text: str) -> None:
        self.base = base
        self.warnings: list[str] = []
        self._file = file
        self._text = text
        self._problems: list[str] = []

    def refuse(self, keys: Keys, problem: str) -> None:
        self._problems.append(f"{self._place(keys)}{problem}")

    def warn(self, keys: Keys, oddity: str) -> None:
        self.warnings.append(f"{self._place(keys)}{oddity}")

    def _place(self, keys: Keys) -> str:
        line = line_of(self._text, keys) if self._text else None
        return f"{self._file}:{line}: " if line else f"{self._file}: " if self._file else ""

    def settings(self, content: dict[str, Any], overrides: Mapping[str, Any]) -> Settings:
        top = _Table(self, (), content, overrides)
        top.known(*ABOUT, *PORTS, "interaction", "model", "predictor")
        settings = Settings(verbose=top.flag("verbose", False))
        webui = _Table(self, ("webui",), top.table("webui"))
        settings.monitor_port = webui.integer("monitor_port", 4001, 1, 65535)
        settings.command_port = webui.integer("command_port", 4002, 1, 65535)
        webui.done()
        log_input = top.flag("log_input", top.flag("log", True))  # its older name
        defaults = _Defaults(log_input, top.flag("log_predictions", False), overrides)
        if "predictor" in content:
            for key in (*PORTS, "interaction", "model"):
                if key in content:
                    self.refuse((key,), f"[{key}] belongs into a [[predictor]]: write [predictor.{key}]"
                                if key in PORTS else f"[{key}] and [[predictor]] do not go together: write what is in "
                                                     f"[{key}] into a [[predictor]]")
            settings.predictors = self._predictors(top, defaults)
        else:
            settings.predictors = [self._impsy(top, defaults)]
        top.done()
        self._check_owners(settings.predictors, own="predictor" in content)
        if self._problems:
            raise ConfigError("\n".join(self._problems + self.warnings))
        settings.warnings = self.warnings
        return settings

    # -- one predictor

    def _impsy(self, top: "_Table", defaults: "_Defaults") -> PredictorSettings:
        overrides = defaults.overrides
        interaction = _Table(self, ("interaction",), top.table("interaction"), overrides)
        model = _Table(self, ("model",), top.table("model"), overrides)
        values = self._values(interaction, model)
        thru = interaction.flag("input_thru", False)
        model.choice("size", SIZES, "s")  # the model itself knows
        dimension, predictor = self._model(model, "file", values["seed"], values["mode"])
        interaction.done()
        model.done()
        ports = self._ports(top, dimension)
        if not ports and not self._problems:
            self.warn((), "nothing leads in or out: add [osc], [midi], [serial], [serialmidi] or [websocket]")
        return PredictorSettings("predictor", self.base, dimension, predictor, values, thru, defaults.log_input,
                                 defaults.log_predictions, ports)

    def _predictors(self, top: "_Table", defaults: "_Defaults") -> list[PredictorSettings]:
        tables = top.content["predictor"]
        if not isinstance(tables, list) or not tables:
            self.refuse(("predictor",), "predictor is a list of tables: write [[predictor]]")
            return []
        if len(tables) > 1 and defaults.overrides.get("model"):
            self.refuse((), f"there are {len(tables)} predictors: say in the file which model each of them has")
        found = []
        for number, content in enumerate(tables):
            table = _Table(self, ("predictor", number), content, defaults.overrides)
            table.known(*PORTS)
            name = table.text("name", f"predictor{number + 1}" if len(tables) > 1 else "predictor")
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) or name in ("interface", "rnn"):
                self.refuse((*table.keys, "name"), f"name is {name!r}, but has to be a word of letters, digits, _ and -"
                            f"{', and another one than interface and rnn' if name in ('interface', 'rnn') else ''}")
            values = self._values(table, table)
            dimension, predictor = self._model(table, "model", values["seed"], values["mode"])
            found.append(PredictorSettings(
                name, self.base, dimension, predictor, values, table.flag("input_thru", False),
                table.flag("log_input", defaults.log_input), table.flag("log_predictions", defaults.log_predictions),
                self._ports(table, dimension), table.words("feeds"), self._maps(table, dimension)))
            table.done()
        names = [predictor.name for predictor in found]
        for number, settings in enumerate(found):
            if names.index(settings.name) != number:
                self.refuse(("predictor", number, "name"), f"two predictors are named {settings.name}")
            for target in settings.feeds:
                if target not in names or target == settings.name:
                    others = [name for name in names if name != settings.name]
                    self.refuse(("predictor", number, "feeds"),
                                f"feeds has {target!r}, but has to name other predictors"
                                + (f", of which there are {', '.join(others)}" if others else "; there are none"))
                elif found[names.index(target)].dimension != settings.dimension:
                    self.refuse(("predictor", number, "feeds"),
                                f"{target} has dimension {found[names.index(target)].dimension}, {settings.name} has "
                                f"{settings.dimension}: they have to be the same")
        return found

    def _values(self, interaction: "_Table", model: "_Table") -> dict[str, Any]:
        return {
            "mode": interaction.choice("mode", MODES, "callresponse"),
            "threshold": interaction.number("threshold", 0.1, "from 0 (seconds)", lambda x: x >= 0),
            "mix": interaction.number("mix", 1.0, "from 0 to 1", lambda x: 0 <= x <= 1),
            "pitemp": model.number("pitemp", 1.0, "above 0", lambda x: x > 0),
            "sigmatemp": model.number("sigmatemp", 0.01, "from 0", lambda x: x >= 0),
            "timescale": model.number("timescale", 1.0, "from 0", lambda x: x >= 0),
            "seed": model.integer("seed", int.from_bytes(os.urandom(4), "big"), 0, 2**63 - 1),
            "run": True,
        }

    def _model(self, table: "_Table", key: str, seed: int, mode: str) -> "tuple[int, neurig.Predictor | None]":
        """The dimension and the predictor; without a usable answer some dimension, so that reading can go on."""
        given = table.integer("dimension", 0, *DIMENSIONS)
        override = table.overrides.get("model")
        file = str(override) if override else table.text(key, "")
        keys = (*table.keys, key) if not override else ()
        if not file:
            if mode != "useronly":
                self.warn(table.keys, "there is no model: the player is recorded, and nothing is played")
            if not given:
                self.refuse(table.keys, "neither a model nor a dimension is given: write dimension = 4 for three "
                                        "values and the time")
            return given or DIMENSIONS[0], None
        try:
            found = [Path(file)] if override else self._candidates(file)
        except (OSError, ValueError, RuntimeError) as problem:  # a name that no file can have
            self.refuse(keys, f"{file[:100]}: {getattr(problem, 'strerror', None) or problem}")
            return given or DIMENSIONS[0], None
        if not found:
            self.warn(keys, f"there is no model {file} (looked for in {self.base}, in {Path.cwd()} and among neurig's "
                            "own): the player is recorded, and nothing is played")
            if not given:
                self.refuse(table.keys, "write dimension = …, as there is no model that says it")
            return given or DIMENSIONS[0], None
        predictor = self._load(found, file, seed, keys)
        if predictor is None:
            return given or DIMENSIONS[0], None
        if given and predictor.dimension != given:
            self.refuse((*table.keys, "dimension"), f"dimension is {given}, but {file} has dimension "
                                                    f"{predictor.dimension}: write dimension = {predictor.dimension}, "
                                                    "or use another model")
        return predictor.dimension, predictor

    def _candidates(self, file: str) -> list[Path]:
        """Where the model may be; other files of the same model at the end."""
        wanted = Path(file).expanduser()
        kin = [wanted] + [wanted.with_suffix(suffix) for suffix in (".mdrnn", ".keras", ".h5", ".tflite", ".onnx")]
        places = [self.base / one for one in kin] + [one.absolute() for one in kin]
        places.sort(key=lambda place: place.suffix != wanted.suffix)  # stable
        try:
            places.append(share("models", wanted.name))
        except FileNotFoundError:
            pass
        return [place for place in dict.fromkeys(places) if place.is_file()]

    def _load(self, candidates: list[Path], file: str, seed: int, keys: Keys) -> "neurig.Predictor | None":
        """The first that can be read."""
        problems = []
        for path in candidates:
            try:
                predictor = neurig.Predictor(path, seed)
            except (neurig.ModelError, OSError) as problem:
                problems.append(str(problem))
                continue
            if path.suffix != Path(file).suffix:
                self.warn(keys, f"{problems[0] if problems else f'there is no {file}'}. {path} is played instead")
            return predictor
        self.refuse(keys, problems[0])
        return None

    def _maps(self, table: "_Table", dimension: int) -> tuple[Map, ...]:
        tables = table.take("map", [])
        if not isinstance(tables, list) or not all(isinstance(entry, dict) for entry in tables):
            self.refuse((*table.keys, "map"), "map is a list of tables: write [[predictor.map]]")
            return ()
        maps = []
        for number, content in enumerate(tables):
            entry = _Table(self, (*table.keys, "map", number), content)
            address = entry.text("address", "")
            if not re.fullmatch(r"(/[!-+\--.0-Z^-z|~]+)+", address):
                self.refuse((*entry.keys, "address"), f"address is {address!r}, but has to be an OSC address, "
                                                      "such as /rig/amp/gain")
            maps.append(Map(entry.integer("index", 1, 1, dimension - 1), address, entry.number("low", 0.0),
                            entry.number("high", 1.0), entry.text("host", "127.0.0.1"),
                            entry.integer("port", 9001, 1, 65535)))
            entry.done()
        return tuple(maps)

    # -- the ways in and out

    def _ports(self, table: "_Table", dimension: int) -> dict[str, Any]:
        midi = table.content.get("midi", {})
        found = {}
        for name in PORTS:
            if name not in table.content:
                continue
            content = dict(table.table(name))
            if name == "midi" and not any(content.get(key, [""]) not in ("", [], [""])
                                          for key in ("in_device", "out_device")):
                self.warn((*table.keys, name), "[midi] names no device: `neurig ports` lists those that are there")
                continue
            if name == "serialmidi" and "port" not in content and isinstance(table.content.get("serial"), dict):
                content["port"] = table.content["serial"].get("port")
            if name in ("websocket", "serialmidi") and isinstance(midi, dict):  # says nothing itself: as over MIDI
                for way in ("input", "output"):
                    if way not in content and way in midi:
                        content[way] = _first_mapping(midi[way])
            settings = self._port(name, content, dimension, (*table.keys, name))
            if settings:
                found[name] = settings
        return found

    def _port(self, name: str, content: dict[str, Any], dimension: int, keys: Keys) -> Any:
        """The settings of one way in and out; without the keys that it does not know."""
        while True:
            try:
                if name == "osc":
                    return OscSettings.from_table(content, dimension)
                return settings_of(name, content, dimension)
            except ValueError as problem:
                key, _, reason = str(problem).partition(": ")
                place = (*keys, key.partition(".")[0].partition("[")[0].strip())
                if "there is no such setting" not in reason or key not in content:
                    self.refuse(place, f"[{name}] {problem}")
                    return None
                self.warn(place, f"[{name}] {problem}: it is passed over")
                del content[key]

    def _check_owners(self, predictors: list[PredictorSettings], own: bool) -> None:
        """A port of the machine has one owner."""
        owners: dict[Any, str] = {}
        for number, settings in enumerate(predictors):
            for name in settings.ports:
                resource = _resource(name, settings.ports[name])
                keys = ("predictor", number, name) if own else (name,)
                if resource is None or resource not in owners:
                    owners[resource] = f"{settings.name}'s [{name}]"
                else:
                    self.refuse(keys, f"{resource} belongs to {owners[resource]} already: choose another one")


@dataclass
class _Defaults:
    log_input: bool
    log_predictions: bool
    overrides: Mapping[str, Any]


class _Table:
    """A table of the file: its values, checked, and the keys that nobody asked for."""

    def __init__(self, reader: _Reader, keys: Keys, content: dict[str, Any], overrides: Mapping[str, Any] = {}) -> None:
        self.keys = keys
        self.content = content if isinstance(content, dict) else {}
        self.overrides = overrides
        self._reader = reader
        self._known: set[str] = set()
        if not isinstance(content, dict):
            reader.refuse(keys, f"{keys[-1]} is {_shown(content)}, but has to be a table: write [{keys[-1]}]")

    def known(self, *keys: str) -> None:
        self._known.update(keys)

    def done(self) -> None:
        """Warns of what is not known."""
        for key in self.content:
            if key not in self._known:
                from neurig.rig.nodes import hint

                self._reader.warn((*self.keys, key), f"there is no setting {key}{hint(key, sorted(self._known))}: "
                                                     "it is passed over")

    def take(self, key: str, default: T) -> T | Any:
        self._known.add(key)
        if self.overrides.get(key) is not None and key not in ("model", "file"):
            return self.overrides[key]
        return self.content.get(key, default)

    def table(self, key: str) -> dict[str, Any]:
        content = self.take(key, {})
        if not isinstance(content, dict):
            self._refuse(key, content, f"a table: write [{key}]")
            return {}
        return content

    def flag(self, key: str, default: bool) -> bool:
        value = self.take(key, default)
        if not isinstance(value, bool):
            self._refuse(key, value, "true or false")
            return default
        return value

    def text(self, key: str, default: str) -> str:
        value = self.take(key, default)
        if not isinstance(value, str):
            self._refuse(key, value, 'text in quotes: "…"')
            return default
        return value

    def words(self, key: str) -> tuple[str, ...]:
        value = self.take(key, [])
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self._refuse(key, value, 'a list of names, such as ["voice"]')
            return ()
        return tuple(value)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.take(key, default)
        if value not in choices:
            self._refuse(key, value, f"one of {', '.join(choices)}")
            return default
        return str(value)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or key in self.content and not low <= value <= high:
            self._refuse(key, value, f"a whole number from {low} to {high}")
            return default
        return value

    def number(self, key: str, default: float, span: str = "", fits: Callable[[float], bool] = lambda x: True) -> float:
        value = self.take(key, default)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not fits(value):
            self._refuse(key, value, f"a number{' ' if span else ''}{span}")
            return default
        return float(value)

    def _refuse(self, key: str, value: Any, expected: str) -> None:
        self._reader.refuse((*self.keys, key), f"{key} is {_shown(value)}, but has to be {expected}")


def _shown(value: Any) -> str:
    return f'"{value}" (text)'[:80] if isinstance(value, str) else repr(value)[:80].replace("True", "true").replace(
        "False", "false")


def _first_mapping(mapping: Any) -> Any:
    """A MIDI mapping, or the first of those that are given by device."""
    return next(iter(mapping.values()), []) if isinstance(mapping, dict) else mapping


def _resource(name: str, settings: Any) -> str | None:
    """What can be owned once."""
    if name == "osc":
        return f"UDP port {settings.server_port}"
    return f"TCP port {settings.server_port}" if name == "websocket" else None
