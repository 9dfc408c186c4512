"""A derivation as plain text: for terminals and for the comments of generated code."""

from __future__ import annotations

from ..calculus.chain import BACKWARD, Derivation
from ..calculus.derivation import differentiate
from ..calculus.ir import Equation
from ..calculus.second import parts
from ..calculus.tags import place
from ..language.definition import Definition
from .formula import Formulas
from .lines import LineFormulas
from .style import Style, Text


def forward_lines(cell: Definition, style: Style | None = None) -> dict[str, str]:
    """Return each line of `cell`, blocks and functions written out, by tag."""
    formulas = LineFormulas(cell, style or Text({}))
    return {f"F{number}": formulas.line(line) for number, line in zip(cell.unrolled.numbers, cell.equations, strict=True)}


def formulas_of(derivation: Derivation, link: str, style: Style) -> Formulas:
    """Return the formulas of a link, which know those before it."""
    names = [other.name for other in derivation]
    earlier = tuple(derivation[name].recurrence for name in names[: names.index(link)])
    rest, apart = parts(derivation, link)
    return Formulas(derivation.cell, derivation[link].recurrence, style, earlier, rest, apart)


def definitions(cell: Definition, style: Style | None = None) -> list[str]:
    """Return what the names stand for that the backward lines use and the author did not give, a line for each function."""
    return formulas_of(differentiate(cell), BACKWARD, style or Text({})).definitions()


def adjoint_lines(derivation: Derivation, link: str, style: Style) -> dict[str, str]:
    """Return every numbered formula of a link that is an adjoint, by tag."""
    formulas = formulas_of(derivation, link, style)
    rec, known = formulas.rec, {eq.name for before in formulas.earlier for eq in before.equations()}
    numbered = [eq for eq in rec.equations() if eq.shown and eq.tag and eq.name not in known]
    return {eq.tag: formulas.equation(eq) for eq in sorted(numbered, key=lambda eq: place(eq.tag))}


def left_side(line: str) -> str:
    """Return what a formula says is equal to something."""
    return line.partition(" = ")[0]


def backward_lines(cell: Definition, style: Style) -> dict[str, str]:
    """Return every numbered formula of the cell's adjoint, by tag."""
    return adjoint_lines(differentiate(cell), BACKWARD, style)


def tagged_formulas(derivation: Derivation) -> dict[str, str]:
    """Return every numbered formula of a chain, as it was differentiated, by tag: F1, F2 …, B1, B2 …"""
    lines = forward_lines(derivation.cell)
    for link in derivation:
        lines |= adjoint_lines(derivation, link.name, Text({})) if link.of else {}
    return lines


def formula(eq: Equation, formulas: Formulas) -> str:
    """Return the right side of an equation of a link, as the passes have made it."""
    text = formulas.node(eq.node)[0]
    return f"Σ_t {text}" if any(eq.name == other.name for other in formulas.rec.accumulators) else text
