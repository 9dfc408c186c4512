"""Gradients of cells with matrices at each step: kernels, and formulas, against PyTorch through the cell's text and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, leaves, ordinary
from helpers.matrix_cells import DELTA, MATRIX_CELLS

import derive
from derive.codegen.cuda.module import tables
from derive.program.pipeline import compile_cell
from derive.verify import report, second
from derive.verify.problem import sample
from derive.verify.tolerances import AUTOGRAD, DIFFERENCES
from derive.verify.witnesses import autograd, interpreter


@pytest.mark.parametrize("name", MATRIX_CELLS)
def test_kernels(name: str) -> None:
    found = report.check(MATRIX_CELLS[name])
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
    found = second.check(MATRIX_CELLS[name])
    assert found.ok, found.failures


@pytest.fixture(scope="module")
def module() -> Any:
    return derive.compile(DELTA)


def given(module: Any, batch: int = 3, steps: int = 6) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    state = module.State(rng.standard_normal((batch, 5, 4)))
    return rng.standard_normal((steps, batch, 3)), module.init(d=3, k=4, v=5, dtype=np.float64), state


def test_sequences_of_unequal_length_are_those_by_themselves(module: Any) -> None:
    x, params, state = given(module)
    lengths = np.array([2, 6, 0])
    for reverse in (False, True):
        y, final, tape = module.forward(x, params, state, lengths=lengths, reverse=reverse)
        grads = module.backward(np.ones_like(y), tape)
        for b, n in enumerate(lengths):
            own = module.State(state.S[b : b + 1])
            alone, last, tape = module.forward(x[:n, b : b + 1], params, own, reverse=reverse)
            np.testing.assert_allclose(alone[:, 0], y[:n, b], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(last.S[0], final.S[b], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(module.backward(np.ones_like(alone), tape).state.S[0], grads.state.S[b], rtol=1e-12, atol=1e-12)


def test_steps_are_a_sequence(module: Any) -> None:
    x, params, state = given(module)
    y, final = module.infer(x, params, state)
    for weights in (params, module.pack(params)):
        now = state
        for t in range(len(x)):
            out, now = module.step(x[t], weights, now)
            np.testing.assert_array_equal(out, y[t])
        np.testing.assert_array_equal(now.S, final.S)


def test_states_computed_again_give_the_gradients_of_those_kept(module: Any) -> None:
    x, params, state = given(module, steps=9)
    grads = []
    for tape in ("full", "recompute"):
        y, _, taped = module.forward(x, params, state, tape=tape)
        grads.append(module.backward(np.cos(y), taped))
    kept, again = map(leaves, grads)
    for name, value in kept.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-12, atol=1e-13, err_msg=name)


def test_same_bits_on_any_number_of_threads(module: Any) -> None:
    from derive.runtime.cpu.threads import get_threads, set_threads

    x, params, state = given(module, batch=7)
    before, found = get_threads(), []
    for threads in (1, 2, 3):
        set_threads(threads)
        y, final, tape = module.forward(x, params, state)
        found.append((y, final, module.backward(np.sin(y), tape)))
    set_threads(before)
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


def test_a_state_of_another_shape_is_refused(module: Any) -> None:
    x, params, _ = given(module)
    with pytest.raises(ValueError, match=r"delta: state.S has shape \(3, 4, 5\), needs \(B, v, k\) = \(3, 5, 4\)"):
        module.forward(x, params, module.State(np.zeros((3, 4, 5))))


def test_no_kernels_for_devices() -> None:
    with pytest.raises(NotImplementedError, match="delta: `D` is a matrix at each step, and such cells have kernels on the CPU alone"):
        derive.compile(DELTA, cuda=True)


def test_no_plan_for_devices() -> None:
    with pytest.raises(derive.CellError, match="delta: `D` is a matrix at each step, and such cells have kernels on the CPU alone"):
        tables(DELTA, compile_cell(DELTA))


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
