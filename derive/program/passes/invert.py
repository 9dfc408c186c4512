"""Divide by a standard deviation once a row: the features are multiplied by its inverse.

A division takes several times as long as a product, and compilers may not trade one for the other, as the last bit may differ.  A standard
deviation is never small, so that its inverse is no infinity.

Needs: nothing.  Leaves: a `Map` for each inverse, before its first use.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import sympy as sp

from ...calculus.chain import Derivation
from ...calculus.ir import Equation, Label, Map, Recurrence, validate
from ...calculus.rowfunctions import Std


def invert(derivation: Derivation) -> Derivation:
    """Return `derivation` with the inverses of its standard deviations named."""
    divisors = tuple(dict.fromkeys(eq.name for link in derivation for eq in link.recurrence.body if isinstance(eq.node, Std)))
    return derivation.mapped(lambda rec: _invert(rec, divisors))


def _invert(rec: Recurrence, divisors: Collection[str]) -> Recurrence:
    types, labels, names = dict(rec.types), dict(rec.labels), rec.names()
    body = list(rec.body)
    for divisor in divisors:
        inverse = 1 / sp.Symbol(divisor)
        found = [k for k, eq in enumerate(body) if types[eq.name].shape and isinstance(eq.node, Map) and eq.node.expr.has(inverse)]
        if not found:
            continue
        name = names.fresh(f"inverse_{divisor}")
        types[name], labels[name] = types[divisor], Label("part")
        for k in found:
            node = body[k].node
            assert isinstance(node, Map)
            body[k] = replace(body[k], node=replace(node, expr=node.expr.xreplace({inverse: sp.Symbol(name)})))
        body.insert(found[0], Equation(name, Map(inverse), shown=False))
    return validate(replace(rec, types=types, labels=labels, body=tuple(body)))
