"""The elementwise functions of the language: derivative, typesetting and cost of each, in one table.

Every function is a SymPy function without automatic rewriting, so that an expression stays as its author wrote it.  Derivatives are
written in the function's own value wherever that is possible (``sigmoid' = s (1 - s)``, ``tanh' = 1 - t**2``), which is what makes a
gradient read like a textbook's.  At kinks they take PyTorch's value: 0 for `relu` and `abs` at 0 and for the `hard_*` functions at
their ends, one half each for `maximum` and `minimum` at a tie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp

Derivative = Callable[..., tuple[sp.Expr, ...]]


@dataclass(frozen=True)
class ElementwiseFunction:
    """What the toolkit knows of one elementwise function.

    Attributes
    ----------
    name : str
        Its name in a cell's text and in emitted code.
    arity : int
        Number of arguments.
    derivative : callable
        ``derivative(value, *args)`` gives the partial derivative with respect to each argument, as SymPy expressions.
    latex : str
        Template with ``{0}``, ``{1}`` … for the arguments.
    text : str
        The same for plain text.
    cost : int
        Rough cost of one element in arithmetic operations: what weighs saving against recomputing.
    """

    name: str
    arity: int
    derivative: Derivative
    latex: str
    text: str
    cost: int = 20


class Elementwise(sp.Function):
    """Base of the SymPy classes made from the table; `info` is the table's entry."""

    info: ElementwiseFunction

    @classmethod
    def eval(cls, *args: sp.Expr) -> None:
        """Never rewrite: what the author wrote is what is derived and computed."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the partial derivative with respect to argument `argindex` (1-based)."""
        return self.info.derivative(self, *self.args)[argindex - 1]


class Choice(Elementwise):
    """Base of `where`, whose slope is chosen as its value is."""

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        condition, *branches = self.args
        a, b = (derivative(branch, symbol) for branch in branches)
        return a if a == b else self.func(condition, a, b)


class Composed(Elementwise):
    """Base of functions that are known by a name, and computed by an expression of others."""

    expression: Callable[..., sp.Expr]

    def computed(self) -> sp.Expr:
        """Return the expression."""
        return type(self).expression(*self.args)


class Surrogate(Composed):
    """Base of a cell's functions with a derivative of their own."""


FUNCTIONS: dict[str, type[Elementwise]] = {}


def _define(
    name: str,
    arity: int,
    derivative: Derivative,
    latex: str = "",
    text: str = "",
    cost: int = 20,
    base: type[Elementwise] = Elementwise,
    **more: Any,
) -> Any:
    holes = ", ".join(f"{{{k}}}" for k in range(arity))
    roman = name.replace("_", r"\_")
    info = ElementwiseFunction(
        name, arity, derivative, latex or rf"\operatorname{{{{{roman}}}}}\left({holes}\right)", text or f"{name}({holes})", cost
    )
    FUNCTIONS[name] = type(name, (base,), {"info": info, "nargs": arity, **more})
    return FUNCTIONS[name]


SIXTH = sp.Rational(1, 6)

# Constants that are irrational stay functions of integers until they are printed: sqrt(2/pi) and the like.
TWO_OVER_SQRT_PI = 2 / sp.sqrt(sp.pi)
ONE_OVER_SQRT_2PI = 1 / sp.sqrt(2 * sp.pi)

# Piecewise constant functions: derivative zero.
sign: Any = _define("sign", 1, lambda f, x: (sp.S.Zero,), cost=2)
step: Any = _define("step", 1, lambda f, x: (sp.S.Zero,), latex=r"\left[{0} > 0\right]", text="[{0} > 0]", cost=1)
above: Any = _define(  # one half at a tie
    "above", 2, lambda f, a, b: (sp.S.Zero, sp.S.Zero), latex=r"\left[{0} > {1}\right]", text="[{0} > {1}]", cost=2
)
inside: Any = _define(
    "inside", 2, lambda f, x, bound: (sp.S.Zero, sp.S.Zero), latex=r"\left[\lvert {0}\rvert < {1}\right]", text="[|{0}| < {1}]", cost=2
)
floor: Any = _define("floor", 1, lambda f, x: (sp.S.Zero,), latex=r"\left\lfloor {0} \right\rfloor", text="⌊{0}⌋", cost=1)
round_: Any = _define("round", 1, lambda f, x: (sp.S.Zero,), latex=r"\operatorname{{round}}\left({0}\right)", cost=1)
COMPARISONS = {
    op: _define(name, 2, lambda f, a, b: (sp.S.Zero, sp.S.Zero), latex="{0} " + tex + " {1}", text="{0} " + op + " {1}", cost=1)
    for op, name, tex in (
        ("<", "less", "<"),
        ("<=", "less_equal", r"\le"),
        (">", "greater", ">"),
        (">=", "greater_equal", r"\ge"),
    )
}
where: Any = _define(
    "where",
    3,
    lambda f, c, a, b: (sp.S.Zero, where(c, sp.S.One, sp.S.Zero), where(c, sp.S.Zero, sp.S.One)),
    latex=r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
    cost=2,
    base=Choice,
)

