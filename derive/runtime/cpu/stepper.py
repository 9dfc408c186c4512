"""One step again and again: what a forward pass of one step does is recorded once, and then only done again on the same memory."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .addresses import flat
from .bulk import Record, run_pass
from .product import SHARED
from .threads import ATTENTION, call_workers

Array = np.ndarray
KEPT = 8  # recorded steps of a `Packed`


@dataclass(eq=False)
class Stepper:
    """A recorded step.

    Attributes
    ----------
    key : hashable
        What it depends on.
    sizes : mapping
    inputs, before : tuple of arrays
        Where inputs, contexts and states are read.
    calls : tuple of (function, arguments)
    y : array
    after : tuple of arrays
        Where output and states are written.
    shared : bool
        Whether a product is large enough for workers that are awake to take a part.
    ended : float
        When the last step ended, in seconds: if one comes soon after, so will the next, and workers are woken for it.
    """

    key: Any
    sizes: dict[str, int]
    inputs: tuple[Array, ...]
    before: tuple[Array, ...]
    calls: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]
    y: Array
    after: tuple[Array, ...]
    shared: bool
    ended: float = 0.0

    @classmethod
    def record(cls, run: Callable[..., Any], call: Any, shape: tuple[int, ...], key: Any) -> Stepper:
        """Record the forward pass `run` on a call of one step, which has no `keep`; `shape` is that of the output."""
        inputs, record = {name: value.copy() for name, value in call.inputs.items()}, Record()
        rows, _, _ = run_pass(run, call._replace(inputs=inputs), record=record)
        before = tuple(view.reshape(like.shape) for view, like in zip(record.before, call.state, strict=True))
        after = tuple(view.reshape(like.shape) for view, like in zip(record.after, call.state, strict=True))
        shared = call.batch * max((weight.size for weight in call.weights), default=0) >= SHARED
        return cls(key, call.sizes, tuple(inputs.values()), before, tuple(record.calls), rows.reshape(shape), after, shared)

    def __call__(self, inputs: tuple[Array, ...], state: tuple[Array, ...], y: Array, after: tuple[Array, ...]) -> None:
        """Run the step on `inputs` and `state`; write output and states to `y` and `after`, which may be `state`."""
        for place, value in zip(self.inputs, inputs, strict=True):
            place[...] = value if value.ndim == 2 else flat(value, 1)
        for place, value in zip(self.before, state, strict=True):
            place[...] = value
        if self.shared and time.perf_counter() - self.ended < ATTENTION:
            call_workers()
        for function, arguments in self.calls:
            function(*arguments)
        y[...] = self.y
        for place, value in zip(after, self.after, strict=True):
            place[...] = value
        self.ended = time.perf_counter()


class Steppers:
    """The recorded steps of a `Packed`, so many at most: of more, those that were used last.

    One that runs is nowhere in here, so that another thread that steps at the same time has one of its own.
    """

    def __init__(self) -> None:
        self._idle: deque[Stepper] = deque(maxlen=KEPT)  # each of its operations is done in one go: there is no lock

    def __len__(self) -> int:
        return len(self._idle)

    def __iter__(self) -> Iterator[Stepper]:
        return iter(self._idle.copy())

    def take(self, key: Any) -> Stepper | None:
        """Return one for `key` that nobody else has; None if there is none."""
        for stepper in reversed(self._idle.copy()):
            if stepper.key == key:
                try:
                    self._idle.remove(stepper)
                except (ValueError, IndexError):  # another thread has taken it
                    continue
                return stepper
        return None

    def give(self, stepper: Stepper) -> None:
        """Take back one that has run; the one that was given longest ago may have to go for it."""
        self._idle.append(stepper)
