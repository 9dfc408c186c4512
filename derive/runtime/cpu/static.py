"""Products, sums and transposes of values that are constant in time and batch, in compiled code; vectors and scalars are arrays too.

An array may be nothing (see `nothing`): then it has only zeros, and is not written.
"""

from __future__ import annotations

from .compiling import inner
from .nothing import clearing, passing
from .pointers import RowMajor, address
from .product import copy


@passing
@inner
def put_rows(out, start, part):  # type: ignore[no-untyped-def]
    """Write a matrix, or a vector, to the rows of `out` from `start`; both are contiguous. Rows of one that is nothing stay as they are."""
    width = out.size // out.shape[0]
    copy((RowMajor(address(part, 0), width), RowMajor(address(out, start * width), width), part.shape[0], width))


@clearing
@inner
def transposed(out, matrix):  # type: ignore[no-untyped-def]
    """Write the transpose of a matrix."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = matrix[j, i]


@clearing
@inner
def matvec(out, matrix, vector):  # type: ignore[no-untyped-def]
    """Write ``matrix @ vector``."""
    for i in range(out.size):
        total = out.dtype.type(0)
        for j in range(vector.size):
            total += matrix[i, j] * vector[j]
        out[i] = total


@clearing
@inner
def matvec_t(out, matrix, vector):  # type: ignore[no-untyped-def]
    """Write ``matrix.T @ vector``."""
    for j in range(out.size):
        out[j] = 0
    for i in range(vector.size):
        for j in range(out.size):
            out[j] += matrix[i, j] * vector[i]


@clearing
@inner
def outer(out, left, right):  # type: ignore[no-untyped-def]
    """Write the outer product of two vectors."""
    for i in range(left.size):
        for j in range(right.size):
            out[i, j] = left[i] * right[j]


@passing
@inner
def plus(out, value):  # type: ignore[no-untyped-def]
    """Add a vector."""
    for j in range(out.size):
        out[j] += value[j]
