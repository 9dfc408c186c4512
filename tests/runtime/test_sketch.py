"""Calls that are sketched: what they would run, without running it."""

from __future__ import annotations

import numpy as np
from conftest import generated

from generated.runtime.cpu.memory import SKETCH
from generated.runtime.cpu.sketch import sketched

T, B, D, N = 5, 2, 3, 4
lstm = generated("lstm")


def test_nothing_is_run() -> None:
    params, x = lstm.init(D, N, dtype=np.float64), np.ones((T, B, D))
    with sketched() as sketch:
        y, final, tape = lstm.forward(x, params)
        lstm.backward(y, tape, final)
    assert [work.py_func.__name__ for work, _ in sketch.works] == ["weights_pass", "forward_pass", "backward_pass"]
    assert y.shape == (T, B, N) and tape.saved.c.shape == (T + 1, B, N)
    assert any(np.shares_memory(y, array) for array in sketch.made)
    assert any(isinstance(value, np.ndarray) and np.shares_memory(value, x) for _, given in sketch.works for value in given)


def test_what_was_sketched_can_be_run() -> None:
    """The functions of a sketch, on its arrays, compute what the call does."""
    params, x = lstm.init(D, N, dtype=np.float64), np.random.default_rng(0).standard_normal((T, B, D))
    with sketched() as sketch:
        y, final, tape = lstm.forward(x, params)
        grads, tape2 = lstm.backward(y, tape, final, second=True)
        second = lstm.backward_backward(grads, tape2)
    for work, given in sketch.works:
        work(*given)
    want, want_final, want_tape = lstm.forward(x, params)
    want_grads, want_tape2 = lstm.backward(want, want_tape, want_final, second=True)
    want_second = lstm.backward_backward(want_grads, want_tape2)
    assert np.array_equal(y, want) and np.array_equal(second.x, want_second.x)
    assert all(map(np.array_equal, second.params, want_second.params))
    assert all(map(np.array_equal, grads.params, want_grads.params))


def test_calls_outside_run_as_ever() -> None:
    params, x = lstm.init(D, N, dtype=np.float64), np.ones((T, B, D))
    want = lstm.infer(x, params)[0]
    with sketched():
        lstm.infer(x, params)
    for _ in range(3):  # the third is done as it was recorded
        assert np.array_equal(lstm.infer(x, params)[0], want)
    assert SKETCH.get() is None


def test_panels_of_which_parts_are_nothing_are_cleared() -> None:
    """Where only a state has a tangent, panels have zeros in the place of parameters' tangents: in each call anew."""
    rnn = generated("rnn")
    random = np.random.default_rng(0)
    params, x = rnn.init(D, N, dtype=np.float64), random.standard_normal((T, B, D))
    _, _, tape = rnn.forward(x, params)
    dy, v = random.standard_normal((T, B, N)), rnn.Grads(None, rnn.Params(None, None, None), rnn.State(random.standard_normal((B, N))))
    with sketched() as sketch:
        _, found = rnn.hvp(v, tape, dy)
    for array in sketch.made:
        array[...] = np.nan
    for work, given in sketch.works:
        work(*given)
    want = rnn.hvp(v, tape, dy)[1]
    assert all(map(np.array_equal, found.params, want.params)) and np.array_equal(found.state.h, want.state.h)
