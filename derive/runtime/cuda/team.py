"""Sums and largest values over the threads that share a row, always in the same order: the same bits every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WARP = 32
ALL = 0xFFFFFFFF


def team(on: Any, lanes: int, threads: int, combine: Callable[..., Any]) -> Any:
    """Return a function that combines one number of each of the `lanes` neighbouring threads of a row, and gives it to all of them.

    Parameters
    ----------
    on : Machine
    lanes : int
        Threads of a row: a power of two within a warp, else a multiple of a warp.
    threads : int
        Threads of a block.
    combine : callable
        A device function of two numbers, in which their order is of no account.
    """
    cuda, real = on.cuda, on.real
    within, warps, shared = min(lanes, WARP), lanes // WARP, max(threads // WARP, 1)

    @on.device
    def in_warp(value):  # type: ignore[no-untyped-def]
        distance = within // 2
        while distance > 0:
            value = combine(value, cuda.shfl_xor_sync(ALL, value, distance))
            distance //= 2
        return value

    @on.device
    def in_block(value):  # type: ignore[no-untyped-def]
        parts = cuda.shared.array(shared, real)
        warp = cuda.threadIdx.x // WARP
        value = in_warp(value)
        if cuda.threadIdx.x % WARP == 0:
            parts[warp] = value
        cuda.syncthreads()
        first = warp // warps * warps
        total = parts[first]
        for k in range(1, warps):
            total = combine(total, parts[first + k])
        cuda.syncthreads()  # before the parts are written again
        return total

    return in_warp if warps <= 1 else in_block


def column_team(on: Any, across: int, threads: int, combine: Callable[..., Any]) -> Any:
    """Return a function that combines the numbers of all threads of a block whose number has the same remainder by `across`.

    It gives the result to all of them.  Arguments are those of `team`; `across`, a power of two, divides a warp.
    """
    cuda, real, warps = on.cuda, on.real, threads // WARP

    @on.device
    def in_warp(value):  # type: ignore[no-untyped-def]
        distance = across
        while distance < WARP:
            value = combine(value, cuda.shfl_xor_sync(ALL, value, distance))
            distance *= 2
        return value

    @on.device
    def in_block(value):  # type: ignore[no-untyped-def]
        parts = cuda.shared.array(threads, real)
        parts[cuda.threadIdx.x] = in_warp(value)
        cuda.syncthreads()
        lane = cuda.threadIdx.x % WARP
        total = parts[lane]
        for k in range(1, warps):
            total = combine(total, parts[lane + k * WARP])
        cuda.syncthreads()  # before the parts are written again
        return total

    return in_warp if warps == 1 else in_block
