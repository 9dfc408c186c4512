"""What `where` did not choose contributes nothing: its cotangents are selected, and not multiplied by a slope that may be no number.

A branch that is not chosen may have any value and any slope, such as those of `log` below 0 or of an input that is missing (NaN), and
zero times NaN is NaN.  So a term that passes through a branch is ``where(c, dy * slope, 0)``, the selection last; and so is what goes on
from a value that branches of one choice read and nothing else: its cotangent is zero where the choice falls on the other branch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sympy as sp

from ..language.sizes import Shape
from .functions import where
from .ir import Equation, Map, Recurrence, Type
from .rowfunctions import RowFunction
from .symbols import EYE, is_value

ZERO = sp.S.Zero


@dataclass(frozen=True)
class Guard:
    """A branch of a choice: `condition` holds if `chosen`, or else does not; with the condition's own shape and rows."""

    condition: sp.Expr
    chosen: bool
    shape: Shape
    batched: bool

    def select(self, term: sp.Expr) -> sp.Expr:
        """Return `term` where the choice falls on this branch, else zero."""
        return where(self.condition, term, ZERO) if self.chosen else where(self.condition, ZERO, term)


Guards = frozenset[Guard]
NONE: Guards = frozenset()


def selected(term: sp.Expr) -> sp.Expr:
    """Return a term with its selections last: factors of a `where` that may choose zero stand in its branches."""
    if isinstance(term, where):
        return where(term.args[0], *map(selected, term.args[1:]))
    if term.is_Add:
        return sp.Add(*map(selected, term.args))
    number, rest = term.as_coeff_Mul()
    factors = sp.Mul.make_args(rest)
    choice = next((f for f in factors if f != 0 and _may_be_zero(f)), None)
    if choice is None or (len(factors) == 1 and number == 1):
        return term
    others = sp.Mul(*(f for f in factors if f is not choice))
    condition, *branches = choice.args
    return number * where(condition, *(selected(others * branch) for branch in branches))


def _may_be_zero(branch: sp.Expr) -> bool:
    inner = branch.as_coeff_Mul()[1]
    return bool(branch == 0) or (isinstance(inner, where) and any(map(_may_be_zero, inner.args[1:])))


def guarded(term: sp.Expr, guards: Guards) -> sp.Expr:
    """Return a term selected by all of `guards`, by each once."""
    for guard in sorted(guards, key=lambda guard: (str(guard.condition), guard.chosen)):
        number, rest = term.as_coeff_Mul()
        done = isinstance(rest, where) and rest.args[0] == guard.condition and rest.args[2 if guard.chosen else 1] == 0
        term = term if done else number * guard.select(rest)
    return term


def guards(rec: Recurrence, seeds: Iterable[str]) -> dict[str, Guards]:
    """Return, by name, the branches outside of which a value's cotangent is zero: those that stand around every place that reads it.

    A choice for each feature is known as far as elementwise lines go: a product, a sum, a part of a vector or a normalisation mixes
    features, and only a choice for the whole row goes on through it.
    """
    equations = tuple(rec.equations())
    if not any(isinstance(eq.node, Map) and eq.node.expr.has(where) for eq in equations):
        return {}
    found = dict.fromkeys((*seeds, *rec.results, *(c.value for c in rec.carries)), NONE)
    for eq in reversed(equations):
        outside = found.get(eq.name, NONE)
        if not isinstance(eq.node, Map) or isinstance(eq.node, RowFunction):
            outside = found[eq.name] = frozenset(guard for guard in outside if not guard.shape)
        for name, around in _reads(eq, rec.types, outside):
            kind = rec.types[name]
            kept = frozenset(g for g in around if g.shape in ((), kind.shape) and (kind.batched or not g.batched))
            found[name] = found[name] & kept if name in found else kept
    return found


def _reads(eq: Equation, types: Mapping[str, Type], outside: Guards) -> Iterator[tuple[str, Guards]]:
    """Yield what an equation reads, each time with the branches around it; what only a condition reads has no cotangent from there."""
    if not isinstance(eq.node, Map):
        yield from ((name, outside) for name in eq.node.operands())
        return
    waiting: list[tuple[sp.Basic, Guards]] = [(eq.node.expr, outside)]
    while waiting:
        expr, around = waiting.pop()
        if isinstance(expr, where):
            condition, *branches = expr.args
            for chosen, branch in zip((True, False), branches, strict=True):
                waiting.append((branch, around | _guard(condition, chosen, types)))
        elif isinstance(expr, sp.Symbol):
            if is_value(expr):
                yield expr.name, around
        else:
            waiting += [(part, around) for part in expr.args]


def _guard(condition: sp.Expr, chosen: bool, types: Mapping[str, Type]) -> Guards:
    """Return a branch as a guard; none for a choice among the elements of `eye`, which has its size from where it stands."""
    if EYE in condition.free_symbols:
        return NONE
    kinds = [types[name] for name in Map(condition).operands()]
    shape = max((kind.shape for kind in kinds), key=len, default=())
    return frozenset({Guard(condition, chosen, shape, any(kind.batched for kind in kinds))})
