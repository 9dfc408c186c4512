"""The one place that draws a cell's numbers: their shapes, dtypes and scales, and what can be asked of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import assert_same_bits, generated

from derive.cell import Cell
from derive.cells import REGISTRY
from derive.verify.problem import Problem, Scales, complete_sizes, directions, initial, sample
from derive.verify.witnesses import arguments, kernel

EVERYTHING = Cell(
    "h = tanh(W @ x + U @ h_prev + V @ v) * pick(a, k)\ns = 0.5 * s_prev + beta * mean(h)",
    name="everything",
    output="h",
    inputs=("x", "a", "k"),
    context=("v",),
    fixed=("V",),
    shapes={"v": "p", "a": "m", "s": "", "beta": ""},
)
SIZES = {"d": 40, "n": 50, "p": 30, "m": 3}


def arrays_of(p: Problem) -> dict[str, np.ndarray]:
    return {**p.arrays, "dy": p.dy, **{f"final {name}": value for name, value in p.dfinal.items()}}


@pytest.mark.parametrize("cell", [*REGISTRY.values(), EVERYTHING], ids=lambda cell: cell.name)
def test_everything_is_there_in_its_shape(cell: Cell) -> None:
    p = sample(cell, steps=4, batch=2)
    leads = {**dict.fromkeys(cell.inputs, (4, 2)), **dict.fromkeys(cell.context, (2,)), **dict.fromkeys(cell.parameters, ())}
    wanted = {name: (*lead, *(size.evaluate(p.sizes) for size in cell.axes[name])) for name, lead in leads.items()}
    states = {s: (2, *(size.evaluate(p.sizes) for size in cell.axes[s])) for s in cell.states}
    wanted |= {f"{s}_prev": shape for s, shape in states.items()}
    assert {name: value.shape for name, value in p.arrays.items()} == wanted
    assert {s: value.shape for s, value in p.dfinal.items()} == states
    assert all(isinstance(v, np.ndarray) and v.dtype == (int if name in cell.integers else float) for name, v in arrays_of(p).items())
    assert {**p.inputs, **p.context, **p.parameters, **{f"{s}_prev": v for s, v in p.states.items()}}.keys() == p.arrays.keys()


def test_the_same_seed_gives_the_same_numbers() -> None:
    one, again, other = (arrays_of(sample(EVERYTHING, seed=seed)) for seed in (1, 1, 2))
    for name, value in one.items():
        np.testing.assert_array_equal(value, again[name])
        assert not np.array_equal(value, other[name]), name


def test_scales() -> None:
    p = sample(EVERYTHING, sizes=SIZES, steps=40, batch=30, scales=Scales(2.0, 3.0, 4.0, 5.0))
    wanted = {"x": 2, "v": 2, "W": 3, "U": 3, "h_prev": 4, "dy": 5, "final h": 5}
    assert {name: arrays_of(p)[name].std() for name in wanted} == pytest.approx(wanted, rel=0.1)


def test_what_is_moderate() -> None:
    """Columns of wide matrices are short, and states are those that the cell comes to."""
    p = sample(EVERYTHING, sizes=SIZES, steps=40, batch=30)
    wanted = {"x": 1, "W": 40**-0.5, "U": 50**-0.5, "dy": 1}
    assert {name: arrays_of(p)[name].std() for name in wanted} == pytest.approx(wanted, rel=0.1)
    slstm = sample(REGISTRY["slstm"])
    assert (slstm.states["nn"] > 0).all()  # a sum of exponentials
    assert (sample(REGISTRY["slstm"], scales=Scales(states=1.0)).states["nn"] < 0).any()


def test_indices_lie_in_what_they_pick_from() -> None:
    k = sample(EVERYTHING, sizes=SIZES, steps=40, batch=30).arrays["k"]
    assert set(k.ravel()) == {0, 1, 2}


def test_sizes_are_completed() -> None:
    assert complete_sizes(EVERYTHING, {"n": 9}) == {"d": 3, "n": 9, "p": 5, "m": 5}
    equal = Cell("h = x * h_prev + U @ x", name="equal", output="h", shapes={"x": "d", "h": "n"})
    ((a, b),) = equal.equal_sizes
    found = complete_sizes(equal, {b: 6})
    assert found[a] == found[b] == 6


@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0), (0, 0)])
def test_nothing_to_run_on(steps: int, batch: int) -> None:
    p = sample(EVERYTHING, steps=steps, batch=batch)
    assert p.arrays["x"].shape == (steps, batch, 3) and p.dy.shape == (steps, batch, 7) and p.states["s"].shape == (batch,)


def test_cast_leaves_indices() -> None:
    p = sample(EVERYTHING)
    narrow = p.cast(np.float32)
    for name, value in arrays_of(narrow).items():
        assert value.dtype == (np.int64 if name == "k" else np.float32), name
        np.testing.assert_array_equal(value, arrays_of(p)[name].astype(value.dtype))


def test_ragged_ends() -> None:
    p = sample(EVERYTHING, steps=4, batch=3)
    ragged = p.ragged([4, 0, 2])
    for value in (ragged.arrays["x"], ragged.arrays["a"], ragged.dy):
        assert np.isfinite(value[:, 0]).all() and np.isnan(value[:, 1]).all()
        assert np.isfinite(value[:2, 2]).all() and np.isnan(value[2:, 2]).all()
    assert not ragged.arrays["k"][:, 1].any() and ragged.arrays["k"].dtype == p.arrays["k"].dtype
    assert np.isfinite(p.dy).all() and ragged.parameters["W"] is p.parameters["W"]


def test_directions_are_as_the_gradients() -> None:
    p = sample(REGISTRY["lstm"])
    grads = kernel(generated("lstm"), p).grads
    found = directions(p, 1)
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in grads.items()}
    assert "k" not in directions(sample(EVERYTHING)) and "V" not in directions(sample(EVERYTHING))
    assert not np.array_equal(found["x"], directions(p, 2)["x"])


def test_what_a_training_begins_with() -> None:
    module = generated("slstm")
    p = initial(module, REGISTRY["slstm"], sizes={"d": 3, "n": 4}, steps=2, batch=5, seed=7)
    assert_same_bits(module.Params(**p.parameters), module.init(3, 4, seed=7))
    assert_same_bits(module.State(**p.states), module.zero_state(5, 4))
    assert p.dy.shape == (2, 5, 4) and p.dy.dtype == p.arrays["x"].dtype == np.float32 and not p.dfinal
    (x, params, state), keywords = arguments(module, p)
    assert module.forward(x, params, state, **keywords)[0].shape == p.dy.shape


def test_a_problem_is_replaced_part_by_part() -> None:
    p = sample(EVERYTHING)
    moved = p.at("x", np.zeros_like(p.arrays["x"]))
    assert not moved.arrays["x"].any() and p.arrays["x"].any() and moved.dy is p.dy
    doubled = replace(p, dfinal={}).mapped(lambda value: 2 * value)
    np.testing.assert_array_equal(doubled.dy, 2 * p.dy)
    np.testing.assert_array_equal(doubled.arrays["k"], 2 * p.arrays["k"])
