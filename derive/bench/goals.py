"""When a row is good enough: no peer is faster, or nobody could be much faster."""

from __future__ import annotations

from collections.abc import Mapping

from .phases import INFERENCE, TRAINING

RATIO = 1.0  # of a peer's time to ours
SHARES: Mapping[tuple[str, str], float] = {
    ("lstm", INFERENCE): 0.85,
    ("lstm", TRAINING): 0.82,
    ("gru", INFERENCE): 0.85,
    ("gru", TRAINING): 0.82,
    ("rnn", INFERENCE): 0.80,
    ("rnn", TRAINING): 0.80,
}
"""The share of the peak, by cell and phase, from which on a row counts as at the peak: a ratio says nothing there."""


def at_peak(cell: str, phase: str, share: float) -> bool:
    """Say whether a share of the peak is as good as all of it."""
    return share >= SHARES.get((cell, phase), float("inf"))
