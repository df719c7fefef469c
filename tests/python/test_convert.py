"""Predictors in other programs' files, read and written: the same weights to the last bit."""

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from python.helpers import Command, Mdrnn

import neurig
from neurig import convert
from neurig.convert import mdrnn as convert_mdrnn
from neurig.convert import tflite
from neurig.files import share


def _keras_2(file: h5py.Group, model: Mdrnn) -> None:
    """As Keras 2 saves weights: named arrays under each layer's name, twice."""
    for number, arrays in enumerate(model.layers):
        for name, array in zip(("kernel:0", "recurrent_kernel:0", "bias:0"), arrays, strict=True):
            file[f"lstm{number}/lstm{number}/{name}"] = array
    for head, name in zip(model.heads, ("mus", "sigmas", "pis"), strict=True):
        for part, array in zip(("kernel:0", "bias:0"), model.heads[head], strict=True):
            file[f"td_mdn/td_mdn/{name}/{part}"] = array


def _keras_3(file: h5py.Group, model: Mdrnn, output: str = "layers/mdn", first: str = "lstm") -> None:
    """As Keras 3 saves weights: counted arrays under the layers' class names, the first without a number."""
    for number, arrays in enumerate(model.layers):
        for index, array in enumerate(arrays):
            file[f"layers/{f'lstm_{number}' if number else first}/cell/vars/{index}"] = array
    for head in model.heads:
        for index, array in enumerate(model.heads[head]):
            file[f"{output}/mdn_{head}/vars/{index}"] = array


