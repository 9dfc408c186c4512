"""The operators and functions of the language on arrays of NumPy, PyTorch or JAX."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..language.vocabulary import GRADIENTS

LAYER_NORM_EPSILON = 1e-5
Function = Callable[..., Any]
_SAME = ("exp", "log", "sqrt", "tanh", "sin", "cos", "abs", "sign", "maximum", "minimum", "where", "floor", "round")
OPERATORS: Mapping[str, Function] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def functions(xp: Any) -> Mapping[str, Function]:
    """Return the functions of the language for one framework, with the project's conventions at kinks."""
    own = _OWN[xp.__name__](xp)
    same = {name: getattr(xp, name) for name in _SAME}
    sigmoid, erf, logsumexp = own["sigmoid"], own["erf"], own["logsumexp"]

    def constant(x: Any, value: float) -> Any:
        return xp.zeros_like(x) + value

    def softplus(x: Any) -> Any:
        return xp.logaddexp(x, xp.zeros_like(x))

    def clip(x: Any, low: float, high: float) -> Any:
        # The gradient is 0 at both ends.
        return xp.where(x <= low, constant(x, low), xp.where(x >= high, constant(x, high), x))

    def elu(x: Any) -> Any:
        # `expm1` sees no positive argument, whose overflow would spoil the gradient of the other branch.
        return xp.where(x > 0, x, xp.expm1(xp.where(x > 0, xp.zeros_like(x), x)))

    def layer_norm(x: Any) -> Any:
        size = x.shape[-1]
        centred = x - (xp.sum(x, axis=-1) / size)[..., None]
        return centred / xp.sqrt(xp.sum(centred * centred, axis=-1) / size + LAYER_NORM_EPSILON)[..., None]

    return {
        **same,
        **own,
        "relu": lambda x: xp.where(x <= 0, xp.zeros_like(x), x),
        "softplus": softplus,
        "logsigmoid": lambda x: -softplus(-x),
        "softsign": lambda x: x / (1 + xp.abs(x)),
        "elu": elu,
        "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
        "silu": lambda x: x * sigmoid(x),
        "hard_sigmoid": lambda x: clip(x + 3, 0, 6) / 6,
        "hard_tanh": lambda x: clip(x, -1, 1),
        "step": lambda x: xp.where(x > 0, constant(x, 1), xp.zeros_like(x)),
        "softmax": lambda x: xp.exp(x - logsumexp(x)[..., None]),
        "layer_norm": layer_norm,
    }


def _numpy_functions(xp: Any) -> dict[str, Function]:
    def sigmoid(x: Any) -> Any:
        e = np.exp(-np.abs(x))
        return np.where(x >= 0, np.ones_like(e), e) / (1 + e)

    def erf(x: Any) -> Any:
        return np.vectorize(math.erf, otypes=[x.dtype])(x)

    def logsumexp(x: Any) -> Any:
        top = np.max(x, axis=-1, keepdims=True)
        return np.log(np.sum(np.exp(x - top), axis=-1)) + top[..., 0]

    found: dict[str, Function] = {"sigmoid": sigmoid, "erf": erf, "logsumexp": logsumexp, "split": lambda x, parts: np.split(x, parts, -1)}
    return found | {"detach": lambda x: x, **dict.fromkeys(GRADIENTS, lambda x, *bounds: x)}


def _torch_functions(xp: Any) -> dict[str, Function]:
    split = {"split": lambda x, parts: xp.chunk(x, parts, -1), "kept": lambda chosen, x: xp.where(chosen, x, x.detach())}
    own = importlib.import_module(f"{__package__}.torch_gradients")
    changed = {"detach": own.detach, "clip_gradient": own.clip_gradient, "scale_gradient": own.scale_gradient}
    return {"sigmoid": xp.sigmoid, "erf": xp.erf, "logsumexp": lambda x: xp.logsumexp(x, -1), **split, **changed}


def _jax_functions(xp: Any) -> dict[str, Function]:
    nn, special = importlib.import_module("jax.nn"), importlib.import_module("jax.scipy.special")
    stopped = importlib.import_module("jax.lax").stop_gradient
    split = {"split": lambda x, parts: xp.split(x, parts, -1), "kept": lambda chosen, x: xp.where(chosen, x, stopped(x))}
    own = importlib.import_module(f"{__package__}.jax_gradients")
    changed = {"detach": stopped, "clip_gradient": own.clip_gradient, "scale_gradient": own.scale_gradient}
    return {"sigmoid": nn.sigmoid, "erf": special.erf, "logsumexp": lambda x: special.logsumexp(x, axis=-1), **split, **changed}


_OWN: Mapping[str, Callable[[Any], dict[str, Function]]] = {
    "numpy": _numpy_functions,
    "torch": _torch_functions,
    "jax.numpy": _jax_functions,
}


def surrogate(xp: Any, value: Function, slope: Function) -> Function:
    """Return a function of one array with `value`, whose derivative is `slope` of the same, and that one's its own.

    What stands for a framework may have a `surrogate` that makes it.
    """
    if xp.__name__ == "numpy":
        return value
    if instead := getattr(xp, "surrogate", None):
        written: Function = instead(value, slope)
        return written
    name = "torch_gradients" if xp.__name__ == "torch" else "jax_gradients"
    made: Function = importlib.import_module(f"{__package__}.{name}").surrogate(value, slope)
    return made


def is_float(value: Any) -> bool:
    """Say whether a value is an array of floating-point numbers, of any of the three."""
    if hasattr(value, "is_floating_point"):
        return bool(value.is_floating_point())
    return np.issubdtype(getattr(value, "dtype", np.int64), np.floating)
