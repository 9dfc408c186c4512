"""What the host asks of a device: arrays, products, and kernels compiled and launched."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from .kind import BYTES, Kind
from .limits import Limits
from .machine import Machine
from .plan import Plan, Steps
from .planner import best
from .tiling import Shape, Tiling, for_loop

Factory = Callable[[Machine], Any]


class Device(ABC):
    """A device; `Gpu` is a real one.

    Attributes
    ----------
    xp : module
        Of its arrays: CuPy, or what works like it.
    limits : Limits
    """

    xp: Any
    limits: Limits

    def __init__(self) -> None:
        self._kernels: dict[Any, Any] = {}
        self._plans: dict[Any, Plan | None] = {}

    # Arrays

    @abstractmethod
    def array(self, value: Any, argument: str) -> Any:
        """Return a caller's array as one of `xp`, the same memory; TypeError or ValueError names the argument."""

    @abstractmethod
    def like(self, value: Any, example: Any) -> Any:
        """Return an array of `xp` as one of the kind that `example` is, the same memory."""

    @abstractmethod
    def queued(self, stream: Any, example: Any) -> AbstractContextManager[Any]:
        """Queue the work of a block on `stream`, or the current stream of the library that made `example`."""

    @abstractmethod
    def dtype(self, name: str) -> Any:
        """Return a dtype by name."""

    def cast(self, value: Any, dtype: Any) -> Any:
        """Return an array, or a module's constant, as one of `xp` in a dtype."""
        return self.xp.asarray(value).astype(dtype, copy=False)

    def words(self, rows: Any) -> Any:
        """Return contiguous rows as words of 32 bits, of which the first has an address that is a multiple of 16 bytes."""
        return rows.reshape(-1).view(self.xp.uint32)

    # Work

    @abstractmethod
    def multiply(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        """``out = a @ b``, or ``out += a @ b``; two-dimensional, rows or columns contiguous, sums in the dtype computed with."""

    @abstractmethod
    def machine(self, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> Machine:
        """Return what kernels are made with."""

    def argument(self, value: Any) -> Any:
        """Return an argument of kernels, an array or a number, as `launch` is quickest with it."""
        return value

    @abstractmethod
    def launch(self, kernel: Any, grid: tuple[int, int], threads: int, shared: int, given: tuple[Any, ...], *, together: bool) -> None:
        """Run a kernel; `together`: all blocks at the same time."""

    def plan(self, steps: Steps, sizes: Mapping[str, int], batch: int, kind: Kind) -> Plan | None:
        """Return the plan of a time loop, or None where its steps are run one by one."""
        key = id(steps), tuple(sizes.items()), batch, kind
        if key not in self._plans:
            self._plans[key] = best(steps, sizes, batch, kind, self.limits)
        return self._plans[key]

    def tiling(self, features: int, matrices: tuple[Shape, ...], kept: tuple[Shape, ...], kind: Kind) -> Tiling | None:
        """Return how a time loop whose rows need nothing of each other has its matrices, or None where its steps are run one by one."""
        return for_loop(features, matrices, kept, BYTES[kind.real], self.limits.shared)

    def compiled(self, make: Factory, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> Any:
        """Return the kernel that a factory makes, made once."""
        key = make, kind, threads, plan
        if key not in self._kernels:
            self._kernels[key] = make(self.machine(kind, threads, plan))
        return self._kernels[key]
