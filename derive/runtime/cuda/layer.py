"""What the device's modules share on the host: arguments checked and laid out as rows, results as the caller has them.

Nothing here copies to or from the host, and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..common.packed import Seal, check_packed
from ..common.sizes import Sizes
from ..common.table import Table, shown
from .call import Call
from .current import current
from .device import Device
from .kind import KINDS, Kind

Array = Any
Pass = Callable[..., Any]
LARGEST = 2**31 - 1  # blocks of a grid


class Packed(NamedTuple):
    """Parameters as they were when they were packed, checked, and what is made of them before the first step.

    `infer` and `step` take it in place of parameters; all that they read is its own.
    """

    params: Any
    weights: tuple[Any, ...]
    laid: dict[Any, Any]
    seal: Seal

    def __reduce__(self) -> Any:
        return self.seal.again(self.params)


@dataclass(frozen=True)
class Layer(Table):
    """A cell's interface on the device, and the functions of its module."""

    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "bfloat16", "float16")

    @classmethod
    def on_device(cls, table: Table, tape: type) -> Layer:
        """Return the layer of a cell's table, with the device's own record of a tape."""
        given = {f.name: getattr(table, f.name) for f in fields(Table) if f.init}
        return cls(**{**given, "records": {**table.records, "Tape": tape}})

    # Making arrays

    def init(self, sizes: Sizes, seed: int, dtype: Any) -> Any:
        device, dtype = self.device(), self.float(dtype, f"{self.name}.init: dtype")
        made = Table.init(self, sizes, seed, np.float64 if dtype == np.float64 else np.float32)
        return type(made)(*(device.xp.asarray(value).astype(dtype) for value in made))

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Array:
        return self.device().xp.full(shape, value, dtype)

    # What the module's functions do

    def pack(self, make: Pass, params: Any, stream: Any) -> Packed:
        """Return a copy of parameters with what is made of it."""
        with self.queued(stream, params):
            params = self.record(params, self.records["Params"], "params")
            dtype = self.dtype(dict.fromkeys(self.indices, np.zeros(0, int)), params, None)
            sizes = self.find_sizes({}, params, None, complete=False)
            self.check_params(params, sizes)
            self.check_sizes(sizes)
            params = type(params)(*(value.copy() for value in params))
            laid: dict[Any, Any] = {}
            parts = params, make(Call(self.device(), KINDS[dtype.name], sizes, params)), laid
            return Packed(*parts, Seal(make.__module__, parts))

    def forward(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, tf32: bool, stream: Any
    ) -> tuple[Array, Any, Any]:
        """Return output, final state and tape."""
        with self.queued(stream, inputs, params, state) as like:
            call, given = self.call(inputs, params, state, steps, tf32, keep=True)
            rows, final, kept = run(call)
            tape = self.records["Tape"](given, call.params, call.state, self._over_time(call, kept), call.steps, tf32)
            return like(self._output(call, rows)), type(final)(*map(like, final)), tape

    def infer(self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, tf32: bool, stream: Any) -> tuple[Array, Any]:
        """Return output and final state."""
        with self.queued(stream, inputs, params, state) as like:
            call, _ = self.call(inputs, params, state, steps, tf32, keep=False)
            rows, final, _ = run(call)
            return like(self._output(call, rows)), type(final)(*map(like, final))

    def step(self, run: Pass, inputs: Any, params: Any, state: Any, *, tf32: bool, stream: Any) -> tuple[Array, Any]:
        """Return output and state of one step."""
        with self.queued(stream, inputs, params, state) as like:
            given = inputs._asdict()
            for name, shape in self.inputs.items():
                value = self.array(given[name], name)
                if value.ndim != 1 + len(shape):
                    raise ValueError(f"{self.name}.step: {name} has shape {value.shape}, needs {shown(('B', *shape))}")
                given[name] = value[None]
            call, _ = self.call(type(inputs)(**given), params, state, None if self.inputs else 1, tf32, keep=False)
            rows, final, _ = run(call)
            return like(self._output(call, rows)[0]), type(final)(*map(like, final))

    def backward(self, run: Pass, dy: Any, tape: Any, dfinal: Any, *, stream: Any) -> Any:
        """Return the gradients."""
        if not isinstance(tape, self.records["Tape"]):
            got = f"{type(tape).__module__}.{type(tape).__name__}"
            raise ValueError(f"{self.name}.backward: tape must be a {self.name}.Tape of the device, got a {got}")
        with self.queued(stream, (dy,), () if dfinal is None else dfinal, tape.inputs, tape.params) as like:
            call, _ = self.call(tape.inputs, tape.params, tape.state, tape.steps, tape.tf32, keep=True)
            dy, dfinal = self._cotangents(call, dy, dfinal)
            saved = type(tape.saved)(*(self._rows(value, 2) for value in tape.saved))
            grads = self._gradients(call, run(call, saved, self._rows(dy, 2), dfinal))
            params, state = (type(r)(*(None if v is None else like(v) for v in r)) for r in (grads.params, grads.state))
            found = {name: getattr(grads, name) for name in (*self.inputs, *self.context)}
            return grads._replace(
                **{name: None if value is None else like(value) for name, value in found.items()}, params=params, state=state
            )

    # Calls

    def device(self) -> Device:
        return current()

    @contextmanager
    def queued(self, stream: Any, *records: Any) -> Iterator[Callable[[Array], Array]]:
        """Queue what is done on the caller's stream; give what makes a result of the kind of the first array of `records`."""
        device, example = self.device(), _first(*records)
        with device.queued(stream, example):
            yield lambda value: device.like(value, example)

    def call(self, inputs: Any, params: Any, state: Any, steps: int | None, tf32: bool, *, keep: bool) -> tuple[Call, Any]:
        """Check a call; return it ready to run, and its inputs as arrays of the device.

        Raises
        ------
        ValueError, TypeError
            It names the argument, what came and what is needed.
        """
        packed = params if isinstance(params, Packed) else None
        if packed:
            check_packed(packed, self.name, self.records["Params"])
        params = self.record(packed.params if packed else params, self.records["Params"], "params")
        given = {name: self.array(value, name) for name, value in inputs._asdict().items()}
        state = None if state is None else self.record(state, self.records["State"], "state")
        dtype = self.dtype(given, params, state)
        steps, batch = self.extent(given, state, steps)
        sizes = self.find_sizes(given, params, state)
        self.check(given, params, state, sizes, steps, batch)
        state = self.zero_state(batch, sizes, dtype) if state is None else state
        if steps * batch > LARGEST:
            raise ValueError(f"{self.name}: T B must be below 2^31, a row each, got {steps} steps of {batch} sequences")
        kind = self._kind(dtype, tf32)
        rows = {name: self._rows(value, 1 if name in self.context else 2) for name, value in given.items()}
        laid = {name: value.astype(np.int64, copy=False) if name in self.indices else value for name, value in rows.items()}
        weights, made = (packed.weights, packed.laid) if packed else (None, {})
        return Call(self.device(), kind, sizes, params, state, laid, steps, batch, keep, weights, made), type(inputs)(**given)

    def _kind(self, dtype: Any, tf32: bool) -> Kind:
        if not isinstance(tf32, bool | np.bool_):
            raise ValueError(f"{self.name}: tf32 must be True or False, got {tf32!r}")
        if tf32 and dtype.name != "float32":
            raise ValueError(f"{self.name}: tf32 is a way to multiply float32, but the arguments are {dtype}")
        return KINDS["tf32" if tf32 else dtype.name]

    # Arguments, as a table checks them

    def array(self, value: Any, argument: str) -> Array:
        found = self.device().array(value, f"{self.name}: {argument}")
        return self.device().xp.ascontiguousarray(found) if found.ndim else found

    def float(self, dtype: Any, argument: str) -> Any:
        return self.device().dtype(self.float_name(dtype, argument))

    def _rows(self, value: Array, axes: int) -> Array:
        return value.reshape(prod(value.shape[:axes]), prod(value.shape[axes:]))

    def _cotangents(self, call: Call, dy: Any, dfinal: Any) -> tuple[Array, Any]:
        shape, xp = (call.steps, call.batch, *self.shape(self.output, call.sizes)), call.xp
        dy = xp.zeros(shape, call.stored_dtype) if dy is None else self.array(dy, "dy")
        self.needs("dy", dy.shape, shape, ("T", "B", *self.output))
        self.same_dtype("dy", dy.dtype, call.stored_dtype)
        dfinal = type(call.state)(*map(xp.zeros_like, call.state)) if dfinal is None else dfinal
        final = self.record(dfinal, self.records["State"], "dfinal")
        for name, value in final._asdict().items():
            self.needs(f"dfinal.{name}", value.shape, (call.batch, *self.shape(self.state[name], call.sizes)), ("B", *self.state[name]))
            self.same_dtype(f"dfinal.{name}", value.dtype, call.stored_dtype)
        return dy, final

    # Results

    def _output(self, call: Call, rows: Array) -> Array:
        return rows.reshape(call.steps, call.batch, *self.shape(self.output, call.sizes))

    def _over_time(self, call: Call, kept: Any) -> Any:
        steps = {name: call.steps + extra for name, (_, extra) in self.saved.items()}
        shapes = {name: (steps[name], call.batch, *self.shape(shape, call.sizes)) for name, (shape, _) in self.saved.items()}
        return type(kept)(*(value.reshape(shapes[name]) for name, value in kept._asdict().items()))

    def _gradients(self, call: Call, grads: Any) -> Any:
        """Return gradients, given as rows, with the axes of what they belong to."""
        found = {}
        for name, shape in {**self.inputs, **self.context}.items():
            value, axes = getattr(grads, name), self.shape(shape, call.sizes)
            lead = (call.steps, call.batch) if name in self.inputs else (call.batch,)
            found[name] = None if value is None else value.reshape(*lead, *axes)
        return grads._replace(**found)


def _first(*records: Any) -> Any:
    """Return the first array of records, whose library the caller uses."""
    for record in records:
        for value in record.params if isinstance(record, Packed) else record if isinstance(record, tuple) else ():
            if value is not None and not isinstance(value, np.ndarray):
                return value
    return None
