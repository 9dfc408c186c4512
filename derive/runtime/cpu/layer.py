"""What all generated modules share on the host: a checked call of a cell's passes, and what is made of their rows.

A module has the passes of its cell: ``_forward(call)`` returns output and states as rows and what it kept, ``_backward(call, saved, dy,
dfinal)`` gradients as rows.  Here they get checked arguments, laid out as they want them; sequences of unequal length, backwards, or in
segments of which only the first states are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any, NamedTuple

import numpy as np

from ..common.packed import Seal, check_packed
from ..common.sizes import Sizes
from ..common.table import Table, shown, signature
from .addresses import Rows, dense, flat
from .bulk import run_pass
from .division import step_by_step
from .memory import unlocked
from .stepper import Stepper, Steppers
from .threads import get_threads
from .tile import ROWS

Array = np.ndarray
Pass = Callable[..., Any]
Signature = tuple[tuple[tuple[int, ...], np.dtype], ...]
CHECKED = 256  # kinds of calls that a layer remembers


class Packed(NamedTuple):
    """Parameters as they were when they were packed, checked, and what the kernels make of them before the first step.

    `infer` and `step` take it in place of parameters; all that they read is its own.
    """

    params: Any
    weights: tuple[Any, ...]
    shapes: Signature
    steppers: Steppers
    seal: Seal

    def __reduce__(self) -> Any:
        return self.seal.again(self.params)


class Call(NamedTuple):
    """A checked call: sizes, and every argument contiguous, sequences as rows."""

    sizes: Sizes
    dtype: np.dtype
    params: Any
    weights: tuple[Any, ...] | None = None
    steps: int = 0
    batch: int = 0
    inputs: Any = None
    state: Any = None
    rows: Any = None
    keep: bool = False


class Marks(NamedTuple):
    """The tape of a pass that is computed again segment by segment: the states before each."""

    every: int
    states: tuple[Any, ...]


class Layer(Table):
    """A cell's interface, and the functions of its module."""

    # What the module's functions do

    def pack(self, make: Pass, params: Any) -> Packed:
        """Return a copy of parameters with what the kernels make of it."""
        params = self.record(params, self.records["Params"], "params")
        dtype = self.dtype(dict.fromkeys(self.indices, np.zeros(0, int)), params, None)
        sizes = self.find_sizes({}, params, None, complete=False)
        self.check_params(params, sizes)
        self.check_sizes(sizes)
        params = type(params)(*(value.copy() for value in params))
        parts = params, run_pass(make, Call(sizes, dtype, params)), signature(params), Steppers()
        return Packed(*parts, Seal(make.__module__, parts))

    def forward(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, lengths: Any, reverse: bool, tape: str
    ) -> tuple[Array, Any, Any]:
        """Return output, final state and tape."""
        if tape not in ("full", "recompute"):
            raise ValueError(f'{self.name}: tape must be "full" or "recompute", got {tape!r}')
        call, start, lengths = self.call(inputs, params, state, steps, lengths, reverse, keep=tape == "full")
        record, params = self.records["Tape"], params.params if isinstance(params, Packed) else params
        if tape == "recompute":
            y, final, saved = self._by_segments(run, inputs, params, start, call, lengths, reverse)
        else:
            rows, final, kept = run_pass(run, call)
            y, final, saved = self._output(call, rows), self._unsorted(call, final), self._kept(call, kept)
        return y, final, record(inputs, params, start, saved, call.steps, lengths, reverse)

    def infer(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, lengths: Any, reverse: bool
    ) -> tuple[Array, Any]:
        """Return output and final state."""
        call, _, _ = self.call(inputs, params, state, steps, lengths, reverse, keep=False)
        rows, final, _ = run_pass(run, call)
        return self._output(call, rows), self._unsorted(call, final)

    def step(self, run: Pass, inputs: Any, params: Any, state: Any, out: Any) -> tuple[Array, Any]:
        """Return output and state of one step, written to `out` as far as that is given: the output, or output and state."""
        key = _key(inputs, state) if isinstance(params, Packed) else None
        if key is None:
            call = self._step_call(inputs, params, state)
            rows, final, _ = run_pass(run, call)
            return self._written(rows.reshape(self._row(call)), final, out)
        check_packed(params, self.name, self.records["Params"])
        stepper = params.steppers.take(key)
        if stepper is None:
            call = self._step_call(inputs, params, state)
            stepper = Stepper.record(run, call, self._row(call), key)
        if self.indices:
            self.check_indices(inputs._asdict(), stepper.sizes)
        y, after = self._places(out, stepper.y, stepper.after)
        y = np.empty_like(stepper.y) if y is None else y
        after = type(state)(*map(np.empty_like, stepper.after)) if after is None else after
        stepper(tuple(inputs), state, y, after)
        params.steppers.give(stepper)
        return y, after

    def _row(self, call: Call) -> tuple[int, ...]:
        return (call.batch, *self.shape(self.output, call.sizes))

    def _step_call(self, inputs: Any, params: Any, state: Any) -> Call:
        """Check a step's arguments, and return the call of a sequence of one step."""
        given = inputs._asdict()
        for name, shape in self.inputs.items():
            value = self.array(given[name], name)
            if value.ndim != 1 + len(shape):
                raise ValueError(f"{self.name}.step: {name} has shape {value.shape}, needs {shown(('B', *shape))}")
            given[name] = value[None]
        return self.call(type(inputs)(**given), params, state, None if self.inputs else 1, None, False, keep=False)[0]

    def backward(self, forward: Pass, run: Pass, dy: Any, tape: Any, dfinal: Any) -> Any:
        """Return the gradients."""
        if not isinstance(tape, self.records["Tape"]):
            got = f"{type(tape).__module__.rpartition('.')[2]}.{type(tape).__name__}"
            raise ValueError(f"{self.name}.backward: tape must be a {self.name}.Tape, got a {got}")
        keep = not isinstance(tape.saved, Marks)
        call, start, lengths = self.call(tape.inputs, tape.params, tape.state, tape.steps, tape.lengths, tape.reverse, keep=keep)
        dy, dfinal = self._cotangents(call, start, dy, dfinal)
        if not keep:
            return self._back_by_segments(forward, run, dy, tape, dfinal, lengths)
        saved = self._saved(call, tape.saved)
        dy = unlocked(call.rows.gather(flat(dy, 2)))
        grads = run_pass(run, call, saved, dy, type(dfinal)(*map(call.rows.sort, dfinal)))
        return self._gradients(call, grads)

    # Calls

    def call(
        self, inputs: Any, params: Any, state: Any, steps: int | None, lengths: Any, reverse: bool, *, keep: bool
    ) -> tuple[Call, Any, Array | None]:
        """Check a call; return it ready to run, the state before the first step and the lengths, both in the caller's order.

        Raises
        ------
        ValueError
            It names the argument, what came and what is needed.
        """
        packed = params if isinstance(params, Packed) else None
        if packed:
            check_packed(packed, self.name, self.records["Params"])
        params = packed.params if packed else self.record(params, self.records["Params"], "params")
        given = {name: self.array(value, name) for name, value in inputs._asdict().items()}
        state = None if state is None else self.record(state, self.records["State"], "state")
        shapes = packed.shapes if packed else signature(params)
        sizes, dtype, steps, batch, weights = self._known(shapes, given, params, state, steps)
        if state is None:
            state = self.zero_state(batch, sizes, dtype)
        if self.indices:
            self.check_indices(given, sizes)
        if not isinstance(reverse, bool | np.bool_):
            raise ValueError(f"{self.name}: reverse must be True or False, got {reverse!r}")
        lengths = self._lengths(lengths, steps, batch)
        inline, plain = step_by_step(steps, batch, weights, get_threads(), ROWS), lengths is None and not reverse
        rows = dense(steps, batch, keep, inline) if plain else Rows.of(steps, batch, keep, inline, lengths, bool(reverse))
        laid = {name: self._laid(value, name, rows) for name, value in given.items()}
        ordered = state if rows.order is None else type(state)(*map(rows.sort, state))
        params = params if packed else type(params)(*map(unlocked, params))
        return Call(sizes, dtype, params, packed and packed.weights, steps, batch, laid, ordered, rows, keep), state, lengths

    def _known(
        self, shapes: Signature, given: dict[str, Array], params: Any, state: Any, steps: int | None
    ) -> tuple[Sizes, np.dtype, int, int, int]:
        """Check shapes and dtypes; return sizes, dtype, T, B and the bytes of the parameters.  A call like one before is only looked up."""
        key = (shapes, signature(given.values()), state and signature(state), steps)
        if key not in self.checked:
            dtype = self.dtype(given, params, state)
            extent = self.extent(given, state, steps)
            sizes = self.find_sizes(given, params, state)
            self.check(given, params, state, sizes, *extent)
            if len(self.checked) >= CHECKED:
                self.checked.clear()
            self.checked[key] = sizes, dtype, *extent, sum(value.nbytes for value in params)
        return self.checked[key]

    def _laid(self, value: Array, name: str, rows: Rows) -> Array:
        """Return an input as rows, a context by batch position."""
        value = np.ascontiguousarray(value, np.int64 if name in self.indices else value.dtype)
        return unlocked(rows.sort(flat(value, 1)) if name in self.context else rows.gather(flat(value, 2)))

    def _lengths(self, lengths: Any, steps: int, batch: int) -> Array | None:
        if lengths is None:
            return None
        found = np.asarray(lengths)
        if found.shape != (batch,) or (found.dtype.kind not in "iu" and found.size):
            raise ValueError(
                f"{self.name}: lengths must be whole numbers of shape (B,) = ({batch},), got {found.dtype} of shape {found.shape}"
            )
        if found.size and (found.min() < 0 or found.max() > steps):
            raise ValueError(f"{self.name}: lengths must lie in 0 … T = {steps}, got {found.min()} … {found.max()}")
        return found.astype(np.int64)

    def _cotangents(self, call: Call, start: Any, dy: Any, dfinal: Any) -> tuple[Array, Any]:
        shape = (call.steps, call.batch, *self.shape(self.output, call.sizes))
        dy = np.zeros(shape, call.dtype) if dy is None else self.array(dy, "dy")
        self.needs("dy", dy.shape, shape, ("T", "B", *self.output))
        self.same_dtype("dy", dy.dtype, call.dtype)
        final = type(start)(*map(np.zeros_like, start)) if dfinal is None else self.record(dfinal, self.records["State"], "dfinal")
        for name, value in final._asdict().items():
            self.needs(f"dfinal.{name}", value.shape, (call.batch, *self.shape(self.state[name], call.sizes)), ("B", *self.state[name]))
            self.same_dtype(f"dfinal.{name}", value.dtype, call.dtype)
        return np.ascontiguousarray(dy), final

    # Results

    def _output(self, call: Call, rows: Array) -> Array:
        return call.rows.spread(rows).reshape(call.steps, call.batch, *self.shape(self.output, call.sizes))

    def _unsorted(self, call: Call, state: Any) -> Any:
        return state if call.rows.order is None else type(state)(*map(call.rows.unsort, state))

    def _written(self, y: Array, final: Any, out: Any) -> tuple[Array, Any]:
        """Return output and state, in `out` as far as that is given."""
        into, after = self._places(out, y, final)
        if into is None:
            return y, final
        into[...] = y
        if after is None:
            return into, final
        for place, value in zip(after, final, strict=True):
            place[...] = value
        return into, after

    def _places(self, out: Any, y: Array, state: tuple[Array, ...]) -> tuple[Array | None, Any]:
        """Return the arrays of `out` for an output and a state like these: an array, or that and a `State`, or nothing."""
        if out is None:
            return None, None
        if type(out) is tuple and len(out) != 2:
            raise ValueError(f"{self.name}.step: out must be an array, or an array and a {self.name}.State, got a tuple of {len(out)}")
        into, after = out if type(out) is tuple else (out, None)
        self._check_out(into, "out", y, self.output)
        if after is None:
            return into, None
        if not isinstance(after, self.records["State"]):
            raise ValueError(f"{self.name}.step: out must be an array, or an array and a {self.name}.State, got a {type(after).__name__}")
        for (name, shape), place, value in zip(self.state.items(), after, state, strict=True):
            self._check_out(place, f"out.{name}", value, shape)
        return into, after

    def _check_out(self, out: Any, argument: str, like: Array, names: tuple[str, ...]) -> None:
        if not isinstance(out, np.ndarray) or out.dtype != like.dtype:
            got = getattr(out, "dtype", type(out).__name__)
            raise ValueError(f"{self.name}.step: {argument} must be an array of {like.dtype}, got {got}")
        if out.shape != like.shape:
            self.needs(argument, out.shape, like.shape, ("B", *names))
        if not out.flags.writeable:
            raise ValueError(f"{self.name}.step: {argument} must be an array that can be written to, got one that is read-only")

    def _gradients(self, call: Call, grads: Any) -> Any:
        """Return gradients, given as rows, as the caller has the values."""
        found = {}
        for name, shape in {**self.inputs, **self.context}.items():
            value, axes = getattr(grads, name), self.shape(shape, call.sizes)
            if value is not None and name in self.inputs:
                value = call.rows.spread(value).reshape(call.steps, call.batch, *axes)
            elif value is not None:
                value = call.rows.unsort(value).reshape(call.batch, *axes)
            found[name] = value
        return grads._replace(**found, state=self._unsorted(call, grads.state))

    # The tape: arrays over time and batch, or rows where sequences are of unequal length

    def _kept(self, call: Call, kept: Any) -> Any:
        if call.rows.order is not None:
            return kept
        steps = {name: call.steps + extra for name, (_, extra) in self.saved.items()}
        shapes = {name: (steps[name], call.batch, *self.shape(shape, call.sizes)) for name, (shape, _) in self.saved.items()}
        return type(kept)(*(value.reshape(shapes[name]) for name, value in kept._asdict().items()))

    def _saved(self, call: Call, saved: Any) -> Any:
        """Check what the tape kept, and return it as rows."""
        ragged, found = call.rows.order is not None, {}
        for name, (shape, extra) in self.saved.items():
            value, axes = self.array(getattr(saved, name, None), f"tape.saved.{name}"), self.shape(shape, call.sizes)
            need: tuple[int, ...]
            names: tuple[str, ...]
            if ragged:
                need, names = (call.rows.count + extra * call.batch, int(np.prod(axes, dtype=np.int64))), ("rows", *shape)
            else:
                need, names = (call.steps + extra, call.batch, *axes), ("T + 1" if extra else "T", "B", *shape)
            self.needs(f"tape.saved.{name}", value.shape, need, names)
            self.same_dtype(f"tape.saved.{name}", value.dtype, call.dtype)
            found[name] = unlocked(value if ragged else flat(value, 2))
        return self.records["Saved"](**found)

    # Segments: about √T steps each, so that the states before each and one segment's tape take about the same memory

    def _by_segments(
        self, run: Pass, inputs: Any, params: Any, state: Any, call: Call, lengths: Array | None, reverse: bool
    ) -> tuple[Array, Any, Marks]:
        every = max(isqrt(max(call.steps - 1, 0)) + 1, 1)
        y = np.zeros((call.steps, call.batch, *self.shape(self.output, call.sizes)), call.dtype)
        states = []
        for segment in _segments(call.steps, call.batch, every, lengths, reverse):
            states.append(state)
            part, state = self.infer(
                run, self._part(inputs, segment), params, state, steps=segment.steps(self), lengths=segment.lengths, reverse=False
            )
            segment.put(y, part)
        return y, state, Marks(every, tuple(states))

    def _back_by_segments(self, forward: Pass, run: Pass, dy: Array, tape: Any, dstate: Any, lengths: Array | None) -> Any:
        segments = _segments(tape.steps, dy.shape[1], tape.saved.every, lengths, tape.reverse)
        over_time = {name: np.zeros_like(getattr(tape.inputs, name)) for name in self.inputs if name not in self.indices}
        total: Any = None
        for segment, state in zip(reversed(segments), reversed(tape.saved.states), strict=True):
            options = {"steps": segment.steps(self), "lengths": segment.lengths, "reverse": False, "tape": "full"}
            _, _, part = self.forward(forward, self._part(tape.inputs, segment), tape.params, state, **options)
            grads = self.backward(forward, run, segment.take(dy), part, dstate)
            dstate = grads.state
            for name, out in over_time.items():
                segment.put(out, getattr(grads, name))
            total = grads if total is None else self._added(total, grads)
        return total._replace(**over_time, state=dstate)

    def _part(self, inputs: Any, segment: _Segment) -> Any:
        return inputs._replace(**{name: segment.take(getattr(inputs, name)) for name in self.inputs})

    def _added(self, a: Any, b: Any) -> Any:
        params = type(a.params)(*(None if p is None else np.asarray(p + q) for p, q in zip(a.params, b.params, strict=True)))
        context = {name: np.asarray(getattr(a, name) + getattr(b, name)) for name in self.context if name not in self.indices}
        return a._replace(params=params, **context)


