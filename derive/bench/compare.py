"""Comparisons of one cell at one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TypeVar

from ..language.definition import Definition
from ..verify.problem import Problem, initial
from .contender import Contender, ours, sizes_of
from .measure import Clock, Limits, interleaved, timing
from .peers import FAILED, PEERS
from .record import BACKWARD, PHASES, Row, Timing
from .work import operations

Size = tuple[int, int, int, int]
T = TypeVar("T")
CALLS: Mapping[str, Callable[[Contender], Callable[[], object]]] = {
    PHASES[0]: lambda contender: contender.infer,
    PHASES[1]: lambda contender: contender.train,
}


@dataclass(frozen=True)
class Settings:
    """What is measured of every cell, and how."""

    dtype: str = "float32"
    peers: tuple[str, ...] = tuple(PEERS)
    phases: tuple[str, ...] = PHASES
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)


def size_for(cell: Definition, size: Size) -> Size:
    """Return B, T, d, n as the cell has them: its equations may make d and n equal."""
    batch, steps, d, n = size
    return (batch, steps, sizes_of(cell, d, n).get("d", d), n)


def compare(cell: Definition, module: ModuleType, size: Size, settings: Settings) -> Iterator[Row]:
    """Yield the row of each phase."""
    batch, steps, d, n = size_for(cell, size)
    sizes = sizes_of(cell, d, n)
    work = operations(cell, sizes, steps, batch)
    p = initial(module, cell, sizes=sizes, steps=steps, batch=batch, dtype=settings.dtype)
    found = {name: _contender(name, p, work) for name in settings.peers}
    for phase in settings.phases:
        times = measure(phase, ours(module, p), found, settings)
        own = times.pop("")
        assert isinstance(own, Timing)
        yield Row(cell.name, phase, batch, steps, d, n, work * (1 + BACKWARD * (phase == PHASES[1])), own, times)


def _contender(name: str, p: Problem, work: int) -> Contender | str:
    """Return a peer's calls, or why there are none."""
    peer = PEERS[name]
    return peer.absence(p.cell, work) or _tried(lambda: peer.make(p))


def measure(phase: str, own: Contender, peers: Mapping[str, Contender | str], settings: Settings) -> dict[str, Timing | str]:
    """Return the times of a phase: ours by the empty name, and each peer's, or why there is none."""
    calls, found = {"": CALLS[phase](own)}, dict[str, Timing | str]()
    for name, peer in peers.items():
        if isinstance(peer, str):
            found[name] = peer
        elif isinstance(reason := _tried(CALLS[phase](peer)), str):  # the first call of each compiles it
            found[name] = reason
        else:
            calls[name] = CALLS[phase](peer)
    calls[""]()
    times = interleaved(list(calls.values()), settings.limits, settings.clock)
    found |= {name: timing(counted) for name, counted in zip(calls, times, strict=True)}
    return {name: found[name] for name in ("", *peers)}


def _tried(call: Callable[[], T]) -> T | str:
    """Return what a call to a peer gives, or how it failed: a peer that cannot run a cell is a gap in the table, not the end of it."""
    try:
        return call()
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{FAILED}: {type(error).__name__}" + (f": {lines[0]}" if lines else "")
