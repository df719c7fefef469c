"""Files of RTNeural, GuitarML and WaveNetVA with random weights, and their output computed again in float64 by NumPy.

Signals are [frame, channel]; the past before them is silence, as long as the functions are told to put in front.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.models import sigmoid

Floats = NDArray[np.float64]
Layers = list[dict[str, Any]]


def softmax(x: Floats) -> Floats:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


ACTIVATIONS = {
    "": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": sigmoid,
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "softmax": softmax,
}


# ---- RTNeural: Keras's layers -------------------------------------------------------------------------------------


class Stack:
    """Grows an RTNeural file layer by layer.

    :param inputs: the signal, and knobs
    :param seed: of the weights
    """

    def __init__(self, inputs: int = 1, seed: int = 1) -> None:
        self.rng = np.random.default_rng(seed)
        self.inputs = self.channels = inputs
        self.layers: Layers = []

    def numbers(self, *shape: int, scale: float = 1.0, around: float = 0.0) -> list:
        return self.rng.normal(around, scale, shape).astype(np.float32).tolist()

    def add(self, kind: str, channels: int, weights: list, activation: str = "", **more: Any) -> Stack:
        layer = {"type": kind, "activation": activation, "shape": [None, None, channels], "weights": weights}
        self.layers.append(layer | more)
        self.channels = channels
        return self

    def dense(self, outs: int, activation: str = "", bias: bool = True, kind: str = "dense") -> Stack:
        weights = [self.numbers(self.channels, outs, scale=self.channels**-0.5)]
        return self.add(kind, outs, weights + [self.numbers(outs, scale=0.1)] * bias, activation)

    def conv(
        self, outs: int, kernel: int, dilation: int = 1, groups: int = 1, activation: str = "", bias: bool = True
    ) -> Stack:
        share = self.channels // groups
        weights = [self.numbers(kernel, share, outs, scale=(share * kernel) ** -0.5)] + [
            self.numbers(outs, scale=0.1)
        ] * bias
        return self.add("conv1d", outs, weights, activation, kernel_size=[kernel], dilation=[dilation], groups=groups)

    def conv2d(
        self,
        features: int,
        outs: int,
        kernel: tuple[int, int],
        dilation: int = 1,
        stride: int = 1,
        padding: str = "valid",
    ) -> Stack:
        filters = self.channels // features
        places = (features - kernel[1]) // stride + 1 if padding == "valid" else -(-features // stride)
        weights = [
            self.numbers(*kernel, filters, outs, scale=(filters * kernel[0] * kernel[1]) ** -0.5),
            self.numbers(outs, scale=0.1),
        ]
        self.add(
            "conv2d",
            places * outs,
            weights,
            kernel_size_time=kernel[0],
            kernel_size_feature=kernel[1],
            dilation=dilation,
            strides=stride,
            num_filters_in=filters,
            num_features_in=features,
            num_filters_out=outs,
            padding=padding,
        )
        self.layers[-1]["shape"] = [None, 50, places, outs]
        return self

    def lstm(self, units: int) -> Stack:
        parts = [self.numbers(self.channels, 4 * units, scale=1), self.numbers(units, 4 * units, scale=units**-0.5)]
        return self.add("lstm", units, [*parts, self.numbers(4 * units, scale=0.1)])

    def gru(self, units: int) -> Stack:
        parts = [self.numbers(self.channels, 3 * units, scale=1), self.numbers(units, 3 * units, scale=units**-0.5)]
        return self.add("gru", units, [*parts, self.numbers(2, 3 * units, scale=0.1)])

    def batch_norm(self, affine: bool = True, kind: str = "batchnorm", filters: int | None = None) -> Stack:
        n = filters or self.channels
        weights = [self.numbers(n), self.numbers(n)] if affine else []
        variance = self.rng.uniform(0.2, 2, n).tolist()
        return self.add(
            kind,
            self.channels,
            [*weights, self.numbers(n), variance],
            epsilon=0.01,
            num_filters_in=n,
            num_features_in=self.channels // n,
        )

    def prelu(self, shared: bool = False) -> Stack:
        return self.add("prelu", self.channels, [[self.numbers(1 if shared else self.channels, around=0.2)]])

    def activation(self, name: str) -> Stack:
        return self.add("activation", self.channels, [], name)

    def file(self, **more: Any) -> dict[str, Any]:
        return {"in_shape": [None, None, self.inputs], "layers": self.layers} | more

    def text(self, **more: Any) -> str:
        return json.dumps(self.file(**more))


def delayed(x: Floats, frames: int) -> Floats:
    return np.concatenate([np.zeros((frames, *x.shape[1:])), x[: len(x) - frames]]) if frames else x


def run_lstm(kernel: Floats, recurrent: Floats, bias: Floats, x: Floats) -> Floats:
    """Gates i f g o, in columns."""
    h = c = np.zeros(len(recurrent))
    out = []
    for row in x @ kernel + bias:
        i, f, g, o = np.split(row + h @ recurrent, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        out.append(h)
    return np.array(out)


def run_gru(kernel: Floats, recurrent: Floats, bias: Floats, x: Floats) -> Floats:
    """Gates z r n, in columns; bias: of the input, of h."""
    h = np.zeros(len(recurrent))
    out = []
    for row in x @ kernel + bias[0]:
        (zx, rx, nx), (zh, rh, nh) = np.split(row, 3), np.split(h @ recurrent + bias[1], 3)
        z = sigmoid(zx + zh)
        h = (1 - z) * np.tanh(nx + sigmoid(rx + rh) * nh) + z * h
        out.append(h)
    return np.array(out)


def run_conv2d(layer: dict[str, Any], w: list[Floats], x: Floats) -> Floats:
    kernel, features = w[0], layer["num_features_in"]
    image = x.reshape(len(x), features, layer["num_filters_in"])
    taps, across = kernel.shape[:2]
    stride = layer["strides"]
    if layer["padding"] == "same":
        extra = max((-(-features // stride) - 1) * stride + across - features, 0)
        image = np.pad(image, ((0, 0), (extra // 2, extra - extra // 2), (0, 0)))
    places = (image.shape[1] - across) // stride + 1
    y = np.zeros((len(x), places, kernel.shape[3]))
    for tap in range(taps):
        past = delayed(image, (taps - 1 - tap) * layer["dilation"])
        for place in range(places):
            part = past[:, place * stride : place * stride + across]
            y[:, place] += np.einsum("taf,afo->to", part, kernel[tap])
    return (y + w[1]).reshape(len(x), -1)


def run_stack(layers: Layers, x: Floats) -> Floats:
    for layer in layers:
        kind = layer["type"]
        w = [np.array(part, np.float64) for part in layer["weights"]]
        n = layer["shape"][-1]
        if kind in ("dense", "time-distributed-dense"):
            x = x @ w[0] + (w[1] if len(w) > 1 else 0)
        elif kind == "conv1d":
            taps, share, _ = w[0].shape
            groups, y = layer["groups"], np.zeros((len(x), n))
            for tap in range(taps):
                past = delayed(x, (taps - 1 - tap) * layer["dilation"][0])
                for g in range(groups):
                    outs = slice(g * n // groups, (g + 1) * n // groups)
                    y[:, outs] += past[:, g * share : (g + 1) * share] @ w[0][tap][:, outs]
            x = y + (w[1] if len(w) > 1 else 0)
        elif kind == "conv2d":
            x = run_conv2d(layer, w, x)
        elif kind == "lstm":
            x = run_lstm(*w, x)
        elif kind == "gru":
            x = run_gru(*w, x)
        elif kind.startswith("batchnorm"):
            gamma, beta = w[:2] if len(w) == 4 else (1, 0)
            shape = x.shape
            x = x.reshape(len(x), -1, len(w[-1]))
            x = ((x - w[-2]) / np.sqrt(w[-1] + layer["epsilon"]) * gamma + beta).reshape(shape)
        elif kind == "prelu":
            x = np.where(x >= 0, x, x * w[0].ravel())
        if kind not in ("lstm", "gru"):
            x = ACTIVATIONS[layer["activation"]](x)
    return x


def run(stack: Stack, signal: Floats, knobs: list[float] | None = None, silence: int = 3000) -> Floats:
    """First output after `silence` frames of silence; knobs are 0.5 unless given."""
    knobs = knobs or [0.5] * (stack.inputs - 1)
    x = np.concatenate([np.zeros(silence), signal])
    x = np.stack([x, *(np.full(len(x), k) for k in knobs)], 1)
    return run_stack(stack.layers, x)[silence:, 0]


# ---- GuitarML: PyTorch's state_dict -------------------------------------------------------------------------------


def guitarml(
    unit: str, units: int, inputs: int = 1, layers: int = 1, skip: int = 0, bias: bool = True, seed: int = 1
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    rows = {"LSTM": 4, "GRU": 3}[unit] * units
    numbers = lambda *shape, scale=0.1: rng.normal(0, scale, shape).astype(np.float32).tolist()  # noqa: E731
    state = {}
    for n in range(layers):
        state |= {
            f"rec.weight_ih_l{n}": numbers(rows, units if n else inputs, scale=0.7),
            f"rec.weight_hh_l{n}": numbers(rows, units, scale=units**-0.5),
            f"rec.bias_ih_l{n}": numbers(rows),
            f"rec.bias_hh_l{n}": numbers(rows),
        }
    state |= {"lin.weight": numbers(1, units, scale=units**-0.5)} | ({"lin.bias": numbers(1)} if bias else {})
    about = {
        "model": "SimpleRNN",
        "input_size": inputs,
        "skip": skip,
        "output_size": 1,
        "unit_type": unit,
        "num_layers": layers,
        "hidden_size": units,
        "bias_fl": bias,
    }
    return {"model_data": about, "state_dict": state}


def run_guitarml(file: dict[str, Any], signal: Floats, knobs: list[float], silence: int = 3000) -> Floats:
    about, state = file["model_data"], {name: np.array(v, np.float64) for name, v in file["state_dict"].items()}
    dry = np.concatenate([np.zeros(silence), signal])
    x = np.stack([dry, *(np.full(len(dry), k) for k in knobs)], 1)
    for n in range(about["num_layers"]):
        ih, hh, b, c = (state[f"rec.{part}_l{n}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        if about["unit_type"] == "LSTM":
            x = run_lstm(ih.T, hh.T, b + c, x)
        else:  # r z n, where run_gru has z r n
            u = about["hidden_size"]
            order = np.r_[u : 2 * u, 0:u, 2 * u : 3 * u]
            x = run_gru(ih.T[:, order], hh.T[:, order], np.stack([b[order], c[order]]), x)
    y = x @ state["lin.weight"][0] + state.get("lin.bias", np.zeros(1))[0]
    return (y + about["skip"] * dry)[silence:]


# ---- WaveNetVA ----------------------------------------------------------------------------------------------------

GATES = {
    "gated": lambda z, c: np.tanh(z[:, :c]) * sigmoid(z[:, c:]),
    "softgated": lambda z, c: z[:, :c] / (1 + np.abs(z[:, :c])) * (z[:, c:] / (1 + np.abs(z[:, c:]))),
    "tanh": lambda z, c: np.tanh(z),
    "sigmoid": lambda z, c: sigmoid(z),
    "relu": lambda z, c: np.maximum(z, 0),
    "softsign": lambda z, c: z / (1 + np.abs(z)),
    "linear": lambda z, c: z,
}


def gated_wavenet(
    channels: int,
    dilations: list[int],
    kernel: int = 3,
    activation: str = "gated",
    strings: bool = False,
    seed: int = 1,
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    rows, count = channels * (2 if "gated" in activation else 1), len(dilations)
    variables = []

    def variable(layer: int, name: str, size: int, scale: float) -> None:
        values = rng.normal(0, scale, size).astype(np.float32).tolist()
        variables.append({"layer_idx": layer, "name": name, "data": [str(v) for v in values] if strings else values})

    variable(-1, "W", channels, 1)
    variable(-1, "b", channels, 0.1)
    for n in range(count):
        variable(n, "W_conv", kernel * channels * rows, (kernel * channels) ** -0.5)
        variable(n, "b_conv", rows, 0.1)
        variable(n, "W_out", channels * channels, channels**-0.5)
        variable(n, "b_out", channels, 0.1)
    variable(count, "W", count * channels, (count * channels) ** -0.5)
    variable(count, "b", 1, 0.1)
    return {
        "activation": activation,
        "output_channels": 1,
        "input_channels": 1,
        "residual_channels": channels,
        "filter_width": kernel,
        "dilations": dilations,
        "variables": variables,
    }


def run_gated_wavenet(file: dict[str, Any], signal: Floats) -> Floats:
    """From zero state, after as much silence as the network remembers."""
    c, kernel, dilations = file["residual_channels"], file["filter_width"], file["dilations"]
    silence = (kernel - 1) * sum(dilations)
    data = {(v["layer_idx"], v["name"]): np.array(v["data"], np.float64) for v in file["variables"]}
    x = np.concatenate([np.zeros(silence), signal])[:, None] * data[-1, "W"] + data[-1, "b"]
    parts = []
    for n, dilation in enumerate(dilations):
        w = data[n, "W_conv"].reshape(kernel, c, -1)
        z = data[n, "b_conv"] + sum(delayed(x, (kernel - 1 - k) * dilation) @ w[k] for k in range(kernel))
        a = GATES[file["activation"]](z, c)
        parts.append(a)
        x = x + a @ data[n, "W_out"].reshape(c, c) + data[n, "b_out"]
    return (np.concatenate(parts, 1) @ data[len(dilations), "W"] + data[len(dilations), "b"])[silence:]
