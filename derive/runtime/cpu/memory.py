"""Memory for large arrays, used again.

The system gives memory page by page, at the first touch of each, and that can take longer than the work that is done in it.  So the memory
of an array that is gone serves the next one of about its size; what lies idle is bounded.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from contextvars import ContextVar
from math import prod
from typing import Any

import numpy as np

LARGE = 1 << 15  # bytes: smaller arrays come from NumPy
IDLE = 1 << 29  # bytes that are kept at most
BYTE = np.dtype(np.uint8)
ALIGNMENT = 64  # bytes: a cache line, and the widest vector
SKETCH: ContextVar[Any] = ContextVar("derive_sketch", default=None)  # what calls of this thread are noted in (`sketch`, `replay`)


class _Block(np.ndarray):
    """Memory from the system: bytes, of which that at `start` is the first at a cache line.

    A class of its own, as that of what lies in it: NumPy lets an array refer to the last in a row of arrays of one class, and would pass
    over the lease.
    """

    __slots__ = ("start",)
    start: int


def _new(size: int) -> _Block:
    block = _Block((size + ALIGNMENT,), np.uint8)
    block.start = -block.__array_interface__["data"][0] % ALIGNMENT
    return block


class _Pool:
    """Idle blocks, by size; those sizes that were not asked for or given back for longest first."""

    def __init__(self) -> None:
        self.blocks: OrderedDict[int, list[_Block]] = OrderedDict()
        self.idle = 0
        self._lock = threading.RLock()
        self._busy = False  # a collection or a signal while the lock is held may ask for memory or give it back: it does without the pool

    def take(self, size: int) -> _Block:
        with self._lock:
            if not self._busy and self.blocks.get(size):  # one who is interrupted may leave an empty list
                self._busy = True
                try:
                    self.blocks.move_to_end(size)
                    return self._remove(size, -1)
                finally:
                    self._busy = False
        return _new(size)

    def give(self, size: int, block: _Block) -> None:
        with self._lock:
            if self._busy or size > IDLE:
                return
            self._busy = True
            try:
                self.blocks.setdefault(size, []).append(block)
                self.blocks.move_to_end(size)
                self.idle += size
                while self.idle > IDLE and self.blocks:
                    oldest = next(iter(self.blocks))
                    if self.blocks[oldest]:
                        self._remove(oldest, 0)
                    else:
                        del self.blocks[oldest]
            finally:
                self._busy = False

    def _remove(self, size: int, place: int) -> _Block:
        blocks = self.blocks[size]
        block = blocks.pop(place)
        self.idle -= size
        if not blocks:
            del self.blocks[size]
        return block


_pool = _Pool()


def _renew() -> None:
    """Begin with an empty pool after a fork: a thread that is not here may have held the lock."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


class _Lease(np.ndarray):
    """Owner of one array's memory: when the array and all its views are gone, the memory is idle."""

    __slots__ = ("block",)
    block: _Block

    def __del__(self) -> None:
        if _pool is not None and hasattr(self, "block"):  # when Python ends, modules are emptied; one may be interrupted at its start
            _pool.give(self.size, self.block)


def _leased(size: int) -> _Lease:
    """Return so many bytes."""
    block = _pool.take(size)
    lease = _Lease((size,), BYTE, block, block.start)
    lease.block = block
    return lease


def empty(shape: tuple[int, ...], dtype: Any, *, aligned: bool = False) -> np.ndarray:
    """Return a new array that is not initialised; a large one begins at a cache line, and any that is to be `aligned`."""
    if (sketch := SKETCH.get()) is not None:
        return sketch.empty(shape, dtype)
    return fresh(shape, dtype, aligned=aligned)


def fresh(shape: tuple[int, ...], dtype: Any, *, aligned: bool = False) -> np.ndarray:
    """Return what `empty` does, whatever calls of this thread are noted in."""
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < LARGE and not aligned:
        return np.empty(shape, dtype)
    step = 1 << max(size.bit_length() - 4, 0)  # at most an eighth more than is needed
    return np.ndarray(shape, dtype, _leased(-(-size // step) * step))


def zeros(shape: tuple[int, ...], dtype: Any, *, aligned: bool = False) -> np.ndarray:
    """Return a new array of zeros; memory as for `empty`."""
    if (sketch := SKETCH.get()) is not None:
        return sketch.zeros(shape, dtype)
    made = empty(shape, dtype, aligned=aligned)
    made[...] = 0
    return made


class _Same:
    """What NumPy makes an array of that has the memory of another, and may be written to."""

    __slots__ = ("__array_interface__", "owner")

    def __init__(self, array: np.ndarray) -> None:
        self.owner, given = array, array.__array_interface__
        self.__array_interface__ = {**given, "data": (given["data"][0], False)}


def unlocked(array: np.ndarray) -> np.ndarray:
    """Return an array that kernels only read as one that may be written to, in the same memory.

    Kernels are compiled for arrays that may be written to. For those that may not, they would be compiled once more, with the same result.
    """
    return array if array.flags.writeable else np.asarray(_Same(array))
