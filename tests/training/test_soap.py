"""SOAP on small problems."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neurig.training.soap import Soap, matrix_shape


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def problem(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """Least squares through a matrix (6, 5) and a vector, with inputs that are strongly correlated."""
    mixing = torch.randn(6, 6, generator=generator, dtype=torch.double) * torch.logspace(0, -2, 6, dtype=torch.double)
    x = torch.randn(200, 6, generator=generator, dtype=torch.double) @ mixing
    y = x @ torch.randn(6, 5, generator=generator, dtype=torch.double) + 0.5
    return lambda w: (x @ w[:30].view(6, 5) + w[30:] - y).square().mean()


SHAPES = [(6, 5), (5,)]


def descend(optimizer: torch.optim.Optimizer, loss: Callable[[Tensor], Tensor], steps: int) -> float:
    (weights,) = optimizer.param_groups[0]["params"]
    for _ in range(steps):
        optimizer.zero_grad()
        loss(weights).backward()
        optimizer.step()
    return loss(weights).item()


def zeros(count: int = 35) -> nn.Parameter:
    return nn.Parameter(torch.zeros(count, dtype=torch.double))


def skewed(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A matrix (8, 8) to be found: some directions, none of them an axis, tell 10000 times as much about it as others."""

    def weighting() -> Tensor:
        basis = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.double)).Q
        return basis * torch.logspace(0, -2, 8, dtype=torch.double) @ basis.T

    left, right = weighting(), weighting()
    goal = torch.randn(8, 8, generator=generator, dtype=torch.double)
    return lambda w: (left @ (w.view(8, 8) - goal) @ right).square().sum()


@pytest.mark.parametrize("seed", [1, 3])
def test_descends_where_adam_crawls(seed: int) -> None:
    loss = skewed(torch.Generator().manual_seed(seed))
    ours = descend(Soap(zeros(64), [(8, 8)], lr=0.03), loss, 200)
    adam = min(descend(torch.optim.Adam([zeros(64)], lr=lr, betas=(0.9, 0.99)), loss, 200) for lr in (0.01, 0.03, 0.1))
    assert ours < 0.1 * adam


def test_vectors_get_adam() -> None:
    loss = problem(torch.Generator().manual_seed(1))
    ours, adam = zeros(), zeros()
    descend(Soap(ours, [(30,), (1, 5)], lr=0.01, eps=1e-8), loss, 51)  # in the first step it only looks
    descend(torch.optim.Adam([adam], lr=0.01, betas=(0.9, 0.99)), loss, 50)
    assert torch.allclose(ours, adam, rtol=1e-12, atol=0)


def test_turns_with_the_gradients() -> None:
    """A basis is nothing to it: where the gradients are seen in another one, so are its steps."""
    generator = torch.Generator().manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.double)).Q for n in (6, 5))
    straight, turned = zeros(30), zeros(30)
    optimizers = Soap(straight, [(6, 5)], every=2), Soap(turned, [(6, 5)], every=2)
    for gradient in torch.randn(20, 6, 5, generator=generator, dtype=torch.double):
        straight.grad, turned.grad = gradient.flatten(), (left @ gradient @ right.T).flatten()
        for optimizer in optimizers:
            optimizer.step()
    back = left.T @ turned.view(6, 5) @ right
    assert straight.abs().min() > 1e-4
    assert torch.allclose(back.flatten(), straight, rtol=1e-6, atol=1e-9)


def test_resumes_from_its_state() -> None:
    loss = problem(torch.Generator().manual_seed(3))
    whole, first = zeros(), zeros()
    descend(Soap(whole, SHAPES), loss, 25)
    before = Soap(first, SHAPES)
    descend(before, loss, 13)
    second = nn.Parameter(first.detach().clone())
    after = Soap(second, SHAPES)
    after.load_state_dict(before.state_dict())
    descend(after, loss, 12)
    assert torch.equal(second, whole)


def test_tensors_of_one_size_do_not_mix() -> None:
    """Two problems side by side take the steps that each takes by itself."""
    losses = [problem(torch.Generator().manual_seed(seed)) for seed in (4, 5)]
    alone = [zeros(), zeros()]
    for weights, loss in zip(alone, losses, strict=True):
        descend(Soap(weights, SHAPES), loss, 30)
    both = zeros(70)
    descend(Soap(both, SHAPES * 2), lambda w: losses[0](w[:35]) + losses[1](w[35:]), 30)
    assert torch.allclose(both, torch.cat(alone), rtol=1e-9, atol=1e-12)


def test_shapes() -> None:
    assert matrix_shape((16, 16, 3), 512) == (16, 48)
    assert matrix_shape((3, 4, 8), 512) == (12, 8)
    assert matrix_shape((7,), 512) is None
    assert matrix_shape((1, 8), 512) is None
    assert matrix_shape((600, 8), 512) is None
    with pytest.raises(ValueError, match="the shapes have 34 weights, the parameter 35"):
        Soap(zeros(), [(34,)])
