"""Order a region's equations into stages of products and fused loops.

A product needs a complete vector, so it starts a new stage when its operand is made row by row; everything else is local to a row.
Within a stage, elementwise equations of one size share a loop over features as long as nothing between them needs a finished row (a
sum over features does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...calculus.ir import Concat, Equation, FeatureSum, Map, MatVec, MatVecT, Slice, Spread, Type
from ...language.sizes import Size
from .hoist import REGIONS, Regions


@dataclass
class Segment:
    """Equations that share a loop over `size` features, and sums over features that it adds up; `size` None: scalars a row."""

    size: Size | None
    equations: list[Equation] = field(default_factory=list)


@dataclass
class Draft:
    """A stage before its values have places.

    Attributes
    ----------
    products, segments : list
    views : dict
        Slices and concatenations, by name: they are no computation.
    place : dict
        The number of the segment that makes each row-local value.
    added : set of str
        Sums over features that are added up in the loop that makes their terms: they are there when it has ended.
    """

    products: list[Equation] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    views: dict[str, Equation] = field(default_factory=dict)
    place: dict[str, int] = field(default_factory=dict)
    added: set[str] = field(default_factory=set)


def schedule(regions: Regions) -> dict[str, list[Draft]]:
    """Return the stages of each region, in order."""
    return {region: _stages(getattr(regions, region), regions.rec.types) for region in REGIONS}


def _stages(equations: tuple[Equation, ...], types: Mapping[str, Type]) -> list[Draft]:
    drafts: list[Draft] = []
    level: dict[str, int] = {}
    by_row: dict[str, bool] = {}

    def draft(number: int) -> Draft:
        while len(drafts) <= number:
            drafts.append(Draft())
        return drafts[number]

    for eq in equations:
        operands = [o for o in eq.node.operands() if o in level]
        if isinstance(eq.node, MatVec | MatVecT):
            number = max((level[o] + by_row[o] for o in operands), default=0)
            draft(number).products.append(eq)
            by_row[eq.name] = False
        elif isinstance(eq.node, Slice | Concat):
            number = max((level[o] for o in operands), default=0)
            draft(number).views[eq.name] = eq
            by_row[eq.name] = any(by_row[o] for o in operands)
        else:
            number = max((level[o] for o in operands), default=0)
            _place(draft(number), eq, types)
            by_row[eq.name] = True
        level[eq.name] = number
    return drafts


def _place(draft: Draft, eq: Equation, types: Mapping[str, Type]) -> None:
    """Put a row-local equation into the first segment that it may share, after all that it needs."""
    if isinstance(eq.node, FeatureSum) and (terms := eq.node.value) in draft.place and types[terms].shape:
        draft.added.add(eq.name)
        draft.place[eq.name] = draft.place[terms]
        draft.segments[draft.place[terms]].equations.append(eq)
        return
    shape = types[eq.name].shape
    elementwise = isinstance(eq.node, Map | Spread)
    size = shape[0] if shape else None
    earliest = 0
    for operand in eq.node.operands():
        for k in _made_in(draft, operand):
            fused = elementwise and draft.segments[k].size == size and operand not in draft.added
            earliest = max(earliest, k if fused else k + 1)
    number = next((k for k in range(earliest, len(draft.segments)) if draft.segments[k].size == size), len(draft.segments))
    if number == len(draft.segments):
        draft.segments.append(Segment(size))
    draft.segments[number].equations.append(eq)
    draft.place[eq.name] = number


def _made_in(draft: Draft, name: str) -> set[int]:
    """Return the segments that make `name`, or what a view of this stage shows."""
    found, waiting, seen = set(), [name], set()
    while waiting:
        made = waiting.pop()
        if made in seen:
            continue
        seen.add(made)
        if made in draft.views:
            waiting.extend(draft.views[made].node.operands())
        elif made in draft.place:
            found.add(draft.place[made])
    return found
