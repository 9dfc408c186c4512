"""Sums of outer products of rows, as gradients by weights are, and of the rows themselves: ``u.T @ v``, ``u.T @ w`` and ``u.sum(axis=0)``.

    memory = workspace(u, v, w, parts)
    run(outer_sums, u.shape[1], parts, u, v, w, out_v, out_w, sums, *memory)

They are products, as in `product`, whose left operand stands on its side: a block of it is packed too. u is gone through once for all.
"""

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from .apart import apart
from .kernel import kernel
from .memory import ALIGNMENT, empty
from .pointers import Matrix, Pointer, RowMajor, address, row_major, shift
from .product import BLOCK_ROWS, STEPS, Left, clear, fill, sweep
from .tile import ROWS, VECTOR_BYTES, VECTORS, Panels, panel_width

BLOCK_COLUMNS = 512  # of v in a block: 512 KiB in float32
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
            source, at = shift(row, number * ROWS), shift(place, number * between)
            for i in range(ROWS):
                at[i] = source[i]
        for i in range(m - tiles * ROWS):
            place[tiles * between + i] = row[tiles * ROWS + i]


@apart
def _outer_sums(u: RowMajor, one: Factor, other: Factor, sums: Pointer, summed: int, total: int, m: int, memory: Memory) -> None:
    """Sum outer products of `total` rows of u, m columns wide, with those of two factors, and where `summed` its rows."""
    if total == 0:
        clear((one.out, m, one.columns))
        clear((other.out, m, other.columns))
    if summed != 0:
        clear((RowMajor(sums, m), 1, m))
    for s in range(0, total, STEPS):
        k, add, top = min(STEPS, total - s), nb.int64(s > 0), shift(u, s * u.row)
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
    fill((Matrix(one.rows.start, one.rows.row, 1), memory.right, k, one.columns))
    fill((Matrix(other.rows.start, other.rows.row, 1), second, k, other.columns))
    left = Left(Matrix(memory.left, 1, ROWS), between)
    for i in range(0, m, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, m - i)
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


def workspace(u: np.ndarray, v: np.ndarray, w: np.ndarray, parts: int) -> tuple[np.ndarray, int, int]:
    """Return the memory in which `outer_sums` works, for its call in at most so many parts.

    Returns
    -------
    array (pieces, size)
        A piece for each part: tiles of u, panels of v and w, and sums of some rows. Each begins at a cache line.
    int, int
        Where in a piece the panels begin, and the sums.
    """
    (total, p), wide, line = u.shape, VECTORS * VECTOR_BYTES // u.itemsize, ALIGNMENT // u.itemsize
    steps, columns = min(STEPS, total), v.shape[1] + w.shape[1]
    left = (steps * ROWS + APART) * -(-min(BLOCK_ROWS, p) // ROWS)
    right = steps * (min(BLOCK_COLUMNS, columns) + 2 * wide)
    left, right, block = (-(-size // line) * line for size in (left, right, p))
    # `crew.divide` gives each part p // parts rows at least: divided by that, the first rows of no two parts are the same number.
    return empty((max(p // max(p // parts, 1), 1), left + right + block), u.dtype, aligned=True), left, left + right


@kernel
def outer_sums(u, v, w, out_v, out_w, sums, memory, right, block, first, last):  # type: ignore[no-untyped-def]
    """Compute rows `first` to `last` of ``out_v = u.T @ v`` and ``out_w = u.T @ w``, and of ``sums = u.sum(axis=0)``.

    Parameters
    ----------
    u : array (N, p)
    v, w : array (N, q), (N, r)
    out_v, out_w : array (p, q), (p, r)
        In all of these, neighbours in a row are contiguous, rows any distance apart.
    sums : array (p,) or (0,)
        Contiguous; summed only if it has elements. Rows are added in order, `SUMMED` at a time.
    memory, right, block
        What `workspace` returns.
    first, last : int
        ``0 <= first <= last <= p``: other rows of the results are not touched.
    """
    total, m = u.shape[0], last - first
    if m > 0:
        one = Factor(row_major(v), v.shape[1], shift(row_major(out_v), first * row_major(out_v).row))
        other = Factor(row_major(w), w.shape[1], shift(row_major(out_w), first * row_major(out_w).row))
        summed = nb.int64(sums.size > 0)
        piece = address(memory, first // (u.shape[1] // memory.shape[0]) * memory.shape[1])
        places = Memory(piece, shift(piece, right), shift(piece, block))
        _outer_sums((shift(row_major(u), first), one, other, address(sums, first * summed), summed, total, m, places))
