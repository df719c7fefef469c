"""Networks in the compiled training kernel, behind PyTorch's autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neurig.training.networks import Network


def fused(module: Network) -> Callable[..., Any]:
    """The network, running in the compiled kernel with the same parameter.

    :param module: on the CPU
    :raises ValueError: where the kernel cannot run it
    """
    if module.weights.device.type != "cpu":
        raise ValueError(f"the compiled kernel runs on the CPU, the network is on {module.weights.device}")
    return module
