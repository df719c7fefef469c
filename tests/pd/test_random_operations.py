"""[neuralamp~] and [mdrnn] survive whatever is done to them; random_operations.py as a program is the long form."""

from pathlib import Path

import pytest
from neurig.files import share
from pd.random_operations import drive
from pd.render import Patch, complaints, talk


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


def test_where_the_system_has_no_thread_left(tmp_path: Path) -> None:
    """No thread begins where each is to have a stack of 64 TiB. What can be done without one is done; Pd goes on."""
    pd = tmp_path / "pd"
    pd.write_text(f'#!/bin/sh\nexec prlimit --stack={1 << 46} pd "$@"\n')
    pd.chmod(0o755)
    crunch, wander = share("models", "crunch.nam"), share("models", "wander.mdrnn")
    told = talk("neuralamp~", [f"load {crunch}"], outlets=[1], pd=str(pd))
    assert told[1][0] == f"out 1: loaded {crunch}"
    told = talk(f"neuralamp~ -threaded 2 {crunch}", ["bang"], outlets=[1], pd=str(pd))
    assert "Resource temporarily unavailable" in told[0][0] and told[1] == ["out 1: unloaded"]
    told = talk("mdrnn", [f"load {wander}", f"record {tmp_path}/x.log", "info"], outlets=[2], pd=str(pd), batch=False)
    assert told[1][0] == told[3][0] == f"out 2: loaded {wander}"
    assert told[2][0].endswith("x.log: cannot be recorded: Resource temporarily unavailable")


def test_what_is_wrong_is_noticed() -> None:
    """So that the test above means something: Pd that ends too early, and objects that are not there."""
    with pytest.raises(AssertionError, match="pd ended with"):
        drive(20, 1, command=["env", "-u", "HOME", "false"])
    with pytest.raises(AssertionError, match="couldn't create"):
        drive(20, 1, objects=Path("/nowhere"))
