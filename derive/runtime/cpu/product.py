"""Matrix products on the register tile, without the GIL: for `threads.run`, which divides the rows of the result among threads, and inside
kernels, where a large product is divided by columns among threads that are awake and have nothing to do.

    packed = panels(b)                                                      # once for a right operand
    multiply(a, packed, out, accumulate)                                    # out = or += a @ b
    run(multiply_part, len(a), parts, a, packed, out, accumulate)           # the same, on all threads
    memory = workspace(u, v, w, parts)
    run(outer_sums, u.shape[1], parts, u, v, w, out_v, out_w, sums, *memory)  # u.T @ v, u.T @ w, and the sum of the rows of u

Both products sweep tiles over a block of the left operand and a packed block of the right one. An element of a result sums its products in
blocks of `STEPS`, each in the order of k, and the blocks in order: its bits do not depend on how the rows are divided.

The loops are compiled once for each dtype and stay out of their callers: a caller's machine code holds a call through a cell that the
loader finds by name, so that it costs a caller no compile time, and a cached caller meets the kernels of today. A cell is filled before
a caller is compiled or read from the cache (`kernel.compiled`), and never by what runs.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numba as nb
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from ..common.cache import callback
from ..common.version import VERSION, common
from .crew import divide, forever, task
from .interrupts import deferred
from .kernel import OPTIONS, compiled, kernel, load, part
from .memory import ALIGNMENT, empty
from .tile import (
    ROWS,
    VECTOR_BYTES,
    VECTORS,
    address,
    column_stride,
    panel_width,
    row_stride,
    shift,
    tile_1,
    tile_2,
    tile_4,
    tile_full,
    transpose,
)

STEPS = 256  # of k in a block: a panel of them (16 KiB, or 32 KiB with AVX-512) stays in the first-level cache
BLOCK_ROWS = 192  # of a in a block: 192 KiB in float32, for the second-level cache
BLOCK_COLUMNS = 512  # of v in a block of `outer_sums`: 512 KiB in float32
APART = 16  # between the tiles of a packed left operand: at a power of two they would all fall on one set of the first-level cache
SUMMED = 64  # rows that `_add_rows` adds before it adds their sum to the result
GROUP = 4  # panels that the short tiles take at once
SHARED = 50_000  # multiplications in a product that other threads may share

DTYPES = (types.float32, types.float64)
POINTER, INT = "pointer", "int"


class _Loop:
    """A function compiled for one dtype, whose address its callers find in the cell at a symbol."""

    def __init__(self, function: Callable[..., None], kinds: tuple[str, ...], dtype: types.Float, version: str) -> None:
        self.function, self.dtype = function, dtype
        self.signature = types.void(*(types.CPointer(dtype) if kind == POINTER else types.int64 for kind in kinds))
        self.symbol = f"derive{function.__name__}_{version}_{dtype}"
        self.cell = _cell(self.symbol)

    def load(self) -> None:
        """Compile it, or read it from the cache, after all that it calls: another thread may call it at once."""
        with global_compiler_lock:
            if not self.cell.value:
                load(self.function, self.dtype)
                with deferred():
                    self.cell.value = forever(self._compiled()).address

    def _compiled(self) -> Any:
        options = {name: OPTIONS[name] for name in ("error_model", "fastmath")}
        return callback(self.function, self.signature, **options)


def _cell(symbol: str) -> ctypes.c_void_p:
    """Return the cell at a symbol; all packages with this version of the runtime have it in common, and it is empty at first."""
    cells: dict[str, ctypes.c_void_p] = common.__dict__.setdefault("cells", {})
    if symbol not in cells:
        cells[symbol] = forever(ctypes.c_void_p())
        binding.add_symbol(symbol, ctypes.addressof(cells[symbol]))
    return cells[symbol]


def _kernel(*kinds: str) -> Callable[[Callable[..., None]], Any]:
    """Decorate a function of pointers to one dtype and integers: nopython code calls it with a tuple, and it is compiled apart."""
    version = hashlib.sha256(f"{VERSION} {kinds}".encode()).hexdigest()[:8]  # two versions in one process never meet

    def decorate(function: Callable[..., None]) -> Any:
        loops = {dtype: _Loop(function, kinds, dtype, version) for dtype in DTYPES}

        @intrinsic
        def call(typingctx, given):  # type: ignore[no-untyped-def]
            dtype = given[kinds.index(POINTER)].dtype
            if dtype not in loops:
                raise nb.TypingError(f"a product needs float32 or float64 arrays, not {dtype}")
            loop = loops[dtype]

            def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
                values = cgutils.unpack_tuple(builder, arguments[0])
                cell = builder.module.globals.get(loop.symbol) or ir.GlobalVariable(builder.module, ir.IntType(64), loop.symbol)
                kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
                builder.call(builder.inttoptr(builder.load(cell), kind.as_pointer()), values)
                return context.get_dummy_value()

            return types.void(types.Tuple(loop.signature.args)), codegen

        def load_apart(dtype: types.Type) -> None:
            if dtype in loops:
                loops[dtype].load()

        call.load_apart = load_apart
        return call

    return decorate


@_kernel(POINTER, INT, INT, POINTER, INT, INT)
def _fill(b, step, column, packed, k, n):  # type: ignore[no-untyped-def]
    """Pack ``b[s * step + j * column]``, (k, n), in panels whose last columns are filled up with zeros."""
    wide = panel_width(b)
    lanes = wide // VECTORS
    for first in range(0, n, wide):
        source, target = shift(b, first * column), shift(packed, first * k)
        columns, done = min(wide, n - first), 0
        if step == 1 and columns == wide:
            for s in range(0, k - lanes + 1, lanes):
                transpose(shift(source, s), column, shift(target, s * wide))
                transpose(shift(source, s + lanes * column), column, shift(target, s * wide + lanes))
            done = k // lanes * lanes
        for s in range(done, k):
            row, place = shift(source, s * step), shift(target, s * wide)
            if column == 1 and columns == wide:
                for j in range(wide):
                    place[j] = row[j]
            else:
                for j in range(columns):
                    place[j] = row[j * column]
                for j in range(columns, wide):
                    place[j] = 0


@_kernel(POINTER, INT, INT, INT, POINTER, INT, INT, POINTER, INT, INT, INT, INT)
def _sweep(a, a_tile, a_row, a_step, b, b_panel, k, c, c_row, m, n, accumulate):  # type: ignore[no-untyped-def]
    """Multiply m rows by all panels of n columns, k > 0. Row i of a begins at ``i // ROWS * a_tile + i % ROWS * a_row``.

    While the tiles of one panel are computed, the next one is read from memory, a share at each: the first of its tiles need not wait.
    """
    wide, add = panel_width(a), accumulate != 0
    whole = m // ROWS * ROWS
    left = m - whole
    four = whole + (left & 4)
    two = four + (left & 2)
    rest = shift(a, whole // ROWS * a_tile)
    share = max(wide * ROWS // max(whole, 1), 1)  # of a panel's columns, for each step of k
    for group in range(0, n, GROUP * wide):
        for first in range(group, min(group + GROUP * wide, n), wide):
            panel, target, columns = shift(b, first // wide * b_panel), shift(c, first), n - first
            for i in range(0, whole, ROWS):
                at, soon = shift(a, i // ROWS * a_tile), shift(panel, b_panel + i // ROWS * k * share)
                tile_full(at, a_row, a_step, panel, b_panel, k, shift(target, i * c_row), c_row, columns, add, soon, share)
            if left & 4:
                tile_4(rest, a_row, a_step, panel, b_panel, k, shift(target, whole * c_row), c_row, columns, add, panel, 0)
        if left & 2:
            at = shift(rest, (four - whole) * a_row)
            for first in range(group, min(group + GROUP * wide, n), 2 * wide):
                panel, target = shift(b, first // wide * b_panel), shift(c, first + four * c_row)
                tile_2(at, a_row, a_step, panel, b_panel, k, target, c_row, n - first, add, panel, 0)
        if left & 1:
            panel, target = shift(b, group // wide * b_panel), shift(c, group + two * c_row)
            tile_1(shift(rest, (two - whole) * a_row), a_row, a_step, panel, b_panel, k, target, c_row, n - group, add, panel, 0)


@_kernel(POINTER, INT, INT, INT)
def _clear(c, c_row, m, n):  # type: ignore[no-untyped-def]
    for i in range(m):
        row = shift(c, i * c_row)
        for j in range(n):
            row[j] = 0


@part
def _groups(a, a_row, a_step, packed, c, c_row, m, k, n, accumulate, first, last):  # type: ignore[no-untyped-def]
    """Compute the columns of `GROUP` panels each, from group `first` to `last`."""
    wide = panel_width(a)
    for i in range(0, m, BLOCK_ROWS):
        left, rows = shift(a, i * a_row), min(BLOCK_ROWS, m - i)
        for group in range(first, last):  # over k inside: what is added to stays in the cache
            begin = group * GROUP * wide
            columns, target = min(n - begin, GROUP * wide), shift(c, i * c_row + begin)
            if k == 0 and accumulate == 0:
                _clear((target, c_row, rows, columns))
            for s in range(0, k, STEPS):
                start, right = shift(left, s * a_step), shift(packed, begin * k + s * wide)
                add = 1 if s > 0 else accumulate
                _sweep((start, ROWS * a_row, a_row, a_step, right, k * wide, min(STEPS, k - s), target, c_row, rows, columns, add))


@_kernel(POINTER, INT, INT, POINTER, POINTER, INT, INT, INT, INT, INT)
def _multiply(a, a_row, a_step, packed, c, c_row, m, k, n, accumulate):  # type: ignore[no-untyped-def]
    groups = -(-n // (GROUP * panel_width(a)))
    if m * k * n < SHARED:
        _groups(a, a_row, a_step, packed, c, c_row, m, k, n, accumulate, 0, groups)
    else:  # workers that are awake and have nothing to do may help; a part raises nothing
        function, data = task(_groups, (a, a_row, a_step, packed, c, c_row, m, k, n, accumulate))
        divide(function, data, groups, groups - 1, True)


@_kernel(POINTER, INT, POINTER, INT, INT, INT)
def _gather(u, u_row, target, tile, steps, m):  # type: ignore[no-untyped-def]
    """Pack m columns of u, `ROWS` at a time: ``target[i // ROWS * tile + s * ROWS + i % ROWS] = u[s, i]``."""
    tiles = m // ROWS
    for s in range(steps):
        row, place = shift(u, s * u_row), shift(target, s * ROWS)
        for number in range(tiles):
            source, at = shift(row, number * ROWS), shift(place, number * tile)
            for i in range(ROWS):
                at[i] = source[i]
        for i in range(m - tiles * ROWS):
            place[tiles * tile + i] = row[tiles * ROWS + i]


@_kernel(POINTER, INT, POINTER, INT, POINTER, INT, INT, POINTER, INT, POINTER, INT, INT, POINTER, INT, INT, INT, POINTER, POINTER, POINTER)
def _outer_sums(u, u_row, v, v_row, c, c_row, q, w, w_row, e, e_row, r, sums, summed, total, m, left, right, block):  # type: ignore[no-untyped-def]
    """Sum outer products of the rows of u with those of v and of w, and where `summed` its rows: u is gone through once."""
    if total == 0:
        _clear((c, c_row, m, q))
        _clear((e, e_row, m, r))
    if summed != 0:
        _clear((sums, m, 1, m))
    for s in range(0, total, STEPS):
        k, add = min(STEPS, total - s), nb.int64(s > 0)
        top, one, other = shift(u, s * u_row), shift(v, s * v_row), shift(w, s * w_row)
        if summed != 0:
            _add_rows((top, u_row, block, sums, k, m))
        if q + r <= BLOCK_COLUMNS:
            _pair((top, u_row, one, v_row, c, c_row, q, other, w_row, e, e_row, r, left, right, k, m, add))
        else:
            for j in range(0, q, BLOCK_COLUMNS):
                columns = min(BLOCK_COLUMNS, q - j)
                _pair((top, u_row, shift(one, j), v_row, shift(c, j), c_row, columns, one, v_row, c, c_row, 0, left, right, k, m, add))
            for j in range(0, r, BLOCK_COLUMNS):
                columns = min(BLOCK_COLUMNS, r - j)
                _pair((top, u_row, shift(other, j), w_row, shift(e, j), e_row, columns, one, v_row, c, c_row, 0, left, right, k, m, add))


@_kernel(POINTER, INT, POINTER, INT, POINTER, INT, INT, POINTER, INT, POINTER, INT, INT, POINTER, POINTER, INT, INT, INT)
def _pair(u, u_row, v, v_row, c, c_row, q, w, w_row, e, e_row, r, left, right, k, m, add):  # type: ignore[no-untyped-def]
    """Add the products of k rows of u with those of v and of w: q and r columns that are packed together."""
    wide = panel_width(u)
    tile, second = ROWS * k + APART, shift(right, (q + wide - 1) // wide * wide * k)
    _fill((v, v_row, 1, right, k, q))
    _fill((w, w_row, 1, second, k, r))
    for i in range(0, m, BLOCK_ROWS):
        rows = min(BLOCK_ROWS, m - i)
        _gather((shift(u, i), u_row, left, tile, k, rows))
        _sweep((left, tile, 1, ROWS, right, k * wide, k, shift(c, i * c_row), c_row, rows, q, add))
        _sweep((left, tile, 1, ROWS, second, k * wide, k, shift(e, i * e_row), e_row, rows, r, add))


@_kernel(POINTER, INT, POINTER, POINTER, INT, INT)
def _add_rows(u, u_row, block, sums, count, m):  # type: ignore[no-untyped-def]
    """Add the sum of `count` rows, `SUMMED` at a time."""
    for start in range(0, count, SUMMED):
        _clear((block, m, 1, m))
        for r in range(start, min(start + SUMMED, count)):
            row = shift(u, r * u_row)
            for j in range(m):
                block[j] += row[j]
        for j in range(m):
            sums[j] += block[j]


@partial(compiled, cache=True)
def _fill_panels(b, packed):  # type: ignore[no-untyped-def]
    k, n = b.shape
    _fill((address(b, 0), row_stride(b), column_stride(b), address(packed, 0), k, n))


def panels(b: np.ndarray) -> np.ndarray:
    """Pack a right operand for `multiply`.

    Parameters
    ----------
    b : array (k, n), float32 or float64
        Any strides: a transposed view is packed as fast as a contiguous array.

    Returns
    -------
    array (ceil(n / width) * k * width,)
        Contiguous, aligned to a cache line; columns past n are zero.
    """
    wide = VECTORS * VECTOR_BYTES // b.itemsize
    packed = empty((-(-b.shape[1] // wide) * wide * b.shape[0],), b.dtype, aligned=True)
    _fill_panels(b, packed)
    return packed


@partial(compiled, cache=True)
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
    m, k = a.shape
    place = (address(out, 0), row_stride(out))
    _multiply((address(a, 0), row_stride(a), column_stride(a), address(packed, 0), *place, m, k, out.shape[1], nb.int64(accumulate)))


@kernel
def multiply_part(a, packed, out, accumulate, first, last):  # type: ignore[no-untyped-def]
    """Compute rows `first` to `last` of `multiply`: the form that `threads.run` calls."""
    multiply(a[first:last], packed, out[first:last], accumulate)


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
        left = (address(u, first), row_stride(u))
        one = (address(v, 0), row_stride(v), address(out_v, first * row_stride(out_v)), row_stride(out_v), v.shape[1])
        other = (address(w, 0), row_stride(w), address(out_w, first * row_stride(out_w)), row_stride(out_w), w.shape[1])
        summed = nb.int64(sums.size > 0)
        piece = first // (u.shape[1] // memory.shape[0]) * memory.shape[1]
        places = (address(memory, piece), address(memory, piece + right), address(memory, piece + block))
        _outer_sums((*left, *one, *other, address(sums, first * summed), summed, total, m, *places))
