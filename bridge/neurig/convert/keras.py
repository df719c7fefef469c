"""Predictors from and to Keras files, as IMPSY has them, with h5py alone.

Read are weights or whole models in HDF5 (``.h5``) and Keras's archives (``.keras``), of Keras 2 and 3. The weights are
found by structure and shape, not by exact name, since these lay files out differently: every group of three arrays that
fits an LSTM is a layer, and the output layer is three dense layers whose names contain ``mus``, ``sigmas`` and ``pi``.
What the file says about activations is not looked at: IMPSY runs all its models with sigmoid and tanh, whatever they
were saved with.

Written is what IMPSY loads: as ``.h5`` the weights of its training network, as ``.keras`` its network for playing.
"""

import io
import json
import os
import re
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neurig import ModelError
from neurig.convert.mdrnn import HEADS, SCALE, Mdrnn, Weights, shown
from neurig.files import atomic

_MAX_BYTES = 1 << 30
_PARTS = ("kernel", "recurrent_kernel", "bias")  # of an LSTM layer


def read(path: Path) -> Mdrnn:
    """Reads an MDRNN from a ``.keras`` file, or from an HDF5 file of a whole model or of its weights.

    :raises ModelError: where the file is missing or holds none; the message is ``path: reason``
    """
    try:
        return Mdrnn(*_network(_arrays(path)), path)
    except ModelError:
        raise
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as problem:  # h5py raises all of these
        raise ModelError(f"{path}: {_reason(path, problem)}") from None
    except ValueError as problem:
        raise ModelError(f"{path}: {problem}") from None


def _arrays(source: Path) -> dict[str, list[tuple[str, Weights]]]:
    """All arrays of weights, by the path of the group that they are in: their names and values."""
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            member = "model.weights.h5"
            if member not in archive.namelist():
                raise ValueError(f"this archive has no {member}, so it is not a Keras model")
            if archive.getinfo(member).file_size > _MAX_BYTES:
                raise ValueError(f"its weights are larger than {_MAX_BYTES} bytes")
            content = io.BytesIO(archive.read(member))
    else:
        content = source  # h5py opens it
    groups: dict[str, list[tuple[str, Weights]]] = defaultdict(list)
    size = 0

    def visit(path: str, item: h5py.Group | h5py.Dataset) -> None:
        nonlocal size
        if not isinstance(item, h5py.Dataset) or path.startswith(("optimizer", "metrics")):
            return
        size += item.nbytes
        if size > _MAX_BYTES:
            raise ValueError(f"its weights are larger than {_MAX_BYTES} bytes")
        if item.dtype.kind == "f" and item.ndim > 0:
            group, _, name = path.rpartition("/")
            groups[group.removesuffix("/vars")].append((name, np.asarray(item[()], dtype=np.float32)))

    with h5py.File(content, "r") as file:
        file.visititems(visit)
    return groups


def _network(groups: dict[str, list[tuple[str, Weights]]]) -> tuple[list[list[Weights]], dict[str, list[Weights]]]:
    """The LSTM layers (kernel, recurrent kernel, bias each) and the dense layers (kernel, bias).

    :raises ValueError: where a group is neither, with the reason
    """
    layers = []
    heads: dict[str, list[Weights]] = {}
    for group, named in sorted(groups.items(), key=lambda item: _in_order(item[0])):
        arrays = [array for _, array in sorted(named, key=lambda item: _role(item[0]))]
        shapes = [array.shape for array in arrays]
        if [len(shape) for shape in shapes] == [2, 2, 1]:
            units = shapes[1][0]
            if shapes[0][1:] != (4 * units,) or shapes[1] != (units, 4 * units) or shapes[2] != (4 * units,):
                raise ValueError(f"{group} is not an LSTM layer: its arrays have the shapes {shown(shapes)}")
            layers.append(arrays)
        elif [len(shape) for shape in shapes] == [2, 1]:
            head = next((name for name in HEADS if name in group.split("/")[-1]), None)
            if head is None or head in heads:
                raise ValueError(f"{group} is a dense layer that an MDRNN does not have")
            heads[head] = arrays
        elif arrays:
            raise ValueError(f"{group} is a layer that an MDRNN does not have: its arrays have the shapes "
                             f"{shown(shapes)}")
    return layers, heads


def _role(name: str) -> int:
    """Where an array stands among a layer's: Keras 3 counts, Keras 2 gives names (``kernel:0``)."""
    plain = name.split(":")[0]
    return _PARTS.index(plain) if plain in _PARTS else int(plain) if plain.isdigit() else len(_PARTS)


def _in_order(path: str) -> list[tuple[str, int]]:
    """Sorts ``lstm`` before ``lstm_1``, and ``lstm_2`` before ``lstm_10``."""
    parts = []
    for part in path.split("/"):
        word, number = re.fullmatch(r"(.*?)_?(\d*)", part, re.DOTALL).groups()
        parts.append((word, int(number) if number else -1))
    return parts


