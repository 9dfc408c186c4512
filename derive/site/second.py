"""Second order on a cell's page: tangents, and double backward."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from ..calculus.chain import Derivation
from ..calculus.laws import is_linear, is_true, no_tangent
from ..calculus.second import TANGENT, THROUGH, TWICE, second_order
from ..notation.called import argument_letter
from ..notation.explicit import explicit_tangent_latex
from ..notation.second import unread
from ..notation.text import adjoint_lines, left_side
from . import markup
from .formulas import display
from .page import Page

MANY = 10  # lines of tangents: those that are more are folded
DOUBLE = "Double backward: the derivatives of a function of the gradients"
WRITTEN_OUT = (
    r"Written out, with all parameters as one long vector $\theta$: what moves the state at a step $t$ is carried to step $k$ by the "
    "Jacobians of the steps between."
)
READ = (
    r"Its derivative with respect to $v_t$ is $\bar{\bar{v}}_t$. One part of it, $\bar{\bar{v}}_t^{0}$, comes through the backward pass, "
    "which reads $v_t$:"
)
OTHERWISE = (
    "The gradients of this cell are not those of its values: this derivative is not that of a gradient along a direction, and the matrix "
    "in the place of a Hessian is not symmetric."
)
SYMMETRIC = (
    "For an input, a parameter or an initial state, this derivative of $M$ is at the same time the derivative of its gradient along the "
    "direction, a Hessian times a vector: Hessians are symmetric."
)


@dataclass(frozen=True)
class Lines:
    """The lines of second order of a cell, in LaTeX by number: tangents, and double backward through both passes."""

    page: Page
    found: Derivation

    @cached_property
    def tangents(self) -> dict[str, str]:
        return adjoint_lines(self.found, TANGENT, self.page.style)

    @cached_property
    def twice(self) -> dict[str, str]:
        """Without those that are the tangents' own."""
        own = {left_side(line) for line in self.tangents.values()}
        every = adjoint_lines(self.found, TWICE, self.page.style)
        return {tag: line for tag, line in every.items() if left_side(line) not in own}

    @cached_property
    def through(self) -> dict[str, str]:
        return adjoint_lines(self.found, THROUGH, self.page.style)


def second(page: Page) -> str:
    """The tangents of the lines, and how the derivatives of a function of the gradients go back through both passes."""
    if not is_linear(page.cell):
        return f"<p>{markup.sentence(f'{no_tangent(page.cell)}. Double backward there is: the clip is differentiated as it is.')}</p>"
    lines = Lines(page, second_order(page.derivation))
    tangents = _folded(_ordered(page), _tangents(lines), unfolded=len(lines.tangents) <= MANY)
    double = [*_through_backward(lines, " as above"), *_through_forward(lines)]
    return "\n\n".join([_introduced(page, "The lines above"), tangents, _folded(DOUBLE, double)])


def pieces(page: Page) -> list[tuple[str, str]]:
    """The same where it does not stand below the lines: titles and texts of its pieces."""
    if not is_linear(page.cell):
        return [("", second(page))]
    lines = Lines(page, second_order(page.derivation))
    parts = {
        "": [_introduced(page, "The lines of the cell")],
        _ordered(page): _tangents(lines),
        "Double backward, through the backward pass": _through_backward(lines),
        "Double backward, through the forward pass": [*_before(lines), *_through_forward(lines)],
    }
    return [(title, "\n\n".join(part)) for title, part in parts.items()]


def _given(page: Page) -> list[tuple[str, str]]:
    """Return what is given and moves, with its time: an input, the parameters, other inputs, the context, the states before."""
    cell = page.cell
    inputs = [(name, "t") for name in cell.inputs if name not in cell.without_gradient]
    static = [(name, "") for name in (*cell.parameters, *cell.context) if name not in cell.fixed]
    return [*inputs[:1], *static, *inputs[1:], *((state, "0") for state in cell.states)]


def _listed(formulas: list[str]) -> str:
    """Return the first two formulas as examples of all."""
    shown = [f"${formula}$" for formula in formulas[:2]]
    return f"{', '.join(shown)} and so on" if len(formulas) > 2 else " and ".join(shown)


