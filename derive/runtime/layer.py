"""What all generated modules share on the host: checks of arguments, sizes found from shapes, initial values, memory.

Arrays are time-major: inputs `(T, B, ·)`, states `(B, ·)`; float32 or float64 throughout.  Inside, sequences are two-dimensional: a
row for each step t and batch index b, at ``row[t] + b``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Sizes = dict[str, int]
Shape = tuple[str, ...]
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Rows(NamedTuple):
    """Where the rows of step t begin: in sequences (`row`), on the tape (`tape`), in memory for two steps in turn (`ring`).

    These have T + 1 entries; `active` says how many sequences step t has, `kept` how many rows an array on the tape has.
    """

    row: np.ndarray
    tape: np.ndarray
    ring: np.ndarray
    active: np.ndarray
    kept: int

    @classmethod
    def dense(cls, steps: int, batch: int, keep: bool) -> Rows:
        """All sequences of one length; with `keep`, the tape has rows for all steps, else for two in turn."""
        count = np.arange(steps + 1, dtype=np.int64)
        row, ring = count * batch, (count % 2) * batch
        return cls(row, row if keep else ring, ring, np.full(steps, batch, np.int64), steps * batch if keep else 2 * batch)


class Call(NamedTuple):
    """A checked call: sizes, and every argument contiguous, sequences as rows."""

    sizes: Sizes
    steps: int
    batch: int
    dtype: np.dtype
    inputs: dict[str, Any]
    params: Any
    state: Any
    rows: Rows
    keep: bool


@dataclass(frozen=True)
class Layer:
    """A cell's interface as data; sizes are written as in ``"n"``, ``"4*n"``, ``"d + n"``.

    Attributes
    ----------
    name : str
    sizes : names of the sizes, in the order in which `init` takes them
    inputs, context, params, state : mapping from name to shape of one row
    output : shape of one row of the output
    indices : mapping from an integer input to the sizes that it must be below
    saved : mapping from what the tape keeps to (shape of one row, rows before the first step)
    equal : pairs of sizes that must be equal
    rules : mapping from a parameter to its initial value or the name of a rule, and from a state to its value before the first step
    """

    name: str
    sizes: tuple[str, ...]
    inputs: Mapping[str, Shape]
    context: Mapping[str, Shape]
    params: Mapping[str, Shape]
    state: Mapping[str, Shape]
    output: Shape
    indices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    saved: Mapping[str, tuple[Shape, int]] = field(default_factory=dict)
    equal: tuple[tuple[str, str], ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)

    # Making arrays

    def init(self, sizes: Sizes, seed: int, dtype: Any, kind: type) -> Any:
        """Return initial parameters; see each module's `init`."""
        self._check_sizes(sizes)
        dtype = _float(dtype, f"{self.name}.init: dtype")
        random = np.random.default_rng(seed)
        return kind(*(_initial(self.rules.get(name), self.shape(shape, sizes), random, dtype) for name, shape in self.params.items()))

    def zero_state(self, batch: int, sizes: Sizes, dtype: Any, kind: type) -> Any:
        """Return the states before the first step, `(batch, ·)`: zero, or the value that `rules` gives."""
        dtype = _float(dtype, f"{self.name}.zero_state: dtype")
        return kind(*(np.full((batch, *self.shape(shape, sizes)), self.rules.get(name, 0.0), dtype) for name, shape in self.state.items()))

    def spec(self, steps: int, batch: int, sizes: Sizes) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return the shape of every array of a call with these sizes."""
        self._check_sizes(sizes)
        over_time = (steps, batch)
        return {
            "inputs": {k: (*over_time, *self.shape(v, sizes)) for k, v in self.inputs.items()},
            "context": {k: (batch, *self.shape(v, sizes)) for k, v in self.context.items()},
            "params": {k: self.shape(v, sizes) for k, v in self.params.items()},
            "state": {k: (batch, *self.shape(v, sizes)) for k, v in self.state.items()},
            "output": {"y": (*over_time, *self.shape(self.output, sizes))},
            "saved": {k: (steps + extra, batch, *self.shape(v, sizes)) for k, (v, extra) in self.saved.items()},
        }

    def shape(self, shape: Shape, sizes: Sizes) -> tuple[int, ...]:
        """Return a shape's numbers."""
        return tuple(evaluate(size, sizes) for size in shape)

    # Checking arguments

    def call(self, inputs: Mapping[str, Any], params: Any, state: Any, kinds: tuple[type, type], steps: int | None, keep: bool) -> Call:
        """Check a forward call and return it ready to run; ValueError names the argument, its shape and the shape needed."""
        params = self._record(params, kinds[0], "params")
        given = {k: self._array(v, k) for k, v in inputs.items()}
        state = None if state is None else self._record(state, kinds[1], "state")
        dtype = self._dtype(given, params, state)
        steps, batch = self._extent(given, state, steps)
        sizes = self._find_sizes(given, params, state)
        if state is None:
            state = self.zero_state(batch, sizes, dtype, kinds[1])
        self._check(given, params, state, sizes, steps, batch)
        rows = {k: self._rows(v, k, steps, batch) for k, v in given.items()}
        return Call(sizes, steps, batch, dtype, rows, params, state, Rows.dense(steps, batch, keep), keep)

    def cotangents(self, dy: Any, dfinal: Any, tape: Any, kinds: tuple[Any, Any, Any]) -> tuple[Call, np.ndarray, Any]:
        """Check a backward call; return the call of the tape, `dy` as rows and the cotangents of the final state."""
        if not isinstance(tape, kinds[0]):
            got = f"{type(tape).__module__.rpartition('.')[2]}.{type(tape).__name__}"
            raise ValueError(f"{self.name}.backward: tape must be a {self.name}.Tape, got a {got}")
        call = self.call(tape.inputs._asdict(), tape.params, tape.state, kinds[1:], tape.steps, True)
        spec = self.spec(call.steps, call.batch, call.sizes)["saved"]
        for name, (row, extra) in self.saved.items():
            value = self._array(getattr(tape.saved, name, None), f"tape.saved.{name}")
            self._needs(f"tape.saved.{name}", value.shape, spec[name], ("T + 1" if extra else "T", "B", *row))
            self._same_dtype(f"tape.saved.{name}", value.dtype, call.dtype)
        shape = (call.steps, call.batch, *self.shape(self.output, call.sizes))
        width = int(np.prod(shape[2:], dtype=np.int64))
        dy = np.zeros(shape, call.dtype) if dy is None else self._array(dy, "dy")
        self._needs("dy", dy.shape, shape, ("T", "B", *self.output))
        self._same_dtype("dy", dy.dtype, call.dtype)
        zero = kinds[2](*map(np.zeros_like, call.state))
        final = zero if dfinal is None else self._record(dfinal, kinds[2], "dfinal")
        for name, value in final._asdict().items():
            self._needs(f"dfinal.{name}", value.shape, (call.batch, *self.shape(self.state[name], call.sizes)), ("B", *self.state[name]))
            self._same_dtype(f"dfinal.{name}", value.dtype, call.dtype)
        return call, np.ascontiguousarray(dy).reshape(call.steps * call.batch, width), final

    def options(self, *, lengths: Any = None, reverse: bool = False, tape: str = "full") -> None:
        """Refuse the options that are not built yet."""
        if lengths is not None:
            raise ValueError(f"{self.name}: lengths are not supported yet: pad the sequences and mask dy")
        if reverse:
            raise ValueError(f"{self.name}: reverse is not supported yet: pass x[::-1] and read y[::-1]")
        if tape != "full":
            raise ValueError(f'{self.name}: tape must be "full" ("recompute" is not supported yet), got {tape!r}')

    def written(self, y: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        """Return `y`, in `out` if that is given."""
        if out is None:
            return y
        if not isinstance(out, np.ndarray) or out.dtype != y.dtype:
            got = getattr(out, "dtype", type(out).__name__)
            raise ValueError(f"{self.name}.step: out must be an array of {y.dtype}, got {got}")
        self._needs("out", out.shape, y.shape, ("B", *self.output))
        out[...] = y
        return out

    def one_step(self, inputs: Mapping[str, Any]) -> None:
        """Check the ranks of one step's inputs, which lack the axis of time."""
        for name, shape in self.inputs.items():
            value = self._array(inputs[name], name)
            if value.ndim != 1 + len(shape):
                raise ValueError(f"{self.name}.step: {name} has shape {value.shape}, needs {_shown(('B', *shape))}")

    def _record(self, record: Any, kind: type, argument: str) -> Any:
        """Return a NamedTuple of `kind` with contiguous arrays."""
        fields = tuple(kind._fields)  # type: ignore[attr-defined]
        if getattr(record, "_fields", None) != fields:
            got = getattr(record, "_fields", type(record).__name__)
            raise ValueError(f"{self.name}: {argument} must be a {self.name}.{kind.__name__} with fields {fields}, got {got}")
        return kind(*(self._array(v, f"{argument}.{k}") for k, v in zip(fields, record, strict=True)))

    def _array(self, value: Any, argument: str) -> np.ndarray:
        if isinstance(value, np.generic):  # what NumPy makes of arithmetic on an array without axes
            value = np.asarray(value)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{self.name}: {argument} must be a NumPy array, got {type(value).__name__}")
        return np.ascontiguousarray(value) if value.ndim else value

    def _dtype(self, inputs: Mapping[str, np.ndarray], params: Any, state: Any) -> np.dtype:
        """Return the one dtype of all floating-point arguments."""
        floats = {k: v for k, v in inputs.items() if k not in self.indices}
        floats |= {f"params.{k}": v for k, v in params._asdict().items()}
        floats |= {} if state is None else {f"state.{k}": v for k, v in state._asdict().items()}
        for name in self.indices:
            if inputs[name].dtype.kind not in "iu":
                raise ValueError(f"{self.name}: {name} must hold integers, got {inputs[name].dtype}")
        if not floats:
            return np.dtype(np.float64)
        first, value = next(iter(floats.items()))
        dtype = _float(value.dtype, f"{self.name}: {first}")
        for name, other in floats.items():
            if other.dtype != dtype:
                raise ValueError(f"{self.name}: {name} is {other.dtype}, but {first} is {dtype}: all arguments need one dtype")
        return dtype

    def _same_dtype(self, argument: str, got: np.dtype, need: np.dtype) -> None:
        if got != need:
            raise ValueError(f"{self.name}: {argument} is {got}, but the tape is {need}")

    def _extent(self, inputs: Mapping[str, np.ndarray], state: Any, steps: int | None) -> tuple[int, int]:
        """Return T and B."""
        for name in self.inputs:
            value, rank = inputs[name], 2 + len(self.inputs[name])
            if value.ndim != rank:
                raise ValueError(f"{self.name}: {name} has shape {value.shape}, needs {_shown(('T', 'B', *self.inputs[name]))}")
            if steps is not None and steps != value.shape[0]:
                raise ValueError(f"{self.name}: steps={steps}, but {name} has {value.shape[0]} steps")
            return value.shape[0], value.shape[1]
        if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
            raise ValueError(f"{self.name}: a cell without inputs needs steps, a number of at least 0, got {steps}")
        for value in (*inputs.values(), *(() if state is None else state)):
            if value.ndim:
                return steps, value.shape[0]
        raise ValueError(f"{self.name}: a cell without inputs needs state, which tells the batch size")

    def _find_sizes(self, inputs: Mapping[str, np.ndarray], params: Any, state: Any) -> Sizes:
        """Return the sizes, from the axes that tell them."""
        known: Sizes = {}
        axes = [(shape, params._asdict()[name].shape) for name, shape in self.params.items()]
        axes += [(shape, inputs[name].shape[2:]) for name, shape in self.inputs.items()]
        axes += [(shape, inputs[name].shape[1:]) for name, shape in self.context.items()]
        axes += [] if state is None else [(shape, state._asdict()[name].shape[1:]) for name, shape in self.state.items()]
        pairs = [(size, got) for shape, axis in axes if len(shape) == len(axis) for size, got in zip(shape, axis, strict=True)]
        for _ in range(len(self.sizes)):
            for size, got in pairs:
                terms, constant = linear(size)
                free = [(name, k) for name, k in terms if name not in known]
                if len(free) == 1:
                    rest = got - constant - sum(k * known[name] for name, k in terms if name in known)
                    known[free[0][0]] = max(rest // free[0][1], 0)
        missing = [name for name in self.sizes if name not in known]
        if missing:
            raise ValueError(f"{self.name}: the arguments' shapes do not tell the sizes {missing}: pass a state")
        return known

    def _check(self, inputs: Mapping[str, np.ndarray], params: Any, state: Any, sizes: Sizes, steps: int, batch: int) -> None:
        for name, shape in self.params.items():
            self._needs(f"params.{name}", params._asdict()[name].shape, self.shape(shape, sizes), shape)
        for name, shape in self.inputs.items():
            self._needs(name, inputs[name].shape, (steps, batch, *self.shape(shape, sizes)), ("T", "B", *shape))
        for name, shape in self.context.items():
            self._needs(name, inputs[name].shape, (batch, *self.shape(shape, sizes)), ("B", *shape))
        for name, shape in self.state.items():
            self._needs(f"state.{name}", state._asdict()[name].shape, (batch, *self.shape(shape, sizes)), ("B", *shape))
        self._check_sizes(sizes)
        for name, below in self.indices.items():
            value, top = inputs[name], min(evaluate(size, sizes) for size in below)
            if value.size and (value.min() < 0 or value.max() >= top):
                raise ValueError(f"{self.name}: {name} must lie in 0 … {top - 1}, got {value.min()} … {value.max()}")

    def _needs(self, argument: str, got: tuple[int, ...], need: tuple[int, ...], names: Sequence[str]) -> None:
        if got != need:
            raise ValueError(f"{self.name}: {argument} has shape {got}, needs {_shown(names)} = {need}")

    def _check_sizes(self, sizes: Sizes) -> None:
        for name, value in sizes.items():
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{self.name}: size {name} must be a positive integer, got {value!r}")
        for a, b in self.equal:
            if a in sizes and b in sizes and sizes[a] != sizes[b]:
                raise ValueError(f"{self.name}: its equations need {a} = {b}, got {a} = {sizes[a]} and {b} = {sizes[b]}")

    def _rows(self, value: np.ndarray, name: str, steps: int, batch: int) -> np.ndarray:
        """Return an input as rows: `(T·B, width)`, or `(B, width)` for a context."""
        dtype = np.int64 if name in self.indices else value.dtype
        count = batch if name in self.context else steps * batch
        axes = 1 if name in self.context else 2
        return np.ascontiguousarray(value, dtype).reshape(count, int(np.prod(value.shape[axes:], dtype=np.int64)))


def state_rows(initial: np.ndarray, rows: Rows, batch: int, *, tape: bool) -> np.ndarray:
    """Return a state's array with `initial` (B, ·) in the rows before the first step; with `tape` it has rows for every kept step."""
    width = int(np.prod(initial.shape[1:], dtype=np.int64))
    last = int((rows.tape if tape else rows.ring).max())
    out = np.empty((last + batch, width), initial.dtype)
    out[:batch] = initial.reshape(batch, width)
    return out


def carried_rows(final: np.ndarray, rows: Rows) -> np.ndarray:
    """Return the array of a state's cotangent, two steps' worth, with `final` (B, ·) after the last step of every sequence."""
    batch, width = final.shape[0], int(np.prod(final.shape[1:], dtype=np.int64))
    return np.concatenate([final.reshape(batch, width)] * 2)


def last_rows(array: np.ndarray, start: int, like: np.ndarray) -> np.ndarray:
    """Return the rows from `start`, shaped as `like`, as an array of their own."""
    return array[start : start + like.shape[0]].reshape(like.shape).copy()


def as_rows(value: np.ndarray) -> np.ndarray:
    """Return an array over time and batch, `(T, B, ·)`, as rows `(T·B, ·)`; a scalar a row becomes one column."""
    return value.reshape(value.shape[0] * value.shape[1], int(np.prod(value.shape[2:], dtype=np.int64)))


_LINEAR: dict[str, tuple[tuple[tuple[str, int], ...], int]] = {}


def linear(size: str) -> tuple[tuple[tuple[str, int], ...], int]:
    """Return the terms and the constant of a size such as ``"4*n + d + 1"``."""
    if size not in _LINEAR:
        terms: list[tuple[str, int]] = []
        constant = 0
        for part in size.replace("- ", "+ -").replace("+", " ").split():
            factor, _, name = part.rpartition("*")
            sign = -1 if part.startswith("-") else 1
            if name.lstrip("-").isdigit():
                constant += int(name)
            else:
                terms.append((name.lstrip("-"), int(factor) if factor else sign))
        _LINEAR[size] = tuple(terms), constant
    return _LINEAR[size]


def evaluate(size: str, sizes: Sizes) -> int:
    """Return the value of a size."""
    terms, constant = linear(size)
    return constant + sum(k * sizes[name] for name, k in terms)


def _shown(names: Sequence[str]) -> str:
    return "(" + ", ".join(names) + ("," if len(names) == 1 else "") + ")"


def _float(dtype: Any, argument: str) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype not in DTYPES:
        raise ValueError(f"{argument} must be float32 or float64, got {dtype}")
    return dtype


RULES = ("uniform", "glorot", "orthogonal", "normal", "eye", "zeros", "ones")
MATRIX_RULES = ("orthogonal", "eye")


def _initial(rule: Any, shape: tuple[int, ...], random: np.random.Generator, dtype: np.dtype) -> np.ndarray:
    """Return initial values: a number, an array, or what a rule says; U(-1/√k, 1/√k) over the last axis k where there is none."""
    fan = shape[-1] if shape else 1
    match rule:
        case None | "uniform":
            value = random.uniform(-(fan**-0.5), fan**-0.5, shape)
        case "glorot":
            bound = (6 / (shape[0] + fan)) ** 0.5 if shape else 1.0
            value = random.uniform(-bound, bound, shape)
        case "orthogonal":
            value = np.linalg.qr(random.standard_normal((max(shape), max(shape))))[0][: shape[0], : shape[1]]
        case "normal":
            value = random.standard_normal(shape)
        case "eye":
            value = np.eye(shape[0], shape[1])
        case "zeros" | "ones":
            value = np.asarray(float(rule == "ones"))
        case _:
            value = np.asarray(rule)
    return np.array(np.broadcast_to(value, shape), dtype, order="C")
