"""The NumPy value of each elementwise function, by the name that it has in `derive.calculus.functions`.

The mathematics of a cell needs no arrays, so this stands apart from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def _sigmoid(x: Any) -> Any:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


def _softplus(x: Any) -> Any:
    return np.logaddexp(x, 0 * x)


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])

VALUES: Mapping[str, Callable[..., Any]] = {
    # Piecewise constant functions.
    "sign": np.sign,
    "step": lambda x: (x > 0) * 1.0,
    "floor": np.floor,
    "round": np.rint,
    "above": lambda a, b: (a > b) * 0.5 + (a >= b) * 0.5,
    "clip": lambda x, low, high: np.where(x < low, low, np.where(x > high, high, x)),
    "between": lambda x, low, high: 1.0 - (x < low) - (x > high),
    "inside": lambda x, bound: (np.abs(x) < bound) * 1.0,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "where": np.where,
    # Exponentials and their kin.
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": _softplus,
    "logsigmoid": lambda x: -_softplus(-x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x * _sigmoid(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "erf": _erf,
    "normal_cdf": lambda x: 0.5 * _erfc(-x / math.sqrt(2.0)),
    "gelu": lambda x: 0.5 * x * _erfc(-x / math.sqrt(2.0)),
    "sin": np.sin,
    "cos": np.cos,
    # Piecewise linear functions.
    "relu": lambda x: np.where(np.isnan(x), x, np.maximum(x, 0)),
    "abs": np.abs,
    "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "maximum": np.maximum,
    "minimum": np.minimum,
}
