"""Compute a function's value once where several equations of a step use it.

Only applications of functions that cost something (`tanh(c)`) get a name: shared sums and products of values at hand are the compiler's business,
and naming them would hide the formulas.

Needs: nothing.  Leaves: a `Map` for each shared application, before its first use.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import sympy as sp

from ..derivation import Derivation
from ..functions import Elementwise
from ..ir import Equation, Label, Map, Recurrence, Type, is_extent, validate
from ..naming import Names

COSTLY = 10


def share(derivation: Derivation) -> Derivation:
    """Return `derivation` with shared function values named."""
    return replace(derivation, forward=_share(derivation.forward), backward=_share(derivation.backward))


def _share(rec: Recurrence) -> Recurrence:
    types, labels, names, body = dict(rec.types), dict(rec.labels), Names(rec.types), list(rec.body)
    while (found := _candidate(body)) is not None:
        operands = [s.name for s in found.free_symbols if not is_extent(s)]
        shape = max((types[o].shape for o in operands), key=len)
        name = names.fresh(f"{type(found).__name__}_{operands[0]}" if len(operands) == 1 else f"{type(found).__name__}_value")
        types[name], labels[name] = Type(shape, any(types[o].batched for o in operands)), Label("part")
        first = next(k for k, eq in enumerate(body) if isinstance(eq.node, Map) and eq.node.expr.has(found))
        swap = {found: sp.Symbol(name)}
        body = [replace(eq, node=Map(eq.node.expr.xreplace(swap))) if isinstance(eq.node, Map) else eq for eq in body]
        body.insert(first, Equation(name, Map(found), body[first].tag, False))
    return validate(replace(rec, types=types, labels=labels, body=tuple(body)))


def _candidate(body: list[Equation]) -> sp.Expr | None:
    """Return the smallest costly application that occurs more than once, or None."""
    counts: Counter[sp.Expr] = Counter()
    for eq in body:
        if isinstance(eq.node, Map):
            counts.update(f for f in sp.preorder_traversal(eq.node.expr) if isinstance(f, Elementwise) and f.info.cost >= COSTLY)
    shared = [f for f, count in counts.items() if count > 1 and f.free_symbols]
    return min(shared, key=lambda f: (sp.count_ops(f), str(f)), default=None)
