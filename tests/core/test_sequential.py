"""The families beside NAM - RTNeural and AIDA-X, GuitarML, WaveNetVA and PedalNetRT - against NumPy, against what their
own engines rendered, and in what hosts see of them: knobs, gains, rates, warnings."""

import json
from pathlib import Path

import numpy as np
import pytest

from core import stacks
from core.stacks import Stack
from core.test_models import BLOCKS, esr, in_blocks, noise
from neurig.model import Model, parse

STACKS = {
    "dense": Stack().dense(1),
    "dense without bias": Stack().dense(5, "tanh", bias=False).dense(1, bias=False),
    "dense of every activation": Stack()
    .dense(6, "tanh")
    .dense(7, "relu")
    .dense(8, "sigmoid")
    .dense(5, "elu")
    .dense(9, "softmax")
    .dense(1),
    "activations by themselves": Stack()
    .dense(6)
    .activation("tanh")
    .dense(7)
    .activation("relu")
    .dense(4)
    .activation("elu")
    .dense(3)
    .activation("softmax")
    .activation("")
    .dense(1)
    .activation("sigmoid"),
    "time-distributed dense": Stack().dense(8, "tanh", kind="time-distributed-dense").dense(1),
    "convolution": Stack().conv(4, 3, activation="tanh").conv(1, 5, 7),
    "grouped": Stack()
    .conv(6, 3, 2, activation="tanh")
    .conv(9, 2, 3, groups=3, activation="relu")
    .conv(18, 2, groups=9)
    .dense(1, "tanh"),
    "more taps than one sum holds": Stack().conv(3, 65, activation="tanh").conv(2, 200, 3, bias=False).dense(1),
    "far back": Stack().conv(3, 2, 4000, activation="tanh").dense(1),
    "batch norm and PReLU": Stack()
    .batch_norm()
    .conv(5, 3)
    .batch_norm()
    .prelu()
    .conv(4, 2, 3)
    .batch_norm(affine=False)
    .prelu(shared=True)
    .dense(1),
    "activation first": Stack().activation("tanh").prelu().dense(1),
    "nothing but activations": Stack().activation("tanh").prelu(),
    "two-dimensional": Stack(inputs=9)
    .conv2d(9, 3, (4, 3), dilation=2)
    .batch_norm(kind="batchnorm2d", filters=3)
    .activation("tanh")
    .conv2d(7, 2, (2, 4), stride=2, padding="same")
    .batch_norm(kind="batchnorm2d", affine=False, filters=2)
    .conv2d(4, 1, (1, 4)),
    "wide": Stack().dense(40, "tanh").conv(33, 2, 9, activation="sigmoid").dense(1),
    "LSTM of 1": Stack().lstm(1).dense(1),
    "LSTM of 8": Stack().lstm(8).dense(1),
    "LSTM of 16 with a knob": Stack(inputs=2).lstm(16).dense(1),
    "LSTM of 20 with two knobs": Stack(inputs=3).lstm(20).dense(1),
    "LSTM of 40": Stack().lstm(40).dense(1),
    "LSTMs": Stack().lstm(5).lstm(12).dense(3, "tanh").dense(1),
    "GRU of 1": Stack().gru(1).dense(1),
    "GRU of 16": Stack().gru(16).dense(1),
    "GRU of 17 with a knob": Stack(inputs=2).gru(17).dense(1),
    "GRUs": Stack().gru(12).gru(9).dense(1, "sigmoid"),
    "everything": Stack(inputs=2)
    .dense(8, "tanh")
    .conv(6, 3, 2, groups=2)
    .batch_norm()
    .gru(10)
    .prelu()
    .lstm(7)
    .conv(4, 2, 5)
    .dense(1),
}


def bound(stack: Stack) -> float:
    return 1e-10 if any(layer["type"] in ("lstm", "gru") for layer in stack.layers) else 1e-11


