"""Products, sums and transposes of values that are constant in time and batch, in compiled code; vectors and scalars are arrays too.

An array may be nothing (see `nothing`): then it is None, has only zeros, and is not written.
"""

from __future__ import annotations

from .compiling import inner
from .nothing import optional
from .pointers import RowMajor, address
from .product import copy


@optional
@inner
def put_rows(out, start, part):  # type: ignore[no-untyped-def]
    """Write a matrix, or a vector, to the rows of `out` from `start`; both are contiguous. Rows of one that is nothing stay as they are."""
    if out is None or part is None:
        return
    width = out.size // out.shape[0]
    copy((RowMajor(address(part, 0), width), RowMajor(address(out, start * width), width), part.shape[0], width))


@optional
@inner
def transposed(out, matrix):  # type: ignore[no-untyped-def]
    """Write the transpose of a matrix."""
    if out is None:
        return
    if matrix is None:
        out[...] = 0
        return
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = matrix[j, i]


@optional
@inner
def matvec(out, matrix, vector):  # type: ignore[no-untyped-def]
    """Write ``matrix @ vector``."""
    if out is None:
        return
    if matrix is None or vector is None:
        out[...] = 0
        return
    for i in range(out.size):
        total = out.dtype.type(0)
        for j in range(vector.size):
            total += matrix[i, j] * vector[j]
        out[i] = total


@optional
@inner
def matvec_t(out, matrix, vector):  # type: ignore[no-untyped-def]
    """Write ``matrix.T @ vector``."""
    if out is None:
        return
    if matrix is None or vector is None:
        out[...] = 0
        return
    for j in range(out.size):
        out[j] = 0
    for i in range(vector.size):
        for j in range(out.size):
            out[j] += matrix[i, j] * vector[i]


@optional
@inner
def outer(out, left, right):  # type: ignore[no-untyped-def]
    """Write the outer product of two vectors."""
    if out is None:
        return
    if left is None or right is None:
        out[...] = 0
        return
    for i in range(left.size):
        for j in range(right.size):
            out[i, j] = left[i] * right[j]


@optional
@inner
def plus(out, value):  # type: ignore[no-untyped-def]
    """Add a vector."""
    if out is None or value is None:
        return
    for j in range(out.size):
        out[j] += value[j]
