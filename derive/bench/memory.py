"""How much memory a gradient penalty takes at its most, ours and that of peers that compile nothing.

Each contender has a process of its own.  There it first makes the call at a tiny size: libraries are loaded, kernels compiled, threads
started.  Then the numbers are drawn at full size and laid out as the contender has them, what is free goes back to the system, and what is
resident is the baseline.  From there on the system's own high-water mark is read, set back for this purpose, while the call is made some
times, as in training: what a call keeps for the next one, a pool of blocks among it, counts, and so do results.  A compiler's own memory
would count as the program's, so peers that compile at each size are not measured.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
from collections.abc import Callable, Collection
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from ..language.definition import Definition
from ..package.memory import imported, located
from ..verify.problem import initial
from .contender import Size, sizes_of, threads_of
from .peers import PEERS
from .phases import PENALTY
from .record import Peak
from .second import SecondOrder, ours

MARK, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
RESET = "5"  # written to MARK, sets the high-water mark back to what is resident
CALLS = 3
TINY = (2, 3, 4, 5)  # B, T, d, n
LAYERS = ("torch.nn", "eager")
OURS = ""


def absence() -> str:
    """Return why memory cannot be measured; empty if it can."""
    return "" if MARK.exists() else "the system has no high-water mark of memory that can be set back: no row for memory"


def peer(cell: Definition, peers: Collection[str]) -> str:
    """Return which peer's memory is measured: PyTorch's own layer, or else the cell written in PyTorch; empty if it is neither."""
    return next((name for name in LAYERS if name in peers and not PEERS[name].absence(cell, 0)), "")


@dataclass(frozen=True)
class Task:
    """What a process measures: a contender by its name, and where the generated module lies."""

    contender: str
    cell: Definition
    module: str
    folder: Path
    size: Size
    dtype: str
    threads: int


def task(cell: Definition, module: ModuleType, size: Size, dtype: str) -> Task:
    """Return what is to be measured of a generated module."""
    return Task(OURS, cell, *located(module), size, dtype, threads_of(module).get_threads())


def peak(of: Task, contender: str = OURS) -> Peak:
    """Return the most memory of a contender's penalty, measured in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(measured, replace(of, contender=contender)).result()


def measured(of: Task) -> Peak:
    """Return the most memory of a penalty in this process; of a call that can be made in several ways, that of the one that takes least."""
    module = imported(of.module, of.folder)
    threads_of(module).set_threads(of.threads)
    if of.contender != OURS:
        PEERS[of.contender].set_threads(of.threads)
    for call in _contender(of, module, TINY).ways(PENALTY).values():
        call()
    ways = _contender(of, module, of.size).ways(PENALTY)
    found = {how: _most(call) for how, call in ways.items()}
    how = min(found, key=found.__getitem__)
    return Peak(found[how], CALLS, how)


def _contender(of: Task, module: ModuleType, size: Size) -> SecondOrder:
    batch, steps, d, n = size
    p = initial(module, of.cell, sizes=sizes_of(of.cell, d, n), steps=steps, batch=batch, dtype=of.dtype)
    if of.contender == OURS:
        return ours(module, p, {})
    make = PEERS[of.contender].second
    assert make is not None
    return make(p, {})


def _most(call: Callable[[], object]) -> int:
    """Return by how many bytes what is resident grows at its most, over some calls."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    before = _resident("VmRSS")
    MARK.write_text(RESET)
    for _ in range(CALLS):
        call()
    return max(_resident("VmHWM") - before, 0)


def _resident(field: str) -> int:
    """Return a field of the status of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
