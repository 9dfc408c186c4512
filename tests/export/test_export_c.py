"""Exported C: compiled strictly, run under sanitizers, and compared with the kernels of the generated package."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import generated
from helpers.c_programs import CHECKS, COMPILER, compiled, driver, run

from derive.cell import Cell
from derive.cells import SHIPPED
from derive.package import c
from derive.verify.problem import Problem, sample

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler `cc`")
DIFFICULT = ("lstm", "gru_v3", "slstm", "lmu", "gated_deltanet", "lsnn")
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def exported(p: Problem, dtype: str, **options: object) -> dict[str, str]:
    sizes = {name: value for name, value in p.sizes.items() if name in p.cell.sizes}
    return c.source(p.cell, sizes, dtype=dtype, **options)


def inferred(module: ModuleType, p: Problem) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    first, *others = p.inputs.items() or [("x", None)]
    steps = {} if p.inputs else {"steps": p.steps}
    y, final = module.infer(first[1], module.Params(**p.parameters), module.State(**p.states), **dict(others), **p.context, **steps)
    return y, final._asdict()


def close(got: np.ndarray, want: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * max(1.0, np.abs(want).max(initial=0.0)))


def agrees(cell: Cell, module: ModuleType, dtype: str, folder: Path, *options: str) -> None:
    p = sample(cell, batch=1, steps=6).cast(dtype)
    files = exported(p, dtype)
    first, y, final = run(compiled(folder, files, driver(p, files), *options), p)
    want, want_final = inferred(module, p)
    close(y, want, TOLERANCES[dtype])
    begun = module.LAYER.zero_state(1, dict(p.sizes), np.dtype(dtype))._asdict()
    for state in cell.states:
        close(final[state], want_final[state], TOLERANCES[dtype])
        np.testing.assert_array_equal(first[state], begun[state])


@needs_compiler
@pytest.mark.parametrize("name", DIFFICULT)
def test_agrees_with_kernels(name: str, tmp_path: Path) -> None:
    agrees(SHIPPED[name], generated(name), "float64", tmp_path, "-O1", *CHECKS)


@needs_compiler
@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_cell_agrees_with_kernels(name: str, dtype: str, tmp_path: Path) -> None:
    agrees(SHIPPED[name], generated(name), dtype, tmp_path, "-O1", *CHECKS)
