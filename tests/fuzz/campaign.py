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


def batch(job: tuple[int, int, int, int, bool]) -> Tally:
    """Verify a batch of cells; the first that fails is made as small as it can be, and ends the batch."""
    number, count, every, every_device, shrink = job
    tally = Tally()
    minimal: list[tuple[str, Drawn]] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(cells())
    def run(drawn: Drawn) -> None:
        first = not minimal
        tally.counts["cells"] += first
        if drawn.cell is None:
            tally.counts["rejected"] += first
            tally.refusals[drawn.refusal.splitlines()[-1][:100]] += first
            return
        numba = every > 0 and (number * BATCH + tally.counts["cells"]) % every == 0
        tally.counts["numba"] += first and numba
        simulate = every_device > 0 and (number * BATCH + tally.counts["cells"]) % every_device == 0
        tally.counts["simulated"] += first and simulate
        try:
            tally.worst = max(tally.worst, verify(drawn.cell, drawn.sizes, number, numba=numba, simulate=simulate))
            tally.counts["verified"] += first
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
        tally.failures.append(f"seed {number}: {error}\n{drawn!r}")
    return tally
