"""The text on NumPy, PyTorch and JAX arrays: values, dtypes, and PyTorch's derivatives at kinks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

from derive.cell import Cell
from derive.verify.evaluate import unroll
from derive.verify.frameworks import functions
from derive.verify.problem import Scales, sample

GRU = """
r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
g = tanh(W_n @ x + b_in + r * (U_n @ h_prev + b_hn))
h = (1 - z) * g + z * h_prev
"""
SLSTM = """
z = tanh(W_z @ x + R_z @ h_prev + b_z)
i = W_i @ x + R_i @ h_prev + b_i
f = logsigmoid(W_f @ x + R_f @ h_prev + b_f)
o = sigmoid(W_o @ x + R_o @ h_prev + b_o)
m = maximum(f + m_prev, i)
si = exp(i - m)
sf = exp(f + m_prev - m)
c = sf * c_prev + si * z
n = sf * n_prev + si
h = o * c / n
"""
LRU = """
a = exp(-exp(nu))
lr, li = split([a * cos(exp(theta)), a * sin(exp(theta))], 2)
re = lr * re_prev - li * im_prev + exp(gamma) * (B_re @ x)
im = lr * im_prev + li * re_prev + exp(gamma) * (B_im @ x)
y = C_re @ re - C_im @ im + D * x
"""
LMU = """
u = e_x @ x + e_h @ h_prev + e_m @ m_prev
m = Ab @ m_prev + Bb * u
h = tanh(W_x @ x + W_h @ h_prev + W_m @ m)
"""
ATTENTION = """
q = W_q @ x + U @ h_prev
k = K @ v
s = sigmoid(q @ k / 4)
e = 0.5 * e_prev + s
h = tanh(e * q + V @ v)
"""
ANTISYMMETRIC = "h = h_prev + eps * tanh((gamma * eye - W + W.T) @ h_prev + V @ x + b)"
RNG = np.random.default_rng(5)
CELLS = (
    Cell(GRU, name="gru", output="h"),
    Cell(SLSTM, name="slstm", output="h"),
    Cell(LRU, name="lru", output="y"),
    Cell(
        LMU,
        name="lmu",
        output="h",
        shapes={"e_x": "d", "e_h": "n", "e_m": "4"},
        constants={"Ab": RNG.normal(size=(4, 4)) / 4, "Bb": RNG.normal(size=4)},
    ),
    Cell(ATTENTION, name="attention", output="h", context=("v",), shapes={"v": "k"}),
    Cell(ANTISYMMETRIC, name="antisymmetric", output="h", constants={"eps": 0.1, "gamma": 0.2}),
    Cell("p = softmax(layer_norm(W @ x))\ne = e_prev + mean(p * p) + sum(W) - logsumexp(p)", name="scalars", output="e"),
    Cell("h = where(x > 0, elu(x), minimum(x, 1)) + 2", name="stateless", output="h"),
)
SIZES = {"d": 3, "n": 5, "k": 2}


def values(cell: Cell, steps: int, batch: int) -> dict[str, dict[str, np.ndarray]]:
    """Return positive numbers, so that logarithms and quotients have values."""
    drawn = sample(cell, sizes=SIZES, steps=steps, batch=batch, seed=1, scales=Scales(parameters=1.0, states=1.0))
    p = drawn.mapped(lambda value: np.abs(value) + 0.1)
    return {"inputs": p.inputs, "params": p.parameters, "state": p.states, "context": p.context}


def convert(groups: Mapping[str, Mapping[str, np.ndarray]], function: Any) -> dict[str, dict[str, Any]]:
    return {group: {name: function(array) for name, array in arrays.items()} for group, arrays in groups.items()}


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_frameworks_agree(cell: Cell) -> None:
    given = values(cell, 4, 2)
    expected, final = unroll(cell, **given, xp=np)
    assert expected.shape == (4, 2, *(s.evaluate(SIZES) for s in cell.shapes[cell.output]))
    got, last = unroll(cell, **convert(given, torch.tensor), xp=torch)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-13, atol=1e-13)
    for state in cell.states:
        np.testing.assert_allclose(last[state].numpy(), final[state], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_jax_agrees(cell: Cell) -> None:
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        given = values(cell, 3, 2)
        got, _ = unroll(cell, **convert(given, jax.numpy.asarray), xp=jax.numpy)
        assert got.dtype == np.float64
        np.testing.assert_allclose(np.asarray(got), unroll(cell, **given, xp=np)[0], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
def test_float32_stays_float32(cell: Cell) -> None:
    given = convert(values(cell, 2, 2), lambda a: a.astype(np.float32))
    assert unroll(cell, **given, xp=np)[0].dtype == np.float32
    assert unroll(cell, **convert(given, torch.tensor), xp=torch)[0].dtype == torch.float32


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: c.name)
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (1, 1), (2, 0)])
def test_empty_and_single(cell: Cell, steps: int, batch: int) -> None:
    given = values(cell, steps, batch)
    outputs, final = unroll(cell, **given, xp=np)
    assert outputs.shape == (steps, batch, *(s.evaluate(SIZES) for s in cell.shapes[cell.output]))
    assert set(final) == set(cell.states)


def test_gru_is_that_of_pytorch() -> None:
    cell = CELLS[0]
    given = convert(values(cell, 6, 3), torch.tensor)
    p = given["params"]
    reference = torch.nn.GRU(3, 5, dtype=torch.float64)
    zero = torch.zeros(5, dtype=torch.float64)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(torch.cat([p["W_r"], p["W_z"], p["W_n"]]))
        reference.weight_hh_l0.copy_(torch.cat([p["U_r"], p["U_z"], p["U_n"]]))
        reference.bias_ih_l0.copy_(torch.cat([p["b_r"], p["b_z"], p["b_in"]]))
        reference.bias_hh_l0.copy_(torch.cat([zero, zero, p["b_hn"]]))
    expected, _ = reference(given["inputs"]["x"], given["state"]["h"][None])
    got, _ = unroll(cell, **given, xp=torch)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-13)


def test_a_cell_without_inputs_needs_the_number_of_steps() -> None:
    cell = Cell("h = tanh(U @ h_prev)", name="free", output="h", inputs=())
    params, state = {"U": np.eye(2)}, {"h": np.ones((1, 2))}
    outputs, _ = unroll(cell, {}, params, state, np, steps=2)
    np.testing.assert_allclose(outputs[1, 0], np.tanh(np.tanh([1.0, 1.0])), rtol=1e-15)
    with pytest.raises(ValueError, match="the number of `steps` is needed"):
        unroll(cell, {}, params, state, np)


def test_pick_takes_one_feature_a_row() -> None:
    cell = Cell("e = logsumexp(a) - pick(a, k)", name="loss", output="e", inputs=("a", "k"))
    a, k = np.array([[0.0, 1.0, 2.0], [1e4, 0.0, -1e4]]), np.array([2, 0])
    expected = [math.log(1 + math.e + math.e**2) - 2, 0.0]
    np.testing.assert_allclose(cell.evaluate({"a": a, "k": k}, np)["e"], expected, rtol=1e-14)
    got = cell.evaluate({"a": torch.tensor(a), "k": torch.tensor(k)}, torch)["e"]
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-14)


def test_a_number_fills_the_shape_of_its_name() -> None:
    cell = Cell("g = x + 0 * h_prev\nh = 1", name="one", output="h", shapes={"h": "n", "g": "n"})
    assert cell.evaluate({"x": np.zeros((2, 3)), "h_prev": np.zeros((2, 3))}, np)["h"].tolist() == [[1.0] * 3] * 2


def test_missing_names_are_told() -> None:
    with pytest.raises(ValueError, match=r"gru: the namespace lacks `x`, `W_r`"):
        CELLS[0].evaluate({}, np)


KINKS = [
    ("relu", 0.0, 0.0),
    ("abs", 0.0, 0.0),
    ("hard_sigmoid", -3.0, 0.0),
    ("hard_sigmoid", 3.0, 0.0),
    ("hard_tanh", 1.0, 0.0),
    ("hard_tanh", -1.0, 0.0),
    ("elu", 0.0, 1.0),
    ("elu", 800.0, 1.0),
    ("sign", 0.0, 0.0),
]


@pytest.mark.parametrize(("name", "at", "slope"), KINKS)
def test_slopes_at_kinks(name: str, at: float, slope: float) -> None:
    x = torch.tensor([at], dtype=torch.float64, requires_grad=True)
    functions(torch)[name](x).sum().backward()
    assert x.grad is not None and x.grad.item() == slope


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_ties_are_shared(name: str) -> None:
    a, b = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    functions(torch)[name](a, b).sum().backward()
    assert a.grad is not None and b.grad is not None and (a.grad.item(), b.grad.item()) == (0.5, 0.5)


@pytest.mark.parametrize("name", ["relu", "elu", "gelu", "silu", "softsign", "logsigmoid", "hard_sigmoid", "hard_tanh"])
def test_activations_are_those_of_pytorch(name: str) -> None:
    reference = {"hard_sigmoid": "hardsigmoid", "hard_tanh": "hardtanh"}.get(name, name)
    x = np.linspace(-6, 6, 49)
    expected = getattr(torch.nn.functional, reference)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(functions(np)[name](x), expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(functions(torch)[name](torch.tensor(x)).numpy(), expected, rtol=1e-13, atol=1e-15)
