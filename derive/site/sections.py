"""The page of a cell, section by section: everything on it comes from the objects that its kernels are made from."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from ..cell import Cell
from ..notation.lines import LineFormulas
from ..notation.reasons import listed
from ..picture import svg
from . import facts, markup, mathematics, programs, second
from .bibtex import citation
from .page import Page

SIGNS = (  # what is said of a picture where it has one of these
    (("layer", "linear"), "Yellow: weights, and the function of their sum; biases are not drawn."),
    (("sum", "product"), "Red: sums and products, element by element."),
    (("mark",), "A minus or ÷ is beside the value that it belongs to."),
    (("join", "split"), "A bar: vectors that are joined or split."),
    (("output",), "A bold frame: the output."),
)
MEMORY = "⊗ is the outer product of two vectors, which is written to a memory; Mv is a matrix that changes times a vector: it is read."
STATELESS = {"Backpropagation through time": "Gradients of a step"}
SECTIONS: tuple[tuple[str, Callable[[Page], str]], ...] = (
    ("Equations", mathematics.equations),
    ("Symbols", facts.known),
    ("Jacobian of a step", mathematics.jacobian),
    ("Backpropagation through time", mathematics.recursion),
    ("Gradients of the parameters", mathematics.sums),
    ("As an explicit double sum", mathematics.explicit),
    ("Second order", second.second),
    ("The tape", facts.tape),
    ("Structure", facts.structure),
    ("What was checked", facts.checked),
    ("Use", programs.use),
    ("Kernels", programs.kernels),
    ("Cite { data-search-exclude }", citation),
)


def markdown(page: Page) -> str:
    """Return the page: Markdown, with HTML where there are formulas."""
    cell = page.cell
    parts = [f"# {cell.title or cell.name}", *_about(cell), _picture(page)]
    for title, section in SECTIONS:
        if text := section(page):
            parts += [f"## {title if cell.states else STATELESS.get(title, title)}", text]
    return "\n\n".join(parts) + "\n"


def _about(cell: Cell) -> list[str]:
    lines = [f"<p>{html.escape(cell.description, quote=False)}</p>"] if cell.description else []
    return [*lines, f'<p class="reference">{html.escape(cell.reference, quote=False)}</p>'] if cell.reference else lines


def _picture(page: Page) -> str:
    drawing = svg(page.cell)
    width = re.search(r'\bwidth="(\d+)"', drawing)
    assert width is not None
    return f'<figure class="picture" style="--natural: {width[1]}px">{drawing}<figcaption>{_caption(page, drawing)}</figcaption></figure>'


def _caption(page: Page, drawing: str) -> str:
    """Say what a picture shows, and what those of its signs mean that it has."""
    cell, drawn = page.cell, {word for found in re.findall(r'class="([^"]+)"', drawing) for word in found.split()}
    name = LineFormulas(cell, page.style).name
    comes = [f"${name(value)}$" for value in (*(f"{state}_prev" for state in cell.states), *cell.inputs, *cell.context)]
    leaves = [f"${name(value)}$" for value in dict.fromkeys((*cell.states, cell.output))]
    shown = f"One step: {_verb(comes, 'comes', 'come')} in on the left, {_verb(leaves, 'leaves', 'leave')} on the right."
    signs = [text for kinds, text in SIGNS if not drawn.isdisjoint(kinds)]
    signs += [MEMORY] if any(len(cell.shapes[state]) == 2 for state in cell.states) else []
    return markup.sentence(" ".join([shown, *signs, "Each part leads to its equation."]))


def _verb(things: list[str], one: str, several: str) -> str:
    return f"{listed(things) if things else 'nothing'} {several if len(things) > 1 else one}"
