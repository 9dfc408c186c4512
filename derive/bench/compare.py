"""Comparisons of one cell at one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from ..language.definition import Definition
from ..verify.problem import initial
from . import agreement, network, pytorch_network
from .agreement import Results
from .contender import Contender, Trainer, ours, sizes_of
from .deadline import Patience, TooLong, deadline
from .measure import Clock, Limits, interleaved, timing, wait_until_quiet
from .peers import FAILED, PEERS, TOO_LONG, Peer
from .phases import BACKWARD, INFERENCE, MODEL, PHASES, TRAINING
from .record import Row, Timing
from .work import operations

Size = tuple[int, int, int, int]
T = TypeVar("T")
CALLS: Mapping[str, Callable[[Any], Callable[[], object]]] = {
    INFERENCE: lambda contender: contender.infer,
    TRAINING: lambda contender: contender.train,
    MODEL: lambda trainer: trainer.step,
}


@dataclass(frozen=True)
class Settings:
    """What is measured of every cell, and how."""

    dtype: str = "float32"
    peers: tuple[str, ...] = tuple(PEERS)
    phases: tuple[str, ...] = PHASES
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)
    patience: Patience = field(default_factory=Patience)


def size_for(cell: Definition, size: Size) -> Size:
    """Return B, T, d, n as the cell has them: its equations may make d and n equal."""
    batch, steps, d, n = size
    return (batch, steps, sizes_of(cell, d, n).get("d", d), n)


def compare(cell: Definition, module: ModuleType, size: Size, settings: Settings) -> Iterator[Row]:
    """Yield the row of each phase, that of a model only if the cell is a layer of one."""
    batch, steps, d, n = size_for(cell, size)
    sizes = sizes_of(cell, d, n)
    work = operations(cell, sizes, steps, batch)
    p = initial(module, cell, sizes=sizes, steps=steps, batch=batch, dtype=settings.dtype)
    row = partial(_row, settings, p.cell, (batch, steps, d, n))
    if alone := [phase for phase in settings.phases if phase != MODEL]:
        own, found = ours(module, p), _peers(p.cell, work, settings, lambda peer: peer.make(p))
        for phase in alone:
            yield row(phase, work * (1 + BACKWARD * (phase == TRAINING)), own, found, agreement.ALONE[phase])
    if MODEL in settings.phases and not network.absence(cell):
        around = network.network(p)
        trainers = _peers(p.cell, work, settings, lambda peer: peer.train(around))
        yield row(
            MODEL, work * (1 + BACKWARD) + around.operations, pytorch_network.ours(around, module), trainers, agreement.of_network(around)
        )


def _peers(cell: Definition, work: int, settings: Settings, make: Callable[[Peer], T]) -> dict[str, T | str]:
    """Return what is made of each peer, or why nothing is."""
    return {name: PEERS[name].absence(cell, work) or _tried(partial(make, PEERS[name])) for name in settings.peers}


def _row(
    settings: Settings, cell: Definition, size: Size, phase: str, work: int, own: Any, peers: Mapping[str, Any], results: Results
) -> Row:
    """Measure a phase; whoever took too long to compile fewer steps is not tried."""
    patience, steps = settings.patience, size[1]
    hopeful = {name: peer if patience.left(name, cell.name, phase, steps) else TOO_LONG for name, peer in peers.items()}
    times = measure(phase, own, hopeful, settings, results)
    for name, found in times.items():
        if found == TOO_LONG and patience.left(name, cell.name, phase, steps):
            patience.lose(name, cell.name, phase, steps)
    timed = times.pop("")
    assert isinstance(timed, Timing)
    return Row(cell.name, phase, *size, work, timed, times)


def measure(
    phase: str,
    own: Contender | Trainer,
    peers: Mapping[str, Contender | Trainer | str],
    settings: Settings,
    results: Results = lambda contender, found: {},
) -> dict[str, Timing | str]:
    """Return the times of a phase: ours by the empty name, and each peer's, or why there is none.

    The `results` of the first calls, which compile, are compared; they have none unless they are given.
    """
    measured, found = {"": own}, dict[str, Timing | str]()
    want = results(own, CALLS[phase](own)())
    for name, peer in peers.items():
        reason = peer if isinstance(peer, str) else _first(CALLS[phase](peer), partial(results, peer), want, settings.patience.seconds)
        if reason:
            found[name] = reason
        elif not isinstance(peer, str):
            measured[name] = peer
    calls = [CALLS[phase](contender) for contender in measured.values()]
    wait_until_quiet()  # NumPy's threads, which the comparison has left awake, would be in everybody's way for a while
    times = interleaved(calls, settings.limits, settings.clock)
    for (name, contender), counted in zip(measured.items(), times, strict=True):
        found[name] = timing(counted, contender.choices.get(phase, ""))
    return {name: found[name] for name in ("", *peers)}


def _first(call: Callable[[], object], results: Callable[[Any], Mapping[str, Any]], want: Mapping[str, Any], seconds: float) -> str:
    """Return why a peer is not measured, by its first call; empty if it is."""
    found = _tried(lambda: agreement.disagreement(results(call()), want), seconds)
    return found if not found or found == TOO_LONG or found.startswith(FAILED) else f"{FAILED}: {found}"


def _tried(call: Callable[[], T], seconds: float = Patience.seconds) -> T | str:
    """Return what a call to a peer gives, or how it failed: a peer that cannot run a cell is a gap in the table, not the end of it."""
    try:
        with deadline(seconds):
            return call()
    except TooLong:
        return TOO_LONG
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{FAILED}: {type(error).__name__}" + (f": {lines[0]}" if lines else "")
