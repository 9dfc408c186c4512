"""Time on a device, by CUDA events: of calls, and of the kernels that stay for all steps of one."""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from unittest import mock

from ..measure import Clock

WARM = 2.0  # seconds of work after which a device's clocks are as high as they stay
WORK = 4096  # rows of the matrices that are multiplied until then
TIMES = 7  # that a kernel is timed alone


@dataclass(frozen=True)
class Floor:
    """A kernel that runs a whole time loop, alone.

    Attributes
    ----------
    kernel : str
        Whether it is that of the forward or of the backward pass.
    members, rows, groups : int
        Blocks of a group, sequences of one, and how many groups there are.
    estimate, seconds : float
        For a step: what the planner expected, and the median of what was measured.
    """

    kernel: str
    members: int
    rows: int
    groups: int
    estimate: float
    seconds: float


class EventClock:
    """A clock that stands while the device waits for nothing: the time between two events that it has reached."""

    def __init__(self) -> None:
        self._event = importlib.import_module("torch").cuda.Event
        self._last, self._seconds = self._recorded(), 0.0

    def _recorded(self) -> Any:
        event = self._event(enable_timing=True)
        event.record()
        event.synchronize()
        return event

    def now(self) -> float:
        """Return the seconds since the clock was made, when the device has done all that it was given."""
        event = self._recorded()
        self._seconds += self._last.elapsed_time(event) / 1e3  # from the one before: a single precision number has 7 digits
        self._last = event
        return self._seconds


def warmed(seconds: float = WARM) -> Clock:
    """Return the device's clock after some work that makes its frequencies rise."""
    torch = importlib.import_module("torch")
    square, end = torch.randn(WORK, WORK, device="cuda"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        square @ square
        torch.cuda.synchronize()
    return Clock(EventClock().now, lambda: None)


def floors(module: ModuleType, call: Callable[[], object], now: Callable[[], float], times: int = TIMES) -> list[Floor]:
    """Return the times of a call's kernels that stay for all steps; none where steps are run one by one."""
    call()
    with watched(module, now) as found:
        for _ in range(times):
            call()
    each = {(floor.kernel, floor.members, floor.rows): list[Floor]() for floor in found}
    for floor in found:
        each[floor.kernel, floor.members, floor.rows].append(floor)
    return [Floor(**{**vars(same[0]), "seconds": statistics.median(floor.seconds for floor in same)}) for same in each.values()]


@contextmanager
def watched(module: ModuleType, now: Callable[[], float]) -> Iterator[list[Floor]]:
    """Time every kernel that stays for all steps, of all modules of a generated package; give the list of what was found."""
    calls = importlib.import_module(f"{module.__name__.partition('.cuda.')[0]}.runtime.cuda.call").Call
    found, stay = list[Floor](), calls.stay

    def timed(call: Any, plan: Any, make: Any, **given: Any) -> None:
        begin = now()
        stay(call, plan, make, **given)
        kernel = make.__name__.removeprefix("make_").removesuffix("_resident")
        found.append(Floor(kernel, plan.members, plan.rows, plan.groups, plan.cost / 1e6, (now() - begin) / call.steps))

    with mock.patch.object(calls, "stay", timed):
        yield found