def _introduced(page: Page, lines: str) -> str:
    """Say what a dot means; `lines` are those of the cell."""
    moves = [f"{page.style.name(*name)}$ by ${page.style.marked_name('dot', *name)}" for name in _given(page)]
    told = (
        f"{lines}, differentiated once more. Let everything that is given move along one direction, {_listed(moves)}. "
        r"Then $\dot{v}_t$ is the derivative of $v_t$ along that direction."
    )
    link = f' <a href="{page.links.second}">What this is for, and why it holds</a>.' if page.links.second else ""
    return f"<p>{markup.sentence(told)}{link}</p>"


def _ordered(page: Page) -> str:
    return f"Tangents{', from the first step to the last' if page.cell.states else ''}"


def _tangents(lines: Lines) -> list[str]:
    """Forward mode, line by line and as a sum over steps."""
    cell, letter = lines.page.cell, argument_letter(lines.page.cell)
    parts = [markup.equations(lines.tangents)]
    if any(re.search(rf"\\dot{{{letter}}}_{{.*?,t}}", line) for line in lines.tangents.values()):
        parts.append(_sentence(f"${letter}_{{v,t}}$ is the argument of the function in the line of $v_t$."))
    if cell.states:
        block = f'<div class="block">{display(explicit_tangent_latex(cell))}</div>'
        parts += [_sentence(WRITTEN_OUT), f'<div class="blocks" data-search-exclude>{block}</div>']
    return parts


def _through_backward(lines: Lines, where: str = "") -> list[str]:
    """Double backward as far as the backward pass; `where` the tangents are."""
    return [_sentence(f"{_function(lines.page)} {_again(lines.tangents, where)} {READ}"), markup.equations(lines.twice)]


def _before(lines: Lines) -> list[str]:
    """Say what has been found through the backward pass, which may be on another page."""
    told = r"$M$ is still that function of the gradients. Of its derivative with respect to $v_t$, $\bar{\bar{v}}_t^{0}$ is found from"
    return [_sentence(f"{told} [{first}] on.") for first in [*lines.twice][:1]]


def _through_forward(lines: Lines) -> list[str]:
    """The rest of double backward."""
    told = SYMMETRIC if is_true(lines.page.cell) else OTHERWISE
    return [_sentence(_then(lines.page, lines.found, lines.through)), markup.equations(lines.through), _sentence(told)]


def _function(page: Page) -> str:
    """Say what is differentiated."""
    style = page.style
    by = [style.marked_name("bar", name, time) if time else style.nabla(style.name(name)) for name, time in _given(page)]
    dotted = [style.marked_name("dot", *name) for name in _given(page)]
    return f"Let $M$ be a function of the gradients, whose derivatives with respect to {_listed(by)} are {_listed(dotted)}."


def _again(tangents: Mapping[str, str], where: str) -> str:
    first, *_, last = [*tangents, *tangents]
    lines = {1: f"[{first}]", 2: f"[{first}] and [{last}]"}.get(len(tangents), f"[{first}] to [{last}]")
    told = rf"Its derivative with respect to any $\bar{{v}}_t$ is the tangent $\dot{{v}}_t$, by {lines}{where}"
    return f"{told}: the backward pass is linear in its cotangents."


def _then(page: Page, found: Derivation, through: Mapping[str, str]) -> str:
    """Say how the rest comes about, and what the signs mean that stand in it."""
    style, said = page.style, "".join(through.values())
    parts = ["The rest comes through the values of the forward pass" + (", from the last step to the first." if page.cell.states else ".")]
    if page.cell.states:
        parts.append(f"${style.carried('{}')}$ marks the part that comes back from later steps.")
    seed = style.raised(style.marked_name("bars", page.cell.output, "t"), "0")
    if unread(found) and seed in said:
        parts.append(f"${seed}$ is zero, as the backward pass of a step does not read ${style.name(page.cell.output, 't')}$.")
    if "^{1}" in said:
        parts.append("$v^{1}$ marks what is added to $v^{0}$ here on the way to a parameter.")
    return " ".join(parts)


def _sentence(text: str) -> str:
    return f"<p>{markup.sentence(text)}</p>"


def _folded(title: str, parts: list[str], *, unfolded: bool = False) -> str:
    inside = "\n".join(parts)
    return f"<details{' open' if unfolded else ''}><summary>{title}</summary>\n{inside}\n</details>"
