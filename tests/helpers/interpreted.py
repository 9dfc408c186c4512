"""A cell's derivation after all passes, run by the interpreter, and what the tests of cells share beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from derive.calculus.chain import Derivation
from derive.language.definition import Definition
from derive.program.pipeline import stages
from derive.verify.evaluate import unroll
from derive.verify.problem import Problem, Result, Scales, complete_sizes, sample
from derive.verify.witnesses import interpreter

T, B, D, N, P = 4, 3, 2, 5, 3
Arrays = dict[str, np.ndarray]
WIDE = Scales(parameters=1.0, states=1.0)


def sizes_of(cell: Definition) -> dict[str, int]:
    """Return the sizes of the tests; d is n where the cell says so."""
    return {"d": D, "n": N} | complete_sizes(cell, {"d": D, "n": N, "p": P})


def problem(cell: Definition, seed: int = 0) -> Problem:
    """Return normal numbers for a cell, at the sizes of the tests."""
    return sample(cell, sizes=sizes_of(cell), steps=T, batch=B, seed=seed, scales=WIDE)


def moved(p: Problem, cell: Definition, parameters: Mapping[str, np.ndarray]) -> Problem:
    """Return the problem of another cell with the same inputs, states and cotangents."""
    kept = {name: value for name, value in p.arrays.items() if name not in p.cell.parameters}
    return replace(p, cell=cell, arrays={**kept, **parameters})


@cache
def derivation(cell: Definition) -> Derivation:
    """Return what the kernels are made from: the derivation after all passes."""
    return stages(cell)[-1][1]


def gradients(p: Problem) -> Result:
    """Run a cell forward and backward with cotangents for its output at every step and for its final states."""
    return interpreter(p, derivation(p.cell))


def evaluated(p: Problem) -> np.ndarray:
    """Return the output of the cell's text on arrays of NumPy."""
    return unroll(p.cell, p.inputs, p.parameters, p.states, np, context=p.context, steps=p.steps)[0]


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-13, what: str = "") -> None:
    """Compare relative to the largest element."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, what
    assert np.isfinite(got).all(), what
    scale = np.abs(want).max(initial=0.0)
    assert np.abs(got - want).max(initial=0.0) <= tolerance * max(scale, 1e-3), what


def assert_same(got: Result, want: Result, names: Mapping[str, str] | None = None) -> None:
    """Compare two runs; `names` gives, for a gradient that has another name in `want`, that name."""
    assert got.values.keys() == want.values.keys()
    for name, value in want.values.items():
        assert_close(got.values[name], value, what=name)
    for name, grad in got.grads.items():
        assert_close(grad, want.grads[(names or {}).get(name, name)], what=name)
