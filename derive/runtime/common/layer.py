"""What stands around a cell's passes on every device: their arguments checked, and their results as the caller has them.

A pass takes rows and returns rows: one for each step of each sequence, laid out as the device wants them. A chain of passes goes on from a
forward pass: each is given what another one kept, a record of arrays over time, and cotangents of what another one handed out. So what is
here is asked for a record and a table of its shapes, and never for the tape or the cotangents of one pass alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping
from math import prod
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from .asked import ALL, asked
from .packed import check_packed
from .sizes import Shape, Sizes
from .table import Signature, Table, shown, signature

Array = Any
Pass = Callable[..., Any]
Kept = Mapping[str, tuple[Shape, int | None]]  # of what a pass keeps: shape of one row, rows before the first step; None if it has no rows
OVER_TIME, BY_SEQUENCE = ("T", "B"), ("B",)  # the axes before a row's own
LEADS: Mapping[str, tuple[str, ...]] = {"steps": OVER_TIME, "batch": BY_SEQUENCE, "static": ()}  # as the table of a pass says it
CHECKED = 256  # kinds of calls that a layer remembers


class AnyCall(Protocol):
    """What a checked call of every device says."""

    @property
    def sizes(self) -> Sizes: ...
    @property
    def steps(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def stored_dtype(self) -> Any: ...
    @property
    def asked(self) -> Container[str]: ...


class Alike(NamedTuple):
    """What calls with arrays of the same shapes and dtypes have in common.

    Attributes
    ----------
    sizes, dtype, steps, batch
    weights : int
        Bytes of the parameters.
    width : int
        Elements of what a step reads and writes for one sequence.
    start : tuple
        Shape and value of each state before the first step, where none is given.
    axes : dict
        Axes of arrays that have been asked for, by what a device finds them.
    """

    sizes: Sizes
    dtype: Any
    steps: int
    batch: int
    weights: int
    width: int
    start: tuple[tuple[tuple[int, ...], float], ...]
    axes: dict[Any, tuple[int, ...]]


class Arguments(NamedTuple):
    """Arguments of a call, checked, as arrays of the device.

    Attributes
    ----------
    inputs : dict
        Inputs and contexts, by name.
    params, packed
        Parameters, and the `Packed` that they come from; None if they come as they are.
    state
        Before the first step, in the caller's order of sequences.
    alike : Alike
    """

    inputs: dict[str, Array]
    params: Any
    packed: Any
    state: Any
    alike: Alike


class BaseLayer(Table, ABC):
    """A cell's interface, and what the functions of its module do on every device."""

    packed: ClassVar[type]
    """The device's `Packed`."""

    # What a device has of its own

    @property
    @abstractmethod
    def xp(self) -> Any:
        """The module of the device's arrays."""

    @abstractmethod
    def run(self, work: Pass, *given: Any) -> Any:
        """Run a pass."""

    @abstractmethod
    def gather(self, call: Any, value: Array) -> Array:
        """Return a caller's array `(T, B, ·)` as rows."""

    def spread(self, call: Any, rows: Array) -> Array:
        """Return rows as `(T·B, ·)`, step by step, in the caller's order of sequences."""
        return rows

    def sort(self, call: Any, value: Array) -> Array:
        """Return a caller's array `(B, ·)` in the order in which the call has its sequences."""
        return value

    def unsort(self, call: Any, value: Array) -> Array:
        """Return an array `(B, ·)` of the call in the caller's order."""
        return value

    # Arguments

    def copied(self, params: Any) -> tuple[Any, Any, Sizes]:
        """Check parameters that are to be packed; return a copy of them, their dtype, and the sizes that they tell."""
        params = self.record(params, self.records["Params"], "params")
        dtype = self.dtype(dict.fromkeys(self.indices, np.zeros(0, int)), params, None)
        sizes = self.find_sizes({}, params, None, complete=False)
        self.check_params(params, sizes)
        self.check_sizes(sizes)
        return type(params)(*(value.copy() for value in params)), dtype, sizes

    def parameters(self, params: Any) -> tuple[Any, Any]:
        """Return parameters as arrays of the device, and the `Packed` that they come from, or None."""
        if not isinstance(params, self.packed):
            return self.record(params, self.records["Params"], "params"), None
        check_packed(params, self.name, self.records["Params"])
        return params.params, params  # type: ignore[attr-defined]

    def arguments(self, inputs: Any, params: Any, state: Any, steps: int | None) -> Arguments:
        """Check the arguments of a call.

        Raises
        ------
        ValueError, TypeError
            It names the argument, what came and what is needed.
        """
        params, packed = self.parameters(params)
        given = {name: self.array(value, name) for name, value in zip(inputs._fields, inputs, strict=True)}
        state = None if state is None else self.record(state, self.records["State"], "state")
        shapes = packed.shapes if packed else signature(params)
        alike = self._alike(shapes, given, params, state, steps)
        if state is None:
            state = self.records["State"](*[self.full(shape, value, alike.dtype) for shape, value in alike.start])
        return Arguments(given, params, packed, state, alike)

    def _alike(self, shapes: Signature, given: dict[str, Array], params: Any, state: Any, steps: int | None) -> Alike:
        """Check shapes and dtypes; return what calls like this one have in common, only looked up if there was one before."""
        key = (shapes, signature(given.values()), state and signature(state), steps)
        if key not in self.checked:
            dtype = self.dtype(given, params, state)
            extent = self.extent(given, state, steps)
            sizes = self.find_sizes(given, params, state)
            self.check(given, params, state, sizes, *extent)
            if len(self.checked) >= CHECKED:
                self.checked.clear()
            weights, start = sum(value.nbytes for value in params), self._start(extent[1], sizes)
            self.checked[key] = Alike(sizes, dtype, *extent, weights, self._width(sizes), start, {})
        found: Alike = self.checked[key]
        return found

    def _start(self, batch: int, sizes: Sizes) -> tuple[tuple[tuple[int, ...], float], ...]:
        shapes = self.state.items()
        return tuple(((batch, *self.shape(shape, sizes)), self.rules.get(name, 0.0)) for name, shape in shapes)

    def _width(self, sizes: Sizes) -> int:
        """Return how many elements a step reads and writes for one sequence: inputs, states, what is kept, and the output."""
        shapes = [*self.inputs.values(), *self.context.values(), *self.state.values(), *self.state.values(), self.output]
        return sum(prod(self.shape(shape, sizes)) for shape in (*shapes, *(shape for shape, _ in self.saved.values())))

    def one_step(self, inputs: Any) -> Any:
        """Return the inputs of one step, `(B, ·)`, as those of a sequence of one step."""
        given = inputs._asdict()
        for name, shape in self.inputs.items():
            value = self.array(given[name], name)
            if value.ndim != 1 + len(shape):
                raise ValueError(f"{self.name}.step: {name} has shape {value.shape}, needs {shown(('B', *shape))}")
            given[name] = value[None]
        return type(inputs)(**given)

    # What a pass is given of another one

    def check_given(self, tape: Any, function: str = "backward", argument: str = "tape", record: str = "Tape", told: str = "") -> None:
        """Check that what `function` is given as `argument` is this module's `record`, of which a message tells more."""
        if not isinstance(tape, self.records[record]):
            got = self.shown_type(type(tape))
            raise ValueError(f"{self.name}.{function}: {argument} must be a {self.named(record)}{told}, got a {got}")

    def named(self, record: str) -> str:
        """Return what a message calls a record of the module."""
        return f"{self.name}.{record}"

    def shown_type(self, kind: type) -> str:
        """Return what a message calls a type that is not what is needed."""
        return f"{kind.__module__}.{kind.__name__}"

    def axes(self, call: AnyCall, lead: tuple[str, ...], shape: Shape) -> tuple[int, ...]:
        """Return the axes of a caller's array: those before a row's, `OVER_TIME`, `BY_SEQUENCE` or none, and a row's own."""
        return (*(call.steps, call.batch)[len(OVER_TIME) - len(lead) :], *self.shape(shape, call.sizes))

    def check_cotangent(self, call: AnyCall, value: Array, argument: str, lead: tuple[str, ...], shape: Shape) -> None:
        """Check a cotangent of an array with the axes `lead` before those of a row's `shape`."""
        self.needs(argument, value.shape, self.axes(call, lead, shape), (*lead, *shape))
        self.same_dtype(argument, value.dtype, call.stored_dtype)

    def cotangent(self, call: AnyCall, value: Any, argument: str, lead: tuple[str, ...], shape: Shape) -> Array:
        """Return a cotangent, checked; zero for None."""
        if value is None:
            return self.xp.zeros(self.axes(call, lead, shape), call.stored_dtype)
        value = self.array(value, argument)
        self.check_cotangent(call, value, argument, lead, shape)
        return value

    def state_cotangent(self, call: AnyCall, value: Any, argument: str) -> Any:
        """Return the cotangent of a `State`, checked; zero for None."""
        kind, shapes = self.records["State"], self.state
        if value is None:
            return kind(*(self.cotangent(call, None, argument, BY_SEQUENCE, shape) for shape in shapes.values()))
        value = self.record(value, kind, argument)
        for (name, shape), array in zip(shapes.items(), value, strict=True):
            self.check_cotangent(call, array, f"{argument}.{name}", BY_SEQUENCE, shape)
        return value

    # What a pass keeps: arrays over time, unless the device has rows that make none

    def kept_axes(self, call: Any, shape: Shape, extra: int | None) -> tuple[int, ...]:
        """Return the axes of what is kept, of a row's `shape` and with `extra` rows before the first step."""
        if extra is None:
            return self.shape(shape, call.sizes)
        return (call.steps + extra, call.batch, *self.shape(shape, call.sizes))

    def kept_names(self, call: Any, shape: Shape, extra: int | None) -> tuple[str, ...]:
        """Return what a message calls these axes."""
        if extra is None:
            return shape
        return ("T + 1" if extra else "T", "B", *shape)

    def kept_rows(self, call: Any, value: Array) -> Array:
        """Return what is kept, as rows."""
        return self.gather(call, value)

    def kept(self, call: AnyCall, record: Any, table: Kept) -> Any:
        """Return a record of what a pass keeps, given as rows, as it lies on a tape."""
        arrays = zip(record._fields, record, strict=True)
        return type(record)(*[value.reshape(self.kept_axes(call, *table[name])) for name, value in arrays])

    def rows_of(self, call: AnyCall, record: Any, kind: type, table: Kept, argument: str) -> Any:
        """Check what a tape keeps against the `table` of its shapes; return it as rows, a record of `kind`."""
        found = []
        for name, (shape, extra) in table.items():
            value, axes = self.array(getattr(record, name, None), argument, name), self.kept_axes(call, shape, extra)
            if value.shape != axes or value.dtype != call.stored_dtype:
                self.needs(f"{argument}.{name}", value.shape, axes, self.kept_names(call, shape, extra))
                self.same_dtype(f"{argument}.{name}", value.dtype, call.stored_dtype)
            found.append(value if extra is None else self.kept_rows(call, value))
        return kind(*found)

    # Passes, and what they hand out

    def ran(self, work: Pass, call: AnyCall) -> tuple[Array, Any, Any]:
        """Run the forward pass of a call; return output, final state, and what a tape keeps, or None."""
        rows, final, kept = self.run(work, call)
        saved = None if kept is None else self.kept(call, kept, self.saved)
        return self.as_given(call, rows, OVER_TIME, self.output), self.unsorted(call, final), saved

    def ran_back(self, work: Pass, call: AnyCall, saved: Any, dy: Array, dfinal: Any, *, second: bool = False) -> tuple[Any, Any]:
        """Run the backward pass of a call, on what its tape keeps and cotangents that are checked; return the gradients, and with `second`
        what it keeps for other passes, or None.
        """
        given = self.rows_of(call, saved, self.records["Saved"], self.saved, "tape.saved")
        final = type(dfinal)(*[self.sort(call, value) for value in dfinal])
        found = self.run(work, call, given, self.gather(call, dy), final)
        table = self.links["backward"].saved if self.links else {}
        grads, kept = found if table else (found, None)
        return self.gradients(call, grads), self.kept(call, kept, table) if table and second else None

    def linked(
        self, link: str, work: Pass, call: AnyCall, given: Mapping[str, Any], kept: Mapping[str, Any], argument: str
    ) -> dict[str, Any]:
        """Run a pass beyond forward and backward on a call; return what it hands out, by role, None for what is zero.

        Parameters
        ----------
        link : str
            Its name in `links`.
        given : mapping
            The caller's arrays by role; None is zero, and so is what is not there. A pass is linear in all but the roles ``first.…``.
        kept : mapping
            By the names of the passes that it reads, the records of what they keep.
        argument : str
            What a message calls `given`.
        """
        table = self.links[link]
        if all([given.get(name) is None for name in table.given if not name.startswith("first.")]):
            return dict.fromkeys(table.handed)
        tables = {"forward": self.saved} | {name: other.saved for name, other in self.links.items()}
        records = [self.rows_of(call, kept[of], type(kept[of]), tables[of], f"tape of {of}") for of in table.reads]
        values = {name: self.as_rows(call, given.get(name), f"{argument}.{name}", *axes) for name, axes in table.given.items()}
        found, handed = self.run(work, call, *records, values), table.handed.items()
        return {name: self.as_given(call, found[name], LEADS[kind], shape) for name, (kind, shape) in handed}

    def as_rows(self, call: AnyCall, value: Any, argument: str, kind: str, shape: Shape) -> Array:
        """Return a caller's array of a kind that `LEADS` has, checked, as a pass reads it; zero for None."""
        value = self.cotangent(call, value, argument, LEADS[kind], shape)
        if kind == "steps":
            return self.gather(call, value)
        return self.sort(call, value) if kind == "batch" else value

    def as_given(self, call: AnyCall, value: Any, lead: tuple[str, ...], shape: Shape) -> Any:
        """Return rows, or with `BY_SEQUENCE` a row for each sequence, as the caller has an array with these axes; None stays."""
        if value is None:
            return None
        if lead:
            value = self.spread(call, value) if lead == OVER_TIME else self.unsort(call, value)
        return value.reshape(self.axes(call, lead, shape))

    def unsorted(self, call: AnyCall, state: Any) -> Any:
        """Return a `State` of the call, or cotangents of one, in the caller's order of sequences and with its axes."""
        return type(state)(*[self.as_given(call, v, BY_SEQUENCE, shape) for v, shape in zip(state, self.state.values(), strict=True)])

    def gradients(self, call: AnyCall, grads: Any) -> Any:
        """Return a record of gradients by inputs, contexts and state, given as rows, as the caller has the values; None stays, and what is
        not asked for is None.
        """
        given: dict[str, tuple[tuple[str, ...], Shape]] = {name: (OVER_TIME, shape) for name, shape in self.inputs.items()}
        given |= {name: (BY_SEQUENCE, shape) for name, shape in self.context.items()}
        found = {name: self.as_given(call, getattr(grads, name), *axes) if name in call.asked else None for name, axes in given.items()}
        return grads._replace(**found, state=self.unsorted(call, grads.state) if "state" in call.asked else None)

    def asked(self, only: Any, function: str = "backward", *more: str) -> Container[str]:
        """Return the names of the gradients that a caller of a function asks for, checked; there may be `more` than by what was given."""
        if only is None:
            return ALL
        given = [name for name in (*self.inputs, *self.context) if name not in self.indices]
        return asked(only, [*more, *given, "params", "state"], f"{self.name}.{function}")
