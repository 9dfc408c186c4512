"""What takes time for a cell, made at once, so that several processes can share the cells among them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..picture import thumbnail
from . import plain
from .mathml import FormulaError, Formulas, mathml
from .page import Page
from .parts import Part, parted


@dataclass(frozen=True)
class Made:
    """What a site has of a cell.

    Attributes
    ----------
    page : str
        In Markdown.
    parts : list of Part
        Of the page, where it would be too long.
    text : str
        The derivation as plain text.
    picture : str
        In the gallery.
    formulas : dict
        Those of the pages as MathML, so that they need not be set again.
    """

    page: str = field(repr=False)
    parts: list[Part]
    text: str = field(repr=False)
    picture: str = field(repr=False)
    formulas: Formulas = field(repr=False)


def made(page: Page) -> Made:
    """Return all of a cell that a site has."""
    formulas: Formulas = {}

    def setting(tex: str, display: bool) -> str:
        try:
            return formulas.setdefault((tex, display), mathml(tex, display))
        except FormulaError:  # MkDocs says so, with the page
            return ""

    text, parts = parted(page, setting)
    return Made(text, parts, plain.derivation(page.cell), thumbnail(page.cell), formulas)
