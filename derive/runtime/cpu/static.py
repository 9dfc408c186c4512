"""Products, sums and transposes of values that are constant in time and batch, in compiled code; vectors and scalars are arrays too."""

from __future__ import annotations

from .compiling import inner
from .pointers import RowMajor, address
from .product import copy


@inner
def put_rows(out, start, part):  # type: ignore[no-untyped-def]
    """Write a matrix, or a vector, to the rows of `out` from `start`; both are contiguous."""
    width = out.size // out.shape[0]
    copy((RowMajor(address(part, 0), width), RowMajor(address(out, start * width), width), part.shape[0], width))


@inner
def transposed(out, matrix):  # type: ignore[no-untyped-def]
    """Write the transpose of a matrix."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = matrix[j, i]


@inner
def matvec(out, matrix, vector):  # type: ignore[no-untyped-def]
    """Write ``matrix @ vector``."""
    for i in range(out.size):
        total = out.dtype.type(0)
        for j in range(vector.size):
            total += matrix[i, j] * vector[j]
        out[i] = total


@inner
def matvec_t(out, matrix, vector):  # type: ignore[no-untyped-def]
    """Write ``matrix.T @ vector``."""
    for j in range(out.size):
        out[j] = 0
    for i in range(vector.size):
        for j in range(out.size):
            out[j] += matrix[i, j] * vector[i]


@inner
def outer(out, left, right):  # type: ignore[no-untyped-def]
    """Write the outer product of two vectors."""
    for i in range(left.size):
        for j in range(right.size):
            out[i, j] = left[i] * right[j]


@inner
def plus(out, value):  # type: ignore[no-untyped-def]
    """Add a vector."""
    for j in range(out.size):
        out[j] += value[j]
