"""Networks in the compiled training kernel, behind PyTorch's autograd: the same parameter, any loss and optimiser, and
several times as quick on a CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from neurig._core import ffi, lib
from neurig.training.networks import Network, Recurrent

_ERROR = 512  # bytes of a message


def fused(module: Network, threads: int | None = None) -> Fused:
    """The network, running in the compiled kernel.

    :param module: on the CPU, in single precision; it keeps the weights
    :param threads: ``None`` for as many as PyTorch uses
    :raises ValueError: where the kernel cannot run it
    """
    return Fused(module, threads)


class Fused:
    """Called like the network itself: ``fused(x)``, of recurrent networks also ``fused.step(x, state)``.

    The gradient goes to the weights only, not into the input or the state. What a forward pass needs of memory is kept
    for the next one: for each signal of a batch (rounded up to 16) and sample, about 8 bytes for each channel of each
    layer.
    """

    def __init__(self, module: Network, threads: int | None = None) -> None:
        self.module, self.threads = module, threads
        self.receptive_field = module.receptive_field
        self._free: list[Any] = []  # passes that nobody waits for
        self._check_module()
        error = ffi.new("char[]", _ERROR)
        description = json.dumps(module.description()).encode()
        learner = lib.neurig_learner_new(description, error, _ERROR)
        if learner == ffi.NULL:
            raise ValueError(f"the compiled kernel cannot run this network: {_text(error)}")
        self._learner = ffi.gc(learner, lib.neurig_learner_free)

    def _check_module(self) -> None:
        weights = self.module.weights
        if weights.device.type != "cpu" or weights.dtype != torch.float32:
            raise ValueError("the compiled kernel computes in float32 on the CPU; "
                             f"the network is in {weights.dtype} on {weights.device}")  # fmt: skip

    def __call__(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        """:param x: shape (batch, inputs, samples)
        :returns: shape (batch, samples - receptive_field + 1)
        :raises ValueError: where there are too few samples, or what the kernel cannot do is asked for
        """
        if isinstance(self.module, Recurrent):
            return self.step(x, state)[0]
        return self._run(x, None)[0]

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Of recurrent networks: the output, and the state after it."""
        if not isinstance(self.module, Recurrent):
            raise ValueError("a convolutional network has no state")
        state = self.module.state(len(x)) if state is None else state
        wanted = (len(x), self.module.layers, self.module.memories, self.module.units)
        if state.shape != wanted or state.dtype != torch.float32:
            raise ValueError(f"the state has shape {tuple(state.shape)} in {state.dtype}, must be {wanted} in float32")
        if state.requires_grad:
            raise ValueError("no gradient goes through the state of the compiled kernel: detach it")
        return self._run(x, state)

    def _run(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        self._check_module()
        self.module.check(x)
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(f"the input is in {x.dtype} on {x.device}, must be in float32 on the CPU")
        if x.requires_grad:
            raise ValueError("the compiled kernel has no gradient for the input")
        return _Run.apply(self.module.weights, x, state, self)

    def borrow(self) -> Any:
        """A pass that nobody uses."""
        if self._free:
            return self._free.pop()
        error = ffi.new("char[]", _ERROR)
        made = lib.neurig_pass_new(self._learner, error, _ERROR)
        if made == ffi.NULL:
            raise MemoryError(_text(error))
        return ffi.gc(made, lib.neurig_pass_free)

    def give_back(self, used: Any) -> None:
        self._free.append(used)

    def thread_count(self) -> int:
        return self.threads or torch.get_num_threads()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While this lasts PyTorch computes in one thread, and the kernel in as many as before: PyTorch's threads turn in
        circles until there is work again, and take the cores from the kernel's."""
        threads, of_torch = self.threads, torch.get_num_threads()
        self.threads = self.thread_count()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            self.threads = threads
            torch.set_num_threads(of_torch)


class _Loan:
    """A pass between forward and backward; one that is never gone back through is given back, too."""

    def __init__(self, owner: Fused) -> None:
        self.owner, self.what = owner, owner.borrow()

    def end(self) -> None:
        if what := self.__dict__.pop("what", None):
            self.owner.give_back(what)

    __del__ = end


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, x: Tensor, state: Tensor | None,
                owner: Fused) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        batch, _, samples = x.shape
        x, weights = x.contiguous(), weights.detach().contiguous()
        out = x.new_empty((batch, samples - owner.receptive_field + 1))
        after = None if state is None else state.clone(memory_format=torch.contiguous_format)
        ctx.loan, ctx.batch, ctx.size = None, batch, len(weights)
        if batch:
            loan, error = _Loan(owner), ffi.new("char[]", _ERROR)
            done = lib.neurig_pass_forward(
                loan.what, _floats(weights), _floats(x), batch, samples, ffi.NULL if after is None else _floats(after),
                _floats(out), owner.thread_count(), error, _ERROR)  # fmt: skip
            if done < 0:
                raise ValueError(_text(error))
            ctx.loan = loan
        if after is not None:
            ctx.mark_non_differentiable(after)
        return out, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor, None, None, None]:
        gradients = gradient.new_zeros(ctx.size)
        if not ctx.batch:
            return gradients, None, None, None
        if ctx.loan is None:
            raise RuntimeError("this was gone back through already; the compiled kernel keeps nothing for a second time")
        loan, ctx.loan = ctx.loan, None
        gradient, error = gradient.contiguous(), ffi.new("char[]", _ERROR)
        threads = loan.owner.thread_count()
        done = lib.neurig_pass_backward(loan.what, _floats(gradient), _floats(gradients), threads, error, _ERROR)
        loan.end()
        if done < 0:
            raise RuntimeError(_text(error))
        return gradients, None, None, None


def _floats(tensor: Tensor) -> Any:
    return ffi.cast("float *", tensor.data_ptr())


def _text(error: Any) -> str:
    return ffi.string(error).decode()
