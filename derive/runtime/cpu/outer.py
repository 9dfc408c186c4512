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
from .product import Left, clear, fill, sweep
from .tile import ROWS, VECTOR_BYTES, VECTORS, Panels, move_rows, panel_width

BLOCK_COLUMNS = 512  # of v and w in a block: 512 KiB in float32
TILED_COLUMNS = 128  # of u in a block: 128 KiB in float32
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
    u: RowMajor, one: Factor, other: Factor, sums: Pointer, summed: int, total: int, m: int, memory: Memory, add_to: int
) -> None:
    """Sum outer products of `total` rows of u, m columns wide, with those of two factors, and where `summed` its rows.

    If `add_to`, they are added to what stands where they go.
    """
    if total == 0 and add_to == 0:
        clear((one.out, m, one.columns))
        clear((other.out, m, other.columns))
    if summed != 0 and add_to == 0:
        clear((RowMajor(sums, m), 1, m))
    for s in range(0, total, STEPS):
        k, add, top = min(STEPS, total - s), nb.int64(s > 0 or add_to != 0), shift(u, s * u.row)
        first = Factor(shift(one.rows, s * one.rows.row), one.columns, one.out)
        second = Factor(shift(other.rows, s * other.rows.row), other.columns, other.out)
        if summed != 0:
            _add_rows((top, memory.sums, sums, k, m))
        if one.columns + other.columns <= BLOCK_COLUMNS:
            _pair((top, first, second, memory, k, m, add))
        else:
            for factor in (first, second):
                nothing = Factor(factor.rows, 0, factor.out)
                for j in range(0, factor.columns, BLOCK_COLUMNS):
                    block = Factor(shift(factor.rows, j), min(BLOCK_COLUMNS, factor.columns - j), shift(factor.out, j))
                    _pair((top, block, nothing, memory, k, m, add))


@apart
def _pair(u: RowMajor, one: Factor, other: Factor, memory: Memory, k: int, m: int, add: int) -> None:
    """Add the products of k rows of u with those of two factors, whose columns are packed together."""
    wide = panel_width(memory.left)
    between, second = ROWS * k + APART, shift(memory.right, (one.columns + wide - 1) // wide * wide * k)
    fill((Matrix(one.rows.start, one.rows.row, 1), memory.right, k, one.columns, 0, 0, k, one.columns))
    fill((Matrix(other.rows.start, other.rows.row, 1), second, k, other.columns, 0, 0, k, other.columns))
    left = Left(Matrix(memory.left, 1, ROWS), between)
    for i in range(0, m, TILED_COLUMNS):
        rows = min(TILED_COLUMNS, m - i)
        _gather((shift(u, i), memory.left, between, k, rows))
        sweep((left, Panels(memory.right, k * wide), shift(one.out, i * one.out.row), rows, k, one.columns, add))
        sweep((left, Panels(second, k * wide), shift(other.out, i * other.out.row), rows, k, other.columns, add))


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


def layout(total: int, p: int, columns: int, parts: int, itemsize: int) -> tuple[int, int, int, int]:
    """Return how many pieces of memory `outer_sums` works in, how large each is, and where in it panels and sums of rows begin.

    There is a piece for each part of the p columns of u: tiles of u, panels of the factors, which have so many `columns`, and sums of some
    rows; each begins at a cache line.
    """
    wide, line = VECTORS * VECTOR_BYTES // itemsize, ALIGNMENT // itemsize
    steps, tiles = min(STEPS, total), (min(TILED_COLUMNS, p) + ROWS - 1) // ROWS
    right = ((steps * ROWS + APART) * tiles + line - 1) // line * line
    block = right + (steps * (min(BLOCK_COLUMNS, columns) + 2 * wide) + line - 1) // line * line
    # `crew.divide` gives each part p // parts columns at least: divided by that, the first of no two parts are the same number.
    return max(p // max(p // parts, 1), 1), block + (p + line - 1) // line * line, right, block


def workspace(dtype: np.dtype, total: int, parts: int, *sizes: tuple[int, int], least: int = 0) -> np.ndarray:
    """Return the memory in which `outer_sums` works, one after the other, for `total` rows in at most so many parts.

    `sizes` are, for each, the columns of u and of v and w together. It has at least so many elements.
    """
    shapes = [layout(total, p, columns, parts, dtype.itemsize)[:2] for p, columns in sizes]
    return empty((max(least, *(pieces * size for pieces, size in shapes)),), dtype, aligned=True)


_layout = inner(layout)


@part
def _columns(u, one, other, sums, summed, total, memory, add, share, size, right, block, first, last):  # type: ignore[no-untyped-def]
    """Compute rows `first` to `last` of all results."""
    if last > first:
        piece = shift(memory, first // share * size)
        mine = Factor(one.rows, one.columns, shift(one.out, first * one.out.row))
        yours = Factor(other.rows, other.columns, shift(other.out, first * other.out.row))
        places = Memory(piece, shift(piece, right), shift(piece, block))
        _outer_sums((shift(u, first), mine, yours, shift(sums, first * summed), summed, total, last - first, places, add))


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
    pieces, piece, right, block = _layout(total, p, one.columns + other.columns, parts, size)
    function, data = task(_columns, (u, one, other, sums, summed, total, memory, add, p // pieces, piece, right, block))
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
