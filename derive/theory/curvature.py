"""The largest eigenvalue of the loss's Hessian along gradient descent, for tanh networks and LSTMs that learn Bach's chorales.

The Hessian is that of all parameters, readout included; it is only ever multiplied by vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generated import linear, lstm, rnn
from generated.training import tree_leaves, tree_map

from ..demo import second
from ..demo.comparison import SPLIT_SEED
from ..demo.data import KEYS, Batch, batches, chorales, split
from ..demo.train import Params
from ..plotting import BLUE, RED
from .appearance import Data, below, powers
from .lanczos import largest
from .truncation import flat

Array = NDArray[np.float64]

CELLS: dict[str, Any] = {"tanh RNN": rnn, "LSTM": lstm}
RATES = {0.1: BLUE, 0.2: RED}
SEEDS = range(3)  # of the initial parameters; the curves are those of the first
HIDDEN, PIECES, STEPS, EVERY = 32, 16, 800, 5
JUMP = 1.1  # a factor of the gradient's norm from one step to the next
SETTLED = 50  # steps, after which the loss no longer falls from far above


def pieces() -> Batch:
    """Return the chorales that are learned, those of middle length, as one batch in float64."""
    ordered = batches(split(chorales(), SPLIT_SEED).train, PIECES)
    return Batch(*(part.astype(np.float64) for part in ordered[len(ordered) // 2]))


def start(cell: Any, seed: int, hidden: int = HIDDEN) -> Params:
    """Return initial parameters."""
    return Params(cell.init(KEYS, hidden, seed=seed, dtype=np.float64), linear.init(hidden, KEYS, seed=seed + 1, dtype=np.float64))


def like(vector: Array, params: Params) -> Params:
    """Return a vector as a tree of the shapes of `params`."""
    sizes = [leaf.size for leaf in tree_leaves(params)]
    parts = iter(np.split(vector, np.cumsum(sizes)[:-1]))
    return tree_map(lambda leaf: next(parts).reshape(leaf.shape), params)


def sharpest(cell: Any, params: Params, run: second.Forward, seed: int = 0) -> tuple[float, Params]:
    """Return the largest eigenvalue of the Hessian and its eigenvector, from a random start."""
    begin = np.random.default_rng((seed, 8)).standard_normal(sum(leaf.size for leaf in tree_leaves(params)))
    value, vector = largest(lambda v: whole(second.hessian_product(cell, run, like(v, params))[1]), begin)
    return value, like(vector, params)


def whole(params: Params) -> Array:
    """Return all numbers of cell and readout as one vector."""
    return np.concatenate([flat(params.cell), flat(params.readout)])


def recurrent(vector: Params) -> float:
    """Return the share that the recurrent matrices have in the squared length of a vector of length 1."""
    return float(sum(np.sum(part**2) for name, part in vector.cell._asdict().items() if name.startswith("U")))


def descend(cell: Any, batch: Batch, rate: float, seed: int, steps: int = STEPS, every: int = EVERY, hidden: int = HIDDEN) -> Data:
    """Run gradient descent on one batch; return what is measured at every `every`-th step, and where the gradient's norm jumps.

    ``loss`` in nats a step; ``gradient``, the norm of its gradient by all parameters; ``eigenvalue``, the largest of its Hessian;
    ``recurrent``, the share that the recurrent matrices have in the squared length of that one's eigenvector.
    """
    params = start(cell, seed, hidden)
    rows: list[tuple[float, ...]] = []
    norm = before = np.inf
    for step in range(steps + 1):
        run = second.forward(cell, params, batch)
        gradient = Params(*(part.params for part in second.backward(cell, run)))
        norm, before = float(np.linalg.norm(whole(gradient))), norm
        if step % every == 0 or not 1 / JUMP < norm / before < JUMP:
            value, vector = sharpest(cell, params, run)
            rows.append((step, run.loss, norm, value, recurrent(vector)))
        params = tree_map(lambda p, g: p - rate * g, params, gradient)
    return dict(zip(("step", "loss", "gradient", "eigenvalue", "recurrent"), map(list, zip(*rows, strict=True)), strict=True))


def summary(curves: Data, rate: float, settled: int = SETTLED) -> Data:
    """Return what a descent did once it had settled: before and after its eigenvalue was above 2 / `rate` for the first time, if ever."""
    step, gradient, eigenvalue, recurrent = (np.array(curves[name]) for name in ("step", "gradient", "eigenvalue", "recurrent"))
    late, above = step >= settled, eigenvalue > 2 / rate
    first = step[late & above].min(initial=step[-1] + 1)
    return {
        "first above": int(first) if first in step else None,
        "largest eigenvalue": float(eigenvalue[late].max()),
        "largest gradient": [_of(np.max, gradient[late & part]) for part in (step < first, step >= first)],
        "recurrent": [_of(np.median, recurrent[late & part]) for part in (~above, above)],
        "loss": curves["loss"][-1],
    }


def _of(statistic: Callable[[Array], Any], values: Array) -> float | None:
    return float(statistic(values)) if values.size else None


def measure() -> Data:
    """Descend with every cell, learning rate and seed; return the curves of the first seed and the summaries of all.

    Needs the extra `demo`.  In float64; where the descent is unstable, the last bit of another processor's sums leads elsewhere in the end.
    """
    batch = pieces()
    runs: Data = {}
    for title, cell in CELLS.items():
        for rate in RATES:
            descents = [descend(cell, batch, rate, seed) for seed in SEEDS]
            runs.setdefault(title, {})[f"{rate:g}"] = {"curves": descents[0], "seeds": [summary(curves, rate) for curves in descents]}
    sizes = {"pieces": PIECES, "steps of the longest": len(batch.x), "predicted": batch.steps, "n": HIDDEN}
    return {"settings": sizes | {"steps": STEPS, "every": EVERY, "jump": JUMP, "settled": SETTLED}, "runs": runs}


def draw(data: Data, figure: Any) -> None:
    """Draw the gradient's norm above the largest eigenvalue, with 2 / η as a dashed line."""
    panels = figure.subplots(2, len(CELLS), sharex=True, sharey="row")
    for (above, under), title in zip(panels.T, CELLS, strict=True):
        for rate, colour in RATES.items():
            curves = data["runs"][title][f"{rate:g}"]["curves"]
            steps = curves["step"]
            above.plot(steps, curves["gradient"], color=colour, linewidth=1.2, label=f"η = {rate:g}")
            under.plot(steps, curves["eigenvalue"], color=colour, linewidth=1.2, label=f"η = {rate:g}")
            under.axhline(2 / rate, color=colour, linestyle="--", linewidth=1.2, label=f"2 / η = {2 / rate:g}")
        above.set(title=title)
        under.set(xlabel="step", xlim=(0, steps[-1]))
        powers(above.yaxis, -1.4, 1.6, 1)
        powers(under.yaxis, 0.5, 3.2, 1)
        below(under, 2)
    panels[0, 0].set(ylabel="norm of the gradient")
    panels[1, 0].set(ylabel="largest eigenvalue")
