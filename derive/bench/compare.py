"""Comparisons of one cell at one size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from ..language.definition import Definition
from ..verify.problem import Problem, directions, initial
from . import agreement, layers, memory, network, pytorch_layers, pytorch_network, second
from .agreement import Results
from .contender import Calls, Contender, Size, Trainer, ours, sizes_of
from .deadline import Patience, TooLong, deadline
from .goals import FIRST_ORDER
from .measure import Clock, Limits, interleaved, timing, wait_until_quiet
from .peers import FAILED, NOT_IN_PHASE, PEERS, TOO_LONG, USUAL, Peer
from .phases import ALONE, INFERENCE, MEMORY, MODEL, PHASES, PRODUCTS, SECOND, TIMED, TORCH, TRAINING
from .record import Row, Timing
from .work import operations

T = TypeVar("T")
CALLS: Mapping[str, Callable[[Any], Callable[[], object]]] = {
    INFERENCE: lambda contender: contender.infer,
    TRAINING: lambda contender: contender.train,
    MODEL: lambda trainer: trainer.step,
    **{phase: partial(lambda phase, contender: contender.calls[phase], phase) for phase in (*TIMED, *TORCH)},
}


@dataclass(frozen=True)
class Settings:
    """What is measured of every cell, and how."""

    dtype: str = "float32"
    peers: tuple[str, ...] = USUAL
    phases: tuple[str, ...] = PHASES
    limits: Limits = field(default_factory=Limits)
    clock: Clock = field(default_factory=Clock)
    patience: Patience = field(default_factory=Patience)

    @property
    def pool(self) -> str:
        """On which threads our kernels run: on PyTorch's where a peer does, as in a program that has both; else on their own."""
        return "torch" if any(PEERS[name].on_torch for name in self.peers) else "crew"


def size_for(cell: Definition, size: Size) -> Size:
    """Return B, T, d, n as the cell has them: its equations may make d and n equal."""
    batch, steps, d, n = size
    return (batch, steps, sizes_of(cell, d, n).get("d", d), n)


@dataclass(frozen=True)
class Match:
    """A cell's module at one size: B, T, d, n, the numbers, and how many operations of products inference takes."""

    module: ModuleType
    p: Problem
    size: Size
    work: int
    settings: Settings

    def peers(self, make: Callable[[Peer], T | str]) -> dict[str, T | str]:
        """Return what is made of each peer, or why nothing is."""
        return {name: PEERS[name].absence(self.p.cell, self.work) or tried(partial(make, PEERS[name])) for name in self.settings.peers}

    def row(self, phase: str, work: int, own: Any, peers: Mapping[str, Any], results: Results) -> Row:
        """Measure a phase; whoever took too long to compile fewer steps is not tried."""
        patience, cell, steps = self.settings.patience, self.p.cell.name, self.size[1]
        hopeful = {name: peer if patience.left(name, cell, phase, steps) else TOO_LONG for name, peer in peers.items()}
        times = measure(phase, own, hopeful, self.settings, results)
        for name, found in times.items():
            if found == TOO_LONG and patience.left(name, cell, phase, steps):
                patience.lose(name, cell, phase, steps)
        timed = times.pop("")
        assert isinstance(timed, Timing)
        return Row(cell, phase, *self.size, work, timed, times)


def compare(cell: Definition, module: ModuleType, size: Size, settings: Settings) -> Iterator[Row]:
    """Yield the row of each phase; that of a model only if the cell is a layer of one.

    Phases of second order need a module of second order.
    """
    batch, steps, d, n = size_for(cell, size)
    sizes = sizes_of(cell, d, n)
    p = initial(module, cell, sizes=sizes, steps=steps, batch=batch, dtype=settings.dtype)
    match = Match(module, p, (batch, steps, d, n), operations(cell, sizes, steps, batch), settings)
    yield from _alone(match, [phase for phase in settings.phases if phase in ALONE])
    if MODEL in settings.phases and not network.absence(cell):
        yield _model(match)
    having = [phase for phase in settings.phases if phase in SECOND and not second.absence(cell, phase)]
    yield from _second(match, [phase for phase in having if phase != MEMORY])
    if MEMORY in having and not memory.absence():
        yield _memory(match)
    for phase in settings.phases:
        if phase in TORCH and not layers.absence(cell, phase):
            yield _layer(match, phase)


