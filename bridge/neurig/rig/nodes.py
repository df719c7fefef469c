"""The types of node, each declared once: from here come OSC addresses, checks, lists, and documentation.

Pure data. How a node sounds is in ``graph.py``; what a predictor does is in ``performer.py``.
"""

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from neurig.rig.errors import RigError
from neurig.session import MODES

Value = float | int | str

LEVELS = ("raw", "normalised", "calibrated")  # of an amp, in the order of neurig.h
FILE, NUMBER, INTEGER, TOGGLE, CHOICE = "file", "number", "integer", "toggle", "choice"

KNOB = "the model's own knob"


@dataclass(frozen=True)
class Param:
    """One parameter of a node.

    :ivar kind: NUMBER, INTEGER, TOGGLE (0 or 1), CHOICE (one of ``choices``) or FILE (a path; empty: none)
    :ivar low, high: the range of a number
    """

    name: str
    kind: str
    default: Value
    low: float = 0
    high: float = 1
    unit: str = ""
    text: str = ""
    choices: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        return self.kind in (NUMBER, INTEGER, TOGGLE)

    def check(self, value: Any) -> Value:
        """The value as this parameter keeps it.

        :raises RigError: bad_value, with the range, where it does not fit
        """
        if self.kind in (FILE, CHOICE):
            if not isinstance(value, str) or "\0" in value:
                raise RigError("bad_value", f"{self.name} takes a {'path' if self.kind == FILE else 'word'}, "
                                            f"not {_shown(value)}")
            if self.kind == CHOICE and value not in self.choices:
                raise RigError("bad_value", f"{self.name} is one of {', '.join(self.choices)}, not {_shown(value)}")
            return value
        if not isinstance(value, (int, float)):
            raise RigError("bad_value", f"{self.name} takes a number, not {_shown(value)}")
        slack = 1e-6 * (self.high - self.low) if self.kind == NUMBER else 0  # OSC's floats have 24 bits
        if not self.low - slack <= value <= self.high + slack:  # so is NaN
            raise RigError("bad_value", f"{self.name} goes from {self.low:g} to {self.high:g}"
                                        f"{' ' + self.unit if self.unit else ''}, not {_shown(value)}")
        if self.kind == NUMBER:
            return min(max(float(value), self.low), self.high)
        if value != int(value):
            raise RigError("bad_value", f"{self.name} takes a whole number, not {_shown(value)}")
        return int(value)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:60])
    if isinstance(value, (int, float)):
        return "so large a number" if 1e300 < abs(value) < math.inf else f"{float(value):g}"
    return f"a {type(value).__name__}"


@dataclass(frozen=True)
class NodeType:
    """A type of node.

    :ivar inputs: how many signals it takes (0 or 1; what is connected to one input is mixed)
    :ivar outputs: how many it gives (0 or 1)
    """

    name: str
    text: str
    params: tuple[Param, ...]
    inputs: int = 1
    outputs: int = 1


def _gain(low: float, high: float, text: str, name: str = "gain") -> Param:
    return Param(name, NUMBER, 0.0, low, high, "dB", text)


_BYPASS = Param("bypass", TOGGLE, 0, text="1: the input goes through untouched")

