"""Names as Python reads them, and as the language builds them: `s_prev` is state `s` at the step before."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from unicodedata import normalize

from .errors import CellError


def canonical(name: str) -> str:
    """Return an identifier as Python's parser reads it: the micro sign, say, is the Greek letter μ."""
    return normalize("NFKC", name)


def previous(state: str) -> str:
    """Return the name of `state` at the step before."""
    return f"{state}_prev"


def is_previous(name: str) -> bool:
    """Say whether `name` is that of a value at the step before."""
    return name.endswith("_prev") and len(name) > len("_prev")


def fresh(name: str, taken: Collection[str]) -> str:
    """Return a name that is not taken, `name` itself or with underscores."""
    while name in taken:
        name += "_"
    return name


def canonical_keys(what: str, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping by names as the text has them."""
    found: dict[str, Any] = {}
    for name, value in mapping.items():
        if canonical(name) in found:
            raise CellError(f"{what}: `{canonical(name)}` is given twice: Python reads different letters as one name")
        found[canonical(name)] = value
    return found
