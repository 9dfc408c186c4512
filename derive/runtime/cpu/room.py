"""Memory that a recorded call works in (see `replay`)."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

import numpy as np

from .call import Work
from .memory import ALIGNMENT, fresh
from .spans import Places

Array = np.ndarray


ALONE = 1 << 18  # bytes: an array of so many has memory of its own, as results have: a block that was one's may be the other's next


class Room:
    """Arrays that a call works in and that are too large to stay: they lie in few pieces of memory, new in each call.

    All but the largest lie together. Two that no function works in both may have the same memory: `used` are the first and the last
    function that works in each.
    """

    def __init__(self, arrays: Sequence[Array], used: Sequence[tuple[int, int]]) -> None:
        self._pieces, self._places = list[_Piece](), list[tuple[tuple[int, ...], np.dtype, int, int]]()
        together = _Piece(alone=False)
        for array, when in zip(arrays, used, strict=True):
            size = -(-array.nbytes // ALIGNMENT) * ALIGNMENT
            piece = together if size < ALONE else next((one for one in self._pieces if one.fits(size, when)), _Piece(alone=True))
            if piece not in self._pieces:
                self._pieces.append(piece)
            self._places.append((array.shape, array.dtype, self._pieces.index(piece), piece.take(size, when)))

    def new(self) -> list[Array]:
        """Return the memory, if there is any."""
        return [fresh((piece.size,), np.uint8, aligned=True) for piece in self._pieces]

    def within(self, memory: Sequence[Array]) -> list[Array]:
        """Return the arrays that lie in it."""
        return [np.ndarray(shape, dtype, memory[piece], start) for shape, dtype, piece, start in self._places]


class _Piece:
    """A piece of memory, for one large array at a time or for many small ones."""

    def __init__(self, *, alone: bool) -> None:
        self.size, self._alone = 0, alone
        self._taken = list[tuple[int, int, int, int]]()  # first and last function, start and end

    def fits(self, size: int, when: tuple[int, int]) -> bool:
        """Say whether a large array finds it free, without making it larger."""
        return self._alone and size <= self.size and all(when[1] < begins or ends < when[0] for begins, ends, _, _ in self._taken)

    def take(self, size: int, when: tuple[int, int]) -> int:
        """Return where an array begins that functions work in from the first to the last of `when`."""
        start = 0
        for begins, ends, low, high in sorted(self._taken, key=itemgetter(2)):
            if begins <= when[1] and when[0] <= ends and low < start + size and start < high:
                start = high
        self._taken.append((*when, start, start + size))
        self.size = max(self.size, start + size)
        return start


def used(works: Sequence[Work], source: Places) -> dict[int, tuple[int, int]]:
    """Return, of each array that functions work in, the first and the last of them."""
    found: dict[int, tuple[int, int]] = {}
    for k, (_, given) in enumerate(works):
        for base in map(source.of, given):
            if base is not None:
                found[base] = (found.get(base, (k, k))[0], k)
    return found
