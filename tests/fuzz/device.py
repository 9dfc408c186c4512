"""A random cell's module for CUDA devices, executed on the grid simulator: step by step, and by kernels that stay for all steps."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

from derive.cell import Cell
from derive.package.folder import Files
from derive.runtime.cuda import current, planner
from derive.runtime.cuda.kind import Kind
from derive.runtime.cuda.plan import Plan, Steps
from derive.runtime.cuda.tiling import Shape, Tiling

sys.path += [folder for folder in (str(Path(__file__).parents[1] / "gpu"),) if folder not in sys.path]

from device import SimulatedDevice, using

THREADS, ROWS = 64, 2
MEMBERS = (0, 1, 2)  # of a group; 0: step by step


class Forced(SimulatedDevice):
    """A simulated device whose groups have so many members, where that divides all sizes."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = members

    def plan(self, steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind) -> Plan | None:
        if not self.members or (self.members > 1 and (not steps.spread or any(sizes[name] % self.members for name in steps.divided))):
            return None
        return planner.plan(steps, sizes, batch, kind, self.members, ROWS, threads=THREADS)

    def tiling(self, features: int, matrices: tuple[Shape, ...], kept: tuple[Shape, ...], kind: Kind) -> Tiling | None:
        return super().tiling(features, matrices, kept, kind) if self.members else None


def on_members(members: int) -> AbstractContextManager[Any]:
    """Let the toolkit's own runtime use a simulated device."""
    return using(Forced(members), current)


def module(files: Files, cell: Cell, cpu: ModuleType) -> ModuleType:
    """Return the module for devices, on the toolkit's own runtime; `cpu` is the cell's module for the CPU."""
    text = (
        files[f"cuda/{cell.name}.py"]
        .replace("from ..runtime", "from derive.runtime")
        .replace(f"from ..{cell.name} import", "from _cpu import")
    )
    made: Any = ModuleType(f"cuda.{cell.name}")
    sys.modules["_cpu"] = cpu
    try:
        exec(compile(text, f"cuda/{cell.name}.py", "exec"), made.__dict__)
    finally:
        del sys.modules["_cpu"]
    return made
