"""Gradients that are changed on their way back: by `detach`, derivatives of one's own, `clip_gradient` and `scale_gradient`."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ordinary

from derive import Cell, CellError, compile
from derive.calculus.laws import changes, is_linear, is_true
from derive.notation import second as notation
from derive.verify import report, second
from derive.verify.tolerances import AUTOGRAD, DIFFERENCES

CLIPPED = Cell(
    """
    i = sigmoid(clip_gradient(W @ x + U @ h_prev + b, -lim, lim))
    g = tanh(clip_gradient(W_g @ x + U_g @ h_prev, -0.02, 0.01))
    h = clip_gradient((1 - i) * h_prev, -0.3, 0.3) + i * g - 0.3 * clip_gradient(g, -0.05, 0.05)
    """,
    name="clipped",
    output="h",
    constants={"lim": 0.02},
)
SCALED = Cell("h = tanh(scale_gradient(W @ x, 0.5) + U @ scale_gradient(h_prev, 2) + b)", name="scaled", output="h")
QUANTISED = Cell(
    """
    q = quantise(W @ x + U @ h_prev)
    h = 0.3 * h_prev + 0.1 * detach(q - h_prev) * tanh(floor(3 * q)) + 0.2 * tanh(round(2 * q)) * q
    """,
    name="quantised",
    output="h",
    functions={"quantise(u)": ("round(4 * u) / 4", "where(abs(u) < 1, 1, exp(1 - abs(u)))")},
)
SPIKING = Cell(
    """
    v = alpha * v_prev + W @ x + V @ detach(z_prev) - theta * detach(z_prev)
    z = spike(v - theta)
    """,
    name="spiking",
    output="z",
    constants={"alpha": 0.9, "theta": 0.6},
    functions={"spike(u)": ("step(u)", "0.3 * relu(1 - abs(u / theta)) / theta")},
)
CELLS = {cell.name: cell for cell in (CLIPPED, SCALED, QUANTISED, SPIKING)}


@pytest.mark.parametrize("name", CELLS)
def test_gradients_against_pytorch_with_the_same_rules(name: str) -> None:
    found = report.check(CELLS[name])
    assert found.ok, found.failures
    assert AUTOGRAD in found.errors and DIFFERENCES not in found.errors and "differences do not apply" in found.note


@pytest.mark.parametrize("name", ordinary(CELLS, {"spiking"}))
def test_second_order_against_pytorch_with_the_same_rules(name: str) -> None:
    found = second.check(CELLS[name], float32=name == "clipped")
    assert found.ok, found.failures
    assert any(key.startswith("Hessian") for key in found.errors[AUTOGRAD]) == is_linear(CELLS[name])


def test_what_is_changed() -> None:
    assert {name: changes(cell) for name, cell in CELLS.items()} == {
        "clipped": ("clip_gradient",),
        "scaled": ("scale_gradient",),
        "quantised": ("quantise", "detach"),
        "spiking": ("detach", "spike"),
    }
    assert [is_linear(cell) for cell in CELLS.values()] == [False, False, True, True]
    assert not any(map(is_true, CELLS.values())) and is_true(Cell("h = round(x) + floor(h_prev)", name="c", output="h"))


@pytest.mark.parametrize("cell", [CLIPPED, SCALED], ids=lambda cell: cell.name)
def test_there_is_no_tangent_past_a_clip(cell: Cell) -> None:
    module = compile(cell, order=2)
    _, _, tape = module.forward(np.zeros((2, 1, 3)), module.init(3, 4, dtype=np.float64))
    for function in (
        lambda: module.tangent(None, tape),
        lambda: module.hvp(None, tape, None),
        lambda: module.step_tangent(None, None, None, None),
    ):
        with pytest.raises(NotImplementedError, match="change gradients on their way back"):
            function()
    for refused in (cell.jacobian, lambda: cell.structure, lambda: notation.tangents(cell)):
        with pytest.raises(CellError, match="changes gradients on their way back"):
            refused()
    assert "Hessians need not be symmetric" in notation.text(cell) and "(H" not in notation.text(cell)


def test_a_clip_is_one_for_each_place_where_it_stands() -> None:
    """What two places hand back is clipped apart, as in PyTorch; of one value that two read, the sum is."""
    apart = Cell("h = clip_gradient(x, -1, 1) + clip_gradient(x, -1, 1)", name="apart", output="h")
    once = Cell("c = clip_gradient(x, -1, 1)\nh = c + c", name="once", output="h")
    for cell, want in ((apart, 2.0), (once, 1.0)):
        module = compile(cell)
        y, _, tape = module.forward(np.zeros((1, 1, 3)), module.Params())
        np.testing.assert_array_equal(module.backward(np.full_like(y, 0.8), tape).x, min(2 * 0.8, want))


def test_infinity_is_clipped_and_no_number_stays_none() -> None:
    module = compile(Cell("h = clip_gradient(x, -2, 1)", name="bounds", output="h"))
    y, _, tape = module.forward(np.zeros((1, 1, 4)), module.Params())
    grads = module.backward(np.array([[[np.inf, -np.inf, np.nan, 0.5]]]), tape)
    np.testing.assert_array_equal(grads.x, [[[1, -2, np.nan, 0.5]]])
    assert y.shape == (1, 1, 4)


def test_a_clip_of_nothing_is_nothing() -> None:
    """Fields that are None, compiled: what is asked for by the input alone, and of no cotangent of the output."""
    module = compile(CLIPPED, order=2)
    random = np.random.default_rng(0)
    x, params = random.standard_normal((3, 2, 3)), module.init(3, 4, dtype=np.float64)
    y, _, tape = module.forward(x, params)
    dfinal = module.State(0.1 * random.standard_normal((2, 4)))
    u = module.Grads(x=random.standard_normal(x.shape), params=module.Params(*[None] * len(params)), state=module.State(None))
    zeros = u._replace(params=module.Params(*map(np.zeros_like, params)), state=module.State(np.zeros((2, 4))))
    for dy in (0.05 * random.standard_normal(y.shape), None):
        _, tape2 = module.backward(dy, tape, dfinal, second=True)
        some, every = module.backward_backward(u, tape2), module.backward_backward(zeros, tape2)
        for name, got, want in zip(("dy", "x"), (some.dy, some.x), (every.dy, every.x), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-14, err_msg=name)
        for name in params._fields:
            np.testing.assert_allclose(getattr(some.params, name), getattr(every.params, name), rtol=1e-12, atol=1e-14, err_msg=name)
    np.testing.assert_array_equal(module.backward(None, tape, dfinal).x, module.backward(np.zeros_like(y), tape, dfinal).x)
