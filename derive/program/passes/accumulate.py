"""Let a product add to the rest of the sum that it stands in.

``dh_prev = dh * z + U.T @ δ`` becomes ``base = dh * z`` and ``dh_prev = base + U.T @ δ`` as one node, whose product adds to `base` in
place.  Only where the sum leaves the step's elementwise block anyway (it is carried, written, or the operand of another product): else
it costs a store and saves nothing.

Needs: `stack` before it, so that a sum has at most one product for each operand.  Leaves: products with `plus`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import sympy as sp

from ...calculus.chain import Derivation
from ...calculus.ir import Equation, Label, Map, MatVec, MatVecT, Recurrence, prune, validate


def accumulate(derivation: Derivation) -> Derivation:
    """Return `derivation` with sums folded into products."""
    return derivation.mapped(_accumulate)


def _accumulate(rec: Recurrence) -> Recurrence:
    types, labels, names = dict(rec.types), dict(rec.labels), rec.names()
    uses = Counter(name for eq in rec.equations() for name in eq.node.operands())
    uses.update(rec.outputs)
    products = {eq.name: eq for eq in rec.body if isinstance(eq.node, MatVec | MatVecT)}
    leaving = {*rec.outputs, *(eq.node.vector for eq in products.values() if isinstance(eq.node, MatVec | MatVecT))}
    body: list[Equation] = []
    for eq in rec.body:
        body.append(eq)
        if not isinstance(eq.node, Map) or eq.name not in leaving:
            continue
        terms = [s for s in sp.Add.make_args(eq.node.expr) if isinstance(s, sp.Symbol) and s.name in products]
        terms = [s for s in terms if uses[s.name] == 1 and types[s.name] == types[eq.name] and not _plus(products[s.name])]
        terms = [s for s in terms if not (eq.node.expr - s).has(s)]  # else it is read once more
        if not terms:
            continue
        product, rest = products[terms[0].name].node, eq.node.expr - terms[0]
        assert isinstance(product, MatVec | MatVecT)
        body.pop()
        if rest != 0:
            base = names.fresh(f"{eq.name}_rest")
            types[base], labels[base] = types[eq.name], Label("part")
            body.append(Equation(base, Map(rest), eq.tag, False))
            product = replace(product, plus=base)
        body.append(replace(eq, node=product))
    return validate(prune(replace(rec, types=types, labels=labels, body=tuple(body))))


def _plus(eq: Equation) -> bool:
    return isinstance(eq.node, MatVec | MatVecT) and bool(eq.node.plus)
