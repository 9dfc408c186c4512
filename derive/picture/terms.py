"""Sums and products taken apart: what is weighted, what runs along plainly, what does not vary."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction

from ..language.definition import Definition
from ..language.tree import Binary, Expr, MatMul, Name, Negative, Number
from ..language.walks import children, is_batched, walk


@dataclass(frozen=True)
class Factor:
    """A factor of a product, or what divides it."""

    expr: Expr
    divides: bool = False


@dataclass(frozen=True)
class Term:
    """``± weights · varying``: `matrix` says that a weight multiplies as a matrix, `varying` is None for a constant."""

    negative: bool
    weights: tuple[Factor, ...]
    matrix: bool
    varying: Expr | None


@dataclass(frozen=True)
class Sum:
    """The terms of a sum by what they are."""

    weighted: tuple[Term, ...] = ()
    plain: tuple[Term, ...] = ()
    constant: tuple[Term, ...] = ()

    @property
    def matrix(self) -> bool:
        return any(term.matrix for term in self.weighted)


@dataclass(frozen=True)
class Reader:
    """Takes a cell's expressions apart; what several expressions share stays whole, so that it is drawn once."""

    cell: Definition
    shared: frozenset[Expr] = field(init=False)

    def __post_init__(self) -> None:
        """Collect the expressions that are parts of two different ones."""
        parents: dict[Expr, set[Expr]] = {}
        for line in self.cell.equations:
            for node in walk(line.value):
                for part in children(node):
                    parents.setdefault(part, set()).add(node)
        whole = {line.value for line in self.cell.equations}
        shared = frozenset(e for e, p in parents.items() if (len(p) > 1 or e in whole) and not isinstance(e, Name | Number))
        object.__setattr__(self, "shared", shared)

    def varies(self, expr: Expr) -> bool:
        return is_batched(expr, self.cell.batched)

    def trainable(self, expr: Expr) -> bool:
        """Say whether a constant has a parameter in it."""
        names = {node.id for node in walk(expr) if isinstance(node, Name)}
        return bool(names - {*self.cell.constants})

    def sum(self, expr: Expr) -> Sum:
        """Return the terms of an expression, which may be one term."""
        terms = [self.term(part, negative) for part, negative in self._summands(expr, False, True)]
        return Sum(
            tuple(t for t in terms if t.varying is not None and t.weights),
            tuple(t for t in terms if t.varying is not None and not t.weights),
            tuple(t for t in terms if t.varying is None),
        )

    def _summands(self, expr: Expr, negative: bool, top: bool) -> Iterable[tuple[Expr, bool]]:
        whole = not top and expr in self.shared
        if isinstance(expr, Negative) and not whole:
            yield from self._summands(expr.operand, not negative, False)
        elif isinstance(expr, Binary) and expr.op in "+-" and self.varies(expr) and not whole:
            yield from self._summands(expr.left, negative, False)
            yield from self._summands(expr.right, negative != (expr.op == "-"), False)
        else:
            yield expr, negative

    def term(self, expr: Expr, negative: bool) -> Term:
        """Peel the weights off an expression."""
        if not self.varies(expr):
            return Term(negative, (Factor(expr),), False, None)
        return self._peel(Term(negative, (), False, expr), True)

    def _peel(self, term: Term, top: bool) -> Term:
        expr = term.varying
        assert expr is not None
        if not top and expr in self.shared:
            return term
        match expr:
            case Negative(operand=operand):
                return self._peel(replace(term, negative=not term.negative, varying=operand), False)
            case MatMul(left=left, right=right) if not self.varies(left) or not self.varies(right):
                weight, vector = (right, left) if self.varies(left) else (left, right)
                return self._peel(replace(term, weights=(*term.weights, Factor(weight)), matrix=True, varying=vector), False)
            case Binary(op="*" | "/"):
                return self._peel_product(term, expr)
        return term

    def _peel_product(self, term: Term, expr: Expr) -> Term:
        factors = self.factors(expr)
        weights = tuple(f for f in factors if not self.varies(f.expr))
        varying = [f for f in factors if self.varies(f.expr)]
        if not weights or all(f.divides for f in varying):
            return term
        term = replace(term, weights=(*term.weights, *weights))
        if len(varying) == 1:
            return self._peel(replace(term, varying=varying[0].expr), False)
        return replace(term, varying=_product(varying))

    def factors(self, expr: Expr) -> list[Factor]:
        """Return the factors of a product in the order in which they are written."""
        return list(self._factors(expr, False, True))

    def _factors(self, expr: Expr, divides: bool, top: bool) -> Iterable[Factor]:
        if isinstance(expr, Binary) and expr.op in "*/" and (top or expr not in self.shared) and self.varies(expr):
            yield from self._factors(expr.left, divides, False)
            yield from self._factors(expr.right, divides != (expr.op == "/"), False)
        else:
            yield Factor(expr, divides)


def _product(factors: Iterable[Factor]) -> Expr:
    """Return the product of factors, the first of which may not divide."""
    first, *rest = sorted(factors, key=lambda f: f.divides)
    result = first.expr
    for factor in rest:
        result = Binary("/" if factor.divides else "*", result, factor.expr)
    return result


def weights_product(weights: Iterable[Factor]) -> Expr:
    """Return the product of weights as an expression, for a label."""
    above = [f for f in weights if not f.divides]
    below = [f for f in weights if f.divides]
    return _product([*(above or [Factor(Number(Fraction(1)))]), *below])
