"""[neuralamp~] and [mdrnn] survive whatever is done to them; random_operations.py as a program is the long form."""

from pathlib import Path

import pytest
from neurig.files import share
from pd.random_operations import drive
from pd.render import Patch, complaints


@pytest.mark.parametrize("seed", [1, 2])
def test_random_operations(seed: int, pd: str) -> None:
    console = drive(200, seed, command=[pd])
    assert any(line.startswith("amps-told: loaded") for line in console)


@pytest.mark.parametrize("ms", [0, 3, 30])
def test_quitting_while_threads_are_at_work(ms: float, pd: str, tmp_path: Path) -> None:
    """Loading, playing on a thread of its own, recording: Pd quits and says nothing."""
    patch = Patch(tmp_path)
    begin, amp = patch.obj("loadbang"), patch.obj(f"neuralamp~ -threaded 3 {share('models', 'crunch.nam')}")
    player = patch.obj(f"mdrnn -mode battle -timescale 0.01 {share('models', 'wander.mdrnn')}")
    patch.connect(patch.obj("osc~ 100"), amp)
    for receiver, text in ((amp, "; pd dsp 1"), (player, "record takes.log")):
        patch.at(begin, 0, text, receiver)
    for receiver, name in ((amp, "open-back.wav"), (player, "wander.mdrnn")):
        patch.at(begin, 30, f"load {share('models', name)}", receiver)
    patch.at(begin, 30 + ms, "; pd quit", amp)
    assert not complaints(patch.run(batch=False, pd=pd))


def test_what_is_wrong_is_noticed() -> None:
    """So that the test above means something: Pd that ends too early, and objects that are not there."""
    with pytest.raises(AssertionError, match="pd ended with"):
        drive(20, 1, command=["env", "-u", "HOME", "false"])
    with pytest.raises(AssertionError, match="couldn't create"):
        drive(20, 1, objects=Path("/nowhere"))
