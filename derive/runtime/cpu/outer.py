"""Sums of outer products of rows, as gradients by weights are, and of the rows themselves: ``u.T @ v``, ``u.T @ w`` and ``u.sum(axis=0)``.

    memory = workspace(dtype, rows, parts, (p, q + r))
    outer_sums(parts, how, memory, u, v, out_v, w, out_w, total, False)

They are products, as in `product`, whose left operand stands on its side: a block of it is packed too. u is gone through once for all.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from .apart import apart
from .compiling import compiled, inner
from .crew import task
from .division import LIGHT_PRODUCT, STEPS
from .kernel import part
from .memory import ALIGNMENT, empty
from .nothing import optional
from .openmp import LIGHT, together
from .pointers import Matrix, Pointer, RowMajor, address, row_major, shift
from .product import GROUP, Left, clear, fill, sweep
from .tile import ROWS, VECTOR_BYTES, VECTORS, Panels, move_rows, panel_width

BLOCK_BYTES = 1 << 12  # of a row of v and w in a block: 1 MiB of `STEPS` rows
TILED_COLUMNS = 64  # of u in a block: 64 KiB in float32
# Rows are packed together in slabs, and results are added to once a slab: of one block of `STEPS`; of more where results do not stay in
# caches from one slab to the next. On an Intel Xeon, (6400, 1024, 4096) took 8 to 17 % less so, and small sums 5 % more.
SLAB = 4 * STEPS
RESULT = 4 << 20  # bytes of the results of a part
APART = 16  # between the tiles of a packed left operand: at a power of two they would all fall on one set of the first-level cache
SUMMED = 64  # rows that `_add_rows` adds before it adds their sum to the result


class Factor(NamedTuple):
    """Rows that those of u are multiplied with, how many columns they have, and where the sum of the products goes."""

    rows: RowMajor
    columns: int
    out: RowMajor


class Memory(NamedTuple):
    """A part's piece of the workspace: tiles of u, panels of the factors, sums of some rows."""

    left: Pointer
    right: Pointer
    sums: Pointer


@apart
def _gather(u: RowMajor, target: Pointer, between: int, steps: int, m: int) -> None:
    """Pack m columns of u, `ROWS` at a time: ``target[i // ROWS * between + s * ROWS + i % ROWS] = u[s, i]``."""
    tiles = m // ROWS
    for s in range(steps):
        row, place = shift(u.start, s * u.row), shift(target, s * ROWS)
        for number in range(tiles):
            move_rows(shift(row, number * ROWS), shift(place, number * between))
        for i in range(m - tiles * ROWS):
            place[tiles * between + i] = row[tiles * ROWS + i]


@apart
def _outer_sums(
    u: RowMajor,
    one: Factor,
    other: Factor,
    sums: Pointer,
    summed: int,
    total: int,
    m: int,
    memory: Memory,
    slab: int,
    wide: int,
    add_to: int,
) -> None:
    """Sum outer products of `total` rows of u, m columns wide, with those of two factors, and where `summed` its rows.

    A `slab` of rows and so many columns of the factors are packed together. If `add_to`, sums are added to what stands where they go.
    """
    if total == 0 and add_to == 0:
        clear((one.out, m, one.columns))
        clear((other.out, m, other.columns))
    if summed != 0 and add_to == 0:
        clear((RowMajor(sums, m), 1, m))
    for s in range(0, total, slab):
        k, add, top = min(slab, total - s), nb.int64(s > 0 or add_to != 0), shift(u, s * u.row)
        first = Factor(shift(one.rows, s * one.rows.row), one.columns, one.out)
        second = Factor(shift(other.rows, s * other.rows.row), other.columns, other.out)
        if summed != 0:
            _add_rows((top, memory.sums, sums, k, m))
        if one.columns + other.columns <= wide:
            _pair((top, first, second, memory, k, m, add))
        else:
            for factor in (first, second):
                nothing = Factor(factor.rows, 0, factor.out)
                for j in range(0, factor.columns, wide):
                    block = Factor(shift(factor.rows, j), min(wide, factor.columns - j), shift(factor.out, j))
                    _pair((top, block, nothing, memory, k, m, add))


