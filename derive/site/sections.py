"""The page of a cell, section by section: everything on it comes from the objects that its kernels are made from."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

from ..cell import Cell
from ..picture import svg
from . import facts, mathematics, programs, second
from .page import Page

CAPTION = (
    "Yellow: weights, and the function of their sum; biases are not drawn. Red: sums and products, element by element, a minus or ÷ "
    "beside the value that it goes with. A bar: vectors that are read together. A bold frame: the output. Each part leads to its equation."
)
MEMORY = " ⊗ is the outer product of two vectors, Mv a matrix that changes times a vector: what is written to a memory, and read from it."
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
    ("Verified", facts.verified),
    ("Use", programs.use),
    ("Kernels", programs.kernels),
)


def markdown(page: Page) -> str:
    """Return the page: Markdown, with HTML where there are formulas."""
    cell = page.cell
    parts = [f"# {cell.title or cell.name}", *_about(cell), _picture(cell)]
    for title, section in SECTIONS:
        if text := section(page):
            parts += [f"## {title if cell.states else STATELESS.get(title, title)}", text]
    return "\n\n".join(parts) + "\n"


def _about(cell: Cell) -> list[str]:
    lines = [f"<p>{html.escape(cell.description, quote=False)}</p>"] if cell.description else []
    return [*lines, f'<p class="reference">{html.escape(cell.reference, quote=False)}</p>'] if cell.reference else lines


def _picture(cell: Cell) -> str:
    drawing = svg(cell)
    width = re.search(r'\bwidth="(\d+)"', drawing)
    assert width is not None
    caption = CAPTION + (MEMORY if any(len(cell.shapes[state]) == 2 for state in cell.states) else "")
    return f'<figure class="picture" style="--natural: {width[1]}px">{drawing}<figcaption>{caption}</figcaption></figure>'
