"""Every architecture against NumPy, on random models, at every block size and with every instruction set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from core import models
from neurig.model import Model, parse

RNG_SEED = 20
BLOCKS = [1, 7, 64, 333, 4096]


def esr(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sum((got - wanted) ** 2) / np.sum(wanted**2))


def noise(n: int = 5000) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.3, n).astype(np.float32)


def in_blocks(model: Model, x: np.ndarray, block: int, rate: float = 48000) -> np.ndarray:
    instance = model.instance(rate)
    return np.concatenate([instance.process(x[i : i + block]) for i in range(0, len(x), block)])


WAVENETS = {
    "one layer of one channel": [models.layer_array(1, 1, 1, [1], kernel=2)],
    "feather": [models.layer_array(1, 8, 4, [1, 2, 4, 8, 16]), models.layer_array(8, 4, 1, [32, 64, 1], head_bias=True)],
    "standard": [models.layer_array(1, 16, 8, [1, 2, 4, 512]), models.layer_array(16, 8, 1, [1, 256], head_bias=True)],
    "gated": [models.layer_array(1, 6, 3, [1, 2], gated=True), models.layer_array(6, 3, 1, [4], gated=True)],
    "odd sizes": [models.layer_array(1, 13, 5, [3, 7], kernel=5), models.layer_array(13, 5, 11, [2], kernel=1),
                  models.layer_array(5, 11, 1, [9], kernel=2, head_bias=True)],
} | {name: [models.layer_array(1, 5, 1, [1, 2], activation=name)] for name in models.ACTIVATIONS}


@pytest.mark.parametrize("name", WAVENETS)
def test_wavenet(name: str) -> None:
    arrays = WAVENETS[name]
    weights = models.wavenet_weights(arrays, np.random.default_rng(RNG_SEED))
    x = noise()
    model = parse(models.model_file("WaveNet", {"layers": arrays, "head": None, "head_scale": 0.02}, weights))
    assert esr(model.instance().process(x), models.wavenet(arrays, weights, x.astype(float))) < 1e-11
    past = sum((a["kernel_size"] - 1) * sum(a["dilations"]) for a in arrays)
    assert model.info["receptive_field"] == past + 1


@pytest.mark.parametrize(("units", "layers"), [(1, 1), (3, 2), (16, 1), (20, 1), (40, 3)])
def test_lstm(units: int, layers: int) -> None:
    weights = models.lstm_weights(units, layers, np.random.default_rng(RNG_SEED))
    config = {"input_size": 1, "hidden_size": units, "num_layers": layers}
    model = parse(models.model_file("LSTM", config, weights, sample_rate=48000))
    x = noise(2000)
    warm = np.concatenate([np.zeros(24000), x.astype(float)])
    assert esr(model.instance().process(x), models.lstm(units, layers, weights, warm)[24000:]) < 1e-10


def test_lstm_of_several_outputs() -> None:
    """Its first output is what an LSTM without the others gives."""
    rng = np.random.default_rng(RNG_SEED)
    config, weights = {"input_size": 2, "hidden_size": 5, "num_layers": 1}, rng.normal(0, 0.4, 4 * 5 * 8 + 10 + 6)
    one = parse(models.model_file("LSTM", config, weights))
    weights = np.concatenate([weights[:-1], rng.normal(size=10), weights[-1:], [1, 2]])
    three = parse(models.model_file("LSTM", config | {"in_channels": 2, "out_channels": 3}, weights))
    assert three.params == one.params == ("input 2",)
    assert three.info["warning"] == "it has 3 outputs; the first is heard" and "warning" not in one.info
    assert np.array_equal(three.instance().process(noise()), one.instance().process(noise()))


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_filter_as_condition(wrapped: bool) -> None:
    """By itself, or the largest of several sizes."""
    arrays, taps = WAVENETS["feather"], np.array([0.5, -0.25, 0, 2])
    weights = models.wavenet_weights(arrays, np.random.default_rng(RNG_SEED))
    condition, other = (json.loads(models.model_file("Linear", {"receptive_field": 4, "bias": False}, part))
                        for part in (taps, taps[::-1]))  # fmt: skip
    if wrapped:
        sizes = [{"max_value": 0.5, "model": other}, {"max_value": 1, "model": condition}]
        condition = {"architecture": "SlimmableContainer", "config": {"submodels": sizes}}
    model = parse(models.model_file("WaveNet", {"layers": arrays, "condition_dsp": condition}, weights))
    x = noise()
    past = np.zeros(model.info["receptive_field"] - 1)
    filtered = np.convolve(np.concatenate([past, x]), taps)[3 : -3]  # without its own past and tail
    wanted = models.wavenet(arrays, weights, x.astype(float), condition=filtered)
    assert esr(model.instance().process(x), wanted) < 1e-11


def test_an_lstm_as_condition() -> None:
    """The model remembers for ever then, and can be computed exactly."""
    arrays, rng = WAVENETS["feather"], np.random.default_rng(RNG_SEED)
    weights, own = models.wavenet_weights(arrays, rng), models.lstm_weights(6, 2, rng)
    config = {"input_size": 1, "hidden_size": 6, "num_layers": 2}
    condition = json.loads(models.model_file("LSTM", config, own))
    model = parse(models.model_file("WaveNet", {"layers": arrays, "condition_dsp": condition}, weights))
    x = np.concatenate([np.zeros(24000), noise(3000)])
    made = models.lstm(6, 2, own, x)
    past = parse(models.model_file("WaveNet", {"layers": arrays}, weights)).info["receptive_field"] - 1
    wanted = models.wavenet(arrays, weights, x, condition=np.concatenate([np.full(past, made[0]), made]))[24000:]
    assert model.info["receptive_field"] is None
    usual, exact = (model.instance(exact=exact).process(x[24000:]) for exact in (False, True))
    assert esr(usual, wanted) < 1e-10 and esr(exact, wanted) < 1e-11
    assert not np.array_equal(usual, exact)


@pytest.mark.parametrize(("inputs", "outputs"), [(2, 2), (1, 3), (3, 1)])
def test_linear_of_several_channels(inputs: int, outputs: int) -> None:
    """Each channel has the same filter; the first is heard."""
    config, taps = {"receptive_field": 100, "bias": True}, np.random.default_rng(RNG_SEED).normal(0, 0.1, 101)
    one = parse(models.model_file("Linear", config, taps))
    several = parse(models.model_file("Linear", config | {"in_channels": inputs, "out_channels": outputs}, taps))
    assert len(several.params) == inputs - 1 and ("warning" in several.info) == (outputs > 1)
    assert np.array_equal(several.instance().process(noise()), one.instance().process(noise()))


@pytest.mark.parametrize(("length", "bias"), [(1, False), (10, True), (64, False), (65, True), (5000, False)])
def test_linear(length: int, bias: bool) -> None:
    taps = np.random.default_rng(RNG_SEED).normal(0, 1 / np.sqrt(length), length).astype(np.float32)
    weights = [*taps, 0.25] if bias else taps
    model = parse(models.model_file("Linear", {"receptive_field": length, "bias": bias}, weights))
    x = noise()
    wanted = np.convolve(x.astype(float), taps.astype(float))[: len(x)] + (0.25 if bias else 0)
    assert esr(model.instance().process(x), wanted) < 1e-12


def samples_of_every_kind() -> dict[str, Model]:
    rng = np.random.default_rng(RNG_SEED)
    made = {}
    for name in ("feather", "gated", "odd sizes"):
        file = models.model_file("WaveNet", {"layers": WAVENETS[name]}, models.wavenet_weights(WAVENETS[name], rng))
        made["WaveNet " + name] = parse(file)
    config = {"input_size": 1, "hidden_size": 20, "num_layers": 2}
    made["LSTM"] = parse(models.model_file("LSTM", config, models.lstm_weights(20, 2, rng)))
    made["Linear"] = parse(models.model_file("Linear", {"receptive_field": 700, "bias": False}, rng.normal(0, 0.03, 700)))
    return made


@pytest.mark.parametrize("name", samples_of_every_kind())
@pytest.mark.parametrize("rate", [48000, 44100])
def test_block_sizes_give_the_same_samples(name: str, rate: float) -> None:
    model, x = samples_of_every_kind()[name], noise(9000)
    wanted = model.instance(rate).process(x)
    for block in BLOCKS:
        assert np.array_equal(in_blocks(model, x, block, rate), wanted), f"block {block}"


@pytest.mark.parametrize("name", samples_of_every_kind())
@pytest.mark.parametrize("rate", [48000, 44100])
def test_reset_is_a_new_instance(name: str, rate: float) -> None:
    instance, x = samples_of_every_kind()[name].instance(rate), noise()
    first = instance.process(x)
    assert not np.array_equal(instance.process(x), first)
    instance.reset()
    assert np.array_equal(instance.process(x), first)


def test_a_new_instance_is_prewarmed() -> None:
    """Silence in: what comes out does not change any more."""
    for name, model in samples_of_every_kind().items():
        y = model.instance().process(np.zeros(20000, np.float32))
        assert np.max(np.abs(y - y[0])) < 1e-6, name


@pytest.mark.parametrize("simd", ["baseline", "avx2"])
def test_other_instruction_sets(simd: str, tmp_path: Path) -> None:
    """The kernels for lesser CPUs give the same but for rounding."""
    arrays = WAVENETS["odd sizes"]
    rng = np.random.default_rng(RNG_SEED)
    files = {
        "w": models.model_file("WaveNet", {"layers": arrays}, models.wavenet_weights(arrays, rng)),
        "l": models.model_file("LSTM", {"input_size": 1, "hidden_size": 20, "num_layers": 1}, models.lstm_weights(20, 1, rng)),
        "f": models.model_file("Linear", {"receptive_field": 700, "bias": False}, rng.normal(0, 0.03, 700)),
    }
    x = noise()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        np.save(tmp_path / f"{name}.npy", parse(text).instance().process(x))
    script = (
        "import sys, numpy as np, neurig\n"
        "x = np.load(sys.argv[1])\n"
        "for name in sys.argv[2:]: np.save(name + '.other.npy', neurig.load(name).instance().process(x))\n"
    )
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", script, str(tmp_path / "x.npy"), *(str(tmp_path / name) for name in files)]
    subprocess.run(command, env=os.environ | {"NEURIG_SIMD": simd}, check=True, timeout=60)
    for name in files:
        assert esr(np.load(tmp_path / f"{name}.other.npy"), np.load(tmp_path / f"{name}.npy").astype(float)) < 1e-10


REFERENCES = {  # greatest ESR against the reference render, after the first half second
    "BossWN-standard.nam": 1e-10, "BossWN-feather.nam": 1e-10, "BossWN-nano.nam": 1e-10, "wavenet.nam": 1e-10,
    "wavenet_a1_standard.nam": 1e-10, "linear_10.nam": 1e-10, "BossLSTM-1x16.nam": 1e-8, "lstm.nam": 1e-8,
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_render(name: str, data: Path) -> None:
    import soundfile

    x, rate = soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")
    text = (data / "amps" / name).read_bytes()
    wanted = np.load(data / "amps" / f"{name}.npy").astype(float)
    got = parse(text).instance(rate).process(x)
    assert esr(got[24000:], wanted[24000:]) <= REFERENCES[name]


def test_info() -> None:
    model = samples_of_every_kind()["WaveNet feather"]
    assert model.is_amp and not model.is_predictor
    assert model.info["kind"] == "amp" and model.info["architecture"] == "WaveNet"
    assert model.info["sample_rate"] == 48000 and model.info["params"] == []
    text = models.model_file("Linear", {"receptive_field": 1, "bias": False}, [1], sample_rate=44100,
                             metadata={"name": "wire", "loudness": -18.5})
    wire = parse(text)
    assert wire.rate == 44100 and wire.info["metadata"] == {"name": "wire", "loudness": -18.5}
    assert json.dumps(wire.info)
