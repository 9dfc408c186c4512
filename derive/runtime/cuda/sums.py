"""Kernels that add up rows: a thread has a column of a stretch of them, always in the same order."""

from __future__ import annotations

from typing import Any

STRETCH = 64  # rows that one thread adds up


def make_sum_stored(on: Any) -> Any:
    """Kernel for rows as they are stored."""
    return _adding(on, on.widen, "sum_stored")


def make_sum_real(on: Any) -> Any:
    """Kernel for rows in the dtype that is computed with."""
    return _adding(on, on.device(_same), "sum_real")


def _adding(on: Any, widened: Any, name: str) -> Any:
    cuda, real = on.cuda, on.real

    def add_rows(count, width, rows, sums):  # type: ignore[no-untyped-def]
        c = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        first = cuda.blockIdx.x * STRETCH
        if c < width:
            total = real(0.0)
            for r in range(first, min(first + STRETCH, count)):
                total += widened(rows[r, c])
            sums[cuda.blockIdx.x, c] = total

    add_rows.__name__ = name  # by which reports tell them apart
    return on.kernel(add_rows)


def _same(value):  # type: ignore[no-untyped-def]
    return value