@apart
def _pair(u: RowMajor, one: Factor, other: Factor, memory: Memory, k: int, m: int, add: int) -> None:
    """Add the products of k rows of u with those of two factors, whose columns are packed together."""
    wide, between = panel_width(memory.left), ROWS * min(STEPS, k) + APART
    second, block = shift(memory.right, (one.columns + wide - 1) // wide * wide * k), (min(TILED_COLUMNS, m) + ROWS - 1) // ROWS * between
    _fill_blocks((one, memory.right, k))
    _fill_blocks((other, second, k))
    left = Left(Matrix(memory.left, 1, ROWS), between)
    for i in range(0, m, TILED_COLUMNS):
        rows = min(TILED_COLUMNS, m - i)
        for s in range(0, k, STEPS):
            _gather((shift(u, s * u.row + i), shift(memory.left, s // STEPS * block), between, min(STEPS, k - s), rows))
        _sweep_blocks((left, block, memory.right, shift(one.out, i * one.out.row), rows, k, one.columns, add))
        _sweep_blocks((left, block, second, shift(other.out, i * other.out.row), rows, k, other.columns, add))


@apart
def _fill_blocks(factor: Factor, packed: Pointer, k: int) -> None:
    """Pack k rows of a factor, `STEPS` and then the next: each block is a right operand of its own."""
    wide, n = panel_width(packed), factor.columns
    for s in range(0, k, STEPS):
        rows, start = min(STEPS, k - s), shift(factor.rows, s * factor.rows.row)
        fill((Matrix(start.start, start.row, 1), shift(packed, (n + wide - 1) // wide * wide * s), rows, n, 0, 0, rows, n))


@apart
def _sweep_blocks(left: Left, block: int, packed: Pointer, out: RowMajor, m: int, k: int, n: int, add: int) -> None:
    """Multiply blocks of `STEPS`, those of u so far from one another: for a group of panels all, then for the next."""
    wide = panel_width(packed)
    for first in range(0, n, GROUP * wide):
        for s in range(0, k, STEPS):
            rows = min(STEPS, k - s)
            panels = Panels(shift(packed, (n + wide - 1) // wide * wide * s + first * rows), rows * wide)
            target, columns = shift(out, first), min(GROUP * wide, n - first)
            tiles = Left(shift(left.first, s // STEPS * block), left.between)
            sweep((tiles, panels, target, m, rows, columns, nb.int64(s > 0 or add != 0)))


@apart
def _add_rows(u: RowMajor, block: Pointer, sums: Pointer, count: int, m: int) -> None:
    """Add the sum of `count` rows, `SUMMED` at a time."""
    for start in range(0, count, SUMMED):
        clear((RowMajor(block, m), 1, m))
        for r in range(start, min(start + SUMMED, count)):
            row = shift(u.start, r * u.row)
            for j in range(m):
                block[j] += row[j]
        for j in range(m):
            sums[j] += block[j]


class Layout(NamedTuple):
    """How `outer_sums` works: in so many pieces of memory, how large each is, and where in it panels and sums of rows begin.

    It packs a `slab` of rows together, and so many columns of the factors.
    """

    pieces: int
    size: int
    right: int
    sums: int
    slab: int
    wide: int


def layout(total: int, p: int, columns: int, parts: int, itemsize: int) -> Layout:
    """Return how `total` rows of u are summed, in so many parts of its p columns, with factors that have so many `columns`.

    There is a piece of memory for each part: tiles of u, panels of the factors, sums of some rows; each begins at a cache line.
    """
    # `crew.divide` gives each part p // parts columns at least: divided by that, the first of no two parts are the same number.
    share, line, wide = max(p // parts, 1), ALIGNMENT // itemsize, BLOCK_BYTES // itemsize
    slab = SLAB if share * columns * itemsize > RESULT else STEPS
    rows = min(slab, total)
    blocks, tiles = (rows + STEPS - 1) // STEPS, (min(TILED_COLUMNS, p) + ROWS - 1) // ROWS
    right = (blocks * tiles * (ROWS * min(STEPS, rows) + APART) + line - 1) // line * line
    sums = right + (rows * (min(wide, columns) + 2 * VECTORS * VECTOR_BYTES // itemsize) + line - 1) // line * line
    return Layout(max(p // share, 1), sums + (p + line - 1) // line * line, right, sums, slab, wide)


def workspace(dtype: np.dtype, total: int, parts: int, *sizes: tuple[int, int], least: int = 0) -> np.ndarray:
    """Return the memory in which `outer_sums` works, one after the other, for `total` rows in at most so many parts.

    `sizes` are, for each, the columns of u and of v and w together. It has at least so many elements.
    """
    layouts = [layout(total, p, columns, parts, dtype.itemsize) for p, columns in sizes]
    return empty((max(least, *(made.pieces * made.size for made in layouts)),), dtype, aligned=True)


_layout = inner(layout)


@part
def _columns(u, one, other, sums, summed, total, memory, add, share, made, first, last):  # type: ignore[no-untyped-def]
    """Compute rows `first` to `last` of all results."""
    if last > first:
        piece = shift(memory, first // share * made.size)
        mine = Factor(one.rows, one.columns, shift(one.out, first * one.out.row))
        yours = Factor(other.rows, other.columns, shift(other.out, first * other.out.row))
        places, place = Memory(piece, shift(piece, made.right), shift(piece, made.sums)), shift(sums, first * summed)
        _outer_sums((shift(u, first), mine, yours, place, summed, total, last - first, places, made.slab, made.wide, add))


@apart
def _sums(
    u: RowMajor,
    one: Factor,
    other: Factor,
    sums: Pointer,
    summed: int,
    total: int,
    p: int,
    memory: Pointer,
    add: int,
    parts: int,
    how: int,
    size: int,
) -> None:
    made = _layout(total, p, one.columns + other.columns, parts, size)
    function, data = task(_columns, (u, one, other, sums, summed, total, memory, add, p // made.pieces, made))
    together((function, data, p, parts, how))  # a part raises nothing


@inner
def _factor(u, rows, out):  # type: ignore[no-untyped-def]
    if rows is None or out is None:
        nothing = RowMajor(address(u, 0), nb.int64(0))
        return Factor(nothing, nb.int64(0), nothing)
    return Factor(row_major(rows), rows.shape[1], row_major(out))


@inner
def _start(u, total):  # type: ignore[no-untyped-def]
    return address(u, 0) if total is None else address(total, 0)


@inner
def _clear(out, add):  # type: ignore[no-untyped-def]
    if out is not None and not add:
        out[...] = 0


@optional
@compiled
def outer_sums(parts, how, memory, u, v, out_v, w, out_w, total, add):  # type: ignore[no-untyped-def]
    """Compute ``out_v = u.T @ v`` and ``out_w = u.T @ w``, and ``total = u.sum(axis=0)``, those that are not None.

    Parameters
    ----------
    parts, how : int
        As for `openmp.together`; what is light is done alone.
    memory : array
        See `workspace`.
    u : array (N, p)
    v, w : array (N, q), (N, r)
    out_v, out_w : array (p, q), (p, r)
        In all of these, neighbours in a row are contiguous, rows any distance apart.
    total : array (p,)
        Contiguous. Rows are added in order, `SUMMED` at a time.
    add : bool
        Whether the sums are added to what stands in `out_v`, `out_w` and `total`.

    Where u, v or w is nothing (see `nothing`), a sum is zero.
    """
    if u is None:
        _clear(out_v, add)
        _clear(out_w, add)
        _clear(total, add)
        return
    if v is None:
        _clear(out_v, add)
    if w is None:
        _clear(out_w, add)
    rows, p = u.shape
    one, other, summed = _factor(u, v, out_v), _factor(u, w, out_w), nb.int64(total is not None)
    asked = LIGHT if rows * p * (one.columns + other.columns) < LIGHT_PRODUCT else nb.int64(how)
    start, size = _start(u, total), nb.int64(u.itemsize)
    _sums((row_major(u), one, other, start, summed, rows, p, address(memory, 0), nb.int64(add), nb.int64(parts), asked, size))
