"""What a cell's page says of its symbols and its structure."""

from __future__ import annotations

import html

from ..calculus.laws import is_linear, no_tangent
from ..notation.reasons import listed
from . import markup, symbols
from .formulas import inline
from .page import Page
from .symbols import usual


def known(page: Page) -> str:
    """Shapes and origins, and the number of parameters."""
    rows = [
        [inline(s.tex), f"<code>{s.name}</code>", f"<code>{s.shape.replace('*', '')}</code>", markup.sentence(s.what)]
        for s in symbols.symbols(page.cell)
    ]
    return f"{markup.table(['symbol', 'in the text', 'shape', 'what it is'], rows, kind='symbols')}\n\n{_counts(page)}"


def _counts(page: Page) -> str:
    cell = page.cell
    sizes = [f"{inline(name)} is the number of {text}" for name, text in symbols.sizes(cell).items()]
    where = f"{listed(sizes)}. " if sizes else ""
    shapes = "Shapes are those of one sequence; a batch has a row for each."
    if not cell.parameters:
        return f"<p>{where}{shapes} There are no parameters.</p>"
    number = symbols.count_at(cell, usual(cell))
    at = f", {number:,}{symbols.at(cell)}" if cell.sizes else ""
    return f"<p>{where}{shapes} The parameters hold {inline(symbols.parameter_tex(cell))} numbers{at}.</p>"


def structure(page: Page) -> str:
    """What the Jacobian says about the cell."""
    if not is_linear(page.cell):
        return f"<p>{markup.sentence(f'{no_tangent(page.cell)}.')}</p>"
    rows = [line.split("  ", 1) for line in page.cell.structure.text().splitlines()]
    head = "answer, read off the Jacobian" if page.cell.structure.coupling != "matrix" else "answer"
    return markup.table(["question", head], [[html.escape(part.strip(), quote=False) for part in row] for row in rows])
