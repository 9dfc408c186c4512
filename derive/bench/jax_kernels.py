"""Our kernels, called from JAX: `generated.jax` under `jit`, beside what JAX makes of the cell's text."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ..cells import SHIPPED
from ..verify.problem import Problem
from . import jax_scan
from .contender import Contender, Trainer
from .network import Network

AS_IT_IS = (1,)  # nothing is unrolled


def kernels(p: Problem) -> Contender:
    """Return the cell as a function of `generated.jax`, and its reverse by `jax.vjp`."""
    return jax_scan.contender(p, called, AS_IT_IS)


def trainer(network: Network) -> Trainer:
    """Return the training of a network around it, whose step is one compiled function."""
    return jax_scan.trainer(network, called, AS_IT_IS)


def called(p: Problem, arrays: Mapping[str, Any], _: int) -> Any:
    """Return the output at every step."""
    cell, ours = p.cell, importlib.import_module("generated.jax")
    function = ours.function(cell.name if SHIPPED.get(cell.name) == cell else cell)
    first, *others = [(name, arrays[name]) for name in (*cell.inputs, *cell.context)] if cell.inputs else [("", None)]
    named = dict(others) if cell.inputs else {**{name: arrays[name] for name in cell.context}, "steps": p.steps}
    params = function.Params(*[arrays[name] for name in function.Params._fields])
    state = function.State(*[arrays[f"{name}_prev"] for name in function.State._fields])
    return function(first[1], params, state, **named)[0]
