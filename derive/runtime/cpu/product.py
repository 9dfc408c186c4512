"""Matrix products on the register tile, without the GIL: over all rows at once, which are divided among threads, and inside kernels, where
a large product is divided by columns among threads that are awake and have nothing to do.

    fill_panels(parts, how, b, packed)                        # once for a right operand; `panels` makes the memory too
    fill_part(parts, how, b, packed, row, column, k, n)       # the same for a part of one
    multiply(a, packed, out, accumulate)                      # out = or += a @ b
    multiply_rows(parts, how, a, packed, out, accumulate)     # the same, on all threads

A product sweeps tiles over a block of the left operand and a packed block of the right one. An element of the result sums its products in
blocks of `STEPS`, each in the order of k, and the blocks in order: its bits do not depend on how rows or columns are divided.

The loops are compiled `apart` and stay out of their callers.

An array may be nothing (see `nothing`): then it is None, has only zeros, and is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numba as nb
import numpy as np

from . import division
from .apart import apart
from .compiling import compiled, inner
from .crew import divide, task
from .division import LIGHT_PANELS, LIGHT_PRODUCT, STEPS
from .kernel import part
from .memory import empty, zeros
from .nothing import NOTHING, optional, some
from .openmp import LIGHT, REGION, together
from .pointers import Matrix, Pointer, RowMajor, address, matrix, row_major, shift
from .tile import PANELS_4, ROWS, VECTOR_BYTES, VECTORS, Panels, move_columns, panel_width, tile_1, tile_2, tile_4, tile_full, transpose

# Of a in a block: 64 KiB in float32. Rows of a result lie pages apart; of 192, which the second-level cache holds as well, products of
# thousands of rows took 7 to 50 % longer on a Granite Rapids.
BLOCK_ROWS = 64
GROUP = 4  # panels that the short tiles take at once
SHARED = 50_000  # multiplications in a product that other threads may share


class Left(NamedTuple):
    """A left operand: its first `ROWS` rows, and the distance to the next `ROWS`."""

    first: Matrix
    between: int


@apart
def _copy_rows(b: RowMajor, whole: Panels, rows: int, columns: int) -> None:
    """Write rows to whole panels, one after the other, as they lie in memory."""
    wide = panel_width(b.start)
    for s in range(rows):
        for first in range(0, columns, wide):
            move_columns(shift(b.start, s * b.row + first), shift(whole.start, s * wide + first // wide * whole.between))


@apart
def fill(b: Matrix, packed: Pointer, rows: int, columns: int, row: int, column: int, k: int, n: int) -> None:
    """Pack b, (rows, columns), from a row and a column on, in the panels of an operand (k, n); the last are filled up with zeros."""
    wide = panel_width(packed)
    lanes = wide // VECTORS
    begin, end = (column + wide - 1) // wide * wide, (column + columns) // wide * wide  # of the panels that are filled whole
    if b.column == 1:
        whole = Panels(shift(packed, begin * k + row * wide), k * wide)
        _copy_rows((RowMajor(shift(b.start, begin - column), b.row), whole, rows, end - begin))
    for first in range(column // wide * wide, column + columns, wide):
        if b.column == 1 and begin <= first < end:
            continue
        low, high = max(column, first), min(column + columns, first + wide)
        source, target, done = shift(b.start, (low - column) * b.column), shift(packed, first * k + row * wide), 0
        if b.row == 1 and high - low == wide:
            for s in range(0, rows - lanes + 1, lanes):
                transpose(shift(source, s), b.column, shift(target, s * wide))
                transpose(shift(source, s + lanes * b.column), b.column, shift(target, s * wide + lanes))
            done = rows // lanes * lanes
        for s in range(done, rows):
            line, place = shift(source, s * b.row), shift(target, s * wide + low - first)
            for j in range(high - low):
                place[j] = line[j * b.column]
            if high == n:
                for j in range(high - low, first + wide - low):
                    place[j] = 0


@part
def _panels(b, packed, rows, columns, row, column, k, n, first, last):  # type: ignore[no-untyped-def]
    """Do what `fill` does in the panels from `first` to `last` of those that it fills."""
    wide = panel_width(packed)
    begin = column // wide * wide
    low, high = max(column, begin + first * wide), min(column + columns, begin + last * wide)
    if low < high:
        fill((shift(b, (low - column) * b.column), packed, rows, high - low, row, low, k, n))


@apart
def _fill(b: Matrix, packed: Pointer, rows: int, columns: int, row: int, column: int, k: int, n: int, parts: int, how: int) -> None:
    """Do what `fill` does, on the threads that `openmp.together` takes; alone, if it is light."""
    if rows * columns < LIGHT_PANELS:
        fill((b, packed, rows, columns, row, column, k, n))
    else:
        wide = panel_width(packed)
        function, data = task(_panels, (b, packed, rows, columns, row, column, k, n))
        together((function, data, (column + columns + wide - 1) // wide - column // wide, parts, how))  # a part raises nothing


@apart
def sweep(a: Left, b: Panels, c: RowMajor, m: int, k: int, n: int, accumulate: int) -> None:
    """Multiply m rows by all panels of n columns, k > 0.

    While the tiles of one panel are computed, the next one is read from memory, a share at each: the first of its tiles need not wait.
    """
    wide, add = panel_width(b.start), accumulate != 0
    whole = m // ROWS * ROWS
    left = m - whole
    four = whole + (left & 4)
    two = four + (left & 2)
    rest = shift(a.first, whole // ROWS * a.between)
    share = max(wide * ROWS // max(whole, 1), 1)  # of a panel's columns, for each step of k
    for group in range(0, n, GROUP * wide):
        for first in range(group, min(group + GROUP * wide, n), wide):
            panel, target, columns = shift(b, first // wide * b.between), shift(c, first), n - first
            for i in range(0, whole, ROWS):
                at, soon = shift(a.first, i // ROWS * a.between), shift(panel.start, b.between + i // ROWS * k * share)
                tile_full(at, panel, k, shift(target, i * c.row), columns, add, soon, share)
        if left & 4:
            for first in range(group, min(group + GROUP * wide, n), PANELS_4 * wide):
                panel = shift(b, first // wide * b.between)
                tile_4(rest, panel, k, shift(c, first + whole * c.row), n - first, add, panel.start, 0)
        if left & 2:
            at = shift(rest, (four - whole) * rest.row)
            for first in range(group, min(group + GROUP * wide, n), 2 * wide):
                panel = shift(b, first // wide * b.between)
                tile_2(at, panel, k, shift(c, first + four * c.row), n - first, add, panel.start, 0)
        if left & 1:
            at, panel = shift(rest, (two - whole) * rest.row), shift(b, group // wide * b.between)
            tile_1(at, panel, k, shift(c, group + two * c.row), n - group, add, panel.start, 0)


@apart
def clear(c: RowMajor, m: int, n: int) -> None:
    """Set m rows of n columns to zero."""
    for i in range(m):
        row = shift(c.start, i * c.row)
        for j in range(n):
            row[j] = 0


@apart
def copy(source: RowMajor, target: RowMajor, m: int, n: int) -> None:
    """Write m rows of n columns to others."""
    for i in range(m):
        row, place = shift(source.start, i * source.row), shift(target.start, i * target.row)
        for j in range(n):
            place[j] = row[j]


@part
def _groups(a, packed, c, m, k, n, accumulate, first, last):  # type: ignore[no-untyped-def]
    """Compute the columns of `GROUP` panels each, from group `first` to `last`."""
    wide = panel_width(packed)
    for i in range(0, m, BLOCK_ROWS):
        left, rows = shift(a, i * a.row), min(BLOCK_ROWS, m - i)
        for group in range(first, last):  # over k inside: what is added to stays in the cache
            begin = group * GROUP * wide
            columns, target = min(n - begin, GROUP * wide), shift(c, i * c.row + begin)
            if k == 0 and accumulate == 0:
                clear((target, rows, columns))
            for s in range(0, k, STEPS):
                block, right = Left(shift(left, s * a.column), ROWS * a.row), Panels(shift(packed, begin * k + s * wide), k * wide)
                add = 1 if s > 0 else accumulate
                sweep((block, right, target, rows, min(STEPS, k - s), columns, add))


@apart
def _multiply(a: Matrix, packed: Pointer, c: RowMajor, m: int, k: int, n: int, accumulate: int) -> None:
    """Multiply m rows by a packed operand, on this thread and on those that are awake and free."""
    groups = -(-n // (GROUP * panel_width(packed)))
    if m * k * n < SHARED:
        _groups(a, packed, c, m, k, n, accumulate, 0, groups)
    else:  # workers that are awake and have nothing to do may help; a part raises nothing
        function, data = task(_groups, (a, packed, c, m, k, n, accumulate))
        divide((function, data, groups, groups - 1, 1))


@optional
@compiled
def fill_panels(parts, how, b, packed):  # type: ignore[no-untyped-def]
    """Pack a right operand (k, n), of any strides, into `panel_room` for it; columns past n are zero."""
    if b is None or packed is None:
        return
    k, n = b.shape
    _fill((matrix(b), address(packed, 0), k, n, 0, 0, k, n, nb.int64(parts), nb.int64(how)))


@optional
@compiled
def fill_part(parts, how, b, packed, row, column, k, n):  # type: ignore[no-untyped-def]
    """Pack a part of a right operand (k, n), of any strides, from a row and a column on, into `panel_room` for the whole; a part that is
    nothing stays as it is.
    """
    if b is None or packed is None:
        return
    rows, columns = b.shape
    _fill((matrix(b), address(packed, 0), rows, columns, row, column, k, n, nb.int64(parts), nb.int64(how)))


def panel_room(k: int, n: int, dtype: np.dtype, heads: int | None = None, new: Callable[..., np.ndarray] = empty) -> np.ndarray:
    """Return memory for a packed right operand (k, n): an array (ceil(n / width) * k * width,), aligned to a cache line; of one operand for
    each head an array of such.
    """
    wide = VECTORS * VECTOR_BYTES // dtype.itemsize
    room = -(-n // wide) * wide * k
    return new((room,) if heads is None else (heads, room), dtype, aligned=True)


def part_room(parts: Sequence[Any], k: int, n: int, dtype: np.dtype, heads: int | None = None) -> Any:
    """Return memory for the panels of an operand (k, n) that has these parts: nothing if all are; where some are, it is of zeros."""
    if not some(*parts):
        return NOTHING
    return panel_room(k, n, dtype, heads, zeros if any([part is NOTHING for part in parts]) else empty)


def panels(b: np.ndarray) -> np.ndarray:
    """Return a right operand (k, n), of float32 or float64, packed for `multiply`."""
    k, n = b.shape
    packed = panel_room(k, n, b.dtype)
    fill_panels(1, LIGHT, b, packed)
    return packed


@optional
@compiled
def multiply(a, packed, out, accumulate):  # type: ignore[no-untyped-def]
    """Compute ``out = a @ b``, or ``out += a @ b`` where `accumulate` is true.

    Parameters
    ----------
    a : array (m, k)
        Any strides; a transposed view is a transposed left operand.
    packed : array
        ``panels(b)`` of a right operand (k, n) of the same dtype. Sizes are not checked.
    out : array (m, n)
        Neighbours in a row are contiguous, rows any distance apart. It overlaps neither operand.
    accumulate : bool
    """
    if out is None:
        return
    if a is None or packed is None:
        if not accumulate:
            out[...] = 0
        return
    m, k = a.shape
    _multiply((matrix(a), address(packed, 0), row_major(out), m, k, out.shape[1], nb.int64(accumulate)))


@part
def _rows(a, packed, c, k, n, accumulate, first, last):  # type: ignore[no-untyped-def]
    _multiply((shift(a, first * a.row), packed, shift(c, first * c.row), last - first, k, n, accumulate))


@apart
def _multiply_rows(a: Matrix, packed: Pointer, c: RowMajor, m: int, k: int, n: int, accumulate: int, parts: int, how: int) -> None:
    function, data = task(_rows, (a, packed, c, k, n, accumulate))
    together((function, data, m, parts, how))  # a part raises nothing


@optional
@compiled
def multiply_rows(parts, how, a, packed, out, accumulate):  # type: ignore[no-untyped-def]
    """Compute `multiply` in at most so many parts of the rows, on the threads that `openmp.together` takes; alone, if it is light."""
    if out is None:
        return
    if a is None or packed is None:
        if not accumulate:
            out[...] = 0
        return
    m, k = a.shape
    n = out.shape[1]
    asked = LIGHT if m * k * n < LIGHT_PRODUCT else nb.int64(how)
    _multiply_rows((matrix(a), address(packed, 0), row_major(out), m, k, n, nb.int64(accumulate), nb.int64(parts), asked))


_row_parts = inner(division.row_parts)


@inner
def row_parts(batch, weights, parts, how):  # type: ignore[no-untyped-def]
    """Return into how many parts the rows of a time loop are divided: `division.row_parts` for the register tile."""
    return _row_parts(batch, weights, how if how >= REGION else parts, ROWS, parts)
