"""LSTM and GRU: the exact mode against float64, and several channels together against each by itself."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import neurig
from core import models, stacks
from core.stacks import Stack
from core.test_models import esr, noise
from neurig.model import Model, parse

EXACT = 1e-11  # ESR, in the exact mode
USUAL = 1e-9  # and without it

# ---- The exact mode --------------------------------------------------------------------------------------------------


def nam_lstm(units: int, layers: int) -> tuple[str, Callable]:
    weights = models.lstm_weights(units, layers, np.random.default_rng(units))
    config = {"input_size": 1, "hidden_size": units, "num_layers": layers}
    return models.model_file("LSTM", config, weights), lambda x: models.lstm(units, layers, weights, x)


def stack(made: Stack) -> tuple[str, Callable]:
    return json.dumps(made.file()), lambda x: stacks.run(made, x, silence=0)


def guitarml(unit: str, **more: int) -> tuple[str, Callable]:
    file = stacks.guitarml(unit, 10, **more)
    knobs = [0.5] * (more.get("inputs", 1) - 1)
    return json.dumps(file), lambda x: stacks.run_guitarml(file, x, knobs, silence=0)


RANDOM = {
    "NAM LSTM of one unit": lambda: nam_lstm(1, 1),
    "NAM LSTM of 3 in 2 layers": lambda: nam_lstm(3, 2),
    "NAM LSTM of 20": lambda: nam_lstm(20, 1),
    "GRU of 24": lambda: stack(Stack().gru(24).dense(1)),
    "LSTM and GRU with a knob": lambda: stack(Stack(inputs=2).dense(5, "tanh").lstm(9).gru(17).dense(1)),
    "GuitarML LSTM": lambda: guitarml("LSTM", layers=2, skip=1),
    "GuitarML GRU": lambda: guitarml("GRU", inputs=3),
}


@pytest.mark.parametrize("name", RANDOM)
def test_exact_mode_of_random_models(name: str) -> None:
    text, truth = RANDOM[name]()
    x, model = noise(6000), parse(text)
    wanted = truth(np.concatenate([np.zeros(3000), x]))[3000:]
    settled = np.s_[2000:]  # from another silence they come together
    assert esr(model.instance(exact=True).process(x)[settled], wanted[settled]) < EXACT
    assert esr(model.instance().process(x)[settled], wanted[settled]) < USUAL


FIELD = ["BossLSTM-1x16.nam", "lstm.nam", "BluesJR_FullD.json", "HT40_Overdrive.json", "JoyoExtremeMetal.json",
         "TS9.json", "TS9_HighDrive_RTNeural.json", "GRU16c_RTNeural.json", "tw40_british_rhythm_deerinkstudios.json",
         "jcm900_slx_deer_ink_studiosLSTM-16.aidax", "MESA_MK3_CRUNCH_LIGHTEST_MELODISAMPO.aidax"]  # fmt: skip


@cache
def field_truth(path: Path, frames: int) -> NDArray[np.float64]:
    """What a file gives for the guitar, in float64, from silence on."""
    file, x = json.loads(path.read_text()), np.asarray(guitar(path.parent.parent)[:frames], np.float64)
    if path.suffix == ".nam":
        config, weights = file["config"], np.array(file["weights"], np.float32).astype(np.float64)
        return models.lstm(config["hidden_size"], config["num_layers"], weights, x)
    if "state_dict" in file:
        about = {"num_layers": 1} | file["model_data"]
        return stacks.run_guitarml(file | {"model_data": about}, x, [0.5] * (about["input_size"] - 1), silence=0)
    inputs = np.stack([x, *[np.full(frames, 0.5)] * (file["in_shape"][-1] - 1)], 1)
    for layer in file["layers"]:
        layer["weights"] = [np.array(part, np.float32).astype(np.float64) for part in layer["weights"]]
    return stacks.run_stack(file["layers"], inputs)[:, 0] + (x if file.get("in_skip") else 0)


def guitar(data: Path) -> NDArray[np.float32]:
    import soundfile

    return soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")[0]


@pytest.mark.parametrize("name", FIELD)
def test_exact_mode_of_files_from_the_field(name: str, data: Path) -> None:
    """The reference renders were made in single precision: where they miss the bound, so does the truth."""
    path, frames, settled = data / "amps" / name, 36000, np.s_[24000:36000]
    truth = field_truth(path, frames)[settled]
    reference = np.load(f"{path}.npy").astype(np.float64)[settled]
    model, x = neurig.load(path), guitar(data)[:frames]
    exact = model.instance(exact=True).process(x)[settled]
    assert esr(exact, truth) < EXACT / 4
    assert esr(exact, reference) < max(EXACT, 1.1 * esr(truth, reference))
    assert esr(model.instance().process(x)[settled], truth) < USUAL / 10


@pytest.mark.parametrize("name", ["lstm", "lstm_1d", "gru", "gru_1d", "lstm_torch", "gru_torch"])
def test_exact_mode_of_rtneurals_own_tests(name: str, data: Path) -> None:
    folder, settled = data / "rtneural", np.s_[500 if "torch" in name else 50 :]
    x, wanted = (np.loadtxt(folder / f"{name}_{axis}_python.csv", delimiter=",") for axis in "xy")
    instance = neurig.load(folder / f"{name}.json").instance(exact=True)
    assert esr(instance.process(x.astype(np.float32))[settled], wanted[settled]) < EXACT


def wavenet() -> str:
    arrays = [models.layer_array(1, 4, 1, [1, 2])]
    weights = models.wavenet_weights(arrays, np.random.default_rng(1))
    return models.model_file("WaveNet", {"layers": arrays}, weights)


def test_exact_mode_changes_no_other_model() -> None:
    model, x = parse(wavenet()), noise(1000)
    assert np.array_equal(model.instance(exact=True).process(x), model.instance().process(x))


def test_exact_mode_forgets_an_accident() -> None:
    instance = parse(nam_lstm(16, 1)[0]).instance(exact=True)
    instance.process(np.array([0.5, np.nan, np.inf, 3e38], np.float32))
    instance.process(np.zeros(4000, np.float32))
    assert np.all(np.isfinite(instance.process(np.full(64, 0.1, np.float32))))


# ---- Channels together -----------------------------------------------------------------------------------------------

UNITS = [1, 4, 5, 8, 12, 16, 17, 20, 24, 33, 40, 64, 80]


def differing(units: list[int]) -> list[str]:
    """Channels that are not, bit for bit, what an instance of their own gives."""
    wrong = []
    for cell in ("lstm", "gru"):
        for n in units:
            made = Stack().dense(3, "tanh")
            model = parse(json.dumps(getattr(made, cell)(n).dense(1).file()))
            for channels in (2, 3, 4, 5, 8, 11):
                x = np.random.default_rng(n).normal(0, 0.4, (channels, 700)).astype(np.float32)
                alone = np.stack([model.instance().process(row) for row in x])
                for block in (700, 50):
                    if not np.array_equal(in_blocks(model, x, block), alone):
                        wrong.append(f"{channels} channels of {cell} {n} in blocks of {block}")
    return wrong


def in_blocks(model: Model, x: NDArray, block: int, rate: float = 48000) -> NDArray:
    instance = model.instance(rate, channels=len(x))
    return np.concatenate([instance.process(x[:, i : i + block]) for i in range(0, x.shape[1], block)], axis=1)


def test_channels_together_are_those_alone() -> None:
    assert not differing(UNITS)


@pytest.mark.parametrize("simd", ["baseline", "avx2"])
def test_channels_together_with_other_instruction_sets(simd: str) -> None:
    script = f"from core.test_recurrent import differing; print(differing({UNITS[::2]}))"
    environment = os.environ | {"NEURIG_SIMD": simd, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr + done.stdout


EVERY_KIND = {
    "LSTM of two layers": lambda: nam_lstm(16, 2)[0],
    "GuitarML with knobs": lambda: guitarml("LSTM", inputs=3, skip=1)[0],
    "convolution and GRU": lambda: stack(Stack().conv(6, 3, 2).gru(16).dense(1))[0],
    "linear": lambda: models.model_file("Linear", {"receptive_field": 3, "bias": False}, [1, 0.5, 0.25]),
    "WaveNet": wavenet,
}


@pytest.mark.parametrize("name", EVERY_KIND)
@pytest.mark.parametrize("rate", [48000, 44100])
@pytest.mark.parametrize("exact", [False, True])
def test_channels_of_every_kind(name: str, rate: float, exact: bool) -> None:
    model = parse(EVERY_KIND[name]())
    x = np.random.default_rng(3).normal(0, 0.3, (3, 1000)).astype(np.float32)
    together = model.instance(rate, channels=3, exact=exact)
    alone = [model.instance(rate, exact=exact) for _ in x]
    for part in (x[:, :300], x[:, 300:301], x[:, 301:]):
        wanted = np.stack([instance.process(row) for instance, row in zip(alone, part, strict=True)])
        assert np.array_equal(together.process(part), wanted)
        for instance in (together, *alone):
            for knob in range(len(model.params)):
                instance.set(knob, 0.8)
    for instance in (together, *alone):
        instance.reset()
    assert np.array_equal(together.process(x), [instance.process(row) for instance, row in zip(alone, x, strict=True)])
    assert together.latency == alone[0].latency and together.channels == 3


@pytest.mark.parametrize("channels", [0, 65])
def test_number_of_channels(channels: int) -> None:
    with pytest.raises(neurig.ModelError, match="1 to 64"):
        parse(EVERY_KIND["linear"]()).instance(channels=channels)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 2, 2)])
def test_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"2 channels, shape \(2, n\)"):
        parse(EVERY_KIND["linear"]()).instance(channels=2).process(np.zeros(shape, np.float32))
