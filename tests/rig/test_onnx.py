"""Amps that onnxruntime plays, in a running rig: on a thread of their own, later by a latency that is told."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import neurig
import neurig
from neurig import convert
from neurig.files import share
from rig.client import Server

Wait = Callable[..., object]


@pytest.fixture
def crunch(tmp_path: Path) -> Path:
    convert.convert(share("models", "crunch.nam"), tmp_path / "crunch.onnx")
    return tmp_path / "crunch.onnx"


def test_it_sounds_as_the_core_later(
    serve: Callable[..., Server], crunch: Path, tmp_path: Path, wait_until: Wait
) -> None:
    rig = serve().client
    rig.do("/rig/new", "p", "player", "file", str(share("models", "phrase.wav")), "play", 0)
    rig.do("/rig/new", "core", "amp", "model", str(share("models", "crunch.nam")))
    rig.do("/rig/new", "onnx", "amp", "model", str(crunch))
    assert rig.list("latency") == [("latency", "onnx", 256)]
    for name in ("core", "onnx"):
        rig.do("/rig/new", f"{name}-take", "recorder", "file", f"{name}.wav", "length", 1.0)
        rig.do("/rig/chain", "p", name, f"{name}-take")
    for name in ("core", "onnx"):
        rig.do(f"/rig/{name}-take/record", 1)
    rig.do("/rig/p/play", 1)
    for name in ("core", "onnx"):
        wait_until(lambda name=name: rig.get(f"/rig/{name}-take/record") == 0, "the recording to end")
    core, onnx = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("core", "onnx"))
    assert np.abs(core).max() > 0.1
    # What was not ready on a busy machine is silence. The recordings begin a few blocks apart: where the rest of the one
    # is found in the other tells how many.
    onnx = onnx[24000:40384]
    ready = onnx != 0
    differences = [np.abs(core[24000 - shift :][: len(onnx)] - onnx)[ready].max() for shift in range(-4096, 4097, 64)]
    assert ready.mean() > 0.1 and min(differences) < 1e-4 < np.median(differences)


def test_it_is_replaced_and_freed_while_it_plays(serve: Callable[..., Server], crunch: Path) -> None:
    rig = serve().client
    rig.do("/rig/new", "p", "player", "file", str(share("models", "phrase.wav")))
    rig.do("/rig/new", "amp", "amp", "model", str(crunch))
    rig.do("/rig/new", "out", "output")
    rig.do("/rig/chain", "p", "amp", "out")
    for _ in range(5):
        rig.do("/rig/amp/model", str(share("models", "crunch.nam")))
        assert rig.list("latency") == []
        rig.do("/rig/amp/model", str(crunch))
        assert rig.list("latency") == [("latency", "amp", 256)]
    rig.do("/rig/free", "amp")
    for turn in range(3):
        rig.do("/rig/new", f"amp{turn}", "amp", "model", str(crunch))
        rig.do("/rig/connect", "p", f"amp{turn}")
        rig.do("/rig/free", f"amp{turn}")
    assert rig.do("/rig/ping")[0] == "/rig/done"


def test_one_that_cannot_be_played_is_refused(serve: Callable[..., Server], tmp_path: Path) -> None:
    rig = serve().client
    convert.convert(share("models", "wander.mdrnn"), (tmp_path / "wander.onnx"))
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x08not a graph")
    code, text = rig.fails("/rig/new", "amp", "amp", "model", str(tmp_path / "wander.onnx"))
    assert code == "bad_file" and "predictor, not an amp" in text
    code, text = rig.fails("/rig/new", "amp", "amp", "model", str(tmp_path / "broken.onnx"))
    assert code == "bad_file" and "onnxruntime cannot load it" in text


@pytest.mark.parametrize("kind", ["onnx", "keras"])
def test_a_predictor_of_another_format_plays_the_same(serve: Callable[..., Server], tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"wander.{kind}"
    convert.convert(share("models", "wander.mdrnn"), path)
    rig = serve().client
    rig.do("/rig/new", "hand", "predictor", "model", str(path), "mode", "battle", "seed", 3, "run", 0)
    rig.do("/rig/subscribe", "/rig/hand/output", 1000)
    rig.do("/rig/hand/run", 1)
    expected = neurig.Predictor(share("models", "wander.mdrnn"), seed=3)
    for _ in range(5):
        frame = rig.receive()
        assert frame is not None and frame[0] == "/rig/hand/output"
        assert np.allclose(frame[1:], expected.predict()[1:], atol=1e-4)