@pytest.mark.parametrize("name", STACKS)
def test_stack(name: str) -> None:
    stack, x = STACKS[name], noise(2500)
    model = parse(stack.text())
    assert esr(model.instance().process(x), stacks.run(stack, x.astype(float), silence=4000)) < bound(stack)
    assert len(model.params) == stack.inputs - 1
    assert "warning" not in model.info


def test_description() -> None:
    stack = Stack(inputs=2).dense(8, "tanh").conv(6, 3, 2, groups=2).batch_norm().prelu().activation("softmax").dense(1)
    info = parse(stack.text(metadata={"name": "somebody's", "author": "somebody"})).info
    assert info["kind"] == "amp" and info["family"] == "RTNeural"
    assert info["architecture"] == "dense 8 tanh, conv1d 6, batch norm, PReLU, softmax, dense 1"
    assert info["receptive_field"] == 5
    assert info["macs"] == 2 * 8 + 3 * 4 * 6 + 6 and info["weights"] == info["macs"] + 8 + 6 + 1
    assert info["metadata"] == {"name": "somebody's", "author": "somebody"}
    assert [p["name"] for p in info["params"]] == ["knob1"] and info["params"][0]["default"] == 0.5
    assert parse(Stack().gru(4).dense(1).text()).info["receptive_field"] is None


@pytest.mark.parametrize(("more", "rate"), [
    ({}, 48000), ({"samplerate": 44100}, 44100), ({"sample_rate": 96000.0}, 96000),
    ({"metadata": {"samplerate": "44100"}}, 44100), ({"metadata": {"sample_rate": 32000}}, 32000),
    ({"metadata": {"samplerate": None}}, 48000), ({"metadata": "none"}, 48000),
])  # fmt: skip
def test_rate(more: dict, rate: float) -> None:
    assert parse(Stack().dense(1).text(**more)).rate == rate


# ---- Knobs, gains, the input added to the output ----------------------------------------------------------------


def test_knobs() -> None:
    stack, x = Stack(inputs=3).lstm(9).dense(1), noise(2000)
    model = parse(stack.text())
    assert model.params == ("knob1", "knob2")
    instance = model.instance()
    for knobs in ([0.9, 0.1], [0.5, 0.5], [0, 1]):
        for k, value in enumerate(knobs):
            instance.set(k, value)
        instance.process(np.zeros(8000, np.float32))
        assert esr(instance.process(x), stacks.run(stack, x.astype(float), knobs)) < 1e-10


def adder() -> Model:
    """Gives the sum of the signal and a knob."""
    return parse(
        json.dumps({"in_shape": [2], "layers": [{"type": "dense", "shape": [1], "weights": [[[1], [1]], [0]]}]})
    )


