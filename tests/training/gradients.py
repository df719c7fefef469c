"""How far the compiled kernel is from PyTorch's autograd in double precision; with NEURIG_SIMD in the environment, that
of fewer instructions.

    python gradients.py             prints a line of JSON for each case: its name, and the relative errors of the output
                                    and of the gradient
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from neurig.training.kernel import fused
from neurig.training.networks import Network, network

NETWORKS: dict[str, tuple[str, int, dict[str, Any]]] = {  # architecture, knobs, options
    "standard": ("standard", 0, {}),
    "lite": ("lite", 0, {}),
    "feather": ("feather", 0, {}),
    "feather with a knob": ("feather", 1, {}),
    "nano": ("nano", 0, {}),
    "gated standard": ("standard", 0, {"gated": True}),
    "gated nano with knobs": ("nano", 3, {"gated": True}),
    "relu lite": ("lite", 0, {"activation": "ReLU"}),
    "softsign nano": ("nano", 0, {"activation": "Softsign"}),
    "hardtanh nano": ("nano", 0, {"activation": "Hardtanh"}),
    "sigmoid nano": ("nano", 0, {"activation": "Sigmoid"}),
    "a2-full": ("a2-full", 0, {}),
    "a2-lite": ("a2-lite", 0, {}),
    "a2-lite with knobs": ("a2-lite", 2, {}),
    "tanh a2-full": ("a2-full", 0, {"activation": "Tanh"}),
    "wavenet1": ("wavenet1", 0, {}),
    "wavenet2": ("wavenet2", 0, {}),
    "wavenet3": ("wavenet3", 0, {}),
    "wavenet2 with a knob": ("wavenet2", 1, {}),
    "lstm-16": ("lstm-16", 0, {}),
    "lstm-3x18": ("lstm-3x18", 0, {}),
    "lstm-7 with knobs": ("lstm-7", 2, {}),
    "gru-40": ("gru-40", 0, {}),
    "gru-2x5 with a knob": ("gru-2x5", 1, {}),
}
BATCHES = [(1, 1, 1), (3, 97, 2), (17, 33, 3)]  # signals, outputs, threads


def untrained(name: str) -> Network:
    """The same weights each time."""
    architecture, knobs, options = NETWORKS[name]
    torch.manual_seed(1)
    return network(architecture, knobs, **options)


def batch(module: Network, signals: int, outputs: int, seed: int = 2) -> tuple[Tensor, Tensor]:
    """An input, and a gradient for what comes out."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.3 * torch.randn(signals, module.inputs, module.receptive_field - 1 + outputs, generator=generator)
    return x, torch.randn(signals, outputs, generator=generator)


def errors(name: str, signals: int, outputs: int, threads: int) -> tuple[float, float]:
    module = untrained(name)
    x, gradient = batch(module, signals, outputs)
    y = fused(module, threads)(x)
    (got,) = torch.autograd.grad(y, module.weights, gradient)
    module.double()
    exact = module(x.double())
    (wanted,) = torch.autograd.grad(exact, module.weights, gradient.double())
    return relative(y, exact), relative(got, wanted)


def relative(got: Tensor, wanted: Tensor) -> float:
    return ((got - wanted).norm() / wanted.norm()).item()


def cases() -> Iterator[dict[str, Any]]:
    for name in NETWORKS:
        for size in BATCHES:
            output, gradient = errors(name, *size)
            yield {"case": f"{name} {size}", "output": output, "gradient": gradient}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in cases():
        print(json.dumps(case), flush=True)
