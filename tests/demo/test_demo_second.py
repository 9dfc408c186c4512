"""Second order through cell, readout and loss: against PyTorch's double backward, and the dense Hessian of a tiny model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from derive.cells import REGISTRY
from derive.demo import data, second, train
from derive.theory.lanczos import largest
from derive.verify.evaluate import unroll
from generated import linear, lstm, rnn
from generated.training import tree_leaves, tree_map

CELLS = pytest.mark.parametrize("cell", [rnn, pytest.param(lstm, marks=pytest.mark.exhaustive)], ids=["rnn", "lstm"])
KEYS, HIDDEN, STRENGTH = 5, 3, 0.7


def problem(cell, seed=0):
    """Parameters, and a batch of two pieces of five and three predicted steps, in float64."""
    random = np.random.default_rng(seed)
    params = train.Params(cell.init(KEYS, HIDDEN, seed=1, dtype=np.float64), linear.init(HIDDEN, KEYS, seed=2, dtype=np.float64))
    mask = np.array([[1.0, 1.0]] * 3 + [[1.0, 0.0]] * 2)
    x, target = ((random.random((5, 2, KEYS)) < 0.4) * mask[..., None] for _ in range(2))
    return params, data.Batch(x, target, mask)


def flat(tree):
    return np.concatenate([leaf.ravel() for leaf in tree_leaves(tree)])


def unflat(vector, tree):
    parts = iter(np.split(vector, np.cumsum([leaf.size for leaf in tree_leaves(tree)])[:-1]))
    return tree_map(lambda leaf: next(parts).reshape(leaf.shape), tree)


def by_torch(cell, params, batch):
    """The function that PyTorch makes of the cell's text, the readout and the loss: from one vector and the input to mean nats a step."""
    definition = REGISTRY[cell.__name__.rsplit(".", 1)[-1]]
    names = [*params.cell._fields, "V", "e"]
    shapes = [leaf.shape for leaf in tree_leaves(params)]
    state = {name: torch.zeros(2, HIDDEN, dtype=torch.float64) for name in definition.states}
    target, mask = torch.tensor(batch.target), torch.tensor(batch.mask)

    def loss(vector, x):
        sizes = [int(np.prod(shape)) for shape in shapes]
        arrays = {name: part.reshape(shape) for name, part, shape in zip(names, torch.split(vector, sizes), shapes, strict=True)}
        V, e = arrays.pop("V"), arrays.pop("e")
        h, _ = unroll(definition, {"x": x}, arrays, state, torch, context={}, steps=len(x))
        nats = torch.nn.functional.binary_cross_entropy_with_logits(h @ V.T + e, target, reduction="none").sum(-1)
        return (nats * mask).sum() / batch.steps

    return loss, torch.tensor(flat(params), requires_grad=True), torch.tensor(batch.x, requires_grad=True)


def hessian(cell, params, batch):
    run = second.forward(cell, params, batch)
    rows = [flat(second.hessian_product(cell, run, unflat(row, params))[1]) for row in np.eye(flat(params).size)]
    return np.stack(rows)


@CELLS
def test_the_penalty_and_its_gradient_are_pytorchs(cell):
    params, batch = problem(cell)
    loss, vector, x = by_torch(cell, params, batch)
    value = loss(vector, x)
    (by_x,) = torch.autograd.grad(value * batch.steps, x, create_graph=True)
    penalty = by_x.square().sum() / 2 / batch.steps
    expected = torch.autograd.grad(value + STRENGTH * penalty, vector)[0].numpy()
    found = second.penalised(cell, params, batch, STRENGTH)
    assert found.loss == pytest.approx(value.item(), rel=1e-12)
    assert found.penalty == pytest.approx(penalty.item(), rel=1e-12)
    np.testing.assert_allclose(flat(found.grads), expected, rtol=1e-10, atol=1e-12)


@CELLS
def test_the_hessian_is_symmetric_and_pytorchs(cell):
    params, batch = problem(cell)
    found = hessian(cell, params, batch)
    np.testing.assert_allclose(found, found.T, rtol=1e-10, atol=1e-13)
    loss, vector, x = by_torch(cell, params, batch)
    expected = torch.autograd.functional.hessian(lambda vector: loss(vector, x.detach()), vector.detach()).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
    run = second.forward(cell, params, batch)
    value, q = largest(lambda v: flat(second.hessian_product(cell, run, unflat(v, params))[1]), np.random.default_rng(3).random(len(found)))
    assert value == pytest.approx(np.linalg.eigvalsh(expected)[-1], rel=1e-8)
    np.testing.assert_allclose(found @ q, value * q, rtol=0, atol=2e-4 * value)


@CELLS
def test_without_a_penalty_the_gradient_is_that_of_training(cell):
    params, batch = problem(cell)
    loss, expected = train.gradients(cell, params, batch)
    run = second.forward(cell, params, batch)
    assert run.loss == pytest.approx(loss, rel=1e-12)
    for found in (second.penalised(cell, params, batch, 0.0).grads, second.hessian_product(cell, run, params)[0]):
        np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-10, atol=1e-12)