@pytest.mark.parametrize("block", [1, 64, 300])
def test_a_knob_glides(block: int) -> None:
    instance = adder().instance()
    instance.set(0, 0.25)
    silence = np.zeros(block, np.float32)
    assert np.all(instance.process(silence) == 0.25)  # what was set before the first block holds at once
    instance.set(0, 1)
    y = np.concatenate([instance.process(silence) for _ in range(3000 // block)])
    assert np.all(np.diff(y) >= 0) and np.max(np.diff(y)) < 1.01 / 960
    assert np.all(y[:715] < 1) and np.all(y[725:] == 1)


def test_gains_and_skip() -> None:
    stack, x = Stack().conv(4, 3, activation="tanh").dense(1), noise(500)
    plain = stacks.run(stack, x.astype(float) * 10 ** (6 / 20))
    got = parse(stack.text(in_gain=6, out_gain=-12.5)).instance().process(x)
    assert esr(got, plain * 10 ** (-12.5 / 20)) < 1e-11
    got = parse(stack.text(in_gain=6, out_gain=-12.5, in_skip=1)).instance().process(x)
    assert esr(got, (plain + x * 10 ** (6 / 20)) * 10 ** (-12.5 / 20)) < 1e-11
    got = parse(stack.text(in_gain=None, in_skip=0)).instance().process(x)
    assert esr(got, stacks.run(stack, x.astype(float))) < 1e-11


# ---- What a file says of itself, and is warned of -----------------------------------------------------------------


def recorded(stack: Stack, skip: int = 0) -> dict:
    """The stack's answer to noise from zero state with its knobs at 0, as AIDA-X's trainer writes it."""
    x = noise(700).astype(float)
    y = stacks.run(stack, x, [0.0] * (stack.inputs - 1), silence=0) + skip * x
    return {"input_batch": x.tolist(), "output_batch": y.tolist()} | ({"in_skip": 1} if skip else {})


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize("name", ["LSTM of 20 with two knobs", "GRUs", "everything", "batch norm and PReLU"])
def test_self_check(name: str, skip: int) -> None:
    stack = STACKS[name]
    info = parse(stack.text(**recorded(stack, skip), in_gain=3)).info
    assert info["self_check"] < 1e-10 and "warning" not in info


def test_self_check_fails_and_the_model_plays_on() -> None:
    stack = Stack().lstm(8).dense(1)
    batch = recorded(stack)
    batch["output_batch"][300] += 0.5
    model = parse(stack.text(**batch))
    assert "self-check fails" in model.info["warning"] and model.info["self_check"] > 1e-5
    assert esr(model.instance().process(noise(500)), stacks.run(stack, noise(500).astype(float))) < 1e-10


def test_self_check_of_an_answer_without_end() -> None:
    """What is not finite is no number in JSON: it is told in words alone."""
    layer = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[3e38]], [0]]}
    file = {"in_shape": [None, None, 1], "layers": [layer], "input_batch": [9.0], "output_batch": [1.0]}
    model = parse(json.dumps(file))
    assert "off by an ESR of inf" in model.info["warning"] and "self_check" not in model.info


def test_the_info_command_tells(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from neurig.cli import main

    stack = Stack(inputs=2).lstm(8).dense(2)
    path = tmp_path / "no name that matters"
    path.write_text(stack.text(**recorded(stack) | {"in_skip": 1}, metadata={"author": "somebody"}))
    done = CliRunner().invoke(main, ["info", str(path)])
    told = {line.split("  ")[0].strip(): line.split("  ", 1)[1].strip() for line in done.output.splitlines()}
    assert done.exit_code == 0 and told["family"] == "RTNeural" and told["architecture"] == "LSTM 8, dense 2"
    assert told["knob knob1"] == "0 to 1, 0.5 at first" and told["author"] == "somebody"
    assert told["warning"].startswith("it has 2 outputs; the first is heard; its self-check fails")
    assert told["self-check"].startswith("ESR ") and told["receptive field"] == "without end"


@pytest.mark.parametrize("batch", [
    {"input_batch": [0.0, 0.1], "output_batch": [0.0]}, {"input_batch": 3, "output_batch": [1]},
    {"input_batch": [], "output_batch": []}, {"input_batch": [0, "x"], "output_batch": [0, 0]},
    {"input_batch": [0, None], "output_batch": [0, 0]},
])  # fmt: skip
def test_self_check_unreadable(batch: dict) -> None:
    model = parse(Stack().dense(1).text(**batch))
    assert "self-check cannot be read" in model.info["warning"] and "self_check" not in model.info


def test_several_outputs() -> None:
    stack, x = Stack().dense(3, "tanh"), noise(500)
    model = parse(stack.text())
    assert model.info["warning"] == "it has 3 outputs; the first is heard"
    assert esr(model.instance().process(x), stacks.run(stack, x.astype(float))) < 1e-11


# ---- GuitarML and bare state_dicts --------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "units", "inputs", "layers", "skip", "bias"), [
    ("LSTM", 20, 1, 1, 1, True), ("LSTM", 40, 2, 1, 1, True), ("LSTM", 8, 3, 1, 0, True), ("LSTM", 12, 2, 3, 1, False),
    ("GRU", 16, 1, 1, 1, True), ("GRU", 20, 3, 2, 0, True), ("GRU", 3, 1, 1, 0, False),
])  # fmt: skip
def test_guitarml(unit: str, units: int, inputs: int, layers: int, skip: int, bias: bool) -> None:
    file, x = stacks.guitarml(unit, units, inputs, layers, skip, bias), noise(2500)
    model = parse(json.dumps(file))
    instance = model.instance()
    knobs = [0.8, 0.2][: inputs - 1]
    for k, value in enumerate(knobs):
        instance.set(k, value)
    instance.process(np.zeros(8000, np.float32))
    assert esr(instance.process(x), stacks.run_guitarml(file, x.astype(float), knobs)) < 1e-10
    assert model.info["family"] == "GuitarML" and model.rate == 48000
    assert model.info["architecture"] == ", ".join([f"{unit} {units}"] * layers + ["dense 1"])