# Exponentials and their kin.
exp: Any = _define("exp", 1, lambda f, x: (f,), latex=r"\exp\left({0}\right)")
log: Any = _define("log", 1, lambda f, x: (1 / x,), latex=r"\log\left({0}\right)")
sqrt: Any = _define("sqrt", 1, lambda f, x: (1 / (2 * f),), latex=r"\sqrt{{{0}}}", cost=10)
sigmoid: Any = _define("sigmoid", 1, lambda f, x: (f * (1 - f),), latex=r"\sigma\left({0}\right)", text="σ({0})")
tanh: Any = _define("tanh", 1, lambda f, x: (1 - f**2,), latex=r"\tanh\left({0}\right)")
softplus: Any = _define("softplus", 1, lambda f, x: (sigmoid(x),))
logsigmoid: Any = _define("logsigmoid", 1, lambda f, x: (sigmoid(-x),), latex=r"\log\,\sigma\left({0}\right)", text="log σ({0})")
softsign: Any = _define("softsign", 1, lambda f, x: ((1 + abs_(x)) ** -2,), cost=10)
silu: Any = _define("silu", 1, lambda f, x: (sigmoid(x) + f * (1 - sigmoid(x)),))
elu: Any = _define("elu", 1, lambda f, x: (where(greater(x, sp.S.Zero), sp.S.One, exp(x)),))
erf: Any = _define("erf", 1, lambda f, x: (TWO_OVER_SQRT_PI * exp(-(x**2)),))
normal_cdf: Any = _define(
    "normal_cdf", 1, lambda f, x: (ONE_OVER_SQRT_2PI * exp(-(x**2) / 2),), latex=r"\Phi\left({0}\right)", text="Φ({0})", cost=30
)
gelu: Any = _define("gelu", 1, lambda f, x: (normal_cdf(x) + ONE_OVER_SQRT_2PI * x * exp(-(x**2) / 2),), cost=30)
sin: Any = _define("sin", 1, lambda f, x: (cos(x),), latex=r"\sin\left({0}\right)")
cos: Any = _define("cos", 1, lambda f, x: (-sin(x),), latex=r"\cos\left({0}\right)")

# Piecewise linear functions.
relu: Any = _define("relu", 1, lambda f, x: (step(x),), cost=1)
abs_: Any = _define("abs", 1, lambda f, x: (sign(x),), latex=r"\left\lvert {0} \right\rvert", text="|{0}|", cost=1)
hard_sigmoid: Any = _define("hard_sigmoid", 1, lambda f, x: (SIXTH * inside(x, sp.Integer(3)),), cost=4)
hard_tanh: Any = _define("hard_tanh", 1, lambda f, x: (inside(x, sp.S.One),), cost=2)
maximum: Any = _define(
    "maximum", 2, lambda f, a, b: (above(a, b), above(b, a)), latex=r"\max\left({0}, {1}\right)", text="max({0}, {1})", cost=1
)
minimum: Any = _define(
    "minimum", 2, lambda f, a, b: (above(b, a), above(a, b)), latex=r"\min\left({0}, {1}\right)", text="min({0}, {1})", cost=1
)
greater: Any = FUNCTIONS["greater"]

# Functions that change a gradient: see `derive.calculus.vjp` for the one that clips it.
detach: Any = _define("detach", 1, lambda f, x: (sp.S.Zero,), cost=0, base=Composed, expression=staticmethod(lambda x: x))
scale_gradient: Any = _define(
    "scale_gradient", 2, lambda f, x, s: (s, sp.S.Zero), cost=0, base=Composed, expression=staticmethod(lambda x, s: x)
)
between: Any = _define(
    "between",
    3,
    lambda f, x, low, high: (sp.S.Zero,) * 3,
    latex=r"\left[{1} \le {0} \le {2}\right]",
    text="[{1} <= {0} <= {2}]",
    cost=4,
)
clip: Any = _define(
    "clip",
    3,
    lambda f, x, low, high: (between(x, low, high), sp.S.Zero, sp.S.Zero),
    latex=r"\operatorname{{clip}}\left({0};\, {1}, {2}\right)",
    text="clip({0}, {1}, {2})",
    cost=4,
)
ARGUMENT = sp.Symbol("argument:")
"""What stands for its argument in the value and the derivative of a function of a cell's own."""


@cache
def surrogate(name: str, value: sp.Expr, slope: sp.Expr) -> type[Surrogate]:
    """Return the function of `ARGUMENT` with that value, and with `slope` in the place of a derivative."""

    def at(expr: sp.Expr, x: sp.Expr) -> sp.Expr:
        return expr.xreplace({ARGUMENT: x})

    info = ElementwiseFunction(name, 1, lambda f, x: (at(slope, x),), "", f"{name}({{0}})", cost(value))
    made: type[Surrogate] = type(name, (Surrogate,), {"info": info, "nargs": 1, "expression": staticmethod(lambda x: at(value, x))})
    return made


def cost(expr: sp.Expr) -> int:
    """Return a rough count of the arithmetic operations that one element of `expr` takes."""
    total = 0
    for node in sp.preorder_traversal(expr):
        if isinstance(node, Elementwise):
            total += node.info.cost
        elif node.is_Add or node.is_Mul:
            total += len(node.args) - 1
        elif node.is_Pow:
            total += 1 if node.exp == 2 else 4 if node.exp.is_Integer and node.exp > 0 else 10
    return total


def derivative(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """Return ∂expr/∂symbol, with every function's derivative from the table."""
    return sp.diff(expr, symbol)
