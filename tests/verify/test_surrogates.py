"""Named surrogates: beside what snnTorch and SpikingJelly compute, and as the derivative that kernels use."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import generated

import derive
from derive import Cell, surrogates
from derive.cells import REGISTRY
from derive.verify import second
from derive.verify.problem import Scales, directions, sample
from derive.verify.tolerances import relative
from derive.verify.witnesses import autograd
from derive.verify.witnesses import kernel as kernel_of

VECTORS = Path(__file__).parent / "data" / "surrogates.npz"  # see surrogates_from_libraries.py
with np.load(VECTORS) as file:
    KNOWN = dict(file)
POINTS = KNOWN.pop("points")

OF = {
    "superspike": lambda u: 1 / (1 + 100 * abs(u)) ** 2,
    "arctan": lambda u: 1 / (1 + (math.pi * u) ** 2),
    "triangular": lambda u: 0.3 * np.maximum(0, 1 - abs(u)),
    "gaussian": lambda u: density(u, 0, 0.5),
    "multi_gaussian": lambda u: 1.15 * density(u, 0, 0.5) - 0.15 * density(u, 0.5, 3) - 0.15 * density(u, -0.5, 3),
    "sigmoid": lambda u: 4 * np.exp(-4 * u) / (1 + np.exp(-4 * u)) ** 2,
    "straight_through": lambda u: (abs(u) < 0.5) * 1.0,
}


def density(u: np.ndarray, middle: float, width: float) -> np.ndarray:
    return np.asarray(np.exp(-(((u - middle) / width) ** 2) / 2) / (math.sqrt(2 * math.pi) * width))


def kernel(pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return spikes and slopes at the points, from the kernels of a cell that is nothing but the function."""
    module = derive.compile(Cell("s = spike(x)", name="bare", output="s", functions={"spike(u)": pair}))
    y, _, tape = module.forward(POINTS[None, None], module.Params())
    return y[0, 0], module.backward(np.ones_like(y), tape).x[0, 0]


@pytest.mark.parametrize("key", KNOWN)
def test_beside_other_libraries(key: str) -> None:
    name, parameter, _ = key.split("/")
    value, slope = kernel(getattr(surrogates, name)(float(parameter)))
    at = np.abs(POINTS) != float(parameter)  # a step's own edge
    np.testing.assert_array_equal(value[POINTS != 0], KNOWN[key][0][POINTS != 0])  # at 0 snnTorch and we are silent, SpikingJelly fires
    np.testing.assert_allclose(slope[at], KNOWN[key][1][at], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", surrogates.__all__)
def test_the_formula_of_the_paper(name: str) -> None:
    value, slope = kernel(getattr(surrogates, name)())
    np.testing.assert_array_equal(value, POINTS > 0)
    np.testing.assert_allclose(slope, OF[name](POINTS), rtol=1e-10, atol=1e-13)


def test_all_have_a_formula_and_an_error_for_what_is_not_positive() -> None:
    assert OF.keys() == {*surrogates.__all__}
    for name in surrogates.__all__:
        with pytest.raises(ValueError, match=r"must be a positive number, got -1"):
            getattr(surrogates, name)(-1)


@pytest.mark.parametrize("name", ["lsnn", "alif", "rsynaptic", "eprop_lif"])
@pytest.mark.parametrize("scale, low, high", [(0.03, 0.0, 0.13), (1000.0, 0.3, 1.0)])
def test_gradients_of_neurons_that_spike_seldom_and_often(name: str, scale: float, low: float, high: float) -> None:
    """Where few spike, products leave out zeros; not in smaller layers, of which the other tests are."""
    p = sample(REGISTRY[name], sizes={"d": 9, "n": 70}, steps=30, batch=9, scales=Scales(given=scale))
    expected = autograd(p)
    assert low < (expected.values["output"] != 0).mean() < high
    errors = relative(kernel_of(generated(name), p), expected)
    assert max(errors.values()) <= 1e-10, errors


def test_second_order_of_neurons_that_spike_seldom() -> None:
    p = sample(REGISTRY["lsnn"], sizes={"d": 9, "n": 70}, steps=20, batch=9, scales=Scales(given=0.03))
    vector = directions(p)
    errors = relative(second.kernels(generated("lsnn"), p, vector).result, second.autograd(p, vector).result)
    assert max(errors.values()) <= 1e-10, errors
