"""What flows where within a step of a definition: what a value is made of, and what a matrix multiplies."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from .definition import Definition
from .names import previous
from .rewrite import substitute
from .tree import Assignment, Expr, MatMul, Name
from .walks import children, names_of, rebuild, walk
from .wellformed import targets_of


def needed(lines: Sequence[Assignment], names: Collection[str]) -> set[str]:
    """Return the assigned names that some are made of within a step, these included."""
    needed = {*names}
    for line in reversed(lines):
        if needed.intersection(line.targets):
            needed |= {*line.targets, *names_of(line.value)}
    return needed


def multiplied(cell: Definition) -> frozenset[str]:
    """Return the assigned names that are read as a factor of a matrix, or within one, and nowhere else."""
    found = frozenset(targets_of(cell.equations)) - {cell.output, *cell.states}
    while True:
        apart = {name for line in cell.equations if not found.issuperset(line.targets) for name in _outside(line.value)}
        if not found & apart:
            return frozenset(found)
        found -= apart


def _outside(expr: Expr) -> list[str]:
    """Return the names that an expression reads outside products with a matrix."""
    if isinstance(expr, MatMul):
        return []
    own = [expr.id] if isinstance(expr, Name) else []
    return [*own, *(name for part in children(expr) for name in _outside(part))]


def multiplies(line: Assignment, state: str, multiplied: frozenset[str]) -> bool:
    """Say whether a line reads the state before under a product with a matrix."""
    products = [line.value] if multiplied.issuperset(line.targets) else [node for node in walk(line.value) if isinstance(node, MatMul)]
    return any(previous(state) in names_of(product) for product in products)


def within_products(expr: Expr, values: Mapping[str, Expr], inside: bool) -> Expr:
    """Return an expression with expressions put for names in products with a matrix."""
    if inside or isinstance(expr, MatMul):
        return substitute(expr, values)
    return rebuild(expr, tuple(within_products(part, values, False) for part in children(expr)))
