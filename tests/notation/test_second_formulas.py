"""Second order as people read it: a dot for tangents, two bars for those of cotangents, and no line that says nothing."""

from __future__ import annotations

import re

import pytest

from derive.calculus.derivation import differentiate
from derive.calculus.second import second_order
from derive.cells import REGISTRY, get
from derive.notation import second
from derive.notation.style import Text
from derive.notation.text import adjoint_lines


def test_double_backward_of_the_simple_network() -> None:
    lines = second.text(get("rnn")).splitlines()
    for line in (
        "  (C1)  ȧ_h = ḃ + Ẇ x_t + U̇ h_{t-1} + W ẋ + U ḣ_{t-1}",
        "  (C2)  ḣ = ȧ_h ⊙ (1 - h²)",
        "  (C3)  h̿⁰ = -2 h̄ ⊙ ȧ_h ⊙ h",
        "  (D1)  h̿ = h̿⁰ + h̿⁺",
        "  (D2)  a̿_h = h̿ ⊙ (1 - h²)",
        "  (H2)  a̿_h = h̿ ⊙ (1 - h²) - 2 h̄ ⊙ ḣ ⊙ h",
    ):
        assert line in lines


def test_tangents() -> None:
    assert second.tangents(get("indrnn")).splitlines()[-2:] == [
        "  (T1)  ȧ_h = ḃ + Ẇ x_t + W ẋ + ḣ_{t-1} ⊙ u + u̇ ⊙ h_{t-1}",
        "  (T2)  ḣ = ȧ_h ⊙ [W x_t + u ⊙ h_{t-1} + b > 0]",
    ]


def test_latex() -> None:
    text = second.latex(get("rnn"))
    assert r"\dot{h}_{t} &= \dot{a}_{h,t} \odot \left(1 - h_{t}^{2}\right) \tag{C2}" in text
    assert r"\bar{\bar{h}}_{t} &= \bar{\bar{h}}_{t}^{0} + \bar{\bar{h}}_{t}^{+} \tag{D1}" in text
    assert second.tangents_latex(get("rnn")).count(r"\tag{T") == 2


@pytest.mark.parametrize("name", REGISTRY)
def test_every_line_of_every_cell(name: str) -> None:
    """Each can be written, says something, and has the next number of its link."""
    found = second_order(differentiate(REGISTRY[name]))
    for link in found.links[2:]:
        lines = adjoint_lines(found, link.name, Text({}))
        assert [int(re.sub(r"\D", "", tag)) for tag in lines] == list(range(1, len(lines) + 1)), link.name
        for tag, line in lines.items():
            left, right = line.split(" = ", 1)
            assert left != right, f"{tag}: {line}"
