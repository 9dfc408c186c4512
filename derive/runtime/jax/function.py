"""A cell as a function of JAX."""

from __future__ import annotations

import contextlib
import importlib
from functools import cache
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax import export
from jax import numpy as jnp

from ..common.chosen import module_of
from ..common.truth import truth
from .passes import Passes
from .primitives import Form, bind


def function(cell: Any, *, order: int = 1) -> Function:
    """Return a cell as a function.

    Parameters
    ----------
    cell : str, module, or derive.Cell
        The name of a cell of this package, a generated module, or, where `derive` is installed, a cell that it compiles now.
    order : 1 or 2
        Of derivatives; with 2, a cell that the package has without second derivatives is compiled with them, where `derive` is installed.

    Raises
    ------
    ValueError
        It says which cell is not known.
    """
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}")
    return _of(module_of(cell, order=order))


@cache
def _of(module: ModuleType) -> Function:
    return Function(module)


def _named(module: str) -> Function:
    return _of(importlib.import_module(module))


def array_of(cell: str, argument: str, value: Any) -> Any:
    """Return an argument as an array of JAX's or of NumPy's.

    Raises
    ------
    ValueError
        It names an argument that is none of numbers, which JAX would not, or whose sizes are none.
    """
    if isinstance(value, jax.Array) or hasattr(value, "__jax_array__"):
        array = jnp.asarray(value)
        if not all(isinstance(size, int) for size in array.shape):  # of `export.symbolic_shape`
            raise ValueError(f"{cell}: {argument} has shape {array.shape}, needs sizes that are numbers: a program is of these")
        return array
    try:
        found = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{cell}: {argument} must be an array of numbers: {error}") from error
    if found.dtype != bool and not jnp.issubdtype(found.dtype, jnp.number):
        raise ValueError(f"{cell}: {argument} must be an array of numbers, got {type(value).__name__} of dtype {found.dtype}")
    return found


def _exported(module: ModuleType) -> None:
    """Let `jax.export` write programs to files whose arguments are the module's records, and read them where the cell is known."""
    for kind in (module.Params, module.State):
        with contextlib.suppress(ValueError):  # it has been done, under another name
            export.register_namedtuple_serialization(kind, serialized_name=f"{module.__name__}.{kind.__name__}")


