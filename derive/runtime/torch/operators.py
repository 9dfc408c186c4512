"""A layer as operators that PyTorch's compilers take as they are: `torch.compile`, `torch.export`, AOTInductor.

They have two derivatives less than `functions`: compiled code is differentiated once, in reverse. Forward mode is refused there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..common.chosen import PACKAGE
from ..cpu.addresses import Running
from .devices import named
from .passes import Passes

NAMESPACE = PACKAGE.replace(".", "_")  # of the package: two may be loaded


def run(passes: Passes, values: Sequence[Any]) -> tuple[Any, ...]:
    """Return output and final states of a layer, in code that is compiled."""
    if isinstance(passes.lengths, Running):
        raise NotImplementedError("a PackedSequence is not taken in compiled code, which cannot know how many sequences it has")
    how = None if passes.lengths is None else torch.from_numpy(np.asarray(passes.lengths))
    y, *final = forward(list(values), passes.key, how, passes.reverse, passes.steps, passes.results)[: passes.results]
    return (y, *[value.unsqueeze(0) for value in final]) if passes.single else (y, *final)


def _passes(values: Sequence[Any], key: str, lengths: Any, reverse: bool, steps: int | None) -> Passes:
    """Return the passes of a call. Lengths say how many rows there are, which a compiler is not told: then nothing is saved."""
    found = named(key, reverse, steps)
    if len(values) < found.values:
        found = named(key, reverse, steps, False)
    return found if lengths is None else replace(found, lengths=np.asarray(lengths), keep=False)


def _arrays(passes: Passes, values: Sequence[Tensor]) -> list[Any]:
    return [passes.array(value) for value in values]


@torch.library.custom_op(f"{NAMESPACE}::forward", mutates_args=())
def forward(values: list[Tensor], key: str, lengths: Tensor | None, reverse: bool, steps: int | None, results: int) -> list[Tensor]:
    """Return so many results, and what is saved."""
    passes = _passes(values, key, lengths, reverse, steps)
    return [passes.tensor(value) for value in passes.forward(_arrays(passes, values))]


@torch.library.custom_op(f"{NAMESPACE}::backward", mutates_args=())
def backward(
    cotangents: list[Tensor], values: list[Tensor], saved: list[Tensor], key: str, lengths: Tensor | None, reverse: bool, steps: int | None
) -> list[Tensor]:
    """Return the gradients by values; those that are None are zero, and as their values are."""
    passes = _passes(values, key, lengths, reverse, steps)
    found = passes.backward(*(_arrays(passes, group) for group in (cotangents, values, saved)))
    made = zip(found, values, strict=True)
    return [value.new_zeros(value.shape) if grad is None else passes.tensor(grad) for grad, value in made]


@forward.register_fake
def _(values: list[Tensor], key: str, lengths: Tensor | None, reverse: bool, steps: int | None, results: int) -> list[Tensor]:
    passes = _passes(values, key, lengths if lengths is None else (), reverse, steps)
    return [values[-1].new_empty(shape) for shape in passes.shapes(values)]


@backward.register_fake
def _(cotangents: list[Tensor], values: list[Tensor], saved: list[Tensor], *_: Any) -> list[Tensor]:
    return [value.new_empty(value.shape) for value in values]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    values, *ctx.how, ctx.results = inputs
    ctx.count, ctx.shapes = len(values), [value.shape for value in output[: ctx.results]]
    ctx.save_for_backward(*values, *output[ctx.results :])


def _differentiate(ctx: Any, cotangents: Sequence[Tensor | None]) -> tuple[Any, ...]:
    values, saved = list(ctx.saved_tensors[: ctx.count]), list(ctx.saved_tensors[ctx.count :])
    given = zip(cotangents[: ctx.results], ctx.shapes, strict=True)
    full = [values[-1].new_zeros(shape) if value is None else value for value, shape in given]
    return backward(full, values, saved, *ctx.how), None, None, None, None, None


forward.register_autograd(_differentiate, setup_context=_remember)
