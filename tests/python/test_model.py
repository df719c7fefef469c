"""Models and instances from Python: what they take, what they give, and what they refuse."""

import gc
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import neurig
from neurig._core import ffi, lib
from neurig.files import share

CRUNCH = "crunch.nam"


@pytest.fixture(scope="module")
def crunch() -> neurig.Model:
    return neurig.load(share("models", CRUNCH))


@pytest.fixture(scope="module")
def phrase() -> NDArray[np.float32]:
    """The first second of the bundled guitar phrase."""
    samples, rate = soundfile.read(share("models", "phrase.wav"), dtype="float32")
    assert rate == 48000
    return samples[:48000]


def test_importing_neurig_loads_nothing_heavy() -> None:
    code = "import sys, neurig; dir(neurig); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "cffi", "h5py", "soundfile", "pyo", "rich", "neurig._core"} & set(loaded)


def test_everything_announced_is_there() -> None:
    for name in neurig.__all__:
        assert getattr(neurig, name) is not None
        assert name in dir(neurig)
    with pytest.raises(AttributeError, match="no attribute 'amp'"):
        neurig.amp


def test_version_is_that_of_the_project() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert f'version = "{neurig.__version__}"' in pyproject.read_text()


def test_a_model_tells_about_itself(crunch: neurig.Model) -> None:
    assert crunch.path == share("models", CRUNCH)
    assert crunch.is_amp and not crunch.is_predictor
    assert crunch.rate == 48000
    assert crunch.params == ()
    assert crunch.info["kind"] == "amp"
    assert crunch.info["architecture"] == "WaveNet"
    assert crunch.info["weights"] == len(json.loads(share("models", CRUNCH).read_text())["weights"])
    assert CRUNCH in repr(crunch)


def test_block_size_makes_no_difference(crunch: neurig.Model, phrase: NDArray[np.float32]) -> None:
    whole = crunch.instance().process(phrase)
    assert whole.dtype == np.float32 and whole.shape == phrase.shape
    assert np.abs(whole).max() > 0.01
    random = np.random.default_rng(0)
    for sizes in ([1] * 500, [64] * 200, [333] * 60, [4096] * 8, random.integers(0, 700, 80).tolist()):
        instance = crunch.instance(block=int(sizes[0]))
        ends = np.cumsum(sizes)
        output = np.concatenate([instance.process(part) for part in np.split(phrase[: ends[-1]], ends[:-1])])
        assert np.abs(output - whole[: ends[-1]]).max() < 1e-6


def test_reset_is_a_new_start(crunch: neurig.Model, phrase: NDArray[np.float32]) -> None:
    instance = crunch.instance()
    first = instance.process(phrase[:9000])
    assert not np.array_equal(instance.process(phrase[:9000]), first)
    instance.reset()
    assert np.array_equal(instance.process(phrase[:9000]), first)


def test_samples_of_many_kinds(gain_model: Path) -> None:
    instance = neurig.load(gain_model).instance()
    expected = np.array([0, 0.5, -0.25], np.float32)
    source = np.array([0, 1, -0.5])
    for samples in (source, source.astype(np.float16), source.tolist(), tuple(source), np.repeat(source, 3)[::3],
                    np.asfortranarray(np.stack([source, source]).T)[:, 1]):
        output = instance.process(samples)
        assert output.dtype == np.float32
        assert np.allclose(output, expected, atol=1e-7)
    assert np.allclose(instance.process([0, 1, 1]), [0, 0.5, 0.5])
    assert instance.process([]).shape == (0,)
    read_only = np.ones(4, np.float32)
    read_only.setflags(write=False)
    assert np.allclose(instance.process(read_only), 0.5)
    assert np.all(read_only == 1)


