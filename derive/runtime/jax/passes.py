"""The passes of one cell, from arrays to arrays: what JAX's primitives compute.

What goes in and comes out of each is a flat list, since that is what JAX differentiates:

    values     inputs and contexts, parameters, states before the first step; and lengths, where sequences have them
    cotangents of results, which are the output and the final states
    saved      what the forward pass keeps
    direction  tangents of values, or cotangents of gradients: None where one is zero
    gradients  by values; those that do not exist are None
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np

from ..common.asked import of_values

Array = np.ndarray
Maybe = Array | None
Shape = tuple[int, ...]

OVER_TIME, BY_SEQUENCE = 1, 0
"""The axis of sequences, of what has steps and of what has none; it is None for parameters."""


@dataclass(frozen=True)
class Passes:
    """One cell, and how it is called.

    Attributes
    ----------
    module : module
        Generated.
    steps : int, optional
        How many, for a cell without inputs.
    ragged : bool
        Whether the last of the values are lengths. Then nothing is saved, since what a pass keeps has no axis of sequences: where it is
        asked for, the forward pass is run again.
    reverse : bool
        Whether each sequence is run from its last step to its first.
    """

    module: ModuleType
    steps: int | None = None
    ragged: bool = False
    reverse: bool = False

    @property
    def layer(self) -> Any:
        return self.module.LAYER

    # Which values there are

    @cached_property
    def given(self) -> tuple[str, ...]:
        """The names of inputs and contexts."""
        return (*self.layer.inputs, *self.layer.context)

    @cached_property
    def groups(self) -> tuple[slice, ...]:
        """Values that have tangents together, or none: each input, all parameters, all states."""
        given, ends = len(self.given), np.cumsum([len(self.given), len(self.layer.params), len(self.layer.state)])
        return (*(slice(k, k + 1) for k in range(given)), *(slice(int(a), int(b)) for a, b in pairwise(ends)))

    @cached_property
    def whole(self) -> tuple[bool, ...]:
        """Which of the values are whole numbers."""
        floats = len(self.layer.params) + len(self.layer.state)
        return (*(name in self.layer.indices for name in self.given), *[False] * floats, *[True] * self.ragged)

    @property
    def values(self) -> int:
        return len(self.whole)

    @property
    def results(self) -> int:
        return 1 + len(self.layer.state)

    @property
    def saved(self) -> int:
        return 0 if self.ragged else len(self.layer.saved)

    # Axes of sequences

    @cached_property
    def axes_of_values(self) -> tuple[int | None, ...]:
        layer = self.layer
        axes = [*[OVER_TIME] * len(layer.inputs), *[BY_SEQUENCE] * len(layer.context), *[None] * len(layer.params)]
        return (*axes, *[BY_SEQUENCE] * (len(layer.state) + self.ragged))

    @property
    def axes_of_results(self) -> tuple[int | None, ...]:
        return (OVER_TIME, *[BY_SEQUENCE] * len(self.layer.state))

    @property
    def axes_of_saved(self) -> tuple[int | None, ...]:
        kept = [] if self.ragged else self.layer.saved.values()
        return tuple([None if extra is None else OVER_TIME for _, extra in kept])

    # Shapes, of values that are anything that has one

    def extent(self, values: Sequence[Any]) -> tuple[Any, int, int]:
        """Return the cell's sizes, how many steps there are, and how many sequences, once all of it is as the cell needs it.

        Raises
        ------
        ValueError
            It names the argument, what came and what is needed.
        """
        layer, (inputs, params, state) = self.layer, self._arguments(values)
        given = inputs._asdict()
        layer.dtype(given, params, state)
        steps, batch = layer.extent(given, state, self.steps)
        sizes = layer.find_sizes(given, params, state)
        layer.check(given, params, state, sizes, steps, batch)
        return sizes, steps, batch

    def shapes_of_results(self, values: Sequence[Any]) -> list[Shape]:
        layer, (sizes, steps, batch) = self.layer, self.extent(values)
        final = [(batch, *layer.shape(shape, sizes)) for shape in layer.state.values()]
        return [(steps, batch, *layer.shape(layer.output, sizes)), *final]

    def shapes_of_saved(self, values: Sequence[Any]) -> list[Shape]:
        layer, (sizes, steps, batch) = self.layer, self.extent(values)
        kept = [] if self.ragged else layer.saved.values()
        return [(*(() if extra is None else (steps + extra, batch)), *layer.shape(shape, sizes)) for shape, extra in kept]

    # Passes

    def infer(self, values: Sequence[Array]) -> list[Maybe]:
        y, final = self._called(self.module.infer, values)
        return [y, *final]

    def forward(self, values: Sequence[Array]) -> list[Maybe]:
        """Return results, and what is saved."""
        y, final, tape = self._called(self.module.forward, values)
        return [y, *final, *(() if self.ragged else tape.saved)]

    def backward(self, cotangents: Sequence[Array], values: Sequence[Array], saved: Sequence[Array], asks: Sequence[bool]) -> list[Maybe]:
        """Return the gradients by those values that are asked for, None for others."""
        dy, *dfinal = cotangents
        only = of_values(self.layer, asks[: self.values - self.ragged])
        return self._flat(self.module.backward(dy, self._tape(values, saved), self.module.State(*dfinal), only=only))

    def tangent(self, direction: Sequence[Maybe], values: Sequence[Array], saved: Sequence[Array]) -> list[Maybe]:
        """Return the derivatives of the results along a direction of values."""
        y, final = self.module.tangent(self._grads(direction), self._tape(values, saved))
        return [y, *final]

    def hessian(
        self, direction: Sequence[Maybe], cotangents: Sequence[Array], values: Sequence[Array], saved: Sequence[Array]
    ) -> list[Maybe]:
        """Return the derivatives of the gradients along a direction of values."""
        dy, *dfinal = cotangents
        return self._flat(self.module.hvp(self._grads(direction), self._tape(values, saved), dy, self.module.State(*dfinal))[1])

    def twice(
        self, direction: Sequence[Maybe], cotangents: Sequence[Array], values: Sequence[Array], saved: Sequence[Array]
    ) -> list[Maybe]:
        """Return the gradients of Σ ⟨direction, gradients⟩ by values."""
        dy, *dfinal = cotangents
        _, tape2 = self.module.backward(dy, self._tape(values, saved), self.module.State(*dfinal), second=True)
        return self._flat(self.module.backward_backward(self._grads(direction), tape2))

    # Records of the module

    def _arguments(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        module, given, params = self.module, len(self.given), len(self.layer.params)
        weights, state = values[given : given + params], values[given + params : self.values - self.ragged]
        return module.Inputs(*values[:given]), module.Params(*weights), module.State(*state)

    def _called(self, function: Callable[..., Any], values: Sequence[Array]) -> Any:
        inputs, params, state = self._arguments(values)
        named = dict(zip(self.given, inputs, strict=True))
        first = named.pop(self.given[0]) if self.layer.inputs else None
        steps = {} if self.layer.inputs else {"steps": self.steps}
        return function(first, params, state, **named, **steps, lengths=self._lengths(values), reverse=self.reverse)

    def _lengths(self, values: Sequence[Array]) -> Maybe:
        return values[-1] if self.ragged else None

    def _tape(self, values: Sequence[Array], saved: Sequence[Array]) -> Any:
        if self.ragged:
            return self._called(self.module.forward, values)[2]
        inputs, params, state = self._arguments(values)
        steps = self.steps if self.steps is not None else len(values[0])
        return self.module.Tape(inputs, params, state, self.module.Saved(*saved), steps, None, self.reverse)

    def _grads(self, direction: Sequence[Maybe]) -> Any:
        """Return a `Grads` of a direction, without what has no gradient."""
        inputs, params, state = self._arguments([*direction, *[None] * (self.values - len(direction))])
        known = self.layer.links["through"].handed if self.layer.links else {}
        weights = [value if f"params.{name}" in known else None for name, value in params._asdict().items()]
        fields = {name: value if name in known else None for name, value in inputs._asdict().items()}
        return self.module.Grads(**fields, params=type(params)(*weights), state=state)

    def _flat(self, grads: Any) -> list[Maybe]:
        """Return what a `Grads` or a `Second` has, in the order of values; None for all of a record that there is not."""
        params = [None] * len(self.layer.params) if grads.params is None else grads.params
        state = [None] * len(self.layer.state) if grads.state is None else grads.state
        return [*(getattr(grads, name) for name in self.given), *params, *state, *[None] * self.ragged]


def runtime(module: ModuleType, part: str) -> Any:
    """Return a part of the runtime that a module was generated with, which need not be that of this package.

    Raises
    ------
    RuntimeError
        If the module's package is older than these primitives.
    """
    package = module.__name__.rpartition(".")[0]
    try:
        return importlib.import_module(f"{package}.runtime.{part}")
    except ModuleNotFoundError as error:
        raise RuntimeError(f"{package} was generated by an earlier derive, which knew nothing of JAX: generate it anew") from error
