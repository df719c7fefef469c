"""The session of a player and a predictor, against a clock that the test moves."""

import gc
import json
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import neurig
from neurig._core import ffi, lib
from neurig.session import LATEST, MODES, MOST_PENDING, SHORTEST, Event, Session


class Watched:
    """A real predictor whose calls are written down."""

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.own = neurig.Predictor(path, seed)
        self.dimension = self.own.dimension
        self.heard: list[list[float]] = []
        self.asked = 0
        self.resets = 0

    def condition(self, frame: Sequence[float]) -> None:
        self.heard.append(list(frame))
        self.own.condition(frame)

    def predict(self, pi_temp: float, sigma_temp: float) -> Sequence[float]:
        self.asked += 1
        return self.own.predict(pi_temp, sigma_temp)

    def reset(self) -> None:
        self.resets += 1
        self.own.reset()

    def seed(self, seed: int) -> None:
        self.own.seed(seed)


class Scripted:
    """A network that plays what it is given, as it is."""

    def __init__(self, *frames: Sequence[float]) -> None:
        self.dimension = len(frames[0])
        self.frames = list(frames)
        self.heard: list[list[float]] = []

    def condition(self, frame: Sequence[float]) -> None:
        self.heard.append(list(frame))

    def predict(self, pi_temp: float, sigma_temp: float) -> Sequence[float]:
        return self.frames.pop(0)

    def reset(self) -> None:
        raise AssertionError("nobody asked for this")

    def seed(self, seed: int) -> None:
        raise AssertionError("nobody asked for this")


@pytest.fixture
def network(predictor_file: Callable[..., Path]) -> Watched:
    return Watched(predictor_file())


def play(session: Session, start: float, end: float, step: float = 0.001) -> list[Event]:
    """Moves the clock; returns what was played."""
    events = []
    for tick in range(round((end - start) / step) + 1):
        events += session.advance(start + tick * step)
    return events


def test_callresponse_waits_for_the_player(network: Watched) -> None:
    session = Session(network, "callresponse", threshold=0.5)
    assert session.due is None
    assert play(session, 0, 10, 0.01) == [] and network.asked == 0


def test_callresponse_takes_over_after_the_threshold(network: Watched) -> None:
    session = Session(network, "callresponse", threshold=0.5)
    session.input([0.1, 0.2], now=1.0)
    session.input([0.3, 0.4], now=1.25)
    assert session.due == 1.75
    assert play(session, 1.25, 1.749) == [] and network.asked == 0
    twin = neurig.Predictor(network.own.model, 0)
    twin.condition([SHORTEST, 0.1, 0.2])
    twin.condition([0.25, 0.3, 0.4])
    expected, when = [], 1.75
    for _ in range(20):
        dt, *values = map(float, twin.predict(1.0, 0.01))
        when += dt
        expected.append(Event(when, dt, tuple(values)))
    events = play(session, 1.749, 4)
    assert len(events) > 15 and events[:15] == expected[:15]


def test_the_last_frame_enters_the_network_once(network: Watched) -> None:
    session = Session(network, "callresponse", threshold=0.1)
    session.input([0.1, 0.2], now=0.0)
    session.input([0.3, 0.4], now=0.05)
    play(session, 0.05, 2)
    assert network.heard == [[SHORTEST, 0.1, 0.2], [0.05, 0.3, 0.4]]


def test_the_player_takes_over_at_once(network: Watched) -> None:
    session = Session(network, "callresponse", threshold=0.1)
    session.input([0.5, 0.5], now=0.0)
    assert play(session, 0, 1)
    session.input([0.5, 0.5], now=1.0)
    assert session.due == 1.1 and play(session, 1.0, 1.099) == []
    assert play(session, 1.1, 2)


def test_battle_plays_by_itself_and_does_not_listen(network: Watched) -> None:
    session = Session(network, "battle", now=3.0)
    assert session.due == 3.0
    before = play(session, 3, 4)
    session.input([0.9, 0.9], now=4.0)
    assert before and play(session, 4, 5) and network.heard == []


