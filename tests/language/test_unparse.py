"""Text from trees: what is written reads back as the same tree, with the fewest brackets."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derive.language.parse import parse
from derive.language.tree import Assignment, Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Transpose
from derive.language.unparse import unparse

NUMBERS = st.builds(lambda k, e: Number(Fraction(k) / 10**e), st.integers(0, 999), st.integers(0, 12))
NAMES = st.sampled_from("abcxyz").map(Name)
EXPONENTS = st.builds(Fraction, st.integers(-40, 40), st.integers(1, 9))


def larger(parts: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Negative, parts),
        st.builds(Binary, st.sampled_from("+-*"), parts, parts),
        st.builds(Binary, st.just("/"), parts, parts.filter(lambda below: below != Number(Fraction(0)))),  # the language refuses that
        st.builds(Power, parts, EXPONENTS),
        st.builds(MatMul, parts, parts),
        st.builds(Transpose, parts),
        st.lists(parts, min_size=1, max_size=3).map(lambda p: Concat(tuple(p))),
        parts.map(lambda p: Call("tanh", (p,))),
        st.builds(lambda a, b: Call("maximum", (a, b)), parts, parts),
        st.builds(lambda op, a, b: Call("where", (Compare(op, a, b), a, b)), st.sampled_from(["<", "<=", ">", ">="]), parts, parts),
    )


EXPRESSIONS = st.recursive(NUMBERS | NAMES | st.just(Call("eye", ())), larger, max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_text_reads_back_as_the_same_tree(expr: Expr) -> None:
    lines = (Assignment(("h",), expr), Assignment(("a", "b"), expr))
    assert parse(unparse(lines)) == lines


@pytest.mark.parametrize(
    "line",
    [
        "h = A @ B @ v",
        "h = (u @ v) @ w",
        "h = (1 - z) * g + z * h_prev",
        "h = a - (b - c)",
        "h = -x ** 2 / 0.5",
        "h = r * (U @ h_prev)",
        "h = x ** (1/3)",
    ],
)
def test_brackets_are_the_fewest(line: str) -> None:
    assert unparse(parse(line)) == line
