"""Compute a function of numbers or of vectors by itself where it stands in an expression of matrices: once, and not for each element.

``exp(g) * S`` has one exponential for each sequence, ``outer(1, sigmoid(a)) * S`` one for each column.

Needs: nothing.  Leaves: a `Map` of a number or a vector for each such function, and vectors laid along an axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import sympy as sp

from ...calculus.chain import Derivation
from ...calculus.functions import Elementwise
from ...calculus.ir import Along, Equation, Label, Map, Recurrence, Type, validate
from ...calculus.symbols import is_value
from .share import COSTLY


def narrow(derivation: Derivation) -> Derivation:
    """Return `derivation` with functions in expressions of matrices that are of fewer axes named."""
    return derivation.mapped(lambda rec: _Narrowing(rec).narrowed())


class _Narrowing:
    """A recurrence as far as it has been narrowed."""

    def __init__(self, rec: Recurrence) -> None:
        self.rec = rec
        self.types, self.labels, self.names = dict(rec.types), dict(rec.labels), rec.names()
        self.along = rec.laid
        self.made: dict[sp.Expr, sp.Symbol] = {}
        self.body: list[Equation] = []

    def narrowed(self) -> Recurrence:
        if not any(len(self.types[eq.name].shape) == 2 for eq in self.rec.body):
            return self.rec
        for eq in self.rec.body:
            if isinstance(eq.node, Map) and len(self.types[eq.name].shape) == 2:
                swap = {f: self.named(f) for f in self.narrower(eq.node.expr)}
                eq = replace(eq, node=replace(eq.node, expr=eq.node.expr.xreplace(swap)))
            self.body.append(eq)
        return validate(replace(self.rec, types=self.types, labels=self.labels, body=tuple(self.body)))

    def narrower(self, expr: sp.Expr) -> Iterator[sp.Expr]:
        """Yield the outermost costly functions in an expression that have fewer axes than a matrix."""
        costly = isinstance(expr, Elementwise) and expr.info.cost >= COSTLY and any(is_value(s) for s in expr.free_symbols)
        if costly and self.axis(expr) is not None:
            yield expr
        else:
            for part in expr.args:
                yield from self.narrower(part)

    def axis(self, expr: sp.Expr) -> tuple[int, ...] | None:
        """Return the axis along which a function varies, none for a number; None for a matrix."""
        axes = set()
        for name in Map(expr).operands():
            if name in self.along:
                axes.add((self.along[name].axis,))
            elif self.types[name].shape:
                return None
        return next(iter(axes), ()) if len(axes) < 2 else None

    def named(self, function: sp.Expr) -> sp.Symbol:
        if function not in self.made:
            operands = Map(function).operands()
            headed = any(self.types[name].headed for name in operands)
            laid = [self.along[name] for name in operands if name in self.along]
            narrow = function.xreplace({sp.Symbol(name): sp.Symbol(node.value) for name, node in self.along.items()})
            shape = self.types[laid[0].value].shape if laid else ()
            value = self.equation(type(function).__name__, Map(narrow), Type(shape, True, headed=headed))
            if laid:
                axis, size = laid[0].axis, laid[0].size
                whole = (shape[0], size) if axis == 0 else (size, shape[0])
                value = self.equation(f"{value}_along", Along(value.name, axis, size), Type(whole, True, headed=headed))
                self.along[value.name] = Along(value.name, axis, size)
            self.made[function] = value
        return self.made[function]

    def equation(self, wish: str, node: Map | Along, kind: Type) -> sp.Symbol:
        name = self.names.fresh(wish)
        self.types[name], self.labels[name] = kind, Label("part")
        self.body.append(Equation(name, node, shown=False))
        return sp.Symbol(name)
