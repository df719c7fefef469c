"""[mdrnn] in real Pd: the same performance as in Python, and what it answers to whatever is sent to it."""

import json
import re
import subprocess
from datetime import datetime
from pathlib import Path

import neurig
import numpy as np
import pytest
from neurig.dataset import read_log
from neurig.files import share
from neurig.session import Session
from numpy.typing import ArrayLike, NDArray
from pd.render import ROOT, Patch, complaints, talk

WANDER = share("models", "wander.mdrnn")  # frames of [dt, x1, x2, x3]


def frames(told: list[list[str]]) -> list[NDArray[np.float64]]:
    """The predictions among what was told: [dt in ms, x1 …] each."""
    found = []
    for step in told:
        for first, second in zip(step, step[1:]):
            if first.startswith("out 1: "):  # dt comes first
                assert second.startswith("out 0: ")
                found.append(np.array([float(number) for line in (first, second) for number in line[7:].split()]))
    return found


def assert_frames(told: list[list[str]], expected: list[ArrayLike], timescale: float = 1) -> None:
    """Compares with Python's frames, as far as Pd prints a number's digits."""
    found = frames(told)
    assert len(found) == len(expected)
    for heard, frame in zip(found, np.asarray(expected, np.float64) * [1000 * timescale, 1, 1, 1]):
        np.testing.assert_allclose(heard, frame, rtol=1e-5, atol=1e-6)


def test_same_seed_same_frames_as_in_python(pd: str) -> None:
    predictor = neurig.Predictor(WANDER, seed=7)
    told = talk(f"mdrnn -seed 7 {WANDER}", ["bang"] * 20, outlets=[0, 1], pd=pd)
    assert_frames(told, [predictor.predict() for _ in range(20)])


def test_the_seed_unless_given_is_that_of_python() -> None:
    predictor = neurig.Predictor(WANDER)
    assert_frames(talk(f"mdrnn {WANDER}", ["bang"] * 3, outlets=[0, 1]), [predictor.predict() for _ in range(3)])


def test_it_follows_the_players_frames() -> None:
    """Lists without dt get the time since the last one, here 20 ms each; the first has none before it."""
    predictor = neurig.Predictor(WANDER)
    for frame in ([0, 0.1, 0.2, 0.3], [0.02, 0.4, 0.5, 0.6], [0.25, 0.7, 0.8, 0.9]):
        predictor.condition(frame)
    messages = ["0.1 0.2 0.3", "0.4 0.5 0.6", "0.25 0.7 0.8 0.9", "bang", "bang"]
    assert_frames(talk(f"mdrnn {WANDER}", messages, outlets=[0, 1]), [predictor.predict(), predictor.predict()])


def test_reset_forgets_the_frames_and_their_time() -> None:
    expected, predictor = [], neurig.Predictor(WANDER)
    for seed in (0, 3):
        predictor.reset()
        predictor.seed(seed)
        predictor.condition([0, 0.1, 0.2, 0.3])
        expected += [predictor.predict(), predictor.predict()]
    messages = ["0.1 0.2 0.3", "bang", "bang", "reset", "seed 3", "0.1 0.2 0.3", "bang", "bang"]
    assert_frames(talk(f"mdrnn {WANDER}", messages, outlets=[0, 1]), expected)


def test_temperatures_and_timescale() -> None:
    predictor = neurig.Predictor(WANDER)
    expected = [predictor.predict(0.5, 0.2) for _ in range(5)]
    messages = ["pitemp 0.5", "sigmatemp 0.2", "timescale 3", *["bang"] * 5]
    assert_frames(talk(f"mdrnn {WANDER}", messages, outlets=[0, 1]), expected, timescale=3)


def test_dt_never_stalls_a_loop() -> None:
    """[mdrnn] → [delay] → [mdrnn] with no delay at all would be for ever."""
    assert frames(talk(f"mdrnn {WANDER}", ["timescale 0", "bang"], outlets=[0, 1]))[0][0] == 1