def _key(inputs: tuple[Any, ...], state: Any) -> Any:
    """Return what a recorded step depends on; None if something is no array, or there is no state."""
    if state is None:
        return None
    try:
        return get_threads(), type(state), tuple([(a.shape, a.dtype) for a in inputs]), tuple([(a.shape, a.dtype) for a in state])
    except AttributeError:
        return None


class _Segment(NamedTuple):
    """Steps `first` to `last`, as they are run: backwards from the end of each sequence if `whole` has the lengths of all."""

    first: int
    last: int
    lengths: Array | None
    whole: Array | None

    def steps(self, layer: Layer) -> int | None:
        return None if layer.inputs else self.last - self.first

    def take(self, values: Array) -> Array:
        """Return the segment's steps of an array over time."""
        if self.whole is None:
            return values[self.first : self.last]
        t, b = self._places()
        return values[np.maximum(t, 0), b]

    def put(self, out: Array, values: Array) -> None:
        """Write the segment's steps of an array over time."""
        if self.whole is None:
            out[self.first : self.last] = values
            return
        t, b = self._places()
        real = t >= 0
        out[t[real], np.broadcast_to(b, t.shape)[real]] = values[real]

    def _places(self) -> tuple[Array, Array]:
        assert self.whole is not None
        return self.whole - 1 - np.arange(self.first, self.last)[:, None], np.arange(self.whole.size)


def _segments(steps: int, batch: int, every: int, lengths: Array | None, reverse: bool) -> list[_Segment]:
    whole = None if not reverse else np.full(batch, steps) if lengths is None else lengths
    found = []
    for first in range(0, max(steps, 1), every):
        last = min(first + every, steps)
        part = None if lengths is None else np.clip(lengths - first, 0, last - first)
        found.append(_Segment(first, last, part, whole))
    return found
