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
from derive.notation.text import definitions, tagged_formulas
from derive.notation.written import has_blocks

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


def test_a_softmax_as_a_textbook_has_it() -> None:
    assert lines("softmax_readout")[1:3] == ["(B1)  δ_p = p ⊙ (∂L_t/∂p - Σ_j ∂L_t/∂p ⊙ p)", "(B2)  x̄ = Wᵀ δ_p"]
    inner = Cell("h = h_prev + softmax(W @ x) * softmax(U @ h_prev)", name="inner", output="h")
    assert definitions(inner) == ["p_1 = softmax(W x_t)", "p_2 = softmax(U h_{t-1})"]
    assert "δ_h⁽¹⁾ = p_1 ⊙ (p̄_1 - Σ_j p̄_1 ⊙ p_1)" in tagged_formulas(differentiate(inner)).values()


def test_a_normalisation_as_a_textbook_has_it() -> None:
    """Of a value with a name, and of products without: what is normalised stands in its own line, whatever reads it."""
    found = lines("lstm_layernorm")
    assert "(B4)  bar(ĉ) = δ_k ⊙ s_c" in found
    assert "(B5)  c̄ = c̄⁺ + (bar(ĉ) - mean(bar(ĉ)) - mean(bar(ĉ) ⊙ ĉ) ĉ) / σ_c" in found
    assert "(B15)  ū_2 = (bar(û_2) - mean(bar(û_2)) - mean(bar(û_2) ⊙ û_2) û_2) / σ_u_2" in found
    assert "(B19)  h̄_{t-1}⁺ = Uᵀ ū_2" in found and "(B24)  ∇U = Σ_t ū_2 h_{t-1}ᵀ" in found
    assert definitions(get("lstm_layernorm")) == [
        "u_1 = W x_t, û_1 = layer_norm(u_1), σ_u_1 = std(u_1)",
        "u_2 = U h_{t-1}, û_2 = layer_norm(u_2), σ_u_2 = std(u_2)",
        "ĉ = layer_norm(c), σ_c = std(c)",
    ]
    text = derivation(get("lstm_layernorm"))
    hat, bar, mean = r"\hat{c}_{t}", r"\bar{\hat{c}}_{t}", r"\operatorname{mean}\left("
    top = rf"{bar} - {mean}{bar}\right) - {mean}{bar} \odot {hat}\right)\, {hat}"
    assert rf"\bar{{c}}_{{t}} &= \bar{{c}}_{{t}}^{{+}} + \frac{{{top}}}{{\sigma_{{c,t}}}} \tag{{B5}}" in text
    assert r"u_{2,t} &= U\, h_{t-1}, \quad \hat{u}_{2,t} = \operatorname{LN}\left(u_{2,t}\right), \quad \sigma_{u_{2},t} = " in text


def test_a_normalisation_inside_of_a_line() -> None:
    cell = Cell("u = tanh(W @ x)\nh = sigmoid(g * layer_norm(u * (U @ h_prev) + b) + layer_norm(h_prev))", name="inside", output="h")
    found = tagged_formulas(differentiate(cell))
    assert definitions(cell) == [  # the letter u is taken
        "q = u ⊙ (U h_{t-1}) + b, q̂ = layer_norm(q), σ_q = std(q)",
        "ĥ_{t-1} = layer_norm(h_{t-1}), σ_h_{t-1} = std(h_{t-1})",
    ]
    assert found["B2"] == "δ_h = h̄ ⊙ h ⊙ (1 - h)"
    assert "q̄ = (bar(q̂) - mean(bar(q̂)) - mean(bar(q̂) ⊙ q̂) q̂) / σ_q" in found.values()
    back = next(line for line in found.values() if line.startswith("h̄_{t-1}⁺"))
    assert "(δ_h - mean(δ_h) - mean(δ_h ⊙ ĥ_{t-1}) ĥ_{t-1}) / σ_h_{t-1}" in back
    assert not any("hat(" in line or "bar(W" in line for line in found.values())


def test_a_line_that_is_a_normalisation() -> None:
    cell = Cell("y = layer_norm(W @ x)\nh = tanh(y + U @ h_prev)", name="whole", output="h")
    assert definitions(cell) == ["u = W x_t, σ_u = std(u)"]
    assert "ū = (δ_h - mean(δ_h) - mean(δ_h ⊙ y) y) / σ_u" in tagged_formulas(differentiate(cell)).values()


def test_functions_in_one_line_are_told_apart() -> None:
    cell = Cell("h = tanh(W @ x + b) * sigmoid(V @ x + U @ h_prev)", name="gated", output="h")
    found = tagged_formulas(differentiate(cell))
    assert [line.partition(" =")[0] for line in found.values() if line.startswith("δ")] == ["δ_h⁽²⁾", "δ_h⁽¹⁾"]
    assert "∇b = Σ_t δ_h⁽¹⁾" in found.values() and "h̄_{t-1}⁺ = Uᵀ δ_h⁽²⁾" in found.values()
    assert r"\delta_{h,t}^{(2)}" in derivation(cell) and "δ_v⁽¹⁾ belongs to" in show.text(cell)
    split = Cell("a, h = split(tanh(W @ x + U @ h_prev), 2)", name="parts", output="h")
    assert "h̄_{t-1}⁺ = Uᵀ δ_a" in tagged_formulas(differentiate(split)).values()


def test_constants_keep_their_names() -> None:
    found = lines("cornn")
    assert "(B2)  z̄ = z̄⁺ + dt ȳ" in found and "(B4)  z̄_{t-1}⁺ = Wzᵀ δ_z + (1 - dt eps) z̄" in found
    assert r"\bar{z}_{t} &= \bar{z}_{t}^{+} + \Delta t\, \bar{y}_{t}" in derivation(get("cornn"))
    cell = Cell("h = where(m > theta, alpha * h_prev + beta / alpha * (W @ x), h_prev)", name="leak", output="h",
                inputs=("x", "m"), shapes={"m": ""}, constants={"alpha": 0.9, "beta": 0.25, "theta": 0.5})  # fmt: skip
    for line in tagged_formulas(differentiate(cell)).values():
        assert not re.search(r"0\.\d", line), line


def test_a_sum_of_matrices_has_a_name() -> None:
    assert definitions(get("antisymmetric")) == ["M = W - Wᵀ - gamma I"]
    assert lines("antisymmetric")[-2:] == ["(B7)  ∇M = Σ_t δ_h h_{t-1}ᵀ", "(B8)  ∇W = ∇M - ∇Mᵀ"]
    assert "M = W - Wᵀ - gamma I\n" in show.structure(get("antisymmetric"))


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
    known = tagged_formulas(differentiate(get(name)))
    if has_blocks(get(name)):  # what a block repeats is written once: its copies have numbers that say so
        known = {tag: line for tag, line in known.items() if "." not in tag}
        assert known.keys() <= {*tags} and len(tags) == len(set(tags))
    else:
        assert len(tags) == len(set(tags)) == len(known)


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
