"""What the page of a cell is made from, and what follows from it for several of its sections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..calculus.chain import Derivation
from ..calculus.derivation import differentiate
from ..cell import Cell
from ..language.errors import CellError
from ..notation.reasons import reasons
from ..notation.style import Latex
from ..notation.text import backward_lines
from ..notation.written import latex_of
from .emitted import Listing, listings


@dataclass(frozen=True)
class Links:
    """Where other pages are, relative to a cell's page; empty, if the site does not have them.

    Attributes
    ----------
    notation, second, devices : str
        What explains the notation, second order, and kernels on CUDA devices.
    """

    notation: str = ""
    second: str = ""
    devices: str = ""


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
    links : Links
    version : str
        The version of derive that made it, if that is known.
    """

    cell: Cell
    module: str = field(repr=False)
    source: str = "derive/cells"
    package: str = "generated"
    check: Mapping[str, Any] | None = None
    links: Links = Links()
    version: str = ""

    @cached_property
    def style(self) -> Latex:
        return latex_of(self.cell)

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
