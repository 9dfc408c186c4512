"""Kernels at the edge of the number formats: saturation, denormals, infinities and NaN, long sequences, threads and forks."""

from __future__ import annotations

import os
import threading
import tracemalloc

import numpy as np
import pytest
from conftest import python

from derive.cells import REGISTRY
from derive.verify.problem import initial
from generated import gru, linear, lstm, rnn, sigmoid_cross_entropy, slstm, softmax_cross_entropy
from generated.runtime.cpu import memory

RECURRENT = [rnn, lstm, gru, slstm]
F4 = np.float32


def finite(record) -> bool:
    return all(np.isfinite(value).all() for value in record)


def arrays(module, steps: int = 6, batch: int = 4, d: int = 3, n: int = 9):
    """Return inputs, initial parameters and cotangents of the output, in float32."""
    p = initial(module, REGISTRY[module.__name__.rpartition(".")[2]], sizes={"d": d, "n": n}, steps=steps, batch=batch)
    return p.arrays["x"], module.Params(**p.parameters), p.dy


@pytest.mark.parametrize("module", RECURRENT)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_saturated_gates(module, size: float) -> None:
    """Pre-activations up to 1e4 in float32: outputs and gradients are finite."""
    x, params, dy = arrays(module)
    biases = {name: np.full_like(value, size) for name, value in params._asdict().items() if name.startswith("b")}
    params = params._replace(**biases)
    y, final, tape = module.forward(x, params)
    assert np.isfinite(y).all() and finite(final)
    grads = module.backward(dy, tape)
    assert np.isfinite(grads.x).all() and finite(grads.params) and finite(grads.state)


def test_the_stabiliser_before_the_first_gate() -> None:
    """An input gate of exp(-800) at the first step, from the state that the cell starts in: the normaliser is not zero."""
    x, params, dy = arrays(slstm)
    params = params._replace(b_i=np.full_like(params.b_i, -800))
    y, _, tape = slstm.forward(x, params)
    grads = slstm.backward(dy, tape)
    assert np.isfinite(y).all() and finite(grads.params) and np.isfinite(grads.x).all()
    assert np.abs(y).max() > 1e-3
    assert (slstm.zero_state(2, 3).m == np.float32(-1e30)).all()


def test_losses_at_large_logits() -> None:
    logits = np.array([[[1e4, -1e4, 0.0]], [[-1e4, -1e4, 1e4]]], F4)
    loss, _, tape = softmax_cross_entropy.forward(logits, softmax_cross_entropy.Params(), k=np.array([[1], [2]]))
    np.testing.assert_allclose(loss[:, 0], [2e4, 0.0])
    np.testing.assert_allclose(softmax_cross_entropy.backward(np.ones_like(loss), tape).a[0, 0], [1, -1, 0], atol=1e-6)
    loss, _, tape = sigmoid_cross_entropy.forward(logits, sigmoid_cross_entropy.Params(), y=np.ones_like(logits))
    assert np.isfinite(loss).all()
    np.testing.assert_allclose(sigmoid_cross_entropy.backward(np.ones_like(loss), tape).a[0, 0], [0, -1, -0.5], atol=1e-6)


@pytest.mark.parametrize("module", RECURRENT)
def test_zeros_and_denormals(module) -> None:
    x, params, dy = arrays(module)
    for value in (0.0, 1e-42, -1e-42):
        y, _, tape = module.forward(np.full_like(x, value), params)
        grads = module.backward(dy, tape)
        assert np.isfinite(y).all() and finite(grads.params)


@pytest.mark.parametrize("module", RECURRENT)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_stays_in_its_row(module, value: float) -> None:
    """NaN in one sequence reaches neither outputs, states nor dx of another; parameter gradients do become NaN."""
    x, params, dy = arrays(module)
    clean_y, clean_final, clean_tape = module.forward(x, params)
    clean = module.backward(dy, clean_tape)
    x[2, 1, 0] = value
    y, final, tape = module.forward(x, params)
    grads = module.backward(dy, tape)
    others = [0, 2, 3]
    np.testing.assert_array_equal(y[:, others], clean_y[:, others])
    np.testing.assert_array_equal(grads.x[:, others], clean.x[:, others])
    for got, want in ((final, clean_final), (grads.state, clean.state)):
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a[others], b[others])
    if np.isnan(value):
        assert np.isnan(y[2:, 1]).any() and any(np.isnan(g).any() for g in grads.params)


def test_a_row_that_is_no_number_in_a_readout() -> None:
    x, params, _ = arrays(linear)
    x[0, 0] = np.nan
    y, _, tape = linear.forward(x, params)
    assert np.isnan(y[0, 0]).all() and np.isfinite(y[1:]).all()
    assert np.isfinite(linear.backward(np.ones_like(y), tape).x).all()


def test_long_sequences_take_the_tape_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, batch, d, n = 10_000, 1, 2, 4
    x, params, dy = arrays(lstm, steps, batch, d, n)
    lstm.backward(dy, lstm.forward(x, params)[2])  # compiled, and its threads started
    monkeypatch.setattr(memory, "_pool", memory._Pool())
    tracemalloc.start()
    y, _, tape = lstm.forward(x, params)
    held = sum(a.nbytes for a in tape.saved) + y.nbytes
    current, _ = tracemalloc.get_traced_memory()
    grads = lstm.backward(dy, tape)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    idle = memory._pool.idle  # for the next call
    assert current < held * 9 / 8 + idle + 500_000
    assert after - current < grads.x.nbytes * 9 / 8 + idle + 500_000
    assert idle < 4 * held
    assert finite(grads.params)


def test_two_threads_at_once() -> None:
    x, params, dy = arrays(gru, 20, 8, 16, 32)
    want = gru.backward(dy, gru.forward(x, params)[2])
    wrong: list[str] = []

    def work() -> None:
        for _ in range(20):
            got = gru.backward(dy, gru.forward(x, params)[2])
            if not np.array_equal(got.x, want.x) or not np.array_equal(got.params.U_r, want.params.U_r):
                wrong.append("differs")

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child() -> None:
    """A child forked after kernels ran on threads gives the same bits; in a process of its own, since other libraries warn of any fork."""
    code = """
import os
import numpy as np
from generated import gru
from generated.runtime import threads
random = np.random.default_rng(0)
threads.set_threads(2)
params, x = gru.init(32, 64), random.standard_normal((20, 64, 32), dtype=np.float32)
dy = random.standard_normal((20, 64, 64), dtype=np.float32)
want = gru.backward(dy, gru.forward(x, params)[2]).x
child = os.fork()
if child == 0:
    got = gru.backward(dy, gru.forward(x, params)[2]).x
    os._exit(0 if np.array_equal(got, want) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert python(code) == "0\n"
