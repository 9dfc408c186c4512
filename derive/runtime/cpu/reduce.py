"""Sums over the features of one row, for kernels.

Their terms may be added in another order, which the compiled code fixes: in the lanes of vector registers, so that rounding errors grow
slower, too, than in a single sum.
"""

from __future__ import annotations

from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ..common.cache import cached
from .kernel import OPTIONS
from .vector import exp, log

SUMS = {**OPTIONS, "fastmath": {"contract", "reassoc"}}


@njit(inline="always")
def square(x):  # type: ignore[no-untyped-def]
    """Return x²."""
    return x * x


@intrinsic
def added(typingctx, total, term):  # type: ignore[no-untyped-def]
    """Return total + term, for a sum whose terms may be added in another order."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.fadd(*arguments, flags=("contract", "reassoc"))

    if not isinstance(term, types.Float) or total != term:
        raise TypingError(f"added: needs two numbers of one floating-point type, got {total} and {term}")
    return total(total, term), generate


@cached(**SUMS)
def feature_sum(v):  # type: ignore[no-untyped-def]
    """Return Σ_j v[j]."""
    total = v.dtype.type(0)
    for j in range(v.size):
        total += v[j]
    return total


@cached(**SUMS)
def log_sum_exp(v):  # type: ignore[no-untyped-def]
    """Return log Σ_j exp(v[j]), with the largest element taken out first; NaN if an element is NaN."""
    a, b, c, d = v[0], v[0], v[0], v[0]  # one maximum would wait for itself at every element
    whole = v.size // 4 * 4
    for k in range(0, whole, 4):
        w = v[k : k + 4]
        a, b, c, d = max(a, w[0]), max(b, w[1]), max(c, w[2]), max(d, w[3])
    for j in range(whole, v.size):
        a = max(a, v[j])
    top = max(max(a, b), max(c, d))
    if not abs(top) < v.dtype.type(float("inf")):  # all -inf, some inf, or NaN: the sum itself, without inf - inf
        top = v.dtype.type(0)
    zero = v.dtype.type(0)
    total = zero
    for j in range(v.size):
        total += exp(v[j] - top)
    return log(total) + top
