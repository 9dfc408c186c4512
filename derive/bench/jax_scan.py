"""JAX's contender: the cell's own text under `lax.scan`, alone and within a network, compiled by `jit`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..verify.evaluate import evaluate
from ..verify.problem import Problem
from .contender import Array, Contender, Trainer
from .measure import fastest
from .network import RATE, Network
from .phases import INFERENCE, MODEL, TRAINING

VARIABLES = ("PJRT_NPROC", "NPROC")  # the threads of XLA on the CPU; which is read depends on its version
UNROLLS = (1, 4, 16)  # steps that the compiled loop makes at once: how many are best depends on the cell and the size

Unrolled = Callable[[int], Callable[..., Any]]
Run = Callable[[Problem, Mapping[str, Any], int], Any]  # of arrays by name, with so many steps at once: the output at every step


def set_threads(threads: int) -> str:
    """Let JAX use `threads` threads; return what is to be said about it."""
    if "jax" in sys.modules:
        return "jax was imported before its number of threads could be set: it uses its own"
    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    return ""


@dataclass(frozen=True)
class Compiled:
    """Functions compiled for the first arguments that they are called with, by phase.

    Attributes
    ----------
    functions : mapping
        From the number of steps that are made at once to a function.
    p : Problem
    unrolls : tuple of int
        The numbers that are tried.
    choices : dict
        Those that were the fastest, as they are told.
    """

    functions: Mapping[str, Unrolled]
    p: Problem
    unrolls: tuple[int, ...] = UNROLLS
    choices: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def __call__(self, phase: str, *values: Any) -> Any:
        if phase not in self.chosen:
            self._choose(phase, values)
        return self.chosen[phase](*values)

    def _choose(self, phase: str, values: tuple[Any, ...]) -> None:
        possible = [unroll for unroll in self.unrolls if unroll == 1 or unroll <= self.p.steps]
        made = {unroll: _finished(self.functions[phase](unroll), self.p) for unroll in possible}
        best = fastest({unroll: partial(function, *values) for unroll, function in made.items()})
        self.chosen[phase], self.choices[phase] = made[best], f"unroll {best}"


def _finished(function: Callable[..., Any], p: Problem) -> Callable[..., Any]:
    """Return a compiled function that returns when all is computed.

    How wide JAX's numbers are is set around a call only where it is not so already: that takes ten microseconds, much of a small call.
    """
    jax = importlib.import_module("jax")
    compiled, wide = jax.jit(function), _wide(p)
    if wide == jax.config.jax_enable_x64:
        return lambda *values: jax.block_until_ready(compiled(*values))

    def widened(*values: Any) -> Any:
        with jax.enable_x64(wide):
            return jax.block_until_ready(compiled(*values))

    return widened


def scanned(p: Problem, arrays: Mapping[str, Any], unroll: int) -> Any:
    """Return the output at every step."""
    jax, cell = importlib.import_module("jax"), p.cell
    still = {name: arrays[name] for name in (*cell.parameters, *cell.context)}

    def step(state: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
        values = evaluate(cell, {**still, **now, **{f"{s}_prev": value for s, value in state.items()}}, jax.numpy, select=False)
        return {s: values[s] for s in cell.states}, values[cell.output]

    first = {s: arrays[f"{s}_prev"] for s in cell.states}
    return jax.lax.scan(step, first, {name: arrays[name] for name in cell.inputs}, length=p.steps, unroll=unroll)[1]


def scan(p: Problem) -> Contender:
    """Return the cell as a scan, and its reverse by `jax.vjp`."""
    return contender(p, scanned)


def contender(p: Problem, cell: Run, unrolls: tuple[int, ...] = UNROLLS) -> Contender:
    """Return what runs a cell in JAX, and its reverse by `jax.vjp`."""
    jax = importlib.import_module("jax")

    def forward(unroll: int) -> Callable[..., Any]:
        return lambda arrays: cell(p, arrays, unroll)

    def reverse(unroll: int) -> Callable[..., Any]:
        return lambda leaves, rest, dy: jax.vjp(lambda given: cell(p, {**given, **rest}, unroll), leaves)[1](dy)[0]

    arrays, dy = arrays_of(p, p.arrays), arrays_of(p, {"dy": p.dy})["dy"]
    leaves = {name: arrays[name] for name in p.differentiable}
    rest = {name: value for name, value in arrays.items() if name not in leaves}
    run = Compiled({INFERENCE: forward, TRAINING: reverse}, p, unrolls)
    return Contender(lambda: run(INFERENCE, arrays), lambda: run(TRAINING, leaves, rest, dy), numbers, run.choices)


def trainer(network: Network, cell: Run = scanned, unrolls: tuple[int, ...] = UNROLLS) -> Trainer:
    """Return the training of a network whose step, the descent with it, is one compiled function."""
    p = network.p
    trained = arrays_of(p, {**network.dense, **{name: value for name, value in p.parameters.items() if name in p.differentiable}})
    rest = arrays_of(p, {name: value for name, value in p.arrays.items() if name not in trained} | {"target of all": network.target})
    run = Compiled({MODEL: lambda unroll: lambda *values: _descended(network, partial(cell, p), unroll, *values)}, p, unrolls)

    def step() -> Any:
        nonlocal trained
        loss, trained = run(MODEL, trained, rest)
        return loss

    return Trainer(step, lambda: numbers(trained), run.choices)


def _descended(
    network: Network, cell: Callable[..., Any], unroll: int, trained: Mapping[str, Any], rest: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Return the loss, and the parameters after a step."""

    def loss(values: Mapping[str, Any]) -> Any:
        x = rest[network.input] @ values["first.weight"].T + values["first.bias"]
        y = cell({**rest, **values, network.input: x}, unroll)
        return ((y @ values["last.weight"].T + values["last.bias"] - rest["target of all"]) ** 2).mean()

    found, grads = importlib.import_module("jax").value_and_grad(loss)(trained)
    return found, {name: value - RATE * grads[name] for name, value in trained.items()}


def arrays_of(p: Problem, values: Mapping[str, Array]) -> dict[str, Any]:
    jax = importlib.import_module("jax")
    with jax.enable_x64(_wide(p)):
        return {name: jax.numpy.asarray(value) for name, value in values.items()}


def _wide(p: Problem) -> bool:
    return bool(p.dy.dtype == np.float64)


def numbers(found: Mapping[str, Any]) -> dict[str, Array]:
    return {name: np.asarray(value) for name, value in found.items()}
