"""MDRNN in scsynth -N and supernova --nrt: the performance that Python gives, and what it answers to nonsense."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import neurig
from neurig.files import share
from neurig.session import MODES, Session
from sc.render import SERVERS, UGen, message, perform, play, synthdef

WANDER = share("models", "wander.mdrnn")  # three values
RATE = 48000
GESTURES = [(0.1 + 0.04 * number, [number / 10, 0.5, 1 - number / 20]) for number in range(8)]

both = pytest.mark.parametrize("server", SERVERS)
# The two plugins are of one source, and supernova takes a second to start: what could differ is tried in both.
one = pytest.mark.parametrize("server", SERVERS[:1])


def same_in_python(played: np.ndarray, mode: str, block: int = 64, seed: int = 0, **settings: float) -> np.ndarray:
    """What Python's session plays for the same gestures, block by block."""
    session = Session(neurig.Predictor(WANDER), mode, seed=seed, **settings)
    gestures, rows, held, before = iter(GESTURES), [], [0.0] * 4, 0.0
    for number, gesture in enumerate(played[:, 0]):
        now = number * block / RATE
        if gesture > before:
            session.input(np.float32(next(gestures)[1]).tolist(), now)
        before, events = gesture, session.advance(now)
        if events:
            held = [events[-1].dt * session.timescale, *events[-1].values]
        rows.append([gesture, bool(events), *held])
    return np.array(rows)


@pytest.mark.parametrize(("server", "mode", "settings"), [
    ("scsynth", "callresponse", {"threshold": 0.3, "seed": 7}),
    ("scsynth", "callresponse", {"threshold": 0.02, "mix": 0.25}),
    ("scsynth", "polyphony", {"timescale": 2, "seed": 3}),
    ("scsynth", "battle", {"sigmatemp": 0.5, "pitemp": 2, "seed": 5}),
    ("scsynth", "battle", {"mix": 0.5}),
    ("scsynth", "useronly", {}),
    ("scsynth", "filter", {"mix": 0.5}),
    ("supernova", "callresponse", {"threshold": 0.3, "seed": 7}),
    ("supernova", "filter", {"mix": 0.25, "sigmatemp": 0.5}),
])  # fmt: skip
def test_same_performance_as_in_python(server: str, mode: str, settings: dict[str, float]) -> None:
    played = play(WANDER, GESTURES, 2, 3, server, mode=MODES.index(mode), **settings)
    expected = same_in_python(played, mode, **settings)
    np.testing.assert_allclose(played, expected, rtol=0, atol=1e-6)
    assert (np.diff(played[:, 0]) > 0).sum() == len(GESTURES)
    assert played[:, 1].sum() >= (0 if mode == "useronly" else len(GESTURES))


@one
@pytest.mark.parametrize("block", [1, 16, 512])
def test_at_other_block_sizes(server: str, block: int) -> None:
    played = play(WANDER, GESTURES, 1, 3, server, block, mode=MODES.index("filter"))
    np.testing.assert_allclose(played, same_in_python(played, "filter", block), rtol=0, atol=1e-6)
    assert played[:, 1].sum() == len(GESTURES)


def changes(name: str, *steps: tuple[float, float]) -> list[tuple[float, Sequence[bytes]]]:
    return [(time, [message("/n_set", 1000, name, float(value))]) for time, value in steps]


@one
def test_settings_while_it_plays(server: str) -> None:
    battle = MODES.index("battle")
    still = play(WANDER, [], 3, 3, server, mode=battle, events=changes("run", (1, 0), (2, 1)))
    notes = np.flatnonzero(still[:, 1]) * 64 / RATE
    assert (notes < 1.01).sum() > 3 and (notes > 2).sum() > 3 and not ((notes > 1.01) & (notes < 2)).any()
    switched = play(WANDER, GESTURES, 3, 3, server, mode=battle, events=changes("mode", (1, MODES.index("useronly"))))
    notes = np.flatnonzero(switched[:, 1]) * 64 / RATE
    assert (notes < 1.01).sum() > 3 and not (notes > 1.01).any()
    slow = play(WANDER, [], 2, 3, server, mode=battle, timescale=4)
    fast = play(WANDER, [], 2, 3, server, mode=battle)
    slow, fast = (played[played[:, 1] > 0][:, 2] for played in (slow, fast))
    np.testing.assert_allclose(slow, 4 * fast[: len(slow)], rtol=1e-6)


@one
def test_reset_and_seed_begin_again(server: str) -> None:
    events = sorted(changes("seed", (1, 4)) + changes("reset", (1, 1)))
    played = play(WANDER, [], 2.5, 3, server, mode=MODES.index("battle"), seed=3, sigmatemp=0.5, events=events)
    notes = played[played[:, 1] > 0][:, 3:]
    again = play(WANDER, [], 2.5, 3, server, mode=MODES.index("battle"), seed=4, sigmatemp=0.5)
    begin = np.flatnonzero(np.abs(notes - again[again[:, 1] > 0][0, 3:]).max(1) < 1e-6)
    assert len(begin) == 1, "from the reset on, the performance of the new seed"
    rest = notes[begin[0] :]
    np.testing.assert_allclose(rest, again[again[:, 1] > 0][: len(rest), 3:], atol=1e-6)


