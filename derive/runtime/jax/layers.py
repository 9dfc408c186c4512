"""What layers of JAX's libraries have in common: sizes by name, initial parameters, sequences along any axes, weights of other layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from .function import Function, array_of

Sizes = dict[str, int]
Layout = Mapping[str, tuple[str, ...]]
"""By the name of an array of another library: the parameters that lie in it one after the other, by rows."""


def sizes_of(cell: Function, given: Mapping[str, int | None]) -> Sizes:
    """Return a cell's sizes by name.

    Parameters
    ----------
    cell : Function
    given : mapping
        From the name of a size to it; None is as if it were not there.

    Raises
    ------
    TypeError
        If one is missing, or is none of the cell's.
    ValueError
        If one is not positive, or not what the equations need.
    """
    layer = cell.module.LAYER
    found = {name: size for name, size in given.items() if size is not None}
    needed = {*layer.sizes, *(size for pair in layer.equal for size in pair)}
    if found.keys() != needed:
        raise TypeError(f"{layer.name}: needs the sizes {_listed(needed)}, got {_listed(found)}")
    layer.check_sizes(found)
    return found


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


# Arrays to begin with


def initial(cell: Function, key: Any, sizes: Sizes, dtype: Any) -> Any:
    """Return initial parameters by the cell's rules; the numbers hang on the key, which may be traced."""
    layer = cell.module.LAYER
    dtype = layer.float(dtype, f"{layer.name}: the dtype of parameters")
    if dtype == np.float64 and not jax.config.jax_enable_x64:
        raise ValueError(f"{layer.name}: the dtype of parameters is float64, which JAX has with `jax_enable_x64` only")
    shapes = [jax.ShapeDtypeStruct(layer.shape(shape, sizes), dtype) for shape in layer.params.values()]

    def host(seed: Any) -> list[Any]:
        return list(layer.init(sizes, int(seed), dtype))

    return cell.Params(*jax.pure_callback(host, shapes, jax.random.bits(key), vmap_method="sequential"))


def start(cell: Function, lead: tuple[int, ...], sizes: Sizes, dtype: Any) -> Any:
    """Return the states before the first step by the cell's rules, each `(*lead, ·)`."""
    layer = cell.module.LAYER
    shapes = {name: (*lead, *layer.shape(shape, sizes)) for name, shape in layer.state.items()}
    return cell.State(*[jnp.full(shape, layer.rules.get(name, 0.0), dtype) for name, shape in shapes.items()])


# Calls


