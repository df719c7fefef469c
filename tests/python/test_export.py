"""Amps written for other programs: the core and onnxruntime play the new file as the core plays the old one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
from core.models import layer_array, lstm_weights, model_file, wavenet_weights
from numpy.typing import NDArray
from python.helpers import Command, esr

import neurig
from neurig import ModelError
from neurig.bench import signal
from neurig.convert.export import TARGETS, export
from neurig.files import share

X = signal(None, 1.5)
Write = Callable[..., Path]


def played(path: Path) -> NDArray[np.float64]:
    model = neurig.load(path)
    instance = model.instance(model.rate, exact=True)
    for knob in model.params:
        instance.set(knob, 0.4)
    return instance.process(X).astype(float)


def nam_lstm(units: int = 16, layers: int = 1, others: int = 0) -> str:
    """With so many outputs beside the one that is heard."""
    config = {"input_size": 1, "hidden_size": units, "num_layers": layers, "out_channels": 1 + others}
    weights = lstm_weights(units, layers, np.random.default_rng(0))
    weights = np.concatenate([weights[:-1], np.ones(others * units), weights[-1:], np.ones(others)])
    return model_file("LSTM", config, weights, sample_rate=44100)


def nam_wavenet(**more: Any) -> str:
    arrays = [layer_array(1, 4, 2, [1, 2, 8]), layer_array(4, 2, 1, [1, 4], head_bias=True)]
    return model_file("WaveNet", {"layers": arrays, "head": None, "head_scale": 0.02},
                      wavenet_weights(arrays, np.random.default_rng(0)), sample_rate=48000, **more)


def gated_wavenet(activation: str = "gated") -> str:
    rng, channels, dilations = np.random.default_rng(1), 4, [1, 2, 4, 1, 2]
    rows = 2 * channels if activation.endswith("gated") else channels
    shapes = [(-1, "W", (channels,)), (-1, "b", (channels,))]
    for layer in range(len(dilations)):
        shapes += [(layer, "W_conv", (3, channels, rows)), (layer, "b_conv", (rows,)),
                   (layer, "W_out", (channels, channels)), (layer, "b_out", (channels,))]
    shapes += [(len(dilations), "W", (len(dilations) * channels,)), (len(dilations), "b", (1,))]
    variables = [{"layer_idx": layer, "name": name, "data": rng.normal(0, 0.4, int(np.prod(shape))).tolist()}
                 for layer, name, shape in shapes]
    return json.dumps({"activation": activation, "input_channels": 1, "output_channels": 1, "filter_width": 3,
                       "residual_channels": channels, "dilations": dilations, "variables": variables})


def guitarml(unit: str = "LSTM", units: int = 12, inputs: int = 1, layers: int = 1, skip: int = 1) -> str:
    rng, gates = np.random.default_rng(2), 4 if unit == "LSTM" else 3
    state = {"lin.weight": rng.normal(0, 0.3, (1, units)).tolist(), "lin.bias": [0.01]}
    for layer in range(layers):
        sizes = {"weight_ih": (gates * units, units if layer else inputs), "weight_hh": (gates * units, units),
                 "bias_ih": (gates * units,), "bias_hh": (gates * units,)}
        state |= {f"rec.{name}_l{layer}": rng.normal(0, 0.3, size).tolist() for name, size in sizes.items()}
    about = {"model": "SimpleRNN", "input_size": inputs, "output_size": 1, "unit_type": unit, "num_layers": layers,
             "hidden_size": units, "bias_fl": True, "skip": skip}
    return json.dumps({"model_data": about, "state_dict": state})


def keras(kind: str = "gru", units: int = 8, inputs: int = 1, layers: int = 1, **more: Any) -> str:
    rng, gates, made = np.random.default_rng(3), 4 if kind == "lstm" else 3, []
    for layer in range(layers):
        shapes = ((units if layer else inputs, gates * units), (units, gates * units),
                  (4 * units,) if kind == "lstm" else (2, 3 * units))
        made.append({"type": kind, "activation": "", "shape": [None, None, units],
                     "weights": [rng.normal(0, 0.3, shape).tolist() for shape in shapes]})
    made.append({"type": "dense", "activation": "", "shape": [None, None, 1],
                 "weights": [rng.normal(0, 0.3, (units, 1)).tolist(), [0.02]]})
    return json.dumps({"in_shape": [None, None, inputs], "layers": made} | more)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a model's file; the name says of which kind it is."""

    def write(text: str, name: str = "amp.json") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


AMPS = {
    "nam-wavenet": (nam_wavenet(), "nam onnx"),
    "nam-lstm": (nam_lstm(), "nam aidax onnx"),
    "nam-lstm-3-outputs": (nam_lstm(others=2), "nam aidax onnx"),
    "nam-lstm-2x9": (nam_lstm(9, 2), "nam onnx"),
    "gated": (gated_wavenet(), "nam wavenetva onnx"),
    "softgated": (gated_wavenet("softgated"), "nam wavenetva onnx"),
    "relu": (gated_wavenet("relu"), "nam wavenetva onnx"),
    "linear": (gated_wavenet("linear"), "wavenetva"),
    "guitarml-lstm": (guitarml(), "aidax onnx"),
    "guitarml-lstm-plain": (guitarml(skip=0), "nam aidax onnx"),
    "guitarml-gru": (guitarml("GRU"), "aidax onnx"),
    "guitarml-knob": (guitarml(inputs=2), "aidax"),
    "guitarml-2": (guitarml(layers=2, skip=0), "nam onnx"),
    "keras-gru": (keras(in_skip=1, in_gain=-6.0, out_gain=3.0, samplerate=96000), "aidax onnx"),
    "keras-gru-2": (keras(layers=2), "onnx"),
    "keras-lstm": (keras("lstm", in_gain=6.0, out_gain=-3.0), "nam aidax onnx"),
    "keras-lstm-knobs": (keras("lstm", inputs=3, in_gain=2.0), "nam aidax"),
    "keras-lstm-odd": (keras("lstm", units=10), "nam onnx"),
}


