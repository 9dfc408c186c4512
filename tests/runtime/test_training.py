"""The optimisers and clipping against PyTorch's; truncated backpropagation on a recurrence small enough to differentiate by hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from derive.runtime.common import training


class Params(NamedTuple):
    W: np.ndarray
    b: np.ndarray
    s: np.ndarray


def random_params(seed: int, dtype=np.float64) -> Params:
    rng = np.random.default_rng(seed)
    return Params(*(rng.standard_normal(shape).astype(dtype) for shape in [(3, 4), (3,), ()]))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (training.Adam(3e-2), lambda p: torch.optim.Adam(p, lr=3e-2)),
        (training.Adam(1e-2, 0.5, 0.9, 1e-3), lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.5, 0.9), eps=1e-3)),
        (training.RMSProp(1e-2), lambda p: torch.optim.RMSprop(p, lr=1e-2)),
        (training.RMSProp(3e-3, 0.9, 1e-4), lambda p: torch.optim.RMSprop(p, lr=3e-3, alpha=0.9, eps=1e-4)),
        (training.SGD(0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
        (training.SGD(0.1, 0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)),
    ],
    ids=["adam", "adam-options", "rmsprop", "rmsprop-options", "sgd", "sgd-momentum"],
)
def test_optimiser_equals_pytorch_step_by_step(ours, theirs):
    params = random_params(0)
    tensors = [torch.tensor(p) for p in params]
    optimiser = theirs(tensors)
    for step in range(25):
        grads = random_params(step + 1)
        for tensor, g in zip(tensors, grads, strict=True):
            tensor.grad = torch.tensor(g)
        optimiser.step()
        params = ours.update(params, grads)
        for p, tensor in zip(params, tensors, strict=True):
            np.testing.assert_allclose(p, tensor.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", [training.Adam, training.RMSProp, lambda: training.SGD(0.1, 0.9)], ids=["adam", "rmsprop", "sgd"])
def test_update_keeps_types_and_its_arguments(make):
    params, grads = random_params(0, np.float32), random_params(1, np.float32)
    before = [p.copy() for p in params]
    optimiser = make()
    new = optimiser.update({"cell": params, "rest": [params.b]}, {"cell": grads._replace(b=None), "rest": [grads.b]})
    new = optimiser.update(new, {"cell": grads._replace(b=None), "rest": [grads.b]})
    assert isinstance(new["cell"], Params) and isinstance(new["rest"], list)
    assert new["cell"].b is params.b
    for leaf in training.tree_leaves(new):
        assert isinstance(leaf, np.ndarray) and leaf.dtype == np.float32
    assert all(slot.dtype == np.float32 for slots in optimiser.slots for slot in slots.values())
    assert not np.array_equal(new["cell"].W, params.W)
    for p, old in zip(params, before, strict=True):
        np.testing.assert_array_equal(p, old)


def test_update_refuses_what_does_not_fit():
    params, grads = random_params(0), random_params(1)
    optimiser = training.Adam()
    with pytest.raises(ValueError, match=r"shape \(3,\), its gradient \(3, 4\)"):
        optimiser.update(params, grads._replace(b=grads.W))
    with pytest.raises(ValueError, match="a Params of 3 stands opposite tuple of 2"):
        optimiser.update(params, (grads.W, grads.b))
    with pytest.raises(ValueError, match="dict with keys"):
        optimiser.update({"W": params.W}, {"V": params.W})
    optimiser.update(params, grads)
    with pytest.raises(ValueError, match="2 arrays have a gradient, at the first update 3"):
        optimiser.update(params, grads._replace(b=None))
    with pytest.raises(ValueError, match=r"shape \(4,\), at the first update it had \(3,\)"):
        optimiser.update(params._replace(b=np.zeros(4)), grads._replace(b=np.zeros(4)))
    assert optimiser.steps == 1
    with pytest.raises(ValueError, match="learning_rate"):
        training.SGD(-1.0)


@pytest.mark.parametrize("max_norm", [0.3, 1.0, 1e3, math.inf])
def test_global_norm_equals_pytorch(max_norm):
    grads = random_params(2)
    tensors = [torch.zeros(g.shape, dtype=torch.float64) for g in grads]
    for tensor, g in zip(tensors, grads, strict=True):
        tensor.grad = torch.tensor(g)
    norm_torch = float(torch.nn.utils.clip_grad_norm_(tensors, max_norm))
    clipped, norm = training.clip_by_global_norm(grads, max_norm)
    assert norm == pytest.approx(norm_torch, rel=1e-14)
    # PyTorch divides by norm + 1e-6; undo that, and nothing else
    undo = (norm + 1e-6) / norm if norm > max_norm else 1.0
    for g, tensor in zip(clipped, tensors, strict=True):
        np.testing.assert_allclose(g, tensor.grad.numpy() * undo, rtol=1e-12)
    assert training.global_norm(clipped) == pytest.approx(min(norm, max_norm), rel=1e-14)


def test_clipping_keeps_dtype_structure_and_none():
    grads = random_params(3, np.float32)._replace(b=None)
    for clipped in [training.clip_by_global_norm(grads, 0.1)[0], training.clip_by_value(grads, 0.1)]:
        assert isinstance(clipped, Params) and clipped.b is None
        assert all(isinstance(leaf, np.ndarray) and leaf.dtype == np.float32 for leaf in training.tree_leaves(clipped))
    large = np.full(4, 1e30, np.float32)  # its square is infinite in float32
    clipped, norm = training.clip_by_global_norm([large], 1.0)
    assert norm == pytest.approx(2e30) and np.allclose(clipped[0], 0.5)
    assert training.clip_by_global_norm((), 1.0) == ((), 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_norm_that_is_not_finite_is_reported_and_changes_nothing(bad):
    grads = [np.array([1.0, bad]), np.array([3.0])]
    clipped, norm = training.clip_by_global_norm(grads, 1.0)
    assert clipped is grads
    assert math.isnan(norm) if math.isnan(bad) else norm == math.inf


def test_clip_by_value_equals_pytorch():
    g = np.array([-3.0, -0.5, 0.0, 0.2, 7.0, math.inf, -math.inf, math.nan])
    tensor = torch.zeros(g.shape, dtype=torch.float64)
    tensor.grad = torch.tensor(g)
    torch.nn.utils.clip_grad_value_([tensor], 0.5)
    np.testing.assert_array_equal(training.clip_by_value([g], 0.5)[0], tensor.grad.numpy())


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan])
def test_clipping_refuses_a_limit_that_is_not_positive(limit):
    with pytest.raises(ValueError, match="positive"):
        training.clip_by_global_norm([np.ones(2)], limit)
    with pytest.raises(ValueError, match="limit"):
        training.clip_by_value([np.ones(2)], limit)


def test_windows_are_views_that_cover_every_step_once():
    x = {"x": np.arange(14).reshape(7, 2), "k": np.arange(7)}
    parts = list(training.windows(x, 3))
    assert [len(part["k"]) for part in parts] == [3, 3, 1]
    for name, whole in x.items():
        np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), whole)
        assert all(np.shares_memory(part[name], whole) for part in parts)
    assert list(training.windows(np.zeros((0, 2)), 3)) == []
    with pytest.raises(ValueError, match="at least 1"):
        training.windows(x, 0)
    with pytest.raises(ValueError, match=r"\[6, 7\]"):
        training.windows([np.zeros(6), np.zeros(7)], 2)


class Leaky:
    """`h = a * h_prev + x`, with the interface of a generated module; its gradients are written out by hand."""

    @staticmethod
    def forward(x, params, state=None):
        (a,) = params
        h0 = np.zeros(x.shape[1:]) if state is None else state[0]
        h = [h0]
        for x_t in x:
            h.append(a * h[-1] + x_t)
        return np.array(h[1:]), (h[-1],), (a, h)

    @staticmethod
    def backward(dy, tape, dfinal=None):
        a, h = tape
        h_bar, a_bar, dx = np.zeros_like(h[0]), 0.0, np.zeros_like(dy)
        for t in range(len(dy) - 1, -1, -1):
            h_bar = h_bar + dy[t]
            dx[t], a_bar = h_bar, a_bar + np.sum(h_bar * h[t])
            h_bar = a * h_bar
        return dx, (np.asarray(a_bar),), (h_bar,)


def test_truncated_bptt_is_full_bptt_of_each_window():
    rng = np.random.default_rng(0)
    x, target, h0 = rng.standard_normal((7, 2, 3)), rng.standard_normal((7, 2, 3)), rng.standard_normal((2, 3))
    a = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    results = list(training.truncated_bptt(Leaky, x, (np.array(0.8),), lambda y, steps: y - target[steps], 3, state=(h0,)))
    assert [len(r.y) for r in results] == [3, 3, 1]
    h = torch.tensor(h0)
    for start, result in zip([0, 3, 6], results, strict=True):
        h = h.detach().requires_grad_()
        first, loss = h, torch.zeros((), dtype=torch.float64)
        for t in range(start, min(start + 3, 7)):
            h = a * h + torch.tensor(x[t])
            loss = loss + 0.5 * ((h - torch.tensor(target[t])) ** 2).sum()
        da, dh = torch.autograd.grad(loss, [a, first])
        _, (a_bar,), (state_bar,) = result.grads
        np.testing.assert_allclose(result.final[0], h.detach().numpy(), rtol=1e-13)
        np.testing.assert_allclose(a_bar, da.numpy(), rtol=1e-12)
        np.testing.assert_allclose(state_bar, dh.numpy(), rtol=1e-12)
    whole = list(training.truncated_bptt(Leaky, x, (np.array(0.8),), lambda y, steps: y - target[steps], 7, state=(h0,)))
    assert len(whole) == 1
    np.testing.assert_allclose(whole[0].y, np.concatenate([r.y for r in results]), rtol=1e-13)
    assert abs(whole[0].grads[1][0] - sum(r.grads[1][0] for r in results)) > 1e-3, "the gradient was not cut"


def test_truncated_bptt_sees_parameters_that_are_updated_between_windows():
    x = np.ones((4, 1, 1))
    params = (np.array(0.5),)
    optimiser, seen = training.SGD(0.1), []
    current = lambda: params  # noqa: E731  (the value of the moment is what is wanted)
    for window in training.truncated_bptt(Leaky, x, current, lambda y, steps: np.ones_like(y), 2):
        seen.append(window.y[-1].item())
        params = optimiser.update(params, window.grads[1])
    assert params[0] < 0.5
    # the first window runs with a = 0.5; its gradient is 1, so the second runs with a = 0.4 from h = 1.5
    assert seen == pytest.approx([1.5, 0.4 * (0.4 * 1.5 + 1) + 1], rel=1e-14)
