"""What to save and what to recompute.

A link of a chain reads values of earlier ones.  One that costs next to nothing to make again from values that are at hand in it anyway
(inputs, parameters, other saved values) is recomputed there, and does not lie on the tape: `r * h_prev`, `[h_prev, x]`, a slice.
So is what depends on contexts only, which is made once a sequence and not at every step.

Needs: the chain as differentiated.  Leaves: fewer sequences in the links that read others, their equations at the head of the bodies.
"""

from __future__ import annotations

from dataclasses import replace

import sympy as sp

from ...calculus.chain import Derivation, Link
from ...calculus.functions import Elementwise, cost
from ...calculus.ir import VIEWS, Concat, Equation, Map, Slice, downstream, prune

# A load, a store and the memory they take weigh about as much as this many arithmetic operations; for an element of a matrix, which takes
# as much memory as the state does for each step, as this many.
CHEAP, CHEAP_IN_MATRIX = 6, 60


def recompute(derivation: Derivation) -> Derivation:
    """Return `derivation` with cheap values recomputed by the links that read them."""
    made: dict[str, Link] = {}
    for link in derivation:
        for name in dict.fromkeys(link.reads.values()):
            link = _recomputed(made[name], link)
        made[link.name] = link
    return replace(derivation, links=tuple(made.values())).settled()


def _recomputed(maker: Link, reader: Link) -> Link:
    """Return `reader` with cheap values of `maker` computed again in it."""
    rec, body = reader.recurrence, maker.recurrence.body
    remakeable = _remakeable(maker, reader)
    at_hand, previous = _at_hand(maker, reader), {c.previous for c in maker.recurrence.carries}
    made, wanted = {eq.name for eq in body}, set[str]()
    for eq in reversed(body):
        if (reader.reads.get(eq.name) == maker.name and eq.name in remakeable) or eq.name in wanted:
            kept = () if len(maker.recurrence.types[eq.name].shape) < 2 else made - remakeable
            wanted |= {eq.name, *(o for o in eq.node.operands() if o not in at_hand and o not in previous and o not in kept)}
    again = [replace(eq, shown=False) for eq in body if eq.name in wanted]
    names, read = {eq.name for eq in again}, tuple(dict.fromkeys(o for eq in again for o in eq.node.operands()))
    source = maker.recurrence

    def given(now: tuple[str, ...], of: set[str]) -> tuple[str, ...]:
        return tuple(n for n in dict.fromkeys((*now, *(o for o in read if o in of))) if n not in names)

    sequences = given(rec.sequences, {*source.sequences, *previous, *(eq.name for eq in body if _is_small(maker, eq))})
    there = {*names, *sequences}  # of another maker, it may be computed already, or read now
    changed = replace(
        rec,
        sequences=sequences,
        statics=given(rec.statics, {*source.statics}),
        contexts=given(rec.contexts, {*source.contexts}),
        body=(*again, *(eq for eq in rec.body if eq.name not in there)),
    )
    own = previous | (made - names - maker.reads.keys())
    more = {n: maker.name if n in own else maker.reads[n] for n in read if n in own or n in maker.reads}
    return replace(reader, recurrence=prune(changed), reads={**reader.reads, **more})


def _at_hand(maker: Link, reader: Link) -> set[str]:
    """Return what `reader` has anyway: what it is given or reads, and what `maker` is given."""
    rec, source = reader.recurrence, maker.recurrence
    found = {*rec.inputs, *source.inputs, *(eq.name for eq in rec.prologue)}
    return found - ({c.previous for c in source.carries} - set(rec.sequences))


def _remakeable(maker: Link, reader: Link) -> set[str]:
    """Return the values of `maker` that are worth computing again in `reader`, from what it has at hand."""
    rec = maker.recurrence
    at_hand, previous, states = _at_hand(maker, reader), {c.previous for c in rec.carries}, {c.value for c in rec.carries}
    varying = downstream(rec.body, {*rec.sequences, *previous})
    once = {eq.name for eq in rec.body} - varying - {*maker.handed, *states}
    found: set[str] = set()
    there = _applied(reader)
    for eq in rec.body:
        matrix = len(rec.types[eq.name].shape) == 2
        worth = eq.name in once or (eq.name not in states and _cheap(eq, there, CHEAP_IN_MATRIX if matrix else CHEAP))
        # what is saved in the stead of a concatenation, or of a matrix, is smaller
        within = at_hand | found | (previous if isinstance(eq.node, Concat) or matrix else set())
        if matrix:
            within |= {other.name for other in rec.body if _is_small(maker, other)}
        if worth and within.issuperset(eq.node.operands()):
            found.add(eq.name)
    return found


def _applied(link: Link) -> set[sp.Expr]:
    """Return the functions of values that a link computes in any case, which cost nothing more."""
    maps = [eq.node.expr for eq in link.recurrence.body if isinstance(eq.node, Map)]
    return {part for expr in maps for part in sp.preorder_traversal(expr) if isinstance(part, Elementwise)}


def _is_small(maker: Link, eq: Equation) -> bool:
    """Say whether a value is a vector or a number, to be kept for what is made of it."""
    return len(maker.recurrence.types[eq.name].shape) < 2


def _cheap(eq: Equation, there: set[sp.Expr], limit: int) -> bool:
    match eq.node:
        case Map(expr=expr):
            return cost(expr.xreplace(dict.fromkeys(there, sp.Symbol("value")))) <= limit
        case Concat() | Slice():
            return True
    return isinstance(eq.node, VIEWS)
