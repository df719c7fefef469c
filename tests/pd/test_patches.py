"""The patches that we ship: they open without a complaint, and they play."""

import re
from pathlib import Path

import neurig
import numpy as np
import pytest
import soundfile
from neurig.files import share
from numpy.typing import NDArray
from pd.render import Boxes, Patch, complaints, run

PATCHES = sorted([*share("pd").glob("*.pd"), *share("examples", "pd").glob("*.pd")])


def test_there_is_a_help_patch_for_every_object() -> None:
    names = {path.name for path in PATCHES}
    objects = [path.stem for path in share("pd").glob("*.pd_linux")]
    assert {"neuralamp~", "mdrnn"} <= set(objects)
    assert {f"{name}-help.pd" for name in objects} <= names


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.name)
def test_opens_without_a_complaint(path: Path) -> None:
    console = run(path, "-send", "; pd dsp 1", "-send", "; pd quit")
    assert not complaints(console), "\n".join(console)


@pytest.mark.parametrize("path", PATCHES, ids=lambda path: path.name)
def test_comments_are_seen_as_they_are_written(path: Path) -> None:
    """Pd takes for a number what looks like one, and shows "1." as 1."""
    for comment in re.findall(r"#X text \d+ \d+ (.*?)(?:, f \d+)?;\n", path.read_text(), re.S):
        assert not re.search(r"(?<!\S)-?\d+\.(?!\S)", comment), comment


@pytest.mark.parametrize(("name", "buttons"), [("neuralamp~-help.pd", ["bng ", "tgl "]), ("mdrnn-help.pd", ["tgl "])])
def test_the_boxes_of_help_patches_work(name: str, buttons: list[str], tmp_path: Path) -> None:
    boxes = Boxes(share("pd", name))
    boxes.click(20, "msg", "")
    for button in buttons:
        boxes.click(20, "obj", button)
    console = run(boxes.write(tmp_path / name, quit_after=1000))
    assert not complaints(console), "\n".join(console)


def test_complaints_are_noticed(tmp_path: Path) -> None:
    """So that the test above means something."""
    (tmp_path / "bad.pd").write_text("#N canvas 0 0 450 300 12;\n#X obj 10 10 nosuchobject;\n")
    assert complaints(run(tmp_path / "bad.pd", "-send", "; pd quit"))
    assert complaints(run(tmp_path / "missing.pd", "-send", "; pd quit"))


def played(patch: Path, folder: Path, *messages: str, rate: int = 44100) -> NDArray[np.float32]:
    """Two seconds of what a patch sends to [dac~]. The messages go to receivers that its boxes have."""
    boxes = Boxes(patch)
    boxes.replace("obj", "dac~", "neurig-ear")
    ear = Patch()
    left, _, write, _, begin = (
        ear.obj(text)
        for text in ("inlet~", "inlet~", "tabwrite~ neurig-heard", f"table neurig-heard {2 * rate}", "loadbang")
    )
    file = ear.obj("soundfiler")
    ear.chain(left, write)
    ear.connect(begin, write)
    ear.at(begin, 2500, f"write -wave -bytes 4 {folder}/heard.wav neurig-heard", file)
    ear.at(begin, 2600, "; pd quit", file)
    (folder / "neurig-ear.pd").write_text(ear.text() + "\n")
    sends = [part for message in messages for part in ("-send", f"; {message}")]
    console = run(boxes.write(folder / patch.name), "-r", str(rate), *sends)
    assert not complaints(console), "\n".join(console)
    return soundfile.read(folder / "heard.wav", dtype="float32")[0]


def level(y: NDArray[np.float32]) -> float:
    """RMS"""
    return float(np.sqrt(np.mean(np.square(y))))


