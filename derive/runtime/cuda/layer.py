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

from ..common.layer import OVER_TIME, BaseLayer, Pass
from ..common.packed import Seal, sealed
from ..common.sizes import Sizes
from ..common.table import Signature, Table, signature
from .call import Call
from .current import current
from .device import Device
from .kind import KINDS, Kind

Array = Any
LARGEST = 2**31 - 1  # blocks of a grid


class Packed(NamedTuple):
    """Parameters as they were when they were packed, checked, and what is made of them before the first step.

    `infer` and `step` take it in place of parameters; all that they read is its own.
    """

    params: Any
    weights: tuple[Any, ...]
    shapes: Signature
    laid: dict[Any, Any]
    seal: Seal

    def __reduce__(self) -> Any:
        return self.seal.again(self.params)


@dataclass(frozen=True)
class Layer(BaseLayer):
    """A cell's interface on the device, and the functions of its module."""

    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "bfloat16", "float16")
    packed: ClassVar[type] = Packed

    @classmethod
    def on_device(cls, table: Table, tape: type) -> Layer:
        """Return the layer of a cell's table, with the device's own record of a tape."""
        given = {f.name: getattr(table, f.name) for f in fields(Table) if f.init}
        return cls(**{**given, "links": {}, "records": {**table.records, "Tape": tape}})  # devices have the first order

    # Making arrays

    def init(self, sizes: Sizes, seed: int, dtype: Any) -> Any:
        device, dtype = self.device(), self.float(dtype, f"{self.name}.init: dtype")
        made = Table.init(self, sizes, seed, np.float64 if dtype == np.float64 else np.float32)
        return type(made)(*(device.xp.asarray(value).astype(dtype) for value in made))

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Array:
        return self.xp.full(shape, value, dtype)

    # What the module's functions do

    def pack(self, make: Pass, params: Any, stream: Any) -> Packed:
        """Return a copy of parameters with what is made of it."""
        with self.queued(stream, params):
            params, dtype, sizes = self.copied(params)
            weights = self.run(make, Call(self.device(), KINDS[dtype.name], sizes, params))
            return sealed(Packed, make, params, weights, signature(params), {})

    def forward(
        self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, tf32: bool, stream: Any
    ) -> tuple[Array, Any, Any]:
        """Return output, final state and tape."""
        with self.queued(stream, inputs, params, state) as like:
            call, given = self.call(inputs, params, state, steps, tf32, keep=True)
            y, final, saved = self.ran(run, call)
            tape = self.records["Tape"](given, call.params, call.state, saved, call.steps, tf32)
            return like(y), type(final)(*map(like, final)), tape

    def infer(self, run: Pass, inputs: Any, params: Any, state: Any, *, steps: int | None, tf32: bool, stream: Any) -> tuple[Array, Any]:
        """Return output and final state."""
        with self.queued(stream, inputs, params, state) as like:
            call, _ = self.call(inputs, params, state, steps, tf32, keep=False)
            y, final, _ = self.ran(run, call)
            return like(y), type(final)(*map(like, final))

    def step(self, run: Pass, inputs: Any, params: Any, state: Any, *, tf32: bool, stream: Any) -> tuple[Array, Any]:
        """Return output and state of one step."""
        with self.queued(stream, inputs, params, state) as like:
            call, _ = self.call(self.one_step(inputs), params, state, None if self.inputs else 1, tf32, keep=False)
            y, final, _ = self.ran(run, call)
            return like(y[0]), type(final)(*map(like, final))

    def backward(self, run: Pass, dy: Any, tape: Any, dfinal: Any, *, stream: Any) -> Any:
        """Return the gradients."""
        self.check_given(tape)
        with self.queued(stream, (dy,), () if dfinal is None else dfinal, tape.inputs, tape.params) as like:
            call, _ = self.call(tape.inputs, tape.params, tape.state, tape.steps, tape.tf32, keep=True)
            dy = self.cotangent(call, dy, "dy", OVER_TIME, self.output)
            dfinal = self.state_cotangent(call, dfinal, "dfinal")
            return _each(like, self.ran_back(run, call, tape.saved, dy, dfinal)[0])

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
        given = self.arguments(inputs, params, state, steps)
        packed, alike = given.packed, given.alike
        steps, batch = alike.steps, alike.batch
        if steps * batch > LARGEST:
            raise ValueError(f"{self.name}: T B must be below 2^31, a row each, got {steps} steps of {batch} sequences")
        kind = self._kind(alike.dtype, tf32)
        laid = {name: self._laid(value, name) for name, value in given.inputs.items()}
        weights, made = (packed.weights, packed.laid) if packed else (None, {})
        call = Call(self.device(), kind, alike.sizes, given.params, given.state, laid, steps, batch, keep, weights, made)
        return call, type(inputs)(**given.inputs)

    def _laid(self, value: Array, name: str) -> Array:
        """Return an input as rows, a context by sequence."""
        rows = _rows(value, 1 if name in self.context else 2)
        return rows.astype(np.int64, copy=False) if name in self.indices else rows

    def _kind(self, dtype: Any, tf32: bool) -> Kind:
        if not isinstance(tf32, bool | np.bool_):
            raise ValueError(f"{self.name}: tf32 must be True or False, got {tf32!r}")
        if tf32 and dtype.name != "float32":
            raise ValueError(f"{self.name}: tf32 is a way to multiply float32, but the arguments are {dtype}")
        return KINDS["tf32" if tf32 else dtype.name]

    # Arguments, as a table checks them

    def array(self, value: Any, argument: str, name: str = "") -> Array:
        found = self.device().array(value, f"{self.name}: {argument}{'.' if name else ''}{name}")
        return self.xp.ascontiguousarray(found) if found.ndim else found

    def parameters(self, params: Any) -> tuple[Any, Any]:
        found, packed = super().parameters(params)
        if packed:  # now another device may be the one in use
            found = self.record(found, self.records["Params"], "params")
        return found, packed

    def float(self, dtype: Any, argument: str) -> Any:
        return self.device().dtype(self.float_name(dtype, argument))

    # How arrays are laid out, and passes run

    @property
    def xp(self) -> Any:
        return self.device().xp

    def run(self, work: Pass, *given: Any) -> Any:
        return work(*given)

    def gather(self, call: Call, value: Array) -> Array:
        return _rows(value, 2)

    def named(self, record: str) -> str:
        return f"{super().named(record)} of the device"


def _rows(value: Array, axes: int) -> Array:
    """Return an array with its first axes as one, and its features as the other."""
    return value.reshape(prod(value.shape[:axes]), prod(value.shape[axes:]))


def _each(like: Callable[[Array], Array], record: Any) -> Any:
    """Return a record, and those in it, with `like` of every array; None stays."""
    return type(record)(*(_each(like, v) if isinstance(v, tuple) else None if v is None else like(v) for v in record))


def _first(*records: Any) -> Any:
    """Return the first array of records, whose library the caller uses."""
    for record in records:
        for value in record.params if isinstance(record, Packed) else record if isinstance(record, tuple) else ():
            if value is not None and not isinstance(value, np.ndarray):
                return value
    return None
