"""Cotangents of parts of a vector, put side by side: those that overlap lie in several layers, which add up."""

from __future__ import annotations

from .ir import Slice

Layer = list[tuple[Slice, str]]
"""Parts of a vector, each with the name of its cotangent, none of which overlaps another; the last part stands first."""


def layers(parts: Layer) -> list[Layer]:
    """Return parts in as few layers as come of putting each into the first that has room before its parts."""
    found: list[Layer] = []
    for part, cotangent in parts:
        free = next((layer for layer in found if _ends_before(part, layer[-1][0])), None)
        if free is None:
            found.append(free := [])
        free.append((part, cotangent))
    return found


def _ends_before(part: Slice, other: Slice) -> bool:
    """Say whether `part` ends where `other` begins or earlier, whatever the sizes are."""
    gap = other.start - (part.start + part.size)
    return gap.constant >= 0 and all(k >= 0 for _, k in gap.terms)
