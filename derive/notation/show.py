"""A cell as plain text: its symbols, its equations and their gradients, and how its states couple."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ..calculus.doubts import doubts
from ..calculus.jacobian import jacobian
from ..calculus.structure import structure as coupling
from ..language.definition import Definition
from ..language.sizes import axes_text
from . import written
from .jacobian import text_lines
from .style import Text
from .text import backward_lines, definitions, forward_lines


def text(cell: Definition) -> str:
    """Return title, symbols, equations and gradients."""
    lines = [cell.title or cell.name, *textwrap.wrap(cell.description, 100), *textwrap.wrap(cell.reference, 100)]
    lines += ["", "Parameters", *_table(cell.parameters, cell)]
    lines += ["", "One step", *(f"  {line}" for line in written.lines(cell))]
    if written.has_blocks(cell):
        lines += ["", "Written out", *(f"  ({tag})  {line}" for tag, line in forward_lines(cell).items())]
    lines += ["", "Backpropagation through time, from the last step to the first", *_legend(cell)]
    lines += [f"  ({tag})  {line}" for tag, line in backward_lines(cell, Text({})).items()]
    for doubt in doubts(cell):
        lines += ["", *textwrap.wrap(f"Warning: {doubt}", 100)]
    return "\n".join(lines)


def _legend(cell: Definition) -> list[str]:
    style = Text({})
    lines = ["  v̄ is ∂L/∂v, with L = Σ_t L_t; δ_v is ∂L/∂a, where a is the argument of the function in the line of v"]
    if cell.states:
        carried = style.carried(style.barred_name(cell.states[0], "t"))
        lines.append(f"  {carried} is the part of ∂L/∂{cell.states[0]} that comes back from later steps")
    if any("⁽" in line for line in backward_lines(cell, style).values()):
        lines.append("  where a line has several functions, δ_v⁽¹⁾ belongs to the one that is computed first")
    named = definitions(cell)
    if any("std(" in line for line in named):
        lines.append("  std(v) is √(mean((v - mean(v))²) + 0.00001)")
    return [*lines, *(f"  {line}" for line in named)]


def _table(names: Iterable[str], cell: Definition) -> list[str]:
    names = list(names)
    width = max(map(len, names), default=0)
    return [f"  {name:<{width}}  {axes_text(shape=cell.axes[name])}" for name in names] or ["  none"]


def structure(cell: Definition) -> str:
    """Return how states couple, and the Jacobian of one step, block by block."""
    found = coupling(cell)
    told = cell.states and found.coupling != "matrix"
    blocks = [*definitions(cell), *text_lines(jacobian(cell)).values()] if told else []
    return "\n".join([found.text(), "", *blocks]).rstrip()
