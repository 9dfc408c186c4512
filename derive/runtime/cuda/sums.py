"""Kernels that add up rows: a thread has a column of a stretch of them, always in the same order."""

from __future__ import annotations

from typing import Any

STRETCH = 64  # rows that one thread adds up


def make_sum_stored(on: Any) -> Any:
    """Kernel for rows as they are stored."""
    cuda, real, widen = on.cuda, on.real, on.widen

    @on.kernel
    def sum_stored(count, width, rows, sums):  # type: ignore[no-untyped-def]
        c = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        first = cuda.blockIdx.x * STRETCH
        if c < width:
            total = real(0.0)
            for r in range(first, min(first + STRETCH, count)):
                total += widen(rows[r, c])
            sums[cuda.blockIdx.x, c] = total

    return sum_stored


def make_sum_real(on: Any) -> Any:
    """Kernel for rows in the dtype that is computed with."""
    cuda, real = on.cuda, on.real

    @on.kernel
    def sum_real(count, width, rows, sums):  # type: ignore[no-untyped-def]
        c = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        first = cuda.blockIdx.x * STRETCH
        if c < width:
            total = real(0.0)
            for r in range(first, min(first + STRETCH, count)):
                total += rows[r, c]
            sums[cuda.blockIdx.x, c] = total

    return sum_real
