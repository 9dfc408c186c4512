"""A grid of CUDA threads as plain Python: all blocks alive at once, real barriers, twins of the intrinsics, and a detector of races.

A factory `make(on)` defines a kernel with nothing but what the machine `on` offers: `on.cuda`, `on.ptx`, `on.real`, `@on.device` and
`@on.kernel`.  `machine.launch(make(machine), grid, block, shared_bytes, *arguments)` executes it, one greenlet for each thread.

Two accesses to the same bytes, one of them a write, are a race unless one happens before the other (Lamport 1978, CACM 21:558; vector
clocks as in FastTrack, Flanagan and Freund 2009).  Threads of a block are ordered by `syncthreads` alone, since a GPU does not promise
that a warp runs in step; blocks by an `acquire` of the value of a `release_add`.  Who runs first does not matter: conflicts are found in
both directions, and an acquire sees the values of a counter one by one, so that a thread never knows more than it waited for.
"""

from __future__ import annotations

import ctypes
import math
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from greenlet import getcurrent, greenlet
from numba.core.types import Type
from numba.np.numpy_support import as_dtype

EPOCH = 1 << 20  # of time: from one barrier of a block to the next, with room for the releases of a thread
PATIENCE = 100  # looks at counters, for each thread, while nothing else happens
Clock = dict[Any, int]  # what a block or a thread did before its time here has happened; of a counter: which value it has had


class Race(Exception):
    """Two threads access the same bytes, at least one writes, and nothing orders them."""


class Deadlock(Exception):
    """No thread can go on, or threads of a warp wait for each other at different places."""


# ---- memory ----


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


# ---- threads and blocks ----


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


# ---- what kernels use ----


class Cuda:
    """The namespace `numba.cuda`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.shared, self.local = SimpleNamespace(array=self._shared), SimpleNamespace(array=self._local)

    threadIdx = property(lambda self: Point(self._machine.me.number, 0))
    blockIdx = property(lambda self: self._machine.me.block.index)
    blockDim = property(lambda self: Point(len(self._machine.me.block.threads), 1))
    gridDim = property(lambda self: self._machine.me.block.grid)
    laneid = property(lambda self: self._machine.me.number % 32)

    def _shared(self, shape: int | tuple[int, ...], dtype: Any, alignment: int = 0) -> Memory:
        frame, dtype = sys._getframe(1), as_numpy(dtype)
        site = (frame.f_code, frame.f_lasti) if shape else dtype
        return self._machine.me.block.shared(site, shape if isinstance(shape, tuple) else (shape,) if shape else (), dtype)

    def _local(self, size: int, dtype: Any, alignment: int = 0) -> Memory:
        dtype = as_numpy(dtype)
        return Memory("local", poisoned(size * dtype.itemsize), (size,), dtype, None)

    def syncthreads(self) -> None:
        block = self._machine.me.block
        self._machine.meet(block.barrier, "syncthreads", None, block.next_epoch)

    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        self._gather(mask, "syncwarp", None)

    def shfl_sync(self, mask: int, value: Any, lane: int) -> Any:
        return self._gather(mask, "shfl_sync", value)[lane % 32]

    def shfl_xor_sync(self, mask: int, value: Any, lane_mask: int) -> Any:
        return self._gather(mask, "shfl_xor_sync", value)[self.laneid ^ lane_mask]

    def shfl_down_sync(self, mask: int, value: Any, delta: int) -> Any:
        lanes = self._gather(mask, "shfl_down_sync", value)[self.laneid :]
        return lanes[delta] if delta < len(lanes) else value

    def threadfence(self) -> None:
        """Order nothing: what a fence orders, the release and the acquire order here."""

    def _gather(self, mask: int, kind: str, value: Any) -> list[Any]:
        """Return the values of the warp's lanes."""
        warp = self._machine.me.warp
        if ~mask & ((1 << len(warp.members)) - 1):
            raise ValueError(f"{kind}: the mask {mask:#x} leaves out lanes of the warp")
        return self._machine.meet(warp, kind, value, lambda brought: [brought] * len(brought))


def narrow_bf16(x: float) -> int:
    bits = ctypes.c_uint32.from_buffer(ctypes.c_float(x)).value
    return 0x7FFF if x != x else (bits + 0x7FFF + (bits >> 16 & 1)) >> 16


def widen_bf16(half: int) -> float:
    return ctypes.c_float.from_buffer(ctypes.c_uint32(int(half) << 16)).value


def narrow_f16(x: float) -> int:
    try:
        return 0x7FFF if x != x else int.from_bytes(struct.pack("<e", ctypes.c_float(x).value), "little")
    except OverflowError:
        return 0x7C00 if x > 0 else 0xFC00


def widen_f16(half: int) -> float:
    return struct.unpack("<e", int(half).to_bytes(2, "little"))[0]


