"""What the modules for the CPU share on the host: a checked call of a cell's passes, and what is made of their rows.

A module has the passes of its cell: ``_forward(call)`` returns output and states as rows and what it kept, ``_backward(call, saved, dy,
dfinal)`` gradients as rows.  Here they get checked arguments, laid out as they want them; sequences of unequal length, backwards, or in
segments of which only the first states are kept.
"""

from __future__ import annotations

import time
from collections.abc import Container, Sequence
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..common.asked import ALL
from ..common.layer import OVER_TIME, Pass
from ..common.packed import Seal, check_packed, sealed
from ..common.sizes import Sizes
from ..common.table import Signature, signature
from ..tapes import get_limit
from . import segments
from .addresses import Running
from .again import arrays_of, with_arrays
from .call import Call
from .nothing import NOTHING
from .out import Out
from .quick import Quickly
from .replay import Recordings
from .segments import Marks, Segment
from .threads import ATTENTION, call_workers
from .trace import Trace
from .twice import Twice

__all__ = ["Layer", "Marks", "Packed"]

Array = np.ndarray
TAPES = ("full", "recompute", "auto")


class Packed(NamedTuple):
    """Parameters as they were when they were packed, checked, and what the kernels make of them before the first step.

    `infer` and `step` take it in place of parameters; all that they read is its own.
    """

    params: Any
    weights: tuple[Any, ...]
    shapes: Signature
    recordings: Recordings
    quickly: Quickly
    seal: Seal

    def __reduce__(self) -> Any:
        return self.seal.again(self.params)


