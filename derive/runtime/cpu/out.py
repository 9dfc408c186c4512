"""A caller's arrays, to which the results of a step are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..common.table import Table

Array = np.ndarray


class Out(NamedTuple):
    """The arrays that are given as `out`, checked: one for the output, and a `State` or None."""

    y: Array
    state: Any

    @classmethod
    def of(cls, table: Table, out: Any, shapes: Sequence[tuple[int, ...]], dtype: np.dtype) -> Out:
        """Check the `out` of a step, given the shapes of output and states.

        Raises
        ------
        ValueError
            It names the array, what came and what is needed.
        """
        if type(out) is tuple and len(out) != 2:
            raise ValueError(f"{table.name}.step: out must be an array, or an array and a {table.name}.State, got a tuple of {len(out)}")
        y, state = out if type(out) is tuple else (out, None)
        _check(table, y, "", shapes[0], dtype, table.output)
        if state is not None and not isinstance(state, table.records["State"]):
            got = type(state).__name__
            raise ValueError(f"{table.name}.step: out must be an array, or an array and a {table.name}.State, got a {got}")
        for (name, names), place, shape in zip(table.state.items(), state or (), shapes[1:], strict=state is not None):
            _check(table, place, name, shape, dtype, names)
        return cls(y, state)

    def memory(self, new: list[Array]) -> list[Array]:
        """Return the arrays that a step writes: of `new` ones, as rows, the caller's states instead, where kernels can write there.

        Never the caller's output: that may be what the step reads.
        """
        if self.state is None:
            return new
        states = zip(self.state, new[1:], strict=True)
        return [new[0], *[place if place.shape == rows.shape and place.flags.carray else rows for place, rows in states]]

    def take(self, y: Array, state: Any) -> tuple[Array, Any]:
        """Write a step's results, and return them where they are now."""
        self.y[...] = y
        if self.state is None:
            return self.y, state
        for place, value in zip(self.state, state, strict=True):
            if place is not value:
                place[...] = value
        return self.y, self.state


def _check(table: Table, out: Any, state: str, shape: tuple[int, ...], dtype: np.dtype, names: tuple[str, ...]) -> None:
    """Check the array for a state, or with no name that for the output."""
    if isinstance(out, np.ndarray) and out.dtype == dtype and out.shape == shape and out.flags.writeable:
        return
    argument = f"out.{state}" if state else "out"
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        got = getattr(out, "dtype", type(out).__name__)
        raise ValueError(f"{table.name}.step: {argument} must be an array of {dtype}, got {got}")
    table.needs(argument, out.shape, shape, ("B", *names))
    raise ValueError(f"{table.name}.step: {argument} must be an array that can be written to, got one that is read-only")
