"""What the device's modules share on the host: arguments checked and laid out as rows, results as the caller has them.

Nothing here copies to or from the host, and nothing waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from math import prod
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..common.asked import ALL
from ..common.layer import OVER_TIME, Pass
from ..common.packed import Seal, sealed
from ..common.second import SecondOrder
from ..common.sizes import Sizes
from ..common.table import Signature, Table, signature
from ..common.truth import truth
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
class Layer(SecondOrder):
    """A cell's interface on the device, and the functions of its module."""

    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64", "bfloat16", "float16")
    packed: ClassVar[type] = Packed

    @classmethod
    def on_device(cls, table: Table, tape: type) -> Layer:
        """Return the layer of a cell's table, with the device's own record of a tape, which always keeps all."""
        given = {f.name: getattr(table, f.name) for f in fields(Table) if f.init}
        return cls(**{**given, "tape": "full", "records": {**table.records, "Tape": tape}})

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
            y, final, tape = self._taped(run, inputs, params, state, steps, tf32)
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

    def backward(self, run: Pass, dy: Any, tape: Any, dfinal: Any, *, stream: Any, second: bool = False, only: Any = None) -> Any:
        """Return the gradients, all or `only` some; with `second`, also what the pass keeps for others."""
        asked = self.asked(only)
        if second and not self.links:
            raise NotImplementedError(self.no_second_order("backward with second=True"))
        self.check_given(tape)
        with self.queued(stream, (dy,), () if dfinal is None else dfinal, tape.inputs, tape.params) as like:
            grads, tape2 = self._back(run, dy, tape, dfinal, second=second, asked=asked)
            return (_each(like, grads), tape2) if second else _each(like, grads)

    def _taped(self, run: Pass, inputs: Any, params: Any, state: Any, steps: int | None, tf32: bool) -> tuple[Array, Any, Any]:
        call, given = self.call(inputs, params, state, steps, tf32, keep=True)
        y, final, saved = self.ran(run, call)
        return y, final, self.records["Tape"](given, call.params, call.state, saved, call.steps, tf32)

    def _back(self, run: Pass, dy: Any, tape: Any, dfinal: Any, *, second: bool, asked: Container[str] = ALL) -> tuple[Any, Any]:
        """Return gradients, and with `second` a `Tape2`: else the pass keeps nothing of its own."""
        call, _ = self.call(tape.inputs, tape.params, tape.state, tape.steps, tape.tf32, keep=second)
        call = call.asking(asked)
        dy = self.cotangent(call, dy, "dy", OVER_TIME, self.output)
        dfinal = self.state_cotangent(call, dfinal, "dfinal")
        grads, kept = self.ran_back(run, call, tape.saved, dy, dfinal, second=second)
        return grads, self.records["Tape2"](tape, dy, kept) if second else None

    # For second order

    def backward_backward(
        self, twice: Pass, by_inputs: Pass, through: Pass, u: Any, tape2: Any, only: Any = None, *, stream: Any = None
    ) -> Any:
        self.twice_asked(only)  # before a device is sought
        with self._queued_again(stream, tape2) as like:
            return _each(like, super().backward_backward(twice, by_inputs, through, u, tape2, only))

    def tangent(self, forward: Pass, work: Pass, v: Any, tape: Any, *, stream: Any = None) -> Any:
        with self._queued_again(stream, tape) as like:
            return _each(like, super().tangent(forward, work, v, tape))

    def hvp(
        self,
        forward: Pass,
        back: Pass,
        along: Pass,
        hessian: Pass,
        output: str,
        v: Any,
        tape: Any,
        dy: Any,
        dfinal: Any,
        curvature: Callable[[Array], Any] | None,
        *,
        stream: Any = None,
    ) -> Any:
        with self._queued_again(stream, tape) as like:
            bent = None if curvature is None else lambda y: curvature(like(y))
            return _each(like, super().hvp(forward, back, along, hessian, output, v, tape, dy, dfinal, bent))

    def step_tangent(
        self, forward: Pass, work: Pass, inputs: Any, params: Any, state: Any, v: Any, *, stream: Any = None, **options: Any
    ) -> Any:
        with self.queued(stream, inputs, params) as like:
            return _each(like, super().step_tangent(forward, work, inputs, params, state, v, **options))

    def _queued_again(self, stream: Any, taped: Any) -> AbstractContextManager[Callable[[Array], Array]]:
        """Queue what is done with a tape, or a `Tape2`, as `queued` does."""
        tape = getattr(taped, "tape", taped)
        return self.queued(stream, *(getattr(tape, name, ()) for name in ("inputs", "params", "saved")))

    def retaken(self, tape: Any) -> Call:
        return self.call(tape.inputs, tape.params, tape.state, tape.steps, tape.tf32, keep=True)[0]

    def graded(self, forward: Pass, run: Pass, dy: Any, tape: Any, dfinal: Any) -> tuple[Any, Any]:
        self.check_given(tape, "hvp")
        return self._back(run, dy, tape, dfinal, second=True)

    def stepped(self, forward: Pass, inputs: Any, params: Any, state: Any, **options: Any) -> tuple[Array, Any, Any]:
        return self._taped(forward, inputs, params, state, None if self.inputs else 1, options["tf32"])

    def added(self, call: Call, one: Array, other: Array) -> Array:
        return call.stored(call.real(one) + call.real(other))  # arrays of bfloat16 have no sum

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
        if truth(self.name, "tf32", tf32) and dtype.name != "float32":
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

    def sort(self, call: Call, value: Array) -> Array:
        return _rows(value, 1)

    def named(self, record: str) -> str:
        return f"{super().named(record)} of the device"


def _rows(value: Array, axes: int) -> Array:
    """Return an array with its first axes as one, and its features as the other."""
    return value.reshape(prod(value.shape[:axes]), prod(value.shape[axes:]))


def _each(like: Callable[[Array], Array], record: Any) -> Any:
    """Return a record, or several, and those in it, with `like` of every array; None stays."""
    found = [_each(like, v) if isinstance(v, tuple) else None if v is None else like(v) for v in record]
    return tuple(found) if type(record) is tuple else type(record)(*found)


def _first(*records: Any) -> Any:
    """Return the first array of records, whose library the caller uses."""
    for record in records:
        for value in record.params if isinstance(record, Packed) else record if isinstance(record, tuple) else ():
            if value is not None and not isinstance(value, np.ndarray):
                return value
    return None
