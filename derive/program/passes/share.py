"""Compute a function's value once: where several equations of a step use it, or, of parameters alone, once for all steps.

Only applications of functions that cost something (`tanh(c)`) get a name: shared sums and products of values at hand are the
compiler's business, and naming them would hide the formulas.

Needs: nothing.  Leaves: a `Map` for each shared application, before its first use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import sympy as sp

from ...calculus.chain import Derivation
from ...calculus.functions import Elementwise
from ...calculus.ir import Equation, Label, Map, Recurrence, Type, validate
from ...calculus.order import order

COSTLY = 10


def share(derivation: Derivation) -> Derivation:
    """Return `derivation` with shared function values named."""
    return derivation.mapped(_share)


def _share(rec: Recurrence) -> Recurrence:
    types, labels, names = dict(rec.types), dict(rec.labels), rec.names()
    prologue, body = list(rec.prologue), list(rec.body)
    while (found := _candidate(body, types)) is not None:
        operands = _operands(found)
        shape = max((types[o].shape for o in operands), key=len)
        name = names.fresh(f"{type(found).__name__}_{operands[0]}" if len(operands) == 1 else f"{type(found).__name__}_value")
        static = not any(types[o].batched for o in operands)
        headed = any(types[o].headed for o in operands)
        types[name], labels[name] = Type(shape, not static, headed=headed), Label("part")
        first = next(k for k, eq in enumerate(body) if found in _applications(eq))
        swap = {found: sp.Symbol(name)}
        body = [_swapped(eq, swap) if found in _applications(eq) else eq for eq in body]
        made = Equation(name, Map(found), shown=False)
        if static:
            prologue.append(made)
        else:
            body.insert(first, made)
    return validate(replace(rec, types=types, labels=labels, prologue=tuple(prologue), body=tuple(body)))


def _candidate(body: list[Equation], types: Mapping[str, Type]) -> sp.Expr | None:
    """Return the smallest costly application that occurs more than once, or that is static, or None."""
    counts = Counter(f for eq in body for f in _applications(eq))

    def static(f: sp.Expr) -> bool:
        return not any(types[name].batched for name in _operands(f))

    found = [f for f, count in counts.items() if _operands(f) and (count > 1 or static(f))]
    return min(found, key=lambda f: (not static(f), *order(f)[1:]), default=None)


def _applications(eq: Equation) -> tuple[sp.Expr, ...]:
    """Return the costly applications in an equation, each as often as it stands there."""
    return _costly(eq.node.expr) if isinstance(eq.node, Map) else ()


def _swapped(eq: Equation, swap: Mapping[sp.Expr, sp.Expr]) -> Equation:
    assert isinstance(eq.node, Map)
    return replace(eq, node=replace(eq.node, expr=eq.node.expr.xreplace(swap)))


# An equation is asked again after each function that gets a name, and most are as they were.


@lru_cache(maxsize=1 << 14)
def _costly(expr: sp.Expr) -> tuple[sp.Expr, ...]:
    return tuple(f for f in sp.preorder_traversal(expr) if isinstance(f, Elementwise) and f.info.cost >= COSTLY)


@lru_cache(maxsize=1 << 14)
def _operands(f: sp.Expr) -> tuple[str, ...]:
    return Map(f).operands()
