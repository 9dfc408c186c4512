"""A derivation as plain text: for terminals and for the comments of generated code."""

from __future__ import annotations

from ..cell import Cell
from ..derivation import Derivation
from ..ir import Equation
from .formula import Formulas, LineFormulas
from .notation import Text


def forward_lines(cell: Cell) -> dict[str, str]:
    """Return the text of each line of `cell`, by tag."""
    formulas = LineFormulas(cell, Text({}))
    return {f"F{k}": formulas.line(line) for k, line in enumerate(cell.equations, 1)}


def describe(eq: Equation, derivation: Derivation) -> str:
    """Return the formula of any equation of `derivation`."""
    rec = derivation.backward if eq.name not in derivation.forward.types or eq.tag.startswith("B") else derivation.forward
    if eq.name not in rec.types:
        rec = derivation.backward
    return Formulas(derivation.cell, rec, Text({})).equation(eq)
