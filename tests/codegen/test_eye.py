"""The identity in matrices of parameters: what `Cell` accepts goes through every later stage."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ordinary, package
from fuzz.verify import verify

from derive import Cell
from derive.calculus.derivation import differentiate
from derive.command import show
from derive.notation.text import tagged_formulas
from derive.verify import report as check

SIZES = {"n": 4, "d": 4}
MATRICES = {
    "without its diagonal": "V - eye * V",
    "the diagonal from the right": "V - V * eye",
    "its diagonal alone": "(eye * V)",
    "a scaled diagonal": "V - a * eye * V",
    "another diagonal": "V * (1 - eye) + 0.5 * eye",
    "functions of it": "V * tanh(eye) + V / (2 + eye)",
    "chosen by it": "where(eye > 0.5, 0, V)",
    "sums of it": "V + V.T * (eye + 2 * eye)",
    "transposed": "(V * eye + U).T",
    "an array": "A * (eye - 1) + V",
}


def cell(matrix: str, name: str = "masked") -> Cell:
    return Cell(
        f"h = tanh(({matrix}) @ h_prev + W @ x) + sum(({matrix}) * V) / 9",
        name=name,
        output="h",
        shapes={"a": ""} if "a " in matrix else {},
        constants={"A": np.arange(16).reshape(4, 4) / 16} if "A" in matrix else {},
    )


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES.keys())
def test_every_stage(matrix: str) -> None:
    it = cell(matrix)
    verify(it, SIZES, simulate=True)
    assert all(form(it) for form in show.FORMS.values())


@pytest.mark.parametrize("matrix", ordinary(list(MATRICES)[:3], {next(iter(MATRICES))}))
def test_compiled_kernels(matrix: str) -> None:
    it = cell(MATRICES[matrix], "masked")
    report = check.check(it, module=package(it)["masked"])
    assert report.ok, report.failures


def test_a_line_of_its_own() -> None:
    it = Cell("A = V * (1 - eye)\nh = tanh(A @ h_prev + W @ x)", name="line", output="h")
    verify(it, SIZES)
    lines = tagged_formulas(differentiate(it))
    assert lines["F1"] == "A = V ⊙ (1 - I)" and any(line == "∇V = ∇A ⊙ (1 - I)" for line in lines.values())
