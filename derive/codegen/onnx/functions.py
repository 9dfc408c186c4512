"""The language's elementwise functions as operators.

ONNX has some more of them as one operator, such as `Softplus`; they are made of others here, which ONNX Runtime has for float64 too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .emitter import Emitter, Value
from .graph import REAL, TRUTH

Maker = Callable[..., Value]


def _operator(name: str) -> Maker:
    return lambda on, *args: on.on_elements(name, *args)


def _comparison(name: str) -> Maker:
    return lambda on, a, b: on.on_elements(name, a, b, kind=TRUTH)


def as_number(on: Emitter, value: Value) -> Value:
    """Return 1 for a condition that holds, and 0 for one that does not."""
    return on.made("Cast", value, dims=value.dims, kind=REAL, to=REAL)


def _step(on: Emitter, x: Value) -> Value:
    return as_number(on, on.on_elements("Greater", x, on.number(0), kind=TRUTH))


def _clip(on: Emitter, x: Value, low: Value, high: Value) -> Value:
    return on.on_elements("Min", on.on_elements("Max", x, low), high)


def _log1p_exp(on: Emitter, minus: Value) -> Value:
    """Return ``log(1 + exp(minus))``; `minus` is not positive."""
    return on.on_elements("Log", on.on_elements("Add", on.on_elements("Exp", minus), on.number(1)))


def _softplus(on: Emitter, x: Value) -> Value:
    far = on.on_elements("Neg", on.on_elements("Abs", x))
    return on.on_elements("Add", on.on_elements("Relu", x), _log1p_exp(on, far))


def _logsigmoid(on: Emitter, x: Value) -> Value:
    far = on.on_elements("Neg", on.on_elements("Abs", x))
    return on.on_elements("Sub", on.on_elements("Min", x, on.number(0)), _log1p_exp(on, far))


def _softsign(on: Emitter, x: Value) -> Value:
    return on.on_elements("Div", x, on.on_elements("Add", on.on_elements("Abs", x), on.number(1)))


def _silu(on: Emitter, x: Value) -> Value:
    return on.on_elements("Mul", x, on.on_elements("Sigmoid", x))


def _elu(on: Emitter, x: Value) -> Value:
    below = on.on_elements("Sub", on.on_elements("Exp", on.on_elements("Min", x, on.number(0))), on.number(1))
    return on.on_elements("Add", on.on_elements("Relu", x), below)


def _normal_cdf(on: Emitter, x: Value) -> Value:
    erf = on.on_elements("Erf", on.on_elements("Mul", x, on.number(math.sqrt(0.5))))
    return on.on_elements("Mul", on.on_elements("Add", erf, on.number(1)), on.number(0.5))


def _gelu(on: Emitter, x: Value) -> Value:
    return on.on_elements("Mul", x, _normal_cdf(on, x))


def _hard_sigmoid(on: Emitter, x: Value) -> Value:
    return on.on_elements("Div", _clip(on, on.on_elements("Add", x, on.number(3)), on.number(0), on.number(6)), on.number(6))


def _hard_tanh(on: Emitter, x: Value) -> Value:
    return _clip(on, x, on.number(-1), on.number(1))


FUNCTIONS: Mapping[str, Maker] = {
    **{name: _operator(name.capitalize()) for name in ("sign", "floor", "round", "exp", "log", "sqrt", "sigmoid", "tanh")},
    **{name: _operator(name.capitalize()) for name in ("relu", "abs", "erf", "sin", "cos", "where")},
    "maximum": _operator("Max"),
    "minimum": _operator("Min"),
    "less": _comparison("Less"),
    "less_equal": _comparison("LessOrEqual"),
    "greater": _comparison("Greater"),
    "greater_equal": _comparison("GreaterOrEqual"),
    "step": _step,
    "clip": _clip,
    "softplus": _softplus,
    "logsigmoid": _logsigmoid,
    "softsign": _softsign,
    "silu": _silu,
    "elu": _elu,
    "normal_cdf": _normal_cdf,
    "gelu": _gelu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_tanh": _hard_tanh,
}
"""What makes each function's value of those of its arguments."""