class Layer(Twice):
    """A cell's interface, and the functions of its module."""

    packed: ClassVar[type] = Packed
    nothing: ClassVar[Any] = NOTHING

    # What the module's functions do

    def pack(self, make: Pass, params: Any) -> Packed:
        """Return a copy of parameters with what the kernels make of it."""
        params, dtype, sizes = self.copied(params)
        return sealed(Packed, make, params, self.run(make, Call(sizes, dtype, params)), signature(params), Recordings(), Quickly())

    def forward(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, lengths: Any, reverse: bool, tape: str
    ) -> tuple[Array, Any, Any]:
        """Return output, final state and tape."""
        if tape not in TAPES:
            raise ValueError(f'{self.name}: tape must be "full", "recompute" or "auto", got {tape!r}')
        if tape == "recompute" and isinstance(lengths, Running):
            raise ValueError(f'{self.name}: tape must be "full" where arrays have rows')

        def work(trace: Trace | None, inputs: Any, params: Any, state: Any) -> tuple[Array, Any, Any]:
            call, start, last = self.call(inputs, params, state, steps, lengths, reverse, keep=tape != "recompute", trace=trace)
            params = params.params if isinstance(params, Packed) else params
            extent = call.sizes, call.dtype.itemsize, call.steps, call.batch
            if tape == "recompute" or (tape == "auto" and self.marks(*extent, lengths)):
                if trace is not None:
                    trace.leave()
                y, final, saved = self._by_segments(run, inputs, params, start, call, last, reverse)
            else:
                y, final, saved = self.ran(run, call)
            return y, final, self.records["Tape"](inputs, params, start, saved, call.steps, last, reverse)

        if tape != "recompute" and lengths is None and reverse is False and not isinstance(params, Packed):
            chosen_by = get_limit() if tape == "auto" else None
            return self.again(self.recordings, ("forward", steps, chosen_by), (inputs, params, state), work)
        return work(None, inputs, params, state)

    def infer(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, lengths: Any, reverse: bool
    ) -> tuple[Array, Any]:
        """Return output and final state."""

        def work(trace: Trace | None, inputs: Any, state: Any, params: Any = params) -> tuple[Array, Any]:
            call, _, _ = self.call(inputs, params, state, steps, lengths, reverse, keep=False, trace=trace)
            y, final, _ = self.ran(run, call)
            return y, final

        if lengths is not None or reverse is not False:
            return work(None, inputs, state)
        if isinstance(params, Packed):
            check_packed(params, self.name, self.records["Params"])
            return self.again(params.recordings, ("infer", steps), (inputs, state), work)
        return self.again(self.recordings, ("infer", steps), (inputs, state, params), work)

    def step(self, run: Pass, inputs: Any, params: Any, state: Any, out: Any) -> tuple[Array, Any]:
        """Return output and state of one step, written to `out` as far as that is given: the output, or output and state."""
        if out is None and type(params) is Packed and type(params.quickly) is Quickly:
            done = params.quickly.step(run, params, inputs, state)
            if done is not None:
                return done

        def work(trace: Trace | None, inputs: Any, state: Any, params: Any = params) -> tuple[Array, Any]:
            steps = None if self.inputs else 1
            y, final, _ = self.ran(run, self.call(self.one_step(inputs), params, state, steps, None, False, keep=False, trace=trace)[0])
            return y[0], final

        recording = None
        if isinstance(params, Packed):
            check_packed(params, self.name, self.records["Params"])
            recording, arrays = self.recorded(params.recordings, "step", (inputs, state), work)
        if recording is None:
            y, final = work(None, inputs, state)
            return (y, final) if out is None else Out.of(self, out, [y.shape, *(v.shape for v in final)], y.dtype).take(y, final)
        into = None if out is None else Out.of(self, out, recording.handed, recording.call.dtype)
        if recording.heavy and time.perf_counter() - recording.ended < ATTENTION:
            call_workers()  # one step came soon after another: so will the next
        made = recording.new() if into is None else into.memory(recording.new())
        result: tuple[Array, Any] = recording(arrays, made)
        if recording.heavy:
            recording.ended = time.perf_counter()
        given = (run, params, type(state), self.records["State"], arrays)
        if into is not None or self.indices or not params.quickly.learn(recording, *given):
            params.recordings.give(recording)
        return result if into is None else into.take(*result)

    def backward(self, forward: Pass, run: Pass, dy: Any, tape: Any, dfinal: Any, *, second: bool = False, only: Any = None) -> Any:
        """Return the gradients, all or `only` some; with `second`, also what the pass keeps for others."""
        asked = self.asked(only)

        def work(trace: Trace | None, *given: Any) -> Any:
            *taped, dy, dfinal = given
            again = tape if trace is None else with_arrays(tape, taped)
            call, lengths = self.taped(again, trace)
            call = call.asking(asked)
            dy = self.cotangent(call, dy, "dy", OVER_TIME, self.output)
            dfinal = self.state_cotangent(call, dfinal, "dfinal")
            if not call.keep:
                return self._back_by_segments(forward, run, dy, tape, dfinal, lengths, asked)
            if self.links and not second:
                call = call._replace(rows=call.rows.fleeting)
            grads, kept = self.ran_back(run, call, again.saved, dy, dfinal, second=second)
            return (grads, self.records["Tape2"](again, dy, kept)) if second else grads

        if second and not self.links:
            raise NotImplementedError(self.no_second_order("backward with second=True"))
        self.check_given(tape, "backward")
        tape = self.whole(forward, tape) if second else tape
        given = (*arrays_of(tape), dy, dfinal)
        if not self.repeats(tape):
            return work(None, *given)
        return self.again(self.recordings, ("backward", tape.steps, asked, second), given, work)

    # For second order

    def retaken(self, tape: Any) -> Call:
        return self.taped(tape)[0]

    def graded(self, forward: Pass, run: Pass, dy: Any, tape: Any, dfinal: Any) -> tuple[Any, Any]:
        found: tuple[Any, Any] = self.backward(forward, run, dy, tape, dfinal, second=True)
        return found

    def stepped(self, forward: Pass, inputs: Any, params: Any, state: Any, **options: Any) -> tuple[Array, Any, Any]:
        return self.forward(forward, inputs, params, state, steps=None if self.inputs else 1, lengths=None, reverse=False, tape="full")

    def whole(self, forward: Pass, tape: Any) -> Any:
        """Return a tape that keeps all: where only states were kept, the forward pass is run again."""
        if not isinstance(tape.saved, Marks):
            return tape
        given, steps = (tape.inputs, tape.params, tape.state), None if self.inputs else tape.steps
        return self.forward(forward, *given, steps=steps, lengths=tape.lengths, reverse=tape.reverse, tape="full")[2]

    # Segments

    def marks(self, sizes: Sizes, itemsize: int, steps: int, batch: int, lengths: Any) -> int:
        """Return the states before how many segments are kept where a tape chooses by itself; 0 if it keeps all.

        It keeps all where that has no more bytes than `tapes.get_limit`, by the shapes of what is kept; where there is but one segment; and
        where arrays have rows, which no segments have.

        Parameters
        ----------
        sizes : dict
        itemsize : int
            Bytes of a number.
        steps, batch : int
        lengths : array (B,) or Running, optional
        """
        every = segments.interval(steps)
        if every >= steps or isinstance(lengths, Running):
            return 0
        rows = steps * batch if lengths is None else int(self._lengths(lengths, steps, batch).sum())
        numbers = sum((rows + extra * batch) * prod(self.shape(shape, sizes)) for shape, extra in self.saved.values())
        return -(-steps // every) if numbers * itemsize > get_limit() else 0

    def marked(self, states: Sequence[Array], steps: int) -> Marks:
        """Return what a tape of so many steps keeps, given the arrays of the states before each segment, one after the other."""
        kind, count = self.records["State"], len(self.state)
        return Marks(segments.interval(steps), tuple([kind(*states[k : k + count]) for k in range(0, len(states), count)]))

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

    def _back_by_segments(
        self, forward: Pass, run: Pass, dy: Array, tape: Any, dfinal: Any, lengths: Array | None, asked: Container[str]
    ) -> Any:
        """Return the gradients, those that are asked for, of a call that was run in segments."""
        only = None if asked is ALL else [name for name in self.records["Grads"]._fields if name in asked or name == "state"]

        def differentiate(part: Segment, state: Any, dstate: Any) -> Any:
            inputs = part.take_all(tape.inputs, self.inputs)
            _, _, again = self.forward(forward, inputs, tape.params, state, **self._options(part), tape="full")
            return self.backward(forward, run, part.take(dy), again, dstate, only=only)

        parts = segments.segments(tape.steps, dy.shape[1], tape.saved.every, lengths, tape.reverse)
        inputs = {name: getattr(tape.inputs, name) for name in self.inputs}
        grads = segments.backward(parts, differentiate, self._added, tape.saved.states, dfinal, inputs)
        return grads if "state" in asked else grads._replace(state=None)

    def _options(self, part: Segment) -> dict[str, Any]:
        """Return how a segment is called."""
        return {"steps": None if self.inputs else part.steps, "lengths": part.lengths, "reverse": False}

    def _added(self, a: Any, b: Any) -> Any:
        """Return gradients with the sum of those by parameters and contexts."""

        def added(p: Any, q: Any) -> Any:
            return None if p is None else np.asarray(p + q)

        params = None if a.params is None else type(a.params)(*map(added, a.params, b.params))
        return a._replace(params=params, **{name: added(getattr(a, name), getattr(b, name)) for name in self.context})
