"""Sums over the features of one row, for kernels.

Eight partial sums, added in a fixed order: LLVM keeps them in one register, and rounding errors grow eight times slower than in a
single sum.
"""

from __future__ import annotations

from numba import njit

from .kernel import OPTIONS
from .vector import exp, log


@njit(inline="always")
def square(x):  # type: ignore[no-untyped-def]
    """Return x²."""
    return x * x


@njit(**OPTIONS)
def feature_sum(v):  # type: ignore[no-untyped-def]
    """Return Σ_j v[j]."""
    zero = v.dtype.type(0)
    a, b, c, d, e, f, g, h = zero, zero, zero, zero, zero, zero, zero, zero
    whole = v.size // 8
    for k in range(whole):
        w = v[8 * k : 8 * k + 8]
        a, b, c, d = a + w[0], b + w[1], c + w[2], d + w[3]
        e, f, g, h = e + w[4], f + w[5], g + w[6], h + w[7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for j in range(8 * whole, v.size):
        total += v[j]
    return total


@njit(**OPTIONS)
def log_sum_exp(v):  # type: ignore[no-untyped-def]
    """Return log Σ_j exp(v[j]), with the largest element taken out first; NaN if an element is NaN."""
    top = v[0]
    for j in range(1, v.size):
        top = max(top, v[j])
    if not abs(top) < v.dtype.type(float("inf")):  # all -inf, some inf, or NaN: the sum itself, without inf - inf
        top = v.dtype.type(0)
    zero = v.dtype.type(0)
    total = zero
    for j in range(v.size):
        total += exp(v[j] - top)
    return log(total) + top
