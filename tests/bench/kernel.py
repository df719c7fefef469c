"""What a step of training takes in the compiled kernel, and in PyTorch:

    nice python tests/bench/kernel.py [ARCHITECTURE …]

For batches of 16 signals of 2048 outputs each, in turn, the quickest of several: milliseconds of CPU time for a forward
and a backward pass with one thread, billions of multiplications and additions per second, and how much a second thread
gives, which only an idle machine can tell.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable

import torch

from neurig.training.kernel import fused
from neurig.training.networks import GatedWaveNet, NamWaveNet, Network, Recurrent, kernel_sizes, network

NAMES = ["nano", "feather", "standard", "a2-full", "wavenet2", "lstm-16", "lstm-3x18", "gru-40"]
SIGNALS, OUTPUTS, ROUNDS = 16, 2048, 12


def operations(module: Network) -> float:
    """Multiplications and additions of a step: backward takes twice those of forward."""
    total, time_left = 0, OUTPUTS + module.receptive_field - 1
    if isinstance(module, Recurrent):
        for layer in range(module.layers):
            inputs = module.units if layer else module.inputs
            total += OUTPUTS * module.gates * module.units * (inputs + module.units)
    elif isinstance(module, GatedWaveNet):
        for dilation in module.dilations:
            time_left -= 2 * dilation
            total += time_left * 7 * module.channels**2
    elif isinstance(module, NamWaveNet):
        for array in module.config["layers"]:
            channels, rows = array["channels"], array["channels"] * (2 if array.get("gated") else 1)
            for kernel, dilation in zip(kernel_sizes(array), array["dilations"], strict=True):
                time_left -= (kernel - 1) * dilation
                total += time_left * (channels * (rows * kernel + channels) + rows * array["condition_size"])
    return 2 * 3 * total * SIGNALS


def measure(architecture: str) -> str:
    module = network(architecture)
    x = 0.3 * torch.randn(SIGNALS, module.inputs, module.receptive_field - 1 + OUTPUTS)
    gradient = torch.randn(SIGNALS, OUTPUTS)
    contenders: list[Callable[[torch.Tensor], torch.Tensor]] = [fused(module, 1), fused(module, 2), module]
    cpu, wall = ([math.inf] * 3 for _ in range(2))
    for turn in range(ROUNDS):
        for n, run in enumerate(contenders):
            if n == 2 and turn % 4:
                continue  # slow
            began, began_cpu = time.perf_counter(), time.process_time()
            torch.autograd.grad(run(x), module.weights, gradient)
            cpu[n] = min(cpu[n], time.process_time() - began_cpu)
            wall[n] = min(wall[n], time.perf_counter() - began)
    work = operations(module) / 1e9
    return (f"{architecture:10} kernel {cpu[0] * 1e3:6.1f} ms {work / cpu[0]:4.0f} GFLOP/s, "
            f"PyTorch {cpu[2] * 1e3:7.1f} ms {work / cpu[2]:4.0f} GFLOP/s, {cpu[2] / cpu[0]:4.1f} times; "
            f"with a second thread {wall[0] / wall[1]:.2f} times as quick")  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or NAMES:
        print(measure(name), flush=True)
