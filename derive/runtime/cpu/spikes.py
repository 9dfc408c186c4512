"""Products of which one factor is spikes: mostly zeros, which are left out.

    multiply_spikes(a, packed, out, accumulate)     # out = or += a @ b, where few elements of a are not zero
    outer_spikes(parts, how, memory, u, v, out_v, w, out_w, total, add)     # as `outer_sums`, where few elements of w are not zero

How many are zero is looked up each time: where too few are, the product is that of `product` or `outer`. The result has the same bits
either way, if what zeros would have been multiplied by is finite: what is not is sure to show only where a neuron spikes.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from .apart import apart
from .compiling import compiled, inner
from .crew import task
from .division import LIGHT_PRODUCT, STEPS
from .kernel import part
from .memory import ALIGNMENT
from .nonzero import (
    PANELS,
    Rows,
    as_places,
    as_words,
    count_nonzero,
    list_columns,
    list_nonzero,
    places_on_stack,
    tile_of_places,
)
from .nothing import optional
from .openmp import LIGHT, together
from .outer import outer_sums
from .pointers import Pointer, RowMajor, address, row_major, shift
from .product import multiply
from .tile import panel_width

FEW = 4  # one in so many elements at a step: of more, the register tile is faster
# In sums over steps there are fewer: each is written to a list, which takes as long as some of the p multiplications that follow.
FEW_SUMMED, LISTED = 7, 2000
SAMPLED = 4  # one in so many rows is looked at to see that
SMALL = 4096  # elements of a matrix that are multiplied sooner than looked for
WORD_BYTES = 8


@inner
def _is_sparse(rows, count, width, others, few):  # type: ignore[no-untyped-def]
    """Say whether at most one in `few` elements of so many rows, each of which is multiplied by `others`, is not zero."""
    if width * others < SMALL:
        return False
    left, i = (count + SAMPLED - 1) // SAMPLED * width // few, 0
    while i < count and left >= 0:
        left -= count_nonzero(shift(rows.start, i * rows.row), width)
        i += SAMPLED
    return left >= 0


@inner
def _views(rows):  # type: ignore[no-untyped-def]
    return row_major(rows), rows.shape[0], rows.shape[1]


@apart
def _multiply_rows(a: RowMajor, packed: Pointer, c: RowMajor, m: int, k: int, n: int, accumulate: int) -> None:
    """Multiply m rows by a packed operand, each element that is not zero by a row of it."""
    wide, places = panel_width(packed), places_on_stack()
    for i in range(m):
        for s in range(0, k, STEPS):
            row, add = shift(a.start, i * a.row + s), s > 0 or accumulate != 0
            count = list_nonzero(row, min(STEPS, k - s), places)
            for first in range(0, n, PANELS * wide):
                right = Rows(shift(packed, first * k + s * wide), k * wide, wide)
                out = RowMajor(shift(c.start, i * c.row + first), c.row)
                tile_of_places(row, 1, right, places, count, out, n - first, add)


@optional
@compiled
def multiply_spikes(a, packed, out, accumulate):  # type: ignore[no-untyped-def]
    """Compute what `product.multiply` does; neighbours in a row of a are contiguous."""
    if a is None or packed is None or out is None:
        multiply(a, packed, out, accumulate)
    else:
        rows, m, k = _views(a)
        if _is_sparse(rows, m, k, out.shape[1], FEW):
            _multiply_rows((rows, address(packed, 0), row_major(out), m, k, out.shape[1], nb.int64(accumulate)))
        else:
            multiply(a, packed, out, accumulate)


def lists_at(p: int, q: int, itemsize: int) -> int:
    """Return how many elements of the memory of `outer_spikes` stand before its lists: the sums, up to a cache line."""
    line = ALIGNMENT // itemsize
    return (p * q + line - 1) // line * line


_lists_at = inner(lists_at)


def spike_room(p: int, q: int, dtype: np.dtype) -> int:
    """Return how many elements `outer_spikes` works in: sums, and for each column of w the length of a list, and a list of places."""
    return lists_at(p, q, dtype.itemsize) + q * -(-(STEPS + WORD_BYTES) // dtype.itemsize)


@part
def _columns(u, v, out, total, p, q, memory, lists, add, first, last):  # type: ignore[no-untyped-def]
    """Compute the columns `first` to `last` of the result; meanwhile they are rows, in memory of their own."""
    wide, width, sums = panel_width(u.start), last - first, shift(memory, first * p)
    places, found = shift(as_places(lists), q * WORD_BYTES + first * STEPS), shift(as_words(lists), first)
    for j in range(width):
        for i in range(p):
            sums[j * p + i] = shift(out.start, i * out.row + first)[j] if add != 0 else 0
    for s in range(0, total, STEPS):
        for j in range(width):
            found[j] = 0
        for r in range(s, min(s + STEPS, total)):
            list_columns(shift(v.start, r * v.row + first), width, r - s, places, found)
        for j in range(width):
            if found[j] > 0:
                factors = shift(v.start, s * v.row + first + j)
                for i in range(0, p, PANELS * wide):
                    rows, target = Rows(shift(u.start, s * u.row + i), wide, u.row), RowMajor(shift(sums, j * p + i), p)
                    tile_of_places(factors, v.row, rows, shift(places, j * STEPS), found[j], target, p - i, True)
    for i in range(p):
        row = shift(out.start, i * out.row + first)
        for j in range(width):
            row[j] = sums[j * p + i]


@apart
def _sums(
    u: RowMajor, v: RowMajor, out: RowMajor, total: int, p: int, q: int, memory: Pointer, lists: int, add: int, parts: int, how: int
) -> None:
    function, data = task(_columns, (u, v, out, total, p, q, memory, shift(memory, lists), add))
    together((function, data, q, parts, how))  # a part raises nothing


@optional
@compiled
def outer_spikes(parts, how, memory, u, v, out_v, w, out_w, total, add):  # type: ignore[no-untyped-def]
    """Compute what `outer.outer_sums` does, where few elements of w are not zero; its memory has `spike_room` at least."""
    if u is None or w is None or out_w is None:
        outer_sums(parts, how, memory, u, v, out_v, w, out_w, total, add)
    else:
        rows, count, q = _views(w)
        p = u.shape[1]
        if _is_sparse(rows, count, q, p, max(FEW_SUMMED, LISTED // max(p, 1))):
            if v is not None or total is not None:
                outer_sums(parts, how, memory, u, v, out_v, None, None, total, add)
            asked = LIGHT if count * p * q < LIGHT_PRODUCT * FEW_SUMMED else nb.int64(how)
            lists = _lists_at(p, q, memory.itemsize)
            _sums((row_major(u), rows, row_major(out_w), count, p, q, address(memory, 0), lists, nb.int64(add), nb.int64(parts), asked))
        else:
            outer_sums(parts, how, memory, u, v, out_v, w, out_w, total, add)
