"""Vector mathematics: scalar functions for Numba's nopython mode whose loops LLVM vectorises.

    from . import vector as v

    for j in range(n):
        out[j] = v.tanh(a[j]) * v.sigmoid(b[j])

Every function takes and gives one float32 or one float64, computes in that format alone, and stands in the loop as plain arithmetic.
Arguments of mixed formats are a typing error, never a silent promotion. The formulas are in `elementary`.

Error bounds in units in the last place, float64 / float32, over the whole range unless said otherwise; the tests hold the same numbers.

`sqrt` 0.5 / 0.5, `exp` 1.1 / 1.1, `log` 1 / 1, `sin` 1 / 1, `cos` 1 / 1, `expm1` 2.5 / 2.5, `log1p` 1.5 / 1.5,
`tanh` 3 / 3, `sigmoid` 2.5 / 2.5, `silu` 2.5 / 2.5, `elu` 1.5 / 1.5, `softplus` 2 / 2, `logsigmoid` 2 / 2, `erf` 1.5 / 1.5,
`erfc` 7 / 5, `normal_cdf` 7 / 5, `gelu` 7 / 5, `softsign` 2 / 2, `hard_sigmoid` 1.5 / 1.5.

`sin` and `cos` hold their bound for |x| < 2^45 (float64) and |x| < 2^22 (float32), and are NaN beyond: there, neighbours of a float32 lie
half a radian and more apart. `power(x, p)` is exp(p log(x)), for constant p that is not an integer; its error is up to 2 + 4 |p log(x)|.
NaN stays NaN, through clamps, `maximum` and `minimum` too; `step`, `above` and `inside` say 0 where their comparison is false.
Results underflow gradually. Where the processor has no fused multiply-add, products are rounded too: other bits, within the same bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from . import elementary
from .nothing import nothing
from .real import FORMATS, Real

Formula = Callable[..., Real]


def _number(name: str, *arguments: types.Type) -> types.Float:
    """The one floating-point type of `arguments`."""
    first = arguments[0]
    if not isinstance(first, types.Float) or first.bitwidth not in FORMATS or any(other != first for other in arguments):
        raise TypingError(f"{name}: needs float32 or float64, the same in every argument, got {', '.join(map(str, arguments))}")
    return first


def _traced(formula: Formula, kind: types.Float) -> Callable[..., ir.Value]:
    """The code generator that leaves `formula` in the caller's block."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[ir.Value]) -> ir.Value:
        return formula(*(Real(builder, argument, FORMATS[kind.bitwidth]) for argument in arguments)).value

    return generate


def _unary(formula: Formula) -> Any:
    def declare(typing_context: Any, x: types.Type) -> tuple[Any, Callable[..., ir.Value]]:
        kind = _number(formula.__name__, x)
        return kind(kind), _traced(formula, kind)

    return _named(declare, formula.__name__)


def _binary(formula: Formula) -> Any:
    def declare(typing_context: Any, a: types.Type, b: types.Type) -> tuple[Any, Callable[..., ir.Value]]:
        kind = _number(formula.__name__, a, b)
        return kind(kind, kind), _traced(formula, kind)

    return _named(declare, formula.__name__)


def _bounded(formula: Formula, of_nothing: float | None) -> Any:
    """A function of a value and two bounds, with zero between them: of nothing it is `of_nothing`, or nothing."""

    def declare(typing_context: Any, x: types.Type, low: types.Type, high: types.Type) -> tuple[Any, Callable[..., ir.Value]]:
        if x != nothing:
            kind = _number(formula.__name__, x, low, high)
            return kind(kind, kind, kind), _traced(formula, kind)
        if of_nothing is None:
            return nothing(x, low, high), lambda context, *_: context.get_dummy_value()
        kind = _number(formula.__name__, low, high)
        return kind(x, low, high), lambda context, *_: ir.Constant(context.get_value_type(kind), of_nothing)

    return _named(declare, formula.__name__)


def _named(declare: Callable[..., Any], name: str) -> Any:
    declare.__name__ = declare.__qualname__ = name
    declare.__module__ = __name__
    return intrinsic(declare)


def _where(typing_context: Any, condition: types.Type, a: types.Type, b: types.Type) -> tuple[Any, Callable[..., ir.Value]]:
    """a where the boolean `condition` holds, else b."""
    if not isinstance(condition, types.Boolean):
        raise TypingError(f"where: the condition must be boolean, got {condition}")
    some = [kind for kind in (a, b) if kind != nothing]
    kind = _number("where", *some) if some else nothing

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: list[ir.Value]) -> ir.Value:
        zero = context.get_constant_null(kind)
        values = [zero if given == nothing else value for given, value in zip((a, b), arguments[1:], strict=True)]
        return builder.select(arguments[0], *values)

    return kind(types.boolean, a, b), generate


absolute = _unary(elementary.absolute)
cos = _unary(elementary.cos)
elu = _unary(elementary.elu)
erf = _unary(elementary.erf)
erfc = _unary(elementary.erfc)
exp = _unary(elementary.exp)
expm1 = _unary(elementary.expm1)
floor = _unary(elementary.floor)
gelu = _unary(elementary.gelu)
hard_sigmoid = _unary(elementary.hard_sigmoid)
hard_tanh = _unary(elementary.hard_tanh)
log = _unary(elementary.log)
log1p = _unary(elementary.log1p)
logsigmoid = _unary(elementary.logsigmoid)
nearest = _unary(elementary.nearest)
normal_cdf = _unary(elementary.normal_cdf)
relu = _unary(elementary.relu)
sigmoid = _unary(elementary.sigmoid)
sign = _unary(elementary.sign)
silu = _unary(elementary.silu)
sin = _unary(elementary.sin)
softplus = _unary(elementary.softplus)
softsign = _unary(elementary.softsign)
sqrt = _unary(elementary.sqrt)
step = _unary(elementary.step)
tanh = _unary(elementary.tanh)

above = _binary(elementary.above)
inside = _binary(elementary.inside)
maximum = _binary(elementary.maximum)
minimum = _binary(elementary.minimum)
power = _binary(elementary.power)

between = _bounded(elementary.between, 1.0)
clip = _bounded(elementary.clip, None)

where = _named(_where, "where")

abs = absolute  # the language's name; this module itself has no use for the builtin
heaviside = step  # the name in generated modules, which have a function `step` of their own
