"""How long a pass takes when the one before it was a while ago.

    python -m derive.bench.fallow --json docs/data/fallow.json

A loop that trains uses the same memory all the time; in an interleaved measurement it lies fallow while others have their turns. On a
virtual machine it is slower then: caches are shared with strangers, and the first write to each page is slower where a host follows which
are written to. Here a pause is spent computing, in registers alone, and pauses alternate.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..cells import REGISTRY
from ..package.memory import compile_all
from ..verify.problem import initial
from .contender import ours, sizes_of
from .machine import busy, describe
from .peers import PEERS
from .single import command
from .table import pipes

PAUSES = (0.0, 0.002, 0.01, 0.02, 0.05, 0.1, 0.3)  # seconds
BYTES = 3 << 22
ROUNDS = 21
SIZE = (32, 100, 64, 128)  # B, T, d, n
READ, WRITE, OURS, THEIRS = "read", "write", "ours", "torch.nn"


def works() -> dict[str, Callable[[], object]]:
    """Return what is timed, by name: `BYTES` read, as many written, and a forward and backward pass of an LSTM, ours and PyTorch's."""
    cell, (batch, steps, d, n) = REGISTRY["lstm"], SIZE
    module = compile_all([cell])[cell.name]
    p = initial(module, cell, sizes=sizes_of(cell, d, n), steps=steps, batch=batch)
    given, written = (np.zeros(BYTES // 4, np.float32) for _ in range(2))
    return {READ: given.sum, WRITE: partial(written.fill, 1), OURS: ours(module, p).train, THEIRS: PEERS[THEIRS].make(p).train}


def compute(seconds: float) -> None:
    """Keep the processor busy for a while, with nothing that lies in memory."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def measured(rounds: int) -> list[dict[str, float]]:
    """Return, by pause, the milliseconds of each work when it is done for the second time, so long after the first."""
    todo = works()
    times: dict[tuple[float, str], list[float]] = {(pause, name): [] for pause in PAUSES for name in todo}
    for _ in range(rounds):
        for (pause, name), seconds in times.items():
            todo[name]()
            compute(pause)
            begin = time.perf_counter()
            todo[name]()
            seconds.append(time.perf_counter() - begin)
    return [{"pause": 1e3 * pause} | {name: 1e3 * statistics.median(times[pause, name]) for name in todo} for pause in PAUSES]


def table(record: Mapping[str, Any]) -> str:
    """Return what was measured as Markdown."""
    heads = ["pause, ms", f"{record['bytes'] >> 20} MB read, ms", "written, ms", "LSTM, ms", "`torch.nn.LSTM`, ms"]
    rows = record["rows"]
    return pipes(heads, ([f"{r['pause']:.0f}", f"{r[READ]:.2f}", f"{r[WRITE]:.2f}", f"{r[OURS]:.1f}", f"{r[THEIRS]:.1f}"] for r in rows))


def report() -> dict[str, Any]:
    """Return what is measured, and where."""
    noise, size = busy(), dict(zip(("B", "T", "d", "n"), SIZE, strict=True))
    return {"bytes": BYTES, "size": size, "rounds": ROUNDS, "machine": describe(), "noise": noise, "rows": measured(ROUNDS)}


def main() -> int:
    """Measure, print, and write a file if there is to be one."""
    return command("fallow", __doc__, report, table)


if __name__ == "__main__":
    raise SystemExit(main())
