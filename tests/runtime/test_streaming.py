"""Steps one by one, on packed parameters: what `infer` gives for the sequence."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from conftest import assert_same_bits, at_once, generated
from test_sequences import BATCH, CELLS, STEPS, Given

from derive.cells import REGISTRY
from derive.verify.problem import sample


def step_inputs(problem: Given, t: int) -> tuple[Any, dict[str, Any]]:
    """Return the positional and the named inputs of step t."""
    given = {k: v[t] if k in problem.cell.inputs else v for k, v in problem.given.items()}
    first = given.pop(problem.cell.inputs[0]) if problem.cell.inputs else None
    return first, given


@pytest.mark.parametrize("name", CELLS)
def test_steps_are_a_sequence(name: str) -> None:
    problem = Given(name)
    module, packed = problem.module, problem.module.pack(problem.params)
    y, final = problem.forward(problem.given, problem.state, "infer", **problem.steps(STEPS))
    for params in (problem.params, packed):
        state = problem.state
        for t in range(STEPS):
            first, given = step_inputs(problem, t)
            y_t, state = module.step(first, params, state, **given)
            np.testing.assert_allclose(y_t, y[t], rtol=1e-13, atol=1e-13)
        for got, want in zip(state, final, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-13, atol=1e-13)
    packed_y, _ = module.infer(step_inputs(problem, 0)[0][None] if problem.cell.inputs else None, packed, problem.state,
                               **{k: v[:1] if k in problem.cell.inputs else v for k, v in problem.given.items()
                                  if not problem.cell.inputs or k != problem.cell.inputs[0]}, **problem.steps(1))  # fmt: skip
    np.testing.assert_allclose(packed_y[0], y[0], rtol=1e-13, atol=1e-13)


def test_out_is_written_and_nothing_else() -> None:
    given = Given("lstm")
    module, x, state = given.module, given.given["x"], given.state
    packed = module.pack(given.params)
    start = [value.copy() for value in state]
    y, after = module.step(x[0], packed, state)
    out = np.empty((BATCH, 4))
    got, got_after = module.step(x[0], packed, state, out=out)
    assert got is out and got_after is not state
    assert_same_bits((got, got_after), (y, after))
    assert_same_bits(tuple(state), tuple(start))
    got, got_after = module.step(x[0], packed, state, out=(out, state))
    assert got is out and got_after is state
    assert_same_bits((got, got_after), (y, after))
    other, _ = module.step(x[1], packed, state)
    assert other is not y and not np.array_equal(other, y)


def test_what_a_step_gave_stays() -> None:
    module = generated("gru")
    packed, state = module.pack(module.init(3, 4)), module.zero_state(2, 4)
    results, copies = [], []
    for t in range(4):
        y, state = module.step(np.full((2, 3), t, np.float32), packed, state)
        results += [y, *state]
        copies += [value.copy() for value in (y, *state)]
    assert_same_bits(tuple(results), tuple(copies))


def test_other_shapes_and_types_have_steps_of_their_own() -> None:
    module = generated("gru")
    packed = {dtype: module.pack(module.init(3, 4, dtype=dtype)) for dtype in (np.float32, np.float64)}
    for batch in (1, 2, 1, 5):
        for dtype, weights in packed.items():
            x, state = np.ones((batch, 3), dtype), module.zero_state(batch, 4, dtype)
            y, after = module.step(x, weights, state)
            assert_same_bits((y, after), module.step(x, module.init(3, 4, dtype=dtype), state))
            assert y.shape == (batch, 4) and y.dtype == dtype
    assert_same_bits(
        module.step(np.ones((2, 3), np.float32), packed[np.float32]), module.step(np.ones((2, 3), np.float32), module.init(3, 4))
    )


def test_inputs_of_any_strides() -> None:
    module = generated("lstm")
    packed, state = module.pack(module.init(3, 4)), module.zero_state(2, 4)
    x = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    assert_same_bits(module.step(x, packed, state), module.step(x.copy(), packed, state))


def test_threads_that_step_at_once() -> None:
    module = generated("lstm")
    packed, wrong = module.pack(module.init(8, 32)), []

    def work(seed: int) -> None:
        x = sample(REGISTRY["lstm"], sizes={"d": 8, "n": 32}, steps=60, batch=1, seed=seed).cast(np.float32).arrays["x"]
        want, _ = module.infer(x, packed)
        state = module.zero_state(1, 32)
        for t in range(60):
            y, state = module.step(x[t], packed, state)
            if not np.allclose(y, want[t], rtol=1e-5, atol=1e-6):
                wrong.append((seed, t))

    at_once(work, 6)
    assert not wrong


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "x of another width": ({"x": np.zeros((2, 4), np.float32)}, "x has shape (1, 2, 4), needs (T, B, d) = (1, 2, 3)"),
    "x of another dtype": ({"x": np.zeros((2, 3))}, "all arguments need one dtype"),
    "a list": ({"x": [[0.0] * 3] * 2}, "x must be a NumPy array, got list"),
    "a state of another batch": ({"state": 3}, "state.h has shape (3, 4), needs (B, n) = (2, 4)"),
    "out of another shape": ({"out": np.zeros((2, 5), np.float32)}, "out has shape (2, 5), needs (B, n) = (2, 4)"),
    "out of another dtype": ({"out": np.zeros((2, 4))}, "out must be an array of float32, got float64"),
    "out of one": ({"out": (np.zeros((2, 4), np.float32),)}, "out must be an array, or an array and a gru.State, got a tuple of 1"),
    "out of three": ({"out": (1, 2, 3)}, "out must be an array, or an array and a gru.State, got a tuple of 3"),
    "out of nothing": ({"out": ()}, "out must be an array, or an array and a gru.State, got a tuple of 0"),
    "out that is read-only": ({"out": np.broadcast_to(np.float32(0), (2, 4))}, "out must be an array that can be written to"),
    "out with something else": ({"out": (np.zeros((2, 4), np.float32), 3)}, "out must be an array, or an array and a gru.State, got a int"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("warm", [False, True])
def test_refused(case: str, warm: bool) -> None:
    module = generated("gru")
    packed, state = module.pack(module.init(3, 4)), module.zero_state(2, 4)
    arguments: dict[str, Any] = {"x": np.zeros((2, 3), np.float32), "state": state}
    if warm:
        module.step(arguments["x"], packed, state)
    changed, message = REFUSED[case]
    changed = {k: module.zero_state(v, 4) if k == "state" else v for k, v in changed.items()}
    with pytest.raises(ValueError, match=f"^gru.*{re.escape(message)}"):
        module.step(params=packed, **{**arguments, **changed})


def test_parameters_packed_for_another_module() -> None:
    with pytest.raises(ValueError, match=r"^lstm: params are packed for another module"):
        generated("lstm").infer(np.zeros((2, 2, 3), np.float32), generated("gru").pack(generated("gru").init(3, 4)))


def test_indices_are_checked_at_every_step() -> None:
    problem = Given("picked")
    packed = problem.module.pack(problem.params)
    first, given = step_inputs(problem, 0)
    problem.module.step(first, packed, problem.state, **given)
    with pytest.raises(ValueError, match="k must lie in"):
        problem.module.step(first, packed, problem.state, k=given["k"] + 100)
