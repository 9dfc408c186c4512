"""How long the matrix products of a pass take by themselves: nobody is faster who computes with them, whatever else there is to do.

    python -m derive.bench.products --json docs/data/products.json

The products of an LSTM, a GRU and an RNN are made by PyTorch, whose processor library is MKL, into memory that is there, each again and
again: so operands are in caches if they fit, no element of a gate is computed, and nothing waits. A peer's time over that time bounds the
ratio that any implementation could reach beside this peer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

from ..runtime.cpu import threads
from .contender import Size
from .machine import busy, describe
from .options import SIZES
from .phases import INFERENCE, MODEL, PHASES
from .single import command
from .table import pipes

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
ROUNDS = 7
BURST = 0.02  # seconds of calls that are timed together


class Product(NamedTuple):
    """A product (m, k) × (k, n), made so many times; `turned`, its left operand is the transpose of rows, as in sums over steps."""

    m: int
    k: int
    n: int
    times: int = 1
    turned: bool = False


def products(cell: str, phase: str, size: Size) -> list[Product]:
    """Return the products of a pass, those over all steps at once wherever that can be.

    `model` has a linear layer before the cell, whose input needs no gradient, and one after it.
    """
    batch, steps, d, n = size
    gates, rows = GATES[cell] * n, batch * steps
    made = [Product(batch, n, gates, steps), Product(rows, d, gates)]
    if phase != INFERENCE:
        made += [Product(batch, gates, n, steps), Product(rows, gates, d)]
        made += [Product(gates, rows, k, turned=True) for k in (d, n)]
    if phase == MODEL:
        made += [Product(rows, k, k) for k in (d, n)] + [Product(k, rows, k, turned=True) for k in (d, n)] + [Product(rows, n, n)]
    return made


@cache
def seconds(m: int, k: int, n: int, turned: bool) -> float:
    """Return how long one such product takes, at best."""
    import torch

    left = torch.randn(k, m).T if turned else torch.randn(m, k)
    make = partial(torch.mm, left, torch.randn(k, n), out=torch.empty(m, n))
    make()
    count = max(1, int(BURST / max(_spent(make, 1), 1e-9)))
    return min(_spent(make, count) for _ in range(ROUNDS)) / count


def _spent(make: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        make()
    return time.perf_counter() - begin


def measured() -> list[dict[str, Any]]:
    """Return, by cell, size and phase, how long all products of a pass take."""
    rows: list[dict[str, Any]] = []
    for cell, size, phase in product(GATES, SIZES, PHASES):
        found = sum(one.times * seconds(one.m, one.k, one.n, one.turned) for one in products(cell, phase, size))
        place = dict(zip(("batch", "steps", "d", "n"), size, strict=True))
        rows.append({"cell": cell, "phase": phase, **place, "seconds": found})
    return rows


def table(record: Mapping[str, Any]) -> str:
    """Return what was measured as Markdown."""
    body: dict[tuple[str, str], list[str]] = {}
    for row in record["rows"]:
        size = ", ".join(f"{row[name]}" for name in ("batch", "steps", "d", "n"))
        body.setdefault((row["cell"], size), []).append(f"{1e3 * row['seconds']:.2f}")
    return pipes(["cell", "B, T, d, n", *(f"{phase}, ms" for phase in PHASES)], [[*names, *found] for names, found in body.items()])


def report() -> dict[str, Any]:
    """Return what is measured, and where."""
    import torch

    torch.set_num_threads(threads.get_threads())
    noise, rows = busy(), measured()
    return {"dtype": "float32", "threads": threads.get_threads(), "machine": describe(), "noise": noise, "rows": rows}


def main() -> int:
    """Measure, print, and write a file if there is to be one."""
    return command("products", __doc__, report, table)


if __name__ == "__main__":
    raise SystemExit(main())