def _reason(source: Path, problem: Exception) -> str:
    """Why a file could not be read, in words; HDF5's own tell of its insides."""
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno)
    if source.stat().st_size == 0:
        return "the file is empty"
    return "this is neither a Keras nor an HDF5 file, or it is damaged"


def write(network: Mdrnn, path: Path) -> None:
    """Writes a ``.h5`` or a ``.keras`` file, which one the suffix says.

    :raises ModelError: where the network has another scale than IMPSY, whose files do not say which
    :raises OSError: where the file cannot be written; one already there stays as it was
    """
    if network.scale != SCALE:
        raise ModelError(f"{path}: this network scales its input by {network.scale:g}, but IMPSY always by {SCALE}")
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        (_training_weights if path.suffix.lower() == ".h5" else _playing_weights)(network, file)
    with atomic(path) as temporary:
        if path.suffix.lower() == ".h5":
            temporary.write_bytes(content.getvalue())
            return
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
            archive.writestr("config.json", json.dumps(_architecture(network)))
            archive.writestr("model.weights.h5", content.getvalue())


def _training_weights(network: Mdrnn, file: h5py.File) -> None:
    """Named arrays under each layer's name, and lists of these names."""
    layers: dict[str, dict[str, Weights]] = {"inputs": {}}
    for number, arrays in enumerate(network.layers):
        name = f"lstm_{number}"
        layers[name] = {f"{name}/{part}:0": array for part, array in zip(_PARTS, arrays, strict=True)}
    layers["td_mdn"] = {f"td_mdn/mdn_{head}/{part}:0": array for head in HEADS
                        for part, array in zip(("kernel", "bias"), network.heads[head], strict=True)}
    file.attrs["layer_names"] = np.array([name.encode() for name in layers])
    file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"3.0.0"
    for name, arrays in layers.items():
        group = file.create_group(name)
        group.attrs["weight_names"] = np.array([path.encode() for path in arrays])
        for path, array in arrays.items():
            group[path] = array


def _playing_weights(network: Mdrnn, file: h5py.File) -> None:
    """Counted arrays under the layers' class names, the first without a number."""
    groups = {f"layers/lstm{f'_{number}' * (number > 0)}/cell": arrays for number, arrays in enumerate(network.layers)}
    groups |= {f"layers/mdn/mdn_{head}": network.heads[head] for head in HEADS}
    for group, arrays in groups.items():
        for number, array in enumerate(arrays):
            file[f"{group}/vars/{number}"] = array


def _architecture(network: Mdrnn) -> dict[str, Any]:
    """The network for playing, in Keras's words: state in, state out, one frame at a time."""
    dimension, units, count = network.dimension, network.units, len(network.layers)
    layers: list[dict[str, Any]] = []

    def tensor(layer: str, output: int, *shape: int) -> dict[str, Any]:
        history = {"shape": [None, *shape], "dtype": "float32", "keras_history": [layer, 0, output]}
        return {"class_name": "__keras_tensor__", "config": history}

    def layer(kind: str, name: str, inputs: list[Any], options: dict[str, Any], own: str = "", **config: Any) -> None:
        layers.append({"module": own or "keras.layers", "class_name": kind, "registered_name": own and kind or None,
                       "name": name, "config": {"name": name, "dtype": "float32"} | config,
                       "inbound_nodes": [{"args": inputs, "kwargs": options}] if inputs else []})

    layer("InputLayer", "inputs", [], {}, batch_shape=[None, 1, dimension])
    signal, inputs, states = tensor("inputs", 0, 1, dimension), [["inputs", 0, 0]], []
    for number in range(count):
        name, own = f"lstm_{number}", [f"state_h_{number}", f"state_c_{number}"]
        for state in own:
            layer("InputLayer", state, [], {}, batch_shape=[None, units])
        layer("LSTM", name, [signal], {"initial_state": [tensor(state, 0, units) for state in own]}, units=units,
              return_sequences=number < count - 1, return_state=True)
        inputs += [[state, 0, 0] for state in own]
        states += [[name, 0, 1], [name, 0, 2]]
        signal = tensor(name, 0, 1, units) if number < count - 1 else tensor(name, 0, units)
    layer("MDN", "mdn_outputs", [signal], {}, "keras_mdn_layer", output_dimension=dimension,
          num_mixtures=network.mixtures)
    name = f"musicMDRNN-dim{dimension}-layers{count}-units{units}-mixtures{network.mixtures}-scale{SCALE}"
    return {"module": "keras.src.models.functional", "class_name": "Functional", "registered_name": "Functional",
            "config": {"name": name, "trainable": True, "layers": layers, "input_layers": inputs,
                       "output_layers": [["mdn_outputs", 0, 0], *states]}}
