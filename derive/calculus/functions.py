"""The elementwise functions of the language: derivative, typesetting and NumPy value of each, in one table.

Every function is a SymPy function without automatic rewriting, so that an expression stays as its author wrote it.  Derivatives are
written in the function's own value wherever that is possible (``sigmoid' = s (1 - s)``, ``tanh' = 1 - t**2``), which is what makes a
gradient read like a textbook's.  At kinks they take PyTorch's value: 0 for `relu` and `abs` at 0 and for the `hard_*` functions at
their ends, one half each for `maximum` and `minimum` at a tie.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
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
        ``derivative(value, *args)`` gives the partial derivative by each argument, as SymPy expressions.
    latex : str
        Template with ``{0}``, ``{1}`` … for the arguments.
    text : str
        The same for plain text.
    value : callable
        NumPy value, for the interpreter.
    cost : int
        Rough cost of one element in arithmetic operations: what weighs saving against recomputing.
    """

    name: str
    arity: int
    derivative: Derivative
    latex: str
    text: str
    value: Callable[..., Any]
    cost: int = 20


class Elementwise(sp.Function):
    """Base of the SymPy classes made from the table; `info` is the table's entry."""

    info: ElementwiseFunction

    @classmethod
    def eval(cls, *args: sp.Expr) -> None:
        """Never rewrite: what the author wrote is what is derived and computed."""

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the partial derivative by argument `argindex` (1-based)."""
        return self.info.derivative(self, *self.args)[argindex - 1]


class Choice(Elementwise):
    """Base of `where`, whose slope is chosen as its value is."""

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        condition, *branches = self.args
        a, b = (derivative(branch, symbol) for branch in branches)
        return a if a == b else self.func(condition, a, b)


FUNCTIONS: dict[str, type[Elementwise]] = {}


def _define(
    name: str,
    arity: int,
    derivative: Derivative,
    value: Callable[..., Any],
    latex: str = "",
    text: str = "",
    cost: int = 20,
    base: type[Elementwise] = Elementwise,
) -> Any:
    holes = ", ".join(f"{{{k}}}" for k in range(arity))
    roman = name.replace("_", r"\_")
    info = ElementwiseFunction(
        name, arity, derivative, latex or rf"\operatorname{{{{{roman}}}}}\left({holes}\right)", text or f"{name}({holes})", value, cost
    )
    FUNCTIONS[name] = type(name, (base,), {"info": info, "nargs": arity})
    return FUNCTIONS[name]


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0 * x)


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])
SIXTH = sp.Rational(1, 6)

# Constants that are irrational stay functions of integers until they are printed: sqrt(2/pi) and the like.
TWO_OVER_SQRT_PI = 2 / sp.sqrt(sp.pi)
ONE_OVER_SQRT_2PI = 1 / sp.sqrt(2 * sp.pi)

# Piecewise constant functions: derivative zero.
sign: Any = _define("sign", 1, lambda f, x: (sp.S.Zero,), np.sign, cost=2)
step: Any = _define("step", 1, lambda f, x: (sp.S.Zero,), lambda x: (x > 0) * 1.0, latex=r"\left[{0} > 0\right]", text="[{0} > 0]", cost=1)
above: Any = _define(
    "above",
    2,
    lambda f, a, b: (sp.S.Zero, sp.S.Zero),
    lambda a, b: (a > b) * 0.5 + (a >= b) * 0.5,
    latex=r"\left[{0} > {1}\right]",
    text="[{0} > {1}]",
    cost=2,
)
inside: Any = _define(
    "inside",
    2,
    lambda f, x, bound: (sp.S.Zero, sp.S.Zero),
    lambda x, bound: (np.abs(x) < bound) * 1.0,
    latex=r"\left[\lvert {0}\rvert < {1}\right]",
    text="[|{0}| < {1}]",
    cost=2,
)
COMPARISONS = {
    op: _define(name, 2, lambda f, a, b: (sp.S.Zero, sp.S.Zero), value, latex="{0} " + tex + " {1}", text="{0} " + op + " {1}", cost=1)
    for op, name, tex, value in (
        ("<", "less", "<", np.less),
        ("<=", "less_equal", r"\le", np.less_equal),
        (">", "greater", ">", np.greater),
        (">=", "greater_equal", r"\ge", np.greater_equal),
    )
}
where: Any = _define(
    "where",
    3,
    lambda f, c, a, b: (sp.S.Zero, where(c, sp.S.One, sp.S.Zero), where(c, sp.S.Zero, sp.S.One)),
    np.where,
    latex=r"\begin{{cases}} {1} & {0} \\ {2} & \text{{otherwise}} \end{{cases}}",
    cost=2,
    base=Choice,
)

# Exponentials and their kin.
exp: Any = _define("exp", 1, lambda f, x: (f,), np.exp, latex=r"\exp\left({0}\right)")
log: Any = _define("log", 1, lambda f, x: (1 / x,), np.log, latex=r"\log\left({0}\right)")
sqrt: Any = _define("sqrt", 1, lambda f, x: (1 / (2 * f),), np.sqrt, latex=r"\sqrt{{{0}}}", cost=10)
sigmoid: Any = _define("sigmoid", 1, lambda f, x: (f * (1 - f),), _sigmoid, latex=r"\sigma\left({0}\right)", text="σ({0})")
tanh: Any = _define("tanh", 1, lambda f, x: (1 - f**2,), np.tanh, latex=r"\tanh\left({0}\right)")
softplus: Any = _define("softplus", 1, lambda f, x: (sigmoid(x),), _softplus)
logsigmoid: Any = _define(
    "logsigmoid", 1, lambda f, x: (sigmoid(-x),), lambda x: -_softplus(-x), latex=r"\log\,\sigma\left({0}\right)", text="log σ({0})"
)
softsign: Any = _define("softsign", 1, lambda f, x: ((1 + abs_(x)) ** -2,), lambda x: x / (1 + np.abs(x)), cost=10)
silu: Any = _define("silu", 1, lambda f, x: (sigmoid(x) + f * (1 - sigmoid(x)),), lambda x: x * _sigmoid(x))
elu: Any = _define(
    "elu", 1, lambda f, x: (where(greater(x, sp.S.Zero), sp.S.One, exp(x)),), lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
)
erf: Any = _define("erf", 1, lambda f, x: (TWO_OVER_SQRT_PI * exp(-(x**2)),), _erf)
normal_cdf: Any = _define(
    "normal_cdf",
    1,
    lambda f, x: (ONE_OVER_SQRT_2PI * exp(-(x**2) / 2),),
    lambda x: 0.5 * _erfc(-x / math.sqrt(2.0)),
    latex=r"\Phi\left({0}\right)",
    text="Φ({0})",
    cost=30,
)
gelu: Any = _define(
    "gelu",
    1,
    lambda f, x: (normal_cdf(x) + ONE_OVER_SQRT_2PI * x * exp(-(x**2) / 2),),
    lambda x: 0.5 * x * _erfc(-x / math.sqrt(2.0)),
    cost=30,
)
sin: Any = _define("sin", 1, lambda f, x: (cos(x),), np.sin, latex=r"\sin\left({0}\right)")
cos: Any = _define("cos", 1, lambda f, x: (-sin(x),), np.cos, latex=r"\cos\left({0}\right)")

# Piecewise linear functions.
relu: Any = _define("relu", 1, lambda f, x: (step(x),), lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)), cost=1)
abs_: Any = _define("abs", 1, lambda f, x: (sign(x),), np.abs, latex=r"\left\lvert {0} \right\rvert", text="|{0}|", cost=1)
hard_sigmoid: Any = _define("hard_sigmoid", 1, lambda f, x: (SIXTH * inside(x, sp.Integer(3)),), lambda x: np.clip(x + 3, 0, 6) / 6, cost=4)
hard_tanh: Any = _define("hard_tanh", 1, lambda f, x: (inside(x, sp.S.One),), lambda x: np.clip(x, -1, 1), cost=2)
maximum: Any = _define(
    "maximum", 2, lambda f, a, b: (above(a, b), above(b, a)), np.maximum, latex=r"\max\left({0}, {1}\right)", text="max({0}, {1})", cost=1
)
minimum: Any = _define(
    "minimum", 2, lambda f, a, b: (above(b, a), above(a, b)), np.minimum, latex=r"\min\left({0}, {1}\right)", text="min({0}, {1})", cost=1
)
greater: Any = FUNCTIONS["greater"]


def cost(expr: sp.Expr) -> int:
    """Return a rough count of the arithmetic operations that one element of `expr` takes."""
    total = 0
    for node in sp.preorder_traversal(expr):
        if isinstance(node, Elementwise):
            total += node.info.cost
        elif node.is_Add or node.is_Mul:
            total += len(node.args) - 1
        elif node.is_Pow:
            total += 4 if node.exp.is_Integer and node.exp > 0 else 10
    return total


def derivative(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    """Return ∂expr/∂symbol, with every function's derivative from the table."""
    return sp.diff(expr, symbol)
