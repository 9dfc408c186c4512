"""Kernels compiled by Numba for a device.  Needs numba-cuda, but no device until something is launched."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from numba import cuda, float32, float64, uint16, uint32

from ..common.cache import tell_not_kept
from . import ptx
from .call import THREADS
from .kind import Kind
from .machine import Machine
from .plan import Plan
from .tiling import Tiling

TYPES = {"float32": float32, "float64": float64, "uint32": uint32, "uint16": uint16, "index": uint32}


class NumbaMachine(Machine):
    """What kernels of a real device are made with."""

    def __init__(self, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> None:
        super().__init__(cuda, ptx, TYPES, kind, threads, plan)

    @cached_property
    def _device(self) -> Any:
        return cuda.jit(device=True, forceinline=True)

    def device(self, function: Any) -> Any:
        return self._device(function)

    def kernel(self, function: Any) -> Any:
        # One bound for all: Numba's cache does not tell kernels apart that differ in it alone, and a larger launch would fail.
        # One block a processor will do: without that, the assembler spills registers to make room for a second.
        bounds = (max(self.threads, THREADS), 1)
        try:
            return cuda.jit(cache=True, launch_bounds=bounds)(function)
        except RuntimeError as error:  # no folder that numba-cuda knows can be written to
            tell_not_kept(str(error))
            return cuda.jit(launch_bounds=bounds)(function)
