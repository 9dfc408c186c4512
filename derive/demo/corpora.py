"""What the demo learns: the chorales of music21's corpus, or the published data set, and what is said beside its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from . import comparison, published
from .data import Split
from .train import Settings


class Corpus(NamedTuple):
    """Pieces, and how they are learned."""

    read: Callable[[], Split]
    settings: Settings
    cells: Mapping[str, str]
    """As printed: the generated module."""
    published: Mapping[str, float]
    """Nats a step of the test set, as printed."""
    note: str


CELLS = {"tanh RNN": "rnn", "GRU": "gru", "GRU, v3": "gru_v3", "LSTM": "lstm"}  # v3 is the form of the paper
FIGURES = {"tanh RNN, published": 9.10, "GRU, published": 8.54, "LSTM, published": 8.67}
SETTINGS = Settings(batch_size=8, epochs=600, learning_rate=1e-3)  # by the validation losses of a few
NOTE = f"{comparison.MEANING}\nPublished: Chung et al. 2014, arXiv:1412.3555, table 2, JSB Chorales, the same split."


def corpus(path: Path | None) -> Corpus:
    """Return the published data set of a file, or without one the corpus of music21; ValueError if the file cannot be used."""
    if path is None:
        return Corpus(comparison.read, Settings(), comparison.CELLS, comparison.FIGURES, comparison.NOTE)
    data = published.read(path)
    return Corpus(lambda: comparison.told(data), SETTINGS, CELLS, FIGURES, NOTE)
