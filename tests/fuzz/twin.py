"""Emitted modules as plain Python: the same loops on NumPy twins of the runtime, which check what compiled code does not.

Memory that a module allocates is NaN until it is written; operands must have the sizes that products expect; no array that a kernel
writes may overlap another that it is given; and each kernel runs in two parts, as on two threads. Host functions run as they are written.
"""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable
from itertools import combinations
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from derive.codegen.expression import RENAMED
from derive.package.folder import Files
from derive.runtime.common import static, table
from derive.runtime.cpu import layer
from derive.verify.values import VALUES

from .nothing import NOTHING, TwinLayer, clearing, passing, real_of, some


def plain(files: Files, name: str) -> ModuleType:
    """Return the module `name` of an emitted package, run without Numba."""
    module = ModuleType(f"plain_{name}")
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
    exec(compile(files[f"{name}.py"], f"<{name}>", "exec"), module.__dict__)
    return module


def _import(name: str, given: Any = None, local: Any = None, names: Any = (), level: int = 0) -> Any:
    if name == "numpy":
        return POISONED
    if level:
        return RUNTIME[name]
    return builtins.__import__(name, None, None, names, 0)


def _empty(shape: Any, dtype: Any = float) -> np.ndarray:
    return np.full(shape, np.nan, dtype)


def _cut(array: Any, first: int, last: int) -> Any:
    assert array is NOTHING or 0 <= first <= last <= len(array), "a part of an array, within it"
    return array[first:last]


def _panel_room(k: int, n: int, dtype: Any, *heads: int) -> np.ndarray:
    return _empty((*heads, k, n), dtype)


def _part_room(parts: Any, k: int, n: int, dtype: Any, *heads: int) -> Any:
    if not some(*parts):
        return NOTHING
    made = np.zeros if NOTHING in [part if part is NOTHING else None for part in parts] else _empty
    return made((*heads, k, n), dtype)


def _fill_panels(parts: int, how: int, b: np.ndarray, packed: np.ndarray) -> None:
    assert b.shape == packed.shape and b.dtype == packed.dtype, "room for a packed matrix"
    packed[...] = b


def _fill_part(parts: int, how: int, b: np.ndarray, packed: np.ndarray, row: int, column: int, k: int, n: int) -> None:
    assert packed.shape == (k, n) and b.dtype == packed.dtype, "room for a packed matrix"
    _put(packed[row : row + b.shape[0], column : column + b.shape[1]], b)


def _multiply(a: Any, packed: Any, out: Any, accumulate: bool) -> None:
    (passing if accumulate else clearing)(_product, *(() if accumulate else (2,)))(a, packed, out, accumulate)


