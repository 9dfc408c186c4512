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
    random, steps = np.random.default_rng(2), 2 * curvature.BACK
    x, target = ((random.random((steps, 2, KEYS)) < 0.05).astype(float) for _ in range(2))
    return Batch(x, target, np.array([[1.0, 1.0]] * (steps - 2) + [[0.0, 1.0]] * 2))


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


def test_a_gradient_reaches_back_by_the_product_of_jacobians():
    batch, back, hidden = small_batch(), curvature.BACK, 3
    params = curvature.start(rnn, 0, hidden)
    params = params._replace(cell=params.cell._replace(U=1.5 * np.eye(hidden)))
    h, _ = rnn.infer(batch.x, params.cell)
    v = np.random.default_rng(9).standard_normal((2, hidden))
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    for t in range(2 * back - 1, back - 1, -1):
        v = (v * (1 - h[t] ** 2)) @ params.cell.U
    assert curvature.reach(rnn, params, batch) == pytest.approx(np.linalg.norm(v, axis=1).max(), rel=1e-10)


def test_a_jump_of_the_gradient_is_measured_at_once():
    whole, found = (curvature.descend(rnn, small_batch(), 0.4, 0, steps=4, every=every, hidden=3) for every in (1, 4))
    ratios = [b / a for a, b in pairwise(whole["gradient"])]
    jumps = [step for step, ratio in enumerate(ratios, 1) if not 1 / curvature.JUMP < ratio < curvature.JUMP]
    assert found["step"] == sorted({0, 4, *jumps}) and 2 < len(found["step"]) < 5
    assert found["eigenvalue"] == [whole["eigenvalue"][step] for step in found["step"]]


def test_a_summary_looks_before_and_after_the_first_step_above():
    curves = {"step": [0, 5, 10, 12, 15], "loss": [5, 4, 3, 2, 1], "gradient": [9, 2, 1, 5, 3]}
    curves |= {"eigenvalue": [99, 1, 4, 11, 9], "recurrent": [0.9, 0, 0.2, 0.7, 0.4], "reach": [8, 6, 4, 2, 1]}
    found = curvature.summary(curves, 0.2, settled=5)
    assert found["first above"] == 12 and found["largest eigenvalue"] == 11 and found["share above"] == 0 and found["loss"] == 1
    assert found["largest gradient"] == [2, 5] and found["recurrent"] == [0.2, 0.7] and found["reach"] == [4, 2]
    never = curvature.summary(curves, 0.1, settled=5)
    assert never["first above"] is None and never["largest gradient"] == [5, None] and never["recurrent"] == [pytest.approx(0.3), None]
    always = curvature.summary(curves, 3.0, settled=5)
    assert always["first above"] == 5 and always["share above"] == 1
    assert always["largest gradient"] == [None, 5] and always["recurrent"] == [None, pytest.approx(0.3)]


def test_summaries_are_those_of_the_curves():
    data = theory.read("curvature")
    settings = data["settings"]
    assert [settings[name] for name in ("steps", "every", "jump", "back", "settled")] == [
        *(curvature.STEPS, curvature.EVERY, curvature.JUMP),
        *(curvature.BACK, curvature.SETTLED),
    ]
    assert {title: {*rates} for title, rates in data["runs"].items()} == {
        title: {f"{rate:g}" for rate in curvature.RATES} for title in curvature.CELLS
    }
    for rates in data["runs"].values():
        for rate, runs in rates.items():
            assert len(runs["seeds"]) == len(curvature.SEEDS)
            assert len({len(curve) for curve in runs["curves"].values()}) == 1
            assert {*range(0, curvature.STEPS + 1, curvature.EVERY)} <= {*runs["curves"]["step"]}
            found = curvature.summary(runs["curves"], float(rate))
            assert found.keys() == runs["seeds"][0].keys()
            assert all(found[key] == pytest.approx(kept, rel=1e-5) for key, kept in runs["seeds"][0].items())


def test_what_the_page_says_of_the_walls():
    runs = theory.read("curvature")["runs"]
    seeds = {title: [seed for rate in sorted(rates) for seed in rates[rate]["seeds"]] for title, rates in runs.items()}
    passed = [seed for each in seeds.values() for seed in each if seed["first above"]]
    (never,) = (seed for each in seeds.values() for seed in each if not seed["first above"])
    assert len(passed) == 11 and never["largest gradient"][0] < 0.3
    assert all(before < 0.4 and 1.6 < after < 12.7 for before, after in (seed["largest gradient"] for seed in passed))
    assert all(low <= 0.505 and 0.7 < high < 0.93 for low, high in (seed["recurrent"] for seed in passed))
    assert all(low < high for low, high in (seed["reach"] for seed in passed))
    assert min(seed["share above"] for seed in seeds["tanh RNN"] if seed is not never) > 0.39
    assert max(seed["share above"] for seed in seeds["LSTM"]) < 0.3
    highest = ([seed["largest eigenvalue"] for seed in seeds[title]] for title in ("LSTM", "tanh RNN"))
    assert all(wall > edge for wall, edge in zip(*highest, strict=True))


@pytest.mark.parametrize("title", curvature.CELLS)
@pytest.mark.parametrize("rate", curvature.RATES)
def test_what_the_page_says_of_the_curves(title, rate):
    curves = theory.read("curvature")["runs"][title][f"{rate:g}"]["curves"]
    step, loss, gradient, eigenvalue, _, reach = (np.array(curves[name]) for name in curvature.MEASURED)
    assert 60 < loss[0] < 62 and 11.5 < loss[step == curvature.SETTLED] < 12.5
    late = step >= curvature.SETTLED
    assert reach[late].max() < 1
    leaps = step[late & (gradient > (0.5 if title == "LSTM" else 2))]
    assert leaps.size and all((eigenvalue[abs(step - leap) <= 5] > 2 / rate).any() for leap in leaps)
    if (title, rate) == ("tanh RNN", 0.1):
        quiet = (step >= 300) & (step <= 345)
        assert (np.diff(eigenvalue[quiet]) > 0).all() and (np.diff(gradient[quiet]) < 0).all()
        assert eigenvalue[quiet][0] == pytest.approx(21, abs=0.5) and eigenvalue[quiet][-1] == pytest.approx(41, abs=0.5)
    if (title, rate) == ("LSTM", 0.1):
        near = [np.flatnonzero(step == at)[0] for at in (495, 496, 497)]
        assert reach[near[1]] == pytest.approx(0.04, abs=0.005) and max(reach[near[0]], reach[near[2]]) < 1e-3
        assert eigenvalue.max() == eigenvalue[near[1]] > 1000


@pytest.mark.exhaustive
@pytest.mark.parametrize("title", curvature.CELLS)
def test_the_descents_begin_as_they_are_kept(title):
    """Before they are unstable, they are the same on every processor."""
    pytest.importorskip("music21")
    for rate in curvature.RATES:
        found = curvature.descend(curvature.CELLS[title], curvature.pieces(), rate, 0, steps=60)
        for name, values in theory.read("curvature")["runs"][title][f"{rate:g}"]["curves"].items():
            np.testing.assert_allclose(found[name], values[: len(found[name])], rtol=1e-5, err_msg=name)
