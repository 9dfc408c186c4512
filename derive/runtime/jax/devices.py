"""Sequences on several devices: what the types of arrays say of them, and how XLA divides a pass.

A pass is divided by its sequences and by nothing else. Each device runs its own with all parameters, and gradients by parameters are summed
over devices. In `shard_map` types say over which axes of the mesh a value varies: where one operand does, all have to, and what makes the
others vary has a sum as its transpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import jax
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

Arrays = Sequence[Any]
Axes = Sequence[int | None]
SEQUENCES = "b"  # the dimension of sequences, in a rule for XLA's partitioner


# In `shard_map`


def varying(values: Arrays) -> list[Any]:
    """Return values that all vary over the same axes of the mesh, those over which any does."""
    over = [jax.typeof(value).manual_axis_type.varying for value in values]
    everywhere = frozenset().union(*over)
    missing = [tuple(sorted(everywhere - axes)) for axes in over]
    return [jax.lax.pcast(value, axes, to="varying") if axes else value for value, axes in zip(values, missing, strict=True)]


# Types


def typed(found: Arrays, axes_of_results: Axes, by: Arrays, operands: Arrays, axes_of_operands: Axes) -> list[Any]:
    """Return the types of results, on a mesh whose axes are part of types.

    Parameters
    ----------
    found : sequence of ShapedArray
        Shapes and dtypes of the results.
    axes_of_results, axes_of_operands : sequences of int
        The axis of sequences of each; None if it has none.
    by : sequence of ShapedArray
        Of gradients: what they are by, and lie as; else nothing.
    operands : sequence of ShapedArray
    """
    like = next((value for value in operands if not value.sharding.mesh.empty), None)
    if like is None:
        return list(found)
    over = _over(operands, axes_of_operands)
    laid = [value.sharding for value in by] or [
        _laid(like.sharding.mesh, over, axis, len(value.shape)) for value, axis in zip(found, axes_of_results, strict=True)
    ]
    return [value.update(sharding=how, manual_axis_type=like.manual_axis_type) for value, how in zip(found, laid, strict=True)]


def _over(values: Arrays, axes: Axes) -> Any:
    """Return the axes of the mesh over which sequences are divided, as the first value that has some says it; None if they are not."""
    specs = [value.sharding.spec[axis] for value, axis in zip(values, axes, strict=True) if axis is not None]
    return next((spec for spec in specs if spec is not None), None)


def _laid(mesh: Any, over: Any, axis: int | None, ndim: int) -> NamedSharding:
    """Return how a value lies on a mesh: divided by its axis of sequences alone."""
    return NamedSharding(mesh, P(*[over if k == axis else None for k in range(ndim)]))


# Divided by XLA


def divided(run: Callable[..., list[Any]], axes_of_operands: Axes, axes_of_results: Axes, summed: bool) -> Callable[..., list[Any]]:
    """Return a function of the operands that XLA divides by sequences, where it compiles for several devices.

    Parameters
    ----------
    run : callable
        Of the operands.
    axes_of_operands, axes_of_results : sequences of int
        The axis of sequences of each; None if it has none.
    summed : bool
        Whether a result without sequences is a sum over them, and not the same for all.
    """

    def partition(mesh: Any, given: Arrays, found: Arrays) -> Any:
        over = _evenly(mesh, _over(given, axes_of_operands), given, axes_of_operands)

        def here(*operands: Any) -> list[Any]:
            made = zip(run(*operands), axes_of_results, strict=True)
            return [jax.lax.psum(value, over) if axis is None and summed and over else value for value, axis in made]

        def laid(values: Arrays, axes: Axes) -> list[NamedSharding]:
            return [_laid(mesh, over, axis, len(value.shape)) for value, axis in zip(values, axes, strict=True)]

        return mesh, here, laid(found, axes_of_results), tuple(laid(given, axes_of_operands))

    def rule(_: Any, given: Arrays, found: Arrays) -> str:
        return f"{_factors(given, axes_of_operands, 'i')} -> {_factors(found, axes_of_results, 'o')}"

    called = custom_partitioning(lambda *operands: run(*operands))
    called.def_partition(partition, sharding_rule=rule)
    return called


def _evenly(mesh: Any, over: Any, values: Arrays, axes: Axes) -> Any:
    """Return axes of the mesh if they divide sequences evenly, else None: what fills a device's part up would add to sums."""
    count = next(value.shape[axis] for value, axis in zip(values, axes, strict=True) if axis is not None)
    names = over if isinstance(over, tuple) else (over,)
    return over if over and count % prod(mesh.shape[name] for name in names) == 0 else None


def _factors(types: Arrays, axes: Axes, side: str) -> str:
    """Return the dimensions of values in a rule: those of sequences have one name, each other one has its own."""
    named = [
        " ".join(SEQUENCES if j == axis else f"{side}{k}_{j}" for j in range(len(value.shape)))
        for k, (value, axis) in enumerate(zip(types, axes, strict=True))
    ]
    return ", ".join(named)
