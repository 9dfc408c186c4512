"""Comparisons of one cell at one size on a device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType

from ...language.definition import Definition
from ..compare import CALLS, Settings, measure, size_for
from ..contender import Contender, sizes_of
from ..phases import BACKWARD, TRAINING
from ..record import Timing
from ..work import operations
from . import device_contenders as contenders
from .cases import Case
from .clock import floors
from .device_record import DeviceRow


@dataclass(frozen=True)
class Match:
    """A case, the cell and module that it is about, and the peers."""

    case: Case
    cell: Definition
    module: ModuleType
    peers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.cell.name}, {self.case.kind}, {', '.join(map(str, self.case.size))}"


def compare(match: Match, settings: Settings) -> Iterator[DeviceRow]:
    """Yield the row of each phase."""
    cell, module, case = match.cell, match.module, replace(match.case, size=size_for(match.cell, match.case.size))
    batch, steps, d, n = case.size
    p = contenders.on_device(case, module, cell)
    own, peers = contenders.ours(module, p, case.kind), {name: contenders.peer(name, p) for name in match.peers}
    work = operations(cell, sizes_of(cell, d, n), steps, batch)
    with contenders.rounding(case.kind == "tf32"):
        apart = _disagreements(own, peers)
        for phase in settings.phases:
            times = measure(phase, own, peers, settings)
            timed = times.pop("")
            assert isinstance(timed, Timing)
            alone = floors(module, CALLS[phase](own), settings.clock.now)
            work_of_phase = work * (1 + BACKWARD * (phase == TRAINING))
            yield DeviceRow(cell.name, phase, batch, steps, d, n, work_of_phase, timed, times, case.kind, tuple(alone), apart)


def _disagreements(own: Contender, peers: Mapping[str, Contender | str]) -> dict[str, float]:
    """Return how far the peers' results lie from ours; what cannot run is told where it is timed."""
    own.gradients(own.train())
    found = {}
    for name, peer in peers.items():
        if isinstance(peer, Contender):
            try:
                found[name] = contenders.disagreement(own, peer)
            except Exception:
                continue
    return found
