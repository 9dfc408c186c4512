"""Emitted modules as plain Python: the same loops on NumPy twins of the runtime, which check what compiled code does not.

Memory that a module allocates is NaN until it is written; operands must have the sizes that products expect; no array that a kernel
writes may overlap another that it is given; and each kernel runs in two parts, as on two threads.
"""

from __future__ import annotations

import builtins
import math
import types
from collections.abc import Callable
from itertools import combinations
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from derive.codegen.expression import RENAMED
from derive.package.folder import Files
from derive.runtime.common import static
from derive.runtime.cpu import addresses as steps
from derive.runtime.cpu import layer
from derive.verify.values import VALUES


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


def _state_rows(initial: np.ndarray, rows: Any, *, tape: bool) -> np.ndarray:
    out = steps.state_rows(initial, rows, tape=tape)
    out[rows.batch :] = np.nan
    return out


def _panels(b: np.ndarray) -> np.ndarray:
    assert b.ndim == 2
    return b.copy()


def _multiply(a: np.ndarray, packed: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    assert a.ndim == out.ndim == 2 and a.shape[1] == packed.shape[0] and out.shape == (a.shape[0], packed.shape[1]), "sizes of a product"
    assert a.dtype == packed.dtype == out.dtype, "dtypes of a product"
    assert not np.shares_memory(a, out), "a product overlaps its operand"
    _dense(out)
    value = a @ packed
    out[...] = out + value if accumulate else value


def _multiply_rows(a: np.ndarray, packed: np.ndarray, out: np.ndarray, accumulate: bool) -> None:
    for part in _parts(a.shape[0]):
        _multiply(a[part], packed, out[part], accumulate)
    assert a.shape[0] == out.shape[0], "rows of a product"


def _sums(u: np.ndarray, *vs: np.ndarray, total: bool = False) -> tuple[np.ndarray, ...]:
    assert u.ndim == 2 and all(v.ndim == 2 and len(u) == len(v) and u.dtype == v.dtype for v in vs), "rows of a sum of outer products"
    for array in (u, *vs):
        _dense(array)
    return (*(u.T @ v for v in vs), u.sum(axis=0)) if total else tuple(u.T @ v for v in vs)


def _dense(a: np.ndarray) -> None:
    assert a.shape[1] <= 1 or a.size == 0 or a.strides[1] == a.itemsize, "features that are not neighbours in memory"


def _run_rows(kernel: Callable[..., None], count: int, weights: tuple[np.ndarray, ...], *arguments: Any) -> None:
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
    return a if condition else b


POISONED = ModuleType("numpy")
POISONED.__dict__.update({**vars(np), "empty": _empty})
_functions = {RENAMED.get(name, name): value for name, value in VALUES.items()}
_functions |= {"where": _where, "power": lambda x, p: x**p, "erf": math.erf, "gelu": lambda x: 0.5 * x * math.erfc(-x / math.sqrt(2))}
_steps = {**vars(steps), "state_rows": _state_rows}
RUNTIME = {
    "runtime.common": SimpleNamespace(static=static),
    "runtime.cpu.kernel": SimpleNamespace(kernel=lambda function: function),
    "runtime.cpu.layer": SimpleNamespace(Layer=layer.Layer, Marks=layer.Marks, Packed=layer.Packed),
    "runtime.cpu.memory": SimpleNamespace(empty=_empty, stacked=lambda *parts: np.concatenate(parts)),
    "runtime.cpu.product": SimpleNamespace(multiply=_multiply, panels=_panels),
    "runtime.cpu.reduce": SimpleNamespace(
        added=lambda total, term: total + term,
        feature_sum=lambda v: v.sum(),
        log_sum_exp=lambda v: np.log(np.exp(v - v.max()).sum()) + v.max(),
        square=lambda x: x * x,
    ),
    "runtime.cpu.bulk": SimpleNamespace(run_rows=_run_rows, multiply_rows=_multiply_rows, sums=_sums),
    "runtime.cpu.addresses": SimpleNamespace(**{k: v for k, v in _steps.items() if not isinstance(v, types.ModuleType)}),
    "runtime.cpu.vector": SimpleNamespace(**_functions),
}
