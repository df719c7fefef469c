"""ONNX models as predictors and amps, through onnxruntime; and what neurig writes as ONNX, checked with it."""

import gc
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from python.helpers import Command, Mdrnn, esr

import neurig
from neurig import convert, onnx
from neurig.convert import onnx as convert_onnx
from neurig.convert.onnx import Graph
from neurig.files import share

X = np.random.default_rng(5).normal(0, 0.2, 30000).astype(np.float32)


# -- predictors


@pytest.mark.parametrize("sizes", [(3, 8, 2, 4), (2, 1, 1, 1), (9, 33, 3, 5), (4, 64, 2, 5)])
def test_an_mdrnn_does_the_same_there(tmp_path: Path, sizes: tuple[int, int, int, int]) -> None:
    """Two programs, one network: the core's and onnxruntime's steps, and with equal seeds their frames."""
    path = Mdrnn(*sizes).write(tmp_path / "m.mdrnn")
    convert.convert(path, tmp_path / "m.onnx")
    core, other = neurig.Predictor(path, seed=9), neurig.Predictor(tmp_path / "m.onnx", seed=9)
    assert (other.dimension, other.mixtures) == (sizes[0], sizes[3]) and other.model.is_predictor
    random = np.random.default_rng(2)
    for turn in range(60):
        if turn == 30:
            core.reset()
            other.reset()
        frame = random.uniform(0, 1, sizes[0])
        core.condition(frame)
        other.condition(frame)
        for found, wanted in zip(other.mixture(), core.mixture(), strict=True):
            assert np.abs(found - wanted).max() < 1e-4
        assert np.abs(other.predict(1.2, 0.5) - core.predict(1.2, 0.5)).max() < 1e-4


@pytest.mark.parametrize("dimension", [4, 9])
def test_reference_steps(data: Path, tmp_path: Path, dimension: int) -> None:
    name = f"musicMDRNN-dim{dimension}-layers2-units64-mixtures5-scale10"
    golden = np.load(data / "impsy/golden" / f"{name}.npz")
    convert.convert(data / "impsy/models" / f"{name}.keras", tmp_path / "m.onnx")
    predictor = neurig.Predictor(tmp_path / "m.onnx")
    for step, frame in enumerate(golden["inputs"]):
        predictor.condition(frame)
        for found, key in zip(predictor.mixture(), ("mus", "sigmas", "pi_logits"), strict=True):
            assert np.allclose(found, golden[key][step], rtol=1e-6, atol=1e-4)


def test_a_plain_network_gives_the_next_frame_itself(tmp_path: Path) -> None:
    """One that slows down and turns the values round; a state counts its steps."""
    graph = Graph("turner")
    frame, count = graph.input("frame", ["batch", 3]), graph.input("count", ["batch", 1])
    more = graph.add("Add", count, np.float32(1))
    turned = graph.add("Add", graph.add("MatMul", frame, np.diag([2, -1, 0]).astype(np.float32)),
                       np.array([[0, 1, 0]], np.float32))
    counted = graph.add("Mul", more, np.array([[0, 0, 0.125]], np.float32))
    graph.output("next", graph.add("Add", turned, counted), ["batch", 3])
    graph.output("count_next", more, ["batch", 1])
    graph.save(tmp_path / "turner.onnx", {})
    predictor = neurig.Predictor(tmp_path / "turner.onnx")
    predictor.condition([0.1, 0.25, 0.5])
    wanted = [[0.2, 0.75, 0.125], [0.4, 0.25, 0.25], [0.8, 0.75, 0.375]]
    assert np.allclose([predictor.predict(sigma_temp=5.0) for _ in wanted], wanted)
    predictor.reset()
    assert np.allclose(predictor.predict(), [0.001, 0.5, 0.125])  # from the middle
    assert predictor.model.info["architecture"] == "turner" and predictor.mixtures == 1


def test_two_performances_of_one_graph_have_a_state_each(tmp_path: Path) -> None:
    convert.convert(Mdrnn().write(tmp_path / "m.mdrnn"), tmp_path / "m.onnx")
    model = neurig.load(tmp_path / "m.onnx")
    alone, one, two = (neurig.Predictor(model, seed=3) for _ in range(3))
    for frame in np.random.default_rng(1).uniform(0, 1, (20, 3)):
        alone.condition(frame)
        one.condition(frame)
        two.condition(frame[::-1])
        assert np.array_equal(alone.predict(), one.predict())
        two.predict()


# -- amps


@pytest.mark.parametrize("kind", ["lstm", "lstm-3-layers", "container", *(f"wavenet-{part}" for part in (
    "a1", "a2", "kernel-sizes", "gated", "blended", "bottleneck", "head1x1", "no-layer1x1", "slimmable"))])
