"""Memory that a recorded call works in (see `replay`)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from .call import Work
from .memory import ALIGNMENT, fresh
from .spans import Places

Array = np.ndarray


class Room:
    """Arrays that a call works in and that are too large to stay, together: they lie in one piece of memory, new in each call.

    Two that no function works in both have the same memory: `used` are the first and the last function that works in each.
    """

    def __init__(self, arrays: Sequence[Array], used: Sequence[tuple[int, int]]) -> None:
        self._places, self._size = list[tuple[tuple[int, ...], np.dtype, int]](), 0
        taken = list[tuple[int, int, int, int]]()  # first and last function, start and end
        for array, (first, last) in zip(arrays, used, strict=True):
            size, start = -(-array.nbytes // ALIGNMENT) * ALIGNMENT, 0
            for begins, ends, low, high in sorted(taken, key=itemgetter(2)):
                if begins <= last and first <= ends and low < start + size and start < high:
                    start = high
            taken.append((first, last, start, start + size))
            self._places.append((array.shape, array.dtype, start))
            self._size = max(self._size, start + size)

    def new(self) -> list[Array]:
        """Return the memory, if there is any."""
        return [fresh((self._size,), np.uint8, aligned=True)] if self._places else []

    def within(self, memory: Sequence[Array]) -> list[Array]:
        """Return the arrays that lie in it."""
        return [np.ndarray(shape, dtype, memory[0], start) for shape, dtype, start in self._places]


def used(works: Sequence[Work], source: Places) -> dict[int, tuple[int, int]]:
    """Return, of each array that functions work in, the first and the last of them."""
    found: dict[int, tuple[int, int]] = {}
    for k, (_, given) in enumerate(works):
        for base in map(source.of, given):
            if base is not None:
                found[base] = (found.get(base, (k, k))[0], k)
    return found
