"""What MIDI messages mean: a player's messages become values, frames become messages.

A mapping has one entry for each value of a frame, x1 first. Channels count from 1.

====================================================  ==================================================================
``["note_on", channel]``                              the note, 0..127
``["note_on", channel, velocity]``                    the same; is played with this velocity
``["note_velocity", channel]``                        the velocity of the notes on that channel
``["control_change", channel, controller]``           a controller, 0..127
``["control_change", channel, controller, min, max]`` a controller, min..max
``["pitch_bend", channel]``                           pitch bend, 14 bits
====================================================  ==================================================================

Messages are ``bytes``, as they go over the wire, each beginning with its status byte.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from mido import MIN_PITCHWHEEL, Message

from neurig.interaction.port import Update

NOTE_OFF, NOTE_ON, CONTROL_CHANGE, PITCH_BEND = 0x80, 0x90, 0xB0, 0xE0  # status bytes, on channel 1
BEND_MAX = 16383


@dataclass(frozen=True)
class Entry:
    """How one value of a frame is sent and received.

    :ivar kind: ``"note_on"``, ``"note_velocity"``, ``"control_change"`` or ``"pitch_bend"``
    :ivar channel: 0..15, as in a status byte
    :ivar velocity: note_on: of the notes that are sent; ``None``: 127
    :ivar controller: control_change: 0..127
    :ivar low, high: control_change: what 0 and 1 are sent as
    """

    kind: str
    channel: int
    velocity: int | None = None
    controller: int = 0
    low: int = 0
    high: int = 127


Mapping = tuple[Entry, ...]

_FORMS = {
    "note_on": '["note_on", channel] or ["note_on", channel, velocity]',
    "note_velocity": '["note_velocity", channel]',
    "control_change": '["control_change", channel, controller] or ["control_change", channel, controller, min, max]',
    "pitch_bend": '["pitch_bend", channel]',
}
_LENGTHS = {"note_on": (2, 3), "note_velocity": (2,), "control_change": (3, 5), "pitch_bend": (2,)}


def parse(table: Any, dimension: int) -> Mapping:
    """The mapping that a config file has.

    :param table: a list of entries
    :param dimension: of the model; a frame has one value less, since the time step is not mapped
    :raises ValueError: what is wrong, and what it should be
    """
    if not isinstance(table, list):
        raise ValueError(f"{table!r} is not a list of entries such as {_FORMS['pitch_bend']}")
    if len(table) > dimension - 1:
        raise ValueError(f"{len(table)} entries, but a model of dimension {dimension} has {dimension - 1} values "
                         "(the time step is not mapped)")
    return tuple(_entry(number, entry) for number, entry in enumerate(table, start=1))


def default(dimension: int) -> Mapping:
    """Controllers 1, 2, 3 … of channel 1: for a config that names a way in and out, but no mapping."""
    return tuple(Entry("control_change", 0, controller=number) for number in range(1, dimension))


def of(table: dict[str, Any], key: str, dimension: int) -> Mapping:
    """The mapping that a table of the config has under a key, else the default one.

    :raises ValueError: "key: what is wrong, and what it should be"
    """
    if key not in table:
        return default(dimension)
    try:
        return parse(table[key], dimension)
    except ValueError as problem:
        raise ValueError(f"{key}: {problem}") from None


def _entry(number: int, entry: Any) -> Entry:
    where = f"entry {number}, {entry!r}"
    if not isinstance(entry, list) or not entry or not isinstance(entry[0], str):
        raise ValueError(f"{where}: an entry is a list such as {_FORMS['pitch_bend']}")
    kind, *numbers = entry
    if kind not in _FORMS:
        near = get_close_matches(kind, _FORMS, 1)
        raise ValueError(f"{where}: no kind {kind!r}" + (f", did you mean {near[0]!r}?" if near else "")
                         + f" There are {', '.join(_FORMS)}")
    if len(entry) not in _LENGTHS[kind]:
        raise ValueError(f"{where}: write {_FORMS[kind]}")
    if kind == "note_on":
        checked = _whole(where, numbers, channel=(1, 16), velocity=(1, 127))
        return Entry(kind, checked[0] - 1, velocity=checked[1] if len(checked) > 1 else None)
    if kind == "control_change":
        data = (0, 127)
        checked = _whole(where, numbers, channel=(1, 16), controller=data, min=data, max=data)
        return Entry(kind, checked[0] - 1, None, *checked[1:])
    return Entry(kind, _whole(where, numbers, channel=(1, 16))[0] - 1)


def _whole(where: str, numbers: list[Any], **ranges: tuple[int, int]) -> list[int]:
    for number, (name, (low, high)) in zip(numbers, ranges.items(), strict=False):
        if type(number) is not int or not low <= number <= high:
            raise ValueError(f"{where}: {name} is a whole number from {low} to {high}, not {number!r}")
    return numbers


def updates(message: Sequence[int], mapping: Mapping) -> Update:
    """What a player's message changes; nothing where the mapping does not have it.

    A note-on with velocity 0 is a note-off, and note-offs change nothing.
    """
    try:
        heard = Message.from_bytes(message)
    except (ValueError, IndexError):  # not a whole message
        return ()
    if heard.type == "note_on" and heard.velocity > 0:
        values = {"note_on": heard.note / 127, "note_velocity": heard.velocity / 127}
        return [(index, values[entry.kind]) for index, entry in enumerate(mapping)
                if entry.channel == heard.channel and entry.kind in values]
    if heard.type == "control_change":
        return [(index, _from_range(heard.value, entry.low, entry.high)) for index, entry in enumerate(mapping)
                if entry.kind == heard.type and (entry.channel, entry.controller) == (heard.channel, heard.control)]
    if heard.type == "pitchwheel":
        return [(index, (heard.pitch - MIN_PITCHWHEEL) / BEND_MAX) for index, entry in enumerate(mapping)
                if entry.kind == "pitch_bend" and entry.channel == heard.channel]
    return ()


def _from_range(byte: int, low: int, high: int) -> float:
    if low == high:
        return 0.0
    inside = min(max(byte, min(low, high)), max(low, high))
    return (inside - low) / (high - low)


def _to_range(value: float, low: int, high: int) -> int:
    return math.floor(low + min(max(value, 0.0), 1.0) * (high - low) + 0.5)


class Voices:
    """What one output has been told: turns frames into messages, and knows which notes sound.

    Each value of a ``note_on`` entry is a voice: its note ends before its next one begins. Controllers and pitch bend
    are sent where they have changed.
    """

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._values = [0.0] * len(mapping)
        self._sounding: dict[int, tuple[int, int]] = {}  # index → channel, note
        self._sent: dict[bytes, bytes] = {}  # status, or status and controller → the latest message
        self._velocities: dict[int, int] = {}  # channel → index of its note_velocity
        for index, entry in enumerate(mapping):
            if entry.kind == "note_velocity":
                self._velocities.setdefault(entry.channel, index)

    def play(self, values: Sequence[float]) -> list[bytes]:
        """The messages of a frame: x1 … xn, each 0..1; what is NaN has never been set, and stays unsaid."""
        return self.change(enumerate(values))

    def change(self, update: Iterable[tuple[int, float]]) -> list[bytes]:
        """The messages of the values that an update changes, and of no others."""
        indices = []
        for index, value in update:
            if index < len(self._mapping) and value == value:
                self._values[index] = value
                indices.append(index)
        return [message for index in indices for message in self._messages(index)]

    def silence(self) -> list[bytes]:
        """Note-offs for all notes that sound. What else was sent is forgotten: the next frame sends all of it."""
        messages = [_note_off(*voice) for voice in dict.fromkeys(self._sounding.values())]
        self._sounding.clear()
        self._sent.clear()
        return messages

    def _messages(self, index: int) -> Iterator[bytes]:
        entry, value = self._mapping[index], self._values[index]
        if entry.kind == "note_on":
            before = self._sounding.pop(index, None)
            if before and before not in self._sounding.values():
                yield _note_off(*before)
            channel, note = self._sounding[index] = entry.channel, _to_range(value, 0, 127)
            yield _bytes("note_on", channel=channel, note=note, velocity=self._velocity(entry))
        elif entry.kind == "control_change":
            message = _bytes("control_change", channel=entry.channel, control=entry.controller,
                             value=_to_range(value, entry.low, entry.high))
            yield from self._if_changed(message[:2], message)
        elif entry.kind == "pitch_bend":
            message = _bytes("pitchwheel", channel=entry.channel, pitch=MIN_PITCHWHEEL + _to_range(value, 0, BEND_MAX))
            yield from self._if_changed(message[:1], message)

    def _if_changed(self, key: bytes, message: bytes) -> Iterator[bytes]:
        if self._sent.get(key) != message:
            self._sent[key] = message
            yield message

    def _velocity(self, entry: Entry) -> int:
        index = self._velocities.get(entry.channel)
        if index is not None:
            return max(1, _to_range(self._values[index], 0, 127))  # 0 would be a note-off
        return entry.velocity or 127


def _note_off(channel: int, note: int) -> bytes:
    return _bytes("note_off", channel=channel, note=note, velocity=0)


def _bytes(kind: str, **numbers: int) -> bytes:
    return bytes(Message(kind, **numbers).bytes())


def describe(message: Sequence[int]) -> str:
    """A message in the words of a mapping, for people who look for the right entry."""
    channel = (message[0] & 0x0F) + 1
    match message[0] & 0xF0:
        case 0x90:
            return f'["note_on", {channel}]'
        case 0xB0:
            return f'["control_change", {channel}, {message[1]}]'
        case 0xE0:
            return f'["pitch_bend", {channel}]'
    return f"a message with status byte {message[0]:#x}"