def test_an_amp_does_the_same_there(tmp_path: Path, kind: str) -> None:
    source = Path(__file__).parents[1] / "core" / "nam_vectors" / f"{kind}.nam"
    convert.convert(source, tmp_path / "amp.onnx")
    core, other = neurig.load(source).instance(), neurig.load(tmp_path / "amp.onnx").instance()
    wanted = core.process(X)
    found = np.concatenate([other.process(part) for part in np.split(X, [1, 50, 4000, 4777])])
    assert esr(wanted[24000:], found[24000:]) < (1e-9 if "lstm" in kind else 1e-11)


def test_real_amps(data: Path, tmp_path: Path) -> None:
    """The reference renders come from a third program."""
    x, _ = soundfile.read(data / "audio" / "guitar-48k.wav", dtype="float32")
    for name in ("BossWN-standard.nam", "BossWN-a2.nam", "BossWN-nano.nam", "BossLSTM-1x16.nam"):
        convert.convert(data / "amps" / name, tmp_path / "amp.onnx")
        found = neurig.load(tmp_path / "amp.onnx").instance().process(x[:48000])
        assert esr(np.load(data / "amps" / f"{name}.npy")[24000:48000], found[24000:]) < 1e-9, name


def _filter(path: Path, taps: np.ndarray, padded: bool = False, **metadata: str) -> Path:
    """A convolution without state, which needs the samples before."""
    graph = Graph("filter")
    signal = graph.input("signal", ["batch", 1, "n"])
    kernel = np.ascontiguousarray(taps[::-1], np.float32).reshape(1, 1, -1)
    made = graph.add("Conv", signal, kernel, pads=[len(taps) - 1 if padded else 0, 0])
    graph.output("made", made, ["batch", 1, "m"])
    graph.save(path, metadata)
    return path


@pytest.mark.parametrize("padded", [False, True])
def test_without_state_the_samples_before_are_given_again(tmp_path: Path, padded: bool) -> None:
    """A shorter output tells how many; where it is as long as the input, the file has to."""
    taps = np.random.default_rng(0).normal(0, 0.1, 700)
    path = _filter(tmp_path / "filter.onnx", taps, padded, **({"context": "699"} if padded else {}))
    model = neurig.load(path)
    assert model.info["receptive_field"] == 700 and model.is_amp and model.rate == 48000
    wanted = np.convolve(X.astype(float), taps)[: len(X)]
    for block in (64, 1000, 30000):
        instance = model.instance()
        found = np.concatenate([instance.process(X[i : i + block]) for i in range(0, len(X), block)])
        assert np.abs(found - wanted).max() < 1e-5
        instance.reset()
        assert np.abs(instance.process(X[:100]) - wanted[:100]).max() < 1e-5


@pytest.mark.parametrize("packed", [False, True])
def test_weights_are_counted(tmp_path: Path, packed: bool) -> None:
    """Of all floating-point tensors, whichever of its two ways the writer has with a list of lengths."""
    shapes = [[3], [300, 2, 1], [], [7]]
    tensors = []
    for number, shape in enumerate(shapes):
        lengths = b"".join(convert_onnx._varint(length) for length in shape) if packed else shape
        kind, size = (7, 8) if number == 3 else (1, 4)  # whole numbers count for nothing
        content = bytes(size * int(np.prod(shape)))
        tensors.append(convert_onnx._message({1: lengths, 2: kind, 8: f"t{number}", 9: content}))
    path = _filter(tmp_path / "filter.onnx", np.ones(20))
    assert neurig.load(path).info["weights"] == 20
    graph = convert_onnx._message({5: tensors})
    path.write_bytes(path.read_bytes() + convert_onnx._message({7: graph}))  # messages of the same field are one
    assert neurig.load(path).info["weights"] == 20 + 3 + 600 + 1


def test_metadata_is_used_and_shown(tmp_path: Path, command: Command) -> None:
    path = _filter(tmp_path / "filter.onnx", np.array([0.5]), sample_rate="44100", loudness="-12", maker="me")
    model = neurig.load(path)
    assert model.rate == 44100 and model.instance(44100).latency == 0 < model.instance(48000).latency
    shown = command("info", path).stdout
    assert shown.count("sample rate") == 1
    for words in ("ONNX", "44100 Hz", "1 sample (0.0 ms)", "loudness", "maker", "me"):
        assert words in shown


def test_render(tmp_path: Path, command: Command) -> None:
    phrase = share("models", "phrase.wav")
    assert "crunch.onnx: WaveNet at 48000 Hz" in command("convert", share("models", "crunch.nam"), "crunch.onnx").stdout
    for name in (share("models", "crunch.nam"), "crunch.onnx"):
        command("render", name, phrase, f"{Path(name).suffix[1:]}.wav")
    (nam, _), (other, _) = (soundfile.read(tmp_path / f"{kind}.wav") for kind in ("nam", "onnx"))
    assert esr(nam, other) < 1e-11
    [row] = json.loads(command("bench", "crunch.onnx", "--rounds", "1", "--json").stdout)
    assert row["ns_per_sample"] > 0 and row["fma_share"] is None


