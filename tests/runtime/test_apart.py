"""Functions compiled apart: what they may take, what reaches them, which are refused."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numba as nb
import numpy as np
import pytest

from derive.runtime.cpu.apart import apart
from derive.runtime.cpu.compiling import compiled
from derive.runtime.cpu.pointers import Matrix, Pointer, RowMajor, address, matrix, row_major, shift

DTYPES = (np.float32, np.float64)


class Pair(NamedTuple):
    """Of two things of one kind, which Numba has another kind of tuple for."""

    one: Pointer
    other: Pointer


class Nested(NamedTuple):
    source: Matrix
    factor: int
    pair: Pair


@apart
def _copy(given: Nested, target: RowMajor, m: int, n: int) -> None:
    """Copy a matrix times a factor, and add a number to each row."""
    for i in range(m):
        row = shift(target, i * target.row)
        for j in range(n):
            row.start[j] = given.source.start[i * given.source.row + j * given.source.column] * given.factor
            row.start[j] += given.pair.one[i] - given.pair.other[i]


@partial(compiled, cache=False)
def copy(a, ones, others, out):  # type: ignore[no-untyped-def]
    m, n = a.shape
    _copy((Nested(matrix(a), 3, Pair(address(ones, 1), address(others, 0))), row_major(out), m, n))


@pytest.mark.parametrize("dtype", DTYPES)
def test_tuples_of_tuples_arrive(dtype: type) -> None:
    rng = np.random.default_rng(0)
    a, around = rng.integers(-9, 9, (8, 14)).astype(dtype).T[::2, ::3], np.zeros((7, 5), dtype)
    ones, others = rng.integers(-9, 9, (2, 8)).astype(dtype)
    copy(a, ones, others, around[:, 1:4])
    np.testing.assert_array_equal(around[:, 1:4], a * dtype(3) + (ones[1:] - others[:-1])[:, None])
    assert not around[:, [0, 4]].any()


def test_a_dtype_that_it_is_not_compiled_for_is_refused() -> None:
    whole = np.ones((2, 2), np.int64)
    with pytest.raises(nb.TypingError, match="float32 or float64 arrays, not int64"):
        copy(whole, whole[0], whole[0], whole)
