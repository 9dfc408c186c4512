"""The picture of a cell as a figure of a page, with what its colours and signs mean."""

from __future__ import annotations

import re

from ..cell import Cell
from ..notation.lines import LineFormulas
from ..notation.reasons import listed
from ..notation.written import latex_of
from ..picture import svg
from . import markup

SIGNS = (  # what is said of a picture where it has one of these
    (("layer", "linear"), "Yellow: weights, and the function of their sum; biases are not drawn."),
    (("sum", "product"), "Red: sums and products, element by element."),
    (("mark",), "A minus or ÷ is beside the value that it belongs to."),
    (("join", "split"), "A bar: vectors that are joined or split."),
    (("output",), "A bold frame: the output."),
)
MEMORY = "⊗ is the outer product of two vectors, which is written to a memory; Mv is a matrix that changes times a vector: it is read."


def figure(cell: Cell) -> str:
    """Return the picture with its caption, as HTML."""
    drawing = svg(cell)
    width = re.search(r'\bwidth="(\d+)"', drawing)
    assert width is not None
    return f'<figure class="picture" style="--natural: {width[1]}px">{drawing}<figcaption>{_caption(cell, drawing)}</figcaption></figure>'


def _caption(cell: Cell, drawing: str) -> str:
    """Say what a picture shows, and what those of its signs mean that it has."""
    drawn = {word for found in re.findall(r'class="([^"]+)"', drawing) for word in found.split()}
    name = LineFormulas(cell, latex_of(cell)).name
    comes = [f"${name(value)}$" for value in (*(f"{state}_prev" for state in cell.states), *cell.inputs, *cell.context)]
    leaves = [f"${name(value)}$" for value in dict.fromkeys((*cell.states, cell.output))]
    shown = f"One step: {_verb(comes, 'comes', 'come')} in on the left, {_verb(leaves, 'leaves', 'leave')} on the right."
    signs = [text for kinds, text in SIGNS if not drawn.isdisjoint(kinds)]
    signs += [MEMORY] if any(len(cell.shapes[state]) == 2 for state in cell.states) else []
    return markup.sentence(" ".join([shown, *signs, "Each part leads to its equation."]))


def _verb(things: list[str], one: str, several: str) -> str:
    return f"{listed(things) if things else 'nothing'} {several if len(things) > 1 else one}"
