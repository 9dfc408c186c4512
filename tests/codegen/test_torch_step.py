"""Steps as PyTorch text beside the cell's own text, read by `derive.verify.evaluate`: values and two derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conftest import ordinary
from fuzz.strategy import Drawn, cells
from hypothesis import HealthCheck, Phase, settings
from hypothesis import given as drawing
from torch import Tensor

from derive import Cell
from derive.calculus.jacobian import a_matrix
from derive.calculus.laws import is_true
from derive.calculus.lower import lower
from derive.cells import REGISTRY, SHIPPED
from derive.codegen.torch.step import step_module
from derive.language.vocabulary import ELEMENTWISE
from derive.verify.evaluate import evaluate

CHOSEN = {"slstm", "lstm_layernorm", "mut1", "lmu", "softmax_cross_entropy", "janet", "antisymmetric", "softmax_readout", "gru_masked"}
CELLS = {**REGISTRY, **SHIPPED}
LEAD = (2, 3)


def cell(text: str, **options: Any) -> Cell:
    return Cell(text, **{"name": "own", "output": "h", **options})


OWN = {
    "a condition of what comes later": cell("a = exp(W @ x)\nb = log(a - 1)\nh = where(a > 1, b, h_prev)"),
    "a branch without a slope": cell("a = sqrt(W @ x)\nh = where(W @ x > 0, a * h_prev, h_prev)"),
    "a choice by features, a product within": cell("h = where(x > 0, W @ sqrt(abs(x)) + log(x), x * h_prev)", shapes={"W": "n, n"}),
    "choices in choices": cell(
        "h = where(s > 0, where(W @ x > 0, sqrt(W @ x), 1), softmax(x * sqrt(0 - s)) * h_prev)", inputs=("x", "s"), shapes={"s": ""}
    ),
    "numbers alone": cell("c = 2\nd = maximum(c, 3) + exp(1)\nh = where(x > c, 1, 0) * d + maximum(W @ h_prev, 0.5) + c ** 2 / 7"),
    "a scalar over a vector": cell("s = sum(x) / 3\nh = s\nk = h_prev * mean(W) + s", output="k"),
    "a state of one number": cell("s = s_prev + v @ x\nh = s * tanh(W @ x) + h_prev", shapes={"v": "d"}),
    "a constant state": cell("h = 1\ng = h_prev * x", output="g", shapes={"h": "d"}),
    "matrices of matrices": cell("M = W - W.T - 0.1 * eye\nh = M @ (U.T @ x) + M.T @ h_prev - (x @ v) * b"),
    "parts with and without rows": cell("a, g = split(W @ [x, b, h_prev], 2)\nh = a * g"),
    "an index into parameters": cell("h = tanh(W @ x) * pick(e, k) + h_prev", inputs=("x", "k"), shapes={"e": "v"}),
    "names of Python and PyTorch": cell("torch = W @ x\nstep_ = tanh(torch)\nTensor = torch * step_ + Tensor_prev", output="Tensor"),
    "powers": cell("h = (1 + x ** 2) ** 0.5 - -x ** 3 * (x * x) ** -1.5 / (x / (x / h_prev)) - (x - (x - h_prev))"),
    "what is fixed": cell("h = W @ x + e * h_prev", fixed=("e",)),
}
"""Cells of which something is hard to print."""


def step(of: Cell) -> Any:
    namespace: dict[str, Any] = {}
    exec(compile(step_module(of, "a test", ""), of.name, "exec"), namespace)
    return namespace["step"]


def given(of: Cell, *, dtype: Any = torch.float64) -> dict[str, Tensor]:
    """Return tensors for a step's arguments, in its order."""
    torch.manual_seed(0)
    sizes = {size: 4 if size in ("d", "n") else 3 for size in of.sizes}
    names = [*of.inputs, *of.context, *(f"{state}_prev" for state in of.states), *of.parameters]
    shapes = {name: (*(LEAD if name in of.batched else ()), *(size.evaluate(sizes) for size in of.shapes[name])) for name in names}
    return {
        name: torch.randint(3, shape, dtype=torch.int32) if name in of.integers else torch.randn(shape, dtype=dtype)
        for name, shape in shapes.items()
    }


def by_text(of: Cell, values: dict[str, Tensor]) -> list[Tensor]:
    found = evaluate(of, values, torch)
    return [found[name] for name in (of.output, *of.states)]


