"""A derivation as LaTeX, for pages and papers."""

from __future__ import annotations

from collections.abc import Mapping

from ..language.definition import Definition
from .text import backward_lines, definitions
from .written import has_blocks, latex_of, written


def aligned(lines: Mapping[str, str], *, tags: bool = True) -> str:
    """Return formulas, one a line, aligned at their equals signs, with their numbers if `tags`."""
    rows = [text.replace(" = ", " &= ", 1) + (rf" \tag{{{tag}}}" if tags else "") for tag, text in lines.items()]
    return "\\begin{align}\n" + " \\\\\n".join(rows) + "\n\\end{align}"


def equations(cell: Definition, *, tags: bool = True) -> str:
    """Return the cell's own equations (F1 …)."""
    style = latex_of(cell)
    if not has_blocks(cell):
        return aligned({line.tag: line.text for line in written(cell, style)}, tags=tags)
    rows = [
        "& " + r"\quad " * line.depth + line.text + (rf" \tag{{{line.tag}}}" if tags and line.tag else "") for line in written(cell, style)
    ]
    return "\\begin{align}\n" + " \\\\\n".join(rows) + "\n\\end{align}"


def adjoint(cell: Definition) -> str:
    """Return the equations of backpropagation through time (B1 …)."""
    return aligned(backward_lines(cell, latex_of(cell)))


def named(cell: Definition) -> str:
    """Return what the names stand for that the adjoint uses and the author did not give; nothing, if there are none."""
    lines = definitions(cell, latex_of(cell))
    return aligned({str(k): line for k, line in enumerate(lines)}, tags=False) + "\n" if lines else ""


def derivation(cell: Definition) -> str:
    """Return both passes."""
    backward = f"% backpropagation through time, from the last step to the first\n{named(cell)}{adjoint(cell)}"
    return f"% {cell.title or cell.name}: one step\n{equations(cell)}\n{backward}"
