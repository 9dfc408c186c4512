"""Matrix products against NumPy: small sizes, boundaries of tiles, strides, padding, the same bits for every division of the rows."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import pytest
from conftest import assert_same_bits

from derive.runtime.cpu import outer, product, tile
from derive.runtime.cpu.memory import ALIGNMENT
from derive.runtime.cpu.openmp import LIGHT, WAKING
from derive.runtime.cpu.outer import outer_sums, workspace
from derive.runtime.cpu.product import fill_part, multiply, multiply_rows, panels
from derive.runtime.cpu.target import TARGET, is_x86
from derive.runtime.cpu.threads import get_threads, ready, set_threads

DTYPES = (np.float32, np.float64)
FULL = tile.VECTORS * tile.ROWS  # multiply-adds of a step of the full tile
WIDTHS = {dtype: tile.width(nb.from_dtype(np.dtype(dtype))) for dtype in DTYPES}
BOUNDARY = sorted(
    {size + d for size in (tile.ROWS, 2 * tile.ROWS, *WIDTHS.values(), 4 * WIDTHS[np.float32], 128) for d in (-1, 0, 1) if size + d <= 130}
)


def outer_rows(u: np.ndarray, v: Any, w: Any, out_v: Any, out_w: Any, total: Any, first: int, last: int) -> None:
    """Compute rows `first` to `last` of sums of outer products, those that are not None."""
    part = [None if out is None else out[first:last] for out in (out_v, out_w, total)]
    if last > first:
        summed(1, LIGHT, u[:, first:last], v, w, *part)


def summed(parts: int, how: int, u: np.ndarray, v: Any, w: Any, out_v: Any, out_w: Any, total: Any) -> None:
    columns = sum(x.shape[1] for x in (v, w) if x is not None)
    outer_sums(parts, how, workspace(u.dtype, len(u), parts, (u.shape[1], columns)), u, v, out_v, w, out_w, total, False)


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


def bound(a: np.ndarray, b: np.ndarray, extra: float = 0.0) -> np.ndarray:
    """The classical bound of a sum of k products, |error| <= (k + 2) u (|a| |b| + |c|)."""
    unit = np.finfo(a.dtype).eps / 2
    return (a.shape[1] + 2) * unit * (np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + extra) + np.finfo(a.dtype).tiny


def check_multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    start = out.copy()
    packed = panels(b)
    multiply(a, packed, out, True)
    assert (np.abs(out - (start + exact)) <= bound(a, b, np.abs(start).astype(np.float64))).all()
    out[:] = np.nan
    multiply(a, packed, out, False)
    assert (np.abs(out - exact) <= bound(a, b)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_small_size(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in itertools.product(range(10), range(5), range(1, 20)):
        check_multiply(draw(rng, (m, k), dtype), draw(rng, (k, n), dtype), draw(rng, (m, n), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_boundary_and_random_sizes(dtype: type) -> None:
    rng = np.random.default_rng(1)
    sizes = [(m, int(rng.integers(1, 131)), n) for m, n in itertools.product(BOUNDARY, repeat=2)]
    sizes += [tuple(int(s) for s in rng.integers(1, 131, 3)) for _ in range(150)]
    for m, k, n in sizes:
        check_multiply(draw(rng, (m, k), dtype), draw(rng, (k, n), dtype), draw(rng, (m, n), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [product.STEPS - 1, product.STEPS, product.STEPS + 1, 2 * product.STEPS + 3])
def test_more_than_one_block(dtype: type, k: int) -> None:
    rng = np.random.default_rng(2)
    m = product.BLOCK_ROWS + 5
    check_multiply(draw(rng, (m, k), dtype), draw(rng, (k, 37), dtype), draw(rng, (m, 37), dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_and_transposes(dtype: type) -> None:
    rng = np.random.default_rng(3)
    m, k, n = 23, 41, 53
    wide = draw(rng, (m, k + 11), dtype)[:, 4 : 4 + k]
    tall, thin = draw(rng, (k, m), dtype).T, draw(rng, (m, 2 * k), dtype)[:, ::2]
    rights = [
        draw(rng, (k, n), dtype),
        draw(rng, (n, k), dtype).T,
        draw(rng, (n, k + 7), dtype)[:, 3 : 3 + k].T,
        draw(rng, (2 * k, 3 * n), dtype)[::2, ::3],
    ]
    for a, b in itertools.product([wide, tall, thin], rights):
        around = draw(rng, (m, n + 9), dtype)
        before = around.copy()
        check_multiply(a, b, around[:, 5 : 5 + n])
        np.testing.assert_array_equal(around[:, :5], before[:, :5])
        np.testing.assert_array_equal(around[:, 5 + n :], before[:, 5 + n :])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pack_layout(dtype: type) -> None:
    rng = np.random.default_rng(4)
    wide = WIDTHS[dtype]
    for k, n in [(1, 1), (wide, wide), (wide // 2 + 1, 3 * wide), (70, 2 * wide + 3), (5, wide - 1)]:
        b = draw(rng, (k, n), dtype)
        padded = np.zeros((k, -(-n // wide) * wide), dtype)
        padded[:, :n] = b
        expected = padded.reshape(k, -1, wide).transpose(1, 0, 2).ravel()
        for view in (b, np.asfortranarray(b), np.repeat(b, 2, axis=1)[:, ::2]):
            packed = panels(view)
            np.testing.assert_array_equal(packed, expected)
            assert packed.ctypes.data % ALIGNMENT == 0
            assert nb.typeof(packed) == nb.types.Array(nb.from_dtype(np.dtype(dtype)), 1, "C")


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_are_packed_where_they_belong(dtype: type) -> None:
    """Beside one another or below, of any width, turned or not, by several threads: as the whole is packed."""
    rng = np.random.default_rng(9)
    before = get_threads()
    for number, (size, widths) in itertools.product((1, 3), [(7, (1, 40, 3, 70)), (450, (100, 131, 5)), (450, (96, 160))]):
        set_threads(number)
        ready()
        parts = [draw(rng, (size, columns), dtype) for columns in widths]
        ends = np.cumsum(widths)
        for axis in (0, 1):
            whole = np.concatenate(parts, axis=1) if axis else np.concatenate([part.T for part in parts])
            for turned in (False, True):
                packed = product.panel_room(*whole.shape, whole.dtype)
                packed[:] = np.nan
                for part, end in zip(parts, ends, strict=True):
                    given, start = part if axis else part.T, int(end) - part.shape[1]
                    given = np.ascontiguousarray(given.T).T if turned else np.ascontiguousarray(given)
                    fill_part(number, WAKING, given, packed, *((0, start) if axis else (start, 0)), *whole.shape)
                np.testing.assert_array_equal(packed, panels(whole))
    set_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_independent_bit_for_bit(dtype: type) -> None:
    rng = np.random.default_rng(5)
    for m, k, n in [(29, 70, 45), (product.BLOCK_ROWS + 31, product.STEPS + 9, 19)]:
        a, packed, start = draw(rng, (m, k), dtype), panels(draw(rng, (k, n), dtype)), draw(rng, (m, n), dtype)
        for accumulate in (False, True):
            whole = start.copy()
            multiply(a, packed, whole, accumulate)
            for cut in [1, 2, 3, 5, 7, m // 2, m - 1]:
                parts = start.copy()
                for rows in (slice(0, cut), slice(cut, cut + 1), slice(cut + 1, m)):
                    multiply(a[rows], packed, parts[rows], accumulate)
                np.testing.assert_array_equal(parts, whole)


@pytest.fixture
def _threads_as_before():
    before = get_threads()
    yield
    set_threads(before)


@pytest.mark.usefixtures("_threads_as_before")
@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_for_any_number_of_threads(dtype: type) -> None:
    rng = np.random.default_rng(13)
    for m, k, n in [(0, 3, 5), (1, 70, 45), (3, 4, 5), (29, 70, 45), (13, product.STEPS + 1, 530), (product.BLOCK_ROWS + 31, 300, 150)]:
        a, packed, start = draw(rng, (m, k), dtype), panels(draw(rng, (k, n), dtype)), draw(rng, (m, n), dtype)
        v, w = draw(rng, (m, n), dtype), draw(rng, (m, 3), dtype)
        results = []
        for threads in (1, 2, 3, 4):
            set_threads(threads)
            ready()
            whole, added = np.full((m, n), np.nan, dtype), start.copy()
            multiply_rows(threads, WAKING, a, packed, whole, False)
            multiply_rows(threads, WAKING, a, packed, added, True)
            found = (np.full((k, n), np.nan, dtype), np.full((k, 3), np.nan, dtype), np.full(k, np.nan, dtype))
            summed(threads, WAKING, a, v, w, *found)
            results.append((whole, added, *found))
        alone = np.full((m, n), np.nan, dtype)
        multiply(a, packed, alone, False)
        assert_same_bits(results[0][0], alone)
        for result in results[1:]:
            assert_same_bits(result, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_at_any_alignment(dtype: type) -> None:
    rng = np.random.default_rng(6)
    m, k, n = 13, 33, 35
    a, b = draw(rng, (m, k), dtype), draw(rng, (k, n), dtype)
    expected = np.zeros((m, n), dtype)
    multiply(a, panels(b), expected, False)
    for skip in range(1, 9):
        left = np.zeros(m * k + skip, dtype)[skip:].reshape(m, k)
        right, out = np.zeros(k * n + skip, dtype)[skip:].reshape(k, n), np.zeros(m * n + skip, dtype)[skip:].reshape(m, n)
        left[:], right[:] = a, b
        multiply(left, panels(right), out, False)
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_stay_in_their_row(dtype: type, value: float) -> None:
    rng = np.random.default_rng(7)
    k, n = 9, WIDTHS[dtype] + 3  # the last panel is padded: 0 * inf in it must not show
    for m in range(1, 2 * tile.ROWS + 2):
        clean = draw(rng, (m, k), dtype)
        packed, expected, out = panels(draw(rng, (k, n), dtype)), np.zeros((m, n), dtype), np.full((m, n), np.nan, dtype)
        multiply(clean, packed, expected, False)
        for row in range(m):
            a = clean.copy()
            a[row, 4] = value
            multiply(a, packed, out, False)
            assert not np.isfinite(out[row]).any()
            np.testing.assert_array_equal(np.delete(out, row, 0), np.delete(expected, row, 0))
    a, v = np.full((3, k), value, dtype), draw(rng, (3, 5), dtype)
    out = np.zeros((k, 5), dtype)
    outer_rows(a[:, :k], v, None, out, None, None, 0, k)
    assert not np.isfinite(out).any()


def check_outer(u: np.ndarray, v: np.ndarray, w: np.ndarray, rng: np.random.Generator, first: int, last: int) -> None:
    p, dtype = u.shape[1], u.dtype
    outs = [draw(rng, (p, x.shape[1] + 4), dtype.type)[:, 3 : 3 + x.shape[1]] for x in (v, w)]
    column = draw(rng, (p,), dtype.type)
    starts = [out.copy() for out in (*outs, column)]
    outer_rows(u, v, w, *outs, column, first, last)
    for out, right in zip(outs, (v, w), strict=True):
        exact = (u.astype(np.longdouble).T @ right.astype(np.longdouble))[first:last]
        assert (np.abs(out[first:last] - exact) <= bound(u.T[first:last], right, np.zeros(exact.shape))).all()
    terms = outer.SUMMED + len(u) // outer.SUMMED + 4
    limit = terms * np.finfo(dtype).eps / 2 * np.abs(u).sum(0, dtype=np.float64)
    assert (np.abs(column - u.astype(np.longdouble).sum(0)) <= limit)[first:last].all()
    for out, start in zip((*outs, column), starts, strict=True):
        np.testing.assert_array_equal(out[:first], start[:first])
        np.testing.assert_array_equal(out[last:], start[last:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_sums(dtype: type) -> None:
    rng = np.random.default_rng(8)
    sizes = list(itertools.product((0, 1, 2, 5), range(1, 9), (1, 2, 15, 17), (0, 3)))
    sizes += [tuple(int(s) for s in rng.integers(1, 131, 4)) for _ in range(100)]
    sizes += [(product.STEPS, 7, 9, 1), (product.STEPS + 1, 33, 20, 40), (600, product.BLOCK_ROWS + 3, 5, 8)]
    wide = outer.BLOCK_BYTES // np.dtype(dtype).itemsize
    sizes += [(300, 5, wide + 5, 2), (300, outer.TILED_COLUMNS + 1, 7, 2 * wide + 1), (20, 9, wide - 3, 3), (20, 9, wide - 3, 4)]
    for total, p, q, r in sizes:
        u, v = draw(rng, (total, p + 3), dtype)[:, 1 : 1 + p], draw(rng, (total, q + 2), dtype)[:, 2:]
        w = draw(rng, (total, r + 1), dtype)[:, :r]
        first, last = sorted(int(x) for x in rng.integers(0, p + 1, 2))
        check_outer(u, v, w, rng, first, last)
        check_outer(u, v, w, rng, 0, p)


@pytest.mark.parametrize("dtype", DTYPES)
def test_outer_sums_are_the_same_for_any_division(dtype: type) -> None:
    rng = np.random.default_rng(9)
    p, q, r = product.BLOCK_ROWS + 13, 21, 40
    u, v, w = (draw(rng, (product.STEPS + 50, size), dtype) for size in (p, q, r))
    whole = [np.full((p, q), np.nan, dtype), np.full((p, r), np.nan, dtype), np.full(p, np.nan, dtype)]
    outer_rows(u, v, w, *whole, 0, p)
    for cut in (1, 4, 7, 100, p - 1):
        parts = [np.full_like(value, np.nan) for value in whole]
        for first, last in [(0, cut), (cut, cut), (cut, p)]:
            outer_rows(u, v, w, *parts, first, last)
        for part, value in zip(parts, whole, strict=True):
            np.testing.assert_array_equal(part, value)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_results_have_the_same_bits(dtype: type) -> None:
    """One part packs several blocks of rows together; of many parts, each has a result so small that it packs one."""
    rng = np.random.default_rng(10)
    total, p, q, r = outer.SLAB + product.STEPS + 9, outer.TILED_COLUMNS + 6, 15_800, 1030
    slabs = [outer.layout(total, p, q + r, parts, np.dtype(dtype).itemsize).slab for parts in (1, p)]
    assert slabs == [outer.SLAB, product.STEPS]
    u, v, w = (draw(rng, (total, size), dtype) for size in (p, q, r))
    made = []
    for parts in (1, p):
        outs = np.full((p, q), np.nan, dtype), np.full((p, r), np.nan, dtype), np.full(p, np.nan, dtype)
        summed(parts, LIGHT, u, v, w, *outs)
        made.append(outs)
    for one, many in zip(*made, strict=True):
        np.testing.assert_array_equal(one, many)
    some = rng.integers(0, q, 20)
    assert (np.abs(made[0][0][:, some] - u.T.astype(np.longdouble) @ v[:, some]) <= bound(u.T, v[:, some])).all()


def test_sums_that_are_not_wanted_are_not_made() -> None:
    u = np.ones((4, 3))
    out = np.zeros((3, 3))
    outer_rows(u, u, None, out, None, None, 0, 3)
    assert (out == 4).all()


@pytest.mark.parametrize("count", range(3))
@pytest.mark.parametrize("total", [False, True])
def test_sums_of_rows(count: int, total: bool) -> None:
    rng = np.random.default_rng(12)
    u, vs = rng.integers(-3, 4, (70, 9)).astype(float), [rng.integers(-3, 4, (70, k + 1)).astype(float) for k in range(count)]
    outs, column = [np.full((9, k + 1), np.nan) for k in range(count)], np.full(9, np.nan) if total else None
    summed(1, LIGHT, u, *(*vs, None, None)[:2], *(*outs, None, None)[:2], column)
    for got, v in zip(outs, vs, strict=True):
        np.testing.assert_array_equal(got, u.T @ v)
    if column is not None:
        np.testing.assert_array_equal(column, u.sum(axis=0))


@nb.njit
def _from_nopython(a, packed, out):  # type: ignore[no-untyped-def]
    for t in range(a.shape[0]):
        multiply(a[t], packed, out[t], False)


def test_called_from_nopython_code() -> None:
    rng = np.random.default_rng(11)
    a, b = rng.standard_normal((3, 5, 7)), rng.standard_normal((20, 7))
    out = np.empty((3, 5, 20))
    _from_nopython(a, panels(b.T), out)
    np.testing.assert_allclose(out, a @ b.T, rtol=1e-13, atol=1e-14)


def test_loops_stay_out_of_their_callers() -> None:
    """A caller holds a call through a named address, no multiply-add of its own."""
    _from_nopython(np.ones((1, 1, 1)), panels(np.ones((1, 1))), np.ones((1, 1, 1)))
    (signature,) = [s for s in _from_nopython.signatures if s[0].dtype == nb.float64]
    code = _from_nopython.inspect_asm(signature)
    assert "derive_multiply" in code
    assert "fmadd" not in code and "fmla" not in code


@pytest.mark.skipif(not (is_x86(TARGET.architecture) and TARGET.fused), reason="reads x86 assembly")
def test_rows_are_addressed_without_a_chain() -> None:
    """Each row of a tile has a register of its own: to step from one to the next takes as long as the multiply-adds do."""
    made = product.sweep.made[nb.float32]
    code = nb.cfunc(made.signature, error_model="numpy")(made.function)._library.get_asm_str()
    blocks = re.split(r"^\.LBB\w+:", code, flags=re.MULTILINE)
    bodies = [found[0] for found in (re.match(r".*?\tj\w+\t", block, re.DOTALL) for block in blocks) if found]
    steps = [body for body in bodies if body.count("vfmadd") >= FULL]
    assert steps
    for step in steps:
        assert len(re.findall(r"\t(?:add|sub|lea|inc|dec)q\t", step)) <= 5


FIRST_CALLS = """
import sys, threading
import numpy as np
sys.path.insert(0, {root!r})
from derive.runtime.cpu.openmp import WAKING
from derive.runtime.cpu.outer import outer_sums, workspace
from derive.runtime.cpu.threads import ready, set_threads
set_threads(4)
rng = np.random.default_rng(0)
u, v = rng.integers(-3, 4, (600, 64)).astype(float), rng.integers(-3, 4, (600, 30)).astype(float)
gate, wrong = threading.Barrier(4), []
def first_calls():
    products, sums = np.empty((64, 30)), np.empty(64)
    gate.wait()
    ready()
    outer_sums(4, WAKING, workspace(u.dtype, 600, 4, (64, 30)), u, v, products, None, None, sums, False)
    if not ((products == u.T @ v).all() and (sums == u.sum(0)).all()):
        wrong.append(1)
threads = [threading.Thread(target=first_calls) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(wrong))
"""


def test_first_calls_at_the_same_time() -> None:
    """In a new process, four threads load the kernels together."""
    code = FIRST_CALLS.format(root=str(Path(__file__).resolve().parents[2]))
    for _ in range(6):
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, "0\n", "")


def test_integers_are_refused() -> None:
    with pytest.raises(nb.TypingError, match="float32 or float64"):
        panels(np.ones((2, 2), np.int64))
