"""What holds of a cell's gradients: whether they are its values' own, and whether a backward pass is linear in what it is given."""

from __future__ import annotations

from collections.abc import Iterator

from ..language.definition import Definition
from ..language.tree import Call
from ..language.vocabulary import GRADIENTS
from ..language.walks import walk


def changes(cell: Definition) -> tuple[str, ...]:
    """Return the functions of a cell whose derivative is not their value's, in the order of the text."""
    return tuple(dict.fromkeys(_changes(cell)))


def _changes(cell: Definition) -> Iterator[str]:
    for line in cell.equations:
        for node in walk(line.value):
            if isinstance(node, Call) and (node.function in ("detach", *GRADIENTS) or node.function in cell.own.surrogates):
                yield node.function


def is_true(cell: Definition) -> bool:
    """Say whether gradients are those of the values: then differences of values are a witness, and Hessians are symmetric."""
    return not changes(cell)


def is_linear(cell: Definition) -> bool:
    """Say whether the backward pass is linear in its cotangents, so that it has a tangent and a Jacobian behind it."""
    return not {*changes(cell)} & {*GRADIENTS}


def no_tangent(cell: Definition) -> str:
    """Return why a cell whose backward pass is not linear has neither tangents nor a Jacobian."""
    names = " and ".join(f"`{name}`" for name in changes(cell) if name in GRADIENTS)
    return f"{names} changes gradients on their way back: there are no tangents of what results, and no Jacobian"
