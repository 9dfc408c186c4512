"""The largest eigenvalue of the Hessian: how it is found, how it is followed along a descent, and what the page says of it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from derive import theory
from derive.demo import second
from derive.demo.data import KEYS, Batch
from derive.theory import curvature
from derive.theory.lanczos import largest
from generated import lstm, rnn


def symmetric(eigenvalues):
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((len(eigenvalues),) * 2))
    return q @ np.diag(eigenvalues) @ q.T


@pytest.mark.parametrize(
    "eigenvalues",
    [[3.0], np.linspace(-1, 2, 40), [*np.linspace(-1, 1, 40), -1e6], [5.0] * 6, [*np.linspace(0, 1, 30), 1 + 1e-9], -np.arange(1.0, 30)],
    ids=["one", "plain", "far below", "all alike", "close", "negative"],
)
def test_lanczos_finds_the_largest_eigenvalue(eigenvalues):
    matrix = symmetric(np.asarray(eigenvalues))
    value, vector = largest(lambda v: matrix @ v, np.random.default_rng(1).standard_normal(len(matrix)), 1e-6)
    assert value == pytest.approx(max(eigenvalues), rel=1e-8)
    assert np.linalg.norm(vector) == pytest.approx(1, rel=1e-12)
    assert np.linalg.norm(matrix @ vector - value * vector) < 1e-5 * abs(value)


def test_lanczos_says_that_it_is_not_there_yet():
    matrix = symmetric(np.linspace(0, 1, 200) ** 2)
    with pytest.raises(ArithmeticError, match="after 5 products"):
        largest(lambda v: matrix @ v, np.ones(200), most=5)


def small_batch():
    random = np.random.default_rng(2)
    x, target = ((random.random((6, 2, KEYS)) < 0.05).astype(float) for _ in range(2))
    return Batch(x, target, np.array([[1.0, 1.0]] * 4 + [[0.0, 1.0]] * 2))


@pytest.mark.parametrize("cell", [rnn, lstm], ids=["rnn", "lstm"])
def test_a_descent_goes_down_and_its_eigenvalue_is_the_slope_of_the_gradient(cell):
    batch, hidden, rate = small_batch(), 3, 0.02
    curves = curvature.descend(cell, batch, rate, 0, steps=4, every=2, hidden=hidden)
    assert curves["loss"][0] > curves["loss"][1] > curves["loss"][2]
    params = curvature.start(cell, 0, hidden)
    value, vector = curvature.sharpest(cell, params, second.forward(cell, params, batch))
    assert value == pytest.approx(curves["eigenvalue"][0], rel=1e-12)
    assert 0 < curves["recurrent"][0] < 1
    assert curvature.recurrent(vector) == pytest.approx(curves["recurrent"][0], rel=1e-12)

    def gradient(step):
        moved = curvature.like(curvature.whole(params) + step * curvature.whole(vector), params)
        return curvature.whole(curvature.Params(*(part.params for part in second.backward(cell, second.forward(cell, moved, batch)))))

    assert np.linalg.norm(gradient(0)) == pytest.approx(curves["gradient"][0], rel=1e-12)
    slope = (gradient(1e-4) - gradient(-1e-4)) / 2e-4
    np.testing.assert_allclose(slope, value * curvature.whole(vector), rtol=0, atol=3e-4 * value)


def test_a_jump_of_the_gradient_is_measured_at_once():
    whole, found = (curvature.descend(rnn, small_batch(), 0.4, 0, steps=4, every=every, hidden=3) for every in (1, 4))
    ratios = [b / a for a, b in pairwise(whole["gradient"])]
    jumps = [step for step, ratio in enumerate(ratios, 1) if not 1 / curvature.JUMP < ratio < curvature.JUMP]
    assert found["step"] == sorted({0, 4, *jumps}) and 2 < len(found["step"]) < 5
    assert found["eigenvalue"] == [whole["eigenvalue"][step] for step in found["step"]]


def test_a_summary_looks_before_and_after_the_first_step_above():
    curves = {
        "step": [0, 5, 10, 12, 15],
        "gradient": [9, 2, 1, 5, 3],
        "eigenvalue": [99, 1, 4, 11, 9],
        "recurrent": [0.9, 0, 0.2, 0.7, 0.4],
    }
    curves["loss"] = [5, 4, 3, 2, 1]
    found = curvature.summary(curves, 0.2, settled=5)
    assert found["first above"] == 12 and found["largest eigenvalue"] == 11
    assert found["largest gradient"] == [2, 5] and found["recurrent"] == [0.2, 0.7] and found["loss"] == 1
    never = curvature.summary(curves, 0.1, settled=5)
    assert never["first above"] is None and never["largest gradient"] == [5, None] and never["recurrent"] == [pytest.approx(0.3), None]
    always = curvature.summary(curves, 3.0, settled=5)
    assert always["first above"] == 5 and always["largest gradient"] == [None, 5] and always["recurrent"] == [None, pytest.approx(0.3)]


def test_summaries_are_those_of_the_curves():
    data = theory.read("curvature")
    settings = data["settings"]
    assert [settings[name] for name in ("steps", "every", "jump", "settled")] == [
        *(curvature.STEPS, curvature.EVERY),
        *(curvature.JUMP, curvature.SETTLED),
    ]
    assert {title: {*rates} for title, rates in data["runs"].items()} == {
        title: {f"{rate:g}" for rate in curvature.RATES} for title in curvature.CELLS
    }
    for rates in data["runs"].values():
        for rate, runs in rates.items():
            assert len(runs["seeds"]) == len(curvature.SEEDS)
            assert len({len(curve) for curve in runs["curves"].values()}) == 1
            assert {*range(0, curvature.STEPS + 1, curvature.EVERY)} <= {*runs["curves"]["step"]}
            assert theory.rounded(curvature.summary(runs["curves"], float(rate))) == runs["seeds"][0]


@pytest.mark.exhaustive
@pytest.mark.parametrize("title", curvature.CELLS)
def test_the_descents_begin_as_they_are_kept(title):
    """Before they are unstable, they are the same on every processor."""
    pytest.importorskip("music21")
    for rate in curvature.RATES:
        found = curvature.descend(curvature.CELLS[title], curvature.pieces(), rate, 0, steps=60)
        for name, values in theory.read("curvature")["runs"][title][f"{rate:g}"]["curves"].items():
            np.testing.assert_allclose(found[name], values[: len(found[name])], rtol=1e-5, err_msg=name)
