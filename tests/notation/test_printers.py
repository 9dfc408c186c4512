"""Formulas as text and LaTeX, and the code that is printed from them."""

from __future__ import annotations

import re

import pytest
import sympy as sp

from derive import Cell
from derive.calculus.derivation import differentiate
from derive.calculus.functions import FUNCTIONS
from derive.cells import REGISTRY, get
from derive.codegen.expression import Expressions
from derive.codegen.source import name
from derive.command import show
from derive.notation.latex import derivation, equations
from derive.notation.text import tagged_formulas

RNN = """\
(F1)  h = tanh(W x_t + U h_{t-1} + b)
(B1)  h̄ = ∂L_t/∂h + h̄⁺
(B2)  δ_h = h̄ ⊙ (1 - h²)
(B3)  h̄_{t-1}⁺ = Uᵀ δ_h
(B4)  x̄ = Wᵀ δ_h
(B5)  ∇W = Σ_t δ_h x_tᵀ
(B6)  ∇U = Σ_t δ_h h_{t-1}ᵀ
(B7)  ∇b = Σ_t δ_h"""

LSTM_STEP = """\
(B1)  h̄ = ∂L_t/∂h + h̄⁺
(B2)  c̄ = c̄⁺ + h̄ ⊙ o ⊙ (1 - tanh(c)²)
(B3)  ō = h̄ ⊙ tanh(c)
(B4)  δ_o = ō ⊙ o ⊙ (1 - o)
(B5)  ḡ = c̄ ⊙ i
(B6)  δ_g = ḡ ⊙ (1 - g²)
(B7)  f̄ = c̄ ⊙ c_{t-1}
(B8)  δ_f = f̄ ⊙ f ⊙ (1 - f)
(B9)  ī = c̄ ⊙ g
(B10)  δ_i = ī ⊙ i ⊙ (1 - i)
(B11)  c̄_{t-1}⁺ = c̄ ⊙ f
(B12)  h̄_{t-1}⁺ = U_fᵀ δ_f + U_gᵀ δ_g + U_iᵀ δ_i + U_oᵀ δ_o"""


def lines(name: str) -> list[str]:
    return [f"({tag})  {line}" for tag, line in tagged_formulas(differentiate(get(name))).items()]


def test_rnn_as_text() -> None:
    assert "\n".join(lines("rnn")) == RNN


def test_lstm_as_text() -> None:
    assert "\n".join(lines("lstm")[6:18]) == LSTM_STEP


def test_p_minus_y() -> None:
    """Where p - y comes from: softmax minus the unit vector of the class, and the same for soft targets."""
    assert lines("softmax_cross_entropy")[-1] == "(B1)  ā = ∂L_t/∂l softmax(a_t) - ∂L_t/∂l e_k"
    soft = lines("soft_cross_entropy")
    assert "(B2)  bar(logsumexp(a_t)) = ∂L_t/∂l (Σ_j y_t)" in soft
    assert "(B3)  ā = bar(logsumexp(a_t)) softmax(a_t) - ∂L_t/∂l y_t" in soft


def test_rnn_as_latex() -> None:
    text = derivation(get("rnn"))
    assert r"h_{t} &= \tanh\left(W\, x_{t} + U\, h_{t-1} + b\right) \tag{F1}" in text
    assert r"\delta_{h,t} &= \bar{h}_{t} \odot \left(1 - h_{t}^{2}\right) \tag{B2}" in text
    assert r"\nabla W &= \sum_t \delta_{h,t}\, x_{t}^{\top} \tag{B5}" in text


@pytest.mark.parametrize("name", REGISTRY)
def test_latex_is_balanced(name: str) -> None:
    text = derivation(get(name))
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"\\left[(\[\\.]", text)) == len(re.findall(r"\\right[)\]\\.]", text))
    assert text.count(r"\begin{") == text.count(r"\end{")
    tags = re.findall(r"\\tag\{(\w+)\}", text)
    assert len(tags) == len(set(tags)) == len(tagged_formulas(differentiate(get(name))))


@pytest.mark.parametrize("function", [name for name, kind in FUNCTIONS.items() if kind.info.arity == 1])
def test_every_function_has_a_formula(function: str) -> None:
    if function == "normal_cdf":  # stands in derivatives only
        cell = Cell("h = gelu(W @ x + U @ h_prev)", name="probe", output="h")
    else:
        cell = Cell(f"h = {function}(W @ x + U @ h_prev)", name="probe", output="h")
    text = derivation(cell)
    assert text.count("{") == text.count("}") and "{0}" not in text
    assert all("{0}" not in line for line in tagged_formulas(differentiate(cell)).values())


def test_names_as_the_author_wants_them() -> None:
    cell = Cell("h_new = tanh(W_xh @ x + U @ h_new_prev)", name="named", output="h_new", latex={"h_new": r"\hat{h}", "W_xh": "W"})
    assert r"\hat{h}" in equations(cell) and "W_{" not in equations(cell)


def test_notebooks_show_the_equations() -> None:
    text = get("gru")._repr_latex_()
    assert text.startswith(r"\begin{align}") and r"\tag" not in text


x, y = sp.symbols("x y")


@pytest.mark.parametrize(
    ("expr", "source"),
    [
        (1 - x, "one - x"),
        (x * (1 - x), "x * (one - x)"),
        (-x * y, "-x * y"),
        (x - (y - 1), "one + x - y"),
        (x / (1 + y), "x / (one + y)"),
        (x**-2, "one / (x * x)"),
        (x**5, "x * square(x * x)"),
        (sp.Rational(1, 10) * x, "k_0p1 * x"),
        ((1 + x) ** 4, "square(square(one + x))"),
        (FUNCTIONS["tanh"](x) ** 2, "square(tanh(x))"),
        (FUNCTIONS["where"](FUNCTIONS["less"](x, y), x, 0), "where(x < y, x, zero)"),
        (FUNCTIONS["abs"](x), "absolute(x)"),
    ],
)
def test_kernel_expressions(expr: sp.Expr, source: str) -> None:
    assert Expressions(lambda s: name(s.name)).source(expr).text == source


def test_constants_are_of_the_kernels_dtype() -> None:
    printer = Expressions(lambda s: name(s.name))
    printer.source(sp.Rational(1, 3) * x + 2)
    assert printer.constants == {"k_0p3333333333333333": "0.3333333333333333", "two": "2.0"} or set(printer.constants) == {"two", "three"}


@pytest.mark.parametrize("form", show.FORMS)
def test_show(form: str) -> None:
    text = show.FORMS[form](get("gru"))
    assert len(text.splitlines()) > (0 if form == "structure" else 20)
    assert "h" in text


def test_stages_name_every_pass() -> None:
    text = show.FORMS["stages"](get("gru"))
    for title in ("differentiate", "recompute", "numbers", "stack", "accumulate", "invert", "share", "hoist", "storage"):
        assert f"== {title}" in text
