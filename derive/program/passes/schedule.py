"""Order a region's equations into stages of products and fused loops.

A product needs a complete vector, so it starts a new stage when its operand is made row by row; everything else is local to a row.
Within a stage, elementwise equations of one size share a loop over features as long as nothing between them needs a finished row (a
sum over features does).  Those of matrices share a loop over their rows: see `matrices`.
What is computed for each head shares a loop over heads, in which there are such loops again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...calculus.ir import VIEWS, Concat, Equation, FeatureSum, HeadSum, Map, MatVec, MatVecT, Slice, Spread, Type
from .drafts import Draft, HeadSegment, RowSegment, Segment
from .hoist import REGIONS, Regions
from .matrices import by_rows, inline, is_of_matrices, place_element, place_matrix


def schedule(regions: Regions, kept: Collection[str]) -> dict[str, list[Draft]]:
    """Return the stages of each region, in order; `kept` are the values that must lie in memory, whoever reads them here."""
    read = {region: {name for eq in getattr(regions, region) for name in eq.node.operands()} for region in REGIONS}
    summed = {name for eq in regions.rec.accumulators for name in eq.node.operands()}
    repeated, found = regions.rec.repeated, {}
    for region in REGIONS:
        stored = summed.union(kept, *(names for other, names in read.items() if other != region))
        stored.update(repeated[name] for name in stored & repeated.keys())  # what each head reads of what all have in common
        found[region] = _stages(getattr(regions, region), regions.rec.types, stored)
    return found


def _stages(equations: tuple[Equation, ...], types: Mapping[str, Type], stored: Collection[str]) -> list[Draft]:
    drafts: list[Draft] = []
    level: dict[str, int] = {}
    by_row: dict[str, bool] = {}
    elements, unstored = by_rows(equations, types), inline(equations, types, stored)

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
        elif isinstance(eq.node, (Slice, Concat, *VIEWS)):
            number = max((level[o] for o in operands), default=0)
            draft(number).views[eq.name] = eq
            by_row[eq.name] = any(by_row[o] for o in operands)
        else:
            number = max((level[o] for o in operands), default=0)
            if eq.name in unstored:
                draft(number).inline[eq.name] = eq
            else:
                here = draft(number).of_heads(eq, types) if _for_each_head(eq, types) else draft(number)
                if is_of_matrices(eq, types):
                    place_matrix(here, eq, types)
                elif eq.name not in elements or not place_element(here, eq, types):
                    _place(here, eq, types)
            by_row[eq.name] = True
        level[eq.name] = number
    return drafts


def _for_each_head(eq: Equation, types: Mapping[str, Type]) -> bool:
    """Say whether an equation is computed in a loop over heads: its value has one for each, or is their sum."""
    return types[eq.name].headed or isinstance(eq.node, HeadSum)


def _place(draft: Draft, eq: Equation, types: Mapping[str, Type]) -> None:
    """Put a row-local equation of scalars and vectors into the first segment that it may share, after all that it needs."""
    terms = draft.segments[draft.place[eq.node.value]] if isinstance(eq.node, FeatureSum) and eq.node.value in draft.place else None
    if isinstance(terms, Segment) and terms.size is not None:
        draft.added.add(eq.name)
        draft.place[eq.name] = draft.place[eq.node.operands()[0]]
        terms.equations.append(eq)
        return
    shape = types[eq.name].shape
    elementwise = isinstance(eq.node, Map | Spread | HeadSum)
    size = shape[0] if shape else None
    earliest = 0
    for operand in eq.node.operands():
        for k in draft.made_in(operand):
            made = draft.segments[k]
            fused = elementwise and isinstance(made, Segment) and made.size == size and operand not in draft.added
            earliest = max(earliest, k if fused else k + 1)
    for number in range(earliest, len(draft.segments)):
        found = draft.segments[number]
        if isinstance(found, Segment) and found.size == size:
            break
    else:
        number, found = len(draft.segments), Segment(size)
        draft.segments.append(found)
    assert not isinstance(found, RowSegment | HeadSegment)
    found.equations.append(eq)
    draft.place[eq.name] = number
