"""The page of a cell, section by section: everything on it comes from the objects that its kernels are made from."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping

from ..cell import Cell
from . import facts, mathematics, programs, second, tape, verified
from .bibtex import citation
from .drawing import figure
from .page import Page

CITE = "Cite { data-search-exclude }"
STATELESS = {"Backpropagation through time": "Gradients of a step"}
SECTIONS: tuple[tuple[str, Callable[[Page], str]], ...] = (
    ("Equations", mathematics.equations),
    ("Symbols", facts.known),
    ("Jacobian of a step", mathematics.jacobian),
    ("Backpropagation through time", mathematics.recursion),
    ("Gradients of the parameters", mathematics.sums),
    ("As an explicit double sum", mathematics.explicit),
    ("Second order", second.second),
    ("The tape", tape.tape),
    ("Structure", facts.structure),
    ("What was checked", verified.verified),
    ("Use", programs.use),
    ("Kernels", programs.kernels),
    (CITE, citation),
)


def markdown(page: Page) -> str:
    """Return the page: Markdown, with HTML where there are formulas."""
    return put_together(page.cell, sections(page))


def sections(page: Page) -> dict[str, str]:
    """Return those sections that a page has, by title."""
    return {title: text for title, section in SECTIONS if (text := section(page))}


def put_together(cell: Cell, sections: Mapping[str, str]) -> str:
    """Return a page of these sections."""
    parts = [f"# {cell.title or cell.name}", *_about(cell), figure(cell)]
    for title, text in sections.items():
        parts += [f"## {title if cell.states else STATELESS.get(title, title)}", text]
    return "\n\n".join(parts) + "\n"


def _about(cell: Cell) -> list[str]:
    lines = [f"<p>{html.escape(cell.description, quote=False)}</p>"] if cell.description else []
    return [*lines, f'<p class="reference">{html.escape(cell.reference, quote=False)}</p>'] if cell.reference else lines
