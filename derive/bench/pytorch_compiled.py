"""PyTorch's contenders that go through `torch.compile`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from ..verify.problem import Problem
from .pytorch import Layer, built_in, layer_of, looped, written


def step(p: Problem) -> Layer:
    """Return the cell's step, compiled, in a Python loop over time."""
    torch = _renewed()
    return looped(p, lambda step: torch.compile(step, dynamic=False))


def scan(p: Problem) -> Layer:
    """Return the cell under PyTorch's scan operator, a prototype, with all of its steps compiled at once."""
    torch, operator = _renewed(), importlib.import_module("torch._higher_order_ops.scan").scan
    importlib.import_module("torch._dynamo").config.capture_scalar_outputs = True  # the number of the step is one
    leaves, (prepare, step), still, first = written(p)

    def scanned(inputs: Sequence[Any]) -> Any:
        fixed = prepare(*still)

        def body(state: tuple[Any, ...], now: tuple[Any, ...]) -> tuple[Any, Any]:
            y, new = step(*now, *state, *fixed)
            return tuple(value.clone() for value in new), y.clone()  # nothing that is returned may be another's memory

        return operator(body, tuple(first), tuple(inputs))[1]

    return layer_of(p.cell, leaves, torch.compile(scanned, dynamic=False))


def frozen(p: Problem) -> Layer:
    """Return the layer of `torch.nn` compiled for the most speed, with its weights as constants where no gradient is wanted.

    PyTorch's compiler leaves such layers alone unless it is told otherwise.  It then has the LSTM's inference in float32 as one operation,
    that of `torch.nn`; all else is unrolled, step by step, which takes long to compile.
    """
    torch = _renewed()
    importlib.import_module("torch._dynamo").config.allow_rnn = True
    options = importlib.import_module("torch._inductor").list_mode_options("max-autotune") | {"freezing": True}
    return built_in(p, lambda layer: torch.compile(layer, dynamic=False, options=options))


def _renewed() -> Any:
    """Return PyTorch with nothing compiled: what was for another size is no longer needed, and would count against a limit."""
    torch = importlib.import_module("torch")
    torch.compiler.reset()
    return torch