def by_step(of: Cell, values: dict[str, Tensor]) -> list[Tensor]:
    y, states = step(of)(*values.values())
    return [y, *states]


def derivatives(run: Any, of: Cell, values: dict[str, Tensor]) -> list[Tensor]:
    """Return gradients of a sum of squares, and of the sum of their squares."""
    at = {name: value.clone().requires_grad_(value.is_floating_point()) for name, value in values.items()}
    leaves = [value for name, value in at.items() if value.is_floating_point()]
    results = [value for value in run(of, at) if value.requires_grad]
    options = {"allow_unused": True, "materialize_grads": True}
    first = torch.autograd.grad(sum((value**2).sum() for value in results), leaves, create_graph=True, **options)
    live = [value for value in first if value.requires_grad]
    return [*first, *torch.autograd.grad(sum((value**2).sum() for value in live), leaves, **options)]


def assert_same(of: Cell, values: dict[str, Tensor]) -> None:
    got, want = by_step(of, values), by_text(of, values)
    assert [value.shape for value in got] == [value.shape for value in want] and got[0].dtype == want[0].dtype
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)
    got, want = derivatives(by_step, of, values), derivatives(by_text, of, values)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ordinary(CELLS, CHOSEN))
def test_cells_that_ship(name: str) -> None:
    assert_same(CELLS[name], given(CELLS[name]))


@pytest.mark.parametrize("name", OWN)
def test_what_is_hard_to_print(name: str) -> None:
    assert_same(OWN[name], given(OWN[name]))


def test_what_is_not_chosen_has_no_slope() -> None:
    for name in ("a branch without a slope", "a choice by features, a product within", "choices in choices"):
        values = given(OWN[name])
        assert all(value.isfinite().all() for value in derivatives(by_step, OWN[name], values)), name


@pytest.mark.parametrize("function", sorted(ELEMENTWISE | {"maximum", "minimum"}))
def test_functions_at_their_kinks_and_far_away(function: str) -> None:
    """At 0, where states begin, at the ends of pieces, and where exponentials have no number."""
    of = cell(f"h = {function}({'x' if function in ELEMENTWISE else 'x, h_prev'}) + h_prev")
    points = [0.0, 1.0, -1.0, 3.0, -3.0, 0.3, -0.3, 25.0, -25.0, 600.0, -800.0]
    points = [point for point in points if point > 0 or function not in ("log", "sqrt")]
    points = [point for point in points if abs(point) < 100 or function != "exp"]
    points = [point for point in points if point > -700 or function != "softplus"]  # there PyTorch's `logaddexp` has no second derivative
    at = torch.tensor(points, dtype=torch.float64).repeat(*LEAD, 1)
    assert_same(of, {"x": at, "h_prev": at})


@settings(max_examples=60, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
@drawing(cells())
def test_random_cells(drawn: Drawn) -> None:
    """Values and gradients; second ones of some are as inexact as what they are made of."""
    if drawn.cell is None or not is_true(drawn.cell) or a_matrix(lower(drawn.cell)):  # no step is carried of others
        return
    of, values = drawn.cell, given(drawn.cell)
    values = {name: value / 2 if value.is_floating_point() else value for name, value in values.items()}
    torch.testing.assert_close(by_step(of, values), by_text(of, values), rtol=1e-11, atol=1e-11)
    floats = sum(value.is_floating_point() for value in values.values())
    for got, want in zip(derivatives(by_step, of, values)[:floats], derivatives(by_text, of, values)[:floats], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9 * (1 + float(want.detach().abs().max())))


def test_other_dtypes() -> None:
    for name in ("slstm", "lmu"):
        values = given(REGISTRY[name], dtype=torch.float32)
        torch.testing.assert_close(by_step(REGISTRY[name], values), by_text(REGISTRY[name], values), rtol=1e-5, atol=1e-6)


def test_the_text() -> None:
    assert step_module(REGISTRY["mut1"], "a file", "").endswith(
        """
    z = torch.sigmoid(x @ W_xz.T + b_z)
    r = torch.sigmoid(x @ W_xr.T + h_prev @ U_hr.T + b_r)
    h = torch.tanh((r * h_prev) @ U_hh.T + torch.tanh(x) + b_h) * z + h_prev * (1 - z)
    return h, (h,)
"""
    )
