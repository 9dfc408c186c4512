"""Sums over the features of one row, for kernels.

Their terms may be added in another order, which the compiled code fixes: in the lanes of vector registers, so that rounding errors grow
slower, too, than in a single sum.
"""

from __future__ import annotations

from numba import njit, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from ..common.cache import cached
from .compiling import OPTIONS
from .nothing import linear, nothing
from .pointers import address
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

    if term == nothing:
        return total(total, term), lambda context, builder, signature, arguments: arguments[0]
    if not isinstance(term, types.Float) or total != term:
        raise TypingError(f"added: needs two numbers of one floating-point type, got {total} and {term}")
    return total(total, term), generate


@linear
@cached(**SUMS)
def feature_sum(v):  # type: ignore[no-untyped-def]
    """Return the sum of the elements of a contiguous array."""
    total, place = v.dtype.type(0), address(v, 0)
    for j in range(v.size):
        total += place[j]
    return total


@cached(**SUMS)
def log_sum_exp(v):  # type: ignore[no-untyped-def]
    """Return log Σ exp of the elements of a contiguous array, with the largest taken out first; NaN if one is NaN."""
    place = address(v, 0)
    a, b, c, d = place[0], place[0], place[0], place[0]  # one maximum would wait for itself at every element
    whole = v.size // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = max(a, place[k]), max(b, place[k + 1]), max(c, place[k + 2]), max(d, place[k + 3])
    for j in range(whole, v.size):
        a = max(a, place[j])
    top = max(max(a, b), max(c, d))
    if not abs(top) < v.dtype.type(float("inf")):  # all -inf, some inf, or NaN: the sum itself, without inf - inf
        top = v.dtype.type(0)
    zero = v.dtype.type(0)
    total = zero
    for j in range(v.size):
        total += exp(place[j] - top)
    return log(total) + top