def test_polyphony_answers_each_frame(network: Watched) -> None:
    session = Session(network, "polyphony")
    assert play(session, 0, 5, 0.01) == []
    for number in range(10):
        session.input([0.1, number / 10], now=5 + number * 0.01)
    events = play(session, 5.09, 7)
    assert len(events) == 10 == network.asked and len(network.heard) == 10
    assert session.due is None
    assert [event.time for event in events] == sorted(event.time for event in events)


def test_polyphony_without_time_answers_at_once(network: Watched) -> None:
    session = Session(network, "polyphony", timescale=0.0)
    session.input([0.5, 0.5], now=2.0)
    assert [event.time for event in session.advance(2.0)] == [2.0]


def test_polyphony_builds_up_no_backlog(network: Watched) -> None:
    """A hundred frames a second for five seconds: when the player stops, so does the network, after one time step."""
    session = Session(network, "polyphony")
    events = []
    for number in range(500):
        session.input([0.5, 0.5], now=number * 0.01)
        events += session.advance(number * 0.01)
    late = play(session, 5.0, 30, 0.01)
    assert len(events) > 400 and late and late[-1].time < 5.2


def test_a_flood_is_bounded(network: Watched) -> None:
    session = Session(network, "polyphony", timescale=100.0)
    for number in range(1000):
        session.input([0.5, 0.5], now=number * 0.0001)
    assert len(play(session, 0, 100, 1)) == MOST_PENDING


def test_useronly_is_silent_and_takes_all_input(network: Watched) -> None:
    session = Session(network, "useronly")
    frames = [session.input([0.5, 0.25], now=number * 0.1) for number in range(40)]
    assert len(frames) == 40 and frames[-1] == [pytest.approx(0.1), 0.5, 0.25]
    assert play(session, 4, 10, 0.01) == [] and network.asked == 0 and session.due is None


@pytest.mark.parametrize("mode", MODES)
def test_a_new_mode_replays_nothing(network: Watched, mode: str) -> None:
    """Frames of the mode before are neither answered nor played."""
    session = Session(network, "polyphony", timescale=50.0)
    for number in range(20):
        session.input([0.5, 0.5], now=number * 0.01)
    session.timescale = 1.0
    session.set_mode(mode, now=1.0)
    events = play(session, 1, 4, 0.01)
    assert bool(events) == (mode == "battle")


def test_tempo_does_not_drift(network: Watched) -> None:
    """Events are late by up to 13 ms here; the time from one to the next stays the network's."""
    session = Session(network, "battle", now=0.0)
    events = play(session, 0, 30, step=0.013)
    twin = neurig.Predictor(network.own.model, 0)
    expected = sum(float(twin.predict(1.0, 0.01)[0]) for _ in events)
    assert len(events) > 300
    assert events[-1].time == pytest.approx(expected, abs=1e-4)


def test_timescale_stretches_the_playing_not_the_network(network: Watched) -> None:
    session = Session(network, "battle", timescale=2.0)
    events = play(session, 0, 5)
    waits = [after.time - before.time for before, after in zip(events, events[1:], strict=False)]
    assert waits == pytest.approx([2 * event.dt for event in events[1:]])


def test_no_time_at_all_does_not_spin(network: Watched) -> None:
    session = Session(network, "battle", timescale=0.0)
    assert len(play(session, 0, 0.1, 0.001)) <= 101


def test_after_a_sleep_it_goes_on_from_now(network: Watched) -> None:
    session = Session(network, "battle")
    play(session, 0, 1)
    events = session.advance(1000.0)
    assert len(events) == 1 and session.due is not None and 1000 <= session.due < 1000 + LATEST


