"""Scalar expressions as Python source: in kernels, where every constant has the kernel's dtype, and over NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import sympy as sp

from ..calculus.functions import COMPARISONS, Composed, Elementwise
from ..calculus.order import order
from .layout import RENAMED
from .source import ATOM, PRODUCT, SUM, Source, name

OPERATORS = {cls: op for op, cls in COMPARISONS.items()}
LARGEST_BY_SQUARING = 1024  # larger exponents go to a function
SMALL = {1: "one", 2: "two", 3: "three", 4: "four"}


@dataclass
class Expressions:
    """Prints expressions.

    Attributes
    ----------
    atom : callable
        Source of a symbol.
    function : callable
        Source of a runtime function, by its name.
    typed : bool
        Whether constants are printed as names of values of the kernel's dtype, which `constants` then collects with their values.
    """

    atom: Callable[[sp.Symbol], Source]
    function: Callable[[str], Source] = name
    typed: bool = True
    constants: dict[str, str] = field(default_factory=dict)
    _reads: set[str] = field(default_factory=set)

    def source(self, expr: sp.Expr) -> Source:
        self._reads = set()
        text, binding = self._print(expr)
        return Source(text, frozenset(self._reads), binding)

    def _taken(self, source: Source) -> str:
        """Return the text of a part, whose reads are those of the whole."""
        self._reads |= source.reads
        return source.text

    def _called(self, function: str, *args: str) -> tuple[str, int]:
        return f"{self._taken(self.function(function))}({', '.join(args)})", ATOM

    def _print(self, expr: sp.Expr) -> tuple[str, int]:
        """Return source and how tightly it binds."""
        if isinstance(expr, sp.Symbol):
            return self._taken(self.atom(expr)), ATOM
        if expr.is_number and not expr.has(Elementwise):  # SymPy knows no value of the language's functions
            return self._number(expr)
        if isinstance(expr, Composed):
            return self._print(expr.computed())
        if isinstance(expr, Elementwise):
            return self._function(expr)
        if expr.is_Add:
            return self._sum(expr), SUM
        if expr.is_Mul:
            return self._product(expr), PRODUCT
        assert expr.is_Pow, f"cannot print {type(expr).__name__}"
        return self._power(expr)

    def _within(self, expr: sp.Expr, level: int) -> str:
        text, binding = self._print(expr)
        return text if binding >= level else f"({text})"

    def _number(self, expr: sp.Expr) -> tuple[str, int]:
        value = float(expr)
        if not self.typed:
            text = str(int(value)) if expr.is_Integer else repr(value)
            return text, ATOM if value >= 0 else SUM
        if value < 0:
            return "-" + self._number(-expr)[0], SUM
        if expr.is_Integer and int(expr) in SMALL:
            constant = SMALL[int(expr)]
        elif expr == sp.S.Half:
            constant = "half"
        elif expr == 0:
            constant = "zero"
        else:
            constant = "k_" + repr(value).replace(".", "p").replace("-", "m").replace("+", "").removesuffix("p0")
        self.constants[constant] = repr(value)
        return self._taken(name(constant)), ATOM

    def _function(self, expr: Elementwise) -> tuple[str, int]:
        if type(expr) in OPERATORS:
            left, right = (self._within(a, SUM) for a in expr.args)
            return f"{left} {OPERATORS[type(expr)]} {right}", 0
        known = expr.info.name
        return self._called(RENAMED.get(known, known), *(self._print(a)[0] for a in expr.args))

    def _sum(self, expr: sp.Expr) -> str:
        terms = sorted(expr.args, key=lambda t: (self._negative(t), not t.is_number, order(t)))
        text = self._within(terms[0], SUM)
        for term in terms[1:]:
            text += f" - {self._within(-term, PRODUCT)}" if self._negative(term) else f" + {self._within(term, SUM)}"
        return text

    @staticmethod
    def _negative(term: sp.Expr) -> bool:
        return bool(term.as_coeff_Mul()[0].is_negative)

    def _product(self, expr: sp.Expr) -> str:
        if self._negative(expr):
            return "-" + self._within(-expr, PRODUCT)
        above, below = [], []
        for factor in expr.args:
            if factor.is_Pow and factor.exp.is_number and factor.exp.is_negative:
                below.append(1 / factor)
            elif factor.is_Rational and factor.p == 1 and not factor.is_Integer:
                below.append(sp.Integer(factor.q)) if factor.q in SMALL and factor.q != 2 else above.append(factor)
            else:
                above.append(factor)
        above.sort(key=lambda f: (not f.is_number, order(f)))
        top = " * ".join(self._within(f, PRODUCT) for f in above) or self._number(sp.S.One)[0]
        if not below:
            return top
        bottom = sp.Mul(*below)
        return f"{top} / {self._within(bottom, ATOM)}"

    def _power(self, expr: sp.Expr) -> tuple[str, int]:
        base, exponent = expr.base, expr.exp
        if exponent.is_negative:
            return f"{self._number(sp.S.One)[0]} / {self._within(base**-exponent, ATOM)}", PRODUCT
        if exponent == sp.S.Half:
            return self._called("sqrt", self._print(base)[0])
        if not exponent.is_Integer or exponent > LARGEST_BY_SQUARING:
            if not self.typed:
                return f"{self._within(base, ATOM)} ** {float(exponent)!r}", PRODUCT
            return self._called("power", self._print(base)[0], self._number(exponent)[0])
        if not self.typed:
            return f"{self._within(base, ATOM)} ** {int(exponent)}", PRODUCT
        return self._integer_power(base, int(exponent))

    def _integer_power(self, base: sp.Expr, exponent: int) -> tuple[str, int]:
        """Powers by multiplication, squaring where that is shorter."""
        if exponent == 1:
            return self._print(base)
        if isinstance(base, sp.Symbol) and exponent <= 3:
            return " * ".join([self._print(base)[0]] * exponent), PRODUCT
        if exponent % 2 == 0:
            return self._called("square", self._integer_power(base, exponent // 2)[0])
        return f"{self._within(base, ATOM)} * {self._integer_power(base, exponent - 1)[0]}", PRODUCT
