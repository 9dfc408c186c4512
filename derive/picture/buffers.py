"""Arrays that the search for wires reads and fills: NumPy's where they and the search can be compiled by Numba, else Python's own."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Array = Any
"""A one-dimensional array of whole numbers: what either kind has in common is that it is indexed."""
F = TypeVar("F", bound=Callable[..., Any])

try:
    import numpy as np
    from numba import njit
except ImportError:

    def compiled(function: F) -> F:
        """Return the function, which is interpreted."""
        return function

    def marks(size: int) -> Array:
        """Return `size` marks that are not set."""
        return bytearray(size)

    def numbers(size: int, value: int) -> Array:
        """Return `size` numbers, all the same."""
        return array("i", (value,)) * size

    def entries(values: Sequence[int]) -> Array:
        """Return numbers that need more than 32 bits."""
        return array("q", values)

else:

    def compiled(function: F) -> F:
        """Return the function compiled, once a process: machine code in the package's folder would be left there when that is removed."""
        return njit(function)

    @compiled
    def marks(size: int) -> Array:
        """Return `size` marks that are not set."""
        return np.zeros(size, np.uint8)

    @compiled
    def numbers(size: int, value: int) -> Array:
        """Return `size` numbers, all the same."""
        return np.full(size, value, np.int32)

    def entries(values: Sequence[int]) -> Array:
        """Return numbers that need more than 32 bits."""
        return np.array(values, np.int64)
