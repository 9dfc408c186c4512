"""What skipping the zeros of spikes would bring: a product that adds up rows of weights only where a neuron spiked, beside the dense one.

    python -m derive.bench.sparse --json docs/data/sparse.json

Two products of a layer of spiking neurons have a factor that is 0 or 1: the recurrent product of each step, ``s @ U.T``, and the sum over
steps that is the gradient with respect to U, ``s.T @ δ``. All others, on the way back too, have dense factors. One thread; turns alternate.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba import njit

from ..runtime.cpu.compiling import OPTIONS
from ..runtime.cpu.openmp import LIGHT
from ..runtime.cpu.outer import outer_sums, workspace
from ..runtime.cpu.product import multiply, panels
from .machine import busy, describe
from .measure import Clock, Limits, interleaved
from .single import command
from .table import pipes

BATCH, STEPS = 32, 100
SIZES, ACTIVITIES = (128, 256, 512), (0.02, 0.05, 0.1, 0.2)
ROUNDS = 21
PRODUCTS = ("recurrent", "gradient")


@njit(**OPTIONS)
def spiking(spikes, places):  # type: ignore[no-untyped-def]
    """Write the places of the spikes of a row, and return how many there are: without a branch, which would be foretold wrongly."""
    count = 0
    for j in range(spikes.size):
        places[count] = j
        count += spikes[j] != 0
    return count


@njit(**OPTIONS)
def add(row, given):  # type: ignore[no-untyped-def]
    """Add to a row another."""
    for i in range(row.size):
        row[i] += given[i]


@njit(**OPTIONS)
def recurrent(s, weights, out, places):  # type: ignore[no-untyped-def]
    """Compute ``out = s @ weights``, row by row: the sum of the rows of weights whose neurons spiked."""
    out[...] = 0
    for b in range(s.shape[0]):
        row = out[b]
        for k in range(spiking(s[b], places)):
            add(row, weights[places[k]])


@njit(**OPTIONS)
def gradient(s, delta, out, places):  # type: ignore[no-untyped-def]
    """Compute ``out = s.T @ delta``: each row of delta is added where a neuron spiked."""
    out[...] = 0
    for b in range(s.shape[0]):
        given = delta[b]
        for k in range(spiking(s[b], places)):
            add(out[places[k]], given)


def ways(n: int, activity: float, seed: int = 0) -> dict[str, tuple[Callable[[], np.ndarray], Callable[[], np.ndarray]]]:
    """Return, by product, the dense and the sparse way to compute it for all steps of a layer of n neurons, so many of which spike."""
    rng, kind = np.random.default_rng(seed), np.dtype(np.float32)
    s = (rng.random((STEPS * BATCH, n)) < activity).astype(kind)
    weights, delta = rng.standard_normal((n, n)).astype(kind), rng.standard_normal(s.shape).astype(kind)
    packed, memory, places = panels(weights), workspace(kind, len(s), 1, (n, n)), np.empty(n + 1, np.intp)
    products, sums = [np.empty_like(s) for _ in range(2)], [np.empty_like(weights) for _ in range(2)]

    def stepwise(product: Callable[..., None], right: np.ndarray, out: np.ndarray, last: Any) -> np.ndarray:
        for t in range(STEPS):
            rows = slice(t * BATCH, (t + 1) * BATCH)
            product(s[rows], right, out[rows], last)
        return out

    def dense_sums() -> np.ndarray:
        outer_sums(1, LIGHT, memory, s, delta, sums[0], None, None, None, False)
        return sums[0]

    def sparse_sums() -> np.ndarray:
        gradient(s, delta, sums[1], places)
        return sums[1]

    return {
        "recurrent": (lambda: stepwise(multiply, packed, products[0], False), lambda: stepwise(recurrent, weights, products[1], places)),
        "gradient": (dense_sums, sparse_sums),
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
        found = [f"{row['n']}", f"{row['activity']:.0%}"]
        for name in PRODUCTS:
            dense, sparse = row[name]["dense"], row[name]["sparse"]
            found += [f"{dense:.2f}", f"{sparse:.2f}", f"{dense / sparse:.1f}"]
        body.append(found)
    return pipes(["n", "spikes", "s Uᵀ, dense ms", "sparse", "×", "sᵀδ, dense ms", "sparse", "×"], body)


def report() -> dict[str, Any]:
    """Return what is measured, and where."""
    noise, size = busy(), {"B": BATCH, "T": STEPS, "dtype": "float32", "threads": 1, "rounds": ROUNDS}
    return {**size, "machine": describe(), "noise": noise, "rows": measured(ROUNDS)}


def main() -> int:
    """Measure, print, and write a file if there is to be one."""
    return command("sparse", __doc__, report, table)


if __name__ == "__main__":
    raise SystemExit(main())
