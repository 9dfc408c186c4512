"""Single steps on packed parameters, with next to nothing done in Python.

A recorded step (see `replay`) is known again by a key of all that it depends on. One that has been done often is known by what is quicker
to look at: that the parameters are the same object, and, in compiled code, that arrays have the dtypes, layouts and shapes that they had.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

import numpy as np

from .entry import Entry
from .replay import Recording
from .threads import division

Array = np.ndarray
OFTEN = 16  # times that a step is done as it was recorded, before its entry is compiled, or read from the cache


class Quick(NamedTuple):
    """A step that is done as it was recorded, and is nobody else's.

    Attributes
    ----------
    run : callable
        The forward pass of its module.
    params, weights : record of arrays, tuple
        Of the `Packed` that it is given: what it reads.
    kind : type
        Of the state that it is given.
    state : type
        Of the state that it returns.
    divided : (int, int)
        On what threads it runs.
    dtype : np.dtype
        Of all its arrays.
    made : list of shapes and dtypes
        Output and states, as it returns them.
    """

    run: Callable[..., Any]
    params: Any
    weights: Any
    kind: type[Any]
    state: type[Any]
    divided: tuple[int, int]
    entry: Entry
    dtype: np.dtype
    made: list[tuple[tuple[int, ...], np.dtype]]

    @classmethod
    def of(
        cls, recording: Recording, run: Callable[..., Any], packed: Any, kind: type[Any], state: type[Any], arrays: list[Array]
    ) -> Quick | None:
        """Return a recorded step that wakes no thread; None if it cannot be done so."""
        entries = recording.entries([*arrays, *recording.new()]) if recording.plain else None
        if entries is None or len(entries) != 1:
            return None
        return cls(run, packed.params, packed.weights, kind, state, recording.divided, entries[0], recording.call.dtype, recording.made)

    def done(self, run: Callable[..., Any], packed: Any, inputs: Any, state: Any) -> tuple[Array, Any] | None:
        """Do the step; None, and nothing is done, if it is another one."""
        if (
            run is not self.run
            or packed.params is not self.params
            or packed.weights is not self.weights
            or type(state) is not self.kind
            or division(True) != self.divided
        ):
            return None
        made = [np.empty(shape, dtype) for shape, dtype in self.made]
        enter, block, _ = self.entry
        given: tuple[Array, ...] = inputs if state is None else (*inputs, *state)
        try:
            for array in given:
                if array.dtype is not self.dtype:  # Numba does not see an order of bytes
                    return None
            same = enter(block, *given, *made)
        except (AttributeError, TypeError, ValueError):  # arrays of other kinds, or none
            return None
        return (made[0], tuple.__new__(self.state, made[1:])) if same else None


class Quickly:
    """The step that is done so, of those on a `Packed`: one at most, the last that was done often in a row."""

    def __init__(self) -> None:
        self._idle: list[Quick] = []  # empty also while it runs: another thread that steps at the same time goes the recorded way
        self._others = 0.0

    def step(self, run: Callable[..., Any], packed: Any, inputs: Any, state: Any) -> tuple[Array, Any] | None:
        """Do a step, if it is the one; else None, and nothing is done."""
        try:
            quick = self._idle.pop()
        except IndexError:
            return None
        done = quick.done(run, packed, inputs, state)
        self._idle.append(quick)
        if done is not None:
            self._others = 0.0
        return done

    def learn(self, recording: Recording, *given: Any) -> bool:
        """Hear of a step that was done as it was recorded, `given` as to `Quick.of`; return whether it is the one now, and keeps that."""
        self._others += 1
        if self._others < OFTEN or not recording.light:
            return False
        quick = Quick.of(recording, *given)
        if quick is None:
            self._others = -inf
            return False
        self._idle, self._others = [quick], 0.0
        return True
