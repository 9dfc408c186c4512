"""Parts of arrays in compiled code: what a slice within bounds is, on arrays of any number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import float64, int64, types

from derive.runtime.cpu.compiling import compiled
from derive.runtime.cpu.kernel import part
from derive.runtime.cpu.nothing import NOTHING, nothing
from derive.runtime.cpu.pointers import cut
from derive.runtime.cpu.reduce import added

ARRAYS = {
    "numbers": np.arange(10.0),
    "whole numbers": np.arange(10),
    "every second": np.arange(20.0)[::2],
    "matrix": np.arange(30, dtype=np.float32).reshape(10, 3),
    "columns": np.arange(30.0).reshape(10, 3)[:, 1:],
    "transposed": np.arange(30.0).reshape(3, 10).T,
    "three axes": np.arange(60.0).reshape(10, 3, 2),
}


@compiled
def described(array, first, last, values, out):  # type: ignore[no-untyped-def]
    """Write the numbers of a part in their order, and its axes, strides and sizes."""
    found = cut(array, first, last)
    for axis in range(found.ndim):
        out[axis], out[3 + axis] = found.shape[axis], found.strides[axis]
    out[6], out[7] = found.size, len(found)
    for k, value in enumerate(found.flat):
        values[k] = value


@pytest.mark.parametrize("first, last", [(0, 10), (2, 7), (9, 10), (4, 4), (10, 10)])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_cut_is_a_slice(name: str, first: int, last: int) -> None:
    array, out, want = ARRAYS[name], np.zeros(8, np.int64), np.zeros(8, np.int64)
    sliced = array[first:last]
    want[: sliced.ndim], want[3 : 3 + sliced.ndim], want[6:] = sliced.shape, sliced.strides, (sliced.size, len(sliced))
    values = np.full(sliced.size, np.nan)
    described(array, first, last, values, out)
    np.testing.assert_array_equal(values, sliced.ravel())
    np.testing.assert_array_equal(out, want)


def test_what_is_written_to_a_cut_is_in_the_array() -> None:
    @compiled
    def put(array: Any, first: int, last: int) -> None:
        found = cut(array, first, last)
        for i in range(found.shape[0]):
            for j in range(found.shape[1]):
                found[i, j] = -1.0

    array, want = np.arange(30.0).reshape(10, 3), np.arange(30.0).reshape(10, 3)
    put(array, 3, 5)
    want[3:5] = -1.0
    np.testing.assert_array_equal(array, want)


def test_parts_of_two_arrays_are_known_to_lie_apart() -> None:
    """Else LLVM would guard a loop by how far apart they lie, and add the terms of a sum in another order where they are close."""

    @part
    def doubled(x: Any, y: Any, sums: Any, n: int, first: int, last: int) -> None:
        for row in range(first, last):
            total, given, out = 0.0, cut(x[row], n, n + n), cut(y[row], n, n + n)
            for j in range(n):
                out[j] = 2.0 * given[j]
                total = added(total, given[j])
            sums[row] = total

    doubled.compile((types.Array(float64, 2, "C"), types.Array(float64, 2, "C"), types.Array(float64, 1, "C"), *[int64] * 3))
    (made,) = doubled.overloads.values()
    code = made.library.get_llvm_str()
    assert "vector.body" in code and "vector.memcheck" not in code


def test_a_part_of_nothing_is_nothing() -> None:
    kinds = []

    @compiled
    def taken(array: Any, first: int, last: int) -> Any:
        cut(array, first, last)

    taken(NOTHING, 0, 3)
    kinds += [kind for given in taken.overloads for kind in given[:1]]
    assert kinds == [nothing]