def test_channels_together(tmp_path: Path) -> None:
    convert.convert(share("models", "crunch.nam"), tmp_path / "crunch.onnx")
    model = neurig.load(tmp_path / "crunch.onnx")
    channels = X[:6000].reshape(3, 2000)
    together = model.instance(channels=3).process(channels)
    assert all(np.array_equal(y, model.instance().process(x)) for x, y in zip(channels, together, strict=True))


def test_models_and_streams_let_go_of_their_graph(tmp_path: Path) -> None:
    path = _filter(tmp_path / "filter.onnx", np.array([0.5, 0.25]))
    gc.collect()
    before = len(onnx._engines)
    instance = neurig.load(path).instance()
    assert len(onnx._engines) == before + 1
    assert instance.process(X[:4])[0] == X[0] / 2
    del instance
    gc.collect()
    assert len(onnx._engines) == before


# -- what is refused


def _graph(name: str, inputs: list, outputs: list, **metadata: str) -> Callable[[Path], None]:
    """One that passes on its inputs."""

    def save(path: Path) -> None:
        graph = Graph(name)
        names = [graph.input(f"in{number}", shape) for number, shape in enumerate(inputs)]
        for number, shape in enumerate(outputs):
            graph.output(f"out{number}", names[number % len(names)], shape)
        graph.save(path, metadata)

    return save


def _nodes(*shapes: list, make: Callable[[Graph, str], str]) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        graph = Graph("made")
        graph.output("out", make(graph, graph.input("in", shapes[0])), shapes[-1])
        graph.save(path, {})

    return save


@pytest.mark.parametrize(
    ("save", "reason"),
    [
        (lambda path: path.write_bytes(b"\x08not a graph"), "onnxruntime cannot load it"),
        (lambda path: path.write_bytes(b""), "onnxruntime cannot load it"),
        (_graph("a", [[1, 3], [1, 2]], [[1, 3]]), "2 inputs and 1 outputs: beside the signal, each state goes in and"),
        (_graph("a", [[2, 3]], [[2, 3]]), r"in0 has the shape \(2, 3\): one signal or frame is wanted"),
        (_graph("a", [[1, 1]], [[1, 1]]), "the fixed length 1: a predictor's frames have from 2 to 64"),
        (_graph("a", [[1, 1, 2048]], [[1, 1, 2048]]), "the fixed length 2048: .* an axis of free length"),
        (_graph("a", [[1, "n"]], [[1, "n"]], sample_rate="fast"), "sample_rate is 'fast', but has to be a number from"),
        (_graph("a", [[1, "n"]], [[1, "n"]], context="-3"), "context is -3, but has to be a number from 0"),
        (_graph("a", [[1, 3]], [[1, 3]], scale="0"), "scale is 0, but"),
        (_nodes([1, 3], [1, 6], make=lambda graph, x: graph.add("Concat", x, x, axis=1)), "it makes 6 numbers: 3 are"),
        (_nodes([1, "n"], [1, 1], make=lambda graph, x: graph.add("ReduceMax", x, axes=[1], keepdims=1)), "it makes 1"),
        (_nodes([1, "n"], ["m"], make=lambda graph, x: graph.add("Concat", x, x, axis=1)), "samples it makes"),
        (_nodes([1, "n"], [1, "n"], make=lambda graph, x: graph.add("Cast", x, to=11)), "cannot load it"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(tmp_path: Path, save: Callable, reason: str) -> None:
    path = tmp_path / "model.onnx"
    save(path)
    with pytest.raises(neurig.ModelError, match=reason) as caught:
        neurig.load(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(neurig.ModelError, match="No such file"):
        neurig.load(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(neurig.ModelError, match="folder.onnx: "):
        neurig.load(tmp_path / "folder.onnx")


def test_amps_that_have_no_way_into_onnx(tmp_path: Path, command: Command) -> None:
    vectors = Path(__file__).parents[1] / "core" / "nam_vectors"
    reasons = {"linear": "no WaveNet or LSTM, but Linear", "wavenet-films": "its layers have conv_pre_film",
               "wavenet-groups": "a model for its condition", "wavenet-post-head": "a head after its head",
               "wavenet-two-inputs": "several inputs", "wavenet-activations": "its activation Softsigmoid"}
    for name, reason in reasons.items():
        assert reason in command("convert", vectors / f"{name}.nam", "amp.onnx", code=1).stderr
    cabinet = share("models", "open-back.wav")
    assert "and this one is of the family IR" in command("convert", cabinet, "a.onnx", code=1).stderr
    assert "written as .onnx" in command("convert", vectors / "lstm.nam", "amp.json", code=1).stderr
    assert "can be played, but not be changed" in command(
        "convert", _filter(tmp_path / "a.onnx", np.array([1.0])), "a.mdrnn", code=1).stderr
    assert not (tmp_path / "amp.onnx").exists()
