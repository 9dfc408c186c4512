"""Scalar expressions as operators on elements."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import sympy as sp

from ...calculus.functions import Composed, Elementwise
from ...calculus.order import order
from ...language.errors import CellError
from .emitter import Emitter, Value
from .functions import FUNCTIONS, as_number
from .graph import TRUTH


@dataclass(frozen=True)
class Expressions:
    """Prints expressions.

    Attributes
    ----------
    on : Emitter
        Takes the operators.
    atom : callable
        Value of a symbol, with axes that those of others meet.
    """

    on: Emitter
    atom: Callable[[sp.Symbol], Value]

    def value(self, expr: sp.Expr) -> Value:
        """Return the value of an expression.

        Raises
        ------
        CellError
            If it has a function that is none of the language's.
        """
        if isinstance(expr, sp.Symbol):
            return self.atom(expr)
        if expr.is_number and not expr.has(Elementwise):  # SymPy knows no value of the language's functions
            return self.on.number(float(expr))
        if isinstance(expr, Composed):
            return self.value(expr.computed())
        if isinstance(expr, Elementwise):
            return self.function(expr)
        if expr.is_Add:
            return self.sum(expr)
        if expr.is_Mul:
            return self.product(expr)
        return self.power(expr)

    def number(self, expr: sp.Expr) -> Value:
        """Return the value of an expression as a number, where it may be a condition."""
        value = self.value(expr)
        return as_number(self.on, value) if value.kind == TRUTH else value

    def function(self, expr: Elementwise) -> Value:
        name = expr.info.name
        if name not in FUNCTIONS:
            raise CellError(f"`{name}` has no form in ONNX")
        args = [self.value(expr.args[0]), *map(self.number, expr.args[1:])] if name == "where" else map(self.number, expr.args)
        return FUNCTIONS[name](self.on, *args)

    def sum(self, expr: sp.Expr) -> Value:
        first, *rest = sorted(expr.args, key=lambda term: (_negative(term), not term.is_number, order(term)))
        total = self.number(first)
        for term in rest:
            minus = _negative(term)
            total = self.on.on_elements("Sub" if minus else "Add", total, self.number(-term if minus else term))
        return total

    def product(self, expr: sp.Expr) -> Value:
        if expr.as_coeff_Mul()[0] == -1:
            return self.on.on_elements("Neg", self.number(-expr))
        below = [1 / factor for factor in expr.args if _divides(factor)]
        above = [factor for factor in expr.args if not _divides(factor)]
        top = self.times(sorted(above, key=lambda factor: (not factor.is_number, order(factor)))) if above else self.on.number(1)
        return self.on.on_elements("Div", top, self.number(sp.Mul(*below))) if below else top

    def times(self, factors: Iterable[sp.Expr]) -> Value:
        return reduce(lambda a, b: self.on.on_elements("Mul", a, b), map(self.number, factors))

    def power(self, expr: sp.Expr) -> Value:
        base, exponent = expr.base, expr.exp
        if exponent.is_negative:
            return self.on.on_elements("Reciprocal", self.number(base**-exponent))
        value = self.number(base)
        if exponent == sp.S.Half:
            return self.on.on_elements("Sqrt", value)
        if exponent == 2:
            return self.on.on_elements("Mul", value, value)
        return self.on.on_elements("Pow", value, self.on.number(float(exponent)))


def _negative(term: sp.Expr) -> bool:
    return bool(term.as_coeff_Mul()[0].is_negative)


def _divides(factor: sp.Expr) -> bool:
    """Say whether a factor is one over what has a value."""
    return bool(factor.is_Pow and factor.exp.is_number and factor.exp.is_negative and not factor.is_number)