@pytest.mark.parametrize(
    ("samples", "problem", "reason"),
    [
        (np.zeros((100, 2), np.float32), ValueError, r"one channel, shape \(n,\).*\(100, 2\)"),
        (0.5, ValueError, "one channel"),
        (np.zeros(4, np.int16), TypeError, "int16: scale"),
        (np.zeros(4, complex), TypeError, "complex128"),
        ("guitar.wav", TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
    ],
)
def test_what_is_not_one_channel_is_refused(
    crunch: neurig.Model, samples: object, problem: type[Exception], reason: str
) -> None:
    with pytest.raises(problem, match=reason):
        crunch.instance().process(samples)


def test_conversion_of_the_rate_has_a_latency_that_is_told(gain_model: Path) -> None:
    model = neurig.load(gain_model)
    assert model.instance(48000).latency == 0
    latencies = []
    for quality in (0, 1, 2):
        instance = model.instance(44100, quality)
        latencies.append(instance.latency)
        pulse = np.zeros(8192, np.float32)
        pulse[1000] = 1
        assert abs(int(np.argmax(instance.process(pulse))) - 1000 - instance.latency) <= 1
    assert 0 < latencies[0] < latencies[1] < latencies[2]


def test_an_impulse_response_convolves(phrase: NDArray[np.float32]) -> None:
    response, rate = soundfile.read(share("models", "open-back.wav"), dtype="float32")
    instance = neurig.impulse_response(response, rate).instance(rate)
    assert instance.latency == 0
    output = np.concatenate([instance.process(part) for part in np.split(phrase, range(64, 48000, 64))])
    size = len(phrase) + len(response)
    spectra = np.fft.rfft(phrase.astype(float), size) * np.fft.rfft(response.astype(float), size)
    assert np.abs(output - np.fft.irfft(spectra, size)[: len(phrase)]).max() < 1e-5


def test_impulse_responses_that_are_none() -> None:
    for samples, rate in (([], 48000), ([1.0, np.nan], 48000), ([1.0], 0)):
        with pytest.raises(neurig.ModelError):
            neurig.impulse_response(np.array(samples, np.float32), rate)


def _changed(**changes: object) -> str:
    model = {"version": "0.5.4", "architecture": "Linear", "config": {"receptive_field": 2, "bias": False},
             "weights": [0.5, 0.25], "sample_rate": 48000}
    return json.dumps(model | changes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("RIFF", "sound file"),
        ("[1, 2]", "not a model"),
        (_changed(architecture="Transformer"), "Transformer"),
        (_changed(weights=[0.5]), "2.*1|1.*2"),
        (_changed(weights=[0.5, 0.25, 0.1]), "2.*3|3.*2"),
        (_changed(config={"receptive_field": 10**15, "bias": False}), "receptive_field"),
        (_changed().replace("0.25", "NaN"), "finite"),
        (_changed().replace("0.25", "1e999"), "finite|overflow"),
    ],
)
def test_wrong_files_are_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "wrong.nam"
    path.write_text(text)
    with pytest.raises(neurig.ModelError, match=reason) as caught:
        neurig.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and len(message) > len(f"{path}: ") and "\n" not in message


def test_missing_files_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.nam", tmp_path, tmp_path / ("long" * 1000)):
        with pytest.raises(neurig.ModelError, match=str(path)):
            neurig.load(path)


def test_knobs_that_are_not_there(crunch: neurig.Model) -> None:
    instance = crunch.instance()
    for knob in ("tone", 0, -1):
        with pytest.raises(ValueError, match="no knob .*: this model has none"):
            instance.set(knob, 0.5)
        with pytest.raises(ValueError, match="no knob"):
            instance.get(knob)


def test_instances_of_what_they_cannot_be(crunch: neurig.Model, mdrnn_file: Path) -> None:
    with pytest.raises(neurig.ModelError, match="random.mdrnn: "):
        neurig.load(mdrnn_file).instance()
    for rate in (0, -48000, float("nan"), 1e12):
        with pytest.raises(neurig.ModelError):
            crunch.instance(rate)


def test_an_instance_outlives_the_names_of_its_model(phrase: NDArray[np.float32]) -> None:
    model = neurig.load(share("models", CRUNCH))
    expected = model.instance().process(phrase[:2000])
    instance = model.instance()
    del model
    gc.collect()
    assert np.array_equal(instance.process(phrase[:2000]), expected)


def test_the_interpreter_is_free_while_a_model_computes(crunch: neurig.Model) -> None:
    instance = crunch.instance()
    samples = np.random.default_rng(0).normal(0, 0.1, 1_000_000).astype(np.float32)
    span: list[float] = []

    def work() -> None:  # one single call of the core
        span.append(time.perf_counter())
        buffer = ffi.from_buffer("float[]", samples, require_writable=True)
        lib.neurig_instance_process(instance._handle, buffer, buffer, len(samples))
        span.append(time.perf_counter())

    thread = threading.Thread(target=work)
    thread.start()
    ticks = []
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.0005)
    assert sum(span[0] < tick < span[1] for tick in ticks) >= 5


def test_threads_do_not_disturb_each_other(crunch: neurig.Model, phrase: NDArray[np.float32]) -> None:
    expected = crunch.instance().process(phrase)
    outputs: dict[int, NDArray[np.float32]] = {}

    def work(number: int) -> None:
        instance = crunch.instance()
        outputs[number] = np.concatenate([instance.process(part) for part in np.array_split(phrase, 100)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for output in outputs.values():
        assert np.abs(output - expected).max() < 1e-6
    assert len(outputs) == 4
