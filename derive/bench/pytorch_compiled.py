"""PyTorch's contenders that go through `torch.compile`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..verify.problem import Arrays, Problem
from .pytorch import Layer, built_in, layer_of, looped, tensor, written


def step(p: Problem) -> Layer:
    """Return the cell's step, compiled, in a Python loop over time."""
    torch = _renewed()
    return looped(p, lambda step: torch.compile(step, dynamic=False))


def tangent(p: Problem, v: Arrays) -> Callable[[], Any]:
    """Return a call for output and tangent: the cell's step with its derivative along a direction, compiled, in a Python loop over time."""
    torch, cell = _renewed(), p.cell
    leaves, (prepare, step), *_ = written(p)
    values = {name: leaf.detach() for name, leaf in leaves.items()}
    along = {name: tensor(v[name]) if name in v else torch.zeros_like(value) for name, value in values.items()}
    fixed = (*cell.parameters, *cell.context)
    moved = torch.compile(partial(_moved, step), dynamic=False)

    def call() -> Any:
        still, still_along = _moved(prepare, [values[name] for name in fixed], [along[name] for name in fixed])
        state, state_along = ([of[f"{s}_prev"] for s in cell.states] for of in (values, along))
        sequences, sequences_along = ([of[name].unbind(0) for name in cell.inputs] for of in (values, along))
        outputs, outputs_along = [], []
        for t in range(p.steps):
            now, now_along = ([x[t] for x in of] for of in (sequences, sequences_along))
            (y, state), (y_along, state_along) = moved([*now, *state, *still], [*now_along, *state_along, *still_along])
            outputs.append(y)
            outputs_along.append(y_along)
        return torch.stack(outputs), torch.stack(outputs_along)

    return call


def _moved(function: Callable[..., Any], values: Sequence[Any], along: Sequence[Any]) -> Any:
    """Return the value of a function, and its derivative along a direction; indices do not move."""
    torch = importlib.import_module("torch")
    free = [k for k, value in enumerate(values) if value.is_floating_point()]

    def of(*moving: Any) -> Any:
        found = dict(zip(free, moving, strict=True))
        return function(*(found.get(k, value) for k, value in enumerate(values)))

    return torch.func.jvp(of, tuple(values[k] for k in free), tuple(along[k] for k in free))


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
