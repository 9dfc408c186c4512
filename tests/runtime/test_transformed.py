"""What transformations make, beside the plain cell run so that it does the same: without the steps that are masked, an episode at a time,
with the columns of its matrices scaled."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from conftest import generated, ordinary

from generated.training import tree_leaves

CELLS = ("rnn", "lstm", "gru")
STEPS, BATCH, D, N = 9, 4, 3, 5


class Case:
    """A plain module and a transformed one with the same parameters, arguments and cotangents, in float64."""

    def __init__(self, cell: str, transformation: str, d: int = D) -> None:
        self.plain, self.module = generated(cell), generated(f"{cell}_{transformation}")
        self.random = random = np.random.default_rng(3)
        self.params = self.plain.init(d, N, seed=1, dtype=np.float64)
        self.x, self.dy = random.standard_normal((STEPS, BATCH, d)), random.standard_normal((STEPS, BATCH, N))
        self.state, self.dfinal = (self.plain.State(*random.standard_normal((len(self.plain.State._fields), BATCH, N))) for _ in range(2))

    def run(self, **told: np.ndarray) -> tuple[Any, Any, Any]:
        """Return output, final state and gradients of the transformed module."""
        params = self.module.Params(**self.params._asdict())
        y, final, tape = self.module.forward(self.x, params, self.module.State(*self.state), **told)
        return y, final, self.module.backward(self.dy, tape, self.module.State(*self.dfinal))

    def run_plain(self, x: np.ndarray, dy: np.ndarray, state: Any, dfinal: Any) -> tuple[Any, Any, Any]:
        y, final, tape = self.plain.forward(x, self.params, state)
        return y, final, self.plain.backward(dy, tape, dfinal)

    def one(self, record: Any, b: int) -> Any:
        return type(record)(*(value[b : b + 1] for value in record))


def close(found: Any, expected: Any) -> None:
    for a, b in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def added(total: Any, more: Any) -> Any:
    return more if total is None else type(more)(*map(np.add, total, more))


@pytest.mark.parametrize("cell", ordinary(CELLS, ("gru",)))
def test_masked_steps_are_as_if_left_out(cell: str) -> None:
    """Values and gradients of each sequence are those of its other steps alone, with NaN in what is left out."""
    case = Case(cell, "masked")
    mask = case.random.random((STEPS, BATCH)) < 0.6
    mask[:, 0], mask[0, 1] = False, False  # one sequence without a step, one that begins late
    case.x[~mask] = np.nan
    y, final, grads = case.run(mask=mask.astype(float))
    total, last = None, len(case.state) - 1  # the output is the last state
    for b in range(BATCH):
        here = np.flatnonzero(mask[:, b])
        shown = np.cumsum(mask[:, b]) - 1  # of the steps that are not left out, the one whose output stands at each step; -1 for none
        dy = np.zeros((len(here), 1, N))
        np.add.at(dy[:, 0], shown[shown >= 0], case.dy[shown >= 0, b])
        expected, end, own = case.run_plain(case.x[here, b : b + 1], dy, case.one(case.state, b), case.one(case.dfinal, b))
        states = np.concatenate([case.state[last][b : b + 1], expected[:, 0]])
        start = list(own.state)
        start[last] = start[last] + case.dy[shown < 0, b].sum(0)
        close((y[:, b], case.one(final, b)), (states[shown + 1], end))
        close((grads.x[here, b], case.one(grads.state, b)), (own.x[:, 0], case.plain.State(*start)))
        total = added(total, own.params)
    assert grads.mask is None and not grads.x[~mask].any()
    close(grads.params, total)


@pytest.mark.parametrize("cell", ordinary(CELLS, ("lstm",)))
def test_resets_end_an_episode(cell: str) -> None:
    """Values and gradients are those of each episode alone, from zero but for the first."""
    case = Case(cell, "resettable")
    reset = case.random.random((STEPS, BATCH)) < 0.3
    reset[:, 0], reset[0, 1] = False, True
    y, _, grads = case.run(reset=reset.astype(float))
    total, zero = None, case.plain.zero_state(1, N, dtype=np.float64)
    for b in range(BATCH):
        starts = [0, *np.flatnonzero(reset[1:, b]) + 1, STEPS]
        for first, past in pairwise(starts):
            part = slice(first, past)
            state = zero if reset[first, b] else case.one(case.state, b)
            dfinal = case.one(case.dfinal, b) if past == STEPS else zero
            expected, _, own = case.run_plain(case.x[part, b : b + 1], case.dy[part, b : b + 1], state, dfinal)
            close((y[part, b], grads.x[part, b]), (expected[:, 0], own.x[:, 0]))
            if first == 0:
                close(case.one(grads.state, b), zero if reset[0, b] else own.state)
            total = added(total, own.params)
    close(grads.params, total)


@pytest.mark.parametrize("cell", ordinary(CELLS, ("lstm",)))
def test_zoneout_between_all_and_nothing(cell: str) -> None:
    """With a mask of 0 it is the plain cell; with 1, nothing but the initial state; elements do as their own mask says."""
    case = Case(cell, "zoneout")
    names = [name for name in case.module.Inputs._fields if name != "x"]
    plain = case.run_plain(case.x, case.dy, case.state, case.dfinal)

    def told(mask: np.ndarray) -> dict[str, np.ndarray]:
        return dict.fromkeys(names, mask)

    y, final, grads = case.run(**told(np.zeros((STEPS, BATCH, N))))
    close((y, final, grads.x, *grads.params, *grads.state), (plain[0], plain[1], plain[2].x, *plain[2].params, *plain[2].state))
    y, final, grads = case.run(**told(np.ones((STEPS, BATCH, N))))
    close((y, final), (np.broadcast_to(case.state[-1], y.shape), case.state))
    assert not any(value.any() for value in (grads.x, *grads.params))
    close(grads.state[-1], case.dfinal[-1] + case.dy.sum(0))
    mask = (case.random.random((STEPS, BATCH, N)) < 0.5).astype(float)
    y, _, _ = case.run(**told(mask))
    state = case.state
    for t in range(STEPS):
        _, new, _ = case.run_plain(case.x[t : t + 1], case.dy[t : t + 1], state, case.dfinal)
        state = case.plain.State(*(np.where(mask[t] > 0, before, after) for before, after in zip(state, new, strict=True)))
        close(y[t], state[-1])


@pytest.mark.parametrize("cell", ordinary(CELLS, ("rnn",)))
def test_recurrent_dropout_scales_columns(cell: str) -> None:
    """One mask for all sequences is one on the columns of the recurrent weights."""
    case = Case(cell, "recurrent_dropout")
    mask = (case.random.random(N) < 0.7) / 0.7
    y, final, grads = case.run(dropout_h=np.tile(mask, (BATCH, 1)))
    recurrent = [name for name in case.params._fields if name.startswith("U")]
    plain = case.params
    case.params = plain._replace(**{name: getattr(plain, name) * mask for name in recurrent})
    expected, end, own = case.run_plain(case.x, case.dy, case.state, case.dfinal)
    scaled = own.params._replace(**{name: getattr(own.params, name) * mask for name in recurrent})
    close((y, final, grads.x, *grads.params, *grads.state), (expected, end, own.x, *scaled, *own.state))
    assert grads.dropout_h is None


@pytest.mark.parametrize("cell", ordinary(CELLS, ("gru",)))
def test_residual_adds_the_input(cell: str) -> None:
    case = Case(cell, "residual", d=N)
    y, final, grads = case.run()
    expected, end, own = case.run_plain(case.x, case.dy, case.state, case.dfinal)
    close((y, final, grads.x, *grads.params, *grads.state), (expected + case.x, end, own.x + case.dy, *own.params, *own.state))
