"""Formulas of a recurrence's equations in textbook notation.

The same code writes LaTeX and text; `style` knows how each primitive looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import sympy as sp

from ..calculus import ir
from ..calculus.functions import FUNCTIONS, Elementwise, Surrogate
from ..calculus.ir import (
    Along,
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Merge,
    Node,
    Outer,
    Part,
    Pick,
    Repeat,
    Slice,
    Spread,
    Transpose,
)
from ..calculus.order import order
from ..calculus.rowfunctions import Normalised, Softmax, Std
from ..calculus.symbols import EYE, constant_name, extent, extent_name, is_constant, is_extent
from ..language.sizes import Size
from .matrices import Matrices
from .rowsums import Mean, Total, averaged, tidied, total
from .style import ATOM, LONGEST_DENOMINATOR, PRODUCT, SUM, Latex, plus

INDICES = "ij"
"""Of a matrix's elements; those of a vector have the last."""


@dataclass
class Formulas(Matrices):
    """Formulas of a recurrence's equations, and what they are called."""

    def definitions(self) -> list[str]:
        """Return what the names stand for that formulas use and the author did not give, a line for each function that they come from."""
        made = {eq.name: eq.node for eq in self.known}
        arguments = {node.value for node in made.values() if isinstance(node, Normalised)}
        said: set[str] = set()
        lines = []
        for name, node in made.items():
            names = (node.value, name, node.std) if isinstance(node, Normalised) else (name,) if name not in arguments else ()
            new = [n for n in names if n not in said and (n in self.called or (len(names) > 1 and self.label(n).role))]
            said.update(new)
            lines += [self.style.listed([self.style.equals(self.name(n), self.node(made[n])[0]) for n in new])] if new else []
        return lines

    def equation(self, eq: Equation) -> str:
        """Return the formula of an equation; an accumulator's is a sum over time."""
        right = self.total(eq) if eq.name in self.totals else self.of_equation(eq)[0]
        if eq.name in self.rest:
            right = self.name(self.rest[eq.name]) + plus(right)
        return self.style.equals(self.left(eq.name), right)

    def left(self, name: str) -> str:
        return self.name(name, inline=False)

    def of_equation(self, eq: Equation) -> tuple[str, int]:
        """Return the formula of an equation's node, as one head has it where that is what its name tells of, and how tightly it binds."""
        if self.is_of_heads(self.mark(eq.name)[1]):
            return self.bound(self.part_of(eq.name, eq.node))
        return self.node(eq.node)

    def total(self, *equations: Equation) -> str:
        """Return the sum over time of equations together."""
        if len(equations) == 1:
            return self.style.over_time(self.summand(equations[0]))
        terms = (self.operand(eq.node.value, SUM) if isinstance(eq.node, ir.Total) else self.summand(eq) for eq in equations)
        return self.style.over_time(self.style.group(" + ".join(terms)))

    def summand(self, eq: Equation) -> str:
        """Return what a sum over time sums; a product of what each head has is summed over heads too, if the sum is what they share."""
        text, node = self.node(eq.node)[0], eq.node
        shared = isinstance(node, Outer) and not self.types[eq.name].headed and any(self.types[v].headed for v in node.operands())
        return self.style.sum_features(text, "h") if shared else text

    def node(self, node: Node) -> tuple[str, int]:
        """Return the formula of a node and how tightly it binds."""
        style = self.style
        match node:
            case Normalised(value=v):
                return style.apply("layer_norm", self.name(v)), ATOM
            case Softmax(value=v):
                return style.apply("softmax", self.name(v)), ATOM
            case Std(value=v):
                return style.apply("std", self.name(v)), ATOM
            case Map(expr=expr):
                return self._print(self._opened(expr))
            case MatVec(matrix=m, vector=v) if self.are_rows(m):
                return f"{style.transposed(self.operand(m))}{style.space}{self.operand(v)}", PRODUCT
            case MatVec(matrix=m, vector=v, plus=p):
                return self._plus(f"{self.operand(m)}{style.space}{self.operand(v)}", p)
            case MatVecT(matrix=m, vector=v) if isinstance(self.inline.get(m), Merge):
                matrix = self.operand(m) if self.are_rows(m) else style.transposed(self.operand(m))
                return style.sum_features(f"{matrix}{style.space}{self.operand(self.part_of(v))}", "h"), PRODUCT
            case MatVecT(matrix=m, vector=v, plus=p):
                return self._plus(f"{style.transposed(self.operand(m))}{style.space}{self.operand(v)}", p)
            case Outer(left=u, right=v) if u in self.types and not self.types[u].shape:
                return f"{self.operand(u)}{style.space}{self.operand(v)}", PRODUCT
            case Outer(left=u, right=v):
                return f"{self.operand(u)}{style.space}{style.transposed(self.operand(v))}", PRODUCT
            case ir.Total(value=v):
                return self.operand(v), ATOM
            case FeatureSum(value=v):
                summed = averaged(self._total(v))
                if isinstance(summed, Mean) or not summed.has(Total):  # of one number for all features, so many times that
                    return self._print(summed)
                return style.sum_features(self.operand(v, PRODUCT), INDICES[-len(self.types[v].shape) :]), PRODUCT
            case AxisSum(value=v, axis=axis):
                return self.summed_over(v, axis)
            case Along(value=v, axis=axis):
                ones = [self.operand(v), "1"] if axis == 0 else ["1", self.operand(v)]
                return f"{ones[0]}{style.space}{style.transposed(ones[1])}", PRODUCT
            case Repeat(value=v):
                return self.bound(v)
            case HeadSum(value=v):
                return style.sum_features(self.operand(v, PRODUCT), "h"), PRODUCT
            case Merge(value=v):
                if not self.types[v].batched or self.is_of_heads(v):
                    return self.bound(v)
                return style.apply("merge", self.name(v)), ATOM
            case Part(value=v):
                part = self.part_of(v)
                return self.bound(part) if self.inline.get(part) != node else (style.apply("part", self.name(v)), ATOM)
            case LogSumExp(value=v):
                return style.apply("logsumexp", self.name(v)), ATOM
            case Transpose(matrix=m):
                return style.transposed(self.operand(m)), ATOM
            case Concat(parts=parts):
                return style.concat([self.name(p) for p in parts]), ATOM
            case Slice(value=v, start=a, size=n):
                if part := self.part(node):
                    return part, ATOM
                return self.within(v, a, n) or (style.picked(self.operand(v), style.span(a, a + n)), ATOM)
            case Pick(value=v, index=k):
                return style.picked(self.operand(v), self.name(k)), ATOM
            case Spread(value=v, index=k):
                return f"{self.operand(v)}{style.space}{style.unit(self.name(k))}", PRODUCT
        raise TypeError(f"no formula for {type(node).__name__}")

    def are_rows(self, name: str) -> bool:
        """Say whether a matrix has the vectors of all heads as its rows."""
        node = self.inline.get(name)
        return isinstance(node, Merge) and len(self.types[node.value].shape) == 1 and len(self.types[name].shape) == 2

    def part_of(self, name: str, node: Node | None = None) -> str:
        """Return the name of one head's part of what all heads have together, which is the `node` or what is written for the name.

        What has no name of its own is parted where it is made: a sum in its terms, a product with what lies below one another in its
        factor. The part of anything else is that name, if it is called by what one head has, or a name for ``part(…)``.
        """
        if name not in self.types:  # a pass has made it, whose comments call it as it is
            return name
        node = node or (self.inline.get(name) if self.is_inside(name) else None)
        match node:
            case Merge(value=v):
                return v
            case MatVec(matrix=m) if isinstance(self.inline.get(m), Merge):
                return name
            case Outer(left=u):
                return self.aliased(name, replace(node, left=self.part_of(u)))
            case ir.Total(value=v):
                return self.aliased(name, ir.Total(self.part_of(v)))
            case Map(expr=expr):
                opened = self._opened(expr)
                values = [s for s in opened.free_symbols if s.name in self.types and self.types[s.name].shape]
                return self.aliased(name, Map(opened.xreplace({s: sp.Symbol(self.part_of(s.name)) for s in values})))
        return name if self.is_of_each_head(name) else self.aliased(name, Part(name))

    def aliased(self, name: str, node: Node) -> str:
        """Return a name for one head's part of a value, which is what a node makes."""
        alias, kind = f"{name} of a head", self.types[name]
        shape = () if kind.shape == (Size.of(self.cell.heads),) else kind.shape  # as many axes as it has
        self.inline[alias], self.types[alias] = node, replace(kind, shape=shape, headed=True)
        self.totals |= {alias} if name in self.totals else set()
        return alias

    def is_of_each_head(self, name: str) -> bool:
        """Say whether a value of all heads together is called by what one of them has."""
        return self.is_of_heads(name) or (not self.is_inside(name) and self.is_of_heads(self.mark(name)[1]))

    def is_of_heads(self, name: str) -> bool:
        """Say whether a value is a product with the matrices of all heads, which is written as that of one."""
        node = self.inline.get(name) if self.is_inside(name) else None
        return isinstance(node, MatVec) and isinstance(self.inline.get(node.matrix), Merge)

    def within(self, name: str, start: Size, size: Size) -> tuple[str, int] | None:
        """Return how a slice is written of what stands for parts one after the other, or for the products of such a matrix; else None."""
        whole = self.inline.get(name) if self.is_inside(name) else None
        if isinstance(whole, MatVec) and isinstance(stacked := self.inline.get(whole.matrix), Concat):
            parts = self.between(stacked, start, size)
            return self.node(replace(whole, matrix=parts[0])) if len(parts) == 1 else None
        parts = self.between(whole, start, size) if isinstance(whole, Concat) else ()
        if len(parts) > 1:
            return self.style.concat([self.name(part) for part in parts]), ATOM
        return (self.operand(parts[0]), ATOM) if parts else None

    def between(self, whole: Concat, start: Size, size: Size) -> tuple[str, ...]:
        """Return the parts of a concatenation that a slice of it is made of; none if it begins or ends within a part."""
        ends = [Size(), *(piece.start + piece.size for piece in ir.slices("", whole.parts, self.types))]
        if start not in ends or start + size not in ends:
            return ()
        return whole.parts[ends.index(start) : ends.index(start + size)]

    def _plus(self, product: str, plus: str) -> tuple[str, int]:
        return (f"{product} + {self.operand(plus, SUM)}", SUM) if plus else (product, PRODUCT)

    def operand(self, name: str, level: int = ATOM) -> str:
        text, binding = self.bound(name)
        return text if binding >= level else self.style.group(text)

    def bound(self, name: str) -> tuple[str, int]:
        """Return what a value is called, or how it is written where it has no name, and how tightly that binds."""
        return self.inlined(name) if self.is_inside(name) else (self.name(name), ATOM)

    def written(self, name: str) -> tuple[str, int]:
        node = self.inline[name]
        return (self.total(Equation(name, node)), SUM) if name in self.totals else self.node(node)

    # Expressions

    def _opened(self, expr: sp.Expr) -> sp.Expr:
        """Return an expression in which what people do not know is what makes it."""
        silent = {s: self.inline[s.name] for s in expr.free_symbols if s.name in self.silent and s.name in self.inline}
        made = {s: self._opened(node.expr) for s, node in silent.items() if isinstance(node, Map)}
        if not made:
            return expr
        opened = expr.xreplace(made)
        inside = {s: self.inline[s.name] for s in opened.free_symbols if self.is_inside(s.name)}
        return tidied(
            opened.xreplace({s: self._total(node.value) for s, node in inside.items() if isinstance(node, FeatureSum)}), self._scalar
        )

    def _total(self, name: str) -> sp.Expr:
        """Return the sum over the features of a value, with what is one number for all of them before it."""
        node = self.inline[name] if self.is_inside(name) and not self.label(name).role else None
        value = self._opened(node.expr) if isinstance(node, Map) else sp.Symbol(name)
        return total(value, map(extent, self.types[name].shape), self._scalar)

    def _within(self, expr: sp.Expr, level: int) -> str:
        text, binding = self._print(expr)
        return text if binding >= level else self.style.group(text)

    def _print(self, expr: sp.Expr) -> tuple[str, int]:
        style = self.style
        if isinstance(expr, sp.Symbol):
            return self._symbol(expr)
        if expr.is_Rational:
            return style.number(Fraction(int(expr.p), int(expr.q))), ATOM if expr >= 0 else SUM
        if expr.is_number:
            return (sp.latex(expr) if isinstance(style, Latex) else str(expr)), PRODUCT
        softmax = self._softmax(expr)
        if softmax:
            return softmax, ATOM
        if isinstance(expr, Total):
            value, *axes = expr.args
            return style.sum_features(self._within(value, PRODUCT), INDICES[-len(axes) :]), PRODUCT
        if isinstance(expr, Mean):
            return style.apply("mean", self._print(expr.args[0])[0]), ATOM
        if isinstance(expr, Surrogate):
            return style.function(expr.info.name, self._print(expr.args[0])[0]), ATOM
        if isinstance(expr, Elementwise):
            template = expr.info.latex if isinstance(style, Latex) else expr.info.text
            return template.format(*(self._print(a)[0] for a in expr.args)), SUM if "{0} " in template[:4] else ATOM
        if expr.is_Add:
            return self._sum(expr), SUM
        if expr.is_Mul:
            return self.matrix_term(expr) if self.has_along(expr) else self._product(expr)
        if expr.exp.is_negative:
            return self._product(sp.Mul(expr, evaluate=False))
        if expr.exp == sp.S.Half:
            base = self._print(expr.base)[0]
            return rf"\sqrt{{{base}}}" if isinstance(style, Latex) else f"sqrt({base})", ATOM
        exponent = style.number(Fraction(int(expr.exp.p), int(expr.exp.q)))
        return style.power(self._within(expr.base, ATOM), exponent), ATOM

    def _symbol(self, symbol: sp.Symbol) -> tuple[str, int]:
        if symbol == EYE:
            return "I", ATOM
        if is_extent(symbol):
            return extent_name(symbol), ATOM
        if is_constant(symbol):
            return self.style.name(constant_name(symbol)), ATOM
        return self.bound(symbol.name)

    def _softmax(self, expr: sp.Expr) -> str:
        """``exp(a - logsumexp(a))`` is what is called softmax."""
        if not isinstance(expr, FUNCTIONS["exp"]):
            return ""
        for term in sp.Add.make_args(expr.args[0]):
            name = (-term).name if isinstance(-term, sp.Symbol) else ""
            node = self.inline.get(name)
            if isinstance(node, LogSumExp) or name.startswith("lse_"):
                rest = expr.args[0] - term
                return self.style.apply("softmax", self._print(rest)[0])
        return ""

    def _sum(self, expr: sp.Expr) -> str:
        def negative(term: sp.Expr) -> bool:
            return bool(term.as_coeff_Mul()[0].is_negative)

        totals = [t for t in expr.args if isinstance(t, sp.Symbol) and t.name in self.totals and self.is_inside(t.name)]
        several = len(totals) > 1
        terms = sorted(
            (t for t in expr.args if not (several and t in totals)), key=lambda t: (negative(t), not t.is_number, self._bias(t), order(t))
        )
        signed = [f"-{self._within(-t, PRODUCT)}" if negative(t) else self._within(t, SUM) for t in terms]
        first, *rest = [self.total(*(Equation(t.name, self.inline[t.name]) for t in totals)), *signed] if several else signed
        return first + "".join(map(plus, rest))

    def _bias(self, term: sp.Expr) -> bool:
        """Say whether a term is a mere parameter, or the tangent of one: such a one is written last."""
        if not isinstance(term, sp.Symbol) or term.name not in self.types:
            return False
        mark, value = self.mark(term.name)
        kind = self.types.get(value)
        return mark in ("", "dot") and kind is not None and not kind.batched and self.label(value).kind == "own"

    def _scalar(self, factor: sp.Expr) -> bool:
        """Say whether a factor is a number a row, which multiplies without a sign."""
        if isinstance(factor, Total | Mean):
            return True
        kinds = [self.types[s.name] for s in factor.free_symbols if s.name in self.types]
        return bool(factor.free_symbols) and EYE not in factor.free_symbols and all(not kind.shape for kind in kinds)

    def _product(self, expr: sp.Expr) -> tuple[str, int]:
        style = self.style
        if expr.is_Mul and expr.as_coeff_Mul()[0].is_negative:
            return "-" + self._within(-expr, PRODUCT), SUM
        above = [f for f in sp.Mul.make_args(expr) if not (f.is_Pow and f.exp.is_number and f.exp.is_negative)]
        below = [1 / f for f in sp.Mul.make_args(expr) if f.is_Pow and f.exp.is_number and f.exp.is_negative]
        ratio = expr.as_coeff_Mul()[0]
        if below and ratio.is_Rational and 1 < ratio.q <= LONGEST_DENOMINATOR:  # (1 / 4) / n is 1 / (4 n)
            above, below = [sp.Integer(ratio.p), *(f for f in above if f != ratio)], [sp.Integer(ratio.q), *below]
        above = [f for f in above if f != 1]
        numbers = [f for f in above if f.is_number]
        rest = sorted((f for f in above if not f.is_number), key=order)
        level = SUM if below and isinstance(style, Latex) and len(above) == 1 else ATOM  # the bar of a fraction brackets it
        factors = style.hadamard.join(self._within(f, level) for f in rest if not self._scalar(f))
        head = style.space.join(self._within(f, level) for f in [*numbers, *(f for f in rest if self._scalar(f))])
        top = style.space.join(t for t in (head, factors) if t) or "1"
        if not below:
            return top, PRODUCT
        bottom = sp.Mul(*below)
        if isinstance(style, Latex):
            return style.fraction(top, self._print(bottom)[0]), ATOM
        return style.fraction(top, self._within(bottom, ATOM)), PRODUCT
