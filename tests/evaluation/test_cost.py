"""Models compared: error against cost."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from python.helpers import Command

import neurig
from neurig.bench import signal
from neurig.evaluation import EvaluationError
from neurig.evaluation.cost import compare, plot, table
from neurig.files import share

RATE = 48000
CRUNCH = share("models", "crunch.nam")
SIZES = Path(__file__).parents[1] / "core" / "nam_vectors" / "container.nam"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """A device that is the bundled amp, and half a second that went into it."""
    x = signal(None, 1.5)
    for name, samples in (("in.wav", x), ("out.wav", neurig.load(CRUNCH).instance(RATE).process(x))):
        soundfile.write(tmp_path / name, samples, RATE, "FLOAT")
    return tmp_path / "in.wav", tmp_path / "out.wav"


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """An amp that costs next to nothing."""
    path = tmp_path / "half.nam"
    path.write_text(json.dumps({"version": "0.5.4", "architecture": "Linear", "weights": [0.5], "sample_rate": RATE,
                                "config": {"receptive_field": 1, "bias": False}}))
    return path


def test_the_cheapest_is_first_and_the_best_at_their_cost_are_known(pair: tuple[Path, Path], half: Path) -> None:
    cheap, exact = compare([CRUNCH, half], *pair, rounds=3)
    assert (cheap.name, exact.name) == ("half.nam", "crunch.nam")
    assert cheap.ns_per_sample < 0.5 * exact.ns_per_sample and cheap.real_time_factor > 2 * exact.real_time_factor
    assert exact.ns_low <= exact.ns_per_sample <= exact.ns_high
    assert exact.metrics["esr"] < 1e-10 < 0.01 < cheap.metrics["esr"]
    assert exact.macs == neurig.load(CRUNCH).info["macs"]
    assert cheap.is_best and exact.is_best


def test_one_that_costs_more_and_is_no_nearer_is_not_best(pair: tuple[Path, Path], half: Path) -> None:
    device = half.with_name("out.wav")
    soundfile.write(device, 0.5 * soundfile.read(pair[0])[0], RATE, "FLOAT")
    first, second = compare([CRUNCH, half], pair[0], device, rounds=3)
    assert first.is_best and not second.is_best
    first_line, second_line = table([first, second]).splitlines()[2:]
    assert "half.nam" in first_line and "best at its cost" in first_line and "best" not in second_line


def test_each_size_of_a_model_counts(pair: tuple[Path, Path]) -> None:
    found = compare([SIZES], *pair, rounds=1)
    assert sorted(one.name for one in found) == [f"container.nam, slim {size}" for size in ("0", "0.25", "1")]
    assert len({one.metrics["esr"] for one in found}) == 3


def test_profiles_go_by_the_names_of_their_folders(pair: tuple[Path, Path], half: Path, tmp_path: Path) -> None:
    for name, file in (("lead", CRUNCH), ("clean", half)):
        (tmp_path / name).mkdir()
        shutil.copy(file, tmp_path / name / "model.nam")
    models = [tmp_path / "lead", tmp_path / "clean", tmp_path / "clean" / "model.nam", tmp_path / "lead" / "model.nam"]
    found = {one.model: one.name for one in compare(models, *pair, rounds=1)}
    assert list(found.values()) == [found[str(model)] for model in map(Path, found)]
    assert set(found.values()) == {f"{tmp_path.name}/{name}" for name in ("lead", "clean")} | {
        "clean/model.nam", "lead/model.nam"}
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="no model.nam or model.json"):
        compare([tmp_path / "empty"], *pair)


@pytest.mark.parametrize("suffix, beginning", [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_picture(pair: tuple[Path, Path], half: Path, tmp_path: Path, suffix: str, beginning: bytes) -> None:
    found = compare([CRUNCH, half], *pair, rounds=1)
    plot(found, tmp_path / f"cost{suffix}")
    content = (tmp_path / f"cost{suffix}").read_bytes()
    assert content.startswith(beginning) and len(content) > 5000
    if suffix == ".svg":  # letters are drawn, and told in comments
        assert b"half.nam" in content and b"crunch.nam" in content
    with pytest.raises(EvaluationError, match="ends in .svg, .png, .pdf"):
        plot(found, tmp_path / "cost.gif")


def test_command(pair: tuple[Path, Path], half: Path, tmp_path: Path, command: Command) -> None:
    done = command("compare", half, CRUNCH, *pair, "--rounds", "1", "--plot", "cost.svg")
    assert "half.nam" in done.stdout and "cost.svg: written" in done.stdout
    assert (tmp_path / "cost.svg").exists()
    rows = json.loads(command("compare", half, CRUNCH, *pair, "--rounds", "1", "--json").stdout)
    assert [row["title"] for row in rows] == ["half.nam", "crunch.nam"]
    assert rows[1]["metrics"]["esr"] < 1e-10 and rows[1]["is_best"] and np.isfinite(rows[0]["ns_per_sample"])
    refused = command("compare", share("models", "wander.mdrnn"), *pair, code=1).stderr
    assert "wander.mdrnn: this is a predictor" in refused
    assert "there.nam" in command("compare", "there.nam", *pair, code=1).stderr
    assert "ends in .svg" in command("compare", half, *pair, "--plot", "cost.jpg", code=1).stderr
