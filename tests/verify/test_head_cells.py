"""Gradients of cells of heads: kernels against PyTorch through the cell's text and finite differences, to second order."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ordinary
from helpers.head_cells import BLOCKS, HEAD_CELLS

import derive
from derive.verify import report, second
from derive.verify.tolerances import AUTOGRAD, DIFFERENCES


@pytest.mark.parametrize("name", HEAD_CELLS)
def test_kernels(name: str) -> None:
    found = report.check(HEAD_CELLS[name], float32=name == "blocks")
    assert found.ok, found.failures
    assert {AUTOGRAD, DIFFERENCES} <= found.errors.keys()


@pytest.mark.parametrize("heads", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_few_heads(heads: int) -> None:
    for cell in HEAD_CELLS.values():
        found = report.check(cell, sizes={"H": heads}, steps=2, batch=1, seed=heads)
        assert found.ok, found.failures


@pytest.mark.parametrize("name", ordinary(HEAD_CELLS, {"blocks"}))
def test_second_order(name: str) -> None:
    found = second.check(HEAD_CELLS[name], float32=False)
    assert found.ok, found.failures


def test_one_head_is_the_cell_without() -> None:
    text = "z = sigmoid(W @ x + U @ h_prev + b)\nh = z * h_prev + (1 - z) * tanh(V @ x)"
    plain, headed = (derive.compile(derive.Cell(text, name=name, output="h", heads=heads)) for name, heads in (("a", ""), ("b", "H")))
    params = plain.init(d=3, n=4, dtype=np.float64)
    x, given = np.random.default_rng(0).standard_normal((5, 2, 3)), headed.Params(*(value[None] for value in params))
    y, final, tape = plain.forward(x, params)
    own, last, taped = headed.forward(x, given)
    np.testing.assert_array_equal(own[:, :, 0], y)
    np.testing.assert_array_equal(last.h[:, 0], final.h)
    want, got = plain.backward(np.cos(y), tape), headed.backward(np.cos(own), taped)
    np.testing.assert_allclose(got.x, want.x, rtol=1e-13)
    for name, value in want.params._asdict().items():
        np.testing.assert_allclose(getattr(got.params, name)[0], value, rtol=1e-13, atol=1e-15, err_msg=name)


def test_shapes_are_checked() -> None:
    module = derive.compile(BLOCKS)
    params, x = module.init(d=3, n=4, H=2, dtype=np.float64), np.zeros((6, 3, 3))
    assert params.R_z.shape == (2, 4, 4) and params.U.shape == (8, 8) and params.b_z.shape == (2, 4)
    with pytest.raises(ValueError, match=r"blocks: e has shape \(3, 4\), needs \(B, H\*n\) = \(3, 8\)"):
        module.forward(x, params, e=np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"blocks: params.U has shape \(4, 4\), needs \(H\*n, H\*n\) = \(8, 8\)"):
        module.forward(x, params._replace(U=np.zeros((4, 4))), e=np.zeros((3, 8)))
    with pytest.raises(ValueError, match=r"blocks: state.h has shape \(3, 8\), needs \(B, H, n\) = \(3, 2, 4\)"):
        module.forward(x, params, module.State(np.zeros((3, 8))), e=np.zeros((3, 8)))


def test_a_size_that_heads_tell() -> None:
    """Of (H*n, H*n) and (H*n,), given H, alone."""
    cell = derive.Cell(
        "h = part(U @ merge(h_prev) + x) * s",
        name="telling",
        output="h",
        heads="H",
        shared=("U",),
        shapes={"U": "H*n, H*n", "x": "H*n", "s": ""},
    )
    module = derive.compile(cell)
    params = module.init(n=4, H=2, dtype=np.float64)
    y, final, _ = module.forward(np.ones((3, 2, 8)), params)
    assert y.shape == (3, 2, 2, 4) and final.h.shape == (2, 2, 4)
