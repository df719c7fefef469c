"""The file that ``neurig serve`` reads: which rig, over which audio, under which addresses. TOML.

    chain = ["guitar", "amp", "out"]        # at the top, before the first [table]; or a list of chains

    [rig]                                   # all of it may be left out
    host = "127.0.0.1"
    port = 9001
    root = "/rig"
    states = "states"                       # folder for save and load

    [audio]
    backend = "auto"                        # jack, portaudio, clock
    rate = 48000                            # not with JACK, which has its own
    block = 64
    inputs = 2
    outputs = 2
    connect = true                          # JACK: to the sound card's ports

    [[node]]
    name = "amp"
    type = "amp"
    model = "crunch.nam"                    # and further parameters

    [[node]]
    name = "hand"
    type = "predictor"
    model = "wander.mdrnn"
      [node.midi]                           # devices that it is played with, and plays: midi, serial, serialmidi,
      in_device = ["X-TOUCH"]               # websocket; see neurig/interaction/midi.py and so on
      input."X-TOUCH" = [["control_change", 11, 1]]

    [[map]]
    predictor = "hand"
    index = 1
    address = "/rig/amp/gain"
    low = -12
    high = 12

Relative paths are relative to the file, then to the models that come with neurig.
"""

import os
import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import neurig
from neurig.files import share
from neurig.interaction.devices import DEVICES, settings_of
from neurig.rig.errors import RigError
from neurig.rig.nodes import hint
from neurig.rig.state import Node, Rig

BACKENDS = ("auto", "jack", "portaudio", "clock")


class ConfigError(ValueError):
    """A config file or an option that cannot be used; the message is one plain sentence."""


def _states() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "neurig" / "states"


@dataclass
class Audio:
    """:ivar rate: Hz; JACK has its own
    :ivar block: frames; JACK has its own
    :ivar connect: with JACK: to the sound card's ports
    """

    backend: str = "auto"
    rate: int = 48000
    block: int = 64
    inputs: int = 2
    outputs: int = 2
    connect: bool = True


@dataclass
class Settings:
    """:ivar base: the folder that relative paths start from
    :ivar states: the folder for save and load
    :ivar hands: names of predictor nodes → the settings of the devices that they are played with, by their kinds
    """

    host: str = "127.0.0.1"
    port: int = 9001
    root: str = "/rig"
    states: Path = field(default_factory=_states)
    base: Path = field(default_factory=Path.cwd)
    audio: Audio = field(default_factory=Audio)
    hands: dict[str, dict[str, Any]] = field(default_factory=dict)


_RANGES = {"port": (0, 65535), "rate": (8000, 384000), "block": (16, 8192), "inputs": (0, 64), "outputs": (1, 64)}


def read(path: Path | None, **options: Any) -> tuple[Settings, Rig]:
    """The settings and the rig of a config file, or of none.

    :param options: of the same names, which go before the file's
    :raises ConfigError: where something is wrong with the file
    """
    settings, rig = Settings(), Rig()
    if path is not None:
        try:
            content = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as problem:
            raise ConfigError(f"{path}: {problem.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
            raise ConfigError(f"{path}: not TOML: {problem}") from None
        settings.base = path.resolve().parent
        try:
            settings = _settings(content, settings)
            _fill(rig, content, settings)
        except (ConfigError, RigError) as problem:
            raise ConfigError(f"{path}: {problem}") from None
    audio = {key: options.pop(key) for key in [field_.name for field_ in fields(Audio)] if key in options}
    return _with(settings, options | {"audio": _with(settings.audio, audio)}), rig


def _settings(content: dict[str, Any], settings: Settings) -> Settings:
    for key in content:
        if key not in ("rig", "audio", "node", "map", "chain"):
            raise ConfigError(f"[{key}] is nothing that a rig has{hint(key, ('rig', 'audio', 'node', 'map', 'chain'))}")
    rig = dict(_table(content, "rig"))
    content.setdefault("chain", rig.pop("chain", []))
    if "states" in rig:
        rig["states"] = settings.base / str(rig["states"])
    for key in ("audio", "base", "hands"):
        if key in rig:
            raise ConfigError(f"[rig] has no {key}")
    return _with(settings, rig | {"audio": _with(settings.audio, _table(content, "audio"))})


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} is not a table: write [{name}]")
    return table


