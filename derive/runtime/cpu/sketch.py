"""Calls that are only sketched: which compiled functions they would run, and on what, found without running one.

    with sketched() as sketch:
        y, final, tape = lstm.forward(x, params, state)    # shapes and layouts are as ever; numbers are not
    sketch.works, sketch.made

All of a call that depends on shapes alone is done: checks, memory, views. So whoever has a program of its own, as a compiler of another
framework, learns what to call in it, and where the arrays of each call lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from .call import Call, Noted
from .kernel import host
from .memory import ALIGNMENT, SKETCH
from .openmp import LIGHT

Array = np.ndarray


class Sketch:
    """What calls would do.

    Attributes
    ----------
    works : list
        The compiled host functions in their order, each with all its arguments: `parts` and `how`, then arrays and numbers.
    made : list of arrays
        Memory that is new in each call, without values, each at a cache line. All other arrays of `works` are the caller's, or stay the
        same in every call.
    """

    def __init__(self) -> None:
        self.works: list[tuple[Any, tuple[Any, ...]]] = []
        self.made: list[Array] = []

    def on(self, call: Call, light: bool) -> Call:
        """Return a call that is sketched, whether or not it is `light`."""
        return _Sketched(*call._replace(empty=self.empty, record=self.works))

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        dtype = np.dtype(dtype)
        room = np.empty(prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)  # not touched, so the system gives none of it yet
        self.made.append(np.ndarray(shape, dtype, room, -room.ctypes.data % ALIGNMENT))
        return self.made[-1]

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return memory that is cleared in each call, before what comes after."""
        made = self.empty(shape, dtype)
        self.works.append((_clear, (1, LIGHT, made)))
        return made


class _Sketched(Noted):
    """A call of which all arguments are noted."""

    __slots__ = ()

    def run(self, work: Any, *given: Any) -> None:
        super().run(work, self.parts, self.how, *given)

    def add(self, one: Array, other: Array) -> Array:
        self.run(_plus, one, other)
        return one


@host
def _clear(parts, how, out):  # type: ignore[no-untyped-def]
    """Let an array have zeros."""
    out[...] = 0


@host
def _plus(parts, how, one, other):  # type: ignore[no-untyped-def]
    """Add an array to another one."""
    np.add(one, other, one)


@contextmanager
def sketched() -> Iterator[Sketch]:
    """Let calls of this thread be sketched, in a ``with`` statement."""
    sketch = Sketch()
    before = SKETCH.set(sketch)
    try:
        yield sketch
    finally:
        SKETCH.reset(before)
