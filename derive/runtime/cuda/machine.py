"""What a kernel is written with: its dtypes, functions, and the device's own instructions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from types import SimpleNamespace
from typing import Any

from . import members as resident
from .functions import device_functions
from .kind import BYTES, Kind
from .plan import DEPTH, Plan
from .team import column_team, team
from .tiling import Tiling


class Machine:
    """What factories of kernels take: ``cuda``, ``ptx``, ``real``, ``functions`` …, for one kind of numbers and threads a block.

    A device says how functions are compiled; see `device.Device.machine`.
    """

    def __init__(self, cuda: Any, ptx: Any, types: Mapping[str, Any], kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> None:
        self.cuda, self.ptx, self.kind, self.threads = cuda, ptx, kind, threads
        self.plan: Any = plan  # a `Plan` of kernels that stay for all steps, a `Tiling` of those with matrices
        self.lanes = plan.lanes if plan else threads
        self.real, self.word = types[kind.real], types["uint32"]
        self.index = types["index"]  # of an array's element: not negative, which spares Numba's code for negative ones
        self.kept = types["uint16"] if kind.narrow else self.real  # of what is stored, as bits
        self.sizes = BYTES[kind.real], BYTES[kind.stored]
        self.depth = DEPTH.get(kind.product, 1)
        real = self.real
        self.lowest, self.nan = real(-math.inf), real(math.nan)

    def device(self, function: Any) -> Any:
        """Compile a function that kernels call."""
        raise NotImplementedError

    def kernel(self, function: Any) -> Any:
        """Compile a kernel."""
        raise NotImplementedError

    @cached_property
    def functions(self) -> SimpleNamespace:
        return device_functions(self.device, self.real, fast=self.kind.narrow, ptx=self.ptx)

    # Kernels close over functions, never over an instruction itself: it has another name in every process, and Numba's cache goes by it.

    @cached_property
    def widen(self) -> Any:
        """From the dtype of storage to the one that is computed with."""
        ptx = self.ptx

        def widen_bf16(value):  # type: ignore[no-untyped-def]
            return ptx.widen_bf16(value)

        def widen_f16(value):  # type: ignore[no-untyped-def]
            return ptx.widen_f16(value)

        return self.device({"bfloat16": widen_bf16, "float16": widen_f16}.get(self.kind.stored, _same))

    @cached_property
    def narrow(self) -> Any:
        """From the dtype that is computed with to the one of storage."""
        ptx = self.ptx

        def narrow_bf16(value):  # type: ignore[no-untyped-def]
            return ptx.narrow_bf16(value)

        def narrow_f16(value):  # type: ignore[no-untyped-def]
            return ptx.narrow_f16(value)

        return self.device({"bfloat16": narrow_bf16, "float16": narrow_f16}.get(self.kind.stored, _same))

    @cached_property
    def mma(self) -> Any:
        """Multiply fragments by tensor cores and add."""
        ptx = self.ptx

        def mma_bf16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
            return ptx.mma_bf16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)

        def mma_f16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
            return ptx.mma_f16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)

        def mma_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):  # type: ignore[no-untyped-def]
            return ptx.mma_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)

        return self.device({"bf16": mma_bf16, "f16": mma_f16, "tf32": mma_tf32}[self.kind.product])

    # Of kernels that stay for all steps

    @cached_property
    def meetings(self) -> tuple[Any, Any]:
        return resident.meetings(self, self.plan)

    @property
    def arrive(self) -> Any:
        return self.meetings[0]

    @property
    def wait(self) -> Any:
        return self.meetings[1]

    @cached_property
    def clear(self) -> Any:
        return resident.clearing(self, self.plan)

    def tile(self, name: str) -> SimpleNamespace:
        """Return an operand's tile; see `resident.tile`."""
        return resident.tile(self, self.plan, name)

    def product(self, name: str) -> SimpleNamespace:
        """Return a block's part of a product; see `resident.product`."""
        return resident.product(self, self.plan, name)

    # Of teams of threads

    @cached_property
    def _add(self) -> Any:
        @self.device
        def add(a, b):  # type: ignore[no-untyped-def]
            return a + b

        return add

    @cached_property
    def row_sum(self) -> Any:
        return team(self, self.lanes, self.threads, self._add)

    @cached_property
    def line_sum(self) -> Any:
        """Of the threads that have a row of a matrix."""
        return team(self, self.plan.across, self.threads, self._add)

    @cached_property
    def column_sum(self) -> Any:
        """Of the threads that have a column of a matrix."""
        return column_team(self, self.plan.across, self.threads, self._add)

    @cached_property
    def row_max(self) -> Any:
        return team(self, self.lanes, self.threads, self.functions.maximum)


def _same(value):  # type: ignore[no-untyped-def]
    return value
