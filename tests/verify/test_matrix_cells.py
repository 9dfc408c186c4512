"""Gradients of cells with matrices at each step: kernels, and formulas, against PyTorch through the cell's text and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ordinary
from helpers.matrix_cells import DELTA, MATRIX_CELLS

import derive
from derive.codegen.cuda.apart import Apart
from derive.codegen.cuda.module import tables
from derive.language.sizes import Size
from derive.program.pipeline import compile_cell
from derive.verify import report, second
from derive.verify.problem import sample
from derive.verify.tolerances import AUTOGRAD, DIFFERENCES
from derive.verify.witnesses import autograd, interpreter


@pytest.mark.parametrize("name", MATRIX_CELLS)
def test_kernels(name: str) -> None:
    found = report.check(MATRIX_CELLS[name], float32=name == "delta")
    assert found.ok, found.failures
    assert {AUTOGRAD, DIFFERENCES} <= found.errors.keys()


@pytest.mark.parametrize("name", MATRIX_CELLS)
def test_the_derivation(name: str) -> None:
    p = sample(MATRIX_CELLS[name], steps=4, batch=3, seed=2)
    found, expected = interpreter(p), autograd(p)
    for key, value in {**expected.values, **expected.grads}.items():
        got = {**found.values, **found.grads}[key]
        assert np.abs(got - value).max() <= 1e-12 * max(1.0, np.abs(value).max()), key


@pytest.mark.parametrize("name", ordinary(MATRIX_CELLS, {"delta"}))
def test_second_order(name: str) -> None:
    found = second.check(MATRIX_CELLS[name], float32=False)
    assert found.ok, found.failures


def test_a_state_of_another_shape_is_refused() -> None:
    module = derive.compile(DELTA)
    params, x = module.init(d=3, k=4, v=5, dtype=np.float64), np.zeros((6, 3, 3))
    with pytest.raises(ValueError, match=r"delta: state.S has shape \(3, 4, 5\), needs \(B, v, k\) = \(3, 5, 4\)"):
        module.forward(x, params, module.State(np.zeros((3, 4, 5))))


def test_a_block_of_a_device_keeps_the_state() -> None:
    for loop in tables(DELTA, compile_cell(DELTA)).values():
        assert isinstance(loop, Apart) and not loop.heads
        assert list(loop.kept.values()) == [(Size.of("v"), Size.of("k"))]


def test_no_jacobian() -> None:
    assert DELTA.structure.affine and "a matrix at each step" in DELTA.structure.text()
    with pytest.raises(derive.CellError, match="`D` is a matrix at each step: a Jacobian is made of blocks for vectors"):
        DELTA.jacobian()


def test_matrices_without_sizes_of_their_own() -> None:
    """On the left of a product, beside a static one: they stay together."""
    text = "h = tanh((outer(1, x) + W) @ x + (V * eye + 2 * sum(x) * U - 0.3 * eye * outer(h_prev, 1)) @ h_prev)"
    cell = derive.Cell(text, name="sizeless", output="h", shapes={"W": "n, d", "U": "n, n", "V": "n, n"})
    p = sample(cell, steps=3, batch=2, seed=1)
    found, expected = interpreter(p), autograd(p)
    for key, value in {**expected.values, **expected.grads}.items():
        np.testing.assert_allclose({**found.values, **found.grads}[key], value, rtol=1e-11, atol=1e-12, err_msg=key)
