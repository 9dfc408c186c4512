"""Second order as text and LaTeX: double backward, tangents, and Hessians times vectors.

A tangent has a dot, as velocities have: v̇ is the derivative of v along a direction. The tangent of a cotangent v̄ has two bars, v̿; it is
R{v̄} of Pearlmutter 1994 (Neural Computation 6(1):147-160). Double backward computes both by other means: the cotangent of v̄ is v̇, as the
backward pass is linear in v̄, and that of v is v̿, as Hessians are symmetric.
"""

from __future__ import annotations

from ..calculus.derivation import differentiate
from ..calculus.second import ALONG, HESSIAN, TANGENT, THROUGH, TWICE, second_order
from ..language.definition import Definition
from .latex import aligned
from .style import Latex, Text
from .text import adjoint_lines

SECOND = (
    (TWICE, "Double backward: what the gradients' cotangents ẋ, Ẇ … do to the backward pass, from the first step to the last"),
    (THROUGH, "and from there to inputs, parameters and initial states, from the last step to the first"),
    (ALONG, "A Hessian times a vector ẋ, Ẇ …: tangents of the forward pass, from the first step to the last"),
    (HESSIAN, "and of the gradients, from the last step to the first"),
)
FORWARD_MODE = ((TANGENT, "Tangents along a direction ẋ, Ẇ …, from the first step to the last"),)
LEGEND = (
    "  v̇ is the derivative of v along the direction",
    "  v̿ is that of its cotangent v̄",
    "  v̿⁰ is the part of v̿ that does not come through later steps or values; v̿⁺ is what later steps hand back",
)


def text(cell: Definition) -> str:
    """Return the equations of second order as plain text."""
    return _text(cell, SECOND, LEGEND)


def tangents(cell: Definition) -> str:
    """Return the equations of forward mode as plain text."""
    return _text(cell, FORWARD_MODE, LEGEND[:1])


def latex(cell: Definition) -> str:
    """Return the equations of second order as LaTeX."""
    return _latex(cell, SECOND)


def tangents_latex(cell: Definition) -> str:
    """Return the equations of forward mode as LaTeX."""
    return _latex(cell, FORWARD_MODE)


Parts = tuple[tuple[str, str], ...]


def _text(cell: Definition, parts: Parts, legend: tuple[str, ...]) -> str:
    lines, found = [*legend], second_order(differentiate(cell))
    for link, title in parts:
        lines += ["", title, *(f"  ({tag})  {line}" for tag, line in adjoint_lines(found, link, Text({})).items())]
    return "\n".join(lines)


def _latex(cell: Definition, parts: Parts) -> str:
    found = second_order(differentiate(cell))
    return "\n".join(f"% {title}\n{aligned(adjoint_lines(found, link, Latex(cell.latex)))}" for link, title in parts)
