"""A call's arguments, checked, and laid out as rows: what a layer for the CPU does before it runs anything, and with what comes out."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from ..common.layer import OVER_TIME, Pass
from ..common.second import SecondOrder
from ..common.sizes import Shape
from ..common.truth import truth
from .addresses import Rows, Running, dense, flat
from .call import Call
from .division import is_light, step_by_step
from .memory import LARGE, SKETCH, empty, unlocked
from .threads import division
from .tile import ROWS
from .trace import Trace

Array = np.ndarray


class Checked(SecondOrder):
    """A cell's interface, as far as it is known without what runs."""

    def record(self, record: Any, kind: type, argument: str) -> Any:
        return record if _ready(record, kind) else super().record(record, kind, argument)

    def call(
        self,
        inputs: Any,
        params: Any,
        state: Any,
        steps: int | None,
        lengths: Any,
        reverse: bool,
        *,
        keep: bool,
        trace: Trace | None = None,
    ) -> tuple[Call, Any, Array | None]:
        """Check a call; return it ready to run, the state before the first step and the lengths, both in the caller's order.

        It is recorded if there is a `trace`.

        Raises
        ------
        ValueError
            It names the argument, what came and what is needed.
        """
        running = lengths if isinstance(lengths, Running) else None
        given = self.arguments(inputs if running is None else self._padded(inputs, running), params, state, steps)
        sizes, dtype, steps, batch, weights, width, _, axes = given.alike
        if self.indices:
            self.check_indices(given.inputs, sizes)
        reverse = truth(self.name, "reverse", reverse)
        lengths = lengths if running is not None or lengths is None else self._lengths(lengths, steps, batch)
        light = is_light(steps * batch, width, weights // dtype.itemsize, once=steps == 1)
        parts, how = division(light)
        inline = step_by_step(steps, batch, weights, parts, ROWS)
        if running is not None:
            rows, axes = Rows.of_running(running, keep, inline, reverse), {}
        elif lengths is None and not reverse:
            rows = dense(steps, batch, keep, inline)
        else:
            rows = Rows.of(steps, batch, keep, inline, lengths, reverse)
        arrays = given.inputs if running is None else {name: self.array(v, name) for name, v in zip(inputs._fields, inputs, strict=True)}
        laid = {name: self._laid(value, name, rows) for name, value in arrays.items()}
        start = type(given.state)(*[unlocked(flat(rows.sort(value), 1)) for value in given.state])
        packed, params = given.packed, given.params
        if not packed and not all([value.flags.writeable for value in params]):
            params = type(params)(*map(unlocked, params))
        # Of the small arrays of a small call, none comes from memory that is kept: NumPy's own function is faster.
        new = np.empty if weights + steps * batch * width * dtype.itemsize < LARGE else empty
        call = Call(sizes, dtype, params, packed and packed.weights, steps, batch, laid, start, rows, keep, parts, how, axes, new)
        noted = SKETCH.get() if trace is None else trace
        return call if noted is None else noted.on(call, light), given.state, lengths

    def _laid(self, value: Array, name: str, rows: Rows) -> Array:
        """Return an input as rows, a context by batch position."""
        if name in self.indices:
            value = np.ascontiguousarray(value, np.int64)
        return unlocked(rows.sort(flat(value, 1)) if name in self.context else rows.gather(flat(value, 1 if rows.packed else 2)))

    def _padded(self, inputs: Any, running: Running) -> Any:
        """Return inputs as `arguments` checks them: with steps and sequences in place of rows."""
        found = {}
        for name, shape in self.inputs.items():
            value = self.array(getattr(inputs, name), name)
            if value.ndim != 1 + len(shape) or len(value) != running.count:
                raise ValueError(f"{self.name}: {name} has shape {value.shape}, needs (rows, {', '.join(shape)}) with {running.count} rows")
            found[name] = running.padded(value)
        return inputs._replace(**found)

    def _lengths(self, lengths: Any, steps: int, batch: int) -> Array:
        found = np.asarray(lengths)
        if found.shape != (batch,) or (found.dtype.kind not in "iu" and found.size):
            raise ValueError(
                f"{self.name}: lengths must be whole numbers of shape (B,) = ({batch},), got {found.dtype} of shape {found.shape}"
            )
        if found.size and (found.min() < 0 or found.max() > steps):
            raise ValueError(f"{self.name}: lengths must lie in 0 … T = {steps}, got {found.min()} … {found.max()}")
        return found.astype(np.int64)

    # How arrays are laid out, and passes run

    @property
    def xp(self) -> Any:
        return np

    def run(self, work: Pass, *given: Any) -> Any:
        return work(*given)

    def gather(self, call: Call, value: Array) -> Array:
        return unlocked(call.rows.gather(flat(value, 1 if call.rows.packed else 2)))

    def spread(self, call: Call, rows: Array) -> Array:
        return call.rows.spread(rows)

    def sort(self, call: Call, value: Array) -> Array:
        return unlocked(flat(call.rows.sort(value), 1))

    def unsort(self, call: Call, value: Array) -> Array:
        return call.rows.unsort(value)

    def unsorted(self, call: Any, state: Any) -> Any:
        return state if call.rows.order is None and self._of_vectors else super().unsorted(call, state)

    @cached_property
    def _of_vectors(self) -> bool:
        """Whether every state has one axis for each sequence, as rows have."""
        return all(len(shape) == 1 for shape in self.state.values())

    def axes(self, call: Any, lead: tuple[str, ...], shape: Shape) -> tuple[int, ...]:
        found = call.axes.get((lead, shape))
        if found is None:
            found = super().axes(call, lead, shape)
            if call.rows is not None and call.rows.packed and lead == OVER_TIME:
                found = (call.rows.count, *found[len(lead) :])
            call.axes[lead, shape] = found
        return found

    # Of sequences of unequal length, or backwards, a tape keeps rows as they are: steps that are not run have none.

    def kept_axes(self, call: Call, shape: Shape, extra: int | None) -> tuple[int, ...]:
        if call.rows.order is None or extra is None:
            found = call.axes.get((extra, shape))
            if found is None:
                found = call.axes[extra, shape] = super().kept_axes(call, shape, extra)
            return found
        return call.rows.count + extra * call.batch, prod(self.shape(shape, call.sizes))

    def kept_names(self, call: Call, shape: Shape, extra: int | None) -> tuple[str, ...]:
        return super().kept_names(call, shape, extra) if call.rows.order is None or extra is None else ("rows", *shape)

    def rows_of(self, call: Any, record: Any, kind: type, table: Any, argument: str) -> Any:
        key = (argument, kind)
        plan = call.axes.get(key) if call.rows.order is None else None
        if plan is not None and _ready(record, kind) and self._fits(record, plan, call.dtype):
            return kind(*[value.reshape(rows) for value, (_, rows) in zip(record, plan, strict=True)])
        found = super().rows_of(call, record, kind, table, argument)
        if call.rows.order is None:
            call.axes[key] = [(getattr(record, name).shape, rows.shape) for name, rows in zip(table, found, strict=True)]
        return found

    def _fits(self, record: Any, plan: Any, dtype: np.dtype) -> bool:
        """Say whether the arrays of a record have the axes of a plan and a dtype."""
        return all([value.shape == axes and value.dtype == dtype for value, (axes, _) in zip(record, plan, strict=True)])

    def kept_rows(self, call: Call, value: Array) -> Array:
        return unlocked(flat(value, 2) if call.rows.order is None else value)

    def shown_type(self, kind: type) -> str:
        return f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"

    def as_rows(self, call: Any, value: Any, argument: str, kind: str, shape: Shape) -> Any:
        found = super().as_rows(call, value, argument, kind, shape)
        return found if found is self.nothing else unlocked(found)

    def added(self, call: Call, one: Array, other: Array) -> Array:
        return call.add(one, other)


def _ready(record: Any, kind: type) -> bool:
    """Say whether a record is of a kind, with arrays that kernels can be given as they are."""
    return type(record) is kind and all([type(value) is np.ndarray and value.flags.carray for value in record])  # type: ignore[attr-defined]