def _with(settings: Any, values: dict[str, Any]) -> Any:
    """Settings with other values, which are checked."""
    known: dict[str, Any] = {field_.name: getattr(settings, field_.name) for field_ in fields(settings)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"there is no setting {key}{hint(key, known)}: there are {', '.join(known)}")
        kind = Path if isinstance(known[key], Path) else type(known[key])
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise ConfigError(f"{key} is {value!r}, but has to be a {'yes or no' if kind is bool else kind.__name__}")
        if key in _RANGES and not _RANGES[key][0] <= value <= _RANGES[key][1]:
            raise ConfigError(f"{key} goes from {_RANGES[key][0]} to {_RANGES[key][1]}, not {value}")
        if key == "backend" and value not in BACKENDS:
            raise ConfigError(f"backend is one of {', '.join(BACKENDS)}, not {value!r}")
        if key == "root" and not re.fullmatch(r"(/[A-Za-z0-9_-]+)+", value):
            raise ConfigError(f"root is an OSC address such as /rig, not {value!r}")
    return replace(settings, **values)


def _fill(rig: Rig, content: dict[str, Any], settings: Settings) -> None:
    for number, entry in enumerate(_tables(content, "node"), start=1):
        if "chain" in entry:
            raise ConfigError("chain belongs to the top of the file, before the first [table]")
        is_predictor = entry.get("type") == "predictor"
        hands = {key: entry.pop(key) for key in DEVICES if is_predictor and isinstance(entry.get(key), dict)}
        values = {key: value for key, value in entry.items() if key not in ("name", "type")}
        for key, value in values.items():
            if isinstance(value, bool):
                values[key] = int(value)
        node = rig.make(entry.get("name", f"node{number}"), entry.get("type"), values)
        for name, file in node.files.items():
            node.values[name] = settle(file, settings.base, must_exist=node.type.name != "recorder")
        rig.add(node)
        if hands:
            settings.hands[node.name] = _hands(node, hands)
    chains = content.get("chain", [])
    if not isinstance(chains, list):
        raise ConfigError("chain is a list of names")
    for chain in chains if chains and isinstance(chains[0], list) else [chains] if chains else []:
        rig.connect(rig.check_chain(chain))
    for entry in _tables(content, "map"):
        if unknown := set(entry) - {"predictor", "index", "address", "low", "high"}:
            raise ConfigError(f"[[map]] has no {', '.join(sorted(unknown))}")
        target = split_address(entry.get("address"), settings.root)
        rig.map(entry.get("predictor"), entry.get("index"), *target, entry.get("low"), entry.get("high"))


def _hands(node: Node, tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The settings of the devices of a predictor node, by their kinds."""
    if not node.files:
        raise ConfigError(f"{node.name} has devices, but no model: it says how many values they have")
    try:
        dimension = neurig.load(locate(node.files["model"])).info.get("dimension", 0)
    except (neurig.ModelError, OSError) as problem:
        raise ConfigError(str(problem)) from None
    if not dimension:
        raise ConfigError(f"{node.files['model']} is not a predictor")
    settings = {}
    for kind, table in tables.items():
        try:
            settings[kind] = settings_of(kind, table, dimension)
        except ValueError as problem:
            raise ConfigError(f"{node.name}: [node.{kind}] {problem}") from None
    return settings


def _tables(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    tables = content.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{name} is not a list of tables: write [[{name}]]")
    return tables


def split_address(address: Any, root: str) -> tuple[str, str]:
    """The node and the parameter of an address.

    :raises RigError: bad_value where it is not the address of a parameter
    """
    parts = address[len(root) + 1 :].split("/") if isinstance(address, str) and address.startswith(root + "/") else []
    if len(parts) != 2:
        raise RigError("bad_value", f"{str(address)[:60]!r} is not a parameter's address, such as {root}/amp/gain")
    return parts[0], parts[1]


def settle(file: str, base: Path, must_exist: bool = True) -> str:
    """A file as a rig keeps it, so that it means the same from everywhere: an absolute path, or the bare name of a
    model that comes with neurig.

    :raises RigError: bad_file where it does not exist
    """
    try:
        path = Path(file).expanduser()
        if path.is_absolute() or not must_exist or (base / path).exists():
            path = base / path
            if must_exist and not path.is_file():
                what = "it is not a file" if path.exists() else "there is no such file"
                raise RigError("bad_file", f"{path}: {what}")
            return str(path)
        share("models", file)
    except FileNotFoundError:
        raise RigError("bad_file", f"{file}: there is no such file in {base}, nor among neurig's own models") from None
    except (OSError, ValueError, RuntimeError) as problem:
        raise RigError("bad_file", f"{file[:200]}: {getattr(problem, 'strerror', None) or problem}") from None
    return file


def locate(file: str) -> str:
    """The path of a file that :func:`settle` has settled."""
    try:
        return file if os.path.isabs(file) else str(share("models", file))
    except FileNotFoundError:
        return file
