"""Put numbers for the cell's constants, which have their names in derivations.

Needs: nothing.  Leaves: expressions over values and sizes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy as sp

from ...calculus.chain import Derivation
from ...calculus.ir import Equation, Map, Recurrence
from ...calculus.symbols import constant


def numbers(derivation: Derivation) -> Derivation:
    """Return `derivation` with the values of constants in the places of their names."""
    return derivation.mapped(_numbers)


def _numbers(rec: Recurrence) -> Recurrence:
    values = {constant(name): value for name, value in rec.constants.items()}
    if not values:
        return rec

    def put(equations: tuple[Equation, ...]) -> tuple[Equation, ...]:
        return tuple(_put(eq, values) for eq in equations)

    return replace(rec, prologue=put(rec.prologue), body=put(rec.body), accumulators=put(rec.accumulators), epilogue=put(rec.epilogue))


def _put(eq: Equation, values: Mapping[sp.Symbol, sp.Rational]) -> Equation:
    return replace(eq, node=replace(eq.node, expr=eq.node.expr.xreplace(values))) if isinstance(eq.node, Map) else eq