_DECLARED = (
    NodeType("input", "a channel of the sound card, or of JACK", (
        Param("channel", INTEGER, 1, 1, 64, text="counted from 1"),
    ), inputs=0),
    NodeType("player", "plays a sound file in a loop", (
        Param("file", FILE, "", text="wav, flac, aiff, ogg, mp3; its channels are mixed to one"),
        Param("rate", NUMBER, 1.0, 0.05, 4, text="speed; 2 is twice as fast, an octave higher"),
        _gain(-90, 24, "level"),
        Param("play", TOGGLE, 1, text="1 starts from the beginning"),
    ), inputs=0),
    NodeType("gate", "silences what is softer than a threshold", (
        Param("threshold", NUMBER, -60.0, -90, 0, "dB", "RMS level at which it opens"),
        Param("attack", NUMBER, 1.0, 0.1, 100, "ms", "time to open"),
        Param("release", NUMBER, 100.0, 1, 2000, "ms", "time to close"),
    )),
    NodeType("amp", "a neural amplifier or pedal", (
        Param("model", FILE, "", text="a .nam file, or another amp model; without one it is silent"
                                      " (.onnx: heard 256 samples later, or two blocks)"),
        _gain(-60, 60, "level into the model"),
        _gain(-60, 60, "level after the model", "out"),
        _BYPASS,
        Param("xfade", NUMBER, 20.0, 0, 1000, "ms", "crossfade when the model is changed"),
        Param("level", CHOICE, "raw", choices=LEVELS,
              text="as trained, equally loud, or as the device was, if the model says"),
        Param("dbu", NUMBER, 12.0, -60, 60, "dBu", "calibrated: what your interface takes at full scale"),
        Param("slim", NUMBER, 1.0, text="size of a model that comes in several; 0: the cheapest, 1: the whole"),
    )),
    NodeType("ir", "a cabinet's impulse response, without latency", (
        Param("file", FILE, "", text="a sound file with the response, played as loud as all others; a stereo one has "
                                     "the knob side (0: left, 1: right); without one it is silent"),
        Param("mix", NUMBER, 1.0, text="0: the input, 1: the cabinet"),
        _gain(-60, 60, "level of the cabinet", "out"),
        _BYPASS,
    )),
    NodeType("gain", "louder or softer", (_gain(-90, 36, "level"),)),
    NodeType("delay", "echoes", (
        Param("time", NUMBER, 350.0, 1, 2000, "ms", "between two echoes"),
        Param("feedback", NUMBER, 0.3, 0, 0.95, text="of each echo into the next"),
        Param("mix", NUMBER, 0.25, text="0: the input, 1: the echoes"),
    )),
    NodeType("reverb", "a room", (
        Param("size", NUMBER, 0.5, text="of the room"),
        Param("damp", NUMBER, 0.5, text="of the high frequencies"),
        Param("mix", NUMBER, 0.25, text="0: the input, 1: the room"),
    )),
    NodeType("limiter", "lets nothing over a ceiling", (
        Param("ceiling", NUMBER, -1.0, -60, 0, "dB", "highest peak"),
        Param("release", NUMBER, 100.0, 1, 2000, "ms", "time to let go"),
    )),
    NodeType("output", "to the sound card, or to JACK", (
        _gain(-90, 24, "level"),
        Param("channel", INTEGER, 0, 0, 64, text="counted from 1; 0: all channels"),
    ), outputs=0),
    NodeType("recorder", "writes what passes through into a file", (
        Param("file", FILE, "", text="a .wav file; where it exists already, a number is added to the name"),
        Param("record", TOGGLE, 0, text="1 starts a recording, 0 ends it"),
        Param("length", NUMBER, 0.0, 0, 86400, "s", "a recording ends by itself after this time; 0: it does not"),
    )),
    NodeType("predictor", "an MDRNN that plays on where the player rests", (
        Param("model", FILE, "", text="a .mdrnn file, or another predictor; without one it is silent"),
        Param("mode", CHOICE, "callresponse", text="when it plays", choices=MODES),
        Param("threshold", NUMBER, 0.1, 0, 60, "s", "callresponse: rest after which it takes over"),
        Param("pitemp", NUMBER, 1.0, 0.01, 10, text="low: it plays what is likeliest; high: also what is not"),
        Param("sigmatemp", NUMBER, 0.01, 0, 10, text="how freely its values vary"),
        Param("timescale", NUMBER, 1.0, 0, 100, text="stretches its time; 2 is half as fast"),
        Param("mix", NUMBER, 1.0, text="0: the player's values are heard, 1: the network's"),
        Param("seed", INTEGER, 0, 0, 2**31 - 1, text="the same seed gives the same performance"),
        Param("run", TOGGLE, 1, text="0 pauses it"),
    ), inputs=0, outputs=0),
)

TYPES: dict[str, NodeType] = {declared.name: declared for declared in _DECLARED}

RESERVED = frozenset(["new", "free", "connect", "disconnect", "chain", "map", "unmap", "save", "load", "list", "ping",
                      "subscribe", "unsubscribe", "quit", "done", "error"])
"""Words that stand right after the rig's root, and so cannot name a node."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_name(name: Any) -> str:
    """A name for a node or a saved state.

    :raises RigError: bad_value where it cannot be one
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RigError("bad_value", f"a name is up to 64 letters, digits, _ and -, not {_shown(name)}")
    if name in RESERVED:
        raise RigError("bad_value", f"{name} is a word of the rig's own and cannot be a name")
    return name


def find_type(name: Any) -> NodeType:
    """:raises RigError: unknown where there is no such type"""
    if not isinstance(name, str) or name not in TYPES:
        raise RigError("unknown", f"there is no node type {_shown(name)}{hint(name, TYPES)}: "
                                  f"there are {', '.join(TYPES)}")
    return TYPES[name]


def hint(word: Any, known: Any) -> str:
    """", did you mean …?" where one of the known words is close."""
    close = difflib.get_close_matches(word, known, n=1) if isinstance(word, str) and len(word) < 65 else []
    return f" (did you mean {close[0]}?)" if close else ""


def describe() -> str:
    """All types and their parameters, for people to read: ``examples/nodes.md``."""
    lines = ["# The nodes of a rig", "",
             "Made with `/rig/new name type`; each parameter is set with `/rig/name/parameter value [ms]`, and asked "
             "for without a value.", ""]
    for type_ in TYPES.values():
        lines += [f"## {type_.name}", "", f"{type_.text[0].upper()}{type_.text[1:]}.", "",
                  "| parameter | | range | default |", "|---|---|---|---|"]
        for param in type_.params:
            unit = f" {param.unit}" if param.unit else ""
            span = {FILE: "a path", CHOICE: ", ".join(param.choices), TOGGLE: "0 or 1"}.get(
                param.kind, f"{param.low:g} to {param.high:g}{unit}")
            default = param.default if isinstance(param.default, str) else f"{param.default:g}{unit}"
            lines.append(f"| `{param.name}` | {param.text} | {span} | {default} |")
        lines.append("")
    return "\n".join(lines)


def knob(name: str, default: float, low: float, high: float) -> Param:
    """A model's own knob, as a parameter of the amp that plays it."""
    word = re.sub(r"[^A-Za-z0-9_-]", "_", name).lower() or "knob"
    return Param(word, NUMBER, float(default), float(low), float(high), text=KNOB)


if __name__ == "__main__":  # python -m neurig.rig.nodes > examples/nodes.md
    print(describe(), end="")
