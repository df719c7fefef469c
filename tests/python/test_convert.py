"""Keras files become ``.mdrnn`` files that have the same weights to the last bit."""

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
from neurig.convert import mdrnn as convert


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


@pytest.mark.parametrize("model", [Mdrnn(), Mdrnn(4, 4, 1, 1), Mdrnn(9, 16, 12, 5)], ids=["usual", "least", "deep"])
@pytest.mark.parametrize("write", [_keras_2, _keras_2_whole, _keras_3, _keras_3_training])
def test_every_layout_gives_the_same_weights(tmp_path: Path, write: Callable, model: Mdrnn) -> None:
    for path in (_h5(tmp_path / "a.h5", write, model), _archive(tmp_path / "a.keras", write, model)):
        converted = json.loads(convert(path))
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
    converted = json.loads(convert(_h5(tmp_path / "hard.h5", _keras_3, mdrnn)))
    assert np.array(converted["weights"], np.float32).tobytes() == mdrnn.weights.tobytes()


def test_real_files(data: Path) -> None:
    for dimension in (4, 9):
        name = f"musicMDRNN-dim{dimension}-layers2-units64-mixtures5-scale10"
        of_h5, of_keras = (json.loads(convert(data / "impsy/models" / f"{name}.{kind}")) for kind in ("h5", "keras"))
        assert of_h5["config"] == of_keras["config"]
        assert of_h5["config"] == {"dimension": dimension, "units": 64, "layers": 2, "mixtures": 5, "scale": 10}
        assert of_h5["weights"] == of_keras["weights"]


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
        convert(path)
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
        tmp_path: "Is a directory",
        empty: "empty",
        text: "neither a Keras nor an HDF5 file",
        archive: "no model.weights.h5",
        torn: "damaged",
    }
    for path, reason in reasons.items():
        with pytest.raises(neurig.ModelError, match=reason) as caught:
            convert(path)
        assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


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
    assert "ends in .mdrnn" in command("convert", source, source, code=2).stderr
    assert source.read_bytes() == before
