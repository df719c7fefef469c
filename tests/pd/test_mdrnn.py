"""[mdrnn] in real Pd: the same performance as in Python, and what it answers to whatever is sent to it."""

import random
import re
from pathlib import Path

import neurig
import numpy as np
import pytest
from neurig.files import share
from numpy.typing import ArrayLike, NDArray
from pd.render import complaints, run, talk

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


def test_plays_by_itself_with_a_delay(tmp_path: Path) -> None:
    """The loop of the help patch: dt starts the delay, the delay's end plays the frame and asks for the next."""
    (tmp_path / "loop.pd").write_text(
        f"#N canvas 0 0 450 300 12;\n#X obj 10 10 loadbang;\n#X obj 10 40 mdrnn {WANDER};\n#X obj 90 70 delay;\n"
        "#X obj 90 100 t b b;\n#X obj 10 130 list append;\n#X obj 10 160 print frame;\n#X obj 200 10 delay 5000;\n"
        "#X msg 200 40 \\; pd quit;\n#X connect 0 0 1 0;\n#X connect 0 0 6 0;\n#X connect 1 0 4 1;\n#X connect 1 1 2 0;\n"
        "#X connect 2 0 3 0;\n#X connect 3 0 1 0;\n#X connect 3 1 4 0;\n#X connect 4 0 5 0;\n#X connect 6 0 7 0;\n"
    )
    predictor, played, time = neurig.Predictor(WANDER), [], 0.0
    while time < 5:
        frame = predictor.predict()
        time += float(frame[0])
        played.append(frame[1:])
    heard = [[float(number) for number in line.split()[1:]] for line in run(tmp_path / "loop.pd")]
    np.testing.assert_allclose(heard, played[:-1], rtol=1e-5, atol=1e-6)


def test_information(tmp_path: Path) -> None:
    expected = [f"out 2: loaded {WANDER}", "out 2: arch MDRNN", "out 2: dimension 4", "out 2: units 64", "out 2: layers 2",
                "out 2: mixtures 5"]
    told = talk("mdrnn", ["info", "print", "async 0", f"load {WANDER}", "info", "print"], outlets=[2])
    assert told[1] == ["out 2: unloaded"] and told[2][0] == "mdrnn: nothing is loaded"
    assert told[4] == told[5] == expected
    assert told[6][0] == f"mdrnn: {WANDER}"


def test_loads_in_the_background_and_plays_on() -> None:
    told = talk(f"mdrnn {WANDER}", [f"load nope, load {WANDER}, load {WANDER}", "bang"], outlets=[0, 1, 2], batch=False,
                every=300)
    assert len([line for line in told[1] if "loaded" in line]) == 1
    assert_frames(told, [neurig.Predictor(WANDER).predict()])


@pytest.mark.parametrize("message", [
    "0.1 0.2", "0.1", "1 2 3 4 5", "0.1 0.2 high", "list 0.1 b 0.2", "play 1 2", "symbol x", "seed", "seed -1", "seed 0.5",
    "seed x", "pitemp 0", "pitemp -1", "pitemp", "sigmatemp -0.1", "sigmatemp x", "timescale -1", "timescale", "async",
    "load", "load missing", "load two words",
])  # fmt: skip
def test_wrong_messages_get_one_clear_error_and_change_nothing(message: str) -> None:
    told = talk(f"mdrnn {WANDER}", ["async 0", "0.1 0.2 0.3", "bang", message, "bang"], outlets=[0, 1])
    assert len(told[4]) == 1 and re.match(r"error: (mdrnn: |bad arguments for message)", told[4][0]), told[4]
    predictor = neurig.Predictor(WANDER)
    predictor.condition([0, 0.1, 0.2, 0.3])
    assert_frames(told, [predictor.predict(), predictor.predict()])


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    """[expr] makes infinity of 1e30 * 1e30."""
    (tmp_path / "infinite.pd").write_text(
        f"#N canvas 0 0 450 300 12;\n#X obj 10 10 loadbang;\n#X msg 10 40 1e30;\n#X obj 10 70 expr $f1 * $f1;\n"
        f"#X obj 10 100 pack f f f;\n#X obj 10 130 mdrnn {WANDER};\n#X msg 90 40 \\; pd quit;\n#X connect 0 0 1 0;\n"
        "#X connect 1 0 2 0;\n#X connect 2 0 3 0;\n#X connect 3 0 4 0;\n#X connect 0 0 5 0;\n".replace("$", "\\$")
    )
    assert run(tmp_path / "infinite.pd") == ["error: mdrnn: a frame is made of numbers; this list has inf"]


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
    draw, script = random.Random(2), []
    for number in range(100):
        if number % 5 == 0:
            script += ["pd-stage clear", "pd-stage obj 10 10 r neurig-players"]
        if number % 5 < 2:
            script.append(f"pd-stage obj 10 100 mdrnn {draw.choice(['', WANDER])}")
            script.append(f"pd-stage connect 0 0 {1 + number % 5} 0")
        else:
            script.append("neurig-players " + draw.choice([f"load {WANDER}", f"load {WANDER}", "load nope", "reset", "info"]))
    (tmp_path / "script.txt").write_text("".join(f"{draw.randint(0, 4)} {step};\n" for step in script) + "20 pd quit;\n")
    (tmp_path / "stress.pd").write_text(
        "#N canvas 0 0 450 300 12;\n#N canvas 0 0 450 300 stage 0;\n#X restore 10 10 pd stage;\n#X obj 10 40 loadbang;\n"
        "#X msg 10 70 read script.txt \\, bang;\n#X obj 10 100 qlist;\n#X connect 1 0 2 0;\n#X connect 2 0 3 0;\n"
    )
    wrong = [line for line in complaints(run(tmp_path / "stress.pd", batch=False)) if ": nope: " not in line]
    assert not wrong, "\n".join(wrong)