@both
def test_another_model_in_the_slot(server: str, tmp_path: Path) -> None:
    """The session goes on with it; one that cannot be read changes nothing."""
    mode = MODES.index("battle")
    plain = play(WANDER, [], 2, 3, server, mode=mode)
    paths = tmp_path, tmp_path / "none.mdrnn", share("models", "crunch.nam")
    bad = [(0.5, [message("/cmd", "mdrnn_read", 0, str(path)) for path in paths])]
    np.testing.assert_array_equal(play(WANDER, [], 2, 3, server, mode=mode, events=bad), plain)
    replaced = play(WANDER, [], 2, 3, server, mode=mode, events=[(1, [message("/cmd", "mdrnn_read", 0, str(WANDER))])])
    notes, first = replaced[replaced[:, 1] > 0][:, 3:], plain[plain[:, 1] > 0][:, 3:]
    begin = np.flatnonzero(np.abs(notes - first[0]).max(1) < 1e-6)
    assert len(begin) == 2, "the session's seed is the new model's, too"
    freed = play(WANDER, [], 2, 3, server, mode=mode, events=[(1, [message("/cmd", "mdrnn_free", 0)])])
    assert not freed[int(1.01 * RATE / 64) :, 1].any() and freed[: RATE // 64, 1].sum() > 3


@one
def test_players_values_out_of_range_are_refused(server: str) -> None:
    gestures = [(0.1, [0.5, 2, 0.5]), (0.2, [0.5, float("nan"), 0.5]), (0.3, [0.5, 0.5, 0.5])]
    played = play(WANDER, gestures, 0.5, 3, server, mode=MODES.index("filter"))
    assert played[:, 1].sum() == 1 and np.flatnonzero(played[:, 1])[0] > 0.29 * RATE / 64


SETTINGS = ("threshold", "pitemp", "sigmatemp", "mix", "timescale", "seed", "mode")


@one
@pytest.mark.parametrize("settings", [
    {"threshold": -1, "pitemp": 0, "sigmatemp": -1, "mix": 2, "timescale": -1, "seed": -1, "mode": 99},
    dict.fromkeys(SETTINGS, float("nan")), dict.fromkeys(SETTINGS, float("inf")), dict.fromkeys(SETTINGS, float("-inf")),
])  # fmt: skip
def test_settings_out_of_range_change_nothing(server: str, settings: dict[str, float]) -> None:
    expected = play(WANDER, GESTURES, 1, 3, server)
    assert expected[:, 1].any()
    np.testing.assert_array_equal(play(WANDER, GESTURES, 1, 3, server, **settings), expected)


@both
def test_units_with_nothing_to_play_are_silent(server: str) -> None:
    """An empty slot, slots that there are not, another number of values, and definitions that no class makes."""
    head, units = [2, 0.1, 1, 1, 0.01, 1, 1, 0, 0, 0], []
    for slot in (7, -1, 5000, float("nan"), 1e30):
        units.append(UGen("MDRNN", [slot, *head, 0, 0, 0], "control", 5))
    units.append(UGen("MDRNN", [0, *head, 0, 0], "control", 4))
    units.append(UGen("MDRNN", [0, *head, 0, 0, 0], "control", 2))
    units.append(UGen("MDRNN", [0], "control", 1))
    units.append(UGen("MDRNN", [0, *head], "control", 2))
    units.append(UGen("MDRNN", [0, *head, *[0] * 64], "control", 66))
    ramps = [UGen("K2A", [(unit, 0)]) for unit in units]
    definition = synthdef("all", [*units, *ramps, UGen("Out", [0, *ramps], outputs=0)])
    score = [(0, [message("/d_recv", definition), message("/cmd", "mdrnn_read", 0, str(WANDER))]),
             (0, [message("/s_new", "all", 1000, 0, 0)])]  # fmt: skip
    y, said = perform(score, 0.5, server=server, channels=len(units))
    assert not y.any()
    assert "slot 7 is empty" in said and "has 3 values, this unit 2" in said


@both
def test_reasons_are_printed(server: str, tmp_path: Path) -> None:
    (tmp_path / "broken.mdrnn").write_text("{")
    reads = [(0, str(tmp_path / "broken.mdrnn")), (0, str(share("models", "crunch.nam"))), (5000, "x.mdrnn"), (0,)]
    _, said = perform([(0, [message("/cmd", "mdrnn_read", *some) for some in reads])], 0.1, server=server)
    assert f"mdrnn_read: {tmp_path / 'broken.mdrnn'}: " in said
    assert "this model is an amp, not a predictor" in said
    assert "the number of a model is from 0 to 1023" in said and "no path given" in said
