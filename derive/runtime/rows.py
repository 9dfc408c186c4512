"""Work on all rows at once, shared among threads: kernels, and the products and sums that lie outside a time loop.

Threads share rows of the result, never the sum that makes an element, so every number of threads gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .product import column_sum, multiply_part, outer_sum
from .threads import run


def run_rows(kernel: Callable[..., None], count: int, *arguments: Any) -> None:
    """Call ``kernel(*arguments, first, last)`` for parts of the rows 0 … count, one a thread."""
    run(kernel, count, *arguments)


def multiply_rows(a: np.ndarray, packed: Any, out: np.ndarray, accumulate: bool) -> None:
    """``out = a @ b``, or ``out += a @ b``, for the packed `b`; a `(N, k)`, out `(N, m)`."""
    run(multiply_part, a.shape[0], a, packed, out, accumulate)


def outer_sums(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return Σ_r u_r v_rᵀ, `(p, q)`, for rows u `(N, p)` and v `(N, q)`."""
    out = np.empty((u.shape[1], v.shape[1]), u.dtype)
    run(outer_sum, out.shape[0], u, v, out, False)
    return out


def column_sums(u: np.ndarray) -> np.ndarray:
    """Return Σ_r u_r, `(p,)`, for rows u `(N, p)`."""
    out = np.empty(u.shape[1], u.dtype)
    run(column_sum, out.shape[0], u, out)
    return out
