"""How far a result may be from what a witness says, and how far it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .problem import Array, Result

AUTOGRAD, INTERPRETER, DIFFERENCES, FLOAT32 = "autograd", "interpreter", "differences", "float32"
TOLERANCES = {AUTOGRAD: 1e-10, INTERPRETER: 1e-10, DIFFERENCES: 1e-6, FLOAT32: 1e-5}
# A gradient below this part of the largest one is measured against that part: it may be a sum that cancels, where rounding is all there is.
SMALL = {AUTOGRAD: 1e-3, INTERPRETER: 1e-3, DIFFERENCES: 1e-3, FLOAT32: 1e-2}


def relative(got: Result, want: Result, witness: str = AUTOGRAD) -> dict[str, float]:
    """Return, for each name, the largest error relative to the largest number; a gradient that is nearly zero is measured against the
    others.
    """
    least = least_of(want, witness)
    errors = {name: _error(got.values[name], value, SMALL[witness]) for name, value in want.values.items()}
    return errors | {name: _error(got.grads[name], value, least) for name, value in want.grads.items()}


def least_of(result: Result, witness: str) -> float:
    """Return what a gradient is measured against if it is smaller; the cotangents, of size 1, count as a gradient."""
    return SMALL[witness] * max([1.0, *map(magnitude, result.grads.values())])


def magnitude(value: Array) -> float:
    """Return the largest absolute number of an array; 0 of none."""
    return float(np.max(np.abs(value), initial=0.0))


def root_mean_square(value: Any) -> float:
    """Return the size of an array's numbers where a norm is asked for, of any number of them."""
    return float(np.linalg.norm(np.asarray(value, np.float64))) / math.sqrt(max(np.size(value), 1))


def _error(got: Array, want: Array, least: float) -> float:
    if got.shape != want.shape or not np.isfinite(got).all():
        return math.inf
    return magnitude(got - want) / max(magnitude(want), least)
