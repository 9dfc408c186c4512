"""The values without a name that formulas call by a letter, or by the names of their parts.

Writing them out time and again would hide the line: the argument of a normalisation and the result of a softmax stand several times in the
line of a cotangent, a sum of matrices in the products and in the gradients of its terms, a vector that is split in the lines of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..language.sizes import Size
from .ir import Equation, Label, Map, MatVec, MatVecT, Slice, Type
from .rowfunctions import Normalised, Softmax


def lettered(equations: Iterable[Equation], label: Callable[[str], Label]) -> tuple[list[str], list[str], list[str]]:
    """Return the nameless arguments of `layer_norm`, results of `softmax` and sums of matrices, each in the order of `equations`."""
    equations = tuple(equations)
    matrices = {eq.node.matrix for eq in equations if isinstance(eq.node, MatVec | MatVecT)}
    arguments = dict.fromkeys(eq.node.value for eq in equations if isinstance(eq.node, Normalised))
    results = dict.fromkeys(eq.name for eq in equations if isinstance(eq.node, Softmax) and eq.name not in arguments)
    made = dict.fromkeys(eq.name for eq in equations if eq.name in matrices and isinstance(eq.node, Map) and not eq.node.expr.is_Mul)

    def nameless(names: Iterable[str]) -> list[str]:
        return [name for name in names if label(name).kind in ("part", "preactivation")]

    return nameless(arguments), nameless(results), nameless(made)


def split(equations: Iterable[Equation], label: Callable[[str], Label], types: Mapping[str, Type]) -> dict[str, tuple[Equation, ...]]:
    """Return the nameless vectors that are split into parts with names of their own, with the equations of those parts."""
    found: dict[str, list[Equation]] = {}
    for eq in equations:
        if isinstance(eq.node, Slice) and label(eq.name).kind == "own" and label(eq.node.value).kind == "part":
            found.setdefault(eq.node.value, []).append(eq)
    whole = {vector: sum((types[eq.name].shape[0] for eq in parts), Size()) for vector, parts in found.items()}
    return {vector: tuple(parts) for vector, parts in found.items() if types[vector].shape == (whole[vector],)}
