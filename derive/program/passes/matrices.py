"""Fuse equations of matrices into loops over rows.

A loop over rows takes one row of all its matrices at a time, part by part. A sum of the row is complete when the part has ended that adds
it up, and most equations that read it need this row's alone: so a delta rule, ``S = D + (v - D k) kᵀ``, is one pass over the state. Only
what needs a complete vector (a sum of the columns, or a sum of rows that lies along the other axis) or a sum of the whole matrix starts
another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping

from ...calculus.functions import cost
from ...calculus.ir import Along, AxisSum, Equation, FeatureSum, Map, Repeat, Type
from ...language.sizes import Size
from .drafts import Draft, RowSegment, Segment

DEAR = 12  # operations on an element of a matrix that are not done again for each that reads it


def is_of_matrices(eq: Equation, types: Mapping[str, Type]) -> bool:
    """Say whether an equation is computed element by element of a matrix: its value is one, or a sum of one."""
    return len(types[eq.name].shape) == 2 or isinstance(eq.node, AxisSum) or _sums_a_matrix(eq, types)


def _sums_a_matrix(eq: Equation, types: Mapping[str, Type]) -> bool:
    return isinstance(eq.node, FeatureSum) and len(types[eq.node.value].shape) == 2


def inline(equations: Iterable[Equation], types: Mapping[str, Type], stored: Collection[str]) -> set[str]:
    """Return the matrices that need not be stored: each element is computed where it is read, but what is dear for one reader alone."""
    equations = tuple(equations)
    repeated = {eq.name: eq.node.value for eq in equations if isinstance(eq.node, Repeat)}
    readers = Counter(repeated.get(name, name) for eq in equations if eq.name not in repeated for name in eq.node.operands())
    maps = {eq.name: eq.node for eq in equations if isinstance(eq.node, Map) and len(types[eq.name].shape) == 2}
    return {name for name, node in maps.items() if name not in stored and (readers[name] == 1 or cost(node.expr) <= DEAR)}


def by_rows(equations: Iterable[Equation], types: Mapping[str, Type]) -> set[str]:
    """Return the vectors that are worth computing an element for each row: made of sums of rows, and read along the rows of matrices."""
    equations = tuple(equations)
    made = {eq.name for eq in equations if isinstance(eq.node, AxisSum) and eq.node.axis == 1}
    sums = set(made)
    for eq in equations:
        if isinstance(eq.node, Map) and len(types[eq.name].shape) == 1 and not made.isdisjoint(eq.node.operands()):
            made.add(eq.name)
    wanted = {eq.node.value for eq in equations if isinstance(eq.node, Along) and eq.node.axis == 0}
    for eq in reversed(equations):
        if eq.name in made and eq.name in wanted:
            wanted.update(eq.node.operands())
    return (made & wanted) - sums


def place_matrix(draft: Draft, eq: Equation, types: Mapping[str, Type]) -> None:
    """Put an equation of matrices into the first loop over rows that it may share, after all that it needs."""
    of = eq.node.value if isinstance(eq.node, AxisSum | FeatureSum) else eq.name
    shape = types[of].shape
    segment, part = max((at for name in eq.node.operands() for at in _there(draft, name, types)), default=(0, 0))
    while segment < len(draft.segments):
        found = draft.segments[segment]
        if isinstance(found, RowSegment) and found.shape == shape:
            break
        segment, part = segment + 1, 0
    else:
        draft.segments.append(RowSegment(shape))
    _put(draft, segment, part, shape[1], eq)
    if isinstance(eq.node, AxisSum) and eq.node.axis == 1:
        draft.by_row.add(eq.name)


def place_element(draft: Draft, eq: Equation, types: Mapping[str, Type]) -> bool:
    """Put an equation of vectors into the loop over rows that makes what it reads; False if that is not all it needs."""
    segment, part = max((at for name in eq.node.operands() for at in _there(draft, name, types)), default=(0, 0))
    found = draft.segments[segment] if segment < len(draft.segments) else None
    if not isinstance(found, RowSegment) or found.shape[:1] != types[eq.name].shape:
        return False
    _put(draft, segment, part, None, eq)
    draft.by_row.add(eq.name)
    return True


def _put(draft: Draft, segment: int, part: int, size: Size | None, eq: Equation) -> None:
    rows = draft.segments[segment]
    assert isinstance(rows, RowSegment)
    number = next((k for k in range(part, len(rows.parts)) if rows.parts[k].size == size), len(rows.parts))
    if number == len(rows.parts):
        rows.parts.append(Segment(size))
    rows.parts[number].equations.append(eq)
    draft.place[eq.name], draft.part[eq.name] = segment, number


def _there(draft: Draft, name: str, types: Mapping[str, Type]) -> Iterator[tuple[int, int]]:
    """Yield the first segment and part in which an operand can be read."""
    view = draft.views.get(name)
    along = view.node if view is not None and isinstance(view.node, Along) else None
    if along is not None and along.axis == 0 and along.value in draft.by_row:
        yield draft.place[along.value], draft.part[along.value] + 1
    elif name in draft.inline:
        yield from (at for operand in draft.inline[name].node.operands() for at in _there(draft, operand, types))
    elif name in draft.by_row:
        yield draft.place[name], draft.part[name] + _in_a_loop(draft, name)
    elif name in draft.part and len(types[name].shape) == 2:
        yield draft.place[name], draft.part[name]
    else:
        yield from ((made + 1, 0) for made in draft.made_in(name))


def _in_a_loop(draft: Draft, name: str) -> int:
    rows = draft.segments[draft.place[name]]
    assert isinstance(rows, RowSegment)
    return int(rows.parts[draft.part[name]].size is not None)