def test_plays_by_itself_with_a_delay() -> None:
    """The loop of the help patch: dt starts the delay, the delay's end plays the frame and asks for the next."""
    patch = Patch()
    begin, mdrnn, wait, due = (patch.obj(text) for text in ("loadbang", f"mdrnn {WANDER}", "delay", "t b b"))
    hold, out = patch.obj("list append"), patch.obj("print frame")
    patch.chain(begin, mdrnn)
    patch.connect(mdrnn, hold, 0, 1)
    patch.connect(mdrnn, wait, 1)
    patch.chain(wait, due, mdrnn)
    patch.connect(due, hold, 1)
    patch.chain(hold, out)
    patch.at(begin, 5000, "; pd quit", out)

    predictor, played, time = neurig.Predictor(WANDER), [], 0.0
    while time < 5:
        frame = predictor.predict()
        time += float(frame[0])
        played.append(frame[1:])
    heard = [[float(number) for number in line.split()[1:]] for line in patch.run()]
    np.testing.assert_allclose(heard, played[:-1], rtol=1e-5, atol=1e-6)


def test_information() -> None:
    sizes, state = ["dimension 4", "units 64", "layers 2", "mixtures 5"], ["mode manual", "run 1"]
    expected = [f"out 2: {text}" for text in (f"loaded {WANDER}", "arch MDRNN", *sizes, *state)]
    told = talk("mdrnn", ["info", "print", "async 0", f"load {WANDER}", "info", "print"], outlets=[2])
    assert told[1] == [f"out 2: {text}" for text in ("unloaded", *state)] and told[2][0] == "mdrnn: nothing is loaded"
    assert told[4] == told[5] == expected
    assert told[6][0] == f"mdrnn: {WANDER}"


def test_loads_in_the_background_and_plays_on() -> None:
    burst = f"load nope, load {WANDER}, load {WANDER}"
    told = talk(f"mdrnn {WANDER}", [burst, "bang"], outlets=[0, 1, 2], batch=False, every=300)
    assert len([line for line in told[1] if "loaded" in line]) == 1
    assert_frames(told, [neurig.Predictor(WANDER).predict()])


@pytest.mark.parametrize("message", [
    "0.1 0.2", "0.1", "1 2 3 4 5", "0.1 1.5 0.3", "0.1 -1 0.2 0.3", "-0.1 0.1 0.2 0.3", "0.1 0.2 high",
    "list 0.1 b 0.2", "play 1 2", "symbol x", "seed", "seed -1",
    "seed 0.5", "seed x", "pitemp 0", "pitemp -1", "pitemp", "sigmatemp -0.1", "sigmatemp x", "timescale -1",
    "timescale",
    "async", "load", "load missing", "load two words",
    "mode", "mode solo", "mode 1", "threshold -1", "threshold", "mix 1.1", "mix -0.1", "run", "run x", "record",
    "record no/such/folder/x.log",
])  # fmt: skip
def test_wrong_messages_get_one_clear_error_and_change_nothing(message: str) -> None:
    told = talk(f"mdrnn {WANDER}", ["async 0", "0.1 0.2 0.3", "bang", message, "bang"], outlets=[0, 1])
    assert len(told[4]) == 1 and re.match(r"error: (mdrnn: |bad arguments for message)", told[4][0]), told[4]
    assert not message.startswith("record no") or "no such file or directory" in told[4][0].lower()
    predictor = neurig.Predictor(WANDER)
    predictor.condition([0, 0.1, 0.2, 0.3])
    assert_frames(told, [predictor.predict(), predictor.predict()])


def test_infinity_is_refused() -> None:
    patch = Patch()
    begin, large, square = patch.obj("loadbang"), patch.msg("1e30"), patch.obj("expr $f1 * $f1")
    frame, end = patch.obj("pack f f f"), patch.msg("; pd quit")
    patch.chain(begin, large, square, frame, patch.obj(f"mdrnn {WANDER}"))
    patch.connect(begin, end)
    assert patch.run() == ["error: mdrnn: a frame is made of numbers; this list has inf"]


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"architecture": "MDRNN", "weights": []}', None])
def test_a_failed_load_keeps_what_played(tmp_path: Path, content: str | None) -> None:
    bad = tmp_path / "bad.mdrnn"
    if content is not None:
        bad.write_text(content)
    told = talk(f"mdrnn {WANDER}", ["async 0", "bang", f"load {bad}", "bang"], outlets=[0, 1, 2])
    assert len(complaints(told[3])) == 2
    assert told[3][0].startswith(f"error: mdrnn: {bad}: ") and told[3][1].startswith(f"out 2: error {bad} ")
    predictor = neurig.Predictor(WANDER)
    assert_frames(told, [predictor.predict(), predictor.predict()])


