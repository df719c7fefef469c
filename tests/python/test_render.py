"""``neurig render``: real models against reference renders, and sound files of all kinds."""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from python.helpers import Command, esr
from scipy.signal import resample_poly

import neurig
from neurig import bench
from neurig.files import share
from neurig.render import RenderError, render

RATE = 48000


@pytest.fixture
def noise() -> NDArray[np.float32]:
    """A second of quiet noise that ends below 10 kHz, so that a conversion of the rate keeps it."""
    white = np.random.default_rng(3).normal(0, 0.1, RATE // 4)
    return resample_poly(white, 4, 1).astype(np.float32)


@pytest.mark.parametrize(
    "name",
    ["BossWN-standard.nam", "BossWN-feather.nam", "BossWN-nano.nam", "wavenet_a1_standard.nam", "wavenet.nam",
     "linear_10.nam", "BossLSTM-1x16.nam", "lstm.nam"],
)
def test_reference_renders(data: Path, command: Command, tmp_path: Path, name: str) -> None:
    command("render", data / "amps" / name, data / "audio/guitar-48k.wav", "out.wav")
    output, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert rate == RATE and soundfile.info(tmp_path / "out.wav").subtype == "FLOAT"
    reference = np.load(data / "amps" / f"{name}.npy")
    assert output.shape == reference.shape
    error = esr(reference[RATE // 2 :], output[RATE // 2 :])
    assert error <= 1e-8, f"{name}: ESR {error:.2e}"


def test_the_command_renders_what_python_does(command: Command, tmp_path: Path) -> None:
    model, phrase = share("models", "crunch.nam"), share("models", "phrase.wav")
    done = command("render", model, phrase, "out.wav")
    source, _ = soundfile.read(phrase, dtype="float32")
    output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert np.abs(output - neurig.load(model).instance().process(source)).max() < 1e-6
    assert f"{len(source) / RATE:.2f} s, 48000 Hz, mono, peak " in done.stdout
    assert done.stderr == ""


def test_through_a_stereo_cabinet(command: Command, tmp_path: Path, noise: NDArray[np.float32]) -> None:
    """Mono becomes stereo; of stereo each channel has its own side; and the knob chooses."""
    left, right = (np.random.default_rng(seed).normal(0, np.exp(-np.arange(800) / 99), 800) for seed in (1, 2))
    soundfile.write(tmp_path / "cab.wav", np.stack([left, right], axis=1), RATE, "FLOAT")
    soundfile.write(tmp_path / "mono.wav", noise, RATE, "FLOAT")
    soundfile.write(tmp_path / "stereo.wav", np.stack([noise, noise[::-1]], axis=1), RATE, "FLOAT")
    model = neurig.load(tmp_path / "cab.wav")

    def through(side: float, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        instance = model.instance(RATE)
        instance.set("side", side)
        return instance.process(samples)

    for source, options, wanted in (("mono", [], [(0, noise), (1, noise)]),
                                    ("stereo", [], [(0, noise), (1, noise[::-1])]),
                                    ("mono", ["--param", "side=0.25"], [(0.25, noise)])):
        command("render", "cab.wav", f"{source}.wav", "out.wav", *options)
        output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32", always_2d=True)
        assert np.array_equal(output.T, [through(*part) for part in wanted])


@pytest.mark.parametrize("rate", [22050, 44100, 88200, 96000, 192000])
def test_other_rates_stay_in_time(
    command: Command, gain_model: Path, tmp_path: Path, noise: NDArray, rate: int
) -> None:
    source = resample_poly(noise, rate // 150, RATE // 150).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", source, rate, "FLOAT")
    command("render", gain_model, "in.wav", "out.wav")
    output, out_rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert out_rate == rate and output.shape == source.shape
    inner = slice(rate // 20, -rate // 20)  # at the ends the noise is cut off, which is not band-limited
    assert esr(source[inner] / 2, output[inner]) < 1e-6


def test_a_real_amp_at_another_rate(tmp_path: Path) -> None:
    model = neurig.load(share("models", "crunch.nam"))
    source, _ = soundfile.read(share("models", "phrase.wav"), dtype="float32")
    source = source[: 2 * RATE]
    soundfile.write(tmp_path / "in.wav", resample_poly(source, 147, 160), 44100, "FLOAT")
    done = render(model, tmp_path / "in.wav", tmp_path / "out.wav")
    assert done.latency > 0 and done.rate == 44100
    expected = resample_poly(model.instance().process(source), 147, 160)
    output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    inner = slice(2205, -2205)
    assert esr(expected[inner], output[inner]) < 1e-3


def test_each_channel_by_itself(command: Command, tmp_path: Path, noise: NDArray) -> None:
    model = share("models", "crunch.nam")
    channels = np.stack([noise, -noise, np.roll(noise, 100)], axis=1)
    soundfile.write(tmp_path / "in.wav", channels, RATE, "FLOAT")
    assert "3 channels" in command("render", model, "in.wav", "out.wav").stdout
    output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert output.shape == channels.shape
    for number in range(3):
        expected = neurig.load(model).instance().process(channels[:, number])
        assert np.abs(output[:, number] - expected).max() < 1e-6


@pytest.mark.parametrize(
    ("name", "container", "subtype"),
    [("o.wav", "WAV", "FLOAT"), ("o.WAV", "WAV", "FLOAT"), ("o.flac", "FLAC", "PCM_24"), ("o.aiff", "AIFF", "FLOAT"),
     ("o.aif", "AIFF", "FLOAT")],
)
def test_formats(
    command: Command, gain_model: Path, tmp_path: Path, noise: NDArray, name: str, container: str, subtype: str
) -> None:
    soundfile.write(tmp_path / "in.flac", np.stack([noise, noise / 2], axis=1), RATE, "PCM_16")
    source, _ = soundfile.read(tmp_path / "in.flac", dtype="float32")
    command("render", gain_model, "in.flac", name)
    about = soundfile.info(tmp_path / name)
    assert (about.format, about.subtype, about.frames, about.channels) == (container, subtype, len(noise), 2)
    output, _ = soundfile.read(tmp_path / name, dtype="float32")
    assert np.abs(output - source / 2).max() < 2e-7


def test_what_flac_cannot_hold_is_told(command: Command, gain_model: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "loud.wav", np.array([0, 3, -3, 1], np.float32), RATE, "FLOAT")
    assert "clipped" in command("render", gain_model, "loud.wav", "o.flac").stderr
    done = command("render", gain_model, "loud.wav", "o.wav")
    assert done.stderr == "" and "peak 3.5 dB" in done.stdout
    assert soundfile.read(tmp_path / "o.wav")[0].tolist() == [0, 1.5, -1.5, 0.5]
    assert 0.99 < soundfile.read(tmp_path / "o.flac")[0].max() <= 1


def test_names_that_are_no_text(gain_model: Path, tmp_path: Path, noise: NDArray) -> None:
    amp, source, target = (tmp_path / os.fsdecode(b"caf\xe9 " + part) for part in (b"amp.nam", b"in.wav", b"out.wav"))
    gain_model.rename(amp)
    soundfile.write(os.fsencode(source), noise, RATE, "FLOAT")
    render(neurig.load(amp), source, target)
    assert np.array_equal(soundfile.read(os.fsencode(target), dtype="float32")[0], noise / 2)
    assert np.array_equal(bench.signal(source), noise)


def test_what_is_doubtful_about_a_model_is_told(command: Command, tmp_path: Path, noise: NDArray) -> None:
    config = {"receptive_field": 1, "out_channels": 2}
    (tmp_path / "two.nam").write_text(json.dumps({"architecture": "Linear", "config": config, "weights": [1]}))
    soundfile.write(tmp_path / "in.wav", noise, RATE, "FLOAT")
    done = command("render", "two.nam", "in.wav", "out.wav")
    assert done.stderr == "two.nam: it has 2 outputs; the first is heard\n"


def test_very_short_sounds(command: Command, gain_model: Path, tmp_path: Path) -> None:
    for frames in (1, 2, 17):
        for rate in (RATE, 44100):
            soundfile.write(tmp_path / "in.wav", np.full(frames, 0.25, np.float32), rate, "FLOAT")
            command("render", gain_model, "in.wav", "out.wav")
            assert soundfile.info(tmp_path / "out.wav").frames == frames


def test_long_files_pass_through_in_blocks(gain_model: Path, tmp_path: Path) -> None:
    frames = 40 * RATE
    soundfile.write(tmp_path / "in.wav", np.zeros(frames, np.float32), RATE, "PCM_16")
    seen: list[tuple[int, int]] = []
    done = render(neurig.load(gain_model), tmp_path / "in.wav", tmp_path / "out.wav",
                  progress=lambda done, total: seen.append((done, total)))
    assert done.frames == frames and done.peak == 0
    assert len(seen) > 50 and seen[-1] == (frames, frames)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def _failures(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    """By what is wrong: the arguments, and what the message has to contain."""
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound")
    soundfile.write(tmp_path / "no-samples.wav", np.zeros(0, np.float32), RATE)
    (tmp_path / "bad.nam").write_text("{")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    soundfile.write(tmp_path / "slow.wav", np.zeros(100), 37)
    gain = json.loads((tmp_path / "gain.nam").read_text())
    sizes = [{"max_value": below, "model": gain} for below in (0.5, 1)]
    container = {"architecture": "SlimmableContainer", "config": {"submodels": sizes}}
    (tmp_path / "sizes.nam").write_text(json.dumps(container))
    return {
        "model missing": (["none.nam", "in.wav", "out.wav"], "none.nam: "),
        "model damaged": (["bad.nam", "in.wav", "out.wav"], "bad.nam: "),
        "a predictor": (["random.mdrnn", "in.wav", "out.wav"], "predictor"),
        "input missing": (["gain.nam", "none.wav", "out.wav"], "none.wav: there is no such file"),
        "input a folder": (["gain.nam", "folder", "out.wav"], "folder: this is a folder"),
        "input of 0 bytes": (["gain.nam", "empty.wav", "out.wav"], "empty.wav: the file is empty"),
        "input without samples": (["gain.nam", "no-samples.wav", "out.wav"], "no-samples.wav: it has no samples"),
        "input no sound": (["gain.nam", "text.wav", "out.wav"], "text.wav: "),
        "output unknown": (["gain.nam", "in.wav", "out.mp3"], "out.mp3: the name has to end in .wav, .flac, .aiff"),
        "output without extension": (["gain.nam", "in.wav", "out"], "out: the name has to end in"),
        "output a folder": (["gain.nam", "in.wav", "folder.wav"], "folder.wav: is a folder"),
        "output's folder missing": (["gain.nam", "in.wav", "none/out.wav"], "no folder"),
        "output is input": (["gain.nam", "in.wav", "./in.wav"], "the same file"),
        "output links to input": (["gain.nam", "in.wav", "link.wav"], "the same file"),
        "knob unknown": (["gain.nam", "in.wav", "out.wav", "--param", "tone=0.3"], "no knob 'tone'"),
        "size out of range": (["sizes.nam", "in.wav", "out.wav", "--slim", "nan"], "slim is nan"),
        "input of a rate beyond all": (["gain.nam", "slow.wav", "out.wav"], "slow.wav: a sample rate of 37 Hz is out of"),
        "input a pipe": (["gain.nam", "pipe", "out.wav"], "pipe: this is a pipe"),
        "no sizes": (["gain.nam", "in.wav", "out.wav", "--slim", "0.5"], "gain.nam: it comes in one size"),
    }


def test_failures_are_one_line_and_leave_nothing(
    command: Command, gain_model: Path, mdrnn_file: Path, tmp_path: Path, noise: NDArray
) -> None:
    soundfile.write(tmp_path / "in.wav", noise, RATE, "FLOAT")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.wav").symlink_to("in.wav")
    failures = _failures(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for what, (arguments, reason) in failures.items():
        done = command("render", *arguments, code=1)
        assert reason in done.stderr, f"{what}: {done.stderr}"
        assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before, what


def test_wrong_knobs_are_wrong_usage(command: Command, gain_model: Path) -> None:
    for text in ("tone", "=1", "tone=much", "tone="):
        assert "--param" in command("render", gain_model, "in.wav", "out.wav", "--param", text, code=2).stderr


@pytest.mark.parametrize("name", ["out.wav", "out.flac", "out.aiff"])
def test_a_full_disk_keeps_the_old_file(
    command: Command, gain_model: Path, tmp_path: Path, noise: NDArray, name: str
) -> None:
    soundfile.write(tmp_path / "in.wav", noise, RATE, "FLOAT")
    (tmp_path / name).write_text("the take of my life")
    before = sorted(os.listdir(tmp_path))

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))

    done = command("render", gain_model, "in.wav", name, code=1, preexec_fn=small_files_only)
    assert f"{name}: it cannot be written: the disk is full" in done.stderr
    assert (tmp_path / name).read_text() == "the take of my life"
    assert sorted(os.listdir(tmp_path)) == before


def test_a_failure_on_the_way_keeps_the_old_file(gain_model: Path, tmp_path: Path, noise: NDArray) -> None:
    soundfile.write(tmp_path / "in.wav", noise, RATE, "FLOAT")
    (tmp_path / "out.wav").write_text("old")

    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(neurig.load(gain_model), tmp_path / "in.wav", tmp_path / "out.wav", progress=interrupted)
    assert (tmp_path / "out.wav").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["gain.nam", "in.wav", "out.wav"]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_early_leaves_nothing(
    gain_model: Path, tmp_path: Path, wait_until: Callable[..., object], end: signal.Signals
) -> None:
    soundfile.write(tmp_path / "in.wav", np.zeros((60 * RATE, 8), np.int16), 8 * RATE, "PCM_16")
    before = sorted(os.listdir(tmp_path))
    running = subprocess.Popen([sys.executable, "-m", "neurig.cli", "render", gain_model, "in.wav", "out.wav"],
                               cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".out.wav*")), "the rendering to begin")
    running.send_signal(end)
    assert running.communicate(timeout=20)[1].strip() == "Aborted!"
    assert running.returncode == 1
    assert sorted(os.listdir(tmp_path)) == before


def test_rendering_from_python_refuses_alike(gain_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="none.wav: there is no such file"):
        render(neurig.load(gain_model), tmp_path / "none.wav", tmp_path / "out.wav")


def with_levels(folder: Path, **metadata: float) -> Path:
    file = {"version": "0.5.4", "architecture": "Linear", "config": {"receptive_field": 1, "bias": False},
            "weights": [0.5], "sample_rate": RATE, "metadata": metadata}
    path = folder / "levels.nam"
    path.write_text(json.dumps(file))
    return path


SIX_DB_LESS = 0.5 * 10 ** (-6 / 20)
DBU = {"input_level_dbu": 18, "output_level_dbu": 12}


@pytest.mark.parametrize(("metadata", "arguments", "gain", "said"), [
    ({"loudness": -12}, (), 0.5, ""),
    ({"loudness": -12}, ("--level", "normalised"), SIX_DB_LESS, ""),
    ({"loudness": -12}, ("--level", "calibrated"), SIX_DB_LESS, "no levels in dBu: level normalised"),
    ({}, ("--level", "normalised"), 0.5, "no loudness: level raw"),
    (DBU, ("--level", "calibrated"), SIX_DB_LESS, ""),
    (DBU, ("--level", "calibrated", "--dbu", 20), SIX_DB_LESS, ""),
    ({"input_level_dbu": 18}, ("--level", "calibrated", "--dbu", 12), SIX_DB_LESS, ""),
])  # fmt: skip
def test_levels(
    command: Command, tmp_path: Path, noise: NDArray, metadata: dict[str, float], arguments: tuple, gain: float,
    said: str,
) -> None:
    soundfile.write(tmp_path / "in.wav", np.stack([noise, -noise], 1), RATE, "FLOAT")
    done = command("render", with_levels(tmp_path, **metadata), "in.wav", "out.wav", *arguments)
    assert said in done.stderr and bool(said) == bool(done.stderr)
    output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
    assert np.allclose(output, gain * np.stack([noise, -noise], 1), rtol=1e-5)


def test_exact(command: Command, tmp_path: Path, noise: NDArray) -> None:
    """As instances that compute exactly, and not as those that do not."""
    model = tmp_path / "lstm.nam"
    config = {"input_size": 1, "hidden_size": 8, "num_layers": 1}
    weights = np.random.default_rng(0).normal(0, 0.4, 4 * 8 * 9 + 4 * 8 + 2 * 8 + 9).tolist()
    model.write_text(json.dumps({"architecture": "LSTM", "config": config, "weights": weights, "sample_rate": RATE}))
    channels = np.stack([noise, np.roll(noise, 50), -noise], 1)
    soundfile.write(tmp_path / "in.wav", channels, RATE, "FLOAT")
    for arguments, exact in (((), False), (("--exact",), True)):
        command("render", model, "in.wav", "out.wav", *arguments)
        output, _ = soundfile.read(tmp_path / "out.wav", dtype="float32")
        alone = [neurig.load(model).instance(RATE, exact=exact).process(row) for row in channels.T]
        assert np.array_equal(output.T, alone)
        other = neurig.load(model).instance(RATE, exact=not exact).process(noise)
        assert not np.array_equal(output[:, 0], other)
