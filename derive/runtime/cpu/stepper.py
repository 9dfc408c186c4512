"""One step again and again: what a forward pass of one step does is recorded once, and then only done again on other arrays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .addresses import flat
from .call import Call
from .product import SHARED
from .threads import ATTENTION, call_workers

Array = np.ndarray
KEPT = 8  # shapes of calls whose steps a `Packed` keeps


@dataclass(eq=False)
class Stepper:
    """A recorded step: one call of a compiled function.

    Attributes
    ----------
    key : hashable
        What it depends on.
    sizes : mapping
    work : callable
    given : list
        Its arguments; those at `places` are other ones in each step.
    places : tuple of int
        Where inputs, contexts, states, the output and the states after the step stand.
    shape, dtype
        Of the output.
    shared : bool
        Whether a product is large enough for workers that are awake to take a part.
    ended : float
        When the last step ended, in seconds: if one comes soon after, so will the next, and workers are woken for it.
    """

    key: Any
    sizes: dict[str, int]
    work: Callable[..., None]
    given: list[Any]
    places: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    shared: bool
    ended: float = 0.0

    @classmethod
    def record(cls, run: Callable[..., Any], call: Call, shape: tuple[int, ...], key: Any) -> Stepper:
        """Record the forward pass `run` on a call of one step, which has no `keep`; `shape` is that of the output."""
        record: list[Any] = []
        rows, final, _ = run(call._replace(record=record))
        ((work, given),) = record
        arguments = [call.parts, call.how, *given]
        arrays = (*call.inputs.values(), *call.state, rows, *final)
        places = tuple(next(k for k, a in enumerate(arguments) if a is array) for array in arrays)
        shared = call.batch * max((weight.size for weight in call.weights or ()), default=0) >= SHARED
        return cls(key, call.sizes, work, arguments, places, shape, call.dtype, shared)

    def __call__(self, inputs: Sequence[Array], state: Sequence[Array], after: Sequence[Array]) -> Array:
        """Run the step on `inputs` and `state`, and write the states to `after`, which may be `state`; return the output."""
        given, y = self.given.copy(), np.empty(self.shape, self.dtype)
        for place, value in zip(self.places, (*inputs, *state, y, *after), strict=True):
            given[place] = value if value.ndim == 2 else flat(value, 1)
        if self.shared and time.perf_counter() - self.ended < ATTENTION:
            call_workers()
        self.work(*given)
        if self.shared:
            self.ended = time.perf_counter()
        return y


class Steppers:
    """The recorded steps of a `Packed`, of so many keys at most: of more, those that were used last.

    One that runs is nowhere in here, so that another thread that steps at the same time has one of its own.
    """

    def __init__(self) -> None:
        self._idle: dict[Any, list[Stepper]] = {}  # each of its operations is done in one go: there is no lock

    def __len__(self) -> int:
        return sum(map(len, list(self._idle.values())))

    def __iter__(self) -> Iterator[Stepper]:
        return iter([stepper for found in list(self._idle.values()) for stepper in found])

    def take(self, key: Any) -> Stepper | None:
        """Return one for `key` that nobody else has; None if there is none."""
        try:
            return self._idle[key].pop()
        except (KeyError, IndexError):
            return None

    def give(self, stepper: Stepper) -> None:
        """Take back one that has run; those of the key that was used longest ago may have to go for it."""
        found = self._idle.pop(stepper.key, [])
        found.append(stepper)
        self._idle[stepper.key] = found  # the last one now
        if len(self._idle) > KEPT:
            self._idle.pop(next(iter(self._idle)), None)
