"""What a simulated kernel uses: the namespace `numba.cuda`, and twins of the functions of `derive.runtime.cuda.ptx`."""

from __future__ import annotations

import math
import sys
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from simulated_grid import Point
from simulated_memory import Memory, as_numpy, poisoned
from simulated_numbers import PAIRS, SINGLES, multiply, narrow_bf16, narrow_f16, round_tf32, widen_bf16, widen_f16

if TYPE_CHECKING:
    from simulator import Machine


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
