"""A derivation as plain text: for terminals and for the comments of generated code."""

from __future__ import annotations

from ..cell import Cell
from ..derivation import Derivation, differentiate
from ..ir import Equation
from .formula import Formulas, LineFormulas
from .notation import Text


def forward_lines(cell: Cell) -> dict[str, str]:
    """Return the text of each line of `cell`, by tag."""
    formulas = LineFormulas(cell, Text({}))
    return {f"F{k}": formulas.line(line) for k, line in enumerate(cell.equations, 1)}


def tagged_formulas(cell: Cell) -> dict[str, str]:
    """Return every numbered formula of the cell's derivation, by tag: F1, F2 …, B1, B2 …"""
    backward = differentiate(cell).backward
    formulas = Formulas(cell, backward, Text({}))
    return forward_lines(cell) | {eq.tag: formulas.equation(eq) for eq in backward.equations() if eq.shown and eq.tag.startswith("B")}


def formula(eq: Equation, derivation: Derivation) -> str:
    """Return the right side of an equation of either pass."""
    forward = any(eq.name == other.name for other in derivation.forward.equations())
    rec = derivation.forward if forward else derivation.backward
    text = Formulas(derivation.cell, rec, Text({})).node(eq.node)[0]
    return f"Σ_t {text}" if any(eq.name == other.name for other in rec.accumulators) else text