def _keras_3_training(file: h5py.Group, model: Mdrnn) -> None:
    """As Keras 3 saves a model in training: the output layer is wrapped, and the optimizer's state comes along."""
    _keras_3(file, model, output="layers/time_distributed/layer", first="lstm_0")
    file["layers/lstm_0/cell/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    file["optimizer/vars/0"] = np.int64(12)
    file["optimizer/vars/1"] = np.float32(0.001)
    for index, array in enumerate((*model.layers[0], *model.layers[0]), start=2):
        file[f"optimizer/vars/{index}"] = array * 0


def _keras_2_whole(file: h5py.Group, model: Mdrnn) -> None:
    """As Keras 2 saves a whole model with its optimizer."""
    _keras_2(file.create_group("model_weights"), model)
    _keras_2(file.create_group("optimizer_weights/training/Adam"), model)


def _h5(path: Path, write: Callable[[h5py.File, Mdrnn], None], model: Mdrnn) -> Path:
    with h5py.File(path, "w") as file:
        write(file, model)
    return path


def _archive(path: Path, write: Callable[[h5py.File, Mdrnn], None], model: Mdrnn) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write(file, model)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def _converted(path: Path) -> dict:
    """A ``.mdrnn`` file's content with the network of another file, its weights as numbers."""
    content = json.loads(convert.read(path).text())
    return content | {"weights": np.frombuffer(base64.b64decode(content["weights"]), "<f4")}


@pytest.mark.parametrize("model", [Mdrnn(), Mdrnn(4, 4, 1, 1), Mdrnn(9, 16, 12, 5)], ids=["usual", "least", "deep"])
@pytest.mark.parametrize("write", [_keras_2, _keras_2_whole, _keras_3, _keras_3_training])
def test_every_layout_gives_the_same_weights(tmp_path: Path, write: Callable, model: Mdrnn) -> None:
    for path in (_h5(tmp_path / "a.h5", write, model), _archive(tmp_path / "a.keras", write, model)):
        converted = _converted(path)
        assert converted["config"] == {
            "dimension": model.dimension, "units": model.units, "layers": len(model.layers),
            "mixtures": model.mixtures, "scale": 10,
        }
        assert converted["architecture"] == "MDRNN"
        assert converted["metadata"] == {"source": path.name}
        assert np.array_equal(np.array(converted["weights"], np.float32), model.weights)


def test_weights_that_are_hard_to_write_come_through(tmp_path: Path, mdrnn: Mdrnn) -> None:
    hard = np.array([1 / 3, 1e-45, 1.1754942e-38, 3.4028235e38, 16777217, 0.1, -0.0, 8.589973e9], np.float32)
    mdrnn.layers[0][2][: len(hard)] = hard
    converted = _converted(_h5(tmp_path / "hard.h5", _keras_3, mdrnn))
    assert np.array(converted["weights"], np.float32).tobytes() == mdrnn.weights.tobytes()


def test_real_files(data: Path) -> None:
    for dimension in (4, 9):
        name = f"musicMDRNN-dim{dimension}-layers2-units64-mixtures5-scale10"
        of_h5, of_keras = (_converted(data / "impsy/models" / f"{name}.{kind}") for kind in ("h5", "keras"))
        assert of_h5["config"] == of_keras["config"]
        assert of_h5["config"] == {"dimension": dimension, "units": 64, "layers": 2, "mixtures": 5, "scale": 10}
        assert np.array_equal(of_h5["weights"], of_keras["weights"])


def _without(name: str) -> Callable[[h5py.File, Mdrnn], None]:
    def write(file: h5py.File, model: Mdrnn) -> None:
        _keras_3(file, model)
        del file[name]

    return write


def _with(name: str, *shapes: tuple[int, ...]) -> Callable[[h5py.File, Mdrnn], None]:
    """A good file in which one layer has other arrays."""

    def write(file: h5py.File, model: Mdrnn) -> None:
        _keras_3(file, model)
        if name in file:
            del file[name]
        for index, shape in enumerate(shapes):
            file[f"{name}/vars/{index}"] = np.zeros(shape, np.float32)

    return write


def _with_nan(file: h5py.File, model: Mdrnn) -> None:
    model.layers[1][0][0, 0] = np.nan
    _keras_3(file, model)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (_without("layers/mdn/mdn_sigmas"), "no mixture density output: sigmas missing"),
        (_without("layers/mdn"), "mus and sigmas and pi missing"),
        (_with("layers/lstm/cell", (3, 24), (8, 24), (2, 24)), "layers/lstm/cell is a layer that an MDRNN does not"),
        (_with("layers/lstm/cell", (3, 24), (8, 24), (24,)), r"not an LSTM layer: its arrays have the shapes \(3,"),
        (_with("layers/lstm_1/cell", (8, 64), (16, 64), (64,)), "LSTM layer 2 takes 8 values and has 16 units"),
        (_with("layers/mdn/mdn_mus", (8, 10), (10,)), r"mus has the shapes \(8, 10\) and \(10,\), where 3 dimensions"),
        (_with("layers/dense", (8, 8), (8,)), "layers/dense is a dense layer that an MDRNN does not have"),
        (_with_nan, "not finite"),
        (lambda file, model: None, "no LSTM layer"),
    ],
)
def test_another_network_is_refused_with_the_reason(tmp_path: Path, write: Callable, reason: str) -> None:
    path = _h5(tmp_path / "other.h5", write, Mdrnn())
    with pytest.raises(neurig.ModelError, match=reason) as caught:
        convert.read(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_other_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    empty, text, archive, torn = (tmp_path / name for name in ("a.keras", "b.h5", "c.keras", "d.h5"))
    empty.touch()
    text.write_text("not HDF5")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("perfs.npy", "")
    torn.write_bytes(_h5(tmp_path / "whole.h5", _keras_3, Mdrnn()).read_bytes()[:3000])
    reasons = {
        tmp_path / "none.h5": "No such file",
        tmp_path: "folder",
        empty: "empty",
        text: "neither a Keras nor an HDF5 file",
        archive: "no model.weights.h5",
        torn: "damaged",
    }
    for path, reason in reasons.items():
        with pytest.raises(neurig.ModelError, match=reason) as caught:
            convert.read(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


TFLITE = Path(__file__).parent / "tflite"  # made by make_tflite.py


@pytest.mark.parametrize(("name", "error"), [("float32", 0), ("float16", 5e-4), ("int8", 6e-3), ("signature", 6e-3)])
def test_tflite(name: str, error: float) -> None:
    """Half precision is off by up to 2⁻¹¹ of a weight, 8 bits by half a step of 127 up to the greatest."""
    expected, found = convert.read(TFLITE / "random.keras"), convert.read(TFLITE / f"{name}.tflite")
    assert (found.dimension, found.units, len(found.layers), found.mixtures) == (3, 16, 2, 2)
    difference = np.abs(found.weights - expected.weights)
    assert difference.max() <= error
    shown = neurig.load(TFLITE / f"{name}.tflite").info["metadata"]
    assert bool(found.notice) == (error == 6e-3) == ("notice" in shown)
    if found.notice:  # only matrices of 1024 weights or more are quantised
        assert 0.1 < np.mean(difference == 0) < 0.3


def test_real_tflite_files(data: Path) -> None:
    name = "musicMDRNN-dim{}-layers2-units64-mixtures5-scale10.{}"
    nine, four = ([convert.read(data / "impsy/models" / name.format(dimension, kind)) for kind in ("h5", "tflite")]
                  for dimension in (9, 4))
    assert np.array_equal(nine[0].weights, nine[1].weights)
    # With a signature, and 8 bits. The greatest weight of a matrix is 127 steps, and each is off by up to half a step.
    assert 0 < np.abs(four[0].weights - four[1].weights).max() < 0.5 * 0.07226 and four[1].notice


def test_published_steps_of_a_tflite_file(data: Path) -> None:
    [case] = json.loads((data / "impsy/conformance/model.json").read_text())["cases"]
    predictor = neurig.Predictor(data / "impsy/conformance" / case["model_file"])
    about = case["expected"]["introspected"]
    assert {name: predictor.model.info[name] for name in about} == about
    for step, expected in zip(case["steps"], case["expected"]["steps"], strict=True):
        if step.get("reset"):
            predictor.reset()
            continue
        predictor.condition(step["input"])
        mus, sigmas, logits = predictor.mixture()
        found = np.concatenate([mus.ravel(), sigmas.ravel(), logits])
        assert np.abs(found - expected["mdn_output"]).max() < 1e-4
        pis = np.exp(logits / case["pi_temp"])
        assert np.abs(pis / pis.sum() - expected["pi"]).max() < 1e-4
        assert np.abs(mus / 10 - expected["mu"]).max() < 1e-4
        assert np.abs(sigmas / 10 * case["sigma_temp"] ** 0.5 - expected["std"]).max() < 1e-4


@pytest.mark.parametrize(("units", "layers", "dimension"), [(16, 2, 3), (8, 3, 2), (24, 1, 9)])
def test_tflite_plays_what_is_written(tmp_path: Path, units: int, layers: int, dimension: int) -> None:
    """By TensorFlow Lite's own interpreter, with the states handed on as IMPSY does it: in the order of their tensors."""
    from ai_edge_litert.interpreter import Interpreter

    path = tmp_path / "random.tflite"
    source = Mdrnn(dimension=dimension, units=units, layers=layers).write(tmp_path / "random.mdrnn")
    convert.write(convert.read(source), path)
    assert np.array_equal(convert.read(path).weights, convert.read(source).weights)

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    inputs = sorted(interpreter.get_input_details(), key=lambda tensor: tensor["index"])
    outputs = interpreter.get_output_details()
    assert [tensor["name"] for tensor in inputs] == ["inputs", *(f"state_{kind}_{layer}" for layer in range(layers)
                                                                 for kind in "hc")]
    states = [np.zeros((1, units), np.float32)] * 2 * layers
    predictor = neurig.Predictor(source)
    for frame in np.random.default_rng(2).random((20, dimension), np.float32):
        for tensor, value in zip(inputs, [10 * frame.reshape(1, 1, -1), *states], strict=True):
            interpreter.set_tensor(tensor["index"], value)
        interpreter.invoke()
        states = [interpreter.get_tensor(index) for index in sorted(tensor["index"] for tensor in outputs[1:])]
        predictor.condition(frame)
        expected = np.concatenate([array.ravel() for array in predictor.mixture()])
        assert np.abs(interpreter.get_tensor(outputs[0]["index"])[0] - expected).max() < 1e-4


def test_damaged_tflite_files_are_refused() -> None:
    whole = (TFLITE / "float16.tflite").read_bytes()
    random = np.random.default_rng(1)
    refused = 0
    for turn in range(300):
        damaged = bytearray(whole)
        for place in random.integers(8, len(whole) if turn % 2 else 6000, 4):
            damaged[place] = random.integers(256)
        try:
            end = random.integers(8, len(whole)) if turn % 7 == 0 else len(whole)
            tflite.parse(bytes(damaged[:end]), Path("a.tflite"))
        except neurig.ModelError as problem:
            assert str(problem).startswith("a.tflite: ") and "\n" not in str(problem)
            refused += 1
    assert 50 < refused < 300


def test_weights_as_numbers_and_in_base64_are_one_model(tmp_path: Path, mdrnn: Mdrnn) -> None:
    numbers = mdrnn.write(tmp_path / "numbers.mdrnn")
    content = json.loads(numbers.read_text())
    convert.convert(numbers, tmp_path / "short.mdrnn")
    assert isinstance(json.loads((tmp_path / "short.mdrnn").read_text())["weights"], str)
    frames = np.random.default_rng(0).uniform(0, 1, (10, 3))
    players = [neurig.Predictor(tmp_path / f"{name}.mdrnn") for name in ("numbers", "short")]
    for frame in frames:
        for player in players:
            player.condition(frame)
        assert np.array_equal(players[0].predict(), players[1].predict())
    for weights, reason in (("AAAA!", "not base64 at character 4"), ("AAAAAAA", "four bytes"),
                            (base64.b64encode(np.float32("inf").tobytes()).decode(), "weight 0 is not finite"),
                            ("AAAAAA==", "expected 1180 weights, found 1"), (1, "must be a list")):
        (tmp_path / "bad.mdrnn").write_text(json.dumps(content | {"weights": weights}))
        with pytest.raises(neurig.ModelError, match=reason):
            neurig.load(tmp_path / "bad.mdrnn")


def test_the_largest_size(tmp_path: Path) -> None:
    """IMPSY's xl: three layers of 512 units."""
    convert.write(_network(Mdrnn(4, 512, 3, 5)), tmp_path / "xl.mdrnn")
    predictor = neurig.Predictor(tmp_path / "xl.mdrnn")
    assert predictor.model.info["units"] == 512 and predictor.predict().shape == (4,)


def _network(model: Mdrnn) -> convert_mdrnn.Mdrnn:
    heads = {name: list(arrays) for name, arrays in model.heads.items()}
    return convert_mdrnn.Mdrnn([list(arrays) for arrays in model.layers], heads, Path("random"))


@pytest.mark.parametrize("suffix", [".mdrnn", ".h5", ".keras"])
@pytest.mark.parametrize("sizes", [(3, 8, 2, 4), (2, 4, 1, 1), (9, 16, 3, 5)])
def test_written_files_hold_the_same_weights(tmp_path: Path, suffix: str, sizes: tuple[int, int, int, int]) -> None:
    network = convert.read(Mdrnn(*sizes).write(tmp_path / "random.mdrnn"))
    convert.write(network, tmp_path / f"written{suffix}")
    found = convert.read(tmp_path / f"written{suffix}")
    assert np.array_equal(found.weights, Mdrnn(*sizes).weights)
    assert (found.dimension, found.units, len(found.layers), found.mixtures) == sizes


def test_written_keras_files_are_laid_out_as_keras_writes_them(tmp_path: Path) -> None:
    """What Keras's loader looks for; IMPSY 1.2.1 was seen to load such files, and to predict the same."""
    network = convert.read(Mdrnn().write(tmp_path / "random.mdrnn"))
    for suffix in (".h5", ".keras"):
        convert.write(network, tmp_path / f"random{suffix}")
    with h5py.File(tmp_path / "random.h5") as file:
        assert list(file.attrs["layer_names"]) == [b"inputs", b"lstm_0", b"lstm_1", b"td_mdn"]
        for layer in file.attrs["layer_names"]:
            group = file[layer.decode()]
            assert all(name.decode() in group for name in group.attrs["weight_names"])
        assert len(file["td_mdn"].attrs["weight_names"]) == 6
    with zipfile.ZipFile(tmp_path / "random.keras") as archive:
        about = json.loads(archive.read("config.json"))["config"]
        kinds = [layer["class_name"] for layer in about["layers"]]
        assert kinds == ["InputLayer", "InputLayer", "InputLayer", "LSTM", "InputLayer", "InputLayer", "LSTM", "MDN"]
        names = [name for name, *_ in about["input_layers"]]
        assert names == ["inputs", "state_h_0", "state_c_0", "state_h_1", "state_c_1"]
        assert about["output_layers"][0] == ["mdn_outputs", 0, 0] and len(about["output_layers"]) == 5


def test_another_scale_is_not_written_where_it_cannot_be_said(tmp_path: Path) -> None:
    path = Mdrnn().write(tmp_path / "random.mdrnn")
    path.write_text(path.read_text().replace('"scale": 10', '"scale": 5'))
    with pytest.raises(neurig.ModelError, match="scales its input by 5, but IMPSY always by 10"):
        convert.write(convert.read(path), tmp_path / "a.keras")
    with pytest.raises(neurig.ModelError, match="scales its input by 5, but IMPSY always by 10"):
        convert.write(convert.read(path), tmp_path / "a.tflite")
    assert not (tmp_path / "a.keras").exists() and not (tmp_path / "a.tflite").exists()
    convert.write(convert.read(path), tmp_path / "a.mdrnn")
    assert json.loads((tmp_path / "a.mdrnn").read_text())["config"]["scale"] == 5


def test_command_goes_by_the_name_of_the_new_file(tmp_path: Path, command: Command, mdrnn: Mdrnn) -> None:
    source = mdrnn.write(tmp_path / "mine.mdrnn")
    for name in ("mine.h5", "mine.keras", "mine.onnx", "mine.tflite"):
        assert command("convert", source, name).stdout == f"{name}: dimension 3, 8 units, 2 layers, 4 mixtures\n"
    assert "written as" in command("convert", source, "a.json", code=1).stderr
    assert "8 bits" in command("convert", TFLITE / "int8.tflite", "small.mdrnn").stderr
    assert "an amp is written as" in command("convert", share("models", "crunch.nam"), "a.mdrnn", code=1).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.h5", "mine.keras", "mine.mdrnn", "mine.onnx",
                                                               "mine.tflite", "small.mdrnn"]


def test_command(tmp_path: Path, command: Command, mdrnn: Mdrnn, mdrnn_file: Path) -> None:
    source = _archive(tmp_path / "mine.keras", _keras_3, mdrnn)
    done = command("convert", source)
    assert done.stdout == f"{tmp_path / 'mine.mdrnn'}: dimension 3, 8 units, 2 layers, 4 mixtures\n"
    assert neurig.load(tmp_path / "mine.mdrnn").info["dimension"] == 3
    command("convert", source, "other.mdrnn")
    assert (tmp_path / "other.mdrnn").read_bytes() == (tmp_path / "mine.mdrnn").read_bytes()
    # What cannot be converted leaves the file that was there.
    (tmp_path / "bad.keras").write_text("bad")
    done = command("convert", "bad.keras", "mine.mdrnn", code=1)
    assert "bad.keras: this is neither" in done.stderr
    assert (tmp_path / "mine.mdrnn").read_bytes() == (tmp_path / "other.mdrnn").read_bytes()
    before = source.read_bytes()
    assert "another name" in command("convert", source, source, code=2).stderr
    assert source.read_bytes() == before
