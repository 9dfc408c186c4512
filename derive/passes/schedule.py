"""Order a region's equations into stages of products and fused loops.

A product needs a complete vector, so it starts a new stage when its operand is made row by row; everything else is local to a row.
Within a stage, elementwise equations of one size share a loop over features as long as nothing between them needs a finished row (a
sum over features does).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ir import Concat, Equation, Map, MatVec, MatVecT, Slice, Spread, Type
from ..sizes import Size


@dataclass
class Segment:
    """Equations that share a loop over `size` features; `size` None: scalars a row."""

    size: Size | None
    equations: list[Equation] = field(default_factory=list)


@dataclass
class Draft:
    """A stage before its values have places: `views` (slices and concatenations) are no computation."""

    products: list[Equation] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    views: list[Equation] = field(default_factory=list)


def schedule(equations: tuple[Equation, ...], types: Mapping[str, Type]) -> list[Draft]:
    """Return the stages of one region, in order."""
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
            draft(number).views.append(eq)
            by_row[eq.name] = any(by_row[o] for o in operands)
        else:
            number = max((level[o] for o in operands), default=0)
            _place(draft(number), eq, types)
            by_row[eq.name] = True
        level[eq.name] = number
    return drafts


def _place(draft: Draft, eq: Equation, types: Mapping[str, Type]) -> None:
    """Put a row-local equation into the first segment that it may share, after all that it needs."""
    shape = types[eq.name].shape
    elementwise = isinstance(eq.node, Map | Spread)
    size = shape[0] if shape else None
    earliest = 0
    for operand in eq.node.operands():
        for made in _made_by(draft, operand):
            for k, segment in enumerate(draft.segments):
                if any(other.name == made for other in segment.equations):
                    fused = elementwise and segment.size == size
                    earliest = max(earliest, k if fused else k + 1)
    for segment in draft.segments[earliest:]:
        if segment.size == size:
            segment.equations.append(eq)
            return
    draft.segments.append(Segment(size, [eq]))


def _made_by(draft: Draft, name: str) -> list[str]:
    """Return the row-local values that `name` consists of: itself, or what a view of this stage shows."""
    for view in draft.views:
        if view.name == name:
            return [made for o in view.node.operands() for made in _made_by(draft, o)]
    return [name]