def _alone(match: Match, phases: Sequence[str]) -> Iterator[Row]:
    if phases:
        own, peers = ours(match.module, match.p, match.settings.pool), match.peers(lambda peer: peer.make(match.p))
        for phase in phases:
            yield match.row(phase, match.work * PRODUCTS[phase], own, peers, agreement.ALONE[phase])


def _model(match: Match) -> Row:
    around = network.network(match.p)
    own, peers = pytorch_network.ours(around, match.module), match.peers(lambda peer: peer.train(around))
    return match.row(MODEL, match.work * PRODUCTS[TRAINING] + around.operations, own, peers, agreement.of_network(around))


def _second(match: Match, phases: Sequence[str]) -> Iterator[Row]:
    if phases:
        p, v = match.p, directions(match.p)
        peers = match.peers(lambda peer: peer.second(p, v) if peer.second else NOT_IN_PHASE)
        peers[FIRST_ORDER] = second.first_order(match.module, p, match.settings.pool)
        own = second.ours(match.module, p, v, match.settings.pool)
        for phase in phases:
            there = {name: x if isinstance(x, str) or phase in x.calls else NOT_IN_PHASE for name, x in peers.items()}
            yield match.row(phase, match.work * PRODUCTS[phase], own, there, agreement.ALONE[phase])


def _memory(match: Match) -> Row:
    """Return the row of a penalty's memory; that of its time compares results."""
    task = memory.task(match.p.cell, match.module, match.size, match.settings.dtype)
    chosen = memory.peer(match.p.cell, match.settings.peers)
    peers = match.peers(lambda peer: memory.peak(task, peer.name) if peer.name == chosen else NOT_IN_PHASE)
    return Row(match.p.cell.name, MEMORY, *match.size, 0, memory.peak(task), peers)


def _layer(match: Match, phase: str) -> Row:
    own = pytorch_layers.ours(phase, match.p, match.module)
    peers = match.peers(lambda peer: peer.layers[phase](match.p) if phase in peer.layers else NOT_IN_PHASE)
    return match.row(phase, layers.operations_of(phase, match.p, match.work), own, peers, agreement.ALONE[phase])


def measure(
    phase: str,
    own: Contender | Trainer | Calls,
    peers: Mapping[str, Contender | Trainer | Calls | str],
    settings: Settings,
    results: Results = lambda contender, found: {},
) -> dict[str, Timing | str]:
    """Return the times of a phase: ours by the empty name, and each peer's, or why there is none.

    The `results` of the first calls, which compile, are compared; they have none unless they are given.
    """
    measured, found = {"": own}, dict[str, Timing | str]()
    want = results(own, CALLS[phase](own)())
    for name, peer in peers.items():
        compared = partial(_compared, want, results, peer, whole=name != FIRST_ORDER)
        reason = peer if isinstance(peer, str) else _first(CALLS[phase](peer), compared, settings.patience.seconds)
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


def _compared(want: Mapping[str, Any], results: Results, peer: Any, found: Any, *, whole: bool) -> str:
    """Return what is to be said of what a peer's call returned, beside ours."""
    return agreement.disagreement(results(peer, found), want, whole=whole)


def _first(call: Callable[[], object], compared: Callable[[Any], str], seconds: float) -> str:
    """Return why a peer is not measured, by its first call; empty if it is."""
    found = tried(lambda: compared(call()), seconds)
    return found if not found or found == TOO_LONG or found.startswith(FAILED) else f"{FAILED}: {found}"


def tried(call: Callable[[], T], seconds: float = Patience.seconds) -> T | str:
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
