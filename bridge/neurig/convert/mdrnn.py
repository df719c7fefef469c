"""The MDRNN as it stands between two formats, and neurig's own format: ``.mdrnn``, a text in JSON."""

import base64
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurig import ModelError
from neurig.files import write_atomic

SCALE = 10  # what IMPSY multiplies all frames with, in training and in use
HEADS = ("mus", "sigmas", "pi")

Weights = NDArray[np.float32]


@dataclass
class Mdrnn:
    """LSTM layers under a mixture density output.

    :ivar layers: of each LSTM layer kernel (in, 4 units), recurrent kernel (units, 4 units) and bias (4 units), with
        the gates in Keras's order: input, forget, cell, output
    :ivar heads: of each of the dense layers mus, sigmas and pi kernel (units, outputs) and bias (outputs)
    :ivar source: the file that it came from
    :ivar scale: what frames are multiplied with before the network
    :ivar notice: what the user should know of how it was read; empty where there is nothing
    """

    layers: list[list[Weights]]
    heads: dict[str, list[Weights]]
    source: Path
    scale: float = SCALE
    notice: str = ""
    metadata: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """:raises ModelError: where these do not make an MDRNN, with the reason"""
        try:
            self._check()
        except ValueError as problem:
            raise ModelError(f"{self.source}: {problem}") from None
        self.metadata = {"source": self.source.name} | ({"notice": self.notice} if self.notice else {}) | self.metadata

    def _check(self) -> None:
        if not self.layers:
            raise ValueError("it has no LSTM layer")
        if missing := [name for name in HEADS if name not in self.heads]:
            raise ValueError(f"it has no mixture density output: {' and '.join(missing)} missing")
        for number, (kernel, recurrent, _) in enumerate(self.layers[1:], start=2):
            if kernel.shape[0] != self.units or recurrent.shape[0] != self.units:
                raise ValueError(f"LSTM layer {number} takes {kernel.shape[0]} values and has {recurrent.shape[0]} "
                                 f"units, where the first has {self.units} units: in an MDRNN all are alike")
        for name, size in zip(HEADS, (self.mixtures * self.dimension,) * 2 + (self.mixtures,), strict=True):
            shapes = [array.shape for array in self.heads[name]]
            wanted = [(self.units, size), (size,)]
            if shapes != wanted:
                raise ValueError(f"{name} has the shapes {shown(shapes)}, where {self.dimension} dimensions and "
                                 f"{self.mixtures} mixtures after {self.units} units make {shown(wanted)}")
        if not np.isfinite(self.weights).all():
            raise ValueError("it has weights that are not finite")

    @property
    def dimension(self) -> int:
        return self.layers[0][0].shape[0]

    @property
    def units(self) -> int:
        return self.layers[0][1].shape[0]

    @property
    def mixtures(self) -> int:
        return self.heads["pi"][1].shape[0]

    @cached_property
    def weights(self) -> Weights:
        """All of them, in the order of a ``.mdrnn`` file."""
        groups = [*self.layers, *(self.heads[name] for name in HEADS)]
        return np.concatenate([array.ravel() for group in groups for array in group])

    def text(self) -> str:
        """The text of a ``.mdrnn`` file. Its weights are written as they are in memory, float32 with the little end
        first, in base64; where people write such a file, a list of numbers is as good."""
        config = {"dimension": self.dimension, "units": self.units, "layers": len(self.layers),
                  "mixtures": self.mixtures, "scale": self.scale}
        model = {"architecture": "MDRNN", "version": "1.0", "config": config, "metadata": self.metadata,
                 "weights": base64.b64encode(self.weights.astype("<f4").tobytes()).decode()}
        return json.dumps(model) + "\n"


def read(path: Path) -> Mdrnn:
    """Reads a ``.mdrnn`` file.

    :raises ModelError: where it is missing, or is none
    """
    from neurig.model import load

    about = load(path).info  # the core has checked it then
    if about["architecture"] != "MDRNN":
        raise ModelError(f"{path}: this is an amp ({about['architecture']}), not a predictor")
    model = json.loads(path.read_text(encoding="utf-8"))
    dimension, units, mixtures = (about[name] for name in ("dimension", "units", "mixtures"))
    written = model["weights"]
    weights = (np.frombuffer(base64.b64decode(written), "<f4").astype(np.float32) if isinstance(written, str)
               else np.array(written, np.float32))
    place = 0

    def take(*shape: int) -> Weights:
        nonlocal place
        place += int(np.prod(shape))
        return weights[place - int(np.prod(shape)) : place].reshape(shape)

    layers = [[take(units if layer else dimension, 4 * units), take(units, 4 * units), take(4 * units)]
              for layer in range(about["layers"])]
    sizes = dict(zip(HEADS, (mixtures * dimension, mixtures * dimension, mixtures), strict=True))
    heads = {name: [take(units, size), take(size)] for name, size in sizes.items()}
    return Mdrnn(layers, heads, path, model["config"]["scale"], metadata=model.get("metadata") or {})


def write(network: Mdrnn, path: Path) -> None:
    """:raises OSError: where that is not possible; a file already there stays as it was"""
    write_atomic(path, network.text())


def shown(shapes: list[tuple[int, ...]]) -> str:
    """Shapes, for a message."""
    return " and ".join(str(shape) for shape in shapes)
