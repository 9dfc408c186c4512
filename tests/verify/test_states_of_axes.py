"""Everything that holds of sequences holds for states that are matrices, or one for each head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, leaves
from helpers.head_cells import BLOCKS, MEMORY
from helpers.matrix_cells import DELTA

import derive
from derive.verify.problem import Problem, sample


@dataclass(frozen=True)
class Given:
    """A module, and what it is given."""

    module: Any
    p: Problem
    params: Any
    state: Any

    def forward(self, *, of: slice | int = slice(None), steps: slice = slice(None), **keywords: Any) -> Any:
        """Run some steps of some sequences."""
        (x,) = (value[steps, of] for value in self.p.inputs.values())
        context = {name: value[of] for name, value in self.p.context.items()}
        return self.module.forward(x, self.params, type(self.state)(*(value[of] for value in self.state)), **context, **keywords)


@pytest.fixture(scope="module", params=[DELTA, BLOCKS, MEMORY], ids=lambda cell: cell.name)
def given(request: pytest.FixtureRequest) -> Callable[..., Given]:
    module = derive.compile(request.param)

    def drawn(batch: int = 3, steps: int = 6) -> Given:
        p = sample(request.param, steps=steps, batch=batch, seed=1)
        state = module.State(*(p.arrays[f"{name}_prev"] for name in p.cell.states))
        return Given(module, p, module.Params(*(p.arrays[name] for name in p.cell.parameters)), state)

    return drawn


def test_sequences_of_unequal_length_are_those_by_themselves(given: Callable[..., Given]) -> None:
    g, lengths = given(), np.array([2, 6, 0])
    for reverse in (False, True):
        y, final, tape = g.forward(lengths=lengths, reverse=reverse)
        grads = g.module.backward(np.ones_like(y), tape)
        for b, n in enumerate(lengths):
            alone, last, tape = g.forward(of=slice(b, b + 1), steps=slice(0, n), reverse=reverse)
            np.testing.assert_allclose(alone[:, 0], y[:n, b], rtol=1e-12, atol=1e-14)
            again = g.module.backward(np.ones_like(alone), tape)
            for name, value in last._asdict().items():
                np.testing.assert_allclose(value[0], getattr(final, name)[b], rtol=1e-12, atol=1e-14)
                got = getattr(grads.state, name)[b]
                np.testing.assert_allclose(getattr(again.state, name)[0], got, rtol=1e-12, atol=1e-12)


def test_steps_are_a_sequence(given: Callable[..., Given]) -> None:
    g = given()
    y, final, _ = g.forward()
    (x,) = g.p.inputs.values()
    for weights in (g.params, g.module.pack(g.params)):
        now = g.state
        for t in range(len(x)):
            out, now = g.module.step(x[t], weights, now, **g.p.context)
            np.testing.assert_array_equal(out, y[t])
        for got, want in zip(now, final, strict=True):
            np.testing.assert_array_equal(got, want)


def test_states_computed_again_give_the_gradients_of_those_kept(given: Callable[..., Given]) -> None:
    g = given(steps=9)
    grads = []
    for tape in ("full", "recompute"):
        y, _, taped = g.forward(tape=tape)
        grads.append(g.module.backward(np.cos(y), taped))
    kept, again = map(leaves, grads)
    for name, value in kept.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-12, atol=1e-13, err_msg=name)


def test_same_bits_on_any_number_of_threads(given: Callable[..., Given]) -> None:
    from derive.runtime.cpu.threads import get_threads, set_threads

    g = given(batch=7)
    before, found = get_threads(), []
    for threads in (1, 2, 3):
        set_threads(threads)
        y, final, tape = g.forward()
        found.append((y, final, g.module.backward(np.sin(y), tape)))
    set_threads(before)
    assert_same_bits(found[0], found[1])
    assert_same_bits(found[0], found[2])


def test_nothing_to_do(given: Callable[..., Given]) -> None:
    for batch, steps in ((0, 4), (2, 0)):
        g = given(batch, steps)
        y, final, tape = g.forward()
        grads = g.module.backward(np.ones_like(y), tape)
        assert y.size == 0 and all(np.array_equal(a, b) for a, b in zip(final, g.state, strict=True))
        assert all(not value.any() for value in grads.params)
