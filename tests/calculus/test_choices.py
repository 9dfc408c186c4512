"""What `where` does not choose contributes nothing, whatever its value and slope: in kernels, derivations and the text under autodiff."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import package
from fuzz.device import module as device_module
from fuzz.device import on_members
from fuzz.twin import plain

from derive import Cell
from derive.calculus.derivation import differentiate
from derive.notation.latex import derivation
from derive.notation.text import tagged_formulas
from derive.package import contents
from derive.verify.problem import Problem, Result, sample
from derive.verify.tolerances import AUTOGRAD, DIFFERENCES, TOLERANCES, relative
from derive.verify.witnesses import autograd, differences, interpreter, kernel

torch = pytest.importorskip("torch")
MASK: dict[str, Any] = {"inputs": ("x", "m"), "shapes": {"m": ""}}

# Slopes that are no numbers where a branch is not chosen: inputs of both signs.
SLOPES = {
    "a function": Cell("h = where(x > 0, sqrt(x), 0) + h_prev", name="function", output="h"),
    "a pole": Cell("h = h_prev + where(x < 0, 1 / (x - abs(x)) ** 2, x)", name="pole", output="h"),
    "a product": Cell("h = where(x > 0, h_prev * log(x) * sqrt(2 * x + 1), h_prev)", name="product", output="h"),
    "outside of another": Cell("h = sqrt(where(x > 1, x - 1, 0)) + h_prev", name="outside", output="h"),
    "choices in choices": Cell(
        "h = where(x > 0, where(h_prev > 0, sqrt(x * h_prev), log(x)), where(h_prev > x, sqrt(h_prev - x), 2))", name="nested", output="h"
    ),
    "on another line": Cell("a = log(x) + 1\nb = a ** 0.5\nh = h_prev + where(x > 1, b * a, b_2)", name="lines", output="h"),
    "by a later line": Cell(
        "a = sqrt(x)\nb = tanh(x) * sigmoid(h_prev)\nh = h_prev + where(b > 0, a, 0)",
        name="later",
        output="h",
        shapes={"h": "d"},
    ),
    "through a product": Cell(  # whose own gradient, a sum over steps of δ rᵀ, has r as a factor
        "s = sum(x)\nr = sqrt(s * x ** 2)\nh = where(s > 0, tanh(W @ r), h_prev)", name="through", output="h", fixed=("W",)
    ),
    "an inner product": Cell(
        "s = sum(x)\nh = h_prev + where(s > 0, tanh(w @ sqrt(s * x ** 2)), 1)", name="inner", output="h", shapes={"w": "d"}
    ),
    "parameters": Cell("h = h_prev + where(p > 0, sqrt(p), p) * x", name="parameters", output="h", shapes={"p": "d"}),
    "a softmax": Cell("s = sum(x)\nh = where(s > 0, softmax(sqrt(s * x ** 2)), h_prev)", name="soft", output="h"),
    "a normalisation": Cell("s = sum(x)\nh = where(s > 0, layer_norm(sqrt(s * x ** 2)), h_prev)", name="norm", output="h"),
    "features of a normalisation": Cell("h = h_prev + where(x > 0, layer_norm(W @ x) * sqrt(x), tanh(h_prev))", name="norms", output="h"),
    "features of a softmax": Cell("h = h_prev + where(x > 0, softmax(W @ x) * log(x), layer_norm(h_prev))", name="softs", output="h"),
    "zeros within a choice": Cell(
        "a = where(x > 0, where(h_prev > 0, x, 0), x ** 2)\nh = sqrt(a) + where(a > 0, log(a), 0)", name="zeros", output="h"
    ),
    "a choice of parameters in one of rows": Cell(
        "s = sum(x)\nh = h_prev + where(s > 0, tanh(where(p > 0, V, 2 * V) @ sqrt(s * x ** 2)), 1)",
        name="parameters_in_rows",
        output="h",
        shapes={"p": ""},
        fixed=("V",),
    ),
    "matrices": Cell("h = tanh(where(V > 0, sqrt(V), V) @ h_prev + W @ x)", name="matrices", output="h"),
}
# Rows, or features, of the input that are missing where m is 0.
MISSING = {
    "a row": Cell("h = where(m > 0.5, tanh(a * x + U @ h_prev + b), h_prev)", name="row", output="h", **MASK),
    "a row before a product": Cell("h = tanh(W @ where(m > 0.5, x, 0) + U @ h_prev + b)", name="before", output="h", **MASK),
    "a feature": Cell("h = tanh(W @ where(m > 0.5, x, a) + U @ h_prev)", name="feature", output="h", inputs=("x", "m"), shapes={"m": "d"}),
    "gates": Cell(
        """
        i = sigmoid(a_i * x + U_i @ h_prev + b_i)
        f = sigmoid(a_f * x + U_f @ h_prev + b_f)
        c = where(m > 0.5, f * c_prev + i * tanh(x), c_prev)
        h = where(m > 0.5, tanh(c), h_prev)
        """,
        name="gates",
        output="h",
        **MASK,
    ),
}  # fmt: skip


def missing(cell: Cell) -> tuple[Problem, Problem]:
    """Return a problem whose input is NaN where its mask is 0, and the same with numbers there."""
    p = sample(cell, sizes={"n": 4, "d": 4}, steps=4)
    mask = (p.arrays["m"] > 0).astype(np.float64)
    p = p.at("m", mask)
    gone = np.broadcast_to((mask if mask.ndim == 3 else mask[..., None]) == 0, p.arrays["x"].shape)
    return p.at("x", np.where(gone, np.nan, p.arrays["x"])), p.at("x", np.where(gone, 0.3, p.arrays["x"]))


def plainly(cell: Cell) -> ModuleType:
    return plain(contents.files([cell]), cell.name)


def agree(got: Result, want: Result) -> None:
    assert all(np.isfinite(value).all() for value in (*want.values.values(), *want.grads.values()))
    errors = relative(got, want)
    assert max(errors.values()) <= TOLERANCES[AUTOGRAD], errors


@pytest.fixture(autouse=True)
def _no_warnings() -> Any:
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("cell", SLOPES.values(), ids=SLOPES.keys())
def test_slopes_that_are_no_numbers(cell: Cell) -> None:
    p = sample(cell, sizes={"n": 4, "d": 4}, steps=3)
    want = autograd(p)
    agree(interpreter(p), want)
    module = plainly(cell)
    agree(found := kernel(module, p), want)
    wrong = differences(module, p, found, 0)
    assert max(wrong.values()) <= TOLERANCES[DIFFERENCES], wrong


@pytest.mark.parametrize("cell", MISSING.values(), ids=MISSING.keys())
def test_missing_inputs(cell: Cell) -> None:
    p, filled = missing(cell)
    want = autograd(filled)  # numbers where nothing is chosen: the double `where`
    gone = np.isnan(p.arrays["x"])
    assert not want.grads["x"][gone].any() and gone.any() and not gone.all()
    module = plainly(cell)
    for found in (autograd(p), interpreter(p), kernel(module, p)):
        agree(found, want)
    wrong = differences(module, p, found, 0)
    assert max(wrong.values()) <= TOLERANCES[DIFFERENCES], wrong


def test_compiled_kernels() -> None:
    modules = package(*MISSING.values())
    for cell in MISSING.values():
        p, filled = missing(cell)
        agree(kernel(modules[cell.name], p), autograd(filled))


@pytest.mark.parametrize("members", [0, 1])
def test_devices(members: int) -> None:
    cell = MISSING["gates"]
    p, filled = missing(cell)
    files = contents.files([cell])
    with on_members(members):
        agree(kernel(device_module(files, cell, plainly(cell)), p), autograd(filled))


def test_by_hand() -> None:
    """One step of a scalar, with the second `where` written out as PyTorch's users do."""
    cell = Cell("h = where(x > 0, sqrt(x), 0) + 0 * h_prev", name="root", output="h")
    p = sample(cell, sizes={"n": 5, "d": 5}, steps=1)
    x = torch.tensor(p.arrays["x"], requires_grad=True)
    one = torch.ones_like(x)
    y = torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, one)), 0 * one)
    (want,) = torch.autograd.grad((y * torch.tensor(p.dy + p.dfinal["h"])).sum(), x)
    np.testing.assert_allclose(kernel(plainly(cell), p).grads["x"], want.numpy(), rtol=1e-10)


