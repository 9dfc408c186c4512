"""Work on all rows at once, shared among threads: kernels, and the products and sums that lie outside a time loop.

Threads share rows or columns of the result, never the sum that makes an element, so every number of threads gives the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .division import LIGHT_PRODUCT, is_light, row_parts
from .memory import empty
from .outer import outer_sums, workspace
from .product import multiply_part
from .threads import get_threads, run
from .tile import ROWS


@dataclass
class Record:
    """What a forward pass did: its calls, and where it read and left its states."""

    calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = field(default_factory=list)
    before: list[np.ndarray] = field(default_factory=list)
    after: list[np.ndarray] = field(default_factory=list)


class _Recording(threading.local):
    record: Record | None = None


_recording = _Recording()


def run_pass(run: Callable[..., Any], *given: Any, record: Record | None = None) -> Any:
    """Run a pass of a call; what it does is recorded in `record`, if that is given.

    It may begin inside another that is recorded, from a signal's handler or a finaliser: that one's record has no part in it.
    """
    outer, _recording.record = _recording.record, record
    try:
        return run(*given)
    finally:
        _recording.record = outer


def recorded() -> Record | None:
    """Return the record that this thread is making."""
    return _recording.record


def _run(kernel: Callable[..., None], count: int, parts: int, light: bool, *arguments: Any) -> None:
    """Call a kernel for at most so many parts of 0 … count; what is light wakes nobody, but who is awake helps."""
    call, given = (kernel, (count, parts - 1, True, *arguments)) if light else (run, (kernel, count, parts, *arguments))
    if (record := recorded()) is not None:
        record.calls.append((call, given))
    call(*given)


def run_rows(kernel: Callable[..., None], count: int, weights: tuple[np.ndarray, ...], *arguments: Any) -> None:
    """Call ``kernel(*arguments, first, last)`` for parts of the rows 0 … count; `weights` are what it reads packed at each step."""
    elements = sum(value.size for value in arguments if isinstance(value, np.ndarray))
    light = is_light(elements, sum(value.size for value in weights), once=recorded() is not None)
    parts = row_parts(count, sum(value.nbytes for value in weights), get_threads(), ROWS)
    _run(kernel, count, parts, light, *arguments)


def multiply_rows(a: np.ndarray, packed: Any, out: np.ndarray, accumulate: bool) -> None:
    """``out = a @ b``, or ``out += a @ b``, for the packed `b`; a `(N, k)`, out `(N, m)`."""
    _run(multiply_part, a.shape[0], get_threads(), a.size * out.shape[1] < LIGHT_PRODUCT, a, packed, out, accumulate)


def sums(u: np.ndarray, *vs: np.ndarray, total: bool = False) -> tuple[np.ndarray, ...]:
    """Return Σ_r u_r v_rᵀ, `(p, q)`, for rows u `(N, p)` and each v `(N, q)`; with `total`, also Σ_r u_r, `(p,)`."""
    products = [empty((u.shape[1], v.shape[1]), u.dtype) for v in vs]
    column = empty((u.shape[1] if total else 0,), u.dtype)
    nothing, parts = u[:, :0], get_threads()
    for k in range(0, max(len(vs), 1), 2):
        v, w = (*vs[k : k + 2], nothing, nothing)[:2]
        out_v, out_w = (*products[k : k + 2], column[:, None][:, :0], column[:, None][:, :0])[:2]
        light = u.size * (v.shape[1] + w.shape[1]) < LIGHT_PRODUCT
        summed = column if k == 0 else column[:0]
        _run(outer_sums, u.shape[1], parts, light, u, v, w, out_v, out_w, summed, *workspace(u, v, w, parts))
    return (*products, column) if total else tuple(products)
