"""Random WaveNets of every number of channels and taps, by the kernel for common layers and by the general one: the
same model with a modulation that changes nothing takes the general way."""

from typing import Any

import numpy as np
import pytest

from core import models
from core.test_models import esr, noise
from neurig.model import parse

ACTIVATIONS = ["Tanh", "ReLU", "LeakyReLU", "Sigmoid", "Hardtanh", "SiLU"]


def random_arrays(number: int) -> list[dict[str, Any]]:
    """Between them, the numbers 0 to 49 have all of 1 to 20 channels and 1 to 8 taps."""
    rng = np.random.default_rng(number)
    arrays, inputs = [], 1
    channels = [1 + number % 20, *rng.integers(1, 21, rng.integers(0, 3))]
    for n, size in enumerate(map(int, channels)):
        head = int(channels[n + 1]) if n + 1 < len(channels) else 1
        dilations = rng.integers(1, 300, rng.integers(1, 6)).tolist()
        activation = ACTIVATIONS[number % 2] if number % 5 else str(rng.choice(ACTIVATIONS))
        kernel = 1 + (number + 3 * n) % 8
        arrays.append(models.layer_array(inputs, size, head, dilations, kernel=kernel, activation=activation,
                                         head_bias=bool(rng.integers(2))))  # fmt: skip
        inputs = size
    return arrays


def modulated(arrays: list[dict[str, Any]], weights: np.ndarray) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The same model, each layer's activations multiplied by 1 and added to 0."""
    film = {"active": True, "shift": True, "groups": 1}
    parts, at = [], 0

    def copy(size: int) -> None:
        nonlocal at
        parts.append(weights[at : at + size])
        at += size

    for a in arrays:
        c, k = a["channels"], a["kernel_size"]
        copy(a["input_size"] * c)
        for _ in a["dilations"]:
            copy(c * c * k + c + c + c * c + c)
            parts.append(np.concatenate([np.zeros(2 * c), np.ones(c), np.zeros(c)]))  # of the input, then constants
        copy(a["head_size"] * c + a["head_size"] * a["head_bias"])
    copy(1)
    assert at == len(weights)
    return [a | {"activation_post_film": film} for a in arrays], np.concatenate(parts)


@pytest.mark.parametrize("number", range(50))
def test_random_wavenet(number: int) -> None:
    arrays, x = random_arrays(number), noise(1000)
    weights = models.wavenet_weights(arrays, np.random.default_rng(number))
    wanted = models.wavenet(arrays, weights, x.astype(float))
    for layers, numbers in ((arrays, weights), modulated(arrays, weights)):
        model = parse(models.model_file("WaveNet", {"layers": layers}, numbers))
        assert esr(model.instance().process(x), wanted) < 1e-11
