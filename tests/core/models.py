"""Random models of each architecture, written as files are, and their output computed again in float64 by NumPy.

The NumPy side follows the published equations one sample or one layer at a time and shares nothing with the core.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "Sigmoid": sigmoid,
    "Hardtanh": lambda x: np.clip(x, -1, 1),
    "LeakyReLU": lambda x: np.where(x > 0, x, 0.01 * x),
    "SiLU": lambda x: x * sigmoid(x),
    "Hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "Softsign": lambda x: x / (1 + np.abs(x)),
}


def model_file(architecture: str, config: dict[str, Any], weights: Floats | list[float], **more: Any) -> str:
    """The text of a model file."""
    listed = [float(w) for w in np.asarray(weights, np.float32)]
    return json.dumps({"version": "0.5.4", "architecture": architecture, "config": config, "weights": listed, **more})


def layer_array(inputs: int, channels: int, head: int, dilations: list[int], *, kernel: int = 3, gated: bool = False,
                head_bias: bool = False, activation: str = "Tanh") -> dict[str, Any]:
    return {"input_size": inputs, "condition_size": 1, "head_size": head, "channels": channels, "kernel_size": kernel,
            "dilations": dilations, "activation": activation, "gated": gated, "head_bias": head_bias}


def wavenet_weights(arrays: list[dict[str, Any]], rng: np.random.Generator, scale: float = 0.02) -> Floats:
    parts = []
    for a in arrays:
        c, k, rows = a["channels"], a["kernel_size"], a["channels"] * (2 if a["gated"] else 1)
        sizes = [a["input_size"] * c]
        sizes += [rows * c * k, rows, rows, c * c, c] * len(a["dilations"])
        sizes += [a["head_size"] * c] + ([a["head_size"]] if a["head_bias"] else [])
        parts += [rng.normal(0, 1 / np.sqrt(c * k), size) for size in sizes]
    return np.concatenate([*parts, [scale]]).astype(np.float32).astype(np.float64)


def wavenet(arrays: list[dict[str, Any]], weights: Floats, x: Floats, condition: Floats | None = None) -> Floats:
    """Output of a WaveNet whose past was silence for as long as it remembers.

    :param condition: with as long a past; the input, where it is not given
    """
    past = sum((a["kernel_size"] - 1) * sum(a["dilations"]) for a in arrays)
    signal = np.concatenate([np.zeros(past), x])
    at = 0

    def take(*shape: int) -> Floats:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return weights[at - size : at].reshape(shape)

    condition = signal if condition is None else condition
    hidden, head = signal[None], None
    for a in arrays:
        c, k, rows = a["channels"], a["kernel_size"], a["channels"] * (2 if a["gated"] else 1)
        f = ACTIVATIONS[a["activation"]]
        hidden = take(c, a["input_size"]) @ hidden
        for d in a["dilations"]:
            conv, bias, mixin = take(rows, c, k), take(rows), take(rows, 1)
            z = bias[:, None] + mixin @ condition[None]
            for tap in range(k):
                shift = (k - 1 - tap) * d
                z += conv[:, :, tap] @ np.concatenate([np.zeros((c, shift)), hidden[:, : hidden.shape[1] - shift]], 1)
            act = f(z[:c]) * sigmoid(z[c:]) if a["gated"] else f(z)
            head = act if head is None else head + act
            out, out_bias = take(c, c), take(c)
            hidden = hidden + out @ act + out_bias[:, None]
        head = take(a["head_size"], c) @ head
        if a["head_bias"]:
            head = head + take(a["head_size"])[:, None]
    return take(1)[0] * head[0, past:]


def lstm_weights(units: int, layers: int, rng: np.random.Generator) -> Floats:
    parts = []
    for layer in range(layers):
        inputs = units if layer else 1
        parts += [rng.normal(0, 1 / np.sqrt(units), 4 * units * (inputs + units)), rng.normal(0, 0.1, 4 * units)]
        parts += [rng.normal(0, 0.1, units), rng.normal(0, 0.1, units)]
    parts += [rng.normal(0, 0.3, units), rng.normal(0, 0.1, 1)]
    return np.concatenate(parts).astype(np.float32).astype(np.float64)


def lstm(units: int, layers: int, weights: Floats, x: Floats) -> Floats:
    """Output from the stored initial state on, without prewarming."""
    at = 0

    def take(*shape: int) -> Floats:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return weights[at - size : at].reshape(shape)

    cells = [[take(4 * units, (units if n else 1) + units), take(4 * units), take(units), take(units)]
             for n in range(layers)]
    head, bias = take(units), take(1)[0]
    y = np.empty_like(x)
    for n, sample in enumerate(x):
        value = np.array([sample])
        for cell in cells:
            w, b, h, c = cell
            i, f, g, o = np.split(w @ np.concatenate([value, h]) + b, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            cell[2], cell[3], value = h, c, h
        y[n] = head @ value + bias
    return y


def mdrnn_file(dimension: int, units: int, layers: int, mixtures: int, rng: np.random.Generator) -> str:
    sizes = []
    for layer in range(layers):
        inputs = units if layer else dimension
        sizes += [(inputs, 4 * units), (units, 4 * units), (4 * units,)]
    md = mixtures * dimension
    sizes += [(units, md), (md,), (units, md), (md,), (units, mixtures), (mixtures,)]
    weights = np.concatenate([rng.normal(0, 0.5 / np.sqrt(units), int(np.prod(s))) for s in sizes])
    config = {"dimension": dimension, "units": units, "layers": layers, "mixtures": mixtures, "scale": 10}
    file = model_file("MDRNN", config, [] if len(weights) > 100_000 else weights)
    if len(weights) > 100_000:  # lists of numbers are slow to read and to write
        packed = base64.b64encode(weights.astype("<f4").tobytes()).decode()
        file = json.dumps(json.loads(file) | {"weights": packed})
    return file


def mdrnn(text: str, frames: Floats) -> tuple[Floats, Floats, Floats]:
    """mus and sigmas [step][mixture][dimension] and pi logits [step][mixture] from zero state."""
    file = json.loads(text)
    config, weights, at = file["config"], file["weights"], 0
    if isinstance(weights, str):
        weights = np.frombuffer(base64.b64decode(weights), "<f4").astype(float)
    weights = np.asarray(weights)

    def take(*shape: int) -> Floats:
        nonlocal at
        size = int(np.prod(shape))
        at += size
        return weights[at - size : at].reshape(shape)

    d, u, m = config["dimension"], config["units"], config["mixtures"]
    cells = [(take(u if n else d, 4 * u), take(u, 4 * u), take(4 * u)) for n in range(config["layers"])]
    dense = [(take(u, n), take(n)) for n in (m * d, m * d, m)]
    state = [(np.zeros(u), np.zeros(u)) for _ in cells]
    steps = []
    for frame in frames:
        value = frame * config["scale"]
        for n, (kernel, recurrent, bias) in enumerate(cells):
            h, c = state[n]
            i, f, g, o = np.split(value @ kernel + h @ recurrent + bias, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            state[n], value = (h, c), h
        mus, raw, logits = (value @ w + b for w, b in dense)
        sigmas = np.where(raw > 0, raw, np.expm1(raw)) + 1 + 1e-7
        steps.append((mus.reshape(m, d), sigmas.reshape(m, d), logits))
    return tuple(np.array(part) for part in zip(*steps, strict=True))
