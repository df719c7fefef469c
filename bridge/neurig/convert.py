"""Conversion of MDRNN predictors from Keras files to ``.mdrnn``, with h5py alone.

The weights are found by structure and shape, not by exact name, since Keras 2 and 3 lay files out differently: every
group of three arrays that fits an LSTM is a layer, and the output layer is three dense layers whose names contain
``mus``, ``sigmas`` and ``pi``. What the file says about activations is not looked at: IMPSY runs all its models with
sigmoid and tanh, whatever they were saved with.
"""

import io
import json
import os
import re
import zipfile
from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from neurig import ModelError

SCALE = 10  # what IMPSY multiplies all frames with, in training and in use
_MAX_BYTES = 1 << 30

Weights = NDArray[np.float32]


def mdrnn(source: str | os.PathLike[str]) -> str:
    """The text of a ``.mdrnn`` file with the network of a Keras file.

    Every weight comes through exactly: it is written with as many digits as tell it from its neighbours.

    :param source: a ``.keras`` file, or an HDF5 file of a whole model or of its weights
    :raises ModelError: where the file is missing or holds no MDRNN; the message is ``path: reason``
    """
    source = Path(source)
    try:
        layers, heads = _network(_arrays(source))
    except (OSError, zipfile.BadZipFile, KeyError, RuntimeError) as problem:  # h5py raises all of these
        raise ModelError(f"{source}: {_reason(source, problem)}") from None
    except ValueError as problem:
        raise ModelError(f"{source}: {problem}") from None
    weights = [array for layer in layers + heads for array in layer]
    if not all(np.isfinite(array).all() for array in weights):
        raise ModelError(f"{source}: it has weights that are not finite")
    model = {
        "architecture": "MDRNN",
        "version": "1.0",
        "config": {
            "dimension": layers[0][0].shape[0],
            "units": layers[0][1].shape[0],
            "layers": len(layers),
            "mixtures": heads[2][1].shape[0],
            "scale": SCALE,
        },
        "metadata": {"source": source.name},
        "weights": [float(str(weight)) for array in weights for weight in array.ravel()],
    }
    return json.dumps(model) + "\n"


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


def _network(groups: dict[str, list[tuple[str, Weights]]]) -> tuple[list[list[Weights]], list[list[Weights]]]:
    """The LSTM layers (kernel, recurrent kernel, bias each) and the dense layers mus, sigmas and pi (kernel, bias).

    :raises ValueError: where the groups do not make an MDRNN, with the reason
    """
    layers = []
    heads: dict[str, list[Weights]] = {}
    for group, named in sorted(groups.items(), key=lambda item: _in_order(item[0])):
        arrays = [array for _, array in sorted(named, key=lambda item: _role(item[0]))]
        shapes = [array.shape for array in arrays]
        if [len(shape) for shape in shapes] == [2, 2, 1]:
            units = shapes[1][0]
            if shapes[0][1:] != (4 * units,) or shapes[1] != (units, 4 * units) or shapes[2] != (4 * units,):
                raise ValueError(f"{group} is not an LSTM layer: its arrays have the shapes {_list(shapes)}")
            layers.append(arrays)
        elif [len(shape) for shape in shapes] == [2, 1]:
            head = next((name for name in ("mus", "sigmas", "pi") if name in group.split("/")[-1]), None)
            if head is None or head in heads:
                raise ValueError(f"{group} is a dense layer that an MDRNN does not have")
            heads[head] = arrays
        elif arrays:
            raise ValueError(f"{group} is a layer that an MDRNN does not have: its arrays have the shapes "
                             f"{_list(shapes)}")
    if not layers:
        raise ValueError("it has no LSTM layer")
    if missing := [name for name in ("mus", "sigmas", "pi") if name not in heads]:
        raise ValueError(f"it has no mixture density output: {' and '.join(missing)} missing")
    dimension, units = layers[0][0].shape[0], layers[0][1].shape[0]
    for number, (kernel, recurrent, _) in enumerate(layers[1:], start=2):
        if kernel.shape[0] != units or recurrent.shape[0] != units:
            raise ValueError(f"LSTM layer {number} takes {kernel.shape[0]} values and has {recurrent.shape[0]} units, "
                             f"where the first has {units} units: in an MDRNN all are alike")
    mixtures = heads["pi"][1].shape[0]
    for name, size in (("mus", mixtures * dimension), ("sigmas", mixtures * dimension), ("pi", mixtures)):
        kernel, bias = heads[name]
        if kernel.shape != (units, size) or bias.shape != (size,):
            raise ValueError(f"{name} has the shapes {_list([kernel.shape, bias.shape])}, where {dimension} dimensions "
                             f"and {mixtures} mixtures after {units} units make {_list([(units, size), (size,)])}")
    return layers, [heads["mus"], heads["sigmas"], heads["pi"]]


def _role(name: str) -> int:
    """Where an array stands among a layer's: Keras 3 counts, Keras 2 gives names (``kernel:0``)."""
    roles = {"kernel": 0, "recurrent_kernel": 1, "bias": 2}
    plain = name.split(":")[0]
    return roles[plain] if plain in roles else int(plain) if plain.isdigit() else len(roles)


def _in_order(path: str) -> list[tuple[str, int]]:
    """Sorts ``lstm`` before ``lstm_1``, and ``lstm_2`` before ``lstm_10``."""
    parts = []
    for part in path.split("/"):
        word, number = re.fullmatch(r"(.*?)_?(\d*)", part, re.DOTALL).groups()
        parts.append((word, int(number) if number else -1))
    return parts


def _list(shapes: list[tuple[int, ...]]) -> str:
    return " and ".join(str(shape) for shape in shapes)


def _reason(source: Path, problem: Exception) -> str:
    """Why a file could not be read, in words; HDF5's own tell of its insides."""
    if isinstance(problem, OSError) and problem.errno:
        return os.strerror(problem.errno)
    if source.stat().st_size == 0:
        return "the file is empty"
    return "this is neither a Keras nor an HDF5 file, or it is damaged"
