"""A cell's own text on arrays of NumPy, PyTorch or JAX: the reference that autodiff differentiates.

It shares the parser with the kernels and nothing else: no symbolic derivative and no lowering takes part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..language.names import canonical
from .evaluator import Evaluator
from .frameworks import Function


def evaluate(
    cell: Definition, namespace: Mapping[str, Any], xp: Any, own: Mapping[str, Function] | None = None, *, select: bool = True
) -> dict[str, Any]:
    """Return the values of all assigned names after one step.

    Parameters
    ----------
    cell : Definition
    namespace : mapping
        An array for each input, context, parameter and `s_prev`: those with a row a sequence are `(…, size)`, or `(…,)` for a scalar a row;
        parameters have no leading axes.  Array constants may be given to override the cell's own.
    xp : module
        `numpy`, `torch` or `jax.numpy`.
    own : mapping, optional
        What to call for functions of the language, by name, in place of those of `derive.verify.frameworks.functions`.
    select : bool
        Whether what a branch of `where` reads is a constant where the choice falls on the other, so that autodiff never multiplies by
        its slope there, as the kernels do not.

    Returns
    -------
    dict
        By name, arrays of the dtype of those given, with their leading axes: `(…, size)`.

    Raises
    ------
    ValueError
        If a name is missing.
    """
    namespace = {canonical(name): value for name, value in namespace.items()}
    needed = (*cell.inputs, *cell.context, *cell.parameters, *(f"{s}_prev" for s in cell.states))
    missing = [name for name in needed if name not in namespace]
    if missing:
        raise ValueError(f"{cell.name}: the namespace lacks {', '.join(f'`{name}`' for name in missing)}")
    return Evaluator(cell, namespace, xp, own or {}, select=select and xp is not np).run()


def unroll(
    cell: Definition,
    inputs: Mapping[str, Any],
    params: Mapping[str, Any],
    state: Mapping[str, Any],
    xp: Any,
    *,
    context: Mapping[str, Any] | None = None,
    steps: int | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Run `cell` over a sequence.

    Parameters
    ----------
    cell : Definition
    inputs : mapping
        `(T, B, ·)` for each input.
    params : mapping
        One array a parameter.
    state : mapping
        Each state before the first step, `(B, ·)`.
    xp : module
        `numpy`, `torch` or `jax.numpy`.
    context : mapping, optional
        `(B, ·)` for each context.
    steps : int, optional
        T, for a cell without inputs.

    Returns
    -------
    outputs : array
        `(T, B, ·)`, the output at every step.
    state : dict
        Each state after the last step, `(B, ·)`.

    Raises
    ------
    ValueError
        If `steps` is not given for a cell without inputs, or a name is missing.
    """
    if steps is None:
        if not inputs:
            raise ValueError(f"{cell.name} has no inputs: the number of `steps` is needed")
        steps = len(next(iter(inputs.values())))
    static, now, outputs = {**params, **(context or {})}, {s: state[s] for s in cell.states}, []
    for t in range(steps):
        values = evaluate(cell, {**static, **{k: v[t] for k, v in inputs.items()}, **{f"{s}_prev": v for s, v in now.items()}}, xp)
        now = {s: values[s] for s in cell.states}
        outputs.append(values[cell.output])
    if outputs:
        return xp.stack(outputs), now
    # No step: the output's shape is that of a step on zeros.
    zeros = {k: xp.sum(v, axis=0) for k, v in inputs.items()}
    values = evaluate(cell, {**static, **zeros, **{f"{s}_prev": v for s, v in now.items()}}, xp)
    return xp.stack([values[cell.output]])[:0], now
