"""What is made of parameters alone, once before the first step, as C."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp

from ...calculus.ir import (
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Node,
    Outer,
    Recurrence,
    Slice,
    Transpose,
)
from ...calculus.symbols import EYE, extent_name, is_extent
from ...language.sizes import Size
from ..source import SUM, Comment, Source, Tree, code, do, name, store
from .expression import CExpressions
from .memory import Lying, Places
from .text import loop

INDICES = (name("i"), name("j"))
ZERO = Source("R(0.0)")


@dataclass(frozen=True)
class Static:
    """The statements of static equations.

    Attributes
    ----------
    places : Places
    lies : mapping
        Where static values lie, those that show others among them.
    say : callable
        The comment of an equation.
    """

    places: Places
    lies: Mapping[str, Lying]
    say: Callable[[Equation], list[Comment]]

    @property
    def rec(self) -> Recurrence:
        return self.places.rec

    def made(self, eq: Equation) -> list[Tree]:
        """Return the statements that make a value where it lies."""
        work = self.work(eq)
        if self.rec.types[eq.name].headed and not isinstance(eq.node, HeadSum):
            work = [loop("head", self.places.size(self.places.heads), work)]
        return [*self.say(eq), *work]

    def work(self, eq: Equation) -> list[Tree]:
        """Return those that make the value, or that of the head at hand."""
        shape = self.rec.types[eq.name].shape
        indices = INDICES[2 - len(shape) :]
        match eq.node:
            case Map(expr=expr):
                return self.filled(eq.name, self.expression(expr))
            case Transpose(matrix=m):
                return self.filled(eq.name, self.at(m, *indices[::-1]))
            case Outer(left=u, right=v):
                return self.filled(eq.name, code("{} * {}", self.at(u, indices[0]), self.at(v, indices[1])))
            case Slice(value=v, start=start):
                return self.filled(eq.name, self.at(v, self.shifted(indices[0], start), *indices[1:]))
            case Concat(parts=parts):
                return self.joined(eq.name, parts)
            case MatVec() | MatVecT():
                return self.product(eq.name, eq.node)
            case AxisSum(value=v, axis=axis):
                total = self.at(eq.name, INDICES[1 - axis])
                return [*self.filled(eq.name, ZERO), *self.over(self.rec.types[v].shape, [_add(total, self.at(v, *INDICES))])]
            case HeadSum(value=v):
                added = self.over(shape, [_add(self.at(eq.name, *indices), self.at(v, *indices))])
                return [*self.filled(eq.name, ZERO), loop("head", self.places.size(self.places.heads), added)]
            case FeatureSum(value=v):
                shape = self.rec.types[v].shape
                added = self.over(shape, [_add(self.at(eq.name), self.at(v, *INDICES[2 - len(shape) :]))])
                return [store(self.at(eq.name), ZERO), *added]
            case LogSumExp(value=v):
                size, first = self.places.size(self.rec.types[v].shape[0]), self.places.pointer(self.lying(v))
                return [store(self.at(eq.name), code("log_sum_exp({}, {})", size, first, uses=("log_sum_exp",)))]
        raise TypeError(f"{eq.name}: {type(eq.node).__name__} of static values has no code in C")

    # Values

    def lying(self, value: str) -> Lying:
        return self.lies[self.rec.repeated.get(value, value)]

    def at(self, value: str, *indices: Source) -> Source:
        """Return an element of a value."""
        value = self.rec.repeated.get(value, value)
        if value in self.rec.laid:
            along = self.rec.laid[value]
            return self.at(along.value, indices[along.axis])
        return self.places.element(self.lies[value], indices)

    def expression(self, expr: sp.Expr) -> Source:
        def atom(symbol: sp.Symbol) -> Source:
            if symbol == EYE:
                return code("(i == j ? R(1.0) : R(0.0))", uses=("i", "j"))
            if is_extent(symbol):
                return code("(real){}", self.places.name_of(extent_name(symbol)))
            rank = len(self.rec.types[symbol.name].shape)
            return self.at(symbol.name, *INDICES[2 - rank :])

        return CExpressions(atom).source(expr)

    def shifted(self, index: Source, start: Size) -> Source:
        return code("{} + {}", self.places.size(start), index, binding=SUM) if start != Size() else index

    # Statements

    def over(self, shape: Sequence[Size], work: list[Tree]) -> list[Tree]:
        """Return statements in loops over the elements of a shape."""
        for index, size in reversed([*zip(INDICES[2 - len(shape) :], shape, strict=True)]):
            work = [loop(index.text, self.places.size(size), work)]
        return work

    def filled(self, value: str, element: Source) -> list[Tree]:
        """Return the loops that store an element everywhere."""
        shape = self.rec.types[value].shape
        return self.over(shape, [store(self.at(value, *INDICES[2 - len(shape) :]), element)])

    def joined(self, value: str, parts: Sequence[str]) -> list[Tree]:
        lines: list[Tree] = []
        start = Size()
        for part in parts:
            shape = self.rec.types[part].shape
            first, *rest = INDICES[2 - len(shape) :]
            target = self.at(value, self.shifted(first, start), *rest)
            lines += self.over(shape, [store(target, self.at(part, first, *rest))])
            start = start + shape[0]
        return lines

    def product(self, value: str, node: MatVec | MatVecT) -> list[Tree]:
        lines = self.filled(value, self.at(node.plus, INDICES[1])) if node.plus else []
        return [*lines, multiplied(self.places, node, *map(self.lying, (node.matrix, node.vector, value)))]


def multiplied(places: Places, node: Node, matrix: Lying, vector: Lying, out: Lying) -> Tree:
    """Return the call that makes a product, of the head at hand where there are heads, or adds it to what lies there."""
    assert isinstance(node, MatVec | MatVecT)
    called = "multiply" + "_t" * isinstance(node, MatVecT) + "_add" * bool(node.plus)
    sizes = map(places.size, matrix.shape)
    return do(code(f"{called}({', '.join(['{}'] * 5)})", *sizes, *map(places.pointer, (matrix, vector, out)), uses=(called,)))


def _add(target: Source, value: Source) -> Tree:
    return do(code("{} += {}", target, value))
