"""A device whose memory is NumPy's and whose kernels run on the grid simulator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
from simulator import Machine as Simulator

from derive.runtime.cuda.device import Device
from derive.runtime.cuda.kind import Kind
from derive.runtime.cuda.limits import H200
from derive.runtime.cuda.machine import Machine
from derive.runtime.cuda.plan import Plan
from derive.runtime.cuda.tiling import Tiling

DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}


class Numpy:
    """NumPy, but what nobody has written is NaN."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def empty(shape: Any, dtype: Any) -> np.ndarray:
        made = np.empty(shape, dtype)
        made.reshape(-1).view(np.uint8)[...] = 0xFF
        return made


@contextmanager
def using(device: Device, *places: ModuleType) -> Iterator[Device]:
    """Let the runtimes whose modules `current` are given use a device."""
    before = [list(place._device) for place in places]
    for place in places:
        place.use(device)
    try:
        yield device
    finally:
        for place, found in zip(places, before, strict=True):
            place._device[:] = found


class SimulatedMachine(Machine):
    """What kernels of the simulator are made with."""

    def __init__(self, simulator: Simulator, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> None:
        self.simulator = simulator
        types = {"float32": np.float32, "float64": np.float64, "uint32": np.uint32, "uint16": np.uint16, "index": int}
        super().__init__(simulator.cuda, simulator.ptx, types, kind, threads, plan)

    def device(self, function: Any) -> Any:
        return self.simulator.device(function)

    def kernel(self, function: Any) -> Any:
        return self.simulator.kernel(function)


class SimulatedDevice(Device):
    """Runs every launch on the simulator; the numbers of launches are counted by kernel."""

    xp = Numpy()

    def __init__(self, limits: Any = H200, order: str = "forward") -> None:
        super().__init__()
        self.limits, self.order = limits, order
        self.launched: dict[str, int] = {}
        self._simulators: dict[str, Simulator] = {}

    def array(self, value: Any, argument: str) -> Any:
        value = np.asarray(value) if isinstance(value, np.generic) else value
        if not isinstance(value, np.ndarray):
            raise TypeError(f"{argument} must be an array on the device, got {type(value).__name__}")
        return value

    def like(self, value: Any, example: Any) -> Any:
        return value

    def queued(self, stream: Any, example: Any) -> AbstractContextManager[Any]:
        return nullcontext()

    def dtype(self, name: str) -> Any:
        return DTYPES[name]

    def multiply(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        wide = np.float64 if out.dtype == np.float64 else np.float32
        made = a.astype(wide) @ b.astype(wide)
        out[...] = (made + out.astype(wide) if add else made).astype(out.dtype)

    def machine(self, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> Machine:
        if kind.real not in self._simulators:
            self._simulators[kind.real] = Simulator(np.dtype(kind.real).type, order=self.order)
        return SimulatedMachine(self._simulators[kind.real], kind, threads, plan)

    def launch(self, kernel: Any, grid: tuple[int, int], threads: int, shared: int, given: tuple[Any, ...], *, together: bool) -> None:
        self.launched[kernel.__name__] = self.launched.get(kernel.__name__, 0) + 1
        arguments = [self._bits(value) for value in given]
        wide = any(getattr(value, "dtype", None) == np.float64 for value in given)
        self._simulators["float64" if wide else "float32"].launch(kernel, grid, threads, shared, *arguments)

    @staticmethod
    def _bits(value: Any) -> Any:
        return value.view(np.uint16) if isinstance(value, np.ndarray) and value.dtype in (DTYPES["bfloat16"], DTYPES["float16"]) else value
