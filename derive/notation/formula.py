"""Formulas of a recurrence's equations in textbook notation.

What has no name of its own is written where it is used, unless it is read time and again: see `derive.notation.called`.  The same code
writes LaTeX and text; `style` knows how each primitive looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import sympy as sp

from ..calculus.functions import FUNCTIONS, Elementwise
from ..calculus.ir import (
    Concat,
    Equation,
    FeatureSum,
    Label,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Node,
    Outer,
    Pick,
    Recurrence,
    Slice,
    Spread,
    Total,
    Transpose,
)
from ..calculus.order import order
from ..calculus.rowfunctions import Normalised, Softmax, Std
from ..calculus.second import mark
from ..calculus.symbols import EYE, constant_name, extent_name, is_constant, is_extent
from ..language.definition import Definition
from .called import called, numbered
from .style import ATOM, PRODUCT, SUM, Latex, Style

LONGEST = 100  # names in what is written inside a formula


def _read(node: Node) -> list[str]:
    """Return the names in a node's formula, each as often as it stands there."""
    if isinstance(node, Map):
        return [leaf.name for leaf in sp.preorder_traversal(node.expr) if isinstance(leaf, sp.Symbol)]
    return list(node.operands())


@dataclass
class Formulas:
    """Formulas of a recurrence's equations.  Equations that are not shown are written where they are used, unless that is too long or
    they are called by a name.
    """

    cell: Definition
    rec: Recurrence
    style: Style
    earlier: tuple[Recurrence, ...] = ()
    inline: dict[str, Node] = field(init=False)
    called: dict[str, str] = field(init=False)
    numbers: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        """Collect what is written inside others, and what is called by which name, here and in the links that it reads."""
        stacks = {eq.name for eq in self.rec.prologue if isinstance(eq.node, Concat)}  # of matrices: these have names
        self.called, self.numbers = called(self.cell, self.known, self.label), numbered(self.known, self.label)
        length: dict[str, int] = {}  # of what is written inside others, in names
        self.inline = {}
        for eq in self.known:
            role, total = self.label(eq.name).role, sum(length.get(operand, 1) for operand in _read(eq.node))
            if not eq.shown and eq.name not in self.called and eq.name not in stacks and (role or total <= LONGEST):
                self.inline[eq.name], length[eq.name] = eq.node, 1 if role else total

    @property
    def known(self) -> tuple[Equation, ...]:
        """The equations, those of the links that it reads first."""
        return (*(eq for rec in self.earlier for eq in rec.equations()), *self.rec.equations())

    def label(self, name: str) -> Label:
        return self.rec.labels.get(name, Label("part"))

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
        sums = any(other.name == eq.name for other in self.rec.accumulators)
        right = self.node(eq.node)[0]
        return self.style.equals(self.left(eq.name), self.style.over_time(right) if sums else right)

    def left(self, name: str) -> str:
        return self.name(name, inline=False)

    # Names

    def name(self, name: str, *, inline: bool = True) -> str:
        label, style = self.label(name), self.style
        if name in self.called:
            return style.name(self.called[name], self.time(name))
        mark, value = self.mark(name)
        if mark in ("dot", "bars") and label.kind != "part":
            return self.marked(name, mark, value)
        match label.kind:
            case "own":
                return style.current(name) if self.read(name) else style.name(name, self.time(name))
            case "previous":
                return style.name(label.of, "t-1")
            case "preactivation" if not (inline and name in self.inline):
                return style.name(f"a_{label.of}", "t")
            case "seed":
                return style.seed(self.name(label.of))
            case "carried":
                return style.carried(style.barred_name(label.of, "t"))
            case "cotangent":
                return self.cotangent(label.of)
        if inline and name in self.inline:
            return self.inlined(name)[0]
        return style.name(name, self.time(name)) if name not in self.inline else self.inlined(name)[0]

    # Of second order

    def mark(self, name: str) -> tuple[str, str]:
        """Return what a value is of another one, and that: see `calculus.second.mark`."""
        first = self.earlier[1] if len(self.earlier) > 1 else self.rec
        return mark(name, self.label, first.types)

    def marked(self, name: str, mark: str, value: str) -> str:
        """Return how a tangent, or the tangent of a cotangent, is written."""
        label, style = self.label(value), self.style
        own = {"own": (value, self.time(value)), "previous": (label.of, "t-1"), "preactivation": (f"a_{label.of}", "t")}
        if mark == "dot":
            return style.dotted_name(*own[label.kind]) if label.kind in own else style.dotted(self.name(value))
        text = style.doubled_name(*own[label.kind]) if label.kind in own else style.doubled(self.name(value))
        if self.label(name).kind == "carried":
            return style.carried(text)
        return style.direct(text) if self.direct(name) else text

    def direct(self, name: str) -> bool:
        """Say whether the tangent of a cotangent is the part of it that does not come through later steps or values."""
        label = self.label(name)
        maker = next(rec for rec in (*self.earlier, self.rec) if name in rec.types)
        return label.kind == "seed" or (not self.mark(label.of)[0] and not maker.reverse)

    def inlined(self, name: str) -> tuple[str, int]:
        """Return how a value without a name of its own is written, and how tightly that binds."""
        label = self.label(name)
        match label.role:
            case "mean":
                return self.style.apply("mean", self.name(label.of)), ATOM
            case "std":
                return self.style.sigma(*self.author(label.of)), ATOM
            case "normalised":
                return self.style.hatted_name(*self.author(label.of)), ATOM
        return self.node(self.inline[name])

    def author(self, name: str) -> tuple[str, str]:
        """Return the identifier and the time of what has a name, its author's or one that it is called by."""
        label = self.label(name)
        return (label.of, "t-1") if label.kind == "previous" else (self.called.get(name, name), self.time(name))

    def read(self, name: str) -> bool:
        """Say whether a name is an input of numbers, which is written with its step."""
        return name in self.cell.inputs and name not in self.cell.integers

    def time(self, name: str) -> str:
        kind = self.rec.types.get(name)
        return "t" if kind is not None and kind.batched and name not in self.rec.contexts else ""

    def cotangent(self, of: str) -> str:
        label, style = self.label(of), self.style
        kind = self.rec.types.get(of)
        if label.kind == "own" and kind is not None and (not kind.batched or of in self.cell.context):
            return style.nabla(style.name(of))
        if label.kind == "own":
            return style.barred_name(of, "t")
        if label.kind == "preactivation":
            return style.delta(label.of, "t", self.numbers.get(of, 0))
        if label.kind == "previous":
            return style.carried(style.barred_name(label.of, "t-1"))
        if of in self.called:
            return style.barred_name(*self.author(of)) if self.time(of) else style.nabla(style.name(self.called[of]))
        if label.role == "normalised":
            return style.barred_hat(*self.author(label.of))
        return style.bar(self.name(of))

    # Nodes

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
                return self._print(expr)
            case MatVec(matrix=m, vector=v, plus=p):
                return self._plus(f"{self.operand(m)}{style.space}{self.operand(v)}", p)
            case MatVecT(matrix=m, vector=v, plus=p):
                return self._plus(f"{style.transposed(self.operand(m))}{style.space}{self.operand(v)}", p)
            case Outer(left=u, right=v):
                return f"{self.operand(u)}{style.space}{style.transposed(self.operand(v))}", PRODUCT
            case Total(value=v):
                return self.operand(v), ATOM
            case FeatureSum(value=v):
                return style.sum_features(self.operand(v, PRODUCT)), PRODUCT
            case LogSumExp(value=v):
                return style.apply("logsumexp", self.name(v)), ATOM
            case Transpose(matrix=m):
                return style.transposed(self.operand(m)), ATOM
            case Concat(parts=parts):
                return style.concat([self.name(p) for p in parts]), ATOM
            case Slice(value=v, start=a, size=n):
                return style.picked(self.operand(v), style.span(a, a + n)), ATOM
            case Pick(value=v, index=k):
                return style.picked(self.operand(v), self.name(k)), ATOM
            case Spread(value=v, index=k):
                return f"{self.operand(v)}{style.space}{style.unit(self.name(k))}", PRODUCT
        raise TypeError(f"no formula for {type(node).__name__}")

    def _plus(self, product: str, plus: str) -> tuple[str, int]:
        return (f"{product} + {self.operand(plus, SUM)}", SUM) if plus else (product, PRODUCT)

    def operand(self, name: str, level: int = ATOM) -> str:
        if name in self.inline and self.label(name).kind in ("part", "preactivation"):
            text, binding = self.inlined(name)
            return text if binding >= level else self.style.group(text)
        return self.name(name)

    # Expressions

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
        if isinstance(expr, Elementwise):
            template = expr.info.latex if isinstance(style, Latex) else expr.info.text
            return template.format(*(self._print(a)[0] for a in expr.args)), SUM if "{0} " in template[:4] else ATOM
        if expr.is_Add:
            return self._sum(expr), SUM
        if expr.is_Mul:
            return self._product(expr)
        if expr.exp.is_negative:
            return self._product(sp.Mul(expr, evaluate=False))
        if expr.exp == sp.S.Half and isinstance(style, Latex):
            return rf"\sqrt{{{self._print(expr.base)[0]}}}", ATOM
        exponent = style.number(Fraction(int(expr.exp.p), int(expr.exp.q)))
        return style.power(self._within(expr.base, ATOM), exponent), ATOM

    def _symbol(self, symbol: sp.Symbol) -> tuple[str, int]:
        if symbol == EYE:
            return "I", ATOM
        if is_extent(symbol):
            return extent_name(symbol), ATOM
        if is_constant(symbol):
            return self.style.name(constant_name(symbol)), ATOM
        if symbol.name in self.inline and self.label(symbol.name).kind in ("part", "preactivation"):
            return self.inlined(symbol.name)
        return self.name(symbol.name), ATOM

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

        terms = sorted(expr.args, key=lambda t: (negative(t), not t.is_number, self._bias(t), order(t)))
        text = self._within(terms[0], SUM)
        for term in terms[1:]:
            text += f" - {self._within(-term, PRODUCT)}" if negative(term) else f" + {self._within(term, SUM)}"
        return text

    def _bias(self, term: sp.Expr) -> bool:
        """Say whether a term is a mere parameter: such a one is written last."""
        kind = self.rec.types.get(term.name) if isinstance(term, sp.Symbol) else None
        return kind is not None and not kind.batched and self.rec.labels[term.name].kind == "own"

    def _scalar(self, factor: sp.Expr) -> bool:
        """Say whether a factor is a number a row, which multiplies without a sign."""
        kinds = [self.rec.types[s.name] for s in factor.free_symbols if s.name in self.rec.types]
        return bool(factor.free_symbols) and EYE not in factor.free_symbols and all(not kind.shape for kind in kinds)

    def _product(self, expr: sp.Expr) -> tuple[str, int]:
        style = self.style
        if expr.is_Mul and expr.as_coeff_Mul()[0].is_negative:
            return "-" + self._within(-expr, PRODUCT), SUM
        above = [f for f in sp.Mul.make_args(expr) if not (f.is_Pow and f.exp.is_number and f.exp.is_negative)]
        below = [1 / f for f in sp.Mul.make_args(expr) if f.is_Pow and f.exp.is_number and f.exp.is_negative]
        if below and (ratio := expr.as_coeff_Mul()[0]).is_Rational and ratio.q != 1:  # (1 / 4) / n is 1 / (4 n)
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
