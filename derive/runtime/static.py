"""Elementwise functions of parameters alone, on NumPy arrays: computed once a call, before or after the loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

exp, log, sqrt, tanh, sin, cos, absolute, sign, maximum, minimum = (
    np.exp, np.log, np.sqrt, np.tanh, np.sin, np.cos, np.absolute, np.sign, np.maximum, np.minimum,
)  # fmt: skip
where = np.where
_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def erf(x: Any) -> Any:
    return np.asarray(_erf(x), np.result_type(x))


def sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(np.asarray(x) >= 0, e / e, e) / (1 + e)


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
    return (np.asarray(x) > 0).astype(np.result_type(x))


def above(a: Any, b: Any) -> Any:
    kind = np.result_type(a, b)
    return 0.5 * ((np.asarray(a) > b).astype(kind) + (np.asarray(a) >= b).astype(kind))


def inside(x: Any, bound: Any) -> Any:
    return (np.abs(x) < bound).astype(np.result_type(x))


def normal_cdf(x: Any) -> Any:
    return 0.5 * np.asarray(_erfc(-np.asarray(x) * 0.5**0.5), np.result_type(x))
