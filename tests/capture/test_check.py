"""Pairs of recordings: what is wrong with them is found, what can be put right is, and sound ones pass."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from capture.conftest import RATE, Pair, Samples, delayed, device
from click.testing import CliRunner
from python.helpers import Command, esr
from scipy.signal import lfilter

from neurig.capture import signal
from neurig.capture.check import CaptureError, Report, check
from neurig.cli import main


def kinds(report: Report, *severities: str) -> list[str]:
    return [problem.kind for problem in report.problems if problem.severity in (severities or ("error", "warning"))]


@pytest.fixture(scope="module")
def ours(whole: Samples, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test signal as `neurig capture make` writes it, 30 s."""
    path = tmp_path_factory.mktemp("signal") / "test.wav"
    signal.make(path, 30, RATE, seed=3)
    return path


@pytest.mark.parametrize("late", [0, 37, 1000.4, 20000.25])
def test_latency(playing: Samples, pair: Pair, late: float) -> None:
    report = check(*pair(playing, delayed(device(playing), late)))
    assert report.latency == pytest.approx(late, abs=0.1)
    assert report.removed is not None and late - 2.5 <= report.removed <= late + 0.01
    assert kinds(report) == ["length"] and report.trainable and report.polarity == 1 and report.drift == 0
    assert len(report.aligned_input) == len(report.aligned_output) == 10 * RATE - report.removed
    expected = delayed(device(playing), late - report.removed)[: len(report.aligned_output)]
    assert esr(expected[:-RATE], report.aligned_output[:-RATE]) < 1e-6


@pytest.mark.parametrize("late", [0, 411])
def test_latency_by_clicks_is_whole(whole: Samples, ours: Path, tmp_path: Path, late: int) -> None:
    noise = np.random.default_rng(1).normal(0, 1e-3, 30 * RATE)
    soundfile.write(tmp_path / "out.wav", delayed(device(whole), late) + noise, RATE, "PCM_24")
    report = check(ours, tmp_path / "out.wav")
    assert report.removed == late and report.latency == pytest.approx(late, abs=0.1)
    assert report.noise_floor == pytest.approx(-60, abs=0.5)
    assert kinds(report) == ["length"]
    assert report.repeat_error is not None and report.repeat_error < 1e-4


def test_inverted(playing: Samples, pair: Pair) -> None:
    report = check(*pair(playing, -device(playing)))
    assert report.polarity == -1 and "polarity" in kinds(report, "note") and report.trainable


@pytest.mark.parametrize("ppm", [50, -50, 300])
def test_drift(whole: Samples, pair: Pair, ppm: float) -> None:
    playing = whole[RATE : 28 * RATE]
    output = delayed(device(playing), 20)
    report = check(*pair(playing, soxr.resample(output, 1e6, 1e6 + ppm, "VHQ")))
    assert report.drift == pytest.approx(ppm, abs=0.6) and "drift" in kinds(report, "warning") and report.trainable
    assert report.removed is not None
    expected = output[report.removed : report.removed + len(report.aligned_output)]
    assert esr(expected[:-RATE], report.aligned_output[:-RATE]) < 1e-3


def test_drift_by_repeat(whole: Samples, ours: Path, tmp_path: Path) -> None:
    output = soxr.resample(delayed(device(whole), 20), 1e6, 1e6 + 20, "VHQ")
    soundfile.write(tmp_path / "out.wav", output, RATE, "PCM_24")
    report = check(ours, tmp_path / "out.wav")
    assert report.drift == pytest.approx(20, abs=0.03) and "change" not in kinds(report)


def test_missing_samples(playing: Samples, pair: Pair) -> None:
    output = device(playing)
    report = check(*pair(playing, np.delete(output, np.s_[5 * RATE : 5 * RATE + 64])))
    jump = next(problem for problem in report.problems if problem.kind == "jump")
    assert jump.severity == "error" and re.match("At about [45] s, 64 samples are missing", jump.what)


