"""Arrays as simulated kernels see them, and the detector of races that watches over their bytes.

Two accesses to the same bytes, one of them a write, are a race unless one happens before the other (Lamport 1978, CACM 21:558; vector
clocks as in FastTrack, Flanagan and Freund 2009).  Who runs first does not matter: conflicts are found in both directions.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numba.core.types import Type
from numba.np.numpy_support import as_dtype

if TYPE_CHECKING:
    from simulated_grid import Block, Stamp
    from simulator import Machine


class Race(Exception):
    """Two threads access the same bytes, at least one writes, and nothing orders them."""


class Space:
    """The accesses to one memory: of each two bytes the last write, and each block's reads since, those of its last epoch with any."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.writes: dict[int, Stamp] = {}
        self.reads: dict[Block, dict[int, list[Stamp]]] = {}

    def read(self, memory: Memory, at: int, index: Any) -> None:
        me = self.machine.me
        stamp, reads = me.stamp, self.reads.setdefault(me.block, {})
        for granule in memory.granules(at):
            seen = reads.get(granule)
            if seen is not None and seen[-1] is stamp:
                continue
            write = self.writes.get(granule)
            if write is not None and not me.follows(write):
                raise Race(f"{memory.label(index)}: {me} reads what {write.thread} writes")
            if seen is None or seen[-1].time < me.known[me.block]:
                reads[granule] = [stamp]  # who follows this read follows all before the barrier
            else:
                seen.append(stamp)

    def write(self, memory: Memory, at: int, index: Any) -> None:
        me = self.machine.me
        for granule in memory.granules(at):
            write = self.writes.get(granule)
            if write is not None and not me.follows(write):
                raise Race(f"{memory.label(index)}: {me} writes what {write.thread} writes")
            for reads in self.reads.values():
                for read in reads.pop(granule, ()):
                    if not me.follows(read):
                        raise Race(f"{memory.label(index)}: {me} writes what {read.thread} reads")
            self.writes[granule] = me.stamp


class Memory:
    """An array as kernels see it: its elements are Python numbers; views share its bytes and, unless it is private, its `space`."""

    def __init__(self, name: str, data: memoryview, shape: tuple[int, ...], dtype: np.dtype, space: Space | None, address: int = 0) -> None:
        self.name, self.shape, self.dtype, self.space, self.address = name, shape, dtype, space, address
        self.data: Any = np.frombuffer(data, dtype) if dtype.char == "e" else data.cast(dtype.char)  # a view has no halves
        self.size, self.start, self.itemsize = math.prod(shape), 0, dtype.itemsize
        self.strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))

    def granules(self, at: int) -> range:
        """Return which pairs of bytes an element takes; two elements of one byte each share theirs."""
        first = (self.address + at * self.itemsize) // 2
        return range(first, first + (self.itemsize + 1) // 2)

    def label(self, index: Any) -> str:
        return f"{self.name}[{', '.join(map(str, index)) if isinstance(index, tuple) else index}]"

    def position(self, index: Any) -> int:
        indices, at = index if type(index) is tuple else (index,), self.start
        if len(indices) != len(self.shape):
            raise IndexError(f"{self.label(index)} of shape {self.shape}")
        for i, size, stride in zip(indices, self.shape, self.strides, strict=True):
            if not 0 <= i < size:
                raise IndexError(f"{self.label(index)} is outside of shape {self.shape}")
            at += i * stride
        return at

    def view(self, index: Any) -> Memory:
        """Return a row, or the rows of a slice."""
        rows = index if isinstance(index, slice) else slice(index, index + 1)
        low, high = rows.start or 0, self.shape[0] if rows.stop is None else rows.stop
        if not 0 <= low <= high <= self.shape[0] or rows.step not in (None, 1):
            raise IndexError(f"{self.label(index)} is outside of shape {self.shape}")
        part = object.__new__(Memory)
        part.__dict__.update(self.__dict__)
        part.name, part.start = self.label(f"{low}:{high}" if rows is index else index), self.start + low * self.strides[0]
        part.shape = ((high - low,) if rows is index else ()) + self.shape[1:]
        part.strides, part.size = self.strides[-len(part.shape) :], math.prod(part.shape)
        return part

    def touch(self, index: Any, writes: bool = False) -> None:
        """Record an access that is under way."""
        if self.space is not None:
            (self.space.write if writes else self.space.read)(self, self.position(index), index)

    def __getitem__(self, index: Any) -> Any:
        if type(index) is slice or (type(index) is not tuple and len(self.shape) > 1):
            return self.view(index)
        at = self.position(index)
        if self.space is not None:
            self.space.read(self, at, index)
        return self.data[at]

    def __setitem__(self, index: Any, value: Any) -> None:
        at = self.position(index)
        if self.space is not None:
            self.space.write(self, at, index)
        try:
            self.data[at] = value
        except (TypeError, ValueError) as error:
            error.add_note(f"{self.label(index)} = {value!r}, of type {self.dtype}")
            raise


def poisoned(size: int) -> memoryview:
    return memoryview(bytearray(b"\xff" * size))  # NaN in every format


def as_numpy(dtype: Any) -> np.dtype:
    return as_dtype(dtype) if isinstance(dtype, Type) else np.dtype(dtype)


def global_memory(name: str, array: np.ndarray, space: Space) -> Memory:
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous")
    data = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
    return Memory(name, data, array.shape, array.dtype, space, array.__array_interface__["data"][0])
