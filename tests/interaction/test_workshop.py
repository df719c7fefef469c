"""IMPSY's workshop patch in real Pd, as it is, with a player's hands on its sliders."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pd.render import Patch, complaints, run

from interaction.instrument import Instrument

HANDS = [(64, 0, 127), (0, 127, 64), (127, 64, 0)]  # of three sliders


def hands(folder: Path, release: int) -> Path:
    """A patch that moves the sliders, lets go of them, and prints what the network plays for this many ms."""
    patch = Patch()
    start = patch.obj("loadbang")
    for number, sliders in enumerate(HANDS):
        for slider, value in enumerate(sliders, start=1):
            patch.at(start, 500 + 60 * number + 15 * slider, f"{value}", patch.obj(f"s impsyin{slider}"))
    for slider in (1, 2, 3):
        patch.chain(patch.obj(f"r impsyout{slider}"), patch.obj(f"print synth{slider}"))
    patch.at(start, 800 + release, "; pd quit", patch.obj("bang"))
    (folder / "hands.pd").write_text(patch.text() + "\n")
    return folder / "hands.pd"


def are_free(*ports: int) -> bool:
    try:
        for port in ports:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("0.0.0.0", port))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("file", ["musicMDRNN-dim4-layers2-units64-mixtures5-scale10.tflite",
                                  "musicMDRNN-dim4-layers2-units64-mixtures5-scale10.keras"])
def test_the_patch_plays(data: Path, tmp_path: Path, free_port: Callable[[], int], file: str) -> None:
    config = (data / "impsy/configs/pd-workshop-example.toml").read_text()
    config = config.replace("host.docker.internal", "127.0.0.1").replace(
        "musicMDRNN-dim4-layers2-units64-mixtures5-scale10.tflite", file)
    patch = data / "impsy/workshop_example.pd"
    if not are_free(6000, 6001):  # somebody plays here: then on other ports
        moved = patch.read_text()
        for port in (6000, 6001):
            other = str(free_port())
            moved, config = moved.replace(str(port), other), config.replace(str(port), other)
        patch = tmp_path / "workshop.pd"
        patch.write_text(moved)
    config += "\n[webui]\nmonitor_port = MONITOR\ncommand_port = COMMANDS\n"
    player = Instrument(tmp_path, config, "--logdir", tmp_path / "logs", "--threshold", "0.2", free_port=free_port,
                        cwd=data / "impsy")
    try:
        console = run(patch, "-open", str(hands(tmp_path, release=4000)), batch=False)
        rows = player.rows()
    finally:
        said = player.stop()
    assert not complaints(console), "\n".join(console)
    played = {slider: [float(value) for value in re.findall(rf"synth{slider}: (\S+)", "\n".join(console))]
              for slider in (1, 2, 3)}
    assert len(rows) == 9 and {row[1] for row in rows} == {"interface"}, rows  # each move sends all three
    assert rows[-1][2] == [pytest.approx(value / 127, abs=1e-6) for value in HANDS[-1]]
    assert len(played[1]) >= 3 and len(played[1]) == len(played[2]) == len(played[3]), console
    assert all(0 <= value <= 127 for values in played.values() for value in values)
    assert "Traceback" not in said and "warning: osc" not in said, said