def test_the_demo_plays_and_the_predictor_moves_it(tmp_path: Path) -> None:
    demo = share("examples", "pd/demo.pd")
    by_hand = played(demo, tmp_path, "demo-sound 1", "demo-play 1")
    by_itself = played(demo, tmp_path, "demo-sound 1", "demo-play 1", "demo-hand 1")
    assert 0.02 < level(by_hand) < 0.5 and np.abs(by_hand).max() < 1
    assert 0.02 < level(by_itself) < 0.5 and np.abs(by_itself).max() < 1
    assert not np.allclose(by_hand, by_itself, atol=0.01)
    assert np.abs(played(demo, tmp_path, "demo-sound 1")).max() < 0.001


TUTORIAL = {
    "1, a string": ["note bang"],
    "1, a guitar": ["play1 1"],
    "2, an amp": ["play2 1"],
    "3, another": ["play3 1"],
    "4, a rig": ["play4 1"],
    "5, a predictor": ["play5 1", "hand1 0.7", "hand2 0.4", "hand1 0.6"],
    "6, its hand on the amp": ["play6 1", "run6 1"],
    "7, all of it": ["play7 1", "perform2 0.4", "perform1 0.7"],
}


@pytest.mark.parametrize("step", TUTORIAL)
def test_each_step_of_the_tutorial_is_heard(step: str, tmp_path: Path) -> None:
    patch = share("examples", "pd/tutorial.pd")
    y = played(patch, tmp_path, "tutorial-sound 1", *(f"tutorial-{message}" for message in TUTORIAL[step]))
    assert 0.005 < level(y) < 0.5 and np.abs(y).max() < 1, (level(y), np.abs(y).max())


def test_the_tutorial_is_silent_by_itself_and_after_everything_off(tmp_path: Path) -> None:
    patch = share("examples", "pd/tutorial.pd")
    assert np.abs(played(patch, tmp_path, "tutorial-sound 1")).max() < 0.001
    every = [f"tutorial-{message}" for messages in TUTORIAL.values() for message in messages if message != "note bang"]
    assert np.abs(played(patch, tmp_path, "tutorial-sound 1", *every, "tutorial-quiet bang")[-4410:]).max() < 0.001


def test_the_tutorials_predictor_goes_on_where_the_hands_rest(tmp_path: Path) -> None:
    """A note is heard for each frame: after the player's, at the very start, there are those of the network."""
    patch = share("examples", "pd/tutorial.pd")
    y = played(patch, tmp_path, "tutorial-sound 1", "tutorial-play5 1", "tutorial-hand1 0.7")
    assert level(y[int(0.35 * 44100) : int(0.45 * 44100)]) < 1e-3 < level(y[int(0.6 * 44100) :]) / 10


def test_the_tutorials_amp_is_the_amp(tmp_path: Path) -> None:
    """Sample by sample what Python plays, through the step's level and the volume."""
    patch = share("examples", "pd/tutorial.pd")
    y = played(patch, tmp_path, "tutorial-sound 1", "tutorial-drive -6", "tutorial-play2 1", rate=48000)
    phrase = soundfile.read(share("models", "phrase.wav"), dtype="float32")[0][: len(y)]
    expected = neurig.load(share("models", "crunch.nam")).instance(48000).process(phrase * np.float32(10 ** (-6 / 20)))
    start = 2 * 48000 // 10  # when the volume has come up
    begins = [shift for shift in range(0, 256, 64)
              if np.corrcoef(y[start + shift :], expected[start : len(y) - shift])[0, 1] > 0.99999]
    assert len(begins) == 1, begins
    heard, played_by_python = y[start + begins[0] :], expected[start : len(y) - begins[0]]
    volume = heard @ played_by_python / (played_by_python @ played_by_python)
    assert 0.3 < volume / 0.7 < 1
    np.testing.assert_allclose(heard, volume * played_by_python, rtol=0, atol=1e-5)


def test_the_picture_of_the_demo_is_small_enough_for_the_readme() -> None:
    assert share("examples", "pd/demo.png").stat().st_size < 150_000
