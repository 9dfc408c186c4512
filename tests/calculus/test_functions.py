"""Every function of the language through the kernels: value and derivative, against automatic differentiation."""

from __future__ import annotations

import numpy as np
import pytest

from derive import Cell
from derive.calculus.functions import FUNCTIONS, Composed
from derive.language.vocabulary import ARITY, ELEMENTWISE
from derive.verify.report import check
from derive.verify.values import VALUES

SMOOTH = """
a = W @ x + U @ h_prev
p = {terms}
h = tanh(p)
"""


def cell(name: str, terms: list[str]) -> Cell:
    """Return a cell whose state is made of `terms`, expressions in `a`."""
    return Cell(SMOOTH.format(terms=" + ".join(f"{0.1 + 0.05 * k:.2f} * {term}" for k, term in enumerate(terms))), name=name, output="h")


UNARY = [f"{name}(a)" for name in sorted(ELEMENTWISE) if ARITY[name] == 1 and name not in ("log", "sqrt", "detach")]
OTHERS = [
    "log(softplus(a) + 0.1)",
    "sqrt(1 + a**2)",
    "maximum(a, 0.3 * x)",
    "minimum(a, h_prev)",
    "where(a > x, a, h_prev)",
    "where(a <= 0.1, 2, a)",
    "softmax(a)",
    "logsumexp(a)",
    "sum(a * x)",
    "mean(a)",
    "layer_norm(a)",
    "(a @ h_prev)",
    "(1 + a**2) ** -1.5",
    "a**3 / (2 + sin(a))",
]
CHANGED = ["detach(a) * a", "clip_gradient(a, -0.02, 0.01)", "-clip_gradient(a * x, -0.01, 0.02)", "scale_gradient(sin(a), -0.5)"]


def test_nothing_is_left_out() -> None:
    named = {text.lstrip("-").split("(")[0] for text in (*UNARY, *OTHERS, *CHANGED)}
    assert set(ARITY) - named == {"pick", "split", "outer", "merge", "part", "len"}  # these have tests of their own


def test_every_function_has_a_value() -> None:
    computed = {name: function for name, function in FUNCTIONS.items() if not issubclass(function, Composed)}
    assert VALUES.keys() == computed.keys()
    for name, function in computed.items():
        assert VALUES[name](*(np.full(3, 0.5) for _ in range(function.info.arity))).shape == (3,), name


@pytest.mark.parametrize("terms", [UNARY, OTHERS, CHANGED], ids=["of one argument", "others", "with changed gradients"])
def test_values_and_gradients(terms: list[str]) -> None:
    report = check(cell("all_functions", terms), sizes={"d": 9, "n": 9}, steps=3, batch=2)
    assert report.ok, report.failures
