"""The page of a cell in parts: where it would be too long, its longest sections have pages of their own beside it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from . import mathematics, programs, second
from .bibtex import of_page
from .formulas import typeset
from .page import Page
from .sections import CITE, put_together, sections

LARGE = 300_000  # bytes of a page; over the line it is a tenth of that
FRAME = 50_000  # of these, what the theme needs around a page, and a little more
ID = re.compile(r'\bid="([^"]+)"|\{ #([\w-]+) \}')
LINK = re.compile(r'\bhref="#([^"]+)"')
MARKS = re.compile(r" \{.*\}$")  # at the end of a heading, for Markdown alone
KaTeX = Callable[[str, bool], str]
Pieces = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Apart:
    """A section that may have pages of its own: what it is called in their titles, what the cell's page says of it, and its pieces."""

    called: str
    told: str
    pieces: Callable[[Page], Pieces]


APART = {
    "Jacobian of a step": Apart(
        "Jacobian of a step",
        "How the states of a step depend on those of the step before, block by block.",
        lambda page: [("", mathematics.jacobian(page, folded=False))],
    ),
    "Second order": Apart(
        "second order",
        "The tangents of the lines above, and how the derivatives of a function of the gradients go back through both passes.",
        second.pieces,
    ),
    "Kernels": Apart("kernels", "The emitted loops, as generated. “code” beside an equation leads there.", programs.pieces),
}


@dataclass(frozen=True)
class Part:
    """A page of its own: the name of its file, its title, the titles of the pieces on it, and its Markdown."""

    name: str  # with a hyphen, so that no cell has it
    title: str
    holds: tuple[str, ...]
    text: str


def parted(page: Page, mathml: KaTeX, large: int = LARGE) -> tuple[str, list[Part]]:
    """Return the page of a cell and those of its parts.

    Parameters
    ----------
    page : Page
    mathml : function
        Sets a formula, which says how long it is.
    large : int
        How many bytes a built page may have.  What cannot be parted has more if it must.
    """

    def weight(text: str) -> int:
        return len(typeset(text, mathml).encode())

    texts = sections(page)
    apart: dict[str, list[Part]] = {}
    left = {title for title in texts if title in APART}
    whole = put_together(page.cell, texts)
    while left and FRAME + weight(whole) > large:
        title = max(sorted(left), key=lambda title: weight(texts[title]))
        left.remove(title)
        groups = packed(APART[title].pieces(page), large - FRAME, weight)
        apart[title] = [_part(page, title, group, k, len(groups)) for k, group in enumerate(groups, 1)]
        texts[title] = _told(title, apart[title])
        whole = put_together(page.cell, texts)
    return _linked(page.cell.name, whole, [part for title in texts for part in apart.get(title, ())])


def packed(pieces: Pieces, room: int, weight: Callable[[str], int]) -> list[list[tuple[str, str]]]:
    """Return pieces in their order, as many together as there is room for."""
    groups: list[list[tuple[str, str]]] = [[]]
    taken = 0
    for title, text in pieces:
        taken += weight(text)
        if groups[-1] and taken > room:
            groups.append([])
            taken = weight(text)
        groups[-1].append((title, text))
    return groups


def _part(page: Page, section: str, pieces: Pieces, k: int, count: int) -> Part:
    """Return the page of the `k`-th part of a section, of so many."""
    cell = page.cell
    whole = cell.title or cell.name
    own = f"{APART[section].called}, {k} of {count}" if count > 1 else APART[section].called
    title = f"{whole.partition(':')[0]}: {own}"
    texts = [f"## {title}\n\n{text}" if title else text for title, text in pieces]
    about = f"A part of the page [{whole}]({cell.name}.md)."
    if LINK.search("".join(texts)):
        about += " The numbers of lines that are not here lead to where they are."
    cited = of_page(f"Page of the cell {cell.name}: {whole}: {own}", page.version)
    text = "\n\n".join([f"# {title}", about, *texts, f"## {CITE}", cited]) + "\n"
    name = f"{cell.name}-{section.lower().replace(' ', '-')}{f'-{k}' if k > 1 else ''}"
    return Part(name, title, tuple(MARKS.sub("", title) for title, _ in pieces if title), text)


def _told(section: str, parts: Sequence[Part]) -> str:
    """Return what stands on the cell's page in the place of a section."""
    pages = "a page" if len(parts) == 1 else "pages"
    rows = [": ".join(filter(None, [f"- [{part.title}]({part.name}.md)", "; ".join(part.holds)])) for part in parts]
    where = f"The section has {pages} of its own, since this page would be too long with it:"
    return "\n\n".join([f"{APART[section].told} {where}", "\n".join(rows)])


def _linked(name: str, text: str, parts: Sequence[Part]) -> tuple[str, list[Part]]:
    """Return the page and its parts with links that lead to the page where their target is."""
    texts = {name: text} | {part.name: part.text for part in parts}
    places = {found[1] or found[2]: where for where, text in texts.items() for found in ID.finditer(text)}

    def led(where: str) -> str:
        def leading(link: re.Match[str]) -> str:
            target = places.get(link[1], where)
            return link[0] if target == where else f'href="{target}.html#{link[1]}"'

        return LINK.sub(leading, texts[where])

    return led(name), [replace(part, text=led(part.name)) for part in parts]
