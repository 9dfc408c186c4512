"""Values that are zero wherever a neuron does not spike, and so mostly: products with them may leave zeros out.

A spike is the value of a step function: by itself, detached, or as the value of a function with a derivative of its own. What a spike
multiplies is as sparse, and so is a choice of which each branch is, or zero.
"""

from __future__ import annotations

import sympy as sp

from .functions import Composed, step, where
from .ir import Map, Recurrence
from .rowfunctions import RowFunction


def sparse(rec: Recurrence) -> frozenset[str]:
    """Return the names of a recurrence's values, those of states before a step too, that are spikes, or zero where those are."""
    found, known = frozenset[str](), None
    while found != known:
        known = found
        found |= {carry.previous for carry in rec.carries if carry.value in found}
        for eq in rec.body:
            if isinstance(eq.node, Map) and not isinstance(eq.node, RowFunction) and _is_sparse(eq.node.expr, found):
                found |= {eq.name}
    return found


def _is_sparse(expr: sp.Expr, found: frozenset[str]) -> bool:
    if isinstance(expr, sp.Symbol):
        return expr.name in found
    if isinstance(expr, Composed):
        return _is_sparse(expr.computed(), found)
    if isinstance(expr, where):
        branches = expr.args[1:]
        return all(branch == 0 or _is_sparse(branch, found) for branch in branches) and any(branch != 0 for branch in branches)
    if isinstance(expr, sp.Mul):
        return any(_is_sparse(factor, found) for factor in expr.args)
    return isinstance(expr, step)
