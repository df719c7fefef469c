"""How large an MDRNN is, and what it is before it has learned anything."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurig.convert.mdrnn import SCALE, Mdrnn

MIXTURES = 5


@dataclass(frozen=True)
class Size:
    """:ivar units: of each LSTM layer"""

    units: int
    layers: int = 2


SIZES = {"xxs": Size(16), "xs": Size(32), "s": Size(64), "m": Size(128), "l": Size(256), "xl": Size(512, layers=3)}


def model_name(dimension: int, size: Size) -> str:
    """The name that IMPSY's users know such a model by."""
    return f"musicMDRNN-dim{dimension}-layers{size.layers}-units{size.units}-mixtures{MIXTURES}-scale{SCALE}"


def untrained(dimension: int, size: Size, seed: int) -> Mdrnn:
    """A network with random weights, drawn as Keras draws them.

    Kernels are uniform (Glorot and Bengio 2010), recurrent kernels orthogonal, biases 0 but for the forget gates'
    1: at first everything is remembered.
    """
    random = np.random.default_rng(seed)
    units = size.units

    def kernel(inputs: int, outputs: int) -> NDArray[np.float32]:
        limit = np.sqrt(6 / (inputs + outputs))
        return random.uniform(-limit, limit, (inputs, outputs)).astype(np.float32)

    def orthogonal() -> NDArray[np.float32]:
        """By Gram and Schmidt. `einsum` takes no threads, which for such small sums would only wait for each other."""
        rows = random.normal(size=(units, 4 * units))
        for index, row in enumerate(rows):
            before = rows[:index]
            row -= np.einsum("ij,i->j", before, np.einsum("ij,j->i", before, row))
            row /= np.sqrt(np.einsum("j,j", row, row))
        return rows.astype(np.float32)

    def dense(outputs: int) -> list[NDArray[np.float32]]:
        return [kernel(units, outputs), np.zeros(outputs, np.float32)]

    remember = np.zeros(4 * units, np.float32)
    remember[units : 2 * units] = 1
    layers = [[kernel(units if layer else dimension, 4 * units), orthogonal(), remember.copy()]
              for layer in range(size.layers)]
    heads = {"mus": dense(MIXTURES * dimension), "sigmas": dense(MIXTURES * dimension), "pi": dense(MIXTURES)}
    return Mdrnn(layers, heads, Path("untrained"))