def test_an_amp_is_refused_with_the_name_of_its_object() -> None:
    told = talk("mdrnn", ["bang", "0.1 0.2 0.3", "async 0", f"load {share('models', 'crunch.nam')}"])
    assert told[1] == told[2] == ["error: mdrnn: no model is loaded"]
    assert len(told[4]) == 1 and "[neuralamp~]" in told[4][0]


@pytest.mark.parametrize("text", [
    "-seed -1", "-seed", "-seed x", "-loud 1", "-mode 1", "-mode", "-mix 2", "- 1",
])  # fmt: skip
def test_wrong_flags_get_a_clear_error(text: str) -> None:
    told = talk(f"mdrnn {text} -seed 7 {WANDER}", ["bang"])
    assert told[0][0].startswith("error: mdrnn: bad flag: ")


def test_a_wrong_mode_is_told_from_the_file() -> None:
    told = talk(f"mdrnn -mode batle {WANDER}", ["info"], outlets=[2])
    modes = "manual, callresponse, polyphony, battle, useronly, filter"
    assert told[0] == [f"error: mdrnn: mode: there is no mode batle, but {modes}"]
    assert told[1][0] == f"out 2: loaded {WANDER}"


# ---- The session in the patch

EVERY = 40  # ms between two messages


def perform(text: str, steps: list[str | None], pd: str = "pd") -> list[list[NDArray[np.float64]]]:
    """What the object plays after each step: a message, or None for some time of nothing."""
    told = talk(f"mdrnn {text} {WANDER}", ["async 1" if step is None else step for step in steps], outlets=[0, 1],
                every=EVERY, pd=pd)  # fmt: skip
    assert not complaints(line for step in told for line in step)
    return [frames([step]) for step in told[1:]]


def same_in_python(steps: list[str | None], seed: int = 7, **settings: object) -> list[list[NDArray[np.float64]]]:
    """The same by Python's session, whose clock is moved by hand."""
    session = Session(neurig.Predictor(WANDER), seed=seed, **settings)
    played = []
    session.advance(EVERY / 1000 - 1e-6)
    for number, step in enumerate(steps, 1):
        time, events = number * EVERY / 1000, []
        match (step or "").split():
            case ["mode", name]:
                session.set_mode(name, time)
            case ["run", on]:
                session.set_running(on == "1", time)
            case ["reset"]:
                session.reset(time)
            case ["seed", number_]:
                session.seed(int(number_))
            case ["threshold" | "timescale" | "pitemp" | "sigmatemp" | "mix" as name, value]:
                setattr(session, name, float(value))
            case [_, _, _] as values:
                session.input([float(value) for value in values], time)
        while found := session.advance(time + EVERY / 1000 - 1e-6):
            events += found
        played.append([np.array([max(1, 1000 * event.dt * session.timescale), *event.values]) for event in events])
    return played


GESTURE: list[str | None] = ["0.1 0.2 0.3", "0.2 0.3 0.4", None, "0.9 0.1 0.5", "0.8 0.2 0.4"]
REST: list[str | None] = [None] * 25


