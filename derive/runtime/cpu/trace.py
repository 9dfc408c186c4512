"""What a call does while it is recorded (see `replay`): it notes the compiled functions that it would run, and the arrays that it makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from .call import Call, Noted, Work
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


class _Left(Exception):
    """What a call does is other calls."""


class Trace:
    """What a pass would do, while it is recorded."""

    light: bool

    def __init__(self) -> None:
        self.call: Call | None = None
        self.works: list[Work] = []
        self.made = _Made()

    def of(self, work: Path, *given: Any) -> Any:
        """Return the result of the call that is recorded: arrays without values."""
        before = SKETCH.set(self.made)
        try:
            return work(self, *given)
        except _Left:
            self.call = None
        finally:
            SKETCH.reset(before)

    def on(self, call: Call, light: bool) -> Call:
        """Return a call, which wakes no thread if it is `light`, so that it is recorded: its recording does it, as all that come after."""
        self.call, self.light = call, light
        return Noted(*call._replace(empty=self.made.empty, record=self.works))

    def leave(self) -> NoReturn:
        """Record nothing: what the call does is other calls."""
        raise _Left
