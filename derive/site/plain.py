"""What those read who have no use for pages: each derivation as plain text, and `llms.txt`, which lists pages and texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..cell import Cell
from ..notation.show import text

OWN = "Recurrent cells as their equations, with backpropagation through time derived line by line and the kernels that come of it."


def derivation(cell: Cell) -> str:
    """Return what `derive show` prints of a cell."""
    return f"{text(cell)}\n"


def llms(name: str, nav: Iterable[dict[str, Any]], cells: Iterable[Cell], folder: str = "", url: str = "") -> str:
    """Return `llms.txt` (llmstxt.org): a title, what it is about, and lists of links under headings.

    Parameters
    ----------
    name : str
        Of the site.
    nav : iterable of dict
        The navigation, as MkDocs has it.
    cells : iterable of Cell
    folder : str
        Where the texts of the cells lie, ending with ``/``, or nothing.
    url : str
        Where the site will stand, ending with ``/``; without it links are relative to this file.
    """
    parts = [f"# {name}", f"> {OWN}"]
    for item in nav:
        for title, entry in item.items():
            parts += [f"## {title}", "\n".join(f"- [{page}]({url}{path})" for page, path in _pages(title, entry))]
    texts = [f"- [{cell.title or cell.name}]({url}{folder}{cell.name}.txt){_note(cell)}" for cell in cells]
    return "\n\n".join([*parts, "## Derivations as plain text", "\n".join(texts)]) + "\n"


def _pages(title: str, entry: Any) -> Iterator[tuple[str, str]]:
    """Yield title and file of each page under an entry of the navigation."""
    if isinstance(entry, str):
        yield title, entry.removesuffix(".md") + ".html"
    elif isinstance(entry, dict):
        for inner, below in entry.items():
            yield from _pages(inner, below)
    else:
        for below in entry:
            yield from _pages(title, below)


def _note(cell: Cell) -> str:
    return f": {cell.reference}" if cell.reference else ""
