"""MIDI messages as values, and frames as MIDI messages."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from neurig.interaction import mapping
from neurig.interaction.mapping import Voices, parse, updates
from neurig.interaction.websocket import from_words

CONFORMANCE = "impsy/conformance"


def expected_updates(case: dict[str, Any]) -> list[list[tuple[int, float]]]:
    return [[(index, pytest.approx(value, abs=1e-9)) for index, value in expected or []]
            for expected in case["expected"]]


def test_midi_conformance(data: Path) -> None:
    cases = json.loads((data / CONFORMANCE / "midi_input.json").read_text())["cases"]
    assert len(cases) >= 10
    for case in cases:
        entries = parse(case["input_mapping"], case["dimension"])
        found = [list(updates(message, entries)) for message in case["messages"]]
        assert found == expected_updates(case), case["name"]


def test_websocket_conformance(data: Path) -> None:
    cases = json.loads((data / CONFORMANCE / "websocket_input.json").read_text())["cases"]
    assert cases
    for case in cases:
        entries = parse(case["input_mapping"], 9)
        found = []
        for message in case["messages"]:
            try:
                found.append(list(updates(from_words(message), entries)))
            except ValueError:
                found.append([])
        assert found == expected_updates(case), case["name"]


class TestOutput:
    def test_each_kind(self) -> None:
        voices = Voices(parse([["note_on", 1], ["note_on", 2, 90], ["control_change", 16, 7],
                               ["control_change", 1, 9, 0, 13], ["pitch_bend", 3]], 6))
        assert voices.play([0.5, 1.0, 0.5, 0.5, 1.0]) == [
            bytes([0x90, 64, 127]), bytes([0x91, 127, 90]), bytes([0xBF, 7, 64]), bytes([0xB0, 9, 7]),
            bytes([0xE2, 127, 127])]

    def test_values_beyond_the_range_are_limited(self) -> None:
        voices = Voices(parse([["note_on", 1], ["control_change", 1, 7, 20, 10], ["pitch_bend", 1]], 4))
        assert voices.play([-1.0, 2.0, -1.0]) == [bytes([0x90, 0, 127]), bytes([0xB0, 7, 10]), bytes([0xE0, 0, 0])]

    def test_a_note_off_precedes_each_new_note(self) -> None:
        voices = Voices(parse([["note_on", 3]], 2))
        assert voices.play([60 / 127]) == [bytes([0x92, 60, 127])]
        assert voices.play([60 / 127]) == [bytes([0x82, 60, 0]), bytes([0x92, 60, 127])]
        assert voices.play([62 / 127]) == [bytes([0x82, 60, 0]), bytes([0x92, 62, 127])]

    def test_values_on_one_channel_are_voices_of_their_own(self) -> None:
        voices = Voices(parse([["note_on", 1], ["note_on", 1]], 3))
        voices.play([60 / 127, 64 / 127])
        assert voices.play([61 / 127, 64 / 127]) == [
            bytes([0x80, 60, 0]), bytes([0x90, 61, 127]), bytes([0x80, 64, 0]), bytes([0x90, 64, 127])]
        assert sorted(voices.silence()) == [bytes([0x80, 61, 0]), bytes([0x80, 64, 0])]

    def test_a_note_that_another_value_holds_goes_on(self) -> None:
        voices = Voices(parse([["note_on", 1], ["note_on", 1]], 3))
        voices.play([60 / 127, 60 / 127])
        assert bytes([0x80, 60, 0]) not in voices.play([62 / 127, math.nan])
        assert sorted(voices.silence()) == [bytes([0x80, 60, 0]), bytes([0x80, 62, 0])]

    def test_the_velocity_comes_from_its_value(self) -> None:
        voices = Voices(parse([["note_on", 1, 90], ["note_velocity", 1]], 3))
        assert voices.play([0.5, 0.25]) == [bytes([0x90, 64, 32])]
        assert voices.play([0.5, 0.0])[-1] == bytes([0x90, 64, 1])  # 0 would be a note-off

    def test_controllers_are_sent_where_they_change(self) -> None:
        voices = Voices(parse([["control_change", 1, 7], ["pitch_bend", 1]], 3))
        assert len(voices.play([0.5, 0.5])) == 2
        assert voices.play([0.5, 0.5]) == []
        assert voices.play([0.501, 0.6]) == [bytes([0xE0, 102, 76])]
        voices.silence()
        assert len(voices.play([0.5, 0.6])) == 2  # who was silenced may have missed some

    def test_what_was_never_set_stays_unsaid(self) -> None:
        voices = Voices(parse([["note_on", 1], ["control_change", 1, 7]], 3))
        assert voices.play([math.nan, 1.0]) == [bytes([0xB0, 7, 127])]

    def test_an_update_says_what_has_changed_and_no_more(self) -> None:
        voices = Voices(parse([["note_on", 1], ["note_velocity", 1], ["note_on", 2]], 4))
        voices.play([0.5, 0.5, 0.5])
        assert voices.change([(2, 1.0)]) == [bytes([0x81, 64, 0]), bytes([0x91, 127, 127])]
        assert voices.change([(1, 1.0)]) == []
        assert voices.change([(0, 0.0)]) == [bytes([0x80, 64, 0]), bytes([0x90, 0, 127])]

    def test_what_is_sent_is_understood(self) -> None:
        table = [["note_on", 1], ["note_velocity", 1], ["control_change", 5, 7], ["control_change", 5, 8, 10, 100],
                 ["pitch_bend", 16]]
        frame = [0.25, 0.5, 0.75, 0.3, 0.6]
        entries = parse(table, 6)
        heard = dict(update for message in Voices(entries).play(frame) for update in updates(message, entries))
        assert [heard[index] for index in range(5)] == pytest.approx(frame, abs=0.5 / 90)


@pytest.mark.parametrize(("table", "reason"), [
    ("note_on", "not a list"),
    ([["note_on", 1]] * 4, "4 entries, but a model of dimension 4 has 3 values"),
    ([["note_on", 0]], "channel is a whole number from 1 to 16, not 0"),
    ([["note_on", 17]], "channel is a whole number from 1 to 16, not 17"),
    ([["note_on", 1, 0]], "velocity is a whole number from 1 to 127, not 0"),
    ([["note_on", True]], "channel is a whole number"),
    ([["note_on"]], 'write ["note_on", channel]'),
    ([["noteon", 1]], "did you mean 'note_on'?"),
    ([["control_change", 1]], 'write ["control_change", channel, controller]'),
    ([["control_change", 1, 128]], "controller is a whole number from 0 to 127"),
    ([["control_change", 1, 7, 0]], "min, max]"),
    ([["control_change", 1, 7, 0, 200]], "max is a whole number from 0 to 127, not 200"),
    ([["pitch_bend", 1, 2]], 'write ["pitch_bend", channel]'),
    ([["note_on", 1], "note_on"], "entry 2, 'note_on'"),
    ([[]], "an entry is a list"),
])
def test_a_wrong_mapping_is_refused_with_the_reason(table: Any, reason: str) -> None:
    with pytest.raises(ValueError) as problem:
        parse(table, 4)
    assert reason in str(problem.value)


def test_broken_messages_change_nothing() -> None:
    entries = parse([["note_on", 1], ["control_change", 1, 7], ["pitch_bend", 1]], 4)
    for message in ([0x90], [0x90, 60], [0xB0, 7], [0xE0], [0xF8], [0xF0, 1, 2], [0xFF, 0, 0]):
        assert not updates(message, entries)


def test_the_default_mapping_is_controllers() -> None:
    assert mapping.default(4) == parse([["control_change", 1, number] for number in (1, 2, 3)], 4)
