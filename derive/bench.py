"""`derive bench`: time of generated kernels beside that of `torch.nn`, in interleaved runs."""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .cells import REGISTRY
from .emit import compile

PEERS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
SIZES = ((32, 100, 64, 128), (32, 100, 128, 256))
PHASES = ("inference", "training")


@dataclass(frozen=True)
class Row:
    """One comparison: medians in seconds; `spread` is the interquartile range over the median."""

    cell: str
    phase: str
    batch: int
    steps: int
    d: int
    n: int
    seconds: float
    spread: float
    peer_seconds: float
    peer_spread: float

    @property
    def ratio(self) -> float:
        """How many times the peer's time is ours."""
        return self.peer_seconds / self.seconds

    @property
    def gigaflops(self) -> float:
        """Rate of the matrix products alone, in 10⁹ operations a second."""
        flops = 2 * GATES[self.cell] * self.batch * self.steps * self.n * (self.d + self.n)
        return flops * (3 if self.phase == "training" else 1) / self.seconds / 1e9


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; return the exit status."""
    parser = argparse.ArgumentParser(prog="derive bench", description=main.__doc__)
    parser.add_argument("cells", metavar="CELL", nargs="*", help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--threads", type=int, default=2, help="threads of kernels and peers (default: 2)")
    parser.add_argument("--runs", type=int, default=21, help="timed runs of each, in turn (default: 21)")
    parser.add_argument("--sizes", nargs="*", metavar="B,T,d,n", help="sizes (default: 32,100,64,128 and 32,100,128,256)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")
    options = parser.parse_args(argv)
    if importlib.util.find_spec("torch") is None:
        print("derive bench: its peer is PyTorch, which is not installed: pip install 'derive-rnn[test]'")
        return 1
    if unknown := [name for name in options.cells if name not in PEERS]:
        parser.error(f"no peer for {', '.join(unknown)}: choose from {', '.join(PEERS)}")
    sizes = [tuple(map(int, text.split(","))) for text in options.sizes] if options.sizes else SIZES
    print(f"float32, {options.threads} threads, medians of {options.runs} interleaved runs, {machine()}")
    print(HEADER, flush=True)
    rows = []
    for name in options.cells or PEERS:
        for size in sizes:
            for row in compare(name, size, options.threads, options.runs):
                rows.append(row)
                print(line(row), flush=True)
    if options.json:
        record = {"machine": machine(), "threads": options.threads, "runs": options.runs, "rows": [asdict(row) for row in rows]}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


HEADER = f"{'cell':<6}{'phase':<11}{'B':>5}{'T':>6}{'d':>6}{'n':>6}{'ms':>10}{'±':>6}{'torch ms':>11}{'±':>6}{'ratio':>8}{'GF/s':>7}"


def line(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"{row.cell:<6}{row.phase:<11}{row.batch:>5}{row.steps:>6}{row.d:>6}{row.n:>6}{row.seconds * 1e3:>10.2f}{row.spread:>6.0%}"
        f"{row.peer_seconds * 1e3:>11.2f}{row.peer_spread:>6.0%}{row.ratio:>8.2f}{row.gigaflops:>7.0f}"
    )


def machine() -> str:
    """Return the processor's name, as far as the system tells."""
    try:
        names = [x.split(":")[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if x.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def compare(name: str, size: Sequence[int], threads: int, runs: int) -> list[Row]:
    """Return the comparison of one cell at one size, inference and training."""
    import torch

    torch.set_num_threads(threads)
    batch, steps, d, n = size
    module = compile(REGISTRY[name])
    threads_of(module).set_threads(threads)
    random = np.random.default_rng(0)
    x = random.standard_normal((steps, batch, d), dtype=np.float32)
    dy = random.standard_normal((steps, batch, n), dtype=np.float32)
    params, peer = module.init(d, n), getattr(torch.nn, PEERS[name])(d, n)
    tx, tdy = torch.tensor(x, requires_grad=True), torch.tensor(dy)

    def infer() -> None:
        module.infer(x, params)

    def train() -> None:
        module.backward(dy, module.forward(x, params)[2])

    def peer_infer() -> None:
        with torch.no_grad():
            peer(tx)

    def peer_train() -> None:
        peer.zero_grad(set_to_none=True)
        tx.grad = None
        peer(tx)[0].backward(tdy)

    rows = []
    for phase, ours, theirs in ((PHASES[0], infer, peer_infer), (PHASES[1], train, peer_train)):
        times = interleaved((ours, theirs), runs)
        (a, spread_a), (b, spread_b) = (median_and_spread(t) for t in times)
        rows.append(Row(name, phase, batch, steps, d, n, a, spread_a, b, spread_b))
    return rows


def threads_of(module: ModuleType) -> Any:
    """Return the thread settings of the package that a generated module belongs to."""
    return importlib.import_module(f"{module.__name__.rpartition('.')[0]}.runtime.threads")


def interleaved(calls: Sequence[Callable[[], None]], runs: int) -> list[list[float]]:
    """Return the times of `runs` calls of each, taken in turn after three of each that are not counted."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(-3, runs):
        for call, found in zip(calls, times, strict=True):
            begin = time.perf_counter()
            call()
            if turn >= 0:
                found.append(time.perf_counter() - begin)
    return times


def median_and_spread(times: Sequence[float]) -> tuple[float, float]:
    """Return the median and the interquartile range over it."""
    middle = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4)
    return middle, (high - low) / middle
