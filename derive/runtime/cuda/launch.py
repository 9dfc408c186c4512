"""Launches of Numba's kernels by the driver itself.

Numba's own launch looks at every argument anew: 9 µs an array beside an H200, 220 µs for the 25 of a long kernel, which is more than most
kernels run.  Here an argument is made ready once, and a launch puts them one behind the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any

import numpy as np

WORD = 8  # bytes: every number of an argument has as many, whatever of them the kernel reads
PLACES = WORD * np.arange(4096)  # of the numbers of all arguments, counted from the first

Kind = str | tuple[str, int, str]
"""Of an argument: "int64" or "bool", or an array's dtype, number of axes and order of memory."""


@dataclass(frozen=True)
class Argument:
    """An argument as Numba's kernels take it.

    Attributes
    ----------
    kind : Kind
    words : bytes
        The number; or of an array, as its fields go: two empty ones, number of elements, bytes of one, address, shape, strides.
    """

    kind: Kind
    words: bytes


def number(value: int) -> Argument:
    """Return a number, or a truth value, as an argument."""
    return Argument("bool" if isinstance(value, bool) else "int64", int(value).to_bytes(WORD, "little", signed=True))


def array(value: Any) -> Argument:
    """Return an array of CuPy as an argument; numbers of 16 bits are given as their bits."""
    flags, (name, item), shape = value.flags, _numbers(value.dtype), value.shape
    order = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
    return Argument(
        (name, len(shape), order), _words(5 + 2 * len(shape)).pack(0, 0, value.size, item, value.data.ptr, *shape, *value.strides)
    )


@lru_cache
def _numbers(dtype: Any) -> tuple[str, int]:
    """Return the name of an array's numbers, as kernels take them, and their bytes; NumPy takes its time for a name."""
    return "uint16" if dtype.itemsize == 2 else dtype.name, dtype.itemsize


@lru_cache
def _words(count: int) -> Struct:
    return Struct(f"{count}q")


def numba_type(kind: Kind) -> Any:
    """Return the type that Numba has for a kind of argument."""
    from numba import types
    from numba.np.numpy_support import from_dtype

    if isinstance(kind, str):
        return {"int64": types.int64, "bool": types.boolean}[kind]
    dtype, axes, order = kind
    return types.Array(from_dtype(np.dtype(dtype)), axes, order)


def laid_out(arguments: list[Argument]) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of all arguments, and the address of each: what the driver is given, which copies them."""
    numbers = np.frombuffer(b"".join([argument.words for argument in arguments]), np.int64)
    return numbers, PLACES[: numbers.size] + address(numbers)


def address(values: np.ndarray) -> int:
    """Return where an array begins."""
    return int(values.__array_interface__["data"][0])
