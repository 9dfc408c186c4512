"""Cells as functions of JAX: the bits of their modules, and what JAX makes of the cells' own text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, generated, ordinary

jax = pytest.importorskip("jax")

from helpers.scans import called, leaves_of, scanned, weighted  # noqa: E402

from derive import Cell  # noqa: E402
from derive.cells import SHIPPED  # noqa: E402
from derive.verify.problem import sample  # noqa: E402
from derive.verify.witnesses import arguments, gradients, kernel  # noqa: E402
from generated.jax import function  # noqa: E402
from generated.runtime.jax import lowering  # noqa: E402

T, B = 4, 3
CHOSEN = {"lstm", "gru_v3", "slstm", "gated_deltanet", "lsnn", "gru_d", "softmax_cross_entropy", "lmu"}


@pytest.fixture(autouse=True)
def wide() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def same(found: Any, want: Any) -> None:
    """Compare trees of arrays bit by bit."""
    assert_same_bits(*(tuple(map(np.asarray, jax.tree.leaves(tree))) for tree in (found, want)))


def worst(found: Any, want: Any) -> float:
    """Return the largest difference of trees of arrays, by the largest number of each."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True)
    return max([float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-3)) for a, b in pairs if a.size], default=0.0)


@pytest.mark.parametrize("name", ordinary(SHIPPED, CHOSEN))
def test_every_cell(name: str) -> None:
    cell, module = SHIPPED[name], generated(name)
    p = sample(cell, steps=T, batch=B, seed=1)
    assert not lowering.refused()

    def found(f: Any) -> Any:
        def loss(leaves: Any) -> Any:
            made = called(f, p, module, leaves)
            return weighted(made, p), made

        (_, made), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(leaves_of(p))
        return made, grads

    (y, final), grads = found(function(name))
    want = kernel(module, p)
    same((y, *final), list(want.values.values()))
    same([grads[name] for name in want.grads], list(want.grads.values()))
    assert worst(found(scanned(cell, module)), ((y, final), grads)) < 1e-10


def test_float32() -> None:
    with jax.enable_x64(False):
        module = generated("gru")
        p = sample(SHIPPED["gru"], steps=T, batch=B, seed=1).cast(np.float32)
        grads = jax.jit(jax.grad(lambda leaves: weighted(called(function("gru"), p, module, leaves), p)))(leaves_of(p))
    want = kernel(module, p).grads
    same([grads[name] for name in want], list(want.values()))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_lengths_and_reverse(ragged: bool, reverse: bool) -> None:
    """What lies past a sequence's end is NaN, and reaches nothing; lengths may be traced."""
    name, lengths = "gru", np.array([2, 4, 0]) if ragged else None
    module = generated(name)
    p = sample(SHIPPED[name], steps=T, batch=B, seed=1)
    p = p if lengths is None else p.ragged(lengths)

    def loss(leaves: Any, lengths: Any) -> Any:
        made = called(function(name), p, module, leaves, lengths=lengths, reverse=reverse)
        dy = p.dy if lengths is None else jax.numpy.where(np.arange(T)[:, None, None] < lengths[:, None], p.dy, 0)
        return (made[0] * dy).sum() + sum((value * p.dfinal[name]).sum() for name, value in made[1]._asdict().items()), made

    (_, (y, final)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(leaves_of(p), lengths)
    given, others = arguments(module, p)
    want, want_final, tape = module.forward(*given, **others, lengths=lengths, reverse=reverse)
    same((y, final), (want, want_final))
    want_grads = gradients(p, module.backward(np.where(np.isnan(p.dy), 0, p.dy), tape, module.State(**p.dfinal)))
    same([grads[name] for name in want_grads], list(want_grads.values()))


def test_lengths_are_those_of_a_scan() -> None:
    name, lengths = "gru", jax.numpy.array([2, 4, 3])
    module, p = generated(name), sample(SHIPPED[name], steps=T, batch=B, seed=1)

    def grads(f: Any, **options: Any) -> Any:
        return jax.jit(jax.grad(lambda leaves: weighted(called(f, p, module, leaves, lengths=lengths, **options), p)))(leaves_of(p))

    assert worst(grads(function(name)), grads(scanned(SHIPPED[name], module))) < 1e-12


def test_initial_values() -> None:
    f, module = function("slstm"), generated("slstm")
    for found, want in (
        (f.init(3, 4, seed=2, dtype=np.float64), module.init(3, 4, seed=2, dtype=np.float64)),
        (f.zero_state(2, 4), module.zero_state(2, 4)),
    ):
        assert type(found) is type(want) and all(isinstance(value, jax.Array) for value in found)
        same(found, want)
    x = np.ones((T, 2, 3))
    y, _ = f(x, f.init(3, 4, dtype=np.float64))
    same(y, module.infer(x, module.init(3, 4, dtype=np.float64))[0])


def test_no_steps_no_sequences() -> None:
    f = function("gru")
    params = f.init(3, 4, dtype=np.float64)
    for steps, batch in ((0, 2), (3, 0), (1, 1)):
        y, final = f(np.ones((steps, batch, 3)), params)
        assert y.shape == (steps, batch, 4) and final.h.shape == (batch, 4)
        grads = jax.grad(lambda params, x: f(x, params)[1].h.sum())(params, np.ones((steps, batch, 3)))
        assert grads.W_r.shape == (4, 3)


def test_a_cell_without_inputs() -> None:
    cell = Cell("h = tanh(U @ h_prev + b)", name="free", output="h", inputs=())
    f, state = function(cell), jax.numpy.ones((2, 3))
    params = f.init(3, dtype=np.float64)
    y, _ = jax.jit(lambda state: f(None, params, f.State(state), steps=5))(state)
    want, _ = f.module.infer(None, f.module.init(3, dtype=np.float64), f.module.State(np.ones((2, 3))), steps=5)
    same(y, want)


def test_a_cell_of_ones_own_and_its_second_order() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev) - h_prev / 2", name="odd", output="h")
    first, second = function(cell), function(cell, order=2)
    assert first is function(cell) and second.module.LAYER.links
    x, params = jax.numpy.ones((T, B, 2)), first.init(2, 3, dtype=np.float64)
    want = scanned(cell, first.module)
    state = first.zero_state(B, 3, dtype=np.float64)

    def hessian(f: Any) -> Any:
        return jax.jit(jax.hessian(lambda U: (f(x, params._replace(U=U), state)[0] ** 2).sum()))(params.U)

    assert worst(hessian(second), hessian(want)) < 1e-12
