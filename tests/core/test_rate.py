"""A host whose rate is not the model's: aligned to the sample that is reported, clean, the same for all block sizes."""

import json

import numpy as np
import pytest

from core import models
from neurig.model import Model, parse

RATES = [22050, 44100, 88200, 96000, 47999]


def wire(rate: float = 48000) -> Model:
    """A model that changes nothing, so that what is left is the conversion."""
    return parse(json.dumps({"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [1],
                             "sample_rate": rate}))


def sine(frequency: float, rate: float, n: int) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(n) / rate).astype(np.float32) * 0.5


def test_no_latency_at_the_models_rate() -> None:
    assert wire().instance(48000).latency == 0


@pytest.mark.parametrize("quality", [0, 1, 2])
@pytest.mark.parametrize("rate", RATES)
def test_aligned(rate: float, quality: int) -> None:
    """After `latency` samples the output is the input, phase and all."""
    instance = wire().instance(rate, quality)
    x = sine(440, rate, 20000)
    y = instance.process(x)
    late = instance.latency
    assert 0 < late < 0.02 * rate
    error = (y[late + 2000 :] - x[2000 : len(x) - late])[: 20000 - 4000 - late]
    assert np.max(np.abs(error)) < [2e-3, 1e-4, 1e-5][quality]


@pytest.mark.parametrize("rate", [44100, 96000])
def test_aliases_are_far_down(rate: float) -> None:
    """A tone comes back as that tone: everything else together is 90 dB below."""
    y = wire().instance(rate, 1).process(sine(9000, rate, 1 << 16))[8192:]
    spectrum = np.abs(np.fft.rfft(y * np.kaiser(len(y), 20))) ** 2  # leaks less than -150 dB beyond 8 bins
    peak = int(np.argmax(spectrum))
    assert abs(peak * rate / len(y) - 9000) < 2
    rest = spectrum.copy()
    rest[peak - 8 : peak + 9] = 0
    assert 10 * np.log10(np.sum(rest) / np.sum(spectrum)) < -90


@pytest.mark.parametrize("rate", RATES)
def test_never_runs_dry(rate: float) -> None:
    """Random block sizes, sample by sample the same as one block: the queue always has enough."""
    rng = np.random.default_rng(3)
    x = rng.normal(0, 0.2, 30000).astype(np.float32)
    wanted = wire().instance(rate).process(x)
    instance, parts, at = wire().instance(rate), [], 0
    while at < len(x):
        n = int(rng.integers(1, 200))
        parts.append(instance.process(x[at : at + n]))
        at += n
    assert np.array_equal(np.concatenate(parts), wanted)


def test_an_amp_sounds_the_same_at_another_rate() -> None:
    """A gentle WaveNet at 44.1 and 96 kHz, brought to 48 kHz by SciPy, is the 48 kHz output within the filters' band."""
    from scipy.signal import resample_poly

    arrays = [models.layer_array(1, 4, 1, [1, 2, 4], head_bias=True)]
    weights = models.wavenet_weights(arrays, np.random.default_rng(5), scale=0.5)
    model = parse(models.model_file("WaveNet", {"layers": arrays}, weights))
    wanted = model.instance(48000).process(sine(500, 48000, 48000))
    for rate, up, down in ((44100, 160, 147), (96000, 1, 2)):
        instance = model.instance(rate, 2)
        y = instance.process(sine(500, rate, rate))
        y = resample_poly(np.concatenate([y[instance.latency :], np.zeros(instance.latency)]), up, down)
        part = slice(10000, 40000)
        assert np.sum((y[part] - wanted[part]) ** 2) / np.sum(wanted[part] ** 2) < 1e-6, rate


@pytest.mark.parametrize("stated", [{}, {"sample_rate": None}, {"sample_rate": 44100}])
def test_a_containers_rate_is_that_of_its_models(stated: dict) -> None:
    """Where these state none of their own."""
    one = {"architecture": "Linear", "config": {"receptive_field": 1, "bias": False}, "weights": [1]}
    sizes = [{"max_value": 0.5, "model": one | stated}, {"max_value": 1, "model": one | {"sample_rate": 44100}}]
    file = {"architecture": "SlimmableContainer", "config": {"submodels": sizes}, "sample_rate": 44100}
    assert parse(json.dumps(file)).rate == 44100


def test_too_far_apart() -> None:
    model = wire(1000)
    with pytest.raises(ValueError, match="too far apart|cannot convert"):
        model.instance(1e6, 2)


@pytest.mark.parametrize("rate", [44100, 96000])
def test_a_new_instance_has_heard_silence(rate: float) -> None:
    """An onset right at the start gives what it gives after a second of silence; an offset is there too."""
    x = sine(440, rate, 8192) + np.float32(0.3)
    offset = parse(json.dumps({"architecture": "Linear", "config": {"receptive_field": 1, "bias": True},
                               "weights": [0.5, 0.25], "sample_rate": 48000}))
    period = rate // 100  # after which the two rates' clocks meet again
    waited = offset.instance(rate)
    assert np.max(np.abs(waited.process(np.zeros(100 * period, np.float32)) - 0.25)) < 1e-4  # the filters ripple
    assert np.max(np.abs(waited.process(x) - offset.instance(rate).process(x))) < 1e-6
