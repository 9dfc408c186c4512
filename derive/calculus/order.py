"""The order in which the factors of a product and the terms of a sum are written: the same in formulas and in code."""

from __future__ import annotations

from functools import lru_cache

import sympy as sp


@lru_cache(maxsize=1 << 14)  # it is asked for again at every level of what an expression is a part of
def order(expr: sp.Expr) -> tuple[int, int, str]:
    """Sort key of factors and terms: cotangents first, then names, then what is compound."""
    if isinstance(expr, sp.Symbol):
        return (0 if expr.name.startswith(("d", "delta")) else 1, len(expr.name), expr.name)
    return (2, int(sp.count_ops(expr)), str(expr))