def round_tf32(x: float) -> int:
    bits = ctypes.c_uint32.from_buffer(ctypes.c_float(x)).value
    return 0x7FFFFFFF if x != x else (bits + 0x1000) & 0xFFFFE000


LANE, TWO, FOUR, EIGHT = np.arange(32)[:, None], np.arange(2), np.arange(4), np.arange(8)
GROUP, PLACE = LANE >> 2, LANE & 3
# Row and column of each lane's elements (PTX ISA, "Matrix Fragments for mma.m16n8k16" and "… mma.m16n8k8"): of a, of b, of the sums
PAIRS = (GROUP + 8 * (EIGHT >> 1 & 1), 2 * PLACE + (EIGHT & 1) + 8 * (EIGHT >> 2)), (2 * PLACE + (FOUR & 1) + 8 * (FOUR >> 1), GROUP)
SINGLES = (GROUP + 8 * (FOUR & 1), PLACE + 4 * (FOUR >> 1)), (PLACE + 4 * TWO, GROUP)
SUMS = GROUP + 8 * (FOUR >> 1), 2 * PLACE + (FOUR & 1)


@np.errstate(all="ignore")
def multiply(depth: int, places: Any, decode: Callable[[np.ndarray], np.ndarray], brought: list[Any]) -> list[Any]:
    """Return each lane's elements of a b + c, rounded once."""
    words, sums = np.array([values[:-4] for values in brought], np.uint32), np.array([values[-4:] for values in brought], np.float32)
    a, b = np.zeros((16, depth)), np.zeros((depth, 8))
    a[places[0]], b[places[1]] = decode(words[:, :4]), decode(words[:, 4:])
    return [tuple(lane) for lane in ((a @ b)[SUMS] + sums).astype(np.float32).tolist()]


class Ptx:
    """The twins of the intrinsics, by their names."""

    narrow_bf16, widen_bf16 = staticmethod(narrow_bf16), staticmethod(widen_bf16)
    narrow_f16, widen_f16 = staticmethod(narrow_f16), staticmethod(widen_f16)
    round_tf32, tanh_fast = staticmethod(round_tf32), staticmethod(math.tanh)
    pack_bf16 = staticmethod(lambda low, high: narrow_bf16(low) | narrow_bf16(high) << 16)
    pack_f16 = staticmethod(lambda low, high: narrow_f16(low) | narrow_f16(high) << 16)
    exp2_fast = staticmethod(lambda x: math.inf if x >= 128 else math.exp2(x))

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.release_add, self.acquire = machine.release_add, machine.acquire

    def mma_bf16(self, *values: Any) -> tuple[float, ...]:
        return self._mma("mma_bf16", values, 16, PAIRS, lambda words: (words.view(np.uint16).astype(np.uint32) << 16).view(np.float32))

    def mma_f16(self, *values: Any) -> tuple[float, ...]:
        return self._mma("mma_f16", values, 16, PAIRS, lambda words: words.view(np.float16))

    def mma_tf32(self, *values: Any) -> tuple[float, ...]:
        return self._mma("mma_tf32", values, 8, SINGLES, lambda words: (words & 0xFFFFE000).view(np.float32))

    def _mma(self, kind: str, values: tuple[Any, ...], *how: Any) -> tuple[float, ...]:
        warp = self._machine.me.warp
        if len(warp.members) < 32:
            raise ValueError(f"{kind} needs a whole warp")
        return self._machine.meet(warp, kind, values, partial(multiply, *how))

    def copy_async(self, tile: Memory, at: int, source: Memory, offset: int) -> None:
        """Begin to copy 16 bytes, which arrive when this thread waits; both ends are accessed now and then."""
        if tile.position(at) % 4 or source.position(offset) % 4 or {tile.itemsize, source.itemsize} != {4}:
            raise ValueError(f"{tile.label(at)}, {source.label(offset)}: 16 bytes begin at a multiple of 4 words")
        for k in range(4):
            source.touch(offset + k)
            tile.touch(at + k, writes=True)
        self._machine.me.copies.append((tile, at, source, offset))

    def copy_wait(self) -> None:
        copies, self._machine.me.copies = self._machine.me.copies, []
        for tile, at, source, offset in copies:
            for k in range(4):
                tile[at + k] = source[offset + k]

    def prefetch(self, array: Memory, index: Any) -> None:
        """Do nothing, wherever that is."""

    def cooperative(self) -> None:
        """Do nothing: all blocks are alive at once."""


# ---- the machine ----