def test_missing_second(whole: Samples, ours: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "out.wav", np.delete(device(whole), np.s_[12 * RATE : 13 * RATE]), RATE, "PCM_24")
    [error] = [problem for problem in check(ours, tmp_path / "out.wav").problems if problem.severity == "error"]
    assert error.kind == "jump" and "does not answer" in error.what


def test_cut_out(playing: Samples, pair: Pair) -> None:
    """A buffer that came too late, as zeros."""
    output = device(playing)
    output[5 * RATE : 5 * RATE + 256] = 0
    [error] = [problem for problem in check(*pair(playing, output)).problems if problem.severity == "error"]
    assert error.kind == "jump" and re.search(r"At about 5 s, .*out.wav is cut out for 5.3 ms\.", error.what)


def test_dead_zone_is_no_dropout(playing: Samples, pair: Pair) -> None:
    output = np.sign(playing) * np.maximum(np.abs(playing) - 0.1, 0)
    assert check(*pair(playing, output)).trainable


@pytest.mark.parametrize("end", [21, 30])
def test_loose_cable(whole: Samples, ours: Path, tmp_path: Path, end: int) -> None:
    output = device(whole)
    output[19 * RATE : end * RATE] = 0
    output += np.random.default_rng(1).normal(0, 1e-5, len(output))
    soundfile.write(tmp_path / "out.wav", output, RATE, "PCM_24")
    [error] = [problem for problem in check(ours, tmp_path / "out.wav").problems if problem.severity == "error"]
    assert "From about " in error.what and "Look for a loose cable" in error.remedy
    assert error.kind == ("gap" if end == 21 else "jump")


@pytest.mark.parametrize("full", [1.0, 0.5])
def test_clipped(playing: Samples, pair: Pair, full: float) -> None:
    report = check(*pair(playing, full * np.clip(3 * device(playing), -1, 1)))
    assert "clipping" in kinds(report, "error" if full == 1 else "warning")
    assert report.trainable == (full < 1)


def test_offset(playing: Samples, pair: Pair) -> None:
    report = check(*pair(playing, 0.5 * device(playing) + 0.05))
    assert "dc" in kinds(report, "warning") and "+0.050" in str(report.problems)


@pytest.mark.parametrize("silent", ["in", "out"])
def test_silence(playing: Samples, pair: Pair, silent: str) -> None:
    nothing = np.random.default_rng(1).normal(0, 1e-5, len(playing))
    report = check(*pair(nothing if silent == "in" else playing, nothing if silent == "out" else device(playing)))
    [error] = [problem for problem in report.problems if problem.severity == "error"]
    assert error.kind == "silence" and f"{silent}.wav is silent" in error.what


def test_noise(whole: Samples, ours: Path, tmp_path: Path) -> None:
    for level, severity in ((0.01, "warning"), (0.1, "error")):
        noise = np.random.default_rng(1).normal(0, level, len(whole))
        soundfile.write(tmp_path / "out.wav", 0.5 * device(whole) + noise, RATE, "FLOAT")
        report = check(ours, tmp_path / "out.wav")
        assert report.noise_floor == pytest.approx(20 * np.log10(level), abs=0.5)
        assert "noise" in kinds(report, severity)


def test_other_recording(whole: Samples, playing: Samples, pair: Pair) -> None:
    report = check(*pair(playing, device(whole[::-1])[: len(playing)]))
    assert kinds(report, "error") == ["unrelated"]


def test_swapped(playing: Samples, pair: Pair) -> None:
    x, y = pair(playing, delayed(device(playing), 100))
    report = check(y, x)
    assert kinds(report, "error") == ["order"] and "IN OUT" in str(report.problems)


def test_swapped_signal(whole: Samples, ours: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "out.wav", device(whole), RATE, "PCM_24")
    assert kinds(check(tmp_path / "out.wav", ours), "error") == ["unrelated"]


def test_bypass(playing: Samples, pair: Pair) -> None:
    assert kinds(check(*pair(playing, delayed(playing, 12))), "error") == ["bypass"]


