"""Concatenations that share parts lie in one another: what both have is stored once.

Of ``[a, b, c]`` and ``[b, c, d]`` in one step, ``[a, b, c, d]`` is made, of which both are slices; ``[b, c]`` is a slice of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations

from ...calculus.ir import Concat, Equation, Label, Recurrence, Slice
from ...language.sizes import Size

Parts = tuple[str, ...]


def overlapped(rec: Recurrence, named: Callable[[Recurrence, Parts], str]) -> Recurrence:
    """Return a recurrence in which no two concatenations of a step that can lie in one are made apart; new ones are `named`."""
    while (found := _pair(rec)) is not None:
        rec = _joined(rec, *found, named)
    return rec


def _pair(rec: Recurrence) -> tuple[Equation, Equation, Parts] | None:
    """Return two concatenations of a step, and the parts of one in which both lie and that can be made before either is read."""
    whole = [eq for eq in rec.body if isinstance(eq.node, Concat)]
    place = {eq.name: k for k, eq in enumerate(rec.body)}
    for one, other in permutations(whole, 2):
        parts = _joint(_parts(one), _parts(other))
        first = min(place[one.name], place[other.name])
        if parts is not None and len({*parts}) == len(parts) and all(place.get(part, -1) < first for part in parts):
            return one, other, parts
    return None


def _joint(one: Parts, other: Parts) -> Parts | None:
    """Return the first parts with those of the other that do not stand in it after them; None if they share nothing in order."""
    if any(other == one[k : k + len(other)] for k in range(len(one))):
        return one
    shared = next((k for k in range(min(len(one), len(other)), 0, -1) if one[-k:] == other[:k]), 0)
    return (*one, *other[shared:]) if shared else None


def _joined(rec: Recurrence, one: Equation, other: Equation, parts: Parts, named: Callable[[Recurrence, Parts], str]) -> Recurrence:
    sizes = {part: rec.types[part].shape[0] for part in parts}
    types, labels, body = dict(rec.types), dict(rec.labels), list(rec.body)
    joint = one
    if parts != _parts(one):
        joint = Equation(named(rec, parts), Concat(parts), shown=False)
        kind = replace(rec.types[parts[0]], shape=(_total(sizes, parts),))
        types[joint.name], labels[joint.name] = kind, Label("part")

    def slice_of(eq: Equation) -> Equation:
        own = _parts(eq)
        first = next(k for k in range(len(parts)) if parts[k : k + len(own)] == own)
        return replace(eq, node=Slice(joint.name, _total(sizes, parts[:first]), _total(sizes, own)))

    slices = {eq.name: slice_of(eq) for eq in (one, other) if eq is not joint}
    at = min(k for k, eq in enumerate(body) if eq.name in (one.name, other.name))
    rest = [slices.get(eq.name, eq) for eq in body if eq is not joint]
    return replace(rec, types=types, labels=labels, body=(*rest[:at], joint, *rest[at:]))


def _parts(eq: Equation) -> Parts:
    assert isinstance(eq.node, Concat)
    return eq.node.parts


def _total(sizes: dict[str, Size], parts: Sequence[str]) -> Size:
    return sum((sizes[part] for part in parts), Size())