def test_jax_agrees() -> None:
    jax = pytest.importorskip("jax")
    cell = SLOPES["on another line"]
    x = np.array([0.2, 0.7, 1.5, 3.0], np.float32)

    def total(x: Any) -> Any:
        return jax.numpy.sum(cell.evaluate({"x": x, "h_prev": 0 * x, "b_2": 0 * x + 1}, jax.numpy)["h"])

    chosen = np.where(x > 1, x, 1)
    root = np.log(chosen) + 1
    np.testing.assert_allclose(jax.grad(total)(x), np.where(x > 1, 1.5 * root**0.5 / chosen, 0), rtol=1e-5)


def test_what_is_printed() -> None:
    lines = tagged_formulas(differentiate(SLOPES["a function"]))
    assert lines["B3"] == "x̄ = where(x_t > 0, h̄ / (2 sqrt(x_t)), 0)"
    assert r"\begin{cases}" in derivation(SLOPES["a function"])
    assert tagged_formulas(differentiate(MISSING["a row"]))["B2"] == "δ_h = where(m_t > 0.5, h̄ ⊙ (1 - tanh(U h_{t-1} + a ⊙ x_t + b)²), 0)"


def test_cells_without_choices_are_as_they_were() -> None:
    cell = Cell("a = maximum(x, 0)\nh = tanh(a * h_prev) * relu(a)", name="plain", output="h")
    assert not any("where" in line for line in tagged_formulas(differentiate(cell)).values())
