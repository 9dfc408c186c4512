"""Linear maps between values of a step: sums of products of diagonal matrices, weight matrices and selections.

A product is kept in the order of its factors: matrices do not commute.  What does commute is used: neighbouring diagonal matrices become
one, scalars join the first elementwise factor, and terms that differ in that factor alone are added up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import sympy as sp

from ..language.sizes import Size
from .symbols import is_value


@dataclass(frozen=True)
class Range:
    """Features `start` to `start + size`."""

    start: Size
    size: Size

    def before(self, other: Range) -> bool:
        """Say whether the range ends where `other` begins or earlier, for all sizes."""
        gap = other.start - (self.start + self.size)
        return gap.constant >= 0 and all(k >= 0 for _, k in gap.terms)


@dataclass(frozen=True)
class Diag:
    """The square matrix with `expr` on its diagonal; `scalar` if that is one number a row, a multiple of the identity."""

    expr: sp.Expr
    scalar: bool = False

    @property
    def names(self) -> frozenset[str]:
        return _names(self.expr)


@dataclass(frozen=True)
class Column:
    """The vector `expr` of `size` features as a matrix of one column: from a scalar to a vector."""

    expr: sp.Expr
    size: Size

    @property
    def names(self) -> frozenset[str]:
        return _names(self.expr)


@dataclass(frozen=True)
class Row:
    """The vector `expr` of `size` features as a matrix of one row: from a vector to a scalar."""

    expr: sp.Expr
    size: Size

    @property
    def names(self) -> frozenset[str]:
        return _names(self.expr)


@dataclass(frozen=True)
class Matrix:
    """A static matrix or its transpose; of that, the rows and columns of the ranges (all, if None)."""

    name: str
    transposed: bool = False
    rows: Range | None = None
    columns: Range | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.name})


@dataclass(frozen=True)
class Select:
    """From a vector of `whole` features to those of `part`; transposed, from these to a vector that is zero elsewhere."""

    part: Range
    whole: Size
    transposed: bool = False

    @property
    def names(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True)
class Unit:
    """The unit vector of `size` features that is 1 at `index`, as a column; transposed, as a row."""

    index: str
    size: Size
    transposed: bool = False

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.index})


Factor = Diag | Column | Row | Matrix | Select | Unit
Elementwise = Diag | Column | Row
IDENTITY = Diag(sp.S.One, scalar=True)


def _names(expr: sp.Expr) -> frozenset[str]:
    return frozenset(s.name for s in expr.free_symbols if is_value(s))


@dataclass(frozen=True)
class Term:
    """A product, in order: the last factor is applied first.  There is at least one, and one elementwise factor holds all scalars."""

    factors: tuple[Factor, ...] = (IDENTITY,)

    @property
    def names(self) -> frozenset[str]:
        """The values and matrices that it reads."""
        return frozenset().union(*(f.names for f in self.factors))

    @property
    def matrices(self) -> tuple[str, ...]:
        """The names of its matrices, in order."""
        return tuple(f.name for f in self.factors if isinstance(f, Matrix))

    @property
    def is_diagonal(self) -> bool:
        return all(isinstance(f, Diag) for f in self.factors)

    def then(self, factor: Factor) -> Term | None:
        """Return the product with one more factor on its right; None if it is zero."""
        if isinstance(factor, Elementwise) and factor.expr == 0:
            return None
        if isinstance(factor, Diag) and factor.scalar:
            return Term(_scale(self.factors, factor.expr))
        number = sp.S.One
        if isinstance(factor, Elementwise):
            number, rest = factor.expr.as_coeff_Mul()
            factor = _with(factor, rest)
        *front, last = self.factors
        merged = _merge(last, factor)
        return None if merged is None else Term(_scale(_tidy((*front, *merged)), number))


def _tidy(factors: Iterable[Factor]) -> tuple[Factor, ...]:
    """Leave out identities, unless nothing else is there."""
    return tuple(f for f in factors if f != IDENTITY) or (IDENTITY,)


def _first(factors: Iterable[Factor]) -> int | None:
    """Return the position of the first elementwise factor."""
    return next((k for k, f in enumerate(factors) if isinstance(f, Elementwise)), None)


def _scale(factors: tuple[Factor, ...], by: sp.Expr) -> tuple[Factor, ...]:
    """Return the product times a scalar, which joins the first elementwise factor or stands in front."""
    k = _first(factors)
    if k is None:
        return _tidy((Diag(by, scalar=True), *factors))
    scaled = _with(factors[k], _expr(factors[k]) * by)
    return _tidy((*factors[:k], scaled, *factors[k + 1 :]))


def _expr(factor: Factor) -> sp.Expr:
    assert isinstance(factor, Elementwise)
    return factor.expr


def _with(factor: Factor, expr: sp.Expr) -> Factor:
    assert isinstance(factor, Elementwise)
    return replace(factor, expr=expr)


def _merge(left: Factor, right: Factor) -> tuple[Factor, ...] | None:
    """Return the product of two neighbours in as few factors as possible; None if it is zero."""
    match left, right:
        case Diag(expr=a, scalar=s), Diag(expr=b, scalar=t):
            return (Diag(a * b, s and t),)
        case (Diag(expr=a), Column(expr=b, size=size)):
            return (Column(a * b, size),)
        case (Diag(expr=a, scalar=True), Row(expr=b, size=size)) | (Row(expr=a, size=size), Diag(expr=b)):
            return (Row(a * b, size),)
        case Select(transposed=False, part=part), Matrix(rows=None):
            return (replace(right, rows=part),)
        case Matrix(columns=None), Select(transposed=True, part=part):
            return (replace(left, columns=part),)
        case Select(transposed=False, part=a), Select(transposed=True, part=b):
            if a.before(b) or b.before(a):
                return None
            return (IDENTITY,) if a == b else (left, right)
    return (left, right)


@dataclass(frozen=True)
class Block:
    """A sum of products; the empty sum is zero."""

    terms: tuple[Term, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """The values and matrices that it reads."""
        return frozenset().union(*(term.names for term in self.terms))

    @property
    def is_zero(self) -> bool:
        return not self.terms

    @property
    def is_diagonal(self) -> bool:
        """Whether the map is elementwise; zero is."""
        return all(term.is_diagonal for term in self.terms)

    @property
    def is_identity(self) -> bool:
        return self.terms == (Term(),)

    def depends_on(self, names: Collection[str]) -> bool:
        """Say whether the block itself reads one of `names`."""
        return not self.names.isdisjoint(names)

    def then(self, factor: Factor) -> Block:
        """Return the product with one more factor on the right of every term."""
        products = (term.then(factor) for term in self.terms)
        return Block(_combine(p for p in products if p is not None))

    def __add__(self, other: Block) -> Block:
        return Block(_combine((*self.terms, *other.terms)))


def _combine(terms: Iterable[Term]) -> tuple[Term, ...]:
    """Add up terms that differ in their first elementwise factor alone."""
    sums: dict[tuple[int, type, tuple[Factor, ...]], Term] = {}
    for term in terms:
        factors = term.factors if _first(term.factors) is not None else (IDENTITY, *term.factors)
        k = _first(factors)
        assert k is not None
        key = k, type(factors[k]), (*factors[:k], *factors[k + 1 :])
        sums[key] = Term(_add(sums[key].factors, factors, k)) if key in sums else Term(factors)
    zero = {key for key, term in sums.items() if any(isinstance(f, Elementwise) and f.expr == 0 for f in term.factors)}
    return tuple(Term(_tidy(term.factors)) for key, term in sums.items() if key not in zero)


def _add(left: tuple[Factor, ...], right: tuple[Factor, ...], k: int) -> tuple[Factor, ...]:
    a, b = left[k], right[k]
    total = _with(a, _expr(a) + _expr(b))
    if isinstance(total, Diag) and isinstance(b, Diag):
        total = replace(total, scalar=total.scalar and b.scalar)
    return (*left[:k], total, *left[k + 1 :])
