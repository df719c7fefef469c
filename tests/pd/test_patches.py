"""The patches that we ship: they open without a complaint, and they play."""

from pathlib import Path

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


def played(patch: Path, folder: Path, *switches: str) -> NDArray[np.float32]:
    """Two seconds of what a patch sends to [dac~], with these of its toggles on."""
    boxes = Boxes(patch)
    boxes.replace("obj", "dac~", "neurig-ear")
    ear = Patch()
    left, _, write, _, begin = (
        ear.obj(text) for text in ("inlet~", "inlet~", "tabwrite~ neurig-heard", "table neurig-heard 88200", "loadbang")
    )
    file = ear.obj("soundfiler")
    ear.chain(left, write)
    ear.connect(begin, write)
    ear.at(begin, 2500, f"write -wave -bytes 4 {folder}/heard.wav neurig-heard", file)
    ear.at(begin, 2600, "; pd quit", file)
    (folder / "neurig-ear.pd").write_text(ear.text() + "\n")
    sends = [part for switch in switches for part in ("-send", f"; {switch} 1")]
    console = run(boxes.write(folder / patch.name), "-r", "44100", *sends)
    assert not complaints(console), "\n".join(console)
    return soundfile.read(folder / "heard.wav", dtype="float32")[0]


def test_the_demo_plays_and_the_predictor_moves_it(tmp_path: Path) -> None:
    demo = share("examples", "pd/demo.pd")
    by_hand = played(demo, tmp_path, "demo-sound", "demo-play")
    by_itself = played(demo, tmp_path, "demo-sound", "demo-play", "demo-hand")
    assert 0.02 < np.sqrt(np.mean(by_hand**2)) < 0.5 and np.abs(by_hand).max() < 1
    assert not np.allclose(by_hand, by_itself, atol=0.01)
    assert np.abs(played(demo, tmp_path, "demo-sound")).max() < 0.01


def test_the_picture_of_the_demo_is_small_enough_for_the_readme() -> None:
    assert share("examples", "pd/demo.png").stat().st_size < 200_000
