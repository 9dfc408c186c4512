"""The page of a cell: everything on it comes from the objects that its kernels are made from."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..calculus.derivation import Derivation, differentiate
from ..cell import Cell
from ..language.errors import CellError
from ..notation.reasons import reasons
from ..notation.style import Latex
from ..notation.text import backward_lines
from ..picture import svg
from . import calculus, facts, programs
from .listing import Listing, listings

CAPTION = (
    "Yellow: weights, and the function of their sum; biases are not drawn. Red: sums and products, element by element, a minus or ÷ "
    "beside the value that it goes with. A bar: vectors that are read together. A bold frame: the output. Each part leads to its equation."
)


@dataclass(frozen=True)
class Page:
    """What a page is made from.

    Attributes
    ----------
    cell : Cell
    module : str
        The emitted module.
    source : str
        The file that defines the cell.
    package : str
        The package that users import the kernels from.
    check : mapping, optional
        The entry of `derive check --json` for the cell.
    notation : str
        Where the notation is explained, relative to the page; empty if nowhere.
    """

    cell: Cell
    module: str = field(repr=False)
    source: str = "derive/cells"
    package: str = "generated"
    check: Mapping[str, Any] | None = None
    notation: str = ""

    @cached_property
    def style(self) -> Latex:
        return Latex(self.cell.latex)

    @cached_property
    def derivation(self) -> Derivation:
        return differentiate(self.cell)

    @cached_property
    def listings(self) -> list[Listing]:
        return listings(self.module)

    @cached_property
    def listed(self) -> frozenset[str]:
        return frozenset(tag for listing in self.listings for tag in listing.tags)

    @cached_property
    def backward(self) -> dict[str, str]:
        return backward_lines(self.cell, self.style)

    @cached_property
    def reasons(self) -> dict[str, str]:
        return reasons(self.cell)

    # The page

    def markdown(self) -> str:
        """Return the page: Markdown, with HTML where there are formulas."""
        parts = [f"# {self.cell.title or self.cell.name}", *self._about(), self._picture()]
        for title, section in SECTIONS:
            if text := section(self):
                parts += [f"## {title if self.cell.states else STATELESS.get(title, title)}", text]
        return "\n\n".join(parts) + "\n"

    def _picture(self) -> str:
        drawing = svg(self.cell)
        width = re.search(r'\bwidth="(\d+)"', drawing)
        assert width is not None
        return f'<figure class="picture" style="--natural: {width[1]}px">{drawing}<figcaption>{CAPTION}</figcaption></figure>'

    def _about(self) -> list[str]:
        cell = self.cell
        lines = [f"<p>{html.escape(cell.description, quote=False)}</p>"] if cell.description else []
        return [*lines, f'<p class="reference">{html.escape(cell.reference, quote=False)}</p>'] if cell.reference else lines


STATELESS = {"Backpropagation through time": "Gradients of a step"}
SECTIONS: tuple[tuple[str, Callable[[Page], str]], ...] = (
    ("Equations", calculus.equations),
    ("Symbols", facts.known),
    ("Jacobian of a step", calculus.jacobian),
    ("Backpropagation through time", calculus.recursion),
    ("Gradients of the parameters", calculus.sums),
    ("As an explicit double sum", calculus.explicit),
    ("The tape", facts.tape),
    ("Structure", facts.structure),
    ("Verified", facts.verified),
    ("Use", programs.use),
    ("Kernels", programs.kernels),
)


def checks(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the entries of a file that `derive check --json` wrote, by cell.

    Raises
    ------
    CellError
        If there is no such file, or it is something else.
    """
    try:
        return {entry["cell"]: entry for entry in json.loads(path.read_text(encoding="utf-8"))}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CellError(f"`{path}` is not what `derive check --json` writes: {type(error).__name__}: {error}") from None
