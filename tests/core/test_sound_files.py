"""Sound files as impulse responses: cut, normalised, in stereo, at any rate, from any format."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import fftconvolve, resample_poly

import neurig
from neurig.files import share as bundled

X = np.random.default_rng(0).normal(0, 0.3, 30000).astype(np.float32)
N = np.arange(3000)


def response(seed: int = 0) -> np.ndarray:
    """Something like a cabinet's: noise that decays, without an abrupt start."""
    noise = np.random.default_rng(seed).normal(0, 1, len(N))
    return fftconvolve(np.minimum(N / 20, 1) * np.exp(-N / 200) * noise, np.hanning(9), "same") / 30


def played(path: Path, rate: int = 48000, side: float | None = None) -> np.ndarray:
    instance = neurig.load(path).instance(rate)
    if side is not None:
        instance.set("side", side)
    return instance.process(X)


def pink_gain(taps: np.ndarray, rate: int) -> float:
    """By the definition: the power of pink noise from 50 Hz to 10 kHz after the response, over that before."""
    power = np.abs(np.fft.rfft(taps, 1 << 18)) ** 2
    frequency = np.fft.rfftfreq(1 << 18, 1 / rate)
    band = (frequency >= 50) & (frequency <= 10000)
    return float(np.sum(power[band] / frequency[band]) / np.sum(1 / frequency[band]))


@pytest.mark.parametrize("level", [0.01, 1.0])
def test_a_file_is_normalised(tmp_path: Path, level: float) -> None:
    taps = response()
    soundfile.write(tmp_path / "cab.wav", level * taps, 48000, "FLOAT")
    model = neurig.load(tmp_path / "cab.wav")
    found = fftconvolve(X.astype(float), taps)[: len(X)] / np.sqrt(pink_gain(taps, 48000))
    y = played(tmp_path / "cab.wav")
    assert np.abs(y / np.sqrt(np.mean(y**2)) - found / np.sqrt(np.mean(found**2))).max() < 1e-4
    assert abs(20 * np.log10(np.std(y) / np.std(found))) < 0.2  # two ways to take a mean over frequencies
    by = model.info["metadata"]["normalised_by_db"]
    assert abs(by + 10 * np.log10(pink_gain(level * taps, 48000))) < 0.2
    assert (model.info["family"], model.rate, model.params) == ("IR", 48000, ())


def test_all_formats_and_depths_are_one_response(tmp_path: Path) -> None:
    taps = 0.9 * response() / np.abs(response()).max()
    kinds = [("a.wav", "FLOAT"), ("a.wav", "DOUBLE"), ("a.wav", "PCM_24"), ("a.wav", "PCM_16"), ("a.flac", "PCM_24"),
             ("a.aiff", "PCM_24"), ("a.aiff", "FLOAT")]
    renders = []
    for name, subtype in kinds:
        soundfile.write(tmp_path / name, taps, 48000, subtype)
        (tmp_path / name).rename(tmp_path / "no-suffix")  # known by content
        renders.append(played(tmp_path / "no-suffix"))
    for (_, subtype), render in zip(kinds, renders, strict=True):
        assert np.abs(render - renders[0]).max() < (1e-2 if subtype == "PCM_16" else 1e-4)
    soundfile.write(tmp_path / "a.wav", taps, 48000, "PCM_24", format="RF64")
    assert np.array_equal(played(tmp_path / "a.wav"), renders[2])


def test_silence_at_the_end_is_cut_off(tmp_path: Path) -> None:
    taps = response()
    soundfile.write(tmp_path / "short.wav", taps, 48000, "FLOAT")
    soundfile.write(tmp_path / "long.wav", np.pad(taps, (0, 400000)), 48000, "FLOAT")
    short, long = (neurig.load(tmp_path / f"{name}.wav") for name in ("short", "long"))
    assert long.info["receptive_field"] == short.info["receptive_field"] <= len(taps)
    energy = np.cumsum(taps[::-1].astype(np.float32).astype(float) ** 2)[::-1]
    assert short.info["receptive_field"] == np.sum(energy > 1e-10 * energy[0])
    assert np.array_equal(played(tmp_path / "short.wav"), played(tmp_path / "long.wav"))


