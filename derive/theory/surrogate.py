"""What stands for a spike's derivative, and a loss along a line beside what the slopes along it add up to.

A loss of spikes is constant but for jumps, so that its slope is 0 nearly everywhere.  The surrogate's slopes, added up along the line from
its left end, make the curve that descent follows in its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cell import Cell
from ..package import memory
from ..plotting import BLUE, GREEN, PINK, RED, YELLOW
from .appearance import INK, Data, below

SURROGATES = {
    "fast sigmoid": "1 / (1 + abs(v)) ** 2",
    "triangle": "maximum(0, 1 - abs(v))",
    "Gaussian": "exp(-v * v)",
    "arctangent": "1 / (1 + v * v)",
    "box": "step(v + 0.5) * step(0.5 - v)",
}
"""Slopes as texts, each 1 at the threshold."""
RESETS = {"detached": "detach(z_prev)", "whole": "z_prev"}
LABELS = {"detached": "reset detached", "whole": "with the reset"}
COLOURS = (BLUE, RED, GREEN, PINK, YELLOW)
INPUTS, NEURONS, STEPS, POINTS = 10, 5, 20, 401
OFFSET, LENGTH = 0.1, 0.1  # of the weights before the line, and of half the line in each weight


def lif(slope: str, reset: str) -> Cell:
    """Return a network of leaky integrate-and-fire neurons whose spikes have `slope` for a derivative; `reset` is one of `RESETS`."""
    return Cell(
        f"""
        u = decay * u_prev + W @ x + V @ z_prev - {reset}
        z = spike(u - 1)
        y = keep * y_prev + R @ z
        """,
        name="lif",
        output="y",
        constants={"decay": 0.9, "keep": 0.9},
        shapes={"y": "k"},
        functions={"spike(v)": ("step(v)", slope)},
    )


def slopes(places: Any) -> dict[str, list[float]]:
    """Return the surrogates at some distances from the threshold, by the text itself."""
    cells = {name: Cell(f"y = {text}", name="slope", output="y", inputs=("v",)) for name, text in SURROGATES.items()}
    return {name: cell.evaluate({"v": places}, np)["y"].tolist() for name, cell in cells.items()}


def line(slope: str, reset: str) -> dict[str, list[float]]:
    """Return a loss along a line in the input weights, and its slope as the kernels have it; neurons do not see one another."""
    module, random = memory.compile(lif(slope, reset)), np.random.default_rng(0)
    start = module.init(d=INPUTS, n=NEURONS, k=1, seed=0, dtype=np.float64)
    x = (random.random((STEPS, 1, INPUTS)) < 0.3).astype(np.float64)
    target = 0.5 * np.sin(np.arange(STEPS) / 6)[:, None, None]
    along = LENGTH * random.standard_normal(start.W.shape)
    losses, found = [], []
    for place in places():
        y, _, tape = module.forward(x, start._replace(W=start.W + OFFSET + place * along, V=0 * start.V))
        losses.append(float(np.sum((y - target) ** 2)) / (2 * STEPS))
        found.append(float(np.sum(module.backward((y - target) / STEPS, tape).params.W * along)))
    return {"loss": losses, "slope": found}


def places() -> Any:
    """Return where the loss is computed along the line."""
    return np.linspace(-1, 1, POINTS)


def measure() -> Data:
    """Return the surrogates over the distance to the threshold, and the loss along a line with one of them."""
    distances = np.linspace(-2, 2, 161)
    return {
        "distances": distances.tolist(),
        "surrogates": slopes(distances),
        "places": places().tolist(),
        "line": {name: line(SURROGATES["triangle"], reset) for name, reset in RESETS.items()},
    }


def draw(data: Data, figure: Any) -> None:
    """Draw the surrogates beside the spike, and the loss beside what its surrogate slopes add up to."""
    left, right = figure.subplots(1, 2)
    left.step([-2, 0, 2], [0, 0, 1], where="pre", color=INK, linewidth=1.2, label="the spike")
    for name, colour in zip(SURROGATES, COLOURS, strict=True):
        left.plot(data["distances"], data["surrogates"][name], color=colour, label=name)
    left.set(title="for the derivative of a spike", xlabel="distance to the threshold, u − θ", xlim=(-2, 2), ylim=(-0.03, 1.08))
    below(left, 3)
    right.plot(data["places"], data["line"]["detached"]["loss"], color=INK, linewidth=1.2, label="the loss")
    for (name, label), colour in zip(LABELS.items(), (RED, BLUE), strict=True):
        right.plot(data["places"], added(data, name), color=colour, label=f"surrogate slopes added up, {label}")
    right.set(title="along a line in the weights", xlabel="place on the line", xlim=(-1, 1))
    below(right, 1)


def added(data: Data, reset: str) -> Any:
    """Return the integral of the slopes along the line, from the loss at its left end, by the trapezoidal rule."""
    slope, at = np.array(data["line"][reset]["slope"]), np.array(data["places"])
    return data["line"][reset]["loss"][0] + np.concatenate([[0], np.cumsum((slope[1:] + slope[:-1]) / 2 * np.diff(at))])
