"""The gradient penalty: what is trained and tested, and what the page says of it."""

from __future__ import annotations

import numpy as np
import pytest

from derive import theory
from derive.demo import second, train
from derive.demo.data import KEYS, Batch, batches
from derive.theory import penalty
from generated import lstm
from generated.training import tree_leaves, tree_map


def rolls(seed, lengths):
    """Pieces of a pattern of period 4, with a few wrong notes."""
    random = np.random.default_rng(seed)
    pattern = np.random.default_rng(99).random((4, KEYS)) < 0.1
    return [pattern[np.arange(n) % 4] ^ (random.random((n, KEYS)) < 0.02) for n in lengths]


def small(seed=0):
    params = train.init(lstm, 6, seed)
    (batch,) = batches(rolls(seed, [9, 12, 14]), 3)
    return params, batch


def test_a_penalty_makes_gradients_by_the_input_smaller():
    data, settings = batches(rolls(0, [12, 16, 20, 24]), 2), train.Settings(epochs=100)
    runs = [
        train.descend(lstm, train.init(lstm, 8, 0), data, data, settings, penalty.way("penalty", strength, 0)).params
        for strength in (0.0, 1.0)
    ]
    plain, penalised = (sum(second.penalised(lstm, params, batch, 0.0).penalty for batch in data) for params in runs)
    assert penalised < 0.3 * plain


@pytest.mark.parametrize("name", penalty.STRENGTHS)
def test_a_way_of_no_strength_is_the_plain_one(name):
    params, batch = small()
    loss, expected = train.gradients(lstm, params, batch)
    found, grads = penalty.way(name, 0.0, 0)(lstm, params, batch)
    assert found == pytest.approx(loss, rel=1e-6)
    for a, b in zip(tree_leaves(grads), tree_leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_decay_adds_the_parameters():
    params, batch = small()
    expected = tree_map(lambda g, p: g + np.float32(0.5) * p, train.gradients(lstm, params, batch)[1], params)
    for a, b in zip(tree_leaves(penalty.way("decay", 0.5, 0)(lstm, params, batch)[1]), tree_leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_disturbances_are_what_they_are_called():
    random = np.random.default_rng(0)
    x = np.zeros((400, 1, KEYS), np.float32)
    x[:, 0, 40] = x[:, 0, KEYS - 1] = 1
    batch = Batch(x, x, np.ones((400, 1), np.float32))
    moved = penalty.noisy(batch, 0.2, random).x - x
    assert moved.dtype == np.float32 and np.std(moved) == pytest.approx(0.2, rel=0.02)
    wrong = penalty.mistaken(batch, 0.2, random)
    assert wrong.target is batch.target and {*np.unique(np.nonzero(wrong.x)[2])} == {39, 40, 41, KEYS - 2, KEYS - 1}
    assert np.mean(wrong.x[:, 0, 40]) == pytest.approx(0.8, abs=0.05) and np.mean(wrong.x[:, 0, 39]) == pytest.approx(0.1, abs=0.05)
    np.testing.assert_array_equal(penalty.mistaken(batch, 0.0, random).x, x)


def test_no_small_move_raises_the_loss_more_than_the_worst():
    params, batch = small()
    params, batch = tree_map(lambda p: p.astype(np.float64), params), Batch(*(part.astype(np.float64) for part in batch))
    loss = second.forward(lstm, params, batch).loss
    length = 1e-4
    moved = penalty.worst(lstm, params, batch, length)
    norms = np.linalg.norm(moved.x - batch.x, axis=-1)
    np.testing.assert_allclose(norms[batch.mask == 1], length, rtol=1e-9)
    assert not norms[batch.mask == 0].any()
    rise = second.forward(lstm, params, moved).loss - loss
    by_x = second.backward(lstm, second.forward(lstm, params, batch))[0].x
    assert rise == pytest.approx(length * np.linalg.norm(by_x, axis=-1).sum(), rel=1e-3)


def test_data_are_of_every_way_strength_and_seed():
    data = theory.read("penalty")
    assert data["settings"] == penalty.SETTINGS._asdict() and data["n"] == train.hidden_size(lstm, penalty.SETTINGS.parameters)
    for name, strengths in penalty.STRENGTHS.items():
        assert {*data["ways"][name]} == {f"{strength:g}" for strength in strengths}
        for losses in data["ways"][name].values():
            assert all(len(values) == len(penalty.SEEDS) for values in losses.values())


def test_what_the_page_says_of_the_penalty():
    ways = theory.read("penalty")["ways"]

    def of(name, strength, key):
        return np.array(ways[name][strength][key])

    def least(name, key):
        return min(ways[name], key=lambda strength: of(name, strength, key).mean())

    plain = of("nothing", "0", "clean")
    chosen = {name: least(name, "validation") for name in ("penalty", "noise", "decay")}
    assert chosen == {"penalty": "0.01", "noise": "0.1", "decay": "0.0003"}
    clean = {name: of(name, strength, "clean") for name, strength in chosen.items()}
    assert all((losses < plain).all() for losses in clean.values())
    assert (clean["decay"] < clean["penalty"]).all() and (clean["decay"] < clean["noise"]).all()

    assert 3.7 < np.mean(of("nothing", "0", "worst") - plain) < 4
    alike = {"penalty": "0.03", "decay": "0.001", "noise": "0.1"}
    assert all(9.155 < of(name, strength, "clean").mean() < 9.185 for name, strength in alike.items())
    worst = {name: of(name, strength, "worst") for name, strength in alike.items()}
    assert (worst["penalty"] < worst["decay"]).all() and (worst["penalty"] < worst["noise"]).all()
    others = [of(name, strength, "worst") for name in ways for strength in ways[name] if (name, strength) != ("penalty", "0.1")]
    assert (of("penalty", "0.1", "worst") < np.array(others)).all()

    best = {name: of(name, least(name, "wrong notes"), "wrong notes").mean() for name in chosen}
    assert max(best.values()) - min(best.values()) < 0.1
    noise = {(name, strength): of(name, strength, "noise").mean() for name in ways for strength in ways[name]}
    assert min(noise, key=noise.get) == ("noise", "0.2")
    assert of("penalty", "0.1", "clean").mean() > plain.mean()
    assert all(np.mean(runs["best_epoch"]) > 95 for runs in ways["penalty"].values())
