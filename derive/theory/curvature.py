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
BACK = 20  # steps that a gradient goes back
FARTHEST = {"tanh RNN": (-32, 2, 10), "LSTM": (-6.4, 0.4, 2)}  # powers of ten on the axis of what is left of a gradient
MEASURED = ("step", "loss", "gradient", "eigenvalue", "recurrent", "reach")
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


def reach(cell: Any, params: Params, batch: Batch) -> float:
    """Return what is left of a gradient `BACK` steps back: ‖∂(v · h_t)/∂s_(t - BACK)‖ with a random v of length 1, the most of all pieces.

    Of the first two times `BACK` steps; the state s is h, for an LSTM c and h side by side.
    """
    _, state = cell.infer(batch.x[:BACK], params.cell)
    _, final, tape = cell.forward(batch.x[BACK : 2 * BACK], params.cell, state)
    v = np.random.default_rng(9).standard_normal(final.h.shape)
    nothing = cell.State(*(np.zeros_like(part) for part in final))
    found = cell.backward(None, tape, dfinal=nothing._replace(h=v / np.linalg.norm(v, axis=1, keepdims=True))).state
    return float(np.linalg.norm(np.concatenate(found, axis=1), axis=1).max())


def descend(cell: Any, batch: Batch, rate: float, seed: int, steps: int = STEPS, every: int = EVERY, hidden: int = HIDDEN) -> Data:
    """Run gradient descent on one batch; return what is measured at every `every`-th step, and where the gradient's norm jumps.

    ``loss`` in nats a step; ``gradient``, the norm of its gradient by all parameters; ``eigenvalue``, the largest of its Hessian;
    ``recurrent``, the share that the recurrent matrices have in the squared length of that one's eigenvector; ``reach``, what is left of a
    gradient `BACK` steps back.
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
            rows.append((step, run.loss, norm, value, recurrent(vector), reach(cell, params, batch)))
        params = tree_map(lambda p, g: p - rate * g, params, gradient)
    return dict(zip(MEASURED, map(list, zip(*rows, strict=True)), strict=True))


def summary(curves: Data, rate: float, settled: int = SETTLED, every: int = EVERY) -> Data:
    """Return what a descent did once it had settled: before and after its eigenvalue was above 2 / `rate` for the first time, if ever."""
    step, _, gradient, eigenvalue, shares, reached = (np.array(curves[name]) for name in MEASURED)
    late, above = step >= settled, eigenvalue > 2 / rate
    first = step[late & above].min(initial=step[-1] + 1)
    return {
        "first above": int(first) if first in step else None,
        "largest eigenvalue": float(eigenvalue[late].max()),
        "largest gradient": [_of(np.max, gradient[late & part]) for part in (step < first, step >= first)],
        "share above": float(np.mean(above[late & (step % every == 0)])),
        "recurrent": [_of(np.median, shares[late & part]) for part in (~above, above)],
        "reach": [_of(np.median, reached[late & part]) for part in (~above, above)],
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
    return {"settings": sizes | {"steps": STEPS, "every": EVERY, "jump": JUMP, "back": BACK, "settled": SETTLED}, "runs": runs}


def draw(data: Data, figure: Any) -> None:
    """Draw the gradient's norm, the largest eigenvalue with 2 / η as a dashed line, and how much of a gradient goes far back."""
    panels = figure.subplots(3, len(CELLS), sharex=True)
    for (top, middle, bottom), title in zip(panels.T, CELLS, strict=True):
        for rate, colour in RATES.items():
            curves = data["runs"][title][f"{rate:g}"]["curves"]
            for axes, name in ((top, "gradient"), (middle, "eigenvalue"), (bottom, "reach")):
                axes.plot(curves["step"], curves[name], color=colour, linewidth=1.2, label=f"η = {rate:g}")
            middle.axhline(2 / rate, color=colour, linestyle="--", linewidth=1.2)
            bottom.plot([], [], "--", color=colour, linewidth=1.2, label=f"2 / η = {2 / rate:g}")
        top.set(title=title)
        bottom.set(xlabel="step", xlim=(0, data["settings"]["steps"]))
        powers(top.yaxis, -1.4, 1.6, 1)
        powers(middle.yaxis, 0.5, 3.2, 1)
        powers(bottom.yaxis, *FARTHEST[title])
        below(bottom, 2, bbox_to_anchor=(0.5, -0.25))
    for axes, label in zip(panels[:, 0], ("norm of the gradient", "largest eigenvalue", "gradient, 20 steps back"), strict=True):
        axes.set(ylabel=label)
