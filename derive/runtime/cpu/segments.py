"""A call in segments: the forward pass keeps the states before each, and the backward pass computes each segment's tape again.

About √T steps each, so that the states before all segments and one segment's tape take about the same memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isqrt
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray


class Marks(NamedTuple):
    """The tape of a pass that is computed again segment by segment: the states before each."""

    every: int
    states: tuple[Any, ...]


class Segment(NamedTuple):
    """Steps `first` to `last`, as they are run: backwards from the end of each sequence if `whole` has the lengths of all."""

    first: int
    last: int
    lengths: Array | None
    whole: Array | None

    @property
    def steps(self) -> int:
        return self.last - self.first

    def take(self, values: Array) -> Array:
        """Return the segment's steps of an array over time."""
        if self.whole is None:
            return values[self.first : self.last]
        t, b = self._places(self.whole)
        return values[np.maximum(t, 0), b]

    def take_all(self, record: Any, names: Iterable[str]) -> Any:
        """Return a record with the segment's steps of the arrays over time in it, those of such `names`."""
        return record._replace(**{name: self.take(getattr(record, name)) for name in names})

    def put(self, out: Array, values: Array) -> None:
        """Write the segment's steps of an array over time."""
        if self.whole is None:
            out[self.first : self.last] = values
            return
        t, b = self._places(self.whole)
        real = t >= 0
        out[t[real], np.broadcast_to(b, t.shape)[real]] = values[real]

    def _places(self, whole: Array) -> tuple[Array, Array]:
        return whole - 1 - np.arange(self.first, self.last)[:, None], np.arange(whole.size)


Infer = Callable[[Segment, Any], tuple[Array, Any]]
Differentiate = Callable[[Segment, Any, Any], Any]


def interval(steps: int) -> int:
    """Return how many steps a segment of so many has."""
    return max(isqrt(max(steps - 1, 0)) + 1, 1)


def segments(steps: int, batch: int, every: int, lengths: Array | None, reverse: bool) -> list[Segment]:
    """Return the segments of a call, in the order in which they are run: `every` so many steps, one at least."""
    whole = None if not reverse else np.full(batch, steps) if lengths is None else lengths
    found = []
    for first in range(0, max(steps, 1), every):
        last = min(first + every, steps)
        part = None if lengths is None else np.clip(lengths - first, 0, last - first)
        found.append(Segment(first, last, part, whole))
    return found


def forward(parts: Sequence[Segment], infer: Infer, state: Any, y: Array) -> tuple[Any, tuple[Any, ...]]:
    """Run segments one after the other.

    Parameters
    ----------
    parts : sequence of Segment
    infer : callable
        Given a segment and the state before it, its output and the state after it.
    state : State
    y : array (T, B, ·)
        Where output is written.

    Returns
    -------
    State
        After the last segment.
    tuple of State
        Before each.
    """
    states = []
    for part in parts:
        states.append(state)
        values, state = infer(part, state)
        part.put(y, values)
    return state, tuple(states)


def backward(
    parts: Sequence[Segment],
    differentiate: Differentiate,
    added: Callable[[Any, Any], Any],
    states: Sequence[Any],
    dstate: Any,
    inputs: Mapping[str, Array],
) -> Any:
    """Run segments from the last to the first; return the gradients of all.

    Parameters
    ----------
    parts : sequence of Segment
    differentiate : callable
        Given a segment, the state before it and the cotangent of that after it, the gradients of its steps.
    added : callable
        Given two records of gradients, one with the sum of those that all steps share.
    states : sequence of State
        Before each segment.
    dstate : State
        Cotangent of the final state.
    inputs : mapping from name to array (T, B, ·)
        Those that have a gradient get one as large.
    """
    total: Any = None
    over_time: dict[str, Array] = {}
    for part, state in zip(reversed(parts), reversed(states), strict=True):
        grads = differentiate(part, state, dstate)
        dstate = grads.state
        for name, like in inputs.items():
            if (value := getattr(grads, name)) is not None:
                if name not in over_time:
                    over_time[name] = np.zeros_like(like)
                part.put(over_time[name], value)
        total = grads if total is None else added(total, grads)
    return total._replace(**over_time, state=dstate)
