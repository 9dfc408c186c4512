"""Numbers of printed equations: a letter for the link and a number, F3; of a line in a block, that of its copy too, F3.1."""

from __future__ import annotations


def place(tag: str) -> tuple[int, ...]:
    """Return where a tag stands among those of its letter."""
    return tuple(map(int, tag[1:].split(".")))