class Machine:
    """What executes kernels; it computes in `real`, and begins with the first thread or, for `order="backward"`, with the last."""

    me: Thread

    def __init__(self, real: type[np.floating] = np.float32, order: str = "forward") -> None:
        self.real, self.order = real, order
        self.cuda, self.ptx = Cuda(self), Ptx(self)

    @staticmethod
    def device(function: Callable[..., Any]) -> Callable[..., Any]:
        return function

    kernel = device

    def launch(self, kernel: Callable[..., None], grid: int | tuple[int, int], block: int, shared_bytes: int, *arguments: Any) -> None:
        """Execute a kernel; arrays are global memory, and get its results.

        Raises
        ------
        Race
            Two accesses conflict and are not ordered.
        Deadlock
            No thread can go on.
        """
        extent = Point(*grid) if isinstance(grid, tuple) else Point(grid, 1)
        blocks = [Block(self, Point(x, y), extent, block, shared_bytes) for y in range(extent.y) for x in range(extent.x)]
        self.threads = [thread for each in blocks for thread in each.threads]
        if self.order == "backward":
            self.threads.reverse()
        space = Space(self)
        passed = [global_memory(f"argument {i}", a, space) if isinstance(a, np.ndarray) else a for i, a in enumerate(arguments)]
        for thread in self.threads:
            thread.greenlet = greenlet(partial(kernel, *passed))
        try:
            self._run()
        finally:
            for thread in self.threads:
                if not thread.greenlet.dead:
                    thread.greenlet.throw()

    def _run(self) -> None:
        """Let threads take turns, each until it waits."""
        self._scheduler, self._ready = getcurrent(), deque(self.threads)
        self._looks = 0  # at counters since something else has happened
        self._histories: dict[int, list[tuple[int, Clock]]] = {}
        while self._ready:
            self.me = self._ready.popleft()
            self.me.state = "running"
            try:
                self.me.greenlet.switch()
            except Exception as error:
                error.add_note(f"in {self.me}")
                raise
            if self.me.greenlet.dead:
                self.me.state, self._looks = "returned", 0
        if any(thread.state != "returned" for thread in self.threads):
            raise Deadlock(self._states())

    def _states(self) -> str:
        places: dict[tuple[Block, str], list[int]] = {}
        for thread in self.threads:
            places.setdefault((thread.block, thread.state), []).append(thread.number)
        return "; ".join(f"block {tuple(block.index)}, {state}: threads {sorted(them)}" for (block, state), them in places.items())

    def meet(self, meeting: Meeting, kind: str, value: Any, exchange: Callable[[list[Any]], Sequence[Any]]) -> Any:
        """Wait for all members, and return what `exchange` gives this one for the values of all."""
        me = self.me
        me.state = f"at {kind}"
        if meeting.brought and meeting.kind != kind:
            raise Deadlock(f"{meeting.kind} and {kind} in one warp: {self._states()}")
        meeting.kind, meeting.brought[me] = kind, value
        if len(meeting.brought) < len(meeting.members):
            self._scheduler.switch()
            return me.taken
        for member, taken in zip(meeting.members, exchange([meeting.brought[member] for member in meeting.members]), strict=True):
            member.taken = taken
        self._ready.extend(member for member in meeting.brought if member is not me)
        meeting.brought, self._looks = {}, 0
        return me.taken

    def release_add(self, counters: Memory, index: Any, value: int) -> None:
        """Add to a counter, and let those who acquire the sum know what this thread did and knows."""
        me, at = self.me, counters.position(index)
        key, history = self._history(counters, index)
        counters.data[at] = (counters.data[at] + value) & 0xFFFFFFFF
        time = me.stamp.time + 1
        me.known = me.known | {key: len(history)}
        history.append((counters.data[at], join(history[-1][1], me.known, {me: time})))
        me.stamp, self._looks = Stamp(me, me.block, time), 0

    def acquire(self, counters: Memory, index: Any) -> int:
        """Return the next value of a counter, or its last one again after the others' turns; know what its release lets know."""
        me, (key, history) = self.me, self._history(counters, index)
        position = max(me.known.get(key, 0), me.seen.get(key, -1) + 1)
        if position == len(history):
            self._let_others_run()
        position = min(position, len(history) - 1)
        value, known = history[position]
        me.seen[key], me.known = position, join(me.known, known, {key: position})
        return value

    def _let_others_run(self) -> None:
        self.me.state = "at acquire"
        self._looks += 1
        if self._looks > PATIENCE * len(self.threads):
            raise Deadlock(self._states())
        self._ready.append(self.me)
        self._scheduler.switch()

    def _history(self, counters: Memory, index: Any) -> tuple[int, list[tuple[int, Clock]]]:
        """Return the values of a counter and what they let know."""
        at = counters.position(index)
        key, value = counters.granules(at)[0], counters.data[at]
        history = self._histories.setdefault(key, [(value, {})])
        if history[-1][0] != value:
            raise Race(f"{counters.label(index)}: a counter of this launch has been written")
        return key, history


def global_memory(name: str, array: np.ndarray, space: Space) -> Memory:
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} is not contiguous")
    data = memoryview(array.reshape(-1).view(np.uint8)) if array.size else memoryview(b"")
    return Memory(name, data, array.shape, array.dtype, space, array.__array_interface__["data"][0])
