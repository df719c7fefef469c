"""For the tests of the Python side: a predictor that is written down a second time, and the measure of likeness."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

Command = Callable[..., subprocess.CompletedProcess[str]]


def esr(reference: ArrayLike, output: ArrayLike) -> float:
    """Error-to-signal ratio: the energy of the difference over the energy of the reference."""
    expected, found = np.asarray(reference, np.float64), np.asarray(output, np.float64)
    assert expected.shape == found.shape
    return float(np.sum((expected - found) ** 2) / np.sum(expected**2))


class Mdrnn:
    """An MDRNN with random weights: its file, and its equations in float64."""

    def __init__(self, dimension: int = 3, units: int = 8, layers: int = 2, mixtures: int = 4, seed: int = 1) -> None:
        random = np.random.default_rng(seed)

        def draw(*shape: int) -> NDArray[np.float32]:
            return random.normal(0, 0.4, shape).astype(np.float32)

        self.dimension, self.units, self.mixtures = dimension, units, mixtures
        self.layers = [
            (draw(units if layer else dimension, 4 * units), draw(units, 4 * units), draw(4 * units))
            for layer in range(layers)
        ]
        sizes = {"mus": mixtures * dimension, "sigmas": mixtures * dimension, "pi": mixtures}
        self.heads = {name: (draw(units, size), draw(size)) for name, size in sizes.items()}

    @property
    def weights(self) -> NDArray[np.float32]:
        """All of them, flat, in the order of a ``.mdrnn`` file."""
        return np.concatenate([array.ravel() for group in (*self.layers, *self.heads.values()) for array in group])

    def write(self, path: Path) -> Path:
        config = {"dimension": self.dimension, "units": self.units, "layers": len(self.layers),
                  "mixtures": self.mixtures, "scale": 10}
        path.write_text(json.dumps({"architecture": "MDRNN", "version": "1.0", "config": config, "metadata": {},
                                    "weights": self.weights.astype(float).tolist()}))
        return path

    def steps(self, frames: NDArray[np.float32]) -> list[tuple[NDArray[np.float64], ...]]:
        """mus, sigmas and pi logits after each frame, from the zero state."""
        states = [(np.zeros(self.units), np.zeros(self.units)) for _ in self.layers]
        answers = []
        for frame in frames.astype(np.float64):
            signal = frame * 10
            for layer, (kernel, recurrent, bias) in enumerate(self.layers):
                hidden, cell = states[layer]
                i, f, c, o = np.split(signal @ kernel + hidden @ recurrent + bias, 4)
                cell = _sigmoid(f) * cell + _sigmoid(i) * np.tanh(c)
                hidden = _sigmoid(o) * np.tanh(cell)
                states[layer] = hidden, cell
                signal = hidden
            mus, raw, logits = (signal @ kernel + bias for kernel, bias in self.heads.values())
            sigmas = np.where(raw > 0, raw, np.expm1(np.minimum(raw, 0))) + 1 + 1e-7
            shape = (self.mixtures, self.dimension)
            answers.append((mus.reshape(shape), sigmas.reshape(shape), logits))
        return answers


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))
