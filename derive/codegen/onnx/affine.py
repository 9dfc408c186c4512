"""What a value is made of that is affine in vectors: rows of parameters, and what they are multiplied by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import sympy as sp

from ...calculus.ir import Concat, Map, MatVec, Node, Recurrence, Slice
from ...language.definition import Definition
from .graph import Piece


class NotAffineError(Exception):
    """A value is something else than a sum of products of parameters and vectors."""


@dataclass(frozen=True)
class Term:
    """Rows of a parameter: of a matrix times a vector, of a vector times another, or of a vector alone, whose `vector` is empty."""

    piece: Piece
    matrix: bool
    vector: str = ""


class Affine:
    """The equations of a cell, read as sums.

    Attributes
    ----------
    made : mapping
        What each name stands for that is computed.
    """

    def __init__(self, cell: Definition, rec: Recurrence, sizes: Mapping[str, int]) -> None:
        self.cell, self.rec, self.sizes = cell, rec, sizes
        self.made: dict[str, Node] = {eq.name: eq.node for eq in rec.equations()}

    def inlined(self, expr: sp.Expr) -> sp.Expr:
        """Return an expression with those of the names in it that stand for one put in their places, but not for states."""
        swap = {}
        for symbol in expr.free_symbols:
            node = self.made.get(symbol.name)
            if isinstance(node, Map) and symbol.name not in self.cell.states:
                swap[symbol] = self.inlined(node.expr)
        return expr.xreplace(swap)

    def expression(self, name: str) -> sp.Expr:
        """Return what a name stands for."""
        node = self.made.get(name)
        return self.inlined(node.expr) if isinstance(node, Map) else sp.Symbol(name)

    def length(self, name: str) -> int:
        """Return the number of rows of a value."""
        return self.rec.types[name].shape[0].evaluate(self.sizes)

    def terms(self, expr: sp.Expr, start: int = 0) -> list[Term]:
        """Return the terms of an expression of vectors, from its row `start` on.

        Raises
        ------
        NotAffineError
            If it is no sum of such.
        """
        if expr == 0:
            return []
        if expr.is_Add:
            return [term for part in expr.args for term in self.terms(part, start)]
        if expr.is_Mul and len(expr.args) == 2 and all(isinstance(factor, sp.Symbol) for factor in expr.args):
            return [self.scaled([factor.name for factor in expr.args], start)]
        if not isinstance(expr, sp.Symbol):
            raise NotAffineError
        return self.named(expr.name, start)

    def scaled(self, names: Iterable[str], start: int) -> Term:
        """Return the term of a product of two vectors, one of which is a parameter."""
        parameter, vector = sorted(names, key=lambda name: not self.is_vector_parameter(name))
        if not self.is_vector_parameter(parameter) or self.is_vector_parameter(vector) or start:
            raise NotAffineError
        return Term(Piece(parameter), False, vector)

    def is_vector_parameter(self, name: str) -> bool:
        return name in self.cell.parameters and len(self.rec.types[name].shape) == 1

    def named(self, name: str, start: int) -> list[Term]:
        match self.made.get(name):
            case None if self.is_vector_parameter(name):
                return [Term(Piece(name, start), False)]
            case Slice(value=value, start=own):
                return self.named(value, start + own.evaluate(self.sizes))
            case Map(expr=expr):
                return self.terms(expr, start)
            case MatVec(matrix=matrix, vector=vector, plus=""):
                first = self.rows(matrix, start)
                return [Term(Piece(first.parameter, first.start, column), True, part) for part, column in self.columns(vector)]
        raise NotAffineError

    def rows(self, matrix: str, start: int) -> Piece:
        """Return the rows of a parameter that those of a static matrix are."""
        node = self.made.get(matrix)
        if isinstance(node, Slice):
            return self.rows(node.value, start + node.start.evaluate(self.sizes))
        if matrix not in self.cell.parameters:
            raise NotAffineError
        return Piece(matrix, start)

    def columns(self, vector: str) -> Iterator[tuple[str, int]]:
        """Yield the parts of a vector, each with the column of a matrix at which it begins."""
        node, column = self.made.get(vector), 0
        for part in node.parts if isinstance(node, Concat) else (vector,):
            yield part, column
            column += self.length(part)
