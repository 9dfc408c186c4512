"""One step again and again: what a forward pass of one step does is recorded once, and then only done again on the same memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .rows import recording
from .steps import flat

Array = np.ndarray


@dataclass(frozen=True)
class Stepper:
    """A recorded step.

    Attributes
    ----------
    sizes : mapping
    inputs, before : tuple of arrays
        Where inputs, contexts and states are read.
    calls : tuple of (function, arguments)
    y : array
    after : tuple of arrays
        Where output and states are written.
    """

    sizes: dict[str, int]
    inputs: tuple[Array, ...]
    before: tuple[Array, ...]
    calls: tuple[tuple[Callable[..., Any], tuple[Any, ...]], ...]
    y: Array
    after: tuple[Array, ...]

    @classmethod
    def record(cls, run: Callable[..., Any], call: Any, shape: tuple[int, ...]) -> Stepper:
        """Record the forward pass `run` on a call of one step, which has no `keep`; `shape` is that of the output."""
        inputs = {name: value.copy() for name, value in call.inputs.items()}
        with recording() as record:
            rows, _, _ = run(call._replace(inputs=inputs))
        before = tuple(view.reshape(like.shape) for view, like in zip(record.before, call.state, strict=True))
        after = tuple(view.reshape(like.shape) for view, like in zip(record.after, call.state, strict=True))
        return cls(call.sizes, tuple(inputs.values()), before, tuple(record.calls), rows.reshape(shape), after)

    def __call__(self, inputs: tuple[Array, ...], state: tuple[Array, ...], y: Array, after: tuple[Array, ...]) -> None:
        """Run the step on `inputs` and `state`; write output and states to `y` and `after`, which may be `state`."""
        for place, value in zip(self.inputs, inputs, strict=True):
            place[...] = value if value.ndim == 2 else flat(value, 1)
        for place, value in zip(self.before, state, strict=True):
            place[...] = value
        for function, arguments in self.calls:
            function(*arguments)
        y[...] = self.y
        for place, value in zip(after, self.after, strict=True):
            place[...] = value
