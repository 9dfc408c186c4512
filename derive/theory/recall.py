"""Spiking neurons learn to store and recall, as `derive demo --spikes` has it, by three gradients and from several seeds."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..demo.spikes import NEURONS, WAYS, Settings, compiled, fit
from ..plotting import BLUE, GREEN, RED
from .appearance import INK, Data, below

SEEDS = range(5)  # of initial parameters and of all sequences
COLOURS = dict(zip(WAYS, (BLUE, GREEN, RED), strict=True))
MEAN = 10  # updates


def measure() -> Data:
    """Return losses over the updates and shares of wrong answers; training is in float32, and its path that of one processor."""
    modules = compiled()
    runs: Data = {}
    for neurons in NEURONS:
        for way in WAYS:
            results = [fit(modules[neurons, way], Settings(seed=seed)) for seed in SEEDS]
            means = [np.reshape(result.losses, (-1, MEAN)).mean(axis=1).tolist() for result in results]
            runs.setdefault(neurons, {})[way] = {"losses": means, "wrong": [result.wrong for result in results]}
    return {"settings": Settings()._asdict(), "runs": runs}


def draw(data: Data, figure: Any) -> None:
    """Draw the loss over the updates, a line for each seed."""
    count = data["settings"]["updates"] // MEAN
    updates = MEAN * (np.arange(count) + 0.5)
    titles = {"LIF": "leaky integrate-and-fire", "adaptive": "adaptive thresholds"}
    for axes, (neurons, title) in zip(figure.subplots(1, 2, sharey=True), titles.items(), strict=True):
        axes.axhline(np.log(2), color=INK, linewidth=1, linestyle="--", label="a guess, ln 2")
        for way, colour in COLOURS.items():
            for number, losses in enumerate(data["runs"][neurons][way]["losses"]):
                axes.plot(updates, losses, color=colour, linewidth=1, label="_" if number else way)
        axes.set(title=title, xlabel="update", xlim=(0, data["settings"]["updates"]), ylim=(0, 0.9))
        below(axes, 2)
    figure.axes[0].set_ylabel("nats a step of the recall")
