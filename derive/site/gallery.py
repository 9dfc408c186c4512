"""The gallery: all cells as small pictures, sorted by family, and filtered by what their structure says."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping, Sequence

from ..calculus.traits import TRAITS, Trait, traits
from ..cell import Cell
from ..picture import thumbnail

NAME = "cell-gallery"  # no identifier, so no cell has a page of that name
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
ABOUT = (
    "One step of every cell, time from left to right. Yellow boxes have weights, red circles add or multiply; inputs are blue, states "
    "green, other outputs violet. Each picture leads to the cell's page, where it is large and its parts are named."
)
TOLD = "The filters are computed from a cell's equations and from the Jacobian of its step."


def gallery(groups: Mapping[str, Sequence[Cell]], script: str, picture: Callable[[Cell], str] = thumbnail) -> str:
    """Return the page, in Markdown; `script` is where its script lies. Without JavaScript all cells are shown."""
    found = {cell.name: traits(cell) for cells in groups.values() for cell in cells}
    parts = ["# Gallery", ABOUT, _filters(groups, found)]
    for title, cells in groups.items():
        cards = "\n".join(_card(cell, found[cell.name], picture(cell)) for cell in cells)
        parts += [f"## {title}", f'<ul class="gallery" data-family="{html.escape(title)}">\n{cards}\n</ul>']
    told = "\n".join(f"- **{trait.name}**: {trait.told}." for trait in TRAITS)
    return "\n\n".join([*parts, "## What the filters mean", TOLD, told, f'<script src="{script}"></script>']) + "\n"


def _filters(groups: Mapping[str, Sequence[Cell]], found: Mapping[str, Sequence[Trait]]) -> str:
    """Return a button for each trait and a choice of families, hidden until the script that they need shows them."""
    buttons = [_button(trait, sum(trait in has for has in found.values())) for trait in TRAITS]
    families = [f"<option>{html.escape(title, quote=False)}</option>" for title in groups]
    return "\n".join(
        [
            '<div class="filters" role="group" aria-label="Filter" hidden>',
            *[button for button in buttons if button],
            f'<label>family <select><option value="">all</option>{"".join(families)}</select></label>',
            '<p role="status"></p>',
            "</div>",
        ]
    )


def _button(trait: Trait, count: int) -> str:
    """Return the button of a trait; nothing if no cell has it."""
    text = f'{trait.name} <span class="count">{count}</span>'
    return f'<button type="button" aria-pressed="false" data-trait="{_key(trait)}">{text}</button>' if count else ""


def _card(cell: Cell, has: Sequence[Trait], picture: str) -> str:
    title = html.escape(cell.title or cell.name, quote=False)
    return (
        f'<li data-traits="{" ".join(map(_key, has))}"><a href="{cell.name}.html">{picture}<span>{title}</span></a>'
        f"<small><code>{cell.name}</code> · {_facts(cell)}</small><small>{', '.join(trait.name for trait in has)}</small></li>"
    )


def _facts(cell: Cell) -> str:
    """Return the year of a cell's reference, where it has one, and the number of its states."""
    year, number = YEAR.search(cell.reference), len(cell.states)
    return " · ".join([*([year[0]] if year else []), f"{number or 'no'} state{'s' if number != 1 else ''}"])


def _key(trait: Trait) -> str:
    return trait.name.replace(" ", "-")