def run(
    cell: Function,
    x: Any,
    params: Any,
    state: Any,
    others: Mapping[str, Any],
    *,
    time_major: bool = False,
    lengths: Any = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Run a cell over sequences along any axes.

    Parameters
    ----------
    cell : Function
    x : array (*lead, T, ·), or (T, *lead, ·) with `time_major`
        The first input; `lead` may be empty.
    params : Params
    state : tuple, optional
        The states before the first step, each `(*lead, ·)`.
    others : mapping
        The cell's other inputs, as `x`, and contexts, `(*lead, ·)`.
    time_major : bool
    lengths : whole numbers (*lead), optional
    reverse : bool

    Returns
    -------
    y : array (*lead, T, ·), or (T, *lead, ·)
    final : State

    Raises
    ------
    ValueError, TypeError
        While JAX traces: it names the argument, what came and what is needed.
    """
    layer = cell.module.LAYER
    given = _given(layer, x, others)
    lead = _lead(layer, given, time_major)
    values = {name: _folded(layer, name, value, lead, time_major) for name, value in given.items()}
    start = None if state is None else _states(cell, state)
    before = None if start is None else _folded_states(layer, start, lead)
    _check(layer, given, start, layer.find_sizes(values, params, before), lead, time_major)
    if lengths is not None:
        lengths = _folded_lengths(layer, _array(layer, "lengths", lengths), lead)
    first = values.pop(next(iter(layer.inputs)))
    y, final = cell(first, params, before, **values, lengths=lengths, reverse=reverse)
    steps, _, *row = y.shape
    y = y.reshape(steps, *lead, *row) if time_major else jnp.swapaxes(y, 0, 1).reshape(*lead, steps, *row)
    return y, cell.State(*[value.reshape(*lead, *value.shape[1:]) for value in final])


def _given(layer: Any, x: Any, others: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs and contexts by name; what is true or false becomes 1 or 0."""
    if not layer.inputs:
        raise ValueError(f"{layer.name}: a layer is of a cell with inputs, and this one has none")
    first = next(iter(layer.inputs))
    x = _array(layer, first, x)
    arrays = {name: _array(layer, name, value) for name, value in others.items()}
    return {first: x} | {name: value.astype(x.dtype) if value.dtype == bool else value for name, value in arrays.items()}


def _array(layer: Any, argument: str, value: Any) -> Any:
    return jnp.asarray(array_of(layer.name, argument, value))


def _lead(layer: Any, given: Mapping[str, Any], time_major: bool) -> tuple[int, ...]:
    """Return the axes of sequences, which are what the first input has beside steps and its own."""
    (name, row), *_ = layer.inputs.items()
    value = given[name]
    axes = value.ndim - len(row) - 1
    if axes < 0:
        raise ValueError(f"{layer.name}: {name} has shape {value.shape}, needs {_axes('T, …' if time_major else '…, T', row)}")
    shape: tuple[int, ...] = value.shape
    return shape[1 : 1 + axes] if time_major else shape[:axes]


def _axes(lead: str, row: tuple[str, ...]) -> str:
    return f"({', '.join([lead, *row])})"


def _folded(layer: Any, name: str, value: Any, lead: tuple[int, ...], time_major: bool) -> Any:
    """Return an input `(T, B, ·)` or a context `(B, ·)`; what the cell does not know stays as it is, for the cell to say so."""
    if name not in layer.inputs:
        return _flat(layer, name, value, lead) if name in layer.context else value
    flat = _flat(layer, name, value, lead, int(time_major))
    return flat if time_major or flat.ndim < 2 else jnp.swapaxes(flat, 0, 1)


def _states(cell: Function, state: Any) -> Any:
    """Return the states before the first step, of a tuple or of the one array that there is."""
    layer, names = cell.module.LAYER, cell.State._fields
    values = state if isinstance(state, tuple | list) else (state,)
    if len(values) != len(names):
        raise ValueError(f"{layer.name}: needs {len(names)} states, {', '.join(names)}, got {len(values)}")
    return cell.State(*[_array(layer, f"state.{name}", value) for name, value in zip(names, values, strict=True)])


def _folded_states(layer: Any, states: Any, lead: tuple[int, ...]) -> Any:
    """Return states `(B, ·)`."""
    return type(states)(*[_flat(layer, f"state.{name}", value, lead) for name, value in states._asdict().items()])


def _folded_lengths(layer: Any, lengths: Any, lead: tuple[int, ...]) -> Any:
    """Return lengths `(B,)`."""
    if lengths.shape != lead:
        first = next(iter(layer.inputs))
        raise ValueError(
            f"{layer.name}: lengths must have the axes {lead} of sequences, as {first} has, and no others, got shape {lengths.shape}"
        )
    return lengths.reshape(prod(lead))


def _check(layer: Any, given: Mapping[str, Any], states: Any, sizes: Sizes, lead: tuple[int, ...], time_major: bool) -> None:
    """Check shapes as the caller has them: the cell would tell of those that it is given, with steps first and one axis of sequences."""
    steps, many = given[next(iter(layer.inputs))].shape[0 if time_major else len(lead)], ("…",) if lead else ()
    over_time = ((steps, *lead), ("T", *many)) if time_major else ((*lead, steps), (*many, "T"))
    rows = [(name, value, layer.inputs[name], *over_time) for name, value in given.items() if name in layer.inputs]
    rows += [(name, value, layer.context[name], lead, many) for name, value in given.items() if name in layer.context]
    start = {} if states is None else states._asdict()
    rows += [(f"state.{name}", value, layer.state[name], lead, many) for name, value in start.items()]
    for name, value, row, before, names in rows:
        layer.needs(name, value.shape, (*before, *layer.shape(row, sizes)), (*names, *row))


def _flat(layer: Any, argument: str, value: Any, lead: tuple[int, ...], axis: int = 0) -> Any:
    """Return a value with one axis of sequences, at `axis`, for all."""
    if value.shape[axis : axis + len(lead)] != lead:
        first = next(iter(layer.inputs))
        raise ValueError(f"{layer.name}: {argument} must have the axes {lead} of sequences, as {first} has, got shape {value.shape}")
    return value.reshape(*value.shape[:axis], prod(lead), *value.shape[axis + len(lead) :])


# Weights of other layouts


def taken(layout: Layout, arrays: Callable[[str], Any]) -> dict[str, Any]:
    """Return the parameters that lie in another library's arrays, which are found by name."""
    split = {names: jnp.split(arrays(name), len(names)) for name, names in layout.items()}
    return {name: part for names, parts in split.items() for name, part in zip(names, parts, strict=True)}


def stacked(layout: Layout, parameter: Callable[[str], Any]) -> dict[str, Any]:
    """Return another library's arrays, by name, of parameters that are found by name."""
    return {name: jnp.concatenate([parameter(of) for of in names]) for name, names in layout.items()}
