"""What changes a gradient, as PyTorch's functions with derivatives of their own: of every order, mapped, and in forward mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

Elementwise = Callable[[Any], Any]


def surrogate(value: Elementwise, slope: Elementwise) -> Elementwise:
    """Return a function with `value`, whose derivative is `slope`."""

    def call(x: Tensor) -> Any:
        return _Surrogate.apply(x, value, slope)

    return call


def detach(x: Tensor) -> Any:
    """Return x as a constant, to forward mode too."""
    return _Surrogate.apply(x, lambda x: x.clone(), torch.zeros_like)


def scale_gradient(x: Tensor, by: Any) -> Any:
    """Return x, whose cotangent is multiplied."""
    return _Surrogate.apply(x, lambda x: x.clone(), lambda x: by * torch.ones_like(x))


def clip_gradient(x: Tensor, low: Any, high: Any) -> Any:
    """Return x, whose cotangent is clipped."""
    return _Clipped.apply(x, low, high)


class _Surrogate(Function):
    """A value with a derivative that is not its own."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Elementwise, slope: Elementwise) -> Any:
        with torch.no_grad():
            return value(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        x, _, ctx.slope = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return dy * ctx.slope(x), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *others: Any) -> Any:
        (x,) = ctx.saved_tensors
        return tangent * ctx.slope(x)


class _Clipped(Function):
    """A value whose cotangent is clipped: it has no forward mode, since that is linear."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, low: Any, high: Any) -> Any:
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        _, ctx.low, ctx.high = inputs

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        low, high = (torch.as_tensor(bound, dtype=dy.dtype) for bound in (ctx.low, ctx.high))
        return torch.where(dy < low, low, torch.where(dy > high, high, dy)), None, None
