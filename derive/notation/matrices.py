"""Products of matrices that have a row a sequence, as a textbook writes them: y kᵀ, S q, Sᵀ y, (a 1ᵀ) ⊙ S.

In the intermediate representation they are elementwise: a vector lies along an axis (`Along`), and a product with a vector is a sum over an
axis of what each element is times. So each factor of a term is a column, a row, a matrix or a number.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field

import sympy as sp

from ..calculus.ir import Along
from ..calculus.order import order
from ..calculus.symbols import EYE, is_value
from .names import Names
from .rowsums import Mean, Total
from .style import ATOM, PRODUCT, SUM, plus

ONES = "1"


@dataclass
class Factors:
    """The factors of a term by what they are; each column and row is an expression over vectors."""

    numbers: list[sp.Expr] = field(default_factory=list)
    columns: list[sp.Expr] = field(default_factory=list)
    rows: list[sp.Expr] = field(default_factory=list)
    matrices: list[sp.Expr] = field(default_factory=list)


class Matrices(Names):
    """How terms of matrices are written."""

    @abstractmethod
    def _within(self, expr: sp.Expr, level: int) -> str: ...

    @abstractmethod
    def _scalar(self, factor: sp.Expr) -> bool: ...

    @abstractmethod
    def _opened(self, expr: sp.Expr) -> sp.Expr: ...

    @abstractmethod
    def _print(self, expr: sp.Expr) -> tuple[str, int]: ...

    def along(self, symbol: sp.Symbol) -> Along | None:
        """Return the vector that a symbol has along an axis, or None."""
        node = self.inline.get(symbol.name) if is_value(symbol) else None
        return node if isinstance(node, Along) else None

    def has_along(self, expr: sp.Expr) -> bool:
        """Say whether an expression is one of matrices, for a vector in it: a sum inside it is a number, whatever that sums."""
        if isinstance(expr, sp.Symbol):
            return self.along(expr) is not None
        return not isinstance(expr, Total | Mean) and any(map(self.has_along, expr.args))

    def factors(self, term: sp.Expr) -> Factors:
        """Return the factors of a term of matrices."""
        found = Factors()
        for factor in sorted(sp.Mul.make_args(term), key=order):
            values = [s for s in factor.free_symbols if is_value(s) and not self._scalar(s)]
            axes = {along.axis if (along := self.along(s)) else None for s in values}
            vectors = factor.xreplace({s: sp.Symbol(along.value) for s in values if (along := self.along(s))})
            if EYE in factor.free_symbols:
                found.matrices.append(factor)
            elif factor.is_number or not values or self._scalar(factor):
                found.numbers.append(factor)
            elif axes == {0}:
                found.columns.append(vectors)
            elif axes == {1}:
                found.rows.append(vectors)
            else:
                found.matrices.append(factor)
        return found

    def hadamard(self, factors: Iterable[sp.Expr]) -> tuple[str, int]:
        """Return an elementwise product of vectors or of matrices, and how tightly it binds."""
        made = [self._within(f, ATOM) for f in factors]
        return (self.style.hadamard.join(made), ATOM if len(made) == 1 else PRODUCT) if made else (ONES, ATOM)

    def bracketed(self, text: tuple[str, int]) -> str:
        return text[0] if text[1] == ATOM else self.style.group(text[0])

    def scaled(self, numbers: list[sp.Expr], body: str) -> tuple[str, int]:
        """Return a product with numbers before it."""
        number = sp.Mul(*numbers)
        sign = number.as_coeff_Mul()[0].is_negative
        number = -number if sign else number
        level = PRODUCT if number.is_Mul or number.is_Pow else ATOM  # a sum over features would be one of all that follows
        text = body if number == 1 else f"{self._within(number, level)}{self.style.space}{body}"
        return (f"-{text}", SUM) if sign else (text, PRODUCT)

    def matrix_term(self, term: sp.Expr) -> tuple[str, int]:
        """Return a term of matrices: an outer product, or an elementwise product with one."""
        found = self.factors(term)
        outer = f"{self.bracketed(self.hadamard(found.columns))}{self.style.space}"
        outer += self.style.transposed(self.bracketed(self.hadamard(found.rows)))
        if not found.matrices:
            return self.scaled(found.numbers, outer)
        matrices = self.hadamard(found.matrices)[0]
        spread = bool(found.columns or found.rows)
        return self.scaled(found.numbers, f"{self.style.group(outer)}{self.style.hadamard}{matrices}" if spread else matrices)

    def axis_sum(self, value: sp.Expr, axis: int) -> tuple[str, int]:
        """Return the sum of a matrix over an axis, term by term: a product with what lies along that axis."""
        terms = [self.contracted(term, axis) for term in sorted(sp.Add.make_args(sp.expand_mul(value)), key=_negative)]
        (first, binding), *rest = terms
        if not rest:
            return first, binding
        return first + "".join(plus(text) for text, _ in rest), SUM

    def contracted(self, term: sp.Expr, axis: int) -> tuple[str, int]:
        found = self.factors(term)
        across, staying = (found.rows, found.columns) if axis else (found.columns, found.rows)
        if not found.matrices:
            total = self.style.sum_features(self.bracketed(self.hadamard(across))) if across else ""
            body = self.style.space.join(text for text in (total, self.bracketed(self.hadamard(staying))) if text)
            return self.scaled(found.numbers, body)
        matrix = self.bracketed(self.hadamard(found.matrices))
        matrix = matrix if axis else self.style.transposed(matrix)
        product = f"{matrix}{self.style.space}{self.bracketed(self.hadamard(across))}"
        if staying:
            product = f"{self.hadamard(staying)[0]}{self.style.hadamard}{self.style.group(product)}"
        return self.scaled(found.numbers, product)

    def summed_over(self, name: str, axis: int) -> tuple[str, int]:
        """Return the sum over an axis of a value, which is opened if it has no name."""
        node = self.inline.get(name) if self.is_inside(name) else None
        expr = getattr(node, "expr", None)
        return self.axis_sum(sp.Symbol(name) if expr is None else self._opened(expr), axis)


def _negative(term: sp.Expr) -> tuple[bool, tuple[int, int, str]]:
    return bool(term.as_coeff_Mul()[0].is_negative), order(term)
