"""What it brings that products leave out the zeros of spikes: those of a layer of spiking neurons, beside the dense ones.

    python -m derive.bench.sparse --json docs/data/sparse.json

Two products of such a layer have a factor that is 0 or 1: the recurrent product of each step, ``s @ U.T``, and the sum over steps that is
the gradient with respect to U, ``δ.T @ s``. All others, on the way back too, have dense factors. One thread; turns alternate.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ..runtime.cpu.openmp import LIGHT
from ..runtime.cpu.outer import outer_sums, workspace
from ..runtime.cpu.product import multiply, panels
from ..runtime.cpu.spikes import multiply_spikes, outer_spikes, spike_room
from .machine import busy, describe
from .measure import Clock, Limits, interleaved
from .single import command
from .table import pipes

BATCH, STEPS = 32, 100
SIZES, ACTIVITIES = (128, 256, 512), (0.005, 0.02, 0.05, 0.1, 0.2, 0.5)
ROUNDS = 21
PRODUCTS = ("recurrent", "gradient")


def ways(n: int, activity: float, seed: int = 0) -> dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]]:
    """Return, by product, the dense way to compute it for all steps of a layer of n neurons, so many of which spike, and ours."""
    rng, kind = np.random.default_rng(seed), np.dtype(np.float32)
    s = (rng.random((STEPS * BATCH, n)) < activity).astype(kind)
    weights, delta = rng.standard_normal((n, n)).astype(kind), rng.standard_normal(s.shape).astype(kind)
    packed, memory = panels(weights), workspace(kind, len(s), 1, (n, n), least=spike_room(n, n, kind))
    products, sums = [np.empty_like(s) for _ in range(2)], [np.empty_like(weights) for _ in range(2)]

    def stepwise(product: Callable[..., None], out: np.ndarray) -> np.ndarray:
        for t in range(STEPS):
            rows = slice(t * BATCH, (t + 1) * BATCH)
            product(s[rows], packed, out[rows], False)
        return out

    def summed(product: Callable[..., None], out: np.ndarray) -> np.ndarray:
        product(1, LIGHT, memory, delta, None, None, s, out, None, False)
        return out

    return {
        "recurrent": (partial(stepwise, multiply, products[0]), partial(stepwise, multiply_spikes, products[1])),
        "gradient": (partial(summed, outer_sums, sums[0]), partial(summed, outer_spikes, sums[1])),
    }


def measured(rounds: int) -> list[dict[str, Any]]:
    """Return, by size and activity, the milliseconds of each way to compute each product for all steps."""
    rows = []
    for n in SIZES:
        for activity in ACTIVITIES:
            row: dict[str, Any] = {"n": n, "activity": activity}
            for name, both in ways(n, activity).items():
                for way in both:
                    way()  # compiled, its memory touched
                times = interleaved(both, Limits(rounds), Clock())
                row[name] = {way: 1e3 * statistics.median(values) for way, values in zip(("dense", "sparse"), times, strict=True)}
            rows.append(row)
    return rows


def table(record: Mapping[str, Any]) -> str:
    """Return what was measured as Markdown."""
    body = []
    for row in record["rows"]:
        found = [f"{row['n']}", f"{100 * row['activity']:g}%"]
        for name in PRODUCTS:
            dense, sparse = row[name]["dense"], row[name]["sparse"]
            found += [f"{dense:.2f}", f"{sparse:.2f}", f"{dense / sparse:.1f}"]
        body.append(found)
    return pipes(["n", "spikes", "s Uᵀ, dense ms", "sparse", "×", "δᵀs, dense ms", "sparse", "×"], body)


def report() -> dict[str, Any]:
    """Return what is measured, and where."""
    noise, size = busy(), {"B": BATCH, "T": STEPS, "dtype": "float32", "threads": 1, "rounds": ROUNDS}
    return {**size, "machine": describe(), "noise": noise, "rows": measured(ROUNDS)}


def main() -> int:
    """Measure, print, and write a file if there is to be one."""
    return command("sparse", __doc__, report, table)


if __name__ == "__main__":
    raise SystemExit(main())
