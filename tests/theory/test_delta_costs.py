"""Costs of the gated delta rule: formulas against an algorithm in chunks that counts what it multiplies, and is right."""

from __future__ import annotations

import numpy as np
import pytest

from derive.theory import delta_costs as costs


class Counter:
    """Products of matrices, and how many operations they took."""

    def __init__(self) -> None:
        self.operations = 0

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.operations += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b


def drawn(steps: int, d_k: int, d_v: int):
    random = np.random.default_rng(0)
    q, k = (random.standard_normal((steps, d_k)) / np.sqrt(d_k) for _ in range(2))
    return q, k, random.standard_normal((steps, d_v)), random.uniform(0.9, 1, steps), random.uniform(0, 1, steps)


def step_by_step(q, k, v, alpha, beta):
    state, out = np.zeros((v.shape[1], k.shape[1])), []
    for t in range(len(q)):
        state = alpha[t] * state
        state = state + beta[t] * np.outer(v[t] - state @ k[t], k[t])
        out.append(state @ q[t])
    return np.array(out)


def in_chunks(q, k, v, alpha, beta, c: int, times: Counter):
    """As the kernels do it; an inverse of a unit triangle of c rows takes c³/3 operations, which are not counted here."""
    state, out = np.zeros((v.shape[1], k.shape[1])), []
    for first in range(0, len(q), c):
        part = slice(first, first + c)
        decay = np.cumprod(alpha[part])
        ratio = np.tril(decay[:, None] / decay[None, :])
        inverse = np.linalg.inv(np.eye(c) + np.tril(beta[part, None] * times(k[part], k[part].T) * ratio, -1))
        w, u = times(inverse, (beta[part] * decay)[:, None] * k[part]), times(inverse, beta[part, None] * v[part])
        new = u - times(w, state.T)
        out.append(decay[:, None] * times(q[part], state.T) + times(times(q[part], k[part].T) * ratio, new))
        state = decay[-1] * state + times((new * (decay[-1] / decay)[:, None]).T, k[part])
    return np.concatenate(out)


@pytest.mark.parametrize(("d_k", "d_v", "c"), [(6, 4, 8), (16, 32, 4)])
def test_operations_in_chunks(d_k: int, d_v: int, c: int) -> None:
    given, times = drawn(24, d_k, d_v), Counter()
    np.testing.assert_allclose(in_chunks(*given, c, times), step_by_step(*given), rtol=1e-11, atol=1e-12)
    assert costs.chunk_inference(d_k, d_v, c).operations == pytest.approx(times.operations / 24 + c * c / 3, rel=1e-12)


def test_the_formulas_of_the_page() -> None:
    k, v, c = 64, 96, 32
    forward, backward = costs.chunked(costs.FORWARD, k, v, c), costs.chunked(costs.BACKWARD, k, v, c)
    assert forward.operations == pytest.approx(6 * k * v + c * (6 * k + 4 * v) + c * c / 3)
    assert forward.bytes == 2 * (6 * k + 6 * v + c + 2 * k * v / c)
    assert backward.operations == pytest.approx(16 * k * v + c * (20 * k + 10 * v) + 4 * c * c)
    assert backward.bytes == 2 * (21 * k + 15 * v + 2 * c + 4 * k * v / c)
    whole = costs.chunk_training(k, v, c)
    assert whole.operations == pytest.approx(forward.operations + backward.operations)
    assert whole.bytes == forward.bytes + backward.bytes


def test_states_on_a_tape() -> None:
    all_kept, marked = costs.step_training(64, 64, 1), costs.step_training(64, 64, 14)
    assert all_kept.operations == 22 * 64 * 64 and marked.operations == 27 * 64 * 64
    assert all_kept.bytes - 8 * 64 * 64 < 2 * 14 * 64 + 20 > marked.bytes - 8 * 64 * 64 / 14 - 2 * 64
    assert costs.states_in_shared_memory(64, 64, 1) == costs.states_in_shared_memory(128, 128, 4) == 14


def test_roofs() -> None:
    device = costs.Device(bandwidth=2.0, vectors=3.0, matrices=30.0)
    cost = costs.Cost(operations=12.0, bytes=4.0, matrices=False)
    assert cost.seconds(device) == 4 and cost.bound(device) == "arithmetic" and cost.intensity == 3
    narrow = costs.Cost(operations=12.0, bytes=4.0, matrices=True)
    assert narrow.seconds(device) == 2 and narrow.bound(device) == "memory"
    assert costs.token(narrow, 3, 5.0, device) == 6 and costs.token(narrow, 2, 5.0, device) == 5
    assert costs.DEVICES["H200"].clock == pytest.approx(1.98e9, rel=2e-3)
