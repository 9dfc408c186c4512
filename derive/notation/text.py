"""A derivation as plain text: for terminals and for the comments of generated code."""

from __future__ import annotations

from ..calculus.derivation import BACKWARD, FORWARD, Derivation, differentiate
from ..calculus.ir import Equation
from ..language.definition import Definition
from .formula import Formulas, LineFormulas
from .style import Style, Text


def forward_lines(cell: Definition, style: Style | None = None) -> dict[str, str]:
    """Return each line of `cell`, by tag."""
    formulas = LineFormulas(cell, style or Text({}))
    return {f"F{k}": formulas.line(line) for k, line in enumerate(cell.equations, 1)}


def backward_lines(cell: Definition, style: Style) -> dict[str, str]:
    """Return every numbered formula of the cell's adjoint, by tag."""
    derivation = differentiate(cell)
    formulas = Formulas(cell, derivation[BACKWARD].recurrence, style, (derivation[FORWARD].recurrence,))
    numbered = [eq for eq in derivation[BACKWARD].recurrence.equations() if eq.shown and eq.tag.startswith("B")]
    return {eq.tag: formulas.equation(eq) for eq in sorted(numbered, key=lambda eq: int(eq.tag[1:]))}


def tagged_formulas(cell: Definition) -> dict[str, str]:
    """Return every numbered formula of the cell's derivation, by tag: F1, F2 …, B1, B2 …"""
    return forward_lines(cell) | backward_lines(cell, Text({}))


def formula(eq: Equation, derivation: Derivation, link: str) -> str:
    """Return the right side of an equation of a link, as the passes have made it."""
    rec = derivation[link].recurrence
    earlier = tuple(other.recurrence for other in derivation if other.name != link)
    text = Formulas(derivation.cell, rec, Text({}), earlier[:1]).node(eq.node)[0]
    return f"Σ_t {text}" if any(eq.name == other.name for other in rec.accumulators) else text
