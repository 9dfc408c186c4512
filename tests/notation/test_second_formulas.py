"""Second order as people read it: a dot for tangents, two bars for those of cotangents, and no line that says nothing."""

from __future__ import annotations

import re

import pytest

from derive import Cell
from derive.calculus.derivation import differentiate
from derive.calculus.second import second_order
from derive.cells import REGISTRY, get
from derive.notation import second
from derive.notation.style import Latex, Text
from derive.notation.text import adjoint_lines, tagged_formulas


def test_double_backward_of_the_simple_network() -> None:
    lines = second.text(get("rnn")).splitlines()
    for line in (
        "  (C1)  ȧ_h = Ẇ x_t + U̇ h_{t-1} + W ẋ + U ḣ_{t-1} + ḃ",
        "  (C2)  ḣ = ȧ_h ⊙ (1 - h²)",
        "  (C3)  h̿⁰ = -2 h̄ ⊙ ȧ_h ⊙ h",
        "  (C5)  h̿_{t-1}⁺⁰ = U̇ᵀ δ_h",
        "  (C6)  W̿⁰ = Σ_t δ_h ẋᵀ",
        "  (D1)  h̿ = h̿⁰ + h̿⁺",
        "  (D2)  a̿_h = h̿ ⊙ (1 - h²)",
        "  (D3)  h̿_{t-1}⁺ = h̿_{t-1}⁺⁰ + Uᵀ a̿_h",
        "  (D5)  W̿ = W̿⁰ + Σ_t a̿_h x_tᵀ",
        "  (H1)  h̿ = ∂L̇_t/∂h + h̿⁺",
        "  (H2)  a̿_h = h̿ ⊙ (1 - h²) - 2 h̄ ⊙ ḣ ⊙ h",
        "  (H5)  W̿ = Σ_t (δ_h ẋᵀ + a̿_h x_tᵀ)",
    ):
        assert line in lines


def test_tangents() -> None:
    assert second.tangents(get("indrnn")).splitlines()[-2:] == [
        "  (T1)  ȧ_h = Ẇ x_t + W ẋ + ḣ_{t-1} ⊙ u + u̇ ⊙ h_{t-1} + ḃ",
        "  (T2)  ḣ = ȧ_h ⊙ [W x_t + u ⊙ h_{t-1} + b > 0]",
    ]


def test_a_normalisation_and_its_tangent_look_alike() -> None:
    found = second.tangents(get("lstm_layernorm")).splitlines()
    assert "  u_1 = W x_t, û_1 = layer_norm(u_1), σ_u_1 = std(u_1)" in found
    assert "  (T2)  dot(û_1) = (u̇_1 - mean(u̇_1) - mean(u̇_1 ⊙ û_1) û_1) / σ_u_1" in found
    assert "  (T5)  [ȧ_i, ȧ_f, ȧ_g, ȧ_o] = ṡ_h ⊙ û_2 + ṡ_x ⊙ û_1 + dot(û_2) ⊙ s_h + dot(û_1) ⊙ s_x" in found
    assert "  (T6)  ż_i = ȧ_i + ḃ_i" in found  # a_i is a name of the author's, so the argument of the function has another letter
    lines = second.text(get("lstm_layernorm")).splitlines()
    assert "  (A19)  σ̇_c = mean(ċ ⊙ ĉ)" in lines
    inside = (
        "bars(ĉ) + mean(bar(ĉ) ⊙ ĉ) mean(dot(ĉ)) - mean(bars(ĉ)) - mean(bar(ĉ) ⊙ ĉ) dot(ĉ) - mean(bars(ĉ) ⊙ ĉ) ĉ - mean(bar(ĉ) ⊙ dot(ĉ)) ĉ"
    )
    assert any(line.partition(" = ")[2].startswith(f"c̿⁺ + ({inside}) / σ_c - σ̇_c (") for line in lines)


def test_what_has_no_name_is_moved_as_a_product_is() -> None:
    lines = second.text(get("gru")).splitlines()
    assert "  (C5)  ȧ_g = Ẇ_n x_t + W_n ẋ + ṙ ⊙ (U_n h_{t-1} + b_hn) + r ⊙ (U̇_n h_{t-1} + U_n ḣ_{t-1} + ḃ_hn) + ḃ_in" in lines
    assert "  (H7)  r̿ = a̿_g ⊙ (U_n h_{t-1} + b_hn) + δ_g ⊙ (U̇_n h_{t-1} + U_n ḣ_{t-1} + ḃ_hn)" in lines


