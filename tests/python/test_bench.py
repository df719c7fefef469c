"""``neurig bench``: what it reports, peers in shared libraries, what it says to wrong ones. Speed itself is no test."""

import ctypes
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from python.helpers import Command

import neurig
from neurig.bench import OURS, BenchError, Peer, Row, measure, models_at, plot, signal, table
from neurig.files import share

ROW = {"model", "engine", "block", "channels", "ns_per_sample", "ns_low", "ns_high", "wall_ns_per_sample",
       "real_time_factor", "fma_share", "worst_block", "esr", "slim", "refused"}

# An engine that multiplies by GAIN, refuses models whose name begins with "odd", and counts what it is asked for.
PEER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int opened, closed, largest, called;
void *peer_load(const char *path, int max_block, int flags, float slim, char *info, int info_len) {
  const char *slash = strrchr(path, '/');
  if (!strncmp(slash ? slash + 1 : path, "odd", 3)) return snprintf(info, info_len, "too\nodd"), NULL;
  if (flags != 0 || slim > 0.25) return snprintf(info, info_len, "flags %d, slim %g", flags, slim), NULL;
  largest = max_block;
  opened++;
  return calloc(1, 1);
}
void peer_process(void *handle, const float *in, float *out, int n) {
  called++;
  if (n > largest) abort();
  for (int i = 0; i < n; i++) out[i] = GAIN * in[i];
}
void peer_free(void *handle) {
  closed++;
  free(handle);
}
"""


@pytest.fixture
def library(tmp_path: Path) -> Callable[..., Path]:
    """Compiles C into a shared library."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    assert compiler, "a C compiler is needed"

    def build(name: str, source: str = PEER, gain: float = 0.5) -> Path:
        path = tmp_path / f"lib{name}.so"
        command = [compiler, "-shared", "-fPIC", f"-DGAIN={gain}f", "-x", "c", "-", "-o", str(path)]
        subprocess.run(command, input=source, text=True, check=True)
        return path

    return build


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A tenth of a second of noise as a sound file."""
    path = tmp_path / "noise.wav"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 4800).astype(np.float32), 48000, "FLOAT")
    return path


def test_rows_as_json(command: Command, gain_model: Path, library: Callable[..., Path], noise: Path) -> None:
    half, quarter = library("half"), library("quarter", gain=0.25)
    done = command("bench", gain_model, "--block", 16, "--block", 64, "--channels", 3, "--rounds", 2, "--input", noise,
                   "--peer", half, "--peer", quarter, "--json")
    rows = json.loads(done.stdout)
    assert [(row["engine"], row["block"]) for row in rows] == [
        (engine, block) for block in (16, 64) for engine in (OURS, "half", "quarter")]
    error = {OURS: 0, "half": 0, "quarter": 0.25}  # (0.5 - 0.25)² / 0.5²
    for row in rows:
        assert set(row) == ROW
        assert row["model"] == str(gain_model) and row["channels"] == 3 and row["refused"] is None
        assert 0 < row["ns_low"] <= row["ns_per_sample"] <= row["ns_high"] and row["wall_ns_per_sample"] > 0
        assert row["real_time_factor"] == pytest.approx(1e9 / (48000 * row["ns_per_sample"] * 3))
        assert row["fma_share"] > 0 and row["worst_block"] >= 1
        assert row["esr"] == pytest.approx(error[row["engine"]])


def test_what_a_peer_is_asked_for(gain_model: Path, library: Callable[..., Path]) -> None:
    path = library("half")
    source = np.ones(100, np.float32)
    rows = list(measure(models_at([gain_model]), source, [32], channels=2, peers=[Peer(path)], rounds=3))
    assert [row.engine for row in rows] == [OURS, "half"] and rows[1].esr == 0
    counted = {name: ctypes.c_int.in_dll(ctypes.CDLL(str(path)), name).value
               for name in ("opened", "closed", "largest", "called")}
    # Each round opens every channel, and runs the signal's three whole blocks through it twice.
    assert counted == {"opened": 6, "closed": 6, "largest": 32, "called": 3 * 2 * 3 * 2}


def test_reference_beside_the_model(command: Command, gain_model: Path, noise: Path) -> None:
    samples, _ = soundfile.read(noise, dtype="float32")
    np.save(f"{gain_model}.npy", 0.4 * samples)
    arguments = ("bench", gain_model, "--rounds", 1, "--input", noise, "--json")
    assert json.loads(command(*arguments).stdout)[0]["esr"] == 0
    row = json.loads(command(*arguments, "--references").stdout)[0]
    assert row["esr"] == pytest.approx((0.1 / 0.4) ** 2, rel=1e-4)
    np.save(f"{gain_model}.slim0.25.npy", samples)
    row = json.loads(command(*arguments, "--references", "--slim", 0.25).stdout)[0]
    assert row["esr"] == pytest.approx(0.25, rel=1e-4) and row["slim"] == 0.25 and row["fma_share"] is None
    np.save(f"{gain_model}.npy", samples[:99])
    assert "gain.nam.npy: its shape is (99,)" in command(*arguments, "--references", code=1).stderr


def test_sizes(
    command: Command, gain_model: Path, library: Callable[..., Path], noise: Path, tmp_path: Path
) -> None:
    large = json.loads(gain_model.read_text())
    sizes = [{"max_value": 0.5, "model": large | {"weights": [0.25]}}, {"max_value": 1.0, "model": large}]
    path = tmp_path / "sizes.nam"
    whole = {"version": "0.7.0", "architecture": "SlimmableContainer", "config": {"submodels": sizes}, "weights": []}
    path.write_text(json.dumps(whole | {"sample_rate": 48000}))
    for slim, gain in ((0, 0.25), (1, 0.5)):
        peer = library(f"gain{slim}", PEER.replace("slim > 0.25", f"slim != {slim}"), gain)
        done = command("bench", path, "--slim", slim, "--rounds", 1, "--input", noise, "--peer", peer, "--json")
        rows = json.loads(done.stdout)
        assert [row["esr"] for row in rows] == [0, 0]


def test_bundled_amps_in_a_table_and_a_picture(command: Command, tmp_path: Path) -> None:
    done = command("bench", "--rounds", 1, "--plot", "bars.svg")
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines] == ["model", "crunch.nam", "open-back.wav"]
    assert {len(line) for line in lines} == {len(lines[0])} and "multiply-adds per second" in done.stdout
    picture = ElementTree.parse(tmp_path / "bars.svg").getroot()
    words = "".join(picture.itertext())
    assert picture.tag.endswith("svg") and "crunch.nam, block 64" in words and "open-back.wav, block 64" in words


def test_refused_models_do_not_stop_the_rest(
    command: Command, gain_model: Path, library: Callable[..., Path], noise: Path, tmp_path: Path
) -> None:
    odd = shutil.copy(gain_model, tmp_path / "odd.nam")
    arguments = ("bench", odd, gain_model, "--rounds", 2, "--input", noise, "--peer", library("half"))
    rows = json.loads(command(*arguments, "--json").stdout)
    assert [row["refused"] for row in rows] == [None, "too odd", None, None]
    assert {rows[1][name] for name in ROW - {"model", "engine", "block", "channels", "refused"}} == {None}
    row = json.loads(command(*arguments, "--slim", 0.75, "--json").stdout)[3]
    assert row["refused"] == "flags 0, slim 0.75" and row["slim"] == 0.75
    done = command(*arguments, "--block", 16, "--block", 64, "--plot", "bars.svg")
    assert "refused" in done.stdout and done.stderr == "half refused odd.nam: too odd\n"


def test_libraries_that_are_no_peers(command: Command, library: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("not a library")
    incomplete = library("incomplete", PEER.replace("peer_free", "release"))
    for path, reason in ((tmp_path / "absent.so", "there is no such file"), (tmp_path, "there is no such file"),
                         (tmp_path / "text.so", "not a library"), (incomplete, "no function peer_free;")):
        message = command("bench", "--peer", path, code=1).stderr
        assert f"{path}: " in message and reason in message


def test_engines_of_the_same_name_are_told_apart(
    command: Command, gain_model: Path, library: Callable[..., Path], noise: Path, tmp_path: Path
) -> None:
    alike = [library("half"), tmp_path / "other" / "libhalf.so", library("neurig", gain=0.25)]
    alike[1].parent.mkdir()
    shutil.copy(alike[2], alike[1])
    arguments = ["bench", gain_model, "--rounds", 2, "--input", noise, "--json"]
    for path in alike:
        arguments += ["--peer", path]
    rows = json.loads(command(*arguments).stdout)
    assert [row["engine"] for row in rows] == [OURS, *map(str, alike)]
    assert [row["esr"] for row in rows] == pytest.approx([0, 0, 0.25, 0.25])
    assert "named twice" in command(*arguments, "--peer", alike[0], code=1).stderr


def test_an_engine_that_gives_no_numbers_is_no_engine(
    command: Command, gain_model: Path, library: Callable[..., Path], noise: Path
) -> None:
    mad = library("mad", PEER.replace("GAIN *", "1 / (in[i] - in[i]) *"))
    done = command("bench", gain_model, "--rounds", 2, "--input", noise, "--peer", mad, "--json")
    rows = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert rows[1]["refused"] == "it gives samples that are no finite numbers" and rows[1]["ns_per_sample"] is None


def test_errors_are_those_of_the_first_time_through() -> None:
    """The signal is played twice; the second time begins where the first one ended."""
    row = next(measure(models_at([share("models", "crunch.nam")]), np.full(64, 0.5, np.float32), rounds=1))
    assert row.esr == 0


def test_wrong_input(command: Command, gain_model: Path, mdrnn_file: Path, noise: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    (tmp_path / "silence.wav").touch()
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 48000)
    soundfile.write(tmp_path / "nan.wav", np.array([0, np.nan, 0]), 48000, "FLOAT")
    for arguments, reason in (
        ([tmp_path / "absent.nam"], "absent.nam: "),
        ([mdrnn_file], "random.mdrnn: this is a predictor"),
        ([gain_model, "--input", tmp_path / "absent.wav"], "absent.wav: there is no such file"),
        ([gain_model, "--input", tmp_path / "text.wav"], "text.wav: "),
        ([gain_model, "--input", tmp_path / "empty.wav"], "empty.wav: it has no samples"),
        ([gain_model, "--input", tmp_path / "nan.wav"], "nan.wav: it has samples that are no finite numbers"),
        ([gain_model, "--input", tmp_path], "there is no such file"),
        ([gain_model, "--slim", "nan"], "slim is nan"),
        ([gain_model, "--input", noise, "--block", 8192], "4800 samples, less than a block of 8192"),
        ([gain_model, "--input", noise, "--rounds", 1, "--plot", "no/folder.svg"], "no folder"),
    ):
        assert reason in command("bench", *arguments, code=1).stderr
    for arguments in (["--block", 0], ["--channels", 0], ["--rounds", 0], ["--plot", "picture.png"]):
        assert "Usage:" in command("bench", *arguments, code=2).stderr


def test_silence_has_no_error_ratio(gain_model: Path) -> None:
    row = next(measure(models_at([gain_model]), np.zeros(640, np.float32), rounds=1))
    assert row.esr is None and row.ns_per_sample


def test_names_from_elsewhere_are_escaped(tmp_path: Path) -> None:
    numbers = (64, 1, 10.0, 9.0, 11.0, 10.0, 2000.0, 0.5, 1.1, 1e-9)
    rows = [Row("a<b>&[c].nam", engine, *numbers) for engine in (OURS, '"x" [bold]')]
    plot(rows, tmp_path / "bars.svg")
    words = "".join(ElementTree.parse(tmp_path / "bars.svg").getroot().itertext())
    for name in ("a<b>&[c].nam", '"x" [bold]'):
        assert name in words and name in table(rows)


def test_signal_is_the_start_of_the_first_channel(tmp_path: Path) -> None:
    stereo = np.random.default_rng(1).uniform(-1, 1, (3000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "stereo.wav", stereo, 1000, "FLOAT")
    assert np.array_equal(signal(tmp_path / "stereo.wav"), stereo[:2000, 0])
    with pytest.raises(BenchError, match="no such file"):
        signal(tmp_path / "absent.wav")


def test_multiply_adds_are_the_weights_of_matrices(gain_model: Path) -> None:
    assert neurig.load(gain_model).info["macs"] == 1
    model = neurig.load(share("models", "crunch.nam"))
    layers = json.loads(share("models", "crunch.nam").read_text())["config"]["layers"]
    others = 1  # the head's scale, and all biases
    for array in layers:
        others += 2 * array["channels"] * len(array["dilations"]) + array["head_bias"] * array["head_size"]
    assert model.info["macs"] == model.info["weights"] - others