@pytest.mark.parametrize(("settings", "steps"), [
    ({"mode": "callresponse", "threshold": 0.5}, [*GESTURE, *REST, *GESTURE, *REST]),
    ({"mode": "callresponse", "threshold": 0.05, "mix": 0.25}, [*GESTURE, *REST]),
    ({"mode": "polyphony", "timescale": 2}, [*GESTURE, *REST]),
    ({"mode": "polyphony", "timescale": 0}, GESTURE),
    ({"mode": "battle", "sigmatemp": 0.5, "pitemp": 2}, REST),
    ({"mode": "battle", "mix": 0.5}, [*REST, *GESTURE, *REST]),
    ({"mode": "useronly"}, [*GESTURE, *REST]),
    ({"mode": "filter"}, [*GESTURE, *REST]),
    ({"mode": "filter", "mix": 0.5, "sigmatemp": 0.3}, GESTURE * 4),
    ({"mode": "battle"}, [*REST, "mode callresponse", *REST, *GESTURE, *REST, "mode battle", *REST]),
    ({"mode": "battle"}, [*REST, "run 0", *REST, *GESTURE, "run 1", *REST, "timescale 0.5", *REST]),
    ({"mode": "callresponse"},
     [*GESTURE, "reset", *REST, *GESTURE, "seed 3", *REST, "threshold 2", *GESTURE, *REST]),
])  # fmt: skip
def test_plays_as_in_python(settings: dict[str, object], steps: list[str | None]) -> None:
    played = perform(" ".join(f"-{name} {value}" for name, value in ({"seed": 7} | settings).items()), steps)
    expected = same_in_python(steps, **settings)
    assert sum(map(len, expected)) >= (0 if settings["mode"] == "useronly" else 4)
    for number, (heard, wanted) in enumerate(zip(played, expected, strict=True)):
        assert len(heard) == len(wanted), f"step {number}: {steps[number]}"
        np.testing.assert_allclose(heard, wanted, rtol=1e-5, atol=2e-6)


def test_in_every_pd_as_in_python(pd: str) -> None:
    steps = [*GESTURE, *REST, "mode battle", *REST]
    played = perform("-mode callresponse -seed 7", steps, pd)
    for heard, wanted in zip(played, same_in_python(steps, mode="callresponse"), strict=True):
        np.testing.assert_allclose(heard, wanted, rtol=1e-5, atol=2e-6)
    assert sum(map(len, played)) > 4


