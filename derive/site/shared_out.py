"""Work shared out among processes: each begins as a copy of this one, with all that was made before."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from ..runtime.cpu.processors import available

FEW = 8  # of which a process of its own is not worth its while
AT_ONCE = 4  # neighbours that a process takes together: variants of a cell share what is made for one
T = TypeVar("T")
R = TypeVar("R")


def shared_out(function: Callable[[T], R], things: Sequence[T]) -> list[R]:
    """Return what a function makes of each thing, in their order, and raise what it raises; all of this has to be picklable."""
    count = min(_processors(), len(things) // FEW)
    if count < 2:
        return [function(thing) for thing in things]
    with ProcessPoolExecutor(count, multiprocessing.get_context("fork")) as pool:
        return list(pool.map(function, things, chunksize=AT_ONCE))


def _processors() -> int:
    """Return how many processes can run side by side; one, where copies of a process are not safe, as where it has several threads."""
    return available() if sys.platform == "linux" and threading.active_count() == 1 else 1
