"""Write random cells and verify each: ``python -m tests.fuzz --cells 2000 --seed 0``."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator

from .campaign import BATCH, Job, Tally, batch


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """Yield the batches' seeds and sizes."""
    for k, start in enumerate(range(0, arguments.cells, BATCH)):
        yield Job(
            arguments.seed * 100_000 + k,
            min(BATCH, arguments.cells - start),
            arguments.numba_every,
            arguments.device_every,
            not arguments.no_shrink,
            arguments.matrices,
            arguments.heads,
        )


def main() -> int:
    """Run the fuzzer; return 1 if a cell failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--matrices", action="store_true", help="only cells with states that are matrices")
    parser.add_argument("--heads", action="store_true", help="cells of heads, where the language lets them be")
    parser.add_argument("--numba-every", type=int, default=100, help="compile one cell in so many; 0 for none")
    parser.add_argument("--device-every", type=int, default=20, help="simulate a CUDA device for one cell in so many; 0 for none")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--no-shrink", action="store_true", help="report failures as they were drawn")
    arguments = parser.parse_args()
    total, start = Tally(), time.monotonic()
    with multiprocessing.get_context("spawn").Pool(arguments.jobs, maxtasksperchild=8) as pool:
        for tally in pool.imap_unordered(batch, jobs(arguments)):
            total.add(tally)
            for failure in tally.failures:
                print(failure, flush=True)
            print(f"{time.monotonic() - start:6.0f} s  {dict(total.counts)}  worst error / limit {total.worst:.1e}", flush=True)
    counts = total.counts
    print(f"\n{counts['cells']} cells, seed {arguments.seed}: {counts['verified']} verified")
    print(f"({counts['heads']} of them of heads, {counts['numba']} by Numba too, {counts['simulated']} on a simulated CUDA device),")
    print(f"{counts['skipped']} skipped for their values, {counts['rejected']} refused by the language, {counts['failed']} failures;")
    print(f"the worst error is {total.worst:.1e} of what conditioning allows.")
    for refusal, times in total.refusals.most_common(5):
        print(f"  refused {times} times: {refusal}")
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
