"""SOAP (Vyas et al. 2024): Adam in the eigenbasis of Shampoo's preconditioner, for the matrices within a flat
parameter; what is no matrix gets plain Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


def matrix_shape(shape: tuple[int, ...], largest: int) -> tuple[int, int] | None:
    """A tensor as the matrix that is nearest to a square, its entries in the same order; ``None`` where there is none.

    :param largest: rows or columns
    """
    sizes = [(math.prod(shape[:n]), math.prod(shape[n:])) for n in range(1, len(shape))]
    rows, columns = min(sizes, key=max, default=(1, 1))
    return (rows, columns) if min(rows, columns) > 1 and max(rows, columns) <= largest else None


class Soap(torch.optim.Optimizer):
    """Matrices of the same size are treated together, so that many small ones cost little more than one."""

    def __init__(self, weights: nn.Parameter, shapes: Iterable[tuple[int, ...]], lr: float = 0.005,
                 betas: tuple[float, float] = (0.9, 0.99), basis_beta: float = 0.95, eps: float = 1e-10,
                 every: int = 10, largest: int = 512) -> None:  # fmt: skip
        """:param weights: the flat parameter
        :param shapes: of the tensors in it, in their order
        :param betas: how much the averages of the gradient and of its square keep at each step
        :param basis_beta: the same, of the preconditioner
        :param every: steps after which the basis is brought up to date
        :param largest: side of a matrix; a larger one gets plain Adam
        :raises ValueError: where the shapes do not make up the parameter
        """
        super().__init__([weights], {"lr": lr, "betas": betas, "basis_beta": basis_beta, "eps": eps, "every": every})
        places: dict[tuple[int, int] | None, list[Tensor]] = {}
        at = 0
        for shape in shapes:
            size = math.prod(shape)
            kind = matrix_shape(shape, largest)
            places.setdefault(kind, []).append(torch.arange(at, at + size).view(kind or (size,)))
            at += size
        if at != weights.numel():
            raise ValueError(f"the shapes have {at} weights, the parameter {weights.numel()}")
        device = weights.device
        self._rest = torch.cat(places.pop(None, [torch.arange(0)])).to(device)  # where plain Adam's weights are
        self._matrices = [torch.stack(indices).to(device) for indices in places.values()]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        (group,) = self.param_groups
        (weights,) = group["params"]
        if weights.grad is None:
            return loss
        gradient, state = weights.grad, self.state[weights]
        if not state:  # the first gradient only tells the bases: in one that it made itself it would be all noise
            state["step"], state["momentum"], state["square"] = 0, *(torch.zeros_like(weights) for _ in range(2))
            for name, side in (("left", 1), ("right", 2)):
                sizes = [(len(index), index.shape[side], index.shape[side]) for index in self._matrices]
                state[name] = [torch.zeros(size).to(weights) for size in sizes]
            self._average(gradient, state, group["basis_beta"])
            for name in ("left", "right"):
                state[f"{name}_basis"] = [torch.linalg.eigh(side).eigenvectors for side in state[name]]
            return loss
        state["step"] += 1
        beta, beta2 = group["betas"]
        correct, correct2 = 1 - beta ** state["step"], 1 - beta2 ** state["step"]
        momentum, square = state["momentum"], state["square"]
        momentum.lerp_(gradient, 1 - beta)
        update = torch.empty_like(weights)

        def adam(index: Tensor, g: Tensor, m: Tensor) -> Tensor:
            """What Adam would do to these weights; their squares are kept in the basis in which they are given."""
            squares = square[index].lerp_(g.square(), 1 - beta2)
            square[index] = squares
            return m / correct / ((squares / correct2).sqrt_() + group["eps"])

        update[self._rest] = adam(self._rest, gradient[self._rest], momentum[self._rest])
        for index, a, b in zip(self._matrices, state["left_basis"], state["right_basis"], strict=True):
            step = adam(index, a.mT @ gradient[index] @ b, a.mT @ momentum[index] @ b)
            update[index] = a @ step @ b.mT
        weights.sub_(update, alpha=group["lr"])
        self._average(gradient, state, group["basis_beta"])
        if state["step"] % group["every"] == 0:  # a step of orthogonal iteration
            for name in ("left", "right"):
                bases = zip(state[name], state[f"{name}_basis"], strict=True)
                state[f"{name}_basis"] = [torch.linalg.qr(side @ basis).Q for side, basis in bases]
        return loss

    def _average(self, gradient: Tensor, state: dict[str, Any], beta: float) -> None:
        for index, left, right in zip(self._matrices, state["left"], state["right"], strict=True):
            g = gradient[index]
            left.lerp_(g @ g.mT, 1 - beta)
            right.lerp_(g.mT @ g, 1 - beta)
