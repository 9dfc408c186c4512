"""What a call does while it is recorded (see `replay`): the compiled functions that it runs, and the arrays that it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .call import Call, Work
from .memory import SKETCH, fresh

Array = np.ndarray
Path = Callable[..., Any]  # the ordinary way of a call: given a Trace or None, and its arguments


class _Made:
    """Arrays that are new while a call is recorded: those of its own, and those that the functions which it calls ask `memory` for."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        self.arrays.append(fresh(shape, dtype, aligned=True))
        return self.arrays[-1]

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array that stays, and its zeros with it."""
        made = fresh(shape, dtype, aligned=True)
        made[...] = 0
        return made

    def on(self, call: Call, light: bool) -> Call:
        """Return a call of somebody else, as when a collection or a signal makes one meanwhile: it is not recorded."""
        return call


class Trace:
    """What a pass does while it is recorded."""

    light: bool

    def __init__(self) -> None:
        self.call: Call | None = None
        self.works: list[Work] = []
        self.made = _Made()

    def of(self, work: Path, *given: Any) -> Any:
        """Return the result of the call that is recorded."""
        before = SKETCH.set(self.made)
        try:
            return work(self, *given)
        finally:
            SKETCH.reset(before)

    def on(self, call: Call, light: bool) -> Call:
        """Return a call, which wakes no thread if it is `light`, so that it is recorded."""
        self.call, self.light = call, light
        return call._replace(empty=self.made.empty, record=self.works)

    def leave(self) -> None:
        """Record nothing: what the call does is other calls."""
        self.call = None
        SKETCH.set(None)
