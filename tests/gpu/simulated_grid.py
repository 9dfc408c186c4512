"""A simulated grid: its blocks and threads, where they meet, and what each of them knows to have happened.

Threads of a block are ordered by `syncthreads` alone, since a GPU does not promise that a warp runs in step; blocks by an `acquire` of the
value of a `release_add`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from greenlet import greenlet
from simulated_memory import Memory, Space, poisoned

if TYPE_CHECKING:
    from simulator import Machine

EPOCH = 1 << 20  # of time: from one barrier of a block to the next, with room for the releases of a thread
Clock = dict[Any, int]  # what a block or a thread did before its time here has happened; of a counter: which value it has had


class Stamp(NamedTuple):
    """Who accesses memory, and when."""

    thread: Thread
    block: Block
    time: int


class Point(NamedTuple):
    """An index or an extent."""

    x: int
    y: int


def join(*clocks: Clock) -> Clock:
    joined: Clock = {}
    for clock in clocks:
        joined |= {key: time for key, time in clock.items() if time > joined.get(key, -1)}
    return joined


class Meeting:
    """Where threads wait for each other, and the values they bring."""

    def __init__(self, members: Sequence[Thread]) -> None:
        self.members, self.kind = members, ""
        self.brought: dict[Thread, Any] = {}


class Thread:
    """A thread: where it is, what time it has, and what it knows to have happened."""

    warp: Meeting
    greenlet: greenlet

    def __init__(self, block: Block, number: int) -> None:
        self.block, self.number, self.state, self.taken = block, number, "not begun", None
        self.stamp, self.known = Stamp(self, block, 0), Clock({block: 0})
        self.seen: dict[int, int] = {}  # of each counter, which value it acquired last
        self.copies: list[tuple[Memory, int, Memory, int]] = []

    def __str__(self) -> str:
        return f"thread {self.number} of block {tuple(self.block.index)}"

    def follows(self, stamp: Stamp) -> bool:
        """Whether an access happened before what this thread does now."""
        thread, block, time = stamp
        return time < self.known.get(block, 0) or thread is self or time < self.known.get(thread, 0)


class Block:
    """A block: its threads, their barrier and time, and the shared memory."""

    def __init__(self, machine: Machine, index: Point, grid: Point, size: int, shared_bytes: int) -> None:
        self.index, self.grid, self.time = index, grid, 0
        self.space, self.dynamic = Space(machine), poisoned(shared_bytes)
        self.arrays: dict[Any, Memory] = {}
        self.threads = [Thread(self, number) for number in range(size)]
        self.barrier = Meeting(self.threads)
        for first in range(0, size, 32):
            warp = Meeting(self.threads[first : first + 32])
            for thread in warp.members:
                thread.warp = warp

    def next_epoch(self, brought: list[Any]) -> list[Any]:
        """Let all threads know what any of them did or knew."""
        self.time += EPOCH
        known = join(*{id(thread.known): thread.known for thread in self.threads}.values(), {self: self.time})
        for thread in self.threads:
            thread.stamp, thread.known = Stamp(thread, self, self.time), known
        return brought

    def shared(self, site: Any, shape: tuple[int, ...], dtype: np.dtype) -> Memory:
        """Return the array of a place in the code, or, without a shape, the dynamic memory as `dtype`."""
        if site not in self.arrays:
            count = math.prod(shape) if shape else len(self.dynamic) // dtype.itemsize
            data = poisoned(count * dtype.itemsize) if shape else self.dynamic[: count * dtype.itemsize]
            address = (len(self.arrays) + 1) << 32 if shape else 0  # apart from all others
            self.arrays[site] = Memory("shared", data, shape or (count,), dtype, self.space, address)
        return self.arrays[site]
