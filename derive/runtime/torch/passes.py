"""The passes of one layer, from arrays to arrays: what autograd's functions compute.

What goes in and comes out of each is a flat list, since that is what PyTorch differentiates:

    values     inputs and contexts, weights, and states before the first step, if there are any
    cotangents of the output and of the final states; results are output and final states
    saved      what the forward pass keeps, and
    kept       what the backward pass keeps for double backward
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..cpu.addresses import Running
from .memory import Array, array

Maybe = Array | None
Work = Callable[..., Sequence[Maybe]]
Arrays = Sequence[Maybe]


@dataclass(frozen=True)
class Passes:
    """One layer of one cell, and how it is called.

    Attributes
    ----------
    module : module
        Generated.
    lengths : array (B,), optional
        Or `Running`: then arrays over time have rows, as a `PackedSequence` has.
    reverse : bool
    steps : int, optional
        How many, for a cell without inputs.
    starts : bool
        Whether states before the first step are given; else they are as the cell's rules say.
    single : bool
        Whether final states have an axis of one, for layers, before their own: made here, they are no views to PyTorch.
    keep : bool
        Whether passes keep what others read, whatever its axes; else only what has an axis for sequences is saved, and the rest is computed
        again where it is asked for.
    replay : bool
        Whether second derivatives that the module does not have are those of its step in PyTorch: see `replay`.
    marks : int
        The states before how many segments are all that is saved, to run the steps of each again; 0 if what is kept is saved.
    by_dy : bool
        Whether `twice` makes the gradient by the output's cotangent.
    """

    packs: ClassVar[bool] = True
    """Whether weights that are promised to stay are packed once."""

    module: Any
    lengths: Array | Running | None = None
    reverse: bool = False
    steps: int | None = None
    starts: bool = True
    single: bool = False
    keep: bool = True
    replay: bool = False
    marks: int = 0
    by_dy: bool = True

    given: int = field(init=False)
    """How many inputs and contexts."""
    weights: int = field(init=False)
    results: int = field(init=False)
    values: int = field(init=False)
    saved: int = field(init=False)
    kept: int = field(init=False)
    alike: tuple[Any, ...] | None = field(init=False)
    """What its calls have in common where they depend on nothing else but the shapes of tensors; else None."""

    def __post_init__(self) -> None:
        """Count once what is asked for in every call; a compiler reads it, where it could not look into a cached property."""
        module, keep = self.module, self.keep
        given, weights, states = (len(record._fields) for record in (module.Inputs, module.Params, module.State))
        saved, kept = len(module.Saved._fields), len(module.SavedBackward._fields) if module.LAYER.links else 0
        counts = {
            "given": given,
            "weights": weights,
            "results": 1 + states,
            "values": given + weights + (states if self.starts else 0),
            "saved": self.marks * states or (saved if keep or self.by_step else 0),
            "kept": kept if keep and not self.marks else 0,
        }
        plain = self.lengths is None and not (self.reverse or self.marks or module.LAYER.indices)
        alike = (type(self), module, self.steps, self.starts, self.single, keep) if plain and hasattr(module.LAYER, "heard") else None
        for name, found in {**counts, "alike": alike}.items():
            object.__setattr__(self, name, found)

    @cached_property
    def onward(self) -> Passes:
        """The same from the first step to the last."""
        return replace(self, reverse=False) if self.reverse else self

    # Where tensors lie: here, in memory that NumPy's arrays share

    def array(self, value: Any) -> Any:
        """Return what a pass reads of a tensor."""
        return array(value)

    def tensor(self, value: Any) -> Tensor:
        """Return what a pass gives as a tensor."""
        return torch.from_numpy(np.asarray(value))  # NumPy's sum of two arrays without axes is none

    def pool(self) -> AbstractContextManager[Any]:
        """Let kernels run on PyTorch's threads, those of the cell's own package."""
        found: AbstractContextManager[Any] = _threads(self.module.__name__.rpartition(".")[0]).pool("torch")
        return found

    def zeros(self, shape: tuple[int, ...], like: Any) -> Any:
        return np.zeros(shape, like.dtype)

    @property
    def by_step(self) -> bool:
        """Whether what is kept has an axis for steps and one for sequences: else it has rows, of all together."""
        return self.lengths is None and not self.reverse

    @property
    def key(self) -> str:
        """A text from which `operators` makes the same again, in another process too: the module's name."""
        name: str = self.module.__name__
        return name

    def shapes(self, values: Sequence[Any]) -> list[tuple[int, ...]]:
        """Return the shapes of results and of what is saved, of values that are arrays or tensors of whatever kind."""
        layer, (sizes, steps, batch) = self.module.LAYER, self.extent(values)
        kept = [(*self._lead(steps, batch, extra), *layer.shape(shape, sizes)) for shape, extra in layer.saved.values()]
        final = [(*((1,) if self.single else ()), batch, *layer.shape(shape, sizes)) for shape in layer.state.values()]
        return [(steps, batch, *layer.shape(layer.output, sizes)), *final, *(kept if self.saved else ())]

    def extent(self, values: Sequence[Any]) -> tuple[Any, int, int]:
        """Return the cell's sizes, how many steps there are, and how many sequences."""
        layer, (inputs, params, state) = self.module.LAYER, self._arguments(values)
        if isinstance(self.lengths, Running):
            inputs, steps, batch = inputs._replace(x=inputs.x[None]), self.lengths.active.size, self.lengths.batch
        elif layer.inputs:
            steps, batch = inputs[0].shape[:2]
        else:
            steps, batch = self.steps or 0, (*inputs, *(state or ()))[0].shape[0]
        return layer.find_sizes(inputs._asdict(), params, state), steps, batch

    def first(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Return the states before the first step, as the cell's rules say."""
        layer, like, (sizes, _, batch) = self.module.LAYER, floating(values), self.extent(values)
        return [like.new_full((batch, *layer.shape(shape, sizes)), layer.rules.get(name, 0.0)) for name, shape in layer.state.items()]

    def _lead(self, steps: int, batch: int, extra: int | None) -> tuple[int, ...]:
        """Return the axes of what is saved before a row's own."""
        if extra is None:
            return ()
        return (steps + extra, batch) if not self.reverse else ((steps + extra) * batch,)

    # The axis of sequences, None where there is none

    @property
    def axes_of_values(self) -> list[int | None]:
        layer = self.module.LAYER
        axes: list[int | None] = [1 if name in layer.inputs else 0 for name in self.module.Inputs._fields]
        return [*axes, *[None] * self.weights, *[0] * (self.values - self.given - self.weights)]

    @property
    def axes_of_results(self) -> list[int]:
        return [1, *[int(self.single)] * len(self.module.State._fields)]

    def repeated(self, times: int) -> Passes:
        """Return the same for so many batches, sequence by sequence of the first, then of the second."""
        if self.lengths is None:
            return self
        assert not isinstance(self.lengths, Running)
        return replace(self, lengths=np.tile(self.lengths, times))

    @property
    def foldable(self) -> bool:
        """Whether more sequences of a like kind may be put beside those of a call."""
        return not isinstance(self.lengths, Running)

    def sized(self, values: Sequence[Tensor]) -> Passes:
        """Return the same with as many `marks` as the module chooses by the size of a tape that keeps all."""
        layer = self.module.LAYER
        if layer.tape != "auto" or isinstance(self.lengths, Running):
            return self
        inputs, params, state = self._arguments(values)
        given = inputs._asdict()
        sizes, extent = layer.find_sizes(given, params, state), layer.extent(given, state, self.steps)
        marks = layer.marks(sizes, floating(values).dtype.itemsize, *extent, self.lengths)
        return replace(self, marks=marks) if marks else self

    # Passes

    def infer(self, values: Arrays) -> list[Maybe]:
        """Return the results."""
        inputs, params, state = self._arguments(values)
        with self.pool():
            y, final = self._called(self.module.infer, inputs, params, state)
        return self._results(y, final)

    def pack(self, weights: Sequence[Tensor]) -> Any:
        """Return weights as `infer_packed` takes them: a copy."""
        with self.pool():
            return self.module.pack(self.module.Params(*map(self.array, weights)))

    def infer_packed(self, packed: Any, given: Arrays, state: Arrays) -> list[Maybe]:
        """Return the results, by weights that were packed."""
        with self.pool():
            y, final = self._called(self.module.infer, self.module.Inputs(*given), packed, self._state(state))
        return self._results(y, final)

    def forward(self, values: Arrays) -> list[Maybe]:
        """Return results, and what is saved."""
        y, final, tape = self._run(values)
        if self.marks:
            return [*self._results(y, final), *chain.from_iterable(tape.saved.states)]
        return [*self._results(y, final), *(tape.saved if self.saved else ())]

    def backward(self, cotangents: Arrays, values: Arrays, saved: Arrays, asked: Sequence[str] | None = None) -> list[Maybe]:
        """Return the gradients by all values, or by those that are `asked` for; None for the others, and for one that has none."""
        tape, (dy, dfinal) = self._tape(values, saved), self._cotangents(cotangents, values)
        with self.pool():
            return self._flat(self.module.backward(dy, tape, dfinal, only=asked))

    def backward_kept(self, cotangents: Arrays, values: Arrays, saved: Arrays, asked: Sequence[str] | None = None) -> list[Maybe]:
        """Return the same, and what is kept for `twice`."""
        if not self.kept:
            return self.backward(cotangents, values, saved, asked)
        tape, (dy, dfinal) = self._tape(values, saved), self._cotangents(cotangents, values)
        with self.pool():
            grads, tape2 = self.module.backward(dy, tape, dfinal, second=True, only=asked)
        return [*self._flat(grads), *tape2.saved]

    def twice(self, u: Arrays, cotangents: Arrays, values: Arrays, saved: Arrays, kept: Arrays) -> list[Maybe]:
        """Return the gradients of Σ ⟨u, gradients⟩ by cotangents and by values."""
        tape, (dy, dfinal), module = self._tape(values, saved), self._cotangents(cotangents, values), self.module
        with self.pool():
            tape2 = module.Tape2(tape, dy, module.SavedBackward(*kept)) if kept else module.backward(dy, tape, dfinal, second=True)[1]
            found = module.backward_backward(self._grads(u), tape2, only=None if self.by_dy else module.Second._fields[1:])
        return [*self._results(found.dy, found.dfinal), *self._flat(found)]

    def tangent(self, tangents: Arrays, values: Arrays, saved: Arrays) -> list[Maybe]:
        """Return the derivatives of the results along a direction."""
        with self.pool():
            y, final = self.module.tangent(self._grads(tangents), self._tape(values, saved))
        return self._results(y, final)

    def transposed(self, cotangents: Arrays, tangents: Arrays, values: Arrays, saved: Arrays) -> list[Maybe]:
        """Return the gradients of ⟨cotangents, derivatives along a direction⟩ by the direction and by values."""
        tape, (dy, dfinal) = self._tape(values, saved), self._cotangents(cotangents, values)
        with self.pool():
            grads, tape2 = self.module.backward(dy, tape, dfinal, second=True)
            found = self.module.backward_backward(self._grads(tangents), tape2)
        return [*self._flat(grads), *self._flat(found)]

    def along(self, moved: Arrays, tangents: Arrays, cotangents: Arrays, values: Arrays, saved: Arrays) -> list[Maybe]:
        """Return the derivatives of the gradients along a direction of values, and of cotangents, which `moved` is."""
        tape, (dy, dfinal) = self._tape(values, saved), self._cotangents(cotangents, values)
        turned, ends = self._cotangents(moved, values)
        with self.pool():
            if all(tangent is None for tangent in tangents):
                return self._flat(self.module.backward(turned, tape, ends))
            bent = None if turned is None else lambda _: turned
            found = self._flat(self.module.hvp(self._grads(tangents), tape, dy, dfinal, curvature=bent)[1])
            rest = [None] * len(found) if ends is None else self._flat(self.module.backward(None, tape, ends))
        return [summed(a, b) for a, b in zip(found, rest, strict=True)]

    # Records of the module

    def _arguments(self, values: Arrays) -> tuple[Any, Any, Any]:
        given, weights, state = self.split(values)
        return self.module.Inputs(*given), self.module.Params(*weights), self._state(state)

    def _state(self, values: Arrays) -> Any:
        return self.module.State(*values) if self.starts else None

    def split(self, values: Arrays) -> tuple[Arrays, Arrays, Arrays]:
        end = self.given + self.weights
        return values[: self.given], values[self.given : end], values[end:]

    def _called(self, function: Any, inputs: Any, params: Any, state: Any, **more: Any) -> Any:
        first, *others = zip(inputs._fields, inputs, strict=True) if self.module.LAYER.inputs else [("", None), *inputs._asdict().items()]
        options = dict(others) if self.steps is None else {**dict(others), "steps": self.steps}
        return function(first[1], params, state, **options, **self._options(), **more)

    def _options(self) -> dict[str, Any]:
        return {"lengths": self.lengths, "reverse": self.reverse}

    def _keeping(self) -> dict[str, Any]:
        """Return how a forward pass is told what to keep: autograd is to know of how many arrays that is."""
        return {"tape": "recompute" if self.marks else "full"}

    def _run(self, values: Arrays) -> tuple[Array, Any, Any]:
        inputs, params, state = self._arguments(values)
        with self.pool():
            found: tuple[Array, Any, Any] = self._called(self.module.forward, inputs, params, state, **self._keeping())
        return found

    def _tape(self, values: Arrays, saved: Arrays) -> Any:
        """Return the tape of a call; where nothing was saved, the forward pass is run again."""
        if not saved and self.module.LAYER.saved:
            return self._run(values)[2]
        inputs, params, state = self._arguments(values)
        steps = self.steps if self.steps is not None else len(self.lengths.active if isinstance(self.lengths, Running) else inputs[0])
        return self._taped(inputs, params, state, saved, steps)

    def _taped(self, inputs: Any, params: Any, state: Any, saved: Arrays, steps: int) -> Any:
        kept = self.module.LAYER.marked(saved, steps) if self.marks else self.module.Saved(*saved)
        return self.module.Tape(inputs, params, state, kept, steps, self.lengths, self.reverse)

    def _results(self, y: Maybe, final: Any) -> list[Maybe]:
        return [y, *([None if value is None else value[None] for value in final] if self.single else final)]

    def _cotangents(self, cotangents: Arrays, values: Arrays) -> tuple[Maybe, Any]:
        dy, *dfinal = cotangents
        if self.single:
            dfinal = [None if value is None else value[0] for value in dfinal]
        if all(value is None for value in dfinal):
            return dy, None
        if any(value is None for value in dfinal):
            sizes, _, batch = self.extent(values)
            layer, like = self.module.LAYER, next(value for value in cotangents if value is not None)
            shapes = [(batch, *layer.shape(shape, sizes)) for shape in layer.state.values()]
            dfinal = [self.zeros(shape, like) if value is None else value for value, shape in zip(dfinal, shapes, strict=True)]
        return dy, self.module.State(*dfinal)

    def _grads(self, values: Arrays) -> Any:
        """Return a `Grads` of cotangents or tangents in the order of values."""
        given, weights, state = self.split(values)
        kind = self.module.Grads
        fields = {name: value for name, value in zip(self.module.Inputs._fields, given, strict=True) if name in kind._fields}
        return kind(**fields, params=self.module.Params(*weights), state=self._state(state))

    def _flat(self, grads: Any) -> list[Maybe]:
        """Return what a `Grads` or a `Second` has, in the order of values; None for all of a record that there is not."""
        given = [getattr(grads, name, None) for name in self.module.Inputs._fields]
        params = [None] * self.weights if grads.params is None else grads.params
        states = [None] * (self.values - self.given - self.weights) if grads.state is None or not self.starts else grads.state
        return [*given, *params, *states]


def floating(values: Sequence[Tensor]) -> Tensor:
    """Return the first value that is no index."""
    return next(value for value in values if value.is_floating_point())


def summed(a: Maybe, b: Maybe) -> Maybe:
    """Return a sum in which None is zero."""
    return b if a is None else a if b is None else a + b


@lru_cache(maxsize=64)
def _threads(package: str) -> Any:
    return importlib.import_module(f"{package}.runtime.threads")
