"""How the work of a call is divided: decisions by sizes and threads, with the measurements behind them.

All of them change only what runs where: the numbers of a call have the same bits whatever is decided. It is arithmetic alone: the rows of
the register tile, which depend on the processor, are an argument.
"""

from __future__ import annotations

# A worker that sleeps needs some 30 µs to begin: below about three times that much work it is not woken.
LIGHT = 200_000  # elements that a kernel goes through
LIGHT_PRODUCT = 4_000_000  # multiplications
# Where a pass has other work for a worker, to pack a matrix on two threads pays sooner: they have two ways to memory.
LIGHT_PANELS = 40_000  # elements
ONCE = 8  # elements of weights that are read once take as long as one of a kernel's others
STEPS = 256  # of k in a block of a product: a panel of them (16 KiB, or 32 KiB with AVX-512) stays in the first-level cache
PIECE = 512  # rows that a piece of a time loop has at least
PIECES = 8  # at most: each has calls of every thread, and memory for one is a small part of that for all
# Parameters that all stay in the second- and third-level caches while the steps go on.
CACHED = 4 << 20  # bytes
# Weights that a thread should not read for less than a tile of rows: a good part of its second-level cache.
HEAVY = 1 << 19  # bytes


def step_by_step(steps: int, batch: int, parameters: int, threads: int, tile: int) -> bool:
    """Say whether products of the inputs are formed at each step, and not for all steps before the first.

    At each step they are in the cache when they are read, and need no memory for all steps.  But below a `tile` of rows a thread, rows of
    several steps together use the tile better; and `parameters` (bytes) beyond the cache would come from memory at every step.
    """
    return steps == 1 or (batch >= tile * threads and parameters <= CACHED)


def piece_rows(count: int) -> int:
    """Return of how many rows the pieces of a time loop are, after each of which runs what follows the loop.

    Memory is needed for one piece only, and what the loop has written is in the cache still. Sums over steps take `STEPS` rows together.
    """
    number = min(PIECES, count // PIECE)
    return -(-count // number // STEPS) * STEPS if number > 1 else max(count, 1)


def row_parts(batch: int, weights: int, threads: int, tile: int, parts: int = 0) -> int:
    """Return into how many parts the rows of a time loop are divided, whose products read so many bytes of packed weights at each step.

    There may be more `parts` than threads, where each still has a tile of rows: half a tile takes as long as a whole one.

    A part runs all steps by itself.  If a part of every thread had less than a `tile` of rows, and the weights are large, each thread would
    read all of them for little work: then there are fewer parts, and threads that have none take columns of the others' products.
    """
    return max(1, min(threads, batch // tile if weights >= HEAVY else batch), min(parts, batch // tile))


def is_light(rows: int, width: int, parameters: int, *, once: bool) -> bool:
    """Say whether no worker is woken for a pass over so many `rows` of `width` elements, with products of so many `parameters`, which are
    read `once` or often.
    """
    return rows * width + (parameters // ONCE if once else parameters) < LIGHT and rows * parameters < LIGHT_PRODUCT
