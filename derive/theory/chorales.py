"""The learning curves of a tanh RNN, a GRU and an LSTM of equal size on Bach's chorales: those of `derive demo`.

(The comparison of Chung, Gulcehre, Cho and Bengio 2014, arXiv:1412.3555.)
"""

from __future__ import annotations

import importlib
from typing import Any

from ..demo.comparison import CELLS, SPLIT_SEED
from ..demo.data import chorales, split
from ..demo.train import Result, Settings, fit
from ..plotting import BLUE, GREEN, RED
from .appearance import Data

COLOURS = {"tanh RNN": BLUE, "GRU": GREEN, "LSTM": RED}
SEEDS = range(5)  # of initial parameters and the order of batches; the curves are those of the first


def measure() -> Data:
    """Train as `derive demo` does, with its default settings but several seeds; return sizes, losses and curves by cell.

    Needs the extra `demo`, to read the chorales from music21's corpus.  Training is in float32; it repeats to the last bit on one machine,
    but another processor's arithmetic is another path of two hundred epochs.
    """
    data = split(chorales(), SPLIT_SEED)
    results = {}
    for title, name in CELLS.items():
        module = importlib.import_module(f"generated.{name}")
        results[title] = _summary([fit(module, data, Settings(seed=seed)) for seed in SEEDS])
    return {"pieces": dict(zip(data._fields, map(len, data), strict=True)), "settings": Settings()._asdict(), "results": results}


def _summary(runs: list[Result]) -> Data:
    first = runs[0]
    curves = {part: [float(getattr(epoch, part)) for epoch in first.epochs] for part in ("train", "validation")}
    losses = {name: [getattr(run, name) for run in runs] for name in ("best_epoch", "train_end", "train", "validation", "test")}
    return {"n": first.n, "parameters": first.parameters, "curves": curves, **losses}


def draw(data: Data, figure: Any) -> None:
    """Draw training loss (dashed) and validation loss (solid) over the epochs."""
    axes = figure.subplots()
    for title, result in sorted(data["results"].items(), key=lambda item: list(COLOURS).index(item[0])):
        curves, colour = result["curves"], COLOURS[title]
        epochs = range(1, len(curves["train"]) + 1)
        axes.plot(epochs, curves["validation"], color=colour, label=f"{title}, validation")
        axes.plot(epochs, curves["train"], "--", color=colour, linewidth=1.2, label=f"{title}, training")
        best = result["best_epoch"][0]
        axes.plot([best], [curves["validation"][best - 1]], "o", color=colour, markersize=6)
    axes.set(xlabel="epoch", ylabel="nats a step", xscale="log", xlim=(1, len(epochs)), ylim=(7, 13))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100, 200])
    axes.set_xticks([], minor=True)
    axes.legend(ncols=3, loc="upper right")
