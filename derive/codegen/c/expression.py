"""Scalar expressions as C."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from ...calculus.functions import Elementwise, where
from ..expression import OPERATORS, Expressions
from ..source import ATOM, SUM, Source
from .functions import function


class CExpressions(Expressions):
    """Prints expressions; constants have the type of the file, by its macro `R`."""

    def __init__(self, atom: Callable[[sp.Symbol], Source]) -> None:
        super().__init__(atom, function)

    def _number(self, expr: sp.Expr) -> tuple[str, int]:
        value = float(expr)
        return (f"-R({-value!r})", SUM) if value < 0 else (f"R({value!r})", ATOM)

    def _function(self, expr: Elementwise) -> tuple[str, int]:
        if type(expr) in OPERATORS:  # outside of a condition it is a number
            return self._called(expr.info.name, *(self._print(a)[0] for a in expr.args))
        if not isinstance(expr, where):
            return super()._function(expr)
        condition, a, b = expr.args
        return f"({self._condition(condition)} ? {self._print(a)[0]} : {self._print(b)[0]})", ATOM

    def _condition(self, expr: sp.Expr) -> str:
        """Return what is chosen by: a comparison, or a number, which is not zero."""
        if type(expr) in OPERATORS:
            left, right = (self._within(a, SUM) for a in expr.args)
            return f"{left} {OPERATORS[type(expr)]} {right}"
        return f"{self._within(expr, ATOM)} != {self._number(sp.S.Zero)[0]}"
