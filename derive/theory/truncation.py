"""What truncated BPTT leaves out: the error of its gradient over the length that is kept.

Two forms.  *Windows* (Williams and Peng 1990, BPTT(h; h)): the sequence is cut into windows, gradients stay inside each.  *Reach*: the loss
of every step k goes back over the `length` steps t = k - length + 1 … k, so that exactly the terms k - t < length of the double sum stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from generated.training import truncated_bptt

from ..plotting import BLUE, GREEN, RED, YELLOW
from .appearance import INK, Data, below, powers
from .norms import INPUTS, Network, keeping_gru, open_lstm, tanh_rnn

Array = NDArray[np.float64]

STEPS, BATCH, HIDDEN, SEED = 64, 8, 32, 3
LENGTHS = (1, 2, 4, 8, 16, 32, 64)
NETWORKS: dict[str, Network] = {
    "rnn 0.9": tanh_rnn(0.9, HIDDEN),
    "gru 0": keeping_gru(0.0, HIDDEN),
    "lstm 1": open_lstm(1.0, HIDDEN),
    "lstm 5": open_lstm(5.0, HIDDEN),
}
LABELS = {"rnn 0.9": "tanh RNN, radius 0.9", "gru 0": "GRU", "lstm 1": "LSTM, forget bias 1", "lstm 5": "LSTM, forget bias 5"}


def flat(params: Any) -> Array:
    """Return all arrays of a gradient as one vector."""
    return np.concatenate([part.ravel() for part in params])


def problem(network: Network) -> tuple[Any, Array, Array]:
    """Return parameters, inputs and targets: standard normal inputs, targets in ±1, of the loss ½ Σ_t (h_t - target_t)²."""
    random = np.random.default_rng((SEED, 2))
    x = random.standard_normal((STEPS, BATCH, INPUTS))
    return network.params(SEED), x, random.uniform(-1, 1, (STEPS, BATCH, HIDDEN))


def windows(network: Network, params: Any, x: Array, dy: Array, length: int) -> Array:
    """Return the gradient of all parameters with gradients cut between windows of `length` steps; dy is ∂L/∂h, `(T, B, n)`."""
    return np.sum(
        [flat(window.grads.params) for window in truncated_bptt(network.module, x, params, lambda y, steps: dy[steps], length)], axis=0
    )


def reach(network: Network, params: Any, x: Array, dy: Array, length: int) -> Array:
    """Return the gradient of all parameters from the terms k - t < `length` of the double sum.

    The losses of the first `length` steps need no cut.  Each later one has a pass of its own over its last `length` steps; these
    passes are rows of one batch.
    """
    module, steps = network.module, len(x)
    _, _, tape = module.forward(x[:length], params)
    total = flat(module.backward(dy[:length], tape).params)
    starts = range(1, steps - length + 1)
    if not starts:
        return total
    states = [module.infer(x[:s], params)[1] for s in starts]
    rows = module.State(*(np.concatenate(parts) for parts in zip(*states, strict=True)))
    _, _, tape = module.forward(np.concatenate([x[s : s + length] for s in starts], axis=1), params, rows)
    last = np.zeros((length, len(starts) * x.shape[1], dy.shape[2]))
    last[-1] = np.concatenate([dy[s + length - 1] for s in starts])
    return total + flat(module.backward(last, tape).params)


def error(found: Array, full: Array) -> float:
    """Return ‖found - full‖ / ‖full‖."""
    return float(np.linalg.norm(found - full) / np.linalg.norm(full))


def errors(network: Network) -> dict[str, list[float]]:
    """Return the relative errors over `LENGTHS`: with a loss at every step, by both forms, and with one at the last step only."""
    params, x, target = problem(network)
    dy = network.module.infer(x, params)[0] - target
    last = np.zeros_like(dy)
    last[-1] = dy[-1]
    full, full_last = windows(network, params, x, dy, STEPS), windows(network, params, x, last, STEPS)
    return {
        "windows": [error(windows(network, params, x, dy, length), full) for length in LENGTHS],
        "reach": [error(reach(network, params, x, dy, length), full) for length in LENGTHS],
        "last": [error(windows(network, params, x, last, length), full_last) for length in LENGTHS],
    }


def measure() -> Data:
    """Return the relative errors of truncated gradients by network and form."""
    settings = {"d": INPUTS, "n": HIDDEN, "batch": BATCH, "steps": STEPS}
    return {"settings": settings, "lengths": list(LENGTHS), "errors": {name: errors(network) for name, network in NETWORKS.items()}}


def draw(data: Data, figure: Any) -> None:
    """Draw the error over the length: losses at every step, and one at the end."""
    left, right = figure.subplots(1, 2, sharey=True)
    places = range(len(data["lengths"]) - 1)  # at the full length nothing is cut
    for name, colour in zip(NETWORKS, (BLUE, GREEN, YELLOW, RED), strict=True):
        for axes, form, dash in ((left, "windows", "-"), (left, "reach", "--"), (right, "last", "-")):
            label = LABELS[name] if form == "last" else None
            axes.plot(places, data["errors"][name][form][:-1], dash, marker="o", markersize=4, color=colour, label=label)
    left.plot([], [], "-", color=INK, label="windows")
    left.plot([], [], "--", color=INK, label="reach")
    left.set(title="a loss at every step", ylabel="relative error of the gradient")
    right.set(title="a loss at the last step only")
    for axes in (left, right):
        axes.set_xticks(places, data["lengths"][:-1])
        axes.set_xlabel(f"steps kept, of {data['settings']['steps']}")
        powers(axes.yaxis, -7.5, 0.3, 1)
        below(axes, 2)
