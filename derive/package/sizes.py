"""Sizes that are given as words."""

from __future__ import annotations

from collections.abc import Iterable

from ..language.errors import CellError


def given(words: Iterable[str]) -> dict[str, int]:
    """Return sizes that were given as ``n=64``; CellError for what is none."""
    found: dict[str, int] = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name.isidentifier() or not value.isdecimal():
            raise CellError(f"--size needs a name and a number, n=64, not `{word}`")
        if found.setdefault(name, int(value)) != int(value):
            raise CellError(f"--size: {name} was given twice, as {found[name]} and as {value}")
    return found
