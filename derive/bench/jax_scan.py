"""JAX's contender: the cell's own text under `lax.scan`, compiled by `jit`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..verify.evaluate import evaluate
from ..verify.problem import Problem
from .contender import Array, Contender

VARIABLES = ("PJRT_NPROC", "NPROC")  # the threads of XLA on the CPU; which is read depends on its version


def set_threads(threads: int) -> str:
    """Let JAX use `threads` threads; return what is to be said about it."""
    if "jax" in sys.modules:
        return "jax was imported before its number of threads could be set: it uses its own"
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    return ""


def scan(p: Problem) -> Contender:
    """Return the cell as a scan, and its reverse by `jax.vjp`."""
    jax, wide = importlib.import_module("jax"), p.dy.dtype == np.float64

    def reverse(leaves: Mapping[str, Any], rest: Mapping[str, Any], dy: Any) -> Any:
        return jax.vjp(lambda given: _scanned(p, {**given, **rest}), leaves)[1](dy)[0]

    infer, train = jax.jit(lambda arrays: _scanned(p, arrays)), jax.jit(reverse)
    with jax.enable_x64(wide):
        arrays = {name: jax.numpy.asarray(value) for name, value in p.arrays.items()}
        dy = jax.numpy.asarray(p.dy)
    leaves = {name: arrays[name] for name in p.differentiable}
    rest = {name: value for name, value in arrays.items() if name not in leaves}

    def finished(function: Any, *values: Any) -> Any:
        with jax.enable_x64(wide):
            return jax.block_until_ready(function(*values))

    def named(found: Mapping[str, Any]) -> dict[str, Array]:
        return {name: np.asarray(grad) for name, grad in found.items()}

    return Contender(lambda: finished(infer, arrays), lambda: finished(train, leaves, rest, dy), named)


def _scanned(p: Problem, arrays: Mapping[str, Any]) -> Any:
    """Return the output at every step."""
    jax, cell = importlib.import_module("jax"), p.cell
    still = {name: arrays[name] for name in (*cell.parameters, *cell.context)}

    def step(state: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        values = evaluate(cell, {**still, **now, **{f"{s}_prev": value for s, value in state.items()}}, jax.numpy, select=False)
        return {s: values[s] for s in cell.states}, values[cell.output]

    first = {s: arrays[f"{s}_prev"] for s in cell.states}
    return jax.lax.scan(step, first, {name: arrays[name] for name in cell.inputs}, length=p.steps)[1]
