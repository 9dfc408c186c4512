"""What the modules for the CPU share on the host: a checked call of a cell's passes, and what is made of their rows.

A module has the passes of its cell: ``_forward(call)`` returns output and states as rows and what it kept, ``_backward(call, saved, dy,
dfinal)`` gradients as rows.  Here they get checked arguments, laid out as they want them; sequences of unequal length, backwards, or in
segments of which only the first states are kept.
"""

from __future__ import annotations

from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..common.layer import OVER_TIME, BaseLayer, Pass
from ..common.packed import Seal, check_packed, sealed
from ..common.sizes import Shape
from ..common.table import Signature, signature
from . import segments
from .addresses import Rows, dense, flat
from .bulk import run_pass
from .call import Call
from .division import step_by_step
from .memory import unlocked
from .segments import Marks, Segment
from .stepper import Stepper, Steppers
from .threads import get_threads
from .tile import ROWS

__all__ = ["Layer", "Marks", "Packed"]

Array = np.ndarray


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


class Layer(BaseLayer):
    """A cell's interface, and the functions of its module."""

    packed: ClassVar[type] = Packed

    # What the module's functions do

    def pack(self, make: Pass, params: Any) -> Packed:
        """Return a copy of parameters with what the kernels make of it."""
        params, dtype, sizes = self.copied(params)
        return sealed(Packed, make, params, self.run(make, Call(sizes, dtype, params)), signature(params), Steppers())

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
            y, final, saved = self.ran(run, call)
        return y, final, record(inputs, params, start, saved, call.steps, lengths, reverse)

    def infer(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, lengths: Any, reverse: bool
    ) -> tuple[Array, Any]:
        """Return output and final state."""
        call, _, _ = self.call(inputs, params, state, steps, lengths, reverse, keep=False)
        y, final, _ = self.ran(run, call)
        return y, final

    def step(self, run: Pass, inputs: Any, params: Any, state: Any, out: Any) -> tuple[Array, Any]:
        """Return output and state of one step, written to `out` as far as that is given: the output, or output and state."""
        key = _key(inputs, state) if isinstance(params, Packed) else None
        if key is None:
            y, final, _ = self.ran(run, self._step_call(inputs, params, state))
            return self._written(y[0], final, out)
        check_packed(params, self.name, self.records["Params"])
        stepper = params.steppers.take(key)
        if stepper is None:
            call = self._step_call(inputs, params, state)
            stepper = Stepper.record(run, call, (call.batch, *self.shape(self.output, call.sizes)), key)
        if self.indices:
            self.check_indices(inputs._asdict(), stepper.sizes)
        y, after = self._places(out, stepper.y, stepper.after)
        y = np.empty_like(stepper.y) if y is None else y
        after = type(state)(*map(np.empty_like, stepper.after)) if after is None else after
        stepper(tuple(inputs), state, y, after)
        params.steppers.give(stepper)
        return y, after

    def backward(self, forward: Pass, run: Pass, dy: Any, tape: Any, dfinal: Any, *, second: bool = False) -> Any:
        """Return the gradients; with `second`, also what the pass keeps for others."""
        call, lengths = self._taped(tape, "backward")
        dy = self.cotangent(call, dy, "dy", OVER_TIME, self.output)
        dfinal = self.state_cotangent(call, dfinal, "dfinal")
        if not call.keep:
            if second:
                raise ValueError(f'{self.name}.backward: second needs a tape that keeps all, of `forward` with tape="full"')
            return self._back_by_segments(forward, run, dy, tape, dfinal, lengths)
        grads, kept = self.ran_back(run, call, tape.saved, dy, dfinal)
        return (grads, kept) if second else grads

    def further(self, link: str, run: Pass, given: Any, tape: Any, kept: Any) -> tuple[dict[str, Array], Any]:
        """Return what a pass beyond forward and backward hands out, by name, and what it keeps, or None."""
        call, _ = self._taped(tape, link)
        if not call.keep:
            raise ValueError(f'{self.name}.{link} needs a tape that keeps all, of `forward` with tape="full"')
        return self.linked(link, run, call, given, {"forward": tape.saved, **kept})

    def _taped(self, tape: Any, function: str) -> tuple[Call, Array | None]:
        """Return the call that a tape is of, ready to run again, and its lengths in the caller's order."""
        self.check_tape(tape, function)
        keep = not isinstance(tape.saved, Marks)
        call, _, lengths = self.call(tape.inputs, tape.params, tape.state, tape.steps, tape.lengths, tape.reverse, keep=keep)
        return call, lengths

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
        given = self.arguments(inputs, params, state, steps)
        sizes, start, packed, steps, batch = given.sizes, given.state, given.packed, given.steps, given.batch
        if self.indices:
            self.check_indices(given.inputs, sizes)
        if not isinstance(reverse, bool | np.bool_):
            raise ValueError(f"{self.name}: reverse must be True or False, got {reverse!r}")
        lengths = self._lengths(lengths, steps, batch)
        inline = step_by_step(steps, batch, given.weights, get_threads(), ROWS)
        plain = lengths is None and not reverse
        rows = dense(steps, batch, keep, inline) if plain else Rows.of(steps, batch, keep, inline, lengths, bool(reverse))
        laid = {name: self._laid(value, name, rows) for name, value in given.inputs.items()}
        ordered = start if rows.order is None else type(start)(*map(rows.sort, start))
        params = given.params if packed else type(given.params)(*map(unlocked, given.params))
        return Call(sizes, given.dtype, params, packed and packed.weights, steps, batch, laid, ordered, rows, keep), start, lengths

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

    def _step_call(self, inputs: Any, params: Any, state: Any) -> Call:
        """Check a step's arguments, and return the call of a sequence of one step."""
        return self.call(self.one_step(inputs), params, state, None if self.inputs else 1, None, False, keep=False)[0]

    # How arrays are laid out, and passes run

    @property
    def xp(self) -> Any:
        return np

    def run(self, work: Pass, *given: Any) -> Any:
        return run_pass(work, *given)

    def gather(self, call: Call, value: Array) -> Array:
        return unlocked(call.rows.gather(flat(value, 2)))

    def spread(self, call: Call, rows: Array) -> Array:
        return call.rows.spread(rows)

    def sort(self, call: Call, value: Array) -> Array:
        return call.rows.sort(value)

    def unsort(self, call: Call, value: Array) -> Array:
        return call.rows.unsort(value)

    def unsorted(self, call: Any, state: Any) -> Any:
        return state if call.rows.order is None else super().unsorted(call, state)

    # Of sequences of unequal length, or backwards, a tape keeps rows as they are: steps that are not run have none.

    def kept_axes(self, call: Call, shape: Shape, extra: int | None) -> tuple[int, ...]:
        if call.rows.order is None or extra is None:
            return super().kept_axes(call, shape, extra)
        return call.rows.count + extra * call.batch, prod(self.shape(shape, call.sizes))

    def kept_names(self, call: Call, shape: Shape, extra: int | None) -> tuple[str, ...]:
        return super().kept_names(call, shape, extra) if call.rows.order is None or extra is None else ("rows", *shape)

    def kept_rows(self, call: Call, value: Array) -> Array:
        return unlocked(flat(value, 2) if call.rows.order is None else value)

    def shown_type(self, kind: type) -> str:
        return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"

    # Where a step's results are written

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

    # Segments

    def _by_segments(
        self, run: Pass, inputs: Any, params: Any, state: Any, call: Call, lengths: Array | None, reverse: bool
    ) -> tuple[Array, Any, Marks]:
        """Run a call in segments; return output, final state, and the states before each."""

        def infer(part: Segment, state: Any) -> tuple[Array, Any]:
            return self.infer(run, part.take_all(inputs, self.inputs), params, state, **self._options(part))

        every = segments.interval(call.steps)
        y = np.zeros(self.axes(call, OVER_TIME, self.output), call.dtype)
        final, states = segments.forward(segments.segments(call.steps, call.batch, every, lengths, reverse), infer, state, y)
        return y, final, Marks(every, states)

    def _back_by_segments(self, forward: Pass, run: Pass, dy: Array, tape: Any, dfinal: Any, lengths: Array | None) -> Any:
        """Return the gradients of a call that was run in segments."""

        def differentiate(part: Segment, state: Any, dstate: Any) -> Any:
            inputs = part.take_all(tape.inputs, self.inputs)
            _, _, again = self.forward(forward, inputs, tape.params, state, **self._options(part), tape="full")
            return self.backward(forward, run, part.take(dy), again, dstate)

        parts = segments.segments(tape.steps, dy.shape[1], tape.saved.every, lengths, tape.reverse)
        over_time = {name: np.zeros_like(getattr(tape.inputs, name)) for name in self.inputs if name not in self.indices}
        return segments.backward(parts, differentiate, self._added, tape.saved.states, dfinal, over_time)

    def _options(self, part: Segment) -> dict[str, Any]:
        """Return how a segment is called."""
        return {"steps": None if self.inputs else part.steps, "lengths": part.lengths, "reverse": False}

    def _added(self, a: Any, b: Any) -> Any:
        """Return gradients with the sum of those by parameters and contexts."""
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
