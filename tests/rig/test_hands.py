"""Devices at which the predictors of a rig are played, and on which they play."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from neurig.rig import config
from neurig.rig.config import ConfigError
from websockets.sync.client import ClientConnection, connect

from interaction.cable import Cable
from rig.client import Server

Serve = Callable[..., Server]
Wait = Callable[..., Any]

RIG = """
chain = ["noise", "out"]
[[node]]
name = "noise"
type = "gain"
[[node]]
name = "out"
type = "output"
[[node]]
name = "hand"
type = "predictor"
model = "four.mdrnn"
threshold = 0.1
  [node.websocket]
  server_port = WEB
  [node.serialmidi]
  port = "LINE"
  input = [["note_on", 1]]
  output = [["note_on", 1], ["note_on", 2]]
[[map]]
predictor = "hand"
index = 1
address = "/rig/noise/gain"
"""


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    cable = Cable(tmp_path)
    yield cable
    cable.unplug()


@pytest.fixture
def rig_file(tmp_path: Path, predictor_file: Callable[..., Path], cable: Cable, free_port: Callable[[], int]) -> Path:
    (tmp_path / "four.mdrnn").write_bytes(predictor_file("four.mdrnn", dimension=4).read_bytes())
    path = tmp_path / "rig.toml"
    path.write_text(RIG.replace("WEB", str(free_port())).replace("LINE", str(cable.path)))
    return path


def page(path: Path) -> ClientConnection:
    number = re.search(r"server_port = (\d+)", path.read_text())
    assert number
    return connect(f"ws://127.0.0.1:{number[1]}/json", close_timeout=0.2)


class Line:
    """What is heard over a serial line."""

    def __init__(self, cable: Cable) -> None:
        self._cable = cable
        self._data = bytearray()

    def sounding(self) -> set[tuple[int, int]]:
        self._data += self._cable.received()
        notes: set[tuple[int, int]] = set()
        for status, note, _ in zip(*[iter(self._data)] * 3, strict=False):
            (notes.add if status & 0x10 else notes.discard)((status & 0xF, note))
        return notes


def test_devices_play_and_are_played(serve: Serve, rig_file: Path, cable: Cable, wait_until: Wait) -> None:
    server, line = serve(rig_file), Line(cable)
    rig = server.client
    with page(rig_file) as hand:
        before = rig.get("/rig/noise/gain")
        hand.send('{"values": [0.1, 0.2, 0.3]}')
        answers = [json.loads(hand.recv(5)) for _ in range(3)]
        assert all(len(answer["values"]) == 3 for answer in answers)
        wait_until(lambda: len(line.sounding()) == 2, "notes of the network's")
        assert rig.get("/rig/noise/gain") != before
        rig.do("/rig/hand/threshold", 10.0)
        wait_until(lambda: cable.send(bytes([0x90, 60, 100])) or not line.sounding(), "the player, who takes over",
                   every=0.1)
        rig.do("/rig/hand/mode", "battle")
        wait_until(line.sounding, "notes")
        rig.do("/rig/hand/run", 0)
        wait_until(lambda: not line.sounding(), "the end of the notes")
        rig.do("/rig/hand/run", 1)
        wait_until(line.sounding, "notes")
        rig.do("/rig/free", "hand")
        wait_until(lambda: not line.sounding(), "the end of the notes")
        hand.send('{"values": [0.1, 0.2, 0.3]}')  # to nobody
        rig.do("/rig/new", "hand", "predictor", "model", str(rig_file.parent / "four.mdrnn"), "mode", "battle")
        wait_until(line.sounding, "notes of another predictor of that name")
    server.stop()
    assert not line.sounding()


def test_bad_frames_are_said_and_dropped(serve: Serve, rig_file: Path) -> None:
    server = serve(rig_file)
    with page(rig_file) as hand:
        hand.send('{"values": [7, 0.2, 0.3]}')
        hand.send('{"values": [0.1, 0.2, 0.3]}')
        assert len(json.loads(hand.recv(5))["values"]) == 3
    time.sleep(0.1)
    assert "hand: websocket: x1 is 7, but values go from 0 to 1" in server.stop()


@pytest.mark.parametrize(("old", "new", "reason"), [
    ('["note_on", 2]', '["note_on", 20]', r"hand: \[node.serialmidi\] output: entry 2"),
    ('model = "four.mdrnn"\n', "", "hand has devices, but no model"),
    ('model = "four.mdrnn"', 'model = "crunch.nam"', "is not a predictor"),
    ("[node.websocket]", "[node.websockets]", "websockets"),
    ('type = "predictor"', 'type = "amp"', "websocket"),
])
def test_wrong_devices_are_refused_with_the_reason(rig_file: Path, old: str, new: str, reason: str) -> None:
    text = rig_file.read_text()
    assert old in text
    rig_file.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as problem:
        config.read(rig_file)
    assert re.search(reason, str(problem.value))
