"""Model files changed into one another: what ``neurig convert`` does.

=============== ======== ======== ==============================================================
file            read     written
=============== ======== ======== ==============================================================
``.mdrnn``      yes      yes      neurig's own, which the core reads in every host
``.h5``         yes      yes      Keras 2 and 3: IMPSY's weights
``.keras``      yes      yes      Keras 2 and 3: IMPSY's models
``.tflite``     yes      yes      IMPSY's converted models
``.onnx``       no       yes      for onnxruntime and everything else that runs ONNX
``.nam``        yes      no       NAM's amps, to be written as ``.onnx``
``.ckpt``       yes      no       AmpEmulatorModel's and PedalNetRT's checkpoints, to be written as ``.json``
=============== ======== ======== ==============================================================

A predictor is read into a :class:`~neurig.convert.mdrnn.Mdrnn`, and written from one. What a file is, is told by its
first bytes; only where those say nothing, by its name. Each format has a module of its own, imported when it is needed.

Amps are written for other programs by :mod:`neurig.convert.export`: what ``neurig export`` does.
"""

import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from neurig import ModelError

if TYPE_CHECKING:
    from neurig.convert.mdrnn import Mdrnn

_READERS = {"mdrnn": ".mdrnn", "keras": ".h5 .hdf5 .keras", "tflite": ".tflite", "checkpoint": ".ckpt"}
_WRITERS = {".mdrnn": "mdrnn", ".h5": "keras", ".keras": "keras", ".tflite": "write_tflite", ".onnx": "onnx"}


def format_of(path: str | os.PathLike[str]) -> str | None:
    """Which module a file is for: ``"keras"``, ``"tflite"``, ``"onnx"`` or ``"checkpoint"``; ``None`` for what the core
    reads itself.

    :raises ModelError: where it is no file, but a folder, or a pipe whose end may never come
    """
    path = Path(path)
    if os.path.exists(path) and not path.is_file():  # unlike Path.exists, no error where the name is absurd
        raise ModelError(f"{path}: it is {'a folder' if path.is_dir() else 'a pipe or a device'}, not a file")
    try:
        with open(path, "rb") as file:
            start = file.read(8)
    except OSError:
        start = b""  # who reads it says why that is not possible
    if start.startswith((b"\x89HDF", b"PK\x03\x04")):
        return "checkpoint" if _is_checkpoint(path) else "keras"
    if start[4:] == b"TFL3":
        return "tflite"
    if start.startswith(b"\x08") or path.suffix.lower() == ".onnx":  # Protocol Buffers: a number in field 1
        return "onnx"
    named = next((reader for reader, suffixes in _READERS.items() if path.suffix.lower() in suffixes.split()), None)
    return None if named == "mdrnn" else named


def _is_checkpoint(path: Path) -> bool:
    """Is this one of the archives that PyTorch makes?"""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return any(name.endswith("data.pkl") for name in archive.namelist())
    return False


def read(path: str | os.PathLike[str]) -> "Mdrnn":
    """Reads a predictor from a file of any format.

    :raises ModelError: where the file is missing or holds no MDRNN; the message is ``path: reason``
    """
    reader = format_of(path) or "mdrnn"
    if reader == "onnx":
        raise ModelError(f"{path}: an ONNX graph can be played, but not be changed into a file of another kind")
    if reader == "checkpoint":
        raise ModelError(f"{path}: this is a checkpoint of PyTorch: "
                         "`neurig convert` makes a .json file of it that plays")
    return import_module(f"neurig.convert.{reader}").read(Path(path))


def write(network: "Mdrnn", path: str | os.PathLike[str]) -> None:
    """Writes a predictor in the format that the path's suffix names; the file appears when it is complete.

    :raises ModelError: where the format cannot be written
    :raises OSError: where the folder is missing, full or read-only; an old file is still there then
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise ModelError(f"{path}: predictors are written as {', '.join(_WRITERS)}")
    import_module(f"neurig.convert.{_WRITERS[suffix]}").write(network, path)


@dataclass(frozen=True)
class Conversion:
    """What was converted.

    :ivar summary: a phrase about the new file
    :ivar notices: sentences about what the old one did not have, or what was lost
    """

    summary: str
    notices: tuple[str, ...] = ()


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> Conversion:
    """Converts a model file into another; the suffix of ``target`` says which kind.

    :raises ModelError: where the one cannot be read, or the other not be written
    :raises OSError: where the folder is missing, full or read-only; an old file is still there then
    """
    from neurig.model import load, parse

    source, target = Path(source), Path(target)
    if format_of(source) == "checkpoint":
        if target.suffix.lower() != ".json":
            raise ModelError(f"{target}: the amp of a checkpoint is written as .json")
        from neurig.convert import checkpoint

        return Conversion(checkpoint.write(source, target))
    if format_of(source) is None and (model := load(source)).is_amp:
        if target.suffix.lower() != ".onnx":
            raise ModelError(f"{target}: an amp is written as .onnx")
        if model.info["family"] != "NAM":
            raise ModelError(f"{source}: only amps of NAM are written as .onnx, and this one is of the family "
                             f"{model.info['family']}")
        from neurig.convert import nam

        notice = nam.write(source, target)
        return Conversion(f"{model.info['architecture']} at {model.rate:g} Hz", (notice,) if notice else ())
    network = read(source)
    about = parse(network.text(), Path(source)).info  # what is written can be run
    write(network, target)
    return Conversion(f"dimension {about['dimension']}, {about['units']} units, {about['layers']} layers, "
                      f"{about['mixtures']} mixtures", (network.notice,) if network.notice else ())