def test_bare_state_dict() -> None:
    """Its modules follow each other as in the file, whatever their names."""
    first, second = (
        stacks.guitarml("GRU", 6, seed=1)["state_dict"],
        stacks.guitarml("LSTM", 5, 6, 2, seed=2)["state_dict"],
    )
    state = {name.replace("rec.", "zebra."): v for name, v in first.items() if name.startswith("rec.")}
    state |= {name.replace("rec.", "aardvark.").replace("lin.", "b.c."): v for name, v in second.items()}
    x = noise(1500)
    for text in (json.dumps(state), json.dumps({"state_dict": state})):
        model = parse(text)
        assert model.info["architecture"] == "GRU 6, LSTM 5, LSTM 5, dense 1" and model.info["family"] == "PyTorch"
        parts = {name: np.array(v, np.float64) for name, v in state.items()}
        order = np.r_[6:12, 0:6, 12:18]
        signal = np.concatenate([np.zeros(3000), x])[:, None]
        ih, hh, b, c = (parts[f"zebra.{part}_l0"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = stacks.run_gru(ih.T[:, order], hh.T[:, order], np.stack([b[order], c[order]]), signal)
        for n in range(2):
            ih, hh, b, c = (parts[f"aardvark.{part}_l{n}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            h = stacks.run_lstm(ih.T, hh.T, b + c, h)
        wanted = (h @ parts["b.c.weight"][0] + parts["b.c.bias"][0])[3000:]
        assert esr(model.instance().process(x), wanted) < 1e-10


# ---- WaveNetVA, PedalNetRT, AmpEmulatorModel ----------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "dilations", "kernel", "activation", "strings"), [
    (16, [1, 2, 4, 8], 3, "gated", True), (4, [1, 2, 64] * 3, 3, "gated", False), (1, [1], 1, "gated", False),
    (5, [3, 700], 2, "softgated", False), (7, [1, 2, 4], 5, "tanh", False), (3, [2, 2], 3, "sigmoid", True),
    (8, [1, 5], 3, "relu", False), (2, [1, 1, 1], 3, "softsign", False), (3, [1, 2], 2, "linear", False),
])  # fmt: skip
def test_gated_wavenet(channels: int, dilations: list[int], kernel: int, activation: str, strings: bool) -> None:
    file, x = stacks.gated_wavenet(channels, dilations, kernel, activation, strings), noise()
    model = parse(json.dumps(file))
    assert esr(model.instance().process(x), stacks.run_gated_wavenet(file, x.astype(float))) < 1e-11
    assert model.info["family"] == "WaveNetVA" and model.info["receptive_field"] == (kernel - 1) * sum(dilations) + 1


# ---- As every model ------------------------------------------------------------------------------------------------

KINDS = ["everything", "grouped", "two-dimensional", "more taps than one sum holds", "batch norm and PReLU",
         "GRU of 17 with a knob", "LSTM of 8"]  # fmt: skip
EVERY_KIND = {name: STACKS[name].text() for name in KINDS} | {
    "GuitarML": json.dumps(stacks.guitarml("GRU", 20, 3, 2, 1)),
    "WaveNetVA": json.dumps(stacks.gated_wavenet(6, [1, 2, 30])),
}


@pytest.mark.parametrize("name", EVERY_KIND)
def test_block_sizes_give_the_same_samples(name: str) -> None:
    model, x = parse(EVERY_KIND[name]), noise(9000)
    wanted = model.instance().process(x)
    for block in BLOCKS:
        assert np.array_equal(in_blocks(model, x, block), wanted), f"block {block}"


@pytest.mark.parametrize("name", EVERY_KIND)
def test_reset_is_a_new_instance(name: str) -> None:
    instance, x = parse(EVERY_KIND[name]).instance(), noise()
    first = instance.process(x)
    assert not np.array_equal(instance.process(x), first)
    instance.reset()
    assert np.array_equal(instance.process(x), first)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_a_new_instance_is_prewarmed(name: str) -> None:
    y = parse(EVERY_KIND[name]).instance().process(np.zeros(5000, np.float32))
    assert np.max(np.abs(y - y[0])) < 1e-6


# ---- Files from the field ------------------------------------------------------------------------------------------

REFERENCES = {  # greatest ESR against the reference render, after the first half second
    "WaveNet1-ts7.json": 1e-10, "WaveNet2-muff.json": 1e-10, "Klon-Centaur.json": 1e-10, "Muff-Pi.json": 1e-10,
    "pedalnet.json": 1e-10, "BluesJR_FullD.json": 1e-9, "HT40_Overdrive.json": 1e-9, "JoyoExtremeMetal.json": 1e-9,
    "TS9.json": 1e-9, "TS9_HighDrive_RTNeural.json": 1e-9, "GRU16c_RTNeural.json": 1e-9,
    "tw40_british_rhythm_deerinkstudios.json": 1e-9, "jcm900_slx_deer_ink_studiosLSTM-16.aidax": 1e-9,
    "MESA_MK3_CRUNCH_LIGHTEST_MELODISAMPO.aidax": 1e-9,
}  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_reference_render(name: str, data: Path) -> None:
    import soundfile

    x, rate = soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")
    wanted = np.load(data / "amps" / f"{name}.npy").astype(float)
    model = parse((data / "amps" / name).read_bytes())
    assert esr(model.instance(rate).process(x)[24000:], wanted[24000:]) <= REFERENCES[name]
    assert "warning" not in model.info and model.info.get("self_check", 0) < 1e-8


def rtneural_test(data: Path, name: str) -> tuple[dict, np.ndarray, np.ndarray]:
    folder = data / "rtneural"
    x, y = (np.loadtxt(folder / f"{name}_{axis}_python.csv", delimiter=",") for axis in "xy")
    return json.loads((folder / f"{name}.json").read_text()), x.astype(np.float32), y


@pytest.mark.parametrize("name", ["conv", "dense", "gru", "gru_1d", "lstm", "lstm_1d"])
def test_rtneural_from_zero_state(name: str, data: Path) -> None:
    """Keras starts from nothing, as the self-check does; a played model has heard silence, and joins it by and by."""
    file, x, y = rtneural_test(data, name)
    model = parse(json.dumps(file | {"input_batch": x.tolist(), "output_batch": y.tolist()}))
    assert model.info["self_check"] < 1e-11 and "warning" not in model.info
    assert esr(model.instance().process(x)[50:], y[50:]) < 1e-11


def test_rtneural_valid_convolutions(data: Path) -> None:
    """Keras gave only the outputs for which it had the whole past."""
    file, x, y = rtneural_test(data, "conv_stateless")
    assert esr(parse(json.dumps(file)).instance().process(x)[-len(y) :], y) < 1e-11


@pytest.mark.parametrize("name", ["gru_torch", "lstm_torch"])
def test_rtneural_state_dict(name: str, data: Path) -> None:
    file, x, y = rtneural_test(data, name)
    assert esr(parse(json.dumps(file)).instance().process(x)[500:], y[500:]) < 1e-11


def test_rtneural_state_dict_of_a_convolution(data: Path) -> None:
    """All of its 12 outputs, each put first in turn; PyTorch left out the first four frames."""
    file, x, y = rtneural_test(data, "conv1d_torch")
    for channel in range(12):
        turned = {name: values[channel:] + values[:channel] for name, values in file.items()}
        assert esr(parse(json.dumps(turned)).instance().process(x)[4:], y[channel]) < 1e-11
