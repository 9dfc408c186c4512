"""Walks over expression trees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from .tree import Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Power, Transpose

STRUCTURAL = frozenset({"sum", "mean", "len", "logsumexp", "softmax", "layer_norm", "pick", "eye", "outer", "merge", "part"})
"""Functions that do not work on each element by itself."""


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the direct parts of an expression."""
    match expr:
        case Negative(operand=operand) | Transpose(operand=operand) | Power(base=operand):
            return (operand,)
        case Binary(left=left, right=right) | MatMul(left=left, right=right) | Compare(left=left, right=right):
            return (left, right)
        case Concat(parts=parts):
            return parts
        case Call(args=args):
            return args
    return ()


def rebuild(expr: Expr, parts: tuple[Expr, ...]) -> Expr:
    """Return `expr` with other parts."""
    match expr:
        case Negative() | Transpose():
            return replace(expr, operand=parts[0])
        case Power():
            return replace(expr, base=parts[0])
        case Binary() | MatMul() | Compare():
            return replace(expr, left=parts[0], right=parts[1])
        case Concat():
            return replace(expr, parts=parts)
        case Call():
            return replace(expr, args=parts)
    return expr


def with_leaves(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return `expr` with what `change` makes of each part that has no parts itself."""
    parts = children(expr)
    return rebuild(expr, tuple(with_leaves(part, change) for part in parts)) if parts else change(expr)


def walk(expr: Expr) -> Iterator[Expr]:
    """Yield `expr` and all its parts in the order in which they are read."""
    stack = [expr]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(children(node)))


def is_elementwise(expr: Expr) -> bool:
    """Say whether `expr` works on each element by itself, with broadcasting of scalars."""
    return isinstance(expr, Negative | Binary | Power | Compare) or (isinstance(expr, Call) and expr.function not in STRUCTURAL)


def names_of(expr: Expr) -> Iterator[str]:
    """Yield the names that `expr` reads, each as often as it does."""
    yield from (node.id for node in walk(expr) if isinstance(node, Name))


def values_of(expr: Expr) -> Iterator[str]:
    """Yield the names whose values an expression reads: of what is the argument of `len`, only the size is."""
    if isinstance(expr, Name):
        yield expr.id
    elif not (isinstance(expr, Call) and expr.function == "len"):
        for part in children(expr):
            yield from values_of(part)


def is_batched(expr: Expr, batched: frozenset[str]) -> bool:
    """Say whether `expr` has a row for each sequence of the batch, given the names that have."""
    return any(name in batched for name in values_of(expr))


def is_headed(expr: Expr, headed: frozenset[str]) -> bool:
    """Say whether `expr` has a value for each head, given the names that have."""
    match expr:
        case Name(id=name):
            return name in headed
        case Call(function="merge" | "len"):
            return False
        case Call(function="part"):
            return True
    return any(is_headed(part, headed) for part in children(expr))


def is_eye(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.function == "eye"


def is_where(expr: Expr) -> bool:
    return isinstance(expr, Call) and expr.function == "where"


def leaves(expr: Expr) -> Iterator[Expr]:
    """Yield the operands of an elementwise expression that are not elementwise themselves."""
    if is_elementwise(expr):
        for part in children(expr):
            yield from leaves(part)
    else:
        yield expr
