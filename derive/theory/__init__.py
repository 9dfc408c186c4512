"""The experiments behind the theory pages: each is measured once, kept as data, and drawn from the data when the site is built.

`measure` writes `docs/data/theory/NAME.json`; the tests recompute what is in there.  `draw` needs the data and Matplotlib only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import abridged, associative, chorales, curvature, eigenvalues, norms, penalty, recall, surrogate, time_constants, truncation
from .appearance import Data, Draw, svg
from .diagrams import UNROLLED
from .stages import STAGES

DATA = Path(__file__).parents[2] / "docs" / "data" / "theory"  # of a checkout
DIAGRAMS = {**UNROLLED, **STAGES}  # need no data
DIGITS = 6  # significant, of every number that is kept


@dataclass(frozen=True)
class Experiment:
    """What is measured and how it is drawn.

    Attributes
    ----------
    measure : function
        Returns the data: numbers, strings, lists and dicts, the same at every call.
    draw : function
        ``draw(data, figure)`` fills a Matplotlib figure.
    size : tuple of float
        Width and height of the figure in inches.
    """

    measure: Callable[[], Data]
    draw: Draw
    size: tuple[float, float]


EXPERIMENTS: dict[str, Experiment] = {
    "linear": Experiment(eigenvalues.measure, eigenvalues.draw, (7.6, 4.0)),
    "norms": Experiment(norms.measure, norms.draw, (7.6, 4.8)),
    "curvature": Experiment(curvature.measure, curvature.draw, (7.6, 7.0)),
    "truncation": Experiment(truncation.measure, truncation.draw, (7.6, 4.2)),
    "penalty": Experiment(penalty.measure, penalty.draw, (7.6, 4.2)),
    "abridged": Experiment(abridged.measure, abridged.draw, (7.6, 4.2)),
    "constants": Experiment(time_constants.measure, time_constants.draw, (7.6, 4.2)),
    "surrogate": Experiment(surrogate.measure, surrogate.draw, (7.6, 4.2)),
    "recall": Experiment(recall.measure, recall.draw, (7.6, 4.2)),
    "associative": Experiment(associative.measure, associative.draw, (7.6, 4.2)),
    "chorales": Experiment(chorales.measure, chorales.draw, (7.6, 4.0)),
}


def measure(folder: Path, names: Iterable[str] | None = None) -> None:
    """Measure experiments, all by default, and write each one's data to ``folder/NAME.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in EXPERIMENTS if names is None else names:
        text = json.dumps(rounded(EXPERIMENTS[name].measure()), sort_keys=True, indent=1, allow_nan=False)
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8", newline="\n")


def draw(data: Path, out: Path) -> None:
    """Write a picture, ``out/NAME.svg``, of every experiment in the folder `data`, and the diagrams, which need no data."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = {name: svg(experiment.draw, read(name, data), experiment.size) for name, experiment in EXPERIMENTS.items()}
    for name, picture in {**pictures, **{name: diagram() for name, diagram in DIAGRAMS.items()}}.items():
        (out / f"{name}.svg").write_text(picture, encoding="utf-8", newline="\n")


def read(name: str, folder: Path = DATA) -> Data:
    """Return the data of an experiment, as it was measured."""
    data: Data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return data


def rounded(value: Any) -> Any:
    """Return `value` with every float in it to `DIGITS` significant digits."""
    if isinstance(value, dict):
        return {key: rounded(child) for key, child in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(child) for child in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.{DIGITS}g}")
    return value