@pytest.mark.parametrize(("rate", "up", "down"), [(44100, 160, 147), (96000, 1, 2), (22050, 320, 147)])
def test_any_rate(tmp_path: Path, rate: int, up: int, down: int) -> None:
    """A file taken at another rate is the same filter."""
    soundfile.write(tmp_path / "ours.wav", response(), 48000, "FLOAT")
    soundfile.write(tmp_path / "other.wav", resample_poly(response(), down, up) * up / down, rate, "FLOAT")
    ours, other = played(tmp_path / "ours.wav"), played(tmp_path / "other.wav")
    spectra = [np.fft.rfft(y * np.hanning(len(y))) for y in (ours, other)]
    band = slice(int(60 / 48000 * len(X)), int(min(8000, 0.4 * rate) / 48000 * len(X)))
    error = np.sum(np.abs(spectra[0] - spectra[1])[band] ** 2) / np.sum(np.abs(spectra[0])[band] ** 2)
    assert error < 1e-3


def test_a_stereo_file_has_two_sides(tmp_path: Path) -> None:
    left, right = response(1), 0.5 * response(2)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], axis=1), 48000, "FLOAT")
    model = neurig.load(tmp_path / "stereo.wav")
    assert model.params == ("side",) and model.info["metadata"]["channels"] == 2
    gain = 10 ** (model.info["metadata"]["normalised_by_db"] / 20)
    sides = [gain * fftconvolve(X.astype(float), taps)[: len(X)] for taps in (left, right)]
    for side in (0, 1, None, 0.25):
        share = 0.5 if side is None else side
        wanted = (1 - share) * sides[0] + share * sides[1]
        assert np.abs(played(tmp_path / "stereo.wav", side=side) - wanted).max() < 1e-4 * np.abs(wanted).max()
    power = (pink_gain(left, 48000) + pink_gain(right, 48000)) / 2
    assert abs(20 * np.log10(gain * np.sqrt(power))) < 0.2  # both together, so that the balance stays


def test_more_channels_than_two(tmp_path: Path) -> None:
    channels = np.stack([response(seed) for seed in range(4)], axis=1)
    soundfile.write(tmp_path / "four.wav", channels, 48000, "FLOAT")
    soundfile.write(tmp_path / "two.wav", channels[:, :2], 48000, "FLOAT")
    assert "4 channels, of which the first two" in neurig.load(tmp_path / "four.wav").info["warning"]
    assert np.array_equal(played(tmp_path / "four.wav", side=1), played(tmp_path / "two.wav", side=1))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b"RIFF"), "cannot be read as a sound file"),
        (lambda path: path.write_bytes(b"fLaC" + bytes(1000)), "cannot be read as a sound file"),
        (lambda path: soundfile.write(path, np.zeros(0), 48000), "without samples"),
        (lambda path: soundfile.write(path, np.zeros(100), 48000), "silent"),
        (lambda path: soundfile.write(path, np.array([1, np.nan]), 48000, "FLOAT"), "sample 1 is not finite"),
        (lambda path: soundfile.write(path, np.zeros((10, 17)), 48000), "17 channels"),
        (lambda path: soundfile.write(path, np.zeros((1 << 21) + 1), 48000, "PCM_U8"), "longer than 2097152 samples"),
        (lambda path: soundfile.write(path, np.ones(9), 500), "sample rate is out of range"),
        (lambda path: soundfile.write(path, np.ones(9), 7), "sample rate is out of range"),
    ],
)
def test_what_is_no_response_is_refused_with_the_reason(tmp_path: Path, make: object, reason: str) -> None:
    make(tmp_path / "a.wav")
    with pytest.raises(neurig.ModelError, match=reason) as caught:
        neurig.load(tmp_path / "a.wav")
    assert str(caught.value).startswith(f"{tmp_path / 'a.wav'}: ") and "\n" not in str(caught.value)


def test_a_system_without_the_library_says_what_is_missing(tmp_path: Path) -> None:
    """Libraries that are none stand before the system's."""
    for name in ("libsndfile.so.1", "libsndfile.so"):
        (tmp_path / name).write_bytes(b"")
    script = """if True:
        import sys
        from neurig import model
        model._prefer_own_sound_library = lambda: None
        try:
            print(model.load(sys.argv[1]).info["family"])
        except ValueError as problem:
            print(problem)"""
    command = [sys.executable, "-c", script, str(bundled("models", "open-back.wav"))]
    for environment, answer in (({}, "IR\n"), ({"LD_LIBRARY_PATH": str(tmp_path)}, "package libsndfile1)\n")):
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
        assert done.stdout.endswith(answer)
