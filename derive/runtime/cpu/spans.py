"""Where arrays lie in memory, and how one that lies in another is made of it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from operator import itemgetter, methodcaller
from typing import Any

import numpy as np

Array = np.ndarray
View = Callable[[Array], Array]


def span(array: Array) -> tuple[int, int]:
    """Return the first address of an array and the one after its last."""
    start = array.__array_interface__["data"][0]
    return start, start + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)) + array.itemsize


def apart(arrays: Sequence[Array]) -> bool:
    """Say whether no two arrays overlap, from their first elements to their last."""
    spans = sorted(span(array) for array in arrays if array.size)
    return all(end <= start for (_, end), (start, _) in pairwise(spans))


class Places:
    """Arrays, and where they lie."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = arrays
        self._spans = [(k, *span(array)) for k, array in enumerate(arrays) if array.size]

    def of(self, value: Any) -> int | None:
        """Return which of the arrays a value lies in; None for none, or if it has no memory."""
        if not isinstance(value, Array) or not value.size:
            return None
        first, last = span(value)
        return next((k for k, start, end in self._spans if start <= first and last <= end), None)


def view_of(base: Array, value: Array) -> View | None:
    """Return how a value is made of the array that it lies in; None if it is all of it."""
    offset = span(value)[0] - span(base)[0]
    if value.shape == base.shape and value.strides == base.strides:
        return None
    if value.nbytes == base.nbytes and value.flags.c_contiguous:
        return methodcaller("reshape", value.shape)
    if value.strides == base.strides and value.shape[1:] == base.shape[1:] and offset % base.strides[0] == 0:
        first = offset // base.strides[0]
        return itemgetter(slice(first, first + len(value)))
    return partial(_strided, value.shape, offset, value.strides)


def _strided(shape: tuple[int, ...], offset: int, strides: tuple[int, ...], base: Array) -> Array:
    return np.ndarray(shape, base.dtype, base, offset, strides)