def test_pause(network: Watched) -> None:
    session = Session(network, "battle")
    play(session, 0, 1)
    session.set_running(False, now=1.0)
    assert session.due is None and play(session, 1, 3, 0.01) == []
    session.set_running(True, now=3.0)
    events = play(session, 3, 4)
    assert events and events[0].time >= 3.0
    paused = Session(network, "callresponse", run=False)
    paused.input([0.5, 0.5], now=0.0)
    assert network.heard == [] and play(paused, 0, 1, 0.01) == []


def test_another_model_goes_on(network: Watched, predictor_file: Callable[..., Path]) -> None:
    session = Session(network, "battle")
    play(session, 0, 1)
    other = Watched(predictor_file("wide.mdrnn", dimension=5))
    session.replace(other, now=1.0)
    events = play(session, 1, 2)
    assert events and all(len(event.values) == 4 for event in events)
    with pytest.raises(ValueError, match="takes 4 values, not 2"):
        session.input([0.5, 0.5], now=2.0)


def test_reset(network: Watched) -> None:
    session = Session(network, "callresponse", threshold=0.1)
    session.input([0.5, 0.5], now=0.0)
    session.reset(now=0.05)
    assert network.resets == 1 and play(session, 0.05, 1) == []


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ([0.5], "takes 2 values, not 1"),
        ([], "takes 2 values, not 0"),
        ([0.1, 0.2, 0.3], "takes 2 values, not 3"),
        ([0.5, float("nan")], "x2 is nan"),
        ([float("inf"), 0.5], "x1 is inf"),
        ([0.5, 127], "x2 is 127"),
        ([-0.5, 0.5], "x1 is -0.5"),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_wrong_frames_change_nothing(network: Watched, mode: str, values: list[float], problem: str) -> None:
    session = Session(network, mode, run=True)
    due = session.due
    with pytest.raises(ValueError, match=problem):
        session.input(values, now=1.0)
    assert network.heard == [] and network.asked == 0 and session.due == due


def test_values_a_hair_beyond_are_rounding(network: Watched) -> None:
    session = Session(network, "callresponse")
    assert session.input([1.0000001, -1e-9], now=0.0)[1:] == [1.0, 0.0]


def test_time_is_never_negative(network: Watched) -> None:
    session = Session(network, "callresponse")
    session.input([0.5, 0.5], now=1.0)
    assert session.input([0.5, 0.5], now=1.0)[0] == SHORTEST


def test_unknown_mode(network: Watched) -> None:
    session = Session(network)
    with pytest.raises(ValueError, match="no mode 'solo': there are callresponse"):
        session.set_mode("solo", now=0.0)


def test_modes_are_the_cores() -> None:
    assert [ffi.string(lib.neurig_mode_name(mode)).decode() for mode in range(lib.NEURIG_MODES)] == list(MODES)
    assert [lib.neurig_mode(mode.encode()) for mode in MODES] == list(range(len(MODES)))
    assert lib.neurig_mode(b"solo") == -1 and lib.neurig_mode_name(-1) == lib.neurig_mode_name(5) == ffi.NULL


def test_playback_conformance(data: Path) -> None:
    """Outputs of a network, and what is to be played when, and what goes on into the network."""
    cases = json.loads((data / "impsy/conformance/playback.json").read_text())["cases"]
    assert cases
    for case in cases:
        last = [0.0] * len(case["model_outputs"][0])
        session = Session(Scripted(*case["model_outputs"], last), "battle", timescale=case["timescale"])
        time = 0.0
        assert session.advance(0.0) == []
        for expected in case["expected"]:
            assert session.due == pytest.approx(time + expected["wait"], abs=1e-9)
            [event] = session.advance(session.due)
            time = event.time
            assert event.values == pytest.approx(expected["output"], abs=1e-9)
            assert [event.dt, *event.values] == pytest.approx(expected["next_model_input"], abs=1e-9)


