"""How the matrices of a row are divided among the threads of a block.

Some lanes of a warp, a slot, have a row of a matrix; each of them has every so many columns, and the slot every so many rows.  Few lanes
add up a row in few exchanges, many have few columns each to keep in registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

WARP = 32
FEWEST = 4  # threads of a slot
WIDTH = 16  # bytes of a row that a thread has, at most, as far as a warp goes: with more, the longest kernels have too few registers
ELEMENTS = 16  # of a matrix, that a thread has before there are more threads
THREADS = 256  # of a block, whose kernel then has all the registers that there are
STATIC = 8192  # bytes of shared memory that are left to sums

Shape = tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """How the matrices of a row are divided among the threads of a block.

    Attributes
    ----------
    threads : int
    across : int
        Threads of a slot.
    columns : tuple of int
        Of a thread, for each shape of matrices that a kernel goes through.
    tiles : tuple of pairs
        Of each matrix that stays in shared memory: where it begins, and the numbers from one row to the next.
    shared : int
        Bytes of shared memory that these take.
    """

    threads: int
    across: int
    columns: tuple[int, ...]
    tiles: tuple[tuple[int, int], ...] = ()
    shared: int = 0

    @property
    def lanes(self) -> int:
        """Threads of a row of numbers."""
        return self.threads


def for_stage(threads: int, matrices: Sequence[Shape], size: int) -> Tiling | None:
    """Return how a kernel for one step, or for all rows, has its matrices, given by rows and columns; None if it has none.

    A number has `size` bytes.
    """
    across = _across(matrices, size)
    return Tiling(threads, across, _columns(matrices, across)) if matrices else None


def for_loop(features: int, matrices: Sequence[Shape], kept: Sequence[Shape], size: int, shared: int) -> Tiling | None:
    """Return how a kernel for all steps has its matrices, or None where what it keeps does not fit into shared memory.

    Parameters
    ----------
    features : int
        The largest number of a vector's features.
    matrices : sequence of (rows, columns)
        The shapes that it goes through.
    kept : sequence of (rows, columns)
        The matrices that stay in shared memory from step to step.
    size : int
        Bytes of a number.
    shared : int
        Bytes of shared memory that a block may have.
    """
    across = _across(matrices, size)
    wanted = max([features, *(-(-prod(shape) // ELEMENTS) for shape in matrices)])
    threads = min(-(-wanted // WARP) * WARP, THREADS)
    tiles, numbers = [], 0
    for rows, columns in kept:
        pitch = -(-columns // WARP) * WARP + across % WARP  # the rows of a warp's slots lie in other banks
        tiles.append((numbers, pitch))
        numbers += rows * pitch
    if numbers * size > shared - STATIC:
        return None
    return Tiling(max(threads, WARP), across, _columns(matrices, across), tuple(tiles), numbers * size)


def _across(matrices: Sequence[Shape], size: int) -> int:
    """Return how many threads have a row of the widest matrix."""
    across = FEWEST
    while across < WARP and any(columns * size > WIDTH * across for _, columns in matrices):
        across *= 2
    return across


def _columns(matrices: Sequence[Shape], across: int) -> tuple[int, ...]:
    return tuple(_share(columns, across) for _, columns in matrices)


def _share(count: int, among: int) -> int:
    return max(-(-count // among), 1)