def test_short(playing: Samples, pair: Pair) -> None:
    assert "length" in kinds(check(*pair(playing, device(playing)[: 2 * RATE])), "error")


def test_output_ends_early(playing: Samples, pair: Pair) -> None:
    report = check(*pair(playing, device(playing)[: 7 * RATE]))
    assert report.seconds == 7 and "last 3.0 s" in str(report.problems)


def test_channels(playing: Samples, pair: Pair) -> None:
    silence = np.zeros_like(playing)
    both = np.stack([playing, playing], axis=1)
    paths = pair(both, np.stack([silence, device(playing)], axis=1))
    with pytest.raises(CaptureError, match="out.wav: it is stereo.*--channel left or --channel right"):
        check(*paths)
    left = check(*paths, channel="left")
    assert kinds(left, "error")[0] == "channels" and "Give --channel right" in str(left.problems[1])
    assert check(*paths, channel="right").trainable
    with pytest.raises(CaptureError, match="3 channels"):
        check(*pair(np.stack([playing] * 3, axis=1), playing))


def test_device_that_moves(whole: Samples, ours: Path, tmp_path: Path) -> None:
    time = np.arange(len(whole))
    output = device(whole) * (1 + 0.3 * np.sin(2 * np.pi * 0.83 * time / RATE))  # tremolo
    soundfile.write(tmp_path / "out.wav", 0.7 * output, RATE, "PCM_24")
    report = check(ours, tmp_path / "out.wav")
    assert "change" in kinds(report, "warning") and report.repeat_error is not None and report.repeat_error > 0.01


def test_repeat_in_what_somebody_played(playing: Samples, pair: Pair) -> None:
    twice = np.concatenate([playing[: 5 * RATE]] * 2)
    time = np.arange(len(twice))
    still = check(*pair(twice, device(twice)))
    assert still.repeat_error is not None and still.repeat_error < 1e-6 and "change" not in kinds(still)
    moving = check(*pair(twice, device(twice) * (0.7 + 0.2 * np.sin(2 * np.pi * 0.83 * time / RATE))))
    assert "change" in kinds(moving)


def test_hum_is_no_change(whole: Samples, ours: Path, tmp_path: Path) -> None:
    hum = 0.02 * np.sin(2 * np.pi * 50.03 * np.arange(len(whole)) / RATE)  # the other way round when the phrase returns
    soundfile.write(tmp_path / "out.wav", 0.7 * device(whole) + hum, RATE, "PCM_24")
    found = kinds(check(ours, tmp_path / "out.wav"))
    assert "noise" in found and "change" not in found


def test_pedal_that_stands_still(playing: Samples, pair: Pair) -> None:
    """It distorts what is above 1.7 kHz, and lets the rest through: soft and loud notes sound different."""
    treble = playing - lfilter([0.2], [1, -0.8], playing)
    output = 0.3 * playing + lfilter([0.4], [1, -0.6], np.tanh(60 * treble))
    assert "change" not in kinds(check(*pair(playing, 0.5 * output)))


def test_flanger(playing: Samples, pair: Pair) -> None:
    time = np.arange(len(playing))
    moved = np.interp(time - RATE * (0.002 + 0.0015 * np.sin(2 * np.pi * 0.3 * time / RATE)), time, playing)
    assert "change" in kinds(check(*pair(playing, 0.5 * device(playing + 0.7 * moved))))


@pytest.mark.parametrize(("format", "subtype", "output_rate"), [
    ("wav", "PCM_16", RATE), ("wav", "PCM_32", RATE), ("wav", "FLOAT", 96000), ("flac", "PCM_24", 44100),
    ("aiff", "PCM_24", 44100),
])
def test_formats_and_rates(playing: Samples, pair: Pair, format: str, subtype: str, output_rate: int) -> None:
    output = delayed(device(playing), 30)
    if output_rate != RATE:
        output = soxr.resample(output, RATE, output_rate, "VHQ")
    report = check(*pair(playing, output, output_rate=output_rate, format=format, subtype=subtype))
    assert report.latency == pytest.approx(30, abs=0.15) and report.trainable and report.rate == RATE
    assert ("rate" in kinds(report, "note")) == (output_rate != RATE)
    assert ("format" in kinds(report, "note")) == (subtype == "PCM_16")