def test_a_predictor_plays_as_a_network_in_python_does(predictor_file: Callable[..., Path]) -> None:
    """The core calls a predictor of its own directly; that it makes no difference."""
    for mode in MODES:
        played = []
        for predictor in (neurig.Predictor(predictor_file(), 3), Watched(predictor_file(), 3)):
            session, events = Session(predictor, mode, sigmatemp=0.5, pitemp=2), []
            for number in range(10):
                session.input([number / 10, 0.5], now=number * 0.125)
                events += session.advance(number * 0.125)
            played.append(events + play(session, 1.25, 3))
        assert played[0] == played[1]
        assert bool(played[0]) == (mode != "useronly")


def test_filter_replaces_each_frame_at_once(network: Watched) -> None:
    session = Session(network, "filter", timescale=5)
    assert play(session, 0, 5, 0.01) == []
    twin, expected = neurig.Predictor(network.own.model, 0), []
    for number in range(20):
        frame = [0.25 if number else SHORTEST, number / 20, 0.5]
        twin.condition(frame)
        dt, *values = map(float, twin.predict(1.0, 0.01))
        expected.append(Event(6 + number / 4, dt, tuple(values)))
    events = []
    for number in range(20):
        session.input([number / 20, 0.5], now=6 + number / 4)
        assert session.due == 6 + number / 4
        events += session.advance(6 + number / 4)
        assert session.due is None
    assert events == expected


@pytest.mark.parametrize("mode", ["filter", "polyphony"])
def test_frames_of_one_moment_are_answered_in_their_order(mode: str) -> None:
    answers = [[0.5, value] for value in (0.9, 0.1, 0.5, 0.3)]
    session = Session(Scripted(*answers), mode, timescale=0)
    for _ in answers:
        session.input([0.5], now=1.0)
    assert [event.values for event in session.advance(1.0)] == [(answer[1],) for answer in answers]


def test_in_a_flood_the_newest_gesture_is_answered() -> None:
    """… and those that wait longest are heard, however long it goes on."""
    session = Session(Scripted(*[[0.05, number / 1000] for number in range(1000)]), "polyphony")
    events = []
    for number in range(1000):  # 4000 a second, answered 50 ms later
        session.input([0.5], now=number / 4000)
        events += session.advance(number / 4000)
    assert len(events) >= 4 * 63
    events += session.advance(10.0)
    assert events[-1].values == (0.999,)
    assert events == sorted(events) and events[-1].values > events[-2].values


@pytest.mark.parametrize("mode", ["polyphony", "filter"])
def test_mix_with_the_frame_that_is_answered(mode: str) -> None:
    session = Session(Scripted([0.25, 0.0, 1.0], [0.25, 1.0, 1.0]), mode, mix=0.75)
    session.input([0.5, 0.5], now=0.0)
    session.input([1.0, 0.0], now=0.1)
    assert [event.values for event in session.advance(1)] == [(0.125, 0.875), (1.0, 0.75)]


def test_mix_with_where_the_hands_are() -> None:
    session = Session(Scripted(*[[0.25, 1.0]] * 5), "battle", mix=0.5)
    assert [event.values for event in session.advance(0.25)] == [(1.0,)], "before there is a player, the network alone"
    session.input([0.5], now=0.3)
    assert [event.values for event in session.advance(0.5)] == [(0.75,)]
    session.input([0.0], now=0.6)
    session.mix = 0.0
    assert [event.values for event in session.advance(0.75)] == [(0.0,)]


def test_the_network_goes_on_from_what_it_played_not_from_the_mix(network: Watched) -> None:
    alone, mixed = (Session(neurig.Predictor(network.own.model, 2), "callresponse", mix=mix) for mix in (1.0, 0.25))
    for session in (alone, mixed):
        session.input([0.0, 0.5], now=0)
    pairs = list(zip(play(alone, 0, 2), play(mixed, 0, 2), strict=True))
    assert len(pairs) > 15
    for network_, heard in pairs:
        assert (network_.time, network_.dt) == (heard.time, heard.dt)
        assert heard.values == pytest.approx([0.25 * network_.values[0], 0.375 + 0.25 * network_.values[1]])


