"""Which blocks the lines of a text are in: indentation means nothing but below a `for`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import CellError
from .tree import Span

HEADER = re.compile(r"\s*for\b.*:\s*")


@dataclass
class _Open:
    """A block whose lines are being read: how far its header is indented, and its lines, once one was seen."""

    header: int
    body: int = -1


def depths(text: str, lines: Sequence[str]) -> list[int]:
    """Return how many blocks each line is in.

    A line below a `for` is in its block if it is indented further, and stays in it as long as lines are indented as the first one; what is
    indented less is after it.  A line that goes on in brackets is where it began.

    Raises
    ------
    CellError
        If a line is indented further than those of the block before it.
    """
    blocks: list[_Open] = []
    found, brackets = [], 0
    for row, line in enumerate(lines, 1):
        code = line.partition("#")[0].expandtabs(8)
        width, begins = len(code) - len(code.lstrip()), bool(code.strip()) and not brackets
        if begins:
            _settle(blocks, text, row, width)
        found.append(len(blocks))
        if begins and HEADER.fullmatch(code):
            blocks.append(_Open(width))
        brackets = max(brackets + sum(code.count(c) for c in "([{") - sum(code.count(c) for c in ")]}"), 0)
    return found


def _settle(blocks: list[_Open], text: str, row: int, width: int) -> None:
    """Close the blocks that end before a line that is indented so far."""
    if blocks and blocks[-1].body < 0:
        if width > blocks[-1].header:
            blocks[-1].body = width
            return
        blocks.pop()  # without a line, as Python will say
    while blocks and width < blocks[-1].body:
        blocks.pop()
    if blocks and width > blocks[-1].body:
        raise CellError.at(Span(row, width, width + 1), text, "the line is indented further than those of its block before it")