@pytest.mark.parametrize(("content", "reason"), [
    (None, "there is no such file"), (b"", "no sound file that can be read. Save it as WAV"),
    (b"Dear diary", "no sound file that can be read. Save it as WAV"),
    (b"RIFF....WAVEnonsense", "it is damaged .*. Export or record it again"),
])
def test_unreadable(playing: Samples, pair: Pair, content: bytes | None, reason: str) -> None:
    x, y = pair(playing, playing)
    y.unlink()
    if content is not None:
        y.write_bytes(content)
    with pytest.raises(CaptureError, match=f"out.wav: .*{reason}"):
        check(x, y)


def test_folder(playing: Samples, pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="this is a folder"):
        check(pair(playing, playing)[0], tmp_path)


def test_damaged(playing: Samples, pair: Pair) -> None:
    x, y = pair(playing, device(playing), format="flac")
    y.write_bytes(y.read_bytes()[:100_000])
    with pytest.raises(CaptureError, match="out.flac: it is damaged .*decoder lost sync.*Export or record it again"):
        check(x, y)


def test_beyond_all_bounds(playing: Samples, pair: Pair) -> None:
    with pytest.raises(CaptureError, match="samples go up to 8.91e.29, where 1 is full scale"):
        check(*pair(playing, 1e30 * playing, subtype="DOUBLE"))


def test_not_a_number(playing: Samples, pair: Pair) -> None:
    with pytest.raises(CaptureError, match="no numbers"):
        check(*pair(playing, np.where(np.arange(len(playing)) == 77, np.nan, playing), subtype="FLOAT"))


def test_command(playing: Samples, pair: Pair, command: Command, tmp_path: Path) -> None:
    x, y = pair(playing, delayed(device(playing), 37))
    shown = command("capture", "check", x, y, "-o", "aligned.wav").stdout
    assert "37.0" in shown and "polarity     as the input" in shown and "warning: 10 s are little" in shown
    aligned, rate = soundfile.read(tmp_path / "aligned.wav")
    assert rate == RATE and soundfile.info(tmp_path / "aligned.wav").subtype == "FLOAT"
    assert np.abs(aligned - check(x, y).aligned_output).max() == 0


def test_command_refuses(playing: Samples, pair: Pair, command: Command, tmp_path: Path) -> None:
    x, y = pair(playing, np.zeros_like(playing))
    arguments = ["capture", "check", x, y, "--json", "-o", tmp_path / "aligned.wav"]
    run = CliRunner().invoke(main, list(map(str, arguments)))
    report = json.loads(run.stdout)
    assert run.exit_code == 1 and not report["trainable"] and report["output_peak"] is None
    assert [problem["kind"] for problem in report["problems"] if problem["severity"] == "error"] == ["silence"]
    assert not (tmp_path / "aligned.wav").exists()
    before = y.read_bytes()
    assert "give -o another name" in command("capture", "check", x, y, "-o", y, code=2).stderr
    assert y.read_bytes() == before
    stereo = pair(np.stack([playing, -playing], axis=1), playing)
    assert "--channel left" in command("capture", "check", *stereo, code=1).stderr


@pytest.mark.parametrize(("input", "output", "removed", "moves"), [
    ("input.flac", "output.flac", 0, False),
    ("input.flac", "output-dirty.flac", 37, False),
    ("guitar-flanger-input.wav", "guitar-flanger-target.wav", 0, True),
    ("saw-input.wav", "saw-target.wav", 0, False),
])
def test_real_recordings(data: Path, input: str, output: str, removed: int, moves: bool) -> None:
    report = check(data / "capture" / input, data / "capture" / output, "left")
    assert report.trainable and report.removed == removed and report.drift == 0
    assert ("change" in kinds(report)) == moves