def test_latex() -> None:
    text = second.latex(get("rnn"))
    assert r"\dot{h}_{t} &= \dot{a}_{h,t} \odot \left(1 - h_{t}^{2}\right) \tag{C2}" in text
    assert r"\bar{\bar{h}}_{t} &= \bar{\bar{h}}_{t}^{0} + \bar{\bar{h}}_{t}^{+} \tag{D1}" in text
    assert r"\bar{\bar{h}}_{t-1}^{+} &= \bar{\bar{h}}_{t-1}^{+0} + U^{\top}\, \bar{\bar{a}}_{h,t} \tag{D3}" in text
    assert r"\bar{\bar{h}}_{t} &= \frac{\partial \dot{L}_{t}}{\partial h_{t}} + \bar{\bar{h}}_{t}^{+} \tag{H1}" in text
    assert second.tangents_latex(get("rnn")).count(r"\tag{T") == 2
    text = second.tangents_latex(get("lstm_layernorm"))
    assert r"\dot{\hat{u}}_{1,t} &= \frac{\dot{u}_{1,t} - " in text and r"\hat{u}_{1,t} = \operatorname{LN}" in text


def test_a_matrix_that_is_used_twice_has_one_gradient() -> None:
    found = differentiate(Cell("h = tanh(W @ x + U @ tanh(U @ h_prev))", name="shared", output="h"))
    assert [line for line in tagged_formulas(found).values() if line.startswith("∇U")] == [
        "∇U = Σ_t (δ_h⁽²⁾ tanh(U h_{t-1})ᵀ + δ_h⁽¹⁾ h_{t-1}ᵀ)"
    ]


def test_signs_are_told_where_they_stand() -> None:
    told = {name: second.text(get(name)).partition("\n\n")[0] for name in ("rnn", "lru", "lstm_layernorm")}
    assert "  a_v is the argument" in told["rnn"] and "  z_v is the argument" in told["lstm_layernorm"]
    assert "v̿¹" in told["lru"] and "v̿¹" not in told["rnn"]
    assert "y̿⁰ is zero" in told["lru"] and "⁰ is zero" not in told["rnn"]
    assert "  dot(…) and bars(…): the mark" in told["lru"] and "bars(…)" not in told["rnn"]


def test_a_dot_over_an_i_is_written_in_words() -> None:
    """Else it would be read as the letter's own."""
    lines = second.tangents(get("lstm")).splitlines()
    assert "  (T2)  dot(i) = ȧ_i ⊙ i ⊙ (1 - i)" in lines
    assert "  (T9)  ċ = ḟ ⊙ c_{t-1} + ċ_{t-1} ⊙ f + ġ ⊙ i + dot(i) ⊙ g" in lines
    assert r"\dot{i}_{t} &= " in second.tangents_latex(get("lstm"))


def follows(symbol: str, text: str) -> bool:
    """Say whether a symbol stands in a formula, and not as the beginning or the end of another one."""
    return re.search(rf"(?<![\w\\\u0304\u0307\u033f]){re.escape(symbol)}(?![\w{{}}^⁰⁺¹⁽\u0304\u0307\u033f])", text) is not None


@pytest.mark.parametrize("name", REGISTRY)
def test_every_line_of_every_cell(name: str) -> None:
    """Each has the next number of its link, says something new, and equates no symbol with a sum of itself."""
    cell = REGISTRY[name]
    found = second_order(differentiate(cell))
    for link in found.links[1:]:
        for style in (Text({}), Latex(cell.latex)):
            lines = adjoint_lines(found, link.name, style)
            assert [int(re.sub(r"\D", "", tag)) for tag in lines] == list(range(1, len(lines) + 1)), link.name
            sides = [line.split(" = ", 1) for line in lines.values()]
            assert len({left for left, _ in sides}) == len(lines), link.name
            for left, right in sides:
                assert not follows(left, right), f"{left} = {right}"
                assert "bar(bar(" not in left + right and "dot(bar" not in left + right


def test_a_symbol_on_both_sides_is_seen() -> None:
    for left, right in (("W̿", "W̿ + W̿"), (r"\bar{\bar{W}}", r"\bar{\bar{W}} + x_{t}"), ("ȧ_h", "2 ȧ_h")):
        assert follows(left, right)
    for left, right in (("W̿", "W̿⁰ + W̿_i"), ("h̿", "h̿_{t-1} + h̿⁺"), (r"\bar{h}_{t}", r"\bar{h}_{t}^{+}"), ("a", "ā + a_h")):
        assert not follows(left, right)