class Function:
    """A cell over a sequence, which JAX differentiates, maps and compiles.

    Attributes
    ----------
    module : module
        Generated.
    Params, State : types
        Of the module: NamedTuples, which JAX knows as trees.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module, self.Params, self.State = module, module.Params, module.State
        self.__name__, self.__doc__ = module.LAYER.name, module.__doc__
        _exported(module)

    def __repr__(self) -> str:
        return f"<{self.module.__name__} as a function of JAX>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle a function as the name of its module."""
        return _named, (self.module.__name__,)

    def init(self, *sizes: int, seed: int = 0, dtype: Any = np.float32, **named: int) -> Any:
        """Return initial parameters, the numbers of the module's `init`.

        Parameters
        ----------
        *sizes, **named : int
            In the module's order, such as d and n, or by name.
        seed : int
        dtype : float32, or with `jax_enable_x64` float64

        Raises
        ------
        ValueError, TypeError
        """
        return self._arrays(self.module.init(*sizes, seed=seed, dtype=dtype, **named))

    def zero_state(self, batch: int, *sizes: int, dtype: Any = np.float32, **named: int) -> Any:
        """Return the states before the first step, as the cell's rules say: zero, as a rule.

        Parameters
        ----------
        batch : int
        *sizes, **named : int
            Those of the states, in the module's order, such as n, or by name.
        dtype : float32, or with `jax_enable_x64` float64
        """
        return self._arrays(self.module.zero_state(batch, *sizes, dtype=dtype, **named))

    def __call__(
        self,
        x: Any = None,
        params: Any = None,
        state: Any = None,
        *,
        lengths: Any = None,
        reverse: bool = False,
        steps: int | None = None,
        **others: Any,
    ) -> tuple[Any, Any]:
        """Run the cell over a sequence.

        Parameters
        ----------
        x : array (T, B, ·), float32 or float64
            The first input, whatever its name in the equations.
        params : Params
        state : State, optional
            Before the first step, each `(B, ·)`; as the cell's rules say, zero as a rule.
        lengths : whole numbers (B,), optional
            How many steps each sequence has; the others are not run, and give zero. They may be traced. With lengths, XLA calls the kernels
            by way of Python.
        reverse : bool
            From each sequence's last step to its first; outputs stay where their inputs are.
        steps : int
            How many, for a cell without inputs.
        **others
            The cell's other inputs, `(T, B, ·)`, and contexts, `(B, ·)`, by name.

        Returns
        -------
        y : array (T, B, ·)
        final : State

        Raises
        ------
        ValueError, TypeError
            While JAX traces, not when its program runs: it names the argument, what came and what is needed.
        """
        reverse = truth(self.__name__, "reverse", reverse)
        given, weights = self._given(x, others), self._record(params, self.Params, "params")
        how = Passes(self.module, steps, lengths is not None, lengths is not None and reverse)
        values = [*given, *weights, *self._start(how, given, weights, state)]
        _, T, B = how.extent(values)
        if lengths is not None:
            values.append(self._lengths(lengths, T, B))
        back = reverse and lengths is None
        over_time = len(self.module.LAYER.inputs)
        values = [jnp.flip(value, 0) if back and k < over_time else value for k, value in enumerate(values)]
        y, *final = bind("infer", Form(how), values)
        return jnp.flip(y, 0) if back else y, self.State(*final)

    # Arguments

    def _arrays(self, record: Any) -> Any:
        """Return a record of NumPy's arrays as JAX's."""
        return type(record)(*[self._array(value, name) for name, value in record._asdict().items()])

    def _array(self, value: Any, argument: str) -> Any:
        found = array_of(self.__name__, argument, value)
        if found.dtype == np.float64 and not jax.config.jax_enable_x64:
            raise ValueError(f"{self.__name__}: {argument} is float64, which JAX has with `jax_enable_x64` only")
        return jnp.asarray(found)

    def _given(self, x: Any, others: dict[str, Any]) -> list[Any]:
        """Return inputs and contexts, in the module's order."""
        names = self.module.Inputs._fields
        found = others if x is None else {**dict.fromkeys(names[:1], x), **others}
        if found.keys() != set(names) or (x is not None and names[:1] == ()):
            got = ", ".join(found) or "none"
            raise TypeError(f"{self.__name__}: needs {', '.join(names) or 'no input'}, got {got}")
        return [self._array(found[name], name) for name in names]

    def _record(self, record: Any, kind: Any, argument: str) -> Any:
        """Return a NamedTuple with arrays of JAX."""
        fields = kind._fields
        if getattr(record, "_fields", None) != fields:
            got = getattr(record, "_fields", type(record).__name__)
            raise ValueError(f"{self.__name__}: {argument} must be a {self.__name__}.{kind.__name__} with fields {fields}, got {got}")
        return kind(*[self._array(value, f"{argument}.{name}") for name, value in zip(fields, record, strict=True)])

    def _start(self, how: Passes, given: list[Any], params: Any, state: Any) -> Any:
        """Return the states before the first step."""
        if state is not None:
            return self._record(state, self.State, "state")
        layer, inputs = self.module.LAYER, dict(zip(self.module.Inputs._fields, given, strict=True))
        dtype, (_, batch) = layer.dtype(inputs, params, None), layer.extent(inputs, None, how.steps)
        sizes = layer.find_sizes(inputs, params, None)
        shapes = {name: (batch, *layer.shape(shape, sizes)) for name, shape in layer.state.items()}
        return self.State(*[jnp.full(shape, layer.rules.get(name, 0.0), dtype) for name, shape in shapes.items()])

    def _lengths(self, lengths: Any, steps: int, batch: int) -> Any:
        """Return lengths, checked as far as they are known."""
        lengths = array_of(self.__name__, "lengths", lengths)
        known = np.zeros(lengths.shape, lengths.dtype) if isinstance(lengths, jax.core.Tracer) else np.asarray(lengths)
        self.module.LAYER._lengths(known, steps, batch)
        return jnp.asarray(lengths, jnp.int32)
