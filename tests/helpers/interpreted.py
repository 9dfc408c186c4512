"""Outputs and gradients of a cell from its derivation after all passes, by the interpreter, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from derive.calculus.derivation import BACKWARD, FORWARD, Derivation
from derive.cell import Cell
from derive.program.pipeline import stages
from derive.verify.evaluate import unroll
from derive.verify.interpret import run
from derive.verify.report import complete_sizes

T, B, D, N, P = 4, 3, 2, 5, 3
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Values:
    """What a cell is run on; names as in its text, states as `s_prev`."""

    inputs: Arrays
    params: Arrays
    states: Arrays

    def all(self) -> Arrays:
        return {**self.inputs, **self.params, **self.states}


@dataclass(frozen=True)
class Result:
    """The output at every step, each state after the last, and the gradient by each name."""

    output: np.ndarray
    final: Arrays
    grads: Arrays


def sizes_of(cell: Cell) -> dict[str, int]:
    """Return the sizes of the tests; d is n where the cell says so."""
    return {"d": D, "n": N} | complete_sizes(cell, {"d": D, "n": N, "p": P})


def sample(cell: Cell, seed: int = 0) -> Values:
    random = np.random.default_rng(seed)
    sizes = sizes_of(cell)

    def draw(name: str, *lead: int) -> np.ndarray:
        if name in cell.integers:
            return random.integers(0, D, lead)
        return np.asarray(random.standard_normal((*lead, *(s.evaluate(sizes) for s in cell.shapes[name]))))

    return Values(
        {name: draw(name, T, B) for name in cell.inputs},
        {name: draw(name) for name in cell.parameters},
        {f"{s}_prev": draw(s, B) for s in cell.states},
    )


def seeds(cell: Cell) -> tuple[np.ndarray, Arrays]:
    """Return the same cotangents of output and final states for all cells with these names."""

    def width(name: str) -> tuple[int, ...]:
        return tuple(s.evaluate(sizes_of(cell)) for s in cell.shapes[name])

    dy = np.random.default_rng(1).standard_normal((T, B, *width(cell.output)))
    return dy, {s: np.random.default_rng([*s.encode()]).standard_normal((B, *width(s))) for s in cell.states}


@cache
def derivation(cell: Cell) -> Derivation:
    """Return what the kernels are made from: the derivation after all passes."""
    return stages(cell)[-1][1]


def gradients(cell: Cell, values: Values, dy: np.ndarray | None = None) -> Result:
    """Run a cell forward and backward with cotangents for its output at every step and for its final states."""
    made, given = derivation(cell), {**values.all(), **cell.array_constants}
    first, backward, cotangent = made[FORWARD].recurrence, made[BACKWARD].recurrence, made[BACKWARD].cotangent
    sizes = {**sizes_of(cell), "d": values.inputs[cell.inputs[0]].shape[-1]}
    default, dfinal = seeds(cell)
    dy = default if dy is None else dy
    steps, batch = dy.shape[:2]
    forward = run(first, given, sizes, steps, batch)
    known = {**given, **forward.sequences, cotangent[cell.output]: dy}
    pairs = list(zip(first.carries, backward.carries, strict=True))
    known |= {back.previous: dfinal[ahead.value] for ahead, back in pairs}
    found = run(backward, known, sizes, steps, batch)
    written = {**found.results, **found.sequences}
    differentiable = [n for n in (*cell.inputs, *cell.parameters) if n not in cell.integers]
    grads = {name: written[cotangent[name]] for name in differentiable}
    grads |= {ahead.previous: found.carries[back.previous] for ahead, back in pairs}
    final = {ahead.value: forward.carries[ahead.previous] for ahead, _ in pairs}
    return Result(forward.sequences[cell.output], final, grads)


def autograd(cell: Cell, values: Values) -> Result:
    """Return what PyTorch's automatic differentiation of the cell's own text gives, with the cotangents of `gradients`."""
    leaves = {n: torch.tensor(v, requires_grad=n not in cell.integers) for n, v in values.all().items()}
    inputs, params = {n: leaves[n] for n in values.inputs}, {n: leaves[n] for n in values.params}
    output, final = unroll(cell, inputs, params, {s: leaves[f"{s}_prev"] for s in cell.states}, torch)
    dy, dfinal = seeds(cell)
    loss = (output * torch.tensor(dy)).sum() + sum((final[s] * torch.tensor(dfinal[s])).sum() for s in cell.states)
    loss.backward()
    grads = {n: leaf.grad.numpy() for n, leaf in leaves.items() if leaf.requires_grad}
    return Result(output.detach().numpy(), {s: final[s].detach().numpy() for s in cell.states}, grads)


def evaluated(cell: Cell, values: Values) -> np.ndarray:
    states = {name.removesuffix("_prev"): value for name, value in values.states.items()}
    return unroll(cell, values.inputs, values.params, states, np)[0]


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-13, what: str = "") -> None:
    """Compare relative to the largest element."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, what
    assert np.isfinite(got).all(), what
    scale = np.abs(want).max(initial=0.0)
    assert np.abs(got - want).max(initial=0.0) <= tolerance * max(scale, 1e-3), what


def assert_same(got: Result, want: Result, names: Mapping[str, str] | None = None) -> None:
    """Compare two runs; `names` gives, for what has another name in `want`, that name."""
    assert_close(got.output, want.output, what="output")
    for name, grad in got.grads.items():
        assert_close(grad, want.grads[(names or {}).get(name, name)], what=name)
