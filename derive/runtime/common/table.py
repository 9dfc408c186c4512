"""A cell's interface as a table of shapes, and the checks of arguments against it.

Arrays are time-major: inputs `(T, B, ·)`, states `(B, ·)`; float32 or float64 throughout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from .initial import initial
from .sizes import Shape, Sizes, evaluate, solved

Signature = tuple[tuple[tuple[int, ...], np.dtype], ...]


class Link(NamedTuple):
    """What a pass of second order reads, takes and gives, by role; and of the backward pass, what it keeps for such.

    Attributes
    ----------
    reads : names of the passes whose kept values it is given, in order
    given, handed : mapping from role to (``steps``, ``batch`` or ``static``: what there is a row for, and shape of one row)
    saved : mapping from what it keeps to (shape of one row, rows before the first step; None for a value that has no rows)
    """

    reads: tuple[str, ...]
    given: Mapping[str, tuple[str, Shape]]
    handed: Mapping[str, tuple[str, Shape]]
    saved: Mapping[str, tuple[Shape, int | None]]


@dataclass(frozen=True)
class Table:
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
    links : mapping from the name of a pass of second order to what it takes and gives; empty for a module of first order
    rules : mapping from a parameter to its initial value or the name of a rule, and from a state to its value before the first step
    tape : how a forward pass keeps its tape unless it is told: "full" or "auto"
    records : the module's own types, by name: Params, State, Inputs, Saved, Tape, Grads, and of second order Tape2, Second
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
    links: Mapping[str, Link] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)
    tape: str = "full"
    records: Mapping[str, Any] = field(default_factory=dict)
    checked: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    dtypes: ClassVar[tuple[str, ...]] = ("float32", "float64")

    # Making arrays

    def init(self, sizes: Sizes, seed: int, dtype: Any) -> Any:
        """Return initial parameters; see each module's `init`."""
        self.check_sizes(sizes)
        dtype = self.float(dtype, f"{self.name}.init: dtype")
        random = np.random.default_rng(seed)
        values = (initial(self.rules.get(name), self.shape(shape, sizes), random, dtype) for name, shape in self.params.items())
        return self.records["Params"](*values)

    def zero_state(self, batch: int, sizes: Sizes, dtype: Any) -> Any:
        """Return the states before the first step, `(batch, ·)`: zero, or the value that `rules` gives."""
        dtype = self.float(dtype, f"{self.name}.zero_state: dtype")
        if not _whole(batch) or batch < 0:
            raise ValueError(f"{self.name}.zero_state: batch must be a whole number of at least 0, got {batch!r}")
        self.check_sizes(sizes)
        shapes = {name: (batch, *self.shape(shape, sizes)) for name, shape in self.state.items()}
        return self.records["State"](*(self.full(shape, self.rules.get(name, 0.0), dtype) for name, shape in shapes.items()))

    def full(self, shape: tuple[int, ...], value: float, dtype: Any) -> Any:
        """Return a new array of one value."""
        return np.full(shape, value, dtype) if value else np.zeros(shape, dtype)

    def spec(self, steps: int, batch: int, sizes: Sizes) -> dict[str, dict[str, tuple[int, ...]]]:
        """Return the shape of every array of a call with these sizes."""
        self.check_sizes(sizes)
        for name, value in (("T", steps), ("B", batch)):
            if not _whole(value) or value < 0:
                raise ValueError(f"{self.name}.spec: {name} must be a whole number of at least 0, got {value!r}")
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
        return tuple([evaluate(size, sizes) for size in shape])

    # Checking arguments

    def record(self, record: Any, kind: type, argument: str) -> Any:
        """Return a NamedTuple of `kind` with arrays as kernels want them."""
        fields = tuple(kind._fields)  # type: ignore[attr-defined]
        if getattr(record, "_fields", None) != fields:
            got = getattr(record, "_fields", type(record).__name__)
            raise ValueError(f"{self.name}: {argument} must be a {self.name}.{kind.__name__} with fields {fields}, got {got}")
        return kind(*[self.array(v, argument, k) for k, v in zip(fields, record, strict=True)])

    def array(self, value: Any, argument: str, name: str = "") -> np.ndarray:
        """Return an argument, or a field of it, as an array that kernels can read."""
        if type(value) is np.ndarray and value.flags.carray:
            return value
        argument = f"{argument}.{name}" if name else argument
        if isinstance(value, np.generic):  # what NumPy makes of arithmetic on an array without axes
            value = np.asarray(value)
        if not isinstance(value, np.ndarray):
            raise ValueError(f"{self.name}: {argument} must be a NumPy array, got {type(value).__name__}")
        value = np.asarray(value, order="C")
        return value if value.flags.aligned else value.copy()

    def dtype(self, inputs: Mapping[str, np.ndarray], params: Any, state: Any) -> np.dtype:
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
        dtype = self.float(value.dtype, f"{self.name}: {first}")
        for name, other in floats.items():
            if other.dtype != dtype:
                self.float(other.dtype, f"{self.name}: {name}")  # of two dtypes that would do, none is wrong
                raise ValueError(f"{self.name}: {name} is {other.dtype}, but {first} is {dtype}: all arguments need one dtype")
        return dtype

    def float(self, dtype: Any, argument: str) -> np.dtype:
        """Return a dtype that kernels compute with."""
        return np.dtype(self.float_name(dtype, argument))

    def float_name(self, dtype: Any, argument: str) -> str:
        """Return the name of a dtype that kernels compute with."""
        name = dtype_name(dtype)
        if name not in self.dtypes:
            raise ValueError(f"{argument} must be {', '.join(self.dtypes[:-1])} or {self.dtypes[-1]}, got {dtype}")
        return name

    def same_dtype(self, argument: str, got: np.dtype, need: np.dtype) -> None:
        if got != need:
            raise ValueError(f"{self.name}: {argument} is {got}, but the tape is {need}")

    def extent(self, inputs: Mapping[str, np.ndarray], state: Any, steps: int | None) -> tuple[int, int]:
        """Return T and B."""
        for name in self.inputs:
            value, rank = inputs[name], 2 + len(self.inputs[name])
            if value.ndim != rank:
                raise ValueError(f"{self.name}: {name} has shape {value.shape}, needs {shown(('T', 'B', *self.inputs[name]))}")
            if steps is not None and steps != value.shape[0]:
                raise ValueError(f"{self.name}: steps={steps}, but {name} has {value.shape[0]} steps")
            return value.shape[0], value.shape[1]
        if steps is None or not _whole(steps) or steps < 0:
            raise ValueError(f"{self.name}: a cell without inputs needs steps, a number of at least 0, got {steps}")
        for value in (*inputs.values(), *(() if state is None else state)):
            if value.ndim:
                return steps, value.shape[0]
        raise ValueError(f"{self.name}: a cell without inputs needs state, which tells the batch size")

    def find_sizes(self, inputs: Mapping[str, np.ndarray], params: Any, state: Any, *, complete: bool = True) -> Sizes:
        """Return the sizes, from the axes that tell them; all of them if `complete`."""
        known: Sizes = {}
        axes = [(shape, params._asdict()[name].shape) for name, shape in self.params.items()]
        axes += [(shape, inputs[name].shape[2:]) for name, shape in self.inputs.items() if name in inputs]
        axes += [(shape, inputs[name].shape[1:]) for name, shape in self.context.items() if name in inputs]
        axes += [] if state is None else [(shape, state._asdict()[name].shape[1:]) for name, shape in self.state.items()]
        pairs = [(size, got) for shape, axis in axes if len(shape) == len(axis) for size, got in zip(shape, axis, strict=True)]
        for _ in range(len(self.sizes)):
            for size, got in pairs:
                known |= solved(size, got, known)
        missing = [name for name in self.sizes if name not in known]
        if missing and complete:
            raise ValueError(f"{self.name}: the arguments' shapes do not tell the sizes {missing}: pass a state")
        return known

    def check_params(self, params: Any, sizes: Sizes) -> None:
        """Check the shapes of parameters, as far as `sizes` tell them."""
        for name, shape in self.params.items():
            got = getattr(params, name).shape
            try:
                self.needs(f"params.{name}", got, self.shape(shape, sizes), shape)
            except KeyError:  # only states tell a size of it
                if len(got) != len(shape):
                    raise ValueError(f"{self.name}: params.{name} has shape {got}, needs {shown(shape)}") from None

    def check(self, inputs: Mapping[str, np.ndarray], params: Any, state: Any, sizes: Sizes, steps: int, batch: int) -> None:
        self.check_params(params, sizes)
        for name, shape in self.inputs.items():
            self.needs(name, inputs[name].shape, (steps, batch, *self.shape(shape, sizes)), ("T", "B", *shape))
        for name, shape in self.context.items():
            self.needs(name, inputs[name].shape, (batch, *self.shape(shape, sizes)), ("B", *shape))
        for name, shape in {} if state is None else self.state.items():
            self.needs(f"state.{name}", state._asdict()[name].shape, (batch, *self.shape(shape, sizes)), ("B", *shape))
        self.check_sizes(sizes)

    def check_indices(self, inputs: Mapping[str, np.ndarray], sizes: Sizes) -> None:
        """Check the values of integer inputs."""
        for name, below in self.indices.items():
            value, top = inputs[name], min(evaluate(size, sizes) for size in below)
            if value.size and (value.min() < 0 or value.max() >= top):
                raise ValueError(f"{self.name}: {name} must lie in 0 … {top - 1}, got {value.min()} … {value.max()}")

    def needs(self, argument: str, got: tuple[int, ...], need: tuple[int, ...], names: Sequence[str]) -> None:
        if got != need:
            raise ValueError(f"{self.name}: {argument} has shape {got}, needs {shown(names)} = {need}")

    def check_sizes(self, sizes: Sizes) -> None:
        """Check that sizes are positive, and those equal that the equations need so."""
        for name, value in sizes.items():
            if not _whole(value) or value < 1:
                raise ValueError(f"{self.name}: size {name} must be a positive integer, got {value!r}")
        for a, b in self.equal:
            if a in sizes and b in sizes and sizes[a] != sizes[b]:
                states = ", ".join(f'"{name}": "{a}"' for name, shape in self.state.items() if shape == (b,))
                hint = f"; where states are as wide as the input, that is declared: shapes={{{states}}}" if states else ""
                raise ValueError(f"{self.name}: its equations need {a} = {b}, got {a} = {sizes[a]} and {b} = {sizes[b]}{hint}")


def dtype_name(dtype: Any) -> str:
    """Return the name of a dtype of NumPy or PyTorch, or of what NumPy takes for one; what is none as it is written."""
    if dtype is None:  # which NumPy takes for float64
        return "None"
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        return str(dtype).removeprefix("torch.")
    return found.name if found.isnative else found.str


def signature(arrays: Iterable[np.ndarray]) -> Signature:
    """Return what checks depend on: shapes and dtypes."""
    return tuple([(array.shape, array.dtype) for array in arrays])


def shown(names: Sequence[str]) -> str:
    return "(" + ", ".join(names) + ("," if len(names) == 1 else "") + ")"


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