def test_seed(network: Watched) -> None:
    def performance(session: Session, start: float) -> list[tuple[float, ...]]:
        session.reset(now=start)
        return [event.values for event in play(session, start, start + 1)]

    session = Session(network, "battle", sigmatemp=0.5, seed=7)
    first = performance(session, 0)
    assert performance(session, 2) != first, "chance goes on"
    session.seed(7)
    assert performance(session, 4) == first
    session.replace(Watched(network.own.model.path, seed=1), now=6)
    assert performance(session, 6) == first, "the session's seed, not the predictor's"
    for seed in (-1, 2**64):
        with pytest.raises(ValueError, match="a seed is a whole number"):
            session.seed(seed)


@pytest.mark.parametrize(("name", "good", "bad"), [
    ("threshold", [0, 1e6], [-0.1]), ("timescale", [0, 100], [-1]), ("pitemp", [1e-3, 10], [0, -1]),
    ("sigmatemp", [0, 10], [-0.1]), ("mix", [0, 1], [-0.1, 1.1]),
])  # fmt: skip
def test_settings(network: Watched, name: str, good: list[float], bad: list[float]) -> None:
    session = Session(network)
    for value in good:
        setattr(session, name, value)
        assert getattr(session, name) == value
    for value in [*bad, float("nan"), float("inf")]:
        with pytest.raises(ValueError, match=f"{name} is .*, but has to be "):
            setattr(session, name, value)
    assert getattr(session, name) == good[-1]
    with pytest.raises(ValueError):
        Session(network, **{name: bad[0]})


@pytest.mark.parametrize("mode", ["callresponse", "polyphony", "battle", "filter"])
def test_a_network_that_fails_is_silent_until_it_is_asked_anew(network: Watched, mode: str) -> None:
    session = Session(network, mode, threshold=0.1)
    predict = network.own.predict
    broken = True

    def sometimes(*temperatures: float) -> Sequence[float]:
        if broken:
            raise RuntimeError("no answer")
        return predict(*temperatures)

    network.predict = sometimes  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no answer"):
        session.input([0.5, 0.5], now=0.0)
        session.advance(0.5)
    assert session.due is None and play(session, 0.5, 2, 0.01) == []
    broken = False
    session.set_mode(mode, now=2.0)
    session.input([0.5, 0.5], now=2.0)
    assert play(session, 2, 3)


@pytest.mark.parametrize(("answer", "problem"), [
    ([0.1, float("nan"), 0.5], "not finite"), ([float("inf"), 0.5, 0.5], "not finite"), ([0.1, 0.5], "gave 2 numbers"),
])  # fmt: skip
def test_what_a_network_cannot_have_meant(answer: list[float], problem: str) -> None:
    network = Scripted([0.1, 0.5, 0.5])
    network.frames = [answer]
    session = Session(network, "polyphony")
    with pytest.raises(ValueError, match=problem):
        session.input([0.5, 0.5], now=0.0)
    assert play(session, 0, 2, 0.01) == []


def test_a_predictor_that_overflows_says_so(predictor_file: Callable[..., Path], tmp_path: Path) -> None:
    """A time step beyond what a float holds: no file should have it, and nobody should wait for it."""
    file = json.loads(predictor_file().read_text())
    file["config"]["scale"] = 0.001
    file["weights"] = [weight * 1e37 for weight in file["weights"]]
    path = tmp_path / "wild.mdrnn"
    path.write_text(json.dumps(file))
    session = Session(neurig.Predictor(path), "battle")
    with pytest.raises(ValueError, match="not finite"):
        session.advance(0.0)
    assert session.due is None and session.advance(1.0) == []


def test_a_frame_may_be_longer_than_any_predictors() -> None:
    session = Session(Scripted([0.1, 0.5]), "filter")
    session.replace(Scripted([0.1, *[0.25] * 200]), now=0.0)
    session.input([0.5] * 200, now=0.0)
    assert [len(event.values) for event in session.advance(0.0)] == [200]


def test_a_session_that_nobody_has_is_freed(network: Watched) -> None:
    session = Session(network)
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
