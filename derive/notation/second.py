"""Second order as text and LaTeX: double backward, tangents, and Hessians times vectors.

A tangent has a dot, as velocities have: v̇ is the derivative of v along a direction. The tangent of a cotangent v̄ has two bars, v̿; it is
R{v̄} of Pearlmutter 1994 (Neural Computation 6(1):147-160). Double backward computes both by other means: the cotangent of v̄ is v̇, as the
backward pass is linear in v̄, and that of v is v̿ where v is given, as Hessians are symmetric.

On the way the two differ: in double backward v̿ is ∂M/∂v, with M the loss of the gradients, and the values of the forward pass that the
backward pass reads are variables of their own.
"""

from __future__ import annotations

import re

from ..calculus.chain import Derivation
from ..calculus.derivation import differentiate
from ..calculus.laws import is_true, no_tangent
from ..calculus.second import ALONG, HESSIAN, TANGENT, THROUGH, TWICE, second_order
from ..language.definition import Definition
from ..language.errors import CellError
from .called import argument_letter
from .latex import aligned, named
from .style import Text
from .text import adjoint_lines, definitions
from .written import latex_of

SECOND = (
    (TWICE, "Double backward: the gradients' cotangents ẋ, Ẇ … go back through the backward pass, from the first step to the last"),
    (THROUGH, "and from there to inputs, parameters and initial states, from the last step to the first"),
    (ALONG, "A Hessian times a vector ẋ, Ẇ …: tangents of the forward pass, from the first step to the last"),
    (HESSIAN, "and of the gradients, from the last step to the first"),
)
FORWARD_MODE = ((TANGENT, "Tangents along a direction ẋ, Ẇ …, from the first step to the last"),)
ALONG_A_DIRECTION = "v̇ is the derivative of v along the direction"
OF_SECOND_ORDER = (
    f"{ALONG_A_DIRECTION}; in double backward it is the cotangent of v̄, because the backward pass is linear in v̄",
    "(A), (H): v̿ is the derivative of v̄ along the direction, ∂L̇_t/∂v that of ∂L_t/∂v",
    "(C), (D): v̿ is ∂M/∂v, where M is the loss of which ẋ, Ẇ … are the derivatives with respect to x̄, ∇W …",
    "    v̿⁰ is the part of it that comes through the backward pass",
    "for what is given, x, W …, the two are the same, because Hessians are symmetric",
    "v̿⁺ is the part of v̿ that comes back from later steps, v̿⁺⁰ the part of that which comes through the backward pass",
)


OF_OTHERS = (
    "ẋ, Ẇ … are the cotangents of x̄, ∇W …; v̇ is that of v̄, and v̿ that of v: ∂M/∂v, where M is the loss of which ẋ, Ẇ … are the derivatives",
    "    v̿⁰ is the part of it that comes through the backward pass",
    "v̿⁺ is the part of v̿ that comes back from later steps, v̿⁺⁰ the part of that which comes through the backward pass",
    "the cell's gradients are not those of its values: Hessians need not be symmetric",
)


def text(cell: Definition) -> str:
    """Return the equations of second order as plain text."""
    return _text(cell, SECOND, OF_SECOND_ORDER if is_true(cell) else OF_OTHERS)


def tangents(cell: Definition) -> str:
    """Return the equations of forward mode as plain text."""
    return _text(cell, FORWARD_MODE, (ALONG_A_DIRECTION, *definitions(cell)))


def latex(cell: Definition) -> str:
    """Return the equations of second order as LaTeX."""
    return _latex(cell, SECOND)


def tangents_latex(cell: Definition) -> str:
    """Return the equations of forward mode as LaTeX."""
    return named(cell) + _latex(cell, FORWARD_MODE)


Parts = tuple[tuple[str, str], ...]


def _parted(cell: Definition, parts: Parts) -> tuple[Derivation, Parts]:
    """Return a cell's chain, and those of some parts that it has; CellError, if it has none."""
    found = second_order(differentiate(cell))
    known = {link.name for link in found}
    parts = tuple(part for part in parts if part[0] in known)
    if not parts:
        raise CellError(f"{cell.name}: {no_tangent(cell)}")
    return found, parts


def _text(cell: Definition, parts: Parts, legend: tuple[str, ...]) -> str:
    found, parts = _parted(cell, parts)
    made = {link: adjoint_lines(found, link, Text({})) for link, _ in parts}
    said = "\n".join(line for lines in made.values() for line in lines.values())
    lines = [f"  {line}" for line in (*legend, *_signs(found, said))]
    for link, title in parts:
        lines += ["", title, *(f"  ({tag})  {line}" for tag, line in made[link].items())]
    return "\n".join(lines)


def _signs(found: Derivation, said: str) -> list[str]:
    """Say what the signs mean that stand in the lines of few cells."""
    style, letter = Text({}), argument_letter(found.cell)
    lines = []
    if any(re.search(rf"{style.argument(letter, '', '', mark=mark)}[^{{]", said) for mark in ("dot", "bars")):
        lines.append(f"{letter}_v is the argument of the function in the line of v")
    if "¹" in said:
        lines.append("v̿¹ is what (D) adds to v̿⁰, on the way to a parameter")
    if unread(found) and (seed := style.raised(style.marked_name("bars", found.cell.output, "t"), "0")) in said:
        lines.append(f"{seed} is zero: the backward pass of a step does not read {found.cell.output}")
    if words := [word for word in ("dot", "bars") if f"{word}(" in said]:
        lines.append(f"{' and '.join(f'{word}(…)' for word in words)}: the mark, where it cannot be put above a letter")
    return lines


def unread(found: Derivation) -> bool:
    """Say whether the backward pass does not read the output, which then gets nothing from double backward."""
    return found.cell.output not in found[TWICE].cotangent


def _latex(cell: Definition, parts: Parts) -> str:
    found, parts = _parted(cell, parts)
    return "\n".join(f"% {title}\n{aligned(adjoint_lines(found, link, latex_of(cell)))}" for link, title in parts)
