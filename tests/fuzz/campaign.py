"""A batch of random cells, for one process of a campaign."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings

from derive.calculus.derivation import differentiate
from derive.program.pipeline import compile_cell

from .strategy import Drawn, cells
from .verify import Mismatch, Skipped, verify

BATCH = 50  # cells a process draws from one seed; it ends after a few, so that memory stays bounded


@dataclass(frozen=True)
class Job:
    """A batch of cells to verify: its seed, how many there are, and the options of the command line."""

    seed: int
    count: int
    numba_every: int
    device_every: int
    shrink: bool
    matrices: bool
    heads: bool


@dataclass
class Tally:
    """What became of a batch of cells."""

    counts: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    failures: list[str] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.worst = max(self.worst, other.worst)
        self.failures += other.failures
        self.refusals += other.refusals


def batch(job: Job) -> Tally:
    """Verify a batch of cells; the first that fails is made as small as it can be, and ends the batch."""
    tally = Tally()
    minimal: list[tuple[str, Drawn]] = []

    def is_turn(every: int) -> bool:
        return every > 0 and (job.seed * BATCH + tally.counts["cells"]) % every == 0

    @seed(job.seed)
    @settings(
        max_examples=job.count,
        phases=[Phase.generate, *([Phase.shrink] if job.shrink else [])],
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(cells(matrices=job.matrices, heads=job.heads))
    def run(drawn: Drawn) -> None:
        first = not minimal
        tally.counts["cells"] += first
        if drawn.cell is None:
            tally.counts["rejected"] += first
            tally.refusals[drawn.refusal.splitlines()[-1][:100]] += first
            return
        numba, simulate = is_turn(job.numba_every), is_turn(job.device_every)
        tally.counts["numba"] += first and numba
        try:
            tally.worst = max(tally.worst, verify(drawn.cell, drawn.sizes, job.seed, numba=numba, simulate=simulate))
            tally.counts["verified"] += first
            tally.counts["heads"] += first and bool(drawn.cell.heads)
            tally.counts["simulated"] += first and simulate
        except Skipped:
            tally.counts["skipped"] += first
        except Mismatch as error:
            minimal.append((str(error), drawn))
            raise
        finally:
            compile_cell.cache_clear()
            differentiate.cache_clear()

    try:
        run()
    except Mismatch:
        error, drawn = min(minimal, key=lambda found: len(repr(found[1])))
        tally.counts["failed"] += 1
        tally.failures.append(f"seed {job.seed}: {error}\n{drawn!r}")
    return tally
