"""Whether contenders compute the same: one that is fast and wrong is not measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..verify.tolerances import root_mean_square
from .contender import Array, Trainer
from .network import Network
from .phases import INFERENCE, TIMED, TORCH, TRAINING

Results = Callable[[Any, Any], Mapping[str, Array]]

TOLERANCE = 0.05  # of the norm: far beyond what rounding in single precision comes to in long sums, and far below a wrong gradient
LEAST = 1e-3  # of the largest norm, which smaller ones are measured beside: they may be rounding alone


def _by_phase(phase: str) -> Results:
    return lambda contender, found: contender.results[phase](found)


ALONE: Mapping[str, Results] = {
    INFERENCE: lambda contender, found: {"output": np.asarray(found)},
    TRAINING: lambda contender, found: contender.gradients(found),
    **{phase: _by_phase(phase) for phase in (*TIMED, *TORCH)},
}
"""By phase, from a contender and what its call returned to arrays by name."""


def of_network(network: Network) -> Results:
    """Return the same for the first step of training: the loss, and how far each parameter has moved."""
    before = {**network.dense, **network.p.parameters}

    def results(trainer: Trainer, loss: Any) -> dict[str, Array]:
        return {"loss": np.asarray(float(loss))} | {name: value - before[name] for name, value in trainer.parameters().items()}

    return results


def disagreement(got: Mapping[str, Array], want: Mapping[str, Array], *, whole: bool = True) -> str:
    """Return what is to be said of results beside ours; empty if they agree.  If they need not be `whole`, only what is there counts."""
    if not whole:
        want = {name: value for name, value in want.items() if name in got}
    if got.keys() != want.keys():
        return f"its results are {', '.join(got)}, ours {', '.join(want)}"
    least = LEAST * max(map(root_mean_square, want.values()), default=0.0)
    for name, value in want.items():
        error, size = root_mean_square(np.subtract(got[name], value, dtype=np.float64)), max(root_mean_square(value), least)
        if not error <= TOLERANCE * size:
            return f"{name} differs from ours by {error / size if size else error:.1g} of its norm"
    return ""