@pytest.mark.parametrize("name", AMPS)
def test_it_sounds_the_same_there_or_is_refused_with_those_that_can(name: str, write: Write, tmp_path: Path) -> None:
    text, can = AMPS[name]
    source = write(text, "amp.nam" if name.startswith("nam") else "amp.json")
    wanted = played(source)
    for to, suffix in TARGETS.items():
        target = tmp_path / f"new{suffix}"
        if to in can.split():
            done = export(source, to, target)
            assert neurig.load(target).rate == neurig.load(source).rate
            error = esr(wanted[24000:], played(target)[24000:])
            assert error < 1e-9 and done.error < 1e-9
        else:
            with pytest.raises(ModelError) as problem:
                export(source, to, target)
            others = can.split()
            listed = " and ".join([", ".join(others[:-1]), others[-1]] if len(others) > 1 else others)
            assert f"no way to {to}: " in str(problem.value)
            assert str(problem.value).endswith(f"It can be exported to {listed}")
            assert not target.exists()


def test_onnxruntime_alone_plays_it(write: Write, tmp_path: Path) -> None:
    """With the contract that the README states, and nothing of ours."""
    source = write(guitarml("GRU"))
    export(source, "onnx", tmp_path / "new.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "new.onnx"), providers=["CPUExecutionProvider"])
    signal_in, state = session.get_inputs()
    silence, h = np.zeros((1, 1, 24000), np.float32), np.zeros(state.shape, np.float32)
    _, h = session.run(None, {signal_in.name: silence, state.name: h})
    parts = []
    for part in np.split(X[:9600], 3):
        made, h = session.run(None, {signal_in.name: part[np.newaxis, np.newaxis], state.name: h})
        parts.append(made[0, 0])
    assert esr(played(source)[:9600], np.concatenate(parts)) < 1e-9


def test_an_aidax_file_carries_an_answer_to_check_against(write: Write, tmp_path: Path) -> None:
    for text in (keras("lstm", inputs=2), guitarml("GRU")):
        export(write(text), "aidax", tmp_path / "new.aidax")
        assert neurig.load(tmp_path / "new.aidax").info["self_check"] < 1e-10


def test_metadata_and_rate_come_along(write: Write, tmp_path: Path) -> None:
    metadata = {"name": "Old amp", "loudness": -20.5}
    for source, to in ((write(keras("lstm", metadata=metadata | {"samplerate": "44100"})), "nam"),
                       (write(nam_wavenet(metadata=metadata), "amp.nam"), "onnx")):
        about = neurig.load(export(source, to, tmp_path / f"new{TARGETS[to]}").path).info
        assert about["metadata"]["name"] == "Old amp" and about["metadata"]["loudness"] == -20.5
        assert about["sample_rate"] == (44100 if to == "nam" else 48000)


def test_command(write: Write, tmp_path: Path, command: Command) -> None:
    source = write(gated_wavenet())
    done = command("export", source, "--to", "nam")
    assert done.stdout.startswith(f"{tmp_path / 'amp.nam'}: sounds the same (ESR ")
    assert "ends in .onnx" in command("export", source, "--to", "onnx", "-o", "new.nam", code=1).stderr
    assert "give -o another name" in command("export", source, "--to", "wavenetva", code=1).stderr
    knobs = write(keras("lstm", inputs=2))
    assert "its knobs are inputs" in command("export", knobs, "--to", "nam", "-o", "knobs.nam").stderr
    assert command("export", source, "--to", "vst", code=2).stderr.count("'nam', 'wavenetva', 'aidax', 'onnx'")


def test_what_is_no_amp_with_weights(tmp_path: Path, write: Write) -> None:
    for name, reason in (("open-back.wav", "an impulse response is no network"), ("wander.mdrnn", "a predictor")):
        with pytest.raises(ModelError, match=reason):
            export(share("models", name), "nam", tmp_path / "new.nam")
    export(write(nam_wavenet(), "amp.nam"), "onnx", tmp_path / "amp.onnx")
    with pytest.raises(ModelError, match="an ONNX graph is no network"):
        export(tmp_path / "amp.onnx", "nam", tmp_path / "new.nam")
    dense = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[0.5]], [0.0]]}
    plain = write(json.dumps({"in_shape": [None, None, 1], "layers": [dense]}))
    with pytest.raises(ModelError, match="There is none that it can be exported to"):
        export(plain, "nam", tmp_path / "new.nam")


def test_real_amps(data: Path, tmp_path: Path) -> None:
    """The reference renders come from other programs."""
    guitar, _ = soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")
    for name, to in (("WaveNet2-muff.json", "nam"), ("BluesJR_FullD.json", "onnx"), ("BossLSTM-1x16.nam", "aidax"),
                     ("GRU16c_RTNeural.json", "onnx")):
        done = export(data / "amps" / name, to, tmp_path / f"new{TARGETS[to]}")
        found = neurig.load(done.path).instance(exact=True).process(guitar)
        assert esr(np.load(data / "amps" / f"{name}.npy")[24000:], found[24000:]) < 1e-9, name
