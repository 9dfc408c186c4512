"""What holds for every size, length and batch: gradients, windows, linearity, independence of rows, threads and repetition."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import assert_close, assert_same_bits, generated, leaves
from hypothesis import example, given
from hypothesis import strategies as st

from derive.cells import REGISTRY
from derive.verify.problem import Problem, sample
from derive.verify.tolerances import relative
from derive.verify.witnesses import autograd, kernel

# n on both sides of multiples of 4, 8 and 16: vectors of float64 and float32, whole and with a rest.
STEPS, BATCHES, WIDTHS = st.integers(0, 6), st.integers(1, 5), st.integers(1, 70)
CELLS = ("rnn", "gru", "lstm", "gru_v3_concat")
every_cell = pytest.mark.parametrize("name", CELLS)


@st.composite
def problems(draw: st.DrawFn, names: tuple[str, ...] = CELLS, steps: st.SearchStrategy[int] = STEPS) -> Problem:
    """Random values for a cell, with initial states and cotangents of final states that are not zero."""
    sizes = {"d": draw(st.integers(1, 20)), "n": draw(WIDTHS)}
    cell = REGISTRY[draw(st.sampled_from(names))]
    return sample(cell, sizes=sizes, steps=draw(steps), batch=draw(BATCHES), seed=draw(st.integers(0, 99)))


def sized(name: str, steps: int, batch: int, d: int, n: int) -> Problem:
    return sample(REGISTRY[name], sizes={"d": d, "n": n}, steps=steps, batch=batch)


def arguments(p: Problem) -> tuple[ModuleType, np.ndarray, Any, Any, Any]:
    """Return the module, x, parameters, initial state and cotangents of the final state."""
    module = generated(p.cell.name)
    return module, p.arrays["x"], module.Params(**p.parameters), module.State(**p.states), module.State(**p.dfinal)


def mapped(function: Any, *trees: Any) -> Any:
    """Apply a function to each array of equal NamedTuples."""
    return type(trees[0])(*(function(*values) for values in zip(*trees, strict=True)))


def gradients_agree(p: Problem) -> None:
    errors = relative(kernel(generated(p.cell.name), p), autograd(p))
    assert max(errors.values()) <= 1e-10, errors


@given(problems())
@example(sized("gru", 0, 2, 3, 5))
@example(sized("lstm", 1, 1, 1, 1))
@example(sized("rnn", 4, 5, 2, 70))
def test_gradients_at_any_size(p: Problem) -> None:
    gradients_agree(p)


@pytest.mark.exhaustive
@every_cell
@pytest.mark.parametrize("n", range(1, 71))
def test_gradients_at_every_width(name: str, n: int) -> None:
    gradients_agree(sized(name, 3, 3, 1 + n % 7, n))


@every_cell
def test_no_step_leaves_the_state(name: str) -> None:
    p = sized(name, 0, 3, 2, 5)
    module, x, params, state, dfinal = arguments(p)
    y, final, tape = module.forward(x, params, state)
    assert y.shape == (0, 3, 5)
    assert_same_bits(final, state)
    grads = module.backward(None, tape, dfinal)
    assert grads.x.shape == (0, 3, 2)
    assert_same_bits(grads.state, dfinal)
    assert all(not value.any() for value in grads.params)


@given(problems())
def test_gradients_from_the_final_state_only(p: Problem) -> None:
    module, x, params, state, dfinal = arguments(p)
    _, _, tape = module.forward(x, params, state)
    grads = module.backward(None, tape, dfinal)
    assert_same_bits(grads, module.backward(np.zeros_like(p.dy), tape, dfinal))
    only = replace(p, dy=np.zeros_like(p.dy))
    assert max(relative(kernel(module, only), autograd(only)).values()) <= 1e-10


@given(problems())
def test_no_cotangent_of_the_final_state_is_zero(p: Problem) -> None:
    module, x, params, state, dfinal = arguments(p)
    _, _, tape = module.forward(x, params, state)
    assert_same_bits(module.backward(p.dy, tape), module.backward(p.dy, tape, mapped(np.zeros_like, dfinal)))


@given(problems(steps=st.integers(1, 6)))
def test_no_initial_state_is_zero(p: Problem) -> None:
    module, x, params, state, _ = arguments(p)
    assert_same_bits(module.forward(x, params), module.forward(x, params, mapped(np.zeros_like, state)))


@given(problems(), st.floats(-3, 3), st.floats(-3, 3))
def test_backward_is_linear(p: Problem, a: float, b: float) -> None:
    module, x, params, state, dfinal = arguments(p)
    _, _, tape = module.forward(x, params, state)
    other = sample(p.cell, sizes=p.sizes, steps=p.steps, batch=p.batch, seed=100)
    dy, df = other.dy, module.State(**other.dfinal)
    one, two = module.backward(p.dy, tape, dfinal), module.backward(dy, tape, df)
    both = module.backward(a * p.dy + b * dy, tape, mapped(lambda v, w: a * v + b * w, dfinal, df))
    got, first, second = leaves(both), leaves(one), leaves(two)
    for name, value in got.items():
        scale = max(np.abs(a * first[name]).max(initial=0.0), np.abs(b * second[name]).max(initial=0.0), 1e-3)
        np.testing.assert_allclose(value, a * first[name] + b * second[name], rtol=0, atol=1e-12 * scale, err_msg=name)


@given(problems(steps=st.integers(1, 8)), st.data())
def test_two_windows_are_one_sequence(p: Problem, data: st.DataObject) -> None:
    """Full backpropagation through a cut: the state goes on to the second window, its gradient comes back."""
    module, x, params, state, dfinal = arguments(p)
    cut = data.draw(st.integers(0, p.steps))
    y, final, tape = module.forward(x, params, state)
    y1, between, tape1 = module.forward(x[:cut], params, state)
    y2, final2, tape2 = module.forward(x[cut:], params, between)
    assert_close((np.concatenate([y1, y2]), final2), (y, final), 1e-13)
    whole = module.backward(p.dy, tape, dfinal)
    second = module.backward(p.dy[cut:], tape2, dfinal)
    first = module.backward(p.dy[:cut], tape1, second.state)
    assert_close(np.concatenate([first.x, second.x]), whole.x)
    assert_close(first.state, whole.state)
    assert_close(mapped(np.add, first.params, second.params), whole.params)


@given(problems(), st.data())
def test_rows_are_independent(p: Problem, data: st.DataObject) -> None:
    module, x, params, state, dfinal = arguments(p)
    row = data.draw(st.integers(0, p.batch - 1))
    one = slice(row, row + 1)

    def alone(v: np.ndarray) -> np.ndarray:
        return v[one]

    y, final, tape = module.forward(x, params, state)
    grads = module.backward(p.dy, tape, dfinal)
    y1, final1, tape1 = module.forward(x[:, one], params, mapped(alone, state))
    grads1 = module.backward(p.dy[:, one], tape1, mapped(alone, dfinal))
    assert_close((y1, final1), (y[:, one], mapped(alone, final)))
    assert_close((grads1.x, grads1.state), (grads.x[:, one], mapped(alone, grads.state)))


@contextmanager
def threads(module: ModuleType, count: int) -> Iterator[None]:
    pool = importlib.import_module(f"{module.__package__}.runtime.threads")
    before = pool.get_threads()
    pool.set_threads(count)
    try:
        yield
    finally:
        pool.set_threads(before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("steps", "batch", "d", "n"), [(7, 13, 9, 37), (3, 1, 5, 64), (5, 64, 33, 17)])
@pytest.mark.parametrize("name", [*CELLS, "softmax_readout"])
def test_same_bits_with_any_number_of_threads(name: str, steps: int, batch: int, d: int, n: int, dtype: Any) -> None:
    p = sized(name, steps, batch, d, n).cast(dtype)
    module, x, params, state, dfinal = arguments(p)
    results = []
    for count in (1, 2, 3, 5):
        with threads(module, count):
            y, final, tape = module.forward(x, params, state)
            results.append((y, final, tape.saved, module.backward(p.dy, tape, dfinal), module.infer(x, params, state)[0]))
    for result in results[1:]:
        assert_same_bits(result, results[0])


def test_calls_from_several_threads_at_once() -> None:
    p = sized("gru", 6, 8, 7, 21)
    module, x, params, state, dfinal = arguments(p)
    want = module.backward(p.dy, module.forward(x, params, state)[2], dfinal)
    wrong: list[Exception | AssertionError] = []

    def call() -> None:
        try:
            for _ in range(20):
                assert_same_bits(module.backward(p.dy, module.forward(x, params, state)[2], dfinal), want)
        except Exception as error:
            wrong.append(error)

    callers = [Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@given(problems())
def test_infer_is_forward(p: Problem) -> None:
    module, x, params, state, _ = arguments(p)
    y, final, _ = module.forward(x, params, state)
    assert_same_bits(module.infer(x, params, state), (y, final))


@given(problems())
def test_steps_are_forward(p: Problem) -> None:
    module, x, params, state, _ = arguments(p)
    y, final, _ = module.forward(x, params, state)
    out = np.empty_like(y)
    for t in range(p.steps):
        y_t, state = module.step(x[t], params, state, out=out[t])
        assert np.shares_memory(y_t, out[t])
    assert_close((out, state), (y, final), 1e-13)


@given(problems())
def test_backward_leaves_the_tape(p: Problem) -> None:
    module, x, params, state, dfinal = arguments(p)
    _, _, tape = module.forward(x, params, state)
    before = {name: value.copy() for name, value in leaves((tape, p.dy, dfinal)).items()}
    first = module.backward(p.dy, tape, dfinal)
    after = leaves((tape, p.dy, dfinal))
    assert all(np.array_equal(after[name], value) for name, value in before.items())
    assert_same_bits(module.backward(p.dy, tape, dfinal), first)


@given(problems(steps=st.integers(1, 6)))
def test_forward_leaves_its_arguments(p: Problem) -> None:
    module, x, params, state, _ = arguments(p)
    given_arrays = leaves((x, params, state))
    before = {name: value.copy() for name, value in given_arrays.items()}
    module.forward(x, params, state)
    module.infer(x, params, state)
    module.step(x[0], params, state)
    assert all(np.array_equal(given_arrays[name], value) for name, value in before.items())


@pytest.mark.parametrize("name", REGISTRY)
def test_no_two_results_share_memory(name: str) -> None:
    """Writing to one array, as an optimiser does, changes no other."""
    cell, p = REGISTRY[name], sample(REGISTRY[name])
    module = generated(name)
    params, state, dfinal = module.Params(**p.parameters), module.State(**p.states), module.State(**p.dfinal)
    first, *others = cell.inputs
    y, final, tape = module.forward(p.arrays[first], params, state, **{k: p.arrays[k] for k in others})
    assert getattr(tape.inputs, first) is p.arrays[first]
    grads = module.backward(p.dy, tape, dfinal)
    new = leaves((y, final, tape.saved, grads))
    old = leaves((tuple(p.arrays.values()), p.dy, dfinal))
    for (a, one), (b, two) in combinations(new.items(), 2):
        assert not np.shares_memory(one, two), (a, b)
    for a, one in new.items():
        for b, two in old.items():
            assert not np.shares_memory(one, two), (a, b)


@every_cell
def test_float32_stays_float32(name: str) -> None:
    p = sized(name, 4, 3, 5, 9).cast(np.float32)
    module, x, params, state, dfinal = arguments(p)
    y, final, tape = module.forward(x, params, state)
    y_t, next_state = module.step(x[0], params, state)
    results = leaves((y, final, tape.saved, module.backward(p.dy, tape, dfinal), module.infer(x, params), y_t, next_state))
    assert {value.dtype for value in results.values()} == {np.dtype(np.float32)}
