"""Elementwise functions of parameters alone: computed once a call, before or after the loop, on arrays of NumPy or CuPy.

NumPy's functions are CuPy's where they are given its arrays, but `np.asarray` and loops in Python refuse those.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np

exp, log, sqrt, tanh, sin, cos, absolute, sign, maximum, minimum = (
    np.exp, np.log, np.sqrt, np.tanh, np.sin, np.cos, np.absolute, np.sign, np.maximum, np.minimum,
)  # fmt: skip
where, floor, nearest = np.where, np.floor, np.rint
_LOOPS = {function.__name__: np.vectorize(function, otypes=[np.float64]) for function in (math.erf, math.erfc)}


def _special(name: str, x: Any) -> Any:
    on_device = hasattr(x, "__cuda_array_interface__")
    function = getattr(importlib.import_module("cupyx.scipy.special"), name) if on_device else _LOOPS[name]
    return function(x).astype(np.result_type(x))


def erf(x: Any) -> Any:
    return _special("erf", x)


def sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(np.greater_equal(x, 0), e / e, e) / (1 + e)


def softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def logsigmoid(x: Any) -> Any:
    return -softplus(-x)


def softsign(x: Any) -> Any:
    return x / (1 + np.abs(x))


def silu(x: Any) -> Any:
    return x * sigmoid(x)


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def elu(x: Any) -> Any:
    return np.maximum(x, 0) + np.expm1(np.minimum(x, 0))


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + erf(x * 0.5**0.5))


def hard_sigmoid(x: Any) -> Any:
    return np.clip(x + 3, 0, 6) / 6


def hard_tanh(x: Any) -> Any:
    return np.clip(x, -1, 1)


def heaviside(x: Any) -> Any:
    return np.greater(x, 0).astype(np.result_type(x))


def above(a: Any, b: Any) -> Any:
    kind = np.result_type(a, b)
    return 0.5 * (np.greater(a, b).astype(kind) + np.greater_equal(a, b).astype(kind))


def inside(x: Any, bound: Any) -> Any:
    return np.less(np.abs(x), bound).astype(np.result_type(x))


def clip(x: Any, low: Any, high: Any) -> Any:
    return np.clip(x, low, high)


def between(x: Any, low: Any, high: Any) -> Any:
    return np.logical_and(np.greater_equal(x, low), np.less_equal(x, high)).astype(np.result_type(x))


def normal_cdf(x: Any) -> Any:
    return 0.5 * _special("erfc", x * -(0.5**0.5))