def _product(a: np.ndarray, packed: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    assert a.ndim == out.ndim == 2 and a.shape[1] == packed.shape[0] and out.shape == (a.shape[0], packed.shape[1]), "sizes of a product"
    assert a.dtype == packed.dtype == out.dtype, "dtypes of a product"
    assert not np.shares_memory(a, out), "a product overlaps its operand"
    _dense(out)
    value = a @ packed
    out[...] = out + value if accumulate else value


def _multiply_rows(parts: int, how: int, a: np.ndarray, packed: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    if NOTHING is a or NOTHING is out:
        return _multiply(a, packed, out, accumulate)
    for part in _parts(a.shape[0]):
        _multiply(a[part], packed, out[part], accumulate)
    assert a.shape[0] == out.shape[0], "rows of a product"
    return None


def _workspace(dtype: Any, total: int, parts: int, *sizes: tuple[int, int], least: int = 0) -> list[tuple[int, tuple[int, int]]]:
    return [(total, size) for size in sizes]


def _outer_sums(parts: int, how: int, memory: Any, u: np.ndarray, v: Any, out_v: Any, w: Any, out_w: Any, total: Any, add: bool) -> None:
    pairs = [(x, out) for x, out in ((v, out_v), (w, out_w)) if x is not None and out is not NOTHING]
    for x, out in pairs:
        if (x is NOTHING or u is NOTHING) and not add:
            out[...] = 0
    if u is NOTHING:
        return
    factors = [(x, out) for x, out in pairs if x is not NOTHING]
    columns = sum(x.shape[1] for x, _ in factors)
    enough = [size for rows, size in memory if rows >= len(u) and size[0] == u.shape[1] and size[1] >= columns]
    assert enough, "memory for a sum of outer products"
    assert u.ndim == 2 and all(x.ndim == 2 and len(u) == len(x) and u.dtype == x.dtype for x, _ in factors), (
        "rows of a sum of outer products"
    )
    for array in (u, *(x for pair in factors for x in pair)):
        _dense(array)
    for x, out in factors:
        out[...] = _like(out, u.T @ x) + (out if add else 0)
    if total is not None and total is not NOTHING:
        total[...] = _like(total, u.sum(axis=0)) + (total if add else 0)


def _like(out: np.ndarray, value: np.ndarray) -> np.ndarray:
    assert out.shape == value.shape and out.dtype == value.dtype, "room for what is made"
    return value


def _dense(a: np.ndarray) -> None:
    assert a.shape[1] <= 1 or a.size == 0 or a.strides[1] == a.itemsize, "features that are not neighbours in memory"


def _share(count: int, parts: int, how: int, kernel: Callable[..., None], *arguments: Any) -> None:
    arrays = [a for a in arguments if isinstance(a, np.ndarray)]
    shared = {k for pair in combinations(range(len(arrays)), 2) if np.shares_memory(arrays[pair[0]], arrays[pair[1]]) for k in pair}
    before = {k: arrays[k].copy() for k in shared}
    for part in _parts(count):
        kernel(*arguments, part.start, part.stop)
    for k, value in before.items():
        assert np.array_equal(value, arrays[k], equal_nan=True), "a kernel writes memory that two of its arguments share"


def _parts(count: int) -> list[slice]:
    middle = count // 2
    return [slice(0, middle), slice(middle, count)]


def _where(condition: Any, a: Any, b: Any) -> Any:
    assert condition is NOTHING or isinstance(condition, bool | np.bool_), "a condition is what a comparison gives, not what was kept"
    return a if condition else b


def _clip(x: Any, low: Any, high: Any) -> Any:
    return x if x is NOTHING else VALUES["clip"](x, low, high)


def _feature_sum(v: Any) -> Any:
    return v if v is NOTHING else v.sum()


# States and sums over steps: by the length of each sequence, which the runtime never asks for.


def _lengths(active: np.ndarray, batch: int) -> np.ndarray:
    return (active[:, None] > np.arange(batch)).sum(axis=0)


def _put(place: np.ndarray, value: np.ndarray) -> None:
    place[...] = _like(place, value)


def _take_last(final: np.ndarray, array: np.ndarray, begins: np.ndarray, active: np.ndarray) -> None:
    _put(final, array[begins[_lengths(active, len(final))] + np.arange(len(final))])


def _put_last(array: np.ndarray, final: np.ndarray, begins: np.ndarray, active: np.ndarray) -> None:
    array[begins[_lengths(active, len(final))] + np.arange(len(final))] = final


def _gather(room: np.ndarray, array: np.ndarray, begins: np.ndarray, active: np.ndarray) -> None:
    _put(room, np.concatenate([array[:0], *(array[begin : begin + count] for begin, count in zip(begins, active, strict=False))]))


def _over_time(room: np.ndarray, values: np.ndarray, row: np.ndarray, active: np.ndarray) -> None:
    _put(room, np.concatenate([values[:0], *(values[:count] for count in active)]))


def _total(sums: np.ndarray, rows: np.ndarray, row: np.ndarray, active: np.ndarray) -> None:
    sums[...] = 0
    for begin, count in zip(row, active, strict=False):
        sums[:count] += rows[begin : begin + count]


_CARRIES = dict(
    put_first=lambda array, initial: _put(array[: len(initial)], initial),
    put_both=lambda array, final: _put(array, np.concatenate([final] * 2)),
    take_first=lambda initial, array: _put(initial, array[: len(initial)]),
    take_last=_take_last,
    put_last=_put_last,
    gather=_gather,
    over_time=_over_time,
    total=_total,
    spread=lambda room, value: _put(room, np.broadcast_to(value, room.shape)),
)
_STATIC = dict(
    transposed=lambda out, matrix: _put(out, matrix.T),
    matvec=lambda out, matrix, vector: _put(out, matrix @ vector),
    matvec_t=lambda out, matrix, vector: _put(out, matrix.T @ vector),
    outer=lambda out, left, right: _put(out, np.outer(left, right)),
)
CARRIES = SimpleNamespace(**{name: clearing(function) for name, function in _CARRIES.items()})
STATIC = SimpleNamespace(
    **{name: clearing(function) for name, function in _STATIC.items()},
    put_rows=passing(lambda out, start, part: _put(out[start : start + len(part)], part)),
    plus=passing(lambda out, value: _put(out, out + value)),
)
POISONED = ModuleType("numpy")
POISONED.__dict__.update({**vars(np), "empty": _empty})
_functions = {RENAMED.get(name, name): value for name, value in VALUES.items()}
_functions |= {"where": _where, "power": lambda x, p: x**p, "erf": math.erf, "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2))}
_functions |= {"clip": _clip, "between": lambda x, *bounds: 1.0 if x is NOTHING else VALUES["between"](x, *bounds)}
RUNTIME = {
    "runtime.common": SimpleNamespace(static=static),
    "runtime.common.table": table,
    "runtime.cpu.carries": CARRIES,
    "runtime.cpu.kernel": SimpleNamespace(kernel=lambda function: function, host=lambda function: function, share=_share),
    "runtime.cpu.nothing": SimpleNamespace(NOTHING=NOTHING, some=some, real_of=real_of),
    "runtime.cpu.layer": SimpleNamespace(Layer=TwinLayer, Marks=layer.Marks, Packed=layer.Packed),
    "runtime.cpu.memory": SimpleNamespace(empty=_empty),
    "runtime.cpu.pointers": SimpleNamespace(cut=_cut),
    "runtime.cpu.outer": SimpleNamespace(outer_sums=_outer_sums, workspace=_workspace),
    "runtime.cpu.product": SimpleNamespace(
        multiply=_multiply,
        multiply_rows=_multiply_rows,
        panel_room=_panel_room,
        part_room=_part_room,
        fill_panels=passing(_fill_panels),
        fill_part=passing(_fill_part),
        row_parts=lambda batch, weights, parts, how: parts,
    ),
    "runtime.cpu.reduce": SimpleNamespace(
        added=lambda total, term: total + term,
        feature_sum=_feature_sum,
        log_sum_exp=lambda v: np.log(np.exp(v - v.max()).sum()) + v.max(),
        square=lambda x: x * x,
    ),
    "runtime.cpu.spikes": SimpleNamespace(multiply_spikes=_multiply, outer_spikes=_outer_sums, spike_room=lambda p, q, dtype: 0),
    "runtime.cpu.static": STATIC,
    "runtime.cpu.vector": SimpleNamespace(**_functions),
}
