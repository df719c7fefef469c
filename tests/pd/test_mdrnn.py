"""[mdrnn] in real Pd: the same performance as in Python, and what it answers to whatever is sent to it."""

import random
import re
from pathlib import Path

import neurig
import numpy as np
import pytest
from neurig.files import share
from numpy.typing import ArrayLike, NDArray
from pd.render import Patch, complaints, play_script, talk

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


def test_same_seed_same_frames_as_in_python() -> None:
    predictor = neurig.Predictor(WANDER, seed=7)
    told = talk(f"mdrnn -seed 7 {WANDER}", ["bang"] * 20, outlets=[0, 1])
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
    sizes = ["dimension 4", "units 64", "layers 2", "mixtures 5"]
    expected = [f"out 2: {text}" for text in (f"loaded {WANDER}", "arch MDRNN", *sizes)]
    told = talk("mdrnn", ["info", "print", "async 0", f"load {WANDER}", "info", "print"], outlets=[2])
    assert told[1] == ["out 2: unloaded"] and told[2][0] == "mdrnn: nothing is loaded"
    assert told[4] == told[5] == expected
    assert told[6][0] == f"mdrnn: {WANDER}"


def test_loads_in_the_background_and_plays_on() -> None:
    burst = f"load nope, load {WANDER}, load {WANDER}"
    told = talk(f"mdrnn {WANDER}", [burst, "bang"], outlets=[0, 1, 2], batch=False, every=300)
    assert len([line for line in told[1] if "loaded" in line]) == 1
    assert_frames(told, [neurig.Predictor(WANDER).predict()])


@pytest.mark.parametrize("message", [
    "0.1 0.2", "0.1", "1 2 3 4 5", "0.1 0.2 high", "list 0.1 b 0.2", "play 1 2", "symbol x", "seed", "seed -1",
    "seed 0.5", "seed x", "pitemp 0", "pitemp -1", "pitemp", "sigmatemp -0.1", "sigmatemp x", "timescale -1", "timescale",
    "async", "load", "load missing", "load two words",
])  # fmt: skip
def test_wrong_messages_get_one_clear_error_and_change_nothing(message: str) -> None:
    told = talk(f"mdrnn {WANDER}", ["async 0", "0.1 0.2 0.3", "bang", message, "bang"], outlets=[0, 1])
    assert len(told[4]) == 1 and re.match(r"error: (mdrnn: |bad arguments for message)", told[4][0]), told[4]
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


@pytest.mark.parametrize("text", ["-seed -1", "-seed", "-seed x", "-loud 1"])
def test_wrong_flags_get_a_clear_error(text: str) -> None:
    told = talk(f"mdrnn {text} -seed 7 {WANDER}", ["bang"])
    assert told[0][0].startswith("error: mdrnn: bad flag: ")


def test_made_loaded_and_freed_at_random(tmp_path: Path) -> None:
    draw, steps = random.Random(2), []
    for number in range(100):
        if number % 5 == 0:
            steps += ["pd-stage clear", "pd-stage obj 10 10 r neurig-players"]
        if number % 5 < 2:
            steps.append(f"pd-stage obj 10 100 mdrnn {draw.choice(['', WANDER])}")
            steps.append(f"pd-stage connect 0 0 {1 + number % 5} 0")
        else:
            message = draw.choice([f"load {WANDER}", f"load {WANDER}", "load nope", "reset", "info"])
            steps.append(f"neurig-players {message}")
    console = play_script([f"{draw.randint(0, 4)} {step}" for step in steps], tmp_path)
    assert not [line for line in complaints(console) if ": nope: " not in line]
