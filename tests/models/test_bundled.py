"""The bundled phrase, amp, cabinet and predictor are what models/README.md says of them."""

import json

import numpy as np
import pytest
import soundfile

import neurig
from core import models
from neurig.files import share

RATE = 48000


def decibels(ratio: float) -> float:
    return float(20 * np.log10(ratio))


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


@pytest.fixture(scope="module")
def phrase() -> np.ndarray:
    samples, rate = soundfile.read(share("models", "phrase.wav"), dtype="float32")
    assert rate == RATE
    return samples


def amplify(x: np.ndarray) -> np.ndarray:
    return neurig.load(share("models", "crunch.nam")).instance(RATE).process(x)


@pytest.mark.parametrize("name", ["phrase.wav", "crunch.nam", "open-back.wav", "wander.mdrnn"])
def test_size(name: str) -> None:
    assert 0 < share("models", name).stat().st_size < 2**20


def test_phrase_format_and_level(phrase: np.ndarray) -> None:
    info = soundfile.info(share("models", "phrase.wav"))
    assert (info.channels, info.subtype, info.frames) == (1, "PCM_16", 8 * RATE)
    assert decibels(np.abs(phrase).max()) == pytest.approx(-6, abs=0.1)
    assert abs(phrase.mean()) < 1e-4
    assert -26 < decibels(rms(phrase)) < -16


def test_phrase_loops_without_a_click(phrase: np.ndarray) -> None:
    # The step across the loop point, and how it bends there, are no larger than usual within the ringing note.
    around = np.concatenate([phrase[-RATE // 10 :], phrase[:4]])
    joint = slice(RATE // 10 - 3, RATE // 10 + 2)
    for order in (1, 2):
        steps = np.abs(np.diff(around, order))
        assert steps[joint].max() <= 1.05 * steps[: RATE // 10 - 6].max()


def test_impulse_response() -> None:
    response, rate = soundfile.read(share("models", "open-back.wav"))
    assert rate == RATE and response.ndim == 1 and len(response) <= 8192
    assert np.isfinite(response).all()
    assert np.abs(response).argmax() < RATE // 1000, "the direct sound comes at once"
    energy = np.cumsum(response**2) / np.sum(response**2)
    assert energy[len(response) // 2] > 0.999 and abs(response[-1]) < 1e-5, "it has died away at its end"
    spectrum = 20 * np.log10(np.abs(np.fft.rfft(response, 65536)))
    at = {f: spectrum[round(f * 65536 / RATE)] for f in (40, 90, 400, 2500, 10000)}
    assert at[90] - at[40] > 12 and at[2500] - at[400] > 5 and at[400] - at[10000] > 20
    f = np.fft.rfftfreq(65536, 1 / RATE)
    band = (f >= 60) & (f <= 10000)
    pink = (10 ** (spectrum[band] / 10) / f[band]).sum() / (1 / f[band]).sum()
    assert pink == pytest.approx(1, abs=0.01), "pink noise stays as loud as it is"


def test_amp_in_the_core_is_the_network_in_the_file(phrase: np.ndarray) -> None:
    document = json.loads(share("models", "crunch.nam").read_text())
    assert (document["version"], document["architecture"], document["sample_rate"]) == ("0.5.4", "WaveNet", RATE)
    x = phrase[: RATE // 2]
    expected = models.wavenet(document["config"]["layers"], np.array(document["weights"]), x.astype(np.float64))
    assert np.abs(amplify(x) - expected).max() < 1e-5


def test_amp_is_quiet_when_nobody_plays() -> None:
    assert np.abs(amplify(np.zeros(RATE, np.float32))).max() < 1e-6


def test_amp_level(phrase: np.ndarray) -> None:
    document = json.loads(share("models", "crunch.nam").read_text())
    loudness = decibels(rms(amplify(phrase)))
    assert loudness == pytest.approx(-12, abs=1)
    assert loudness == pytest.approx(document["metadata"]["loudness"], abs=0.1)


def test_amp_saturates(phrase: np.ndarray) -> None:
    loud = {db: amplify(phrase * np.float32(10 ** (db / 20))) for db in (-24, -12, 0, 12)}
    level = {db: decibels(rms(y)) for db, y in loud.items()}
    assert level[-12] - level[-24] > 10, "clean when played softly"
    assert 0.5 < level[12] - level[0] < 5, "twelve decibels more are hardly louder"
    crest = {db: decibels(np.abs(y).max() / rms(y)) for db, y in loud.items()}
    assert crest[-24] > crest[-12] > crest[0] > crest[12]


def test_amp_distorts_more_the_harder_it_is_driven() -> None:
    t = np.arange(RATE) / RATE
    distortion = []
    for level in (0.01, 0.03, 0.1, 0.3, 1):
        y = amplify((level * np.sin(2 * np.pi * 220 * t)).astype(np.float32))[RATE // 2 :]
        spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
        harmonics = [spectrum[110 * k - 2 : 110 * k + 3].max() for k in range(1, 30)]
        distortion.append(float(np.hypot.reduce(harmonics[1:]) / harmonics[0]))
    assert distortion == sorted(distortion)
    assert distortion[0] < 0.02 and distortion[-1] > 0.3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_predictor_wanders(seed: int) -> None:
    predictor = neurig.Predictor(share("models", "wander.mdrnn"), seed=seed)
    frames = []
    while sum(frame[0] for frame in frames) < 60:
        frames.append(predictor.predict(pi_temp=1, sigma_temp=0.01))
        assert len(frames) < 3000, "too many events in a minute"
    dt, x = np.array(frames)[:, 0], np.array(frames)[:, 1:]
    assert len(frames) > 300 and 0.01 < np.median(dt) < 0.3 and dt.max() < 2
    for knob in x.T:
        assert np.ptp(knob) > 0.5, "it uses its range"
        # the longest time that a knob spends within 0.05 of where it was
        still = longest = 0.0
        place = knob[0]
        for seconds, value in zip(dt, knob):
            place, still = (value, 0.0) if abs(value - place) > 0.05 else (place, still + seconds)
            longest = max(longest, still)
        assert longest < 25
