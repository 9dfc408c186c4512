"""Under which branches of `where` the lines of a cell are read at all.

Autodiff multiplies the zero that a branch which is not chosen hands back by slopes that may be no number.  Where every reader of a line
stands in one branch, what that line reads is a constant where the choice falls on the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .definition import Definition
from .shapes import shape_of
from .tree import Compare, Expr, Name
from .walks import children, is_batched, is_elementwise, is_eye, is_headed, is_where, walk


@dataclass(frozen=True)
class Branch:
    """The rows, or elements, for which a condition holds, or else does not."""

    condition: Compare
    chosen: bool


Branches = frozenset[Branch]
NONE: Branches = frozenset()


def branches(cell: Definition) -> Mapping[str, Branches]:
    """Return, by assigned name, the branches that stand around everything that reads it; none for states and the output."""
    if not any(is_where(node) for line in cell.equations for node in walk(line.value)):
        return {}

    def passes(branch: Branch, name: str) -> bool:
        """Say whether a choice is one for the rows, the heads, or the elements, of a value too."""
        condition = branch.condition
        alike = shape_of(condition, cell.shapes) in ((), cell.shapes[name])
        rows = name in cell.batched or not is_batched(condition, cell.batched)
        return alike and rows and (name in cell.headed or not is_headed(condition, cell.headed))

    found = dict.fromkeys((cell.output, *cell.states), NONE)
    for line in reversed(cell.equations):
        around = frozenset.intersection(*(found.get(target, NONE) for target in line.targets))
        if len(line.targets) > 1:  # a split
            around = _of_rows(around, cell)
        for name, its in _reads(line.value, around, cell):
            kept = frozenset(branch for branch in its if passes(branch, name))
            found[name] = found[name] & kept if name in found else kept
        for target in line.targets:
            found[target] = around
    return found


def _of_rows(found: Branches, cell: Definition) -> Branches:
    return frozenset(branch for branch in found if not shape_of(branch.condition, cell.shapes))


def _reads(expr: Expr, around: Branches, cell: Definition) -> Iterator[tuple[str, Branches]]:
    """Yield the names that an expression reads, each time with the branches around it; not what only a condition reads."""
    if isinstance(expr, Name):
        yield expr.id, around
    elif is_where(expr):
        condition, *parts = children(expr)
        assert isinstance(condition, Compare)
        known = not any(map(is_eye, walk(condition)))  # an `eye` has its size from where it stands
        for chosen, part in zip((True, False), parts, strict=True):
            yield from _reads(part, around | {Branch(condition, chosen)} if known else around, cell)
    else:
        for part in children(expr):
            yield from _reads(part, around if is_elementwise(expr) else _of_rows(around, cell), cell)
