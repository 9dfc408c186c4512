"""The learning curves as a picture."""

from __future__ import annotations

from pathlib import Path

from .train import Epoch


def save(path: Path, curves: dict[str, list[Epoch]]) -> None:
    """Write training (dashed) and validation (solid) loss over the epochs; the format follows from the suffix of `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")  # no pyplot: no display and no global state
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (name, epochs) in enumerate(curves.items()):
        numbers = range(1, len(epochs) + 1)
        axes.plot(numbers, [e.train for e in epochs], "--", color=f"C{i}", label=f"{name}, training")
        axes.plot(numbers, [e.validation for e in epochs], "-", color=f"C{i}", label=f"{name}, validation")
    losses = sorted(loss for epochs in curves.values() for e in epochs for loss in e)
    axes.set_ylim(losses[0] - 0.2, losses[len(losses) // 2] + 2)  # the first epochs fall from far above
    axes.set_xlabel("epoch")
    axes.set_ylabel("nats a step")
    axes.set_title("Bach chorales, next step")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
