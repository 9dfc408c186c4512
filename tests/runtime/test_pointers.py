"""Parts of arrays in compiled code: what a slice within bounds is, on arrays of any number of axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from derive.runtime.cpu.compiling import compiled
from derive.runtime.cpu.nothing import NOTHING, nothing
from derive.runtime.cpu.pointers import cut

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
    part = cut(array, first, last)
    for axis in range(part.ndim):
        out[axis], out[3 + axis] = part.shape[axis], part.strides[axis]
    out[6], out[7] = part.size, len(part)
    for k, value in enumerate(part.flat):
        values[k] = value


@pytest.mark.parametrize("first, last", [(0, 10), (2, 7), (9, 10), (4, 4), (10, 10)])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_cut_is_a_slice(name: str, first: int, last: int) -> None:
    array, out, want = ARRAYS[name], np.zeros(8, np.int64), np.zeros(8, np.int64)
    part = array[first:last]
    want[: part.ndim], want[3 : 3 + part.ndim], want[6:] = part.shape, part.strides, (part.size, len(part))
    values = np.full(part.size, np.nan)
    described(array, first, last, values, out)
    np.testing.assert_array_equal(values, part.ravel())
    np.testing.assert_array_equal(out, want)


def test_what_is_written_to_a_cut_is_in_the_array() -> None:
    @compiled
    def put(array: Any, first: int, last: int) -> None:
        part = cut(array, first, last)
        for i in range(part.shape[0]):
            for j in range(part.shape[1]):
                part[i, j] = -1.0

    array, want = np.arange(30.0).reshape(10, 3), np.arange(30.0).reshape(10, 3)
    put(array, 3, 5)
    want[3:5] = -1.0
    np.testing.assert_array_equal(array, want)


def test_a_part_of_nothing_is_nothing() -> None:
    kinds = []

    @compiled
    def part(array: Any, first: int, last: int) -> Any:
        cut(array, first, last)

    part(NOTHING, 0, 3)
    kinds += [kind for given in part.overloads for kind in given[:1]]
    assert kinds == [nothing]