def test_the_time_step_fits_a_delay() -> None:
    """A patch that plays by itself: each frame's dt goes into [delay], whose bang asks for the next frame."""
    patch = Patch()
    begin, player, wait = patch.obj("loadbang"), patch.obj(f"mdrnn -seed 4 {WANDER}"), patch.obj("delay")
    patch.chain(begin, player, patch.obj("print frame"))
    patch.connect(player, wait, 1)
    patch.connect(wait, player)
    order, timer = patch.obj("t b b"), patch.obj("timer")
    patch.connect(begin, timer)
    patch.chain(player, order)
    patch.connect(order, timer, 0, 1)
    patch.connect(timer, patch.obj("print at"))
    patch.at(begin, 3000, "; pd quit", begin)
    heard = patch.run()
    frames_ = [[float(x) for x in line.split()[1:]] for line in heard if line.startswith("frame: ")]
    times = [float(line.split()[1]) for line in heard if line.startswith("at: ")]
    predictor = neurig.Predictor(WANDER, 4)
    expected = np.array([predictor.predict() for _ in frames_], np.float64)
    assert len(frames_) > 10
    np.testing.assert_allclose(frames_, expected[:, 1:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(times[1:], np.cumsum(1000 * expected[:-1, 0]), rtol=1e-5)


def test_one_value_is_a_number(predictor_file, pd: str) -> None:
    """Frames of [dt, x1]: a number box can play them, and be played."""
    path = predictor_file("line.mdrnn", dimension=2)
    patch = Patch()
    begin, line, sum_ = patch.obj("loadbang"), patch.obj(f"mdrnn -mode filter {path}"), patch.obj("+ 0")
    patch.at(begin, 10, "0.25", line)
    patch.chain(line, sum_, patch.obj("print one"))
    patch.at(begin, 20, "; pd quit", sum_)
    [told] = [line for line in patch.run(pd=pd) if line.startswith("one: ")]
    assert 0 <= float(told.removeprefix("one: ")) <= 1


def test_two_at_once_are_two() -> None:
    patch = Patch()
    begin = patch.obj("loadbang")
    for seed in (1, 2):
        player = patch.obj(f"mdrnn -seed {seed} -mode battle {WANDER}")
        patch.connect(player, patch.obj(f"print {seed}"))
    patch.at(begin, 3000, "; pd quit", begin)
    heard = patch.run()
    for seed in (1, 2):
        session = Session(neurig.Predictor(WANDER, seed), "battle")
        expected = [event.values for second in (0.9, 1.8, 2.7, 2.999) for event in session.advance(second)]
        found = [[float(x) for x in line.split()[1:]] for line in heard if line.startswith(f"{seed}: ")]
        np.testing.assert_allclose(found, expected[: len(found)], rtol=1e-5, atol=1e-6)
        assert len(found) == len(expected) > 10


def test_filter_answers_before_the_sender_goes_on() -> None:
    told = talk(f"mdrnn -mode filter {WANDER}", ["0.1 0.2 0.3, 0.4 0.5 0.6"], outlets=[0, 1])
    assert [line[:6] for line in told[1]] == ["out 1:", "out 0:"] * 2


@pytest.mark.parametrize(("message", "problem"), [
    ("0.1 0.2", "takes 3 values, not 2"), ("0.1 0.2 0.3 0.4", "takes 3 values, not 4"), ("0.1 0.2 1.5", "x3 is 1.5"),
    ("0.1 -0.2 0.5", "x2 is -0.2"), ("bang", "in mode filter frames come by themselves"), ("list 1 x 0", "numbers"),
    (" ".join(["0.5"] * 100), "at most 63 values"),
])  # fmt: skip
def test_wrong_frames_in_a_session(message: str, problem: str) -> None:
    told = talk(f"mdrnn -mode filter {WANDER}", [message, "0.1 0.2 0.3"], outlets=[0, 1])
    assert len(told[1]) == 1 and told[1][0].startswith("error: mdrnn: ") and problem in told[1][0]
    [answer] = same_in_python([None, "0.1 0.2 0.3"], 0, mode="filter")[1]
    np.testing.assert_allclose(frames(told), [answer], rtol=1e-5, atol=1e-6)


def test_a_network_that_overflows_says_so_once(predictor_file, tmp_path: Path) -> None:
    file = json.loads(predictor_file().read_text())
    file["config"]["scale"] = 0.001
    file["weights"] = [weight * 1e37 for weight in file["weights"]]
    (tmp_path / "wild.mdrnn").write_text(json.dumps(file))
    told = talk(f"mdrnn -mode battle {tmp_path}/wild.mdrnn", ["run 1"] * 5, outlets=[0, 1])
    assert [line for step in told for line in step] == [
        "error: mdrnn: the network gave a number that is not finite, and is silent"
    ]


def test_another_model_while_it_plays(tmp_path: Path) -> None:
    """Loaded in the background; the seed and the mode stay."""
    told = talk(f"mdrnn -seed 3 -mode battle {WANDER}", [f"load {WANDER}", "async 1", "print"], outlets=[0, 1, 2],
                batch=False, every=300)  # fmt: skip
    lines = [line for step in told for line in step]
    loaded = next(number for number, line in enumerate(lines) if number and line.startswith("out 2: loaded"))
    after = frames([lines[loaded:]])
    expected = [event.values for event in Session(neurig.Predictor(WANDER, 3), "battle").advance(0.9)]
    assert len(after) > 3
    np.testing.assert_allclose([frame[1:] for frame in after], expected[: len(after)], rtol=1e-5, atol=1e-6)
    assert "  mode battle, running" in lines


# ---- Recording

def rows(log: Path) -> list[tuple[datetime, str, list[float]]]:
    cells = [line.split(",") for line in log.read_text().splitlines()]
    return [(datetime.fromisoformat(time), source, list(map(float, values))) for time, source, *values in cells]


def test_records_a_log(tmp_path: Path) -> None:
    """Into a folder: a file with the name that logs have; the time steps are those of Pd's own clock."""
    gesture = [step for step in GESTURE if step]
    steps = ["async 0", f"record {tmp_path}", "mode filter", *gesture, "record 0", "0.5 0.5 0.5"]
    told = talk(f"mdrnn {WANDER}", steps, outlets=[0, 2], every=EVERY)
    [log] = tmp_path.iterdir()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-4d-mdrnn\.log", log.name)
    assert abs((datetime.strptime(log.name[:19], "%Y-%m-%dT%H-%M-%S") - datetime.now()).total_seconds()) < 60
    assert told[2] == [f"out 2: recording {log}"] and told[-2] == [f"out 2: recorded {log}"]
    found, answers = rows(log), [line for step in told[:-1] for line in step if line.startswith("out 0: ")]
    assert [source for _, source, _ in found] == ["interface", "rnn"] * 4
    assert [values for _, source, values in found if source == "interface"] == [
        [float(value) for value in step.split()] for step in gesture
    ]
    np.testing.assert_allclose([values for _, source, values in found if source == "rnn"],
                               [[float(x) for x in line[7:].split()] for line in answers], rtol=1e-5)  # fmt: skip
    times = [time for time, source, _ in found if source == "interface"]
    steps_ = [(after - before).total_seconds() for before, after in zip(times, times[1:])]
    assert steps_ == pytest.approx([EVERY / 1000] * 3, abs=1.5e-6)
    with log.open() as lines:
        collated = read_log(lines, dimension=4)
    assert len(collated.rows) == 3 and not collated.malformed, "and a dataset can be made of it"


def test_recordings_of_the_same_second_have_files_of_their_own(tmp_path: Path) -> None:
    talk("mdrnn", ["async 0", *[f"record {tmp_path}", "0.1 0.2", "record 0"] * 3], outlets=[0, 2])
    assert [len(rows(log)) for log in tmp_path.iterdir()] == [1, 1, 1]


def test_records_without_a_model_and_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for number in (1, 2):
        told = talk("mdrnn", ["async 0", "record take.log", "0.1 0.2", "0.3 0.4", "0.5 0.6 0.7", "record 0"],
                    outlets=[2], folder=tmp_path)  # fmt: skip
        assert told[3] == [f"out 2: recording {tmp_path / 'take.log'}"] and "takes 2 values, not 3" in told[5][0]
        assert [values for *_, values in rows(tmp_path / "take.log")] == [[0.1, 0.2], [0.3, 0.4]] * number


def test_a_recording_ends_where_frames_change(tmp_path: Path, predictor_file) -> None:
    steps = ["async 0", f"record {tmp_path}/a.log", "0.1 0.2 0.3", f"load {predictor_file()}", "0.4 0.5"]
    told = talk(f"mdrnn -mode useronly {WANDER}", steps, outlets=[2])
    assert "another length" in told[4][0] and f"out 2: recorded {tmp_path}/a.log" in sum(told, [])
    assert [values for *_, values in rows(tmp_path / "a.log")] == [pytest.approx([0.1, 0.2, 0.3])]


def test_a_full_disk_is_told_once(tmp_path: Path) -> None:
    told = talk(f"mdrnn -mode useronly {WANDER}", ["record /dev/full", *["0.1 0.2 0.3"] * 4], outlets=[2], batch=False)
    lines = complaints(line for step in told for line in step)
    assert len(lines) == 1 and lines[0].startswith("error: mdrnn: record: /dev/full: No space left")


def test_kill_loses_no_more_than_the_event_in_flight(tmp_path: Path) -> None:
    patch = Patch(tmp_path)
    begin, metro = patch.obj("loadbang"), patch.obj("metro 10")  # one at a time is in flight
    count, next_, order = patch.obj("f"), patch.obj("+ 1"), patch.obj("t f f")
    frame, mdrnn, print_ = patch.msg("0.1 0.2 0.3"), patch.obj("mdrnn -mode useronly"), patch.obj("print event")
    patch.chain(begin, patch.msg("record take.log"), mdrnn)
    patch.chain(begin, metro, count, order, print_)
    patch.chain(count, next_)
    patch.connect(next_, count, 0, 1)
    patch.connect(order, frame, 1)
    patch.connect(frame, mdrnn)
    (tmp_path / "test.pd").write_text(patch.text() + "\n")
    command = ["pd", "-nogui", "-noprefs", "-noaudio", "-nomidi", "-stderr", "-path", str(ROOT / "pd"), "-open",
               str(tmp_path / "test.pd")]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as pd:
        heard = 0
        for line in pd.stderr:
            heard += line.startswith("event: ")
            if heard == 200:
                pd.kill()
                break
    assert len(rows(tmp_path / "take.log")) >= heard - 1
