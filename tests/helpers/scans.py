"""A cell's own text under `lax.scan`, called as functions of `generated.jax` are: an independent witness of what JAX makes of these."""

from __future__ import annotations

from typing import Any

import jax

from derive import Cell
from derive.calculus.laws import is_true
from derive.verify.evaluate import evaluate
from derive.verify.problem import Problem


def scanned(cell: Cell, module: Any) -> Any:
    """Return a cell as a function, as ``generated.jax.function(module)`` is one."""

    def call(
        x: Any, params: Any, state: Any, *, lengths: Any = None, reverse: bool = False, steps: int | None = None, **others: Any
    ) -> Any:
        given = dict(zip(cell.inputs[:1], [x], strict=True)) | others
        still = params._asdict() | {name: given[name] for name in cell.context}
        over_time = {name: given[name][::-1] if reverse else given[name] for name in cell.inputs}

        def step(carry: Any, now: Any) -> Any:
            t, before = carry
            values = evaluate(cell, {**still, **now, **{f"{s}_prev": v for s, v in before._asdict().items()}}, jax.numpy)
            after, y = module.State(*[values[s] for s in cell.states]), values[cell.output]
            if lengths is not None:
                after, y = (jax.tree.map(lambda a, b: _where(lengths > t, a, b), *pair) for pair in ((after, before), (y, 0 * y)))
            return (t + 1, after), y

        loop = jax.lax.scan if is_true(cell) else _unrolled
        (_, final), y = loop(step, (0, state), over_time, length=steps)
        return (y[::-1] if reverse else y), final

    return call


def _unrolled(step: Any, carry: Any, over_time: Any, *, length: int | None) -> Any:
    """Do what `lax.scan` does, step by step.

    A reverse pass over a scan drops derivatives of one's own where it computes values: a derivative of its gradients lacks what they add.
    """
    outputs = []
    for t in range(len(next(iter(over_time.values()))) if over_time else length or 0):
        carry, y = step(carry, {name: value[t] for name, value in over_time.items()})
        outputs.append(y)
    return carry, jax.numpy.stack(outputs)


def _where(running: Any, a: Any, b: Any) -> Any:
    return jax.numpy.where(running.reshape(-1, *[1] * (a.ndim - 1)), a, b)


def leaves_of(p: Problem) -> dict[str, Any]:
    """Return what a problem is differentiated by."""
    return {name: jax.numpy.asarray(p.arrays[name]) for name in p.differentiable}


def called(function: Any, p: Problem, module: Any, leaves: Any = None, **options: Any) -> Any:
    """Return what a function makes of a problem, at other leaves."""
    arrays = {**p.arrays, **(leaves or {})}
    names = [*p.cell.inputs, *p.cell.context]
    first = arrays[names.pop(0)] if p.cell.inputs else None
    params = module.Params(**{name: arrays[name] for name in p.cell.parameters})
    state = module.State(**{name: arrays[f"{name}_prev"] for name in p.cell.states})
    steps = {} if p.cell.inputs else {"steps": p.steps}
    return function(first, params, state, **{name: arrays[name] for name in names}, **steps, **options)


def weighted(found: Any, p: Problem) -> Any:
    """Return ⟨dy, y⟩ + ⟨dfinal, final⟩."""
    y, final = found
    return (y * p.dy).sum() + sum((value * p.dfinal[name]).sum() for name, value in final._asdict().items())
