"""What a second process brings: steps of training of a network, by one process on one core, and by two on a core each.

    python -m derive.bench.processes --json docs/data/processes.json

Every process has batches of its own of the same size, so two would do twice the work of one in the same time, if nothing were lost. What
they lose by sharing a machine is told apart from what they lose by summing gradients: there is a turn in which both train, but apart. All
turns alternate in the same two processes, so that a machine that slows down slows all of them. Beside the time that goes by there is that
of the processor, which leaves out what other programs take, and waiting.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from generated.torch import layer

from ..demo.processes import leave
from .machine import busy, describe
from .measure import turns

BATCH, STEPS, WIDE, HIDDEN = 32, 100, 128, 256
ALONE, APART, TOGETHER, SUM = "one process", "two, apart", "two, together", "the sum alone"
KINDS = ("elapsed", "processor")  # of time
Seconds = dict[str, list[tuple[float, float]]]  # by way, of each turn: elapsed, and the processor's
ROUNDS, CALLS = 201, 2  # turns of each, and steps of training in a turn: short, so that some fall between what other programs do


class Network(nn.Module):
    """Linear, a layer, Linear: as a model of `derive bench`."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell, self.last = nn.Linear(WIDE, WIDE), layer("lstm", WIDE, HIDDEN), nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output (T, B, n) of `x` (T, B, d)."""
        y: Tensor = self.last(self.cell(self.first(x))[0])
        return y


def trainer(joined: bool, rank: int) -> Callable[[], object]:
    """Return a step of training on this process's own batch, by its own gradients or by the mean of all."""
    torch.manual_seed(0)
    network: nn.Module = Network()
    optimiser = torch.optim.Adam(network.parameters())
    torch.manual_seed(rank)
    x, target = torch.randn(STEPS, BATCH, WIDE), torch.randn(STEPS, BATCH, HIDDEN)
    network = nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True) if joined else network

    def step() -> None:
        optimiser.zero_grad()
        nn.functional.mse_loss(network(x), target).backward()
        optimiser.step()

    return step


def gradient_bytes() -> int:
    """Return how many bytes the gradients of the network have."""
    return sum(parameter.numel() * parameter.element_size() for parameter in Network().parameters())


def operations() -> int:
    """Return the operations of a step's products: forward, and twice as many backward; the input needs no gradient."""
    dense = 2 * WIDE * WIDE + 3 * HIDDEN * HIDDEN
    return 2 * STEPS * BATCH * (dense + 3 * 4 * HIDDEN * (WIDE + HIDDEN))


def worker(rank: int, folder: str, rounds: int) -> None:
    """Take part, on one core with one thread; the first process leaves the seconds of a step of each turn in a file."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    seconds = all_turns(rank, rounds)
    if rank == 0:
        (Path(folder) / "seconds").write_text(json.dumps(seconds))
    leave()


def all_turns(rank: int, rounds: int) -> Seconds:
    """Take part in all turns; return what they took."""
    alone, together, buffer = trainer(False, rank), trainer(True, rank), torch.zeros(gradient_bytes() // 4)
    what: dict[str, Callable[[], object]] = {
        ALONE: alone if rank == 0 else lambda: None,  # the other waits, and takes no time
        APART: alone,
        TOGETHER: together,
        SUM: lambda: distributed.all_reduce(buffer),
    }
    names = list(what)
    seconds: Seconds = {name: [] for name in names}
    for number in range(-1, rounds):  # the first round, which compiles, does not count
        for k in turns(max(number, 0), len(names)):
            taken = _slowest(what[names[k]])
            if number >= 0:
                seconds[names[k]].append(taken)
    return seconds


def _slowest(step: Callable[[], object]) -> tuple[float, float]:
    """Return how long a step takes in a turn, and the processor's time for it, of whichever takes longer; both begin together."""
    distributed.barrier()
    start, worked = time.perf_counter(), time.process_time()
    for _ in range(CALLS):
        step()
    taken = torch.tensor([time.perf_counter() - start, time.process_time() - worked], dtype=torch.float64) / CALLS
    distributed.all_reduce(taken, distributed.ReduceOp.MAX)
    return float(taken[0]), float(taken[1])


def measured(rounds: int) -> Seconds:
    """Return seconds of a step, turn by turn, of each way."""
    with tempfile.TemporaryDirectory() as folder:
        start = multiprocessing.get_context("spawn").Process
        running = [start(target=worker, args=(rank, folder, rounds)) for rank in range(2)]
        for process in running:
            process.start()
        for process in running:
            process.join()
        if any(process.exitcode for process in running):
            raise RuntimeError(f"processes ended with {[process.exitcode for process in running]}, of which each must be 0")
        found: Seconds = json.loads((Path(folder) / "seconds").read_text())
    return found


def report(seconds: Seconds, noise: str) -> dict[str, Any]:
    """Return what the file has: spreads of times and of efficiencies, which are throughputs over twice that of one process."""
    kinds = {}
    for k, kind in enumerate(KINDS):
        times = {name: [values[k] for values in turns] for name, turns in seconds.items()}
        kinds[kind] = {
            "milliseconds": {name: _spread([1e3 * value for value in values]) for name, values in times.items()},
            "efficiency": {name: _efficiency(times[ALONE], times[name]) for name in (APART, TOGETHER)},
        }
    return {
        "size": {"B": BATCH, "T": STEPS, "d": WIDE, "n": HIDDEN},
        "command": "python -m derive.bench.processes --json docs/data/processes.json",
        "rounds": len(seconds[ALONE]),
        "machine": describe(),
        "noise": noise,
        "gradient bytes": gradient_bytes(),
        "operations": operations(),
        **kinds,
    }


def _efficiency(one: list[float], two: list[float]) -> dict[str, float]:
    """Return the spread of efficiencies over rounds, and that of the least times."""
    return {**_spread([a / b for a, b in zip(one, two, strict=True)]), "of the least": min(one) / min(two)}


def _spread(values: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "least": min(values), "lower quartile": low, "upper quartile": high}


def table(record: dict[str, Any]) -> str:
    """Return what was measured as Markdown."""
    lines = ["| what | ms a step, median | least | efficiency, median | quartiles | of the least |", "|---|---|---|---|---|---|"]
    for kind in KINDS:
        for name, spread in record[kind]["milliseconds"].items():
            times = [f"{spread[key]:.2f}" for key in ("median", "least")]
            of = record[kind]["efficiency"].get(name)
            shares = (
                [f"{of['median']:.2f}", f"{of['lower quartile']:.2f} to {of['upper quartile']:.2f}", f"{of['of the least']:.2f}"]
                if of
                else [""] * 3
            )
            lines.append(f"| {' | '.join([f'{name}, {kind}', *times, *shares])} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and write a file if there is to be one."""
    parser = argparse.ArgumentParser(prog="python -m derive.bench.processes", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of each way, of {CALLS} steps (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    options = parser.parse_args()
    noise = busy()
    record = report(measured(options.rounds), noise)
    print(table(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
