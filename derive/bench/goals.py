"""When a row is good enough: no peer is faster, or nobody could be much faster; of second order, by how much we are to be faster."""

from __future__ import annotations

from collections.abc import Mapping

from .phases import HVP, INFERENCE, KEPT, MEMORY, PENALTY, TANGENT, TRAINING

RATIO = 1.0  # of a peer's time, or memory, to ours
SHARES: Mapping[tuple[str, str], float] = {
    ("lstm", INFERENCE): 0.85,
    ("lstm", TRAINING): 0.82,
    ("gru", INFERENCE): 0.85,
    ("gru", TRAINING): 0.82,
    ("rnn", INFERENCE): 0.80,
    ("rnn", TRAINING): 0.80,
}
"""The share of the peak, by cell and phase, from which on a row counts as at the peak: a ratio says nothing there."""

FIRST_ORDER = "first order"  # our own, beside which second order costs no more than so many times as much
ANY = ""
RATIOS: Mapping[tuple[str, str, str], float] = {
    ("lstm", PENALTY, "torch.nn"): 4.0,
    ("gru", PENALTY, "torch.nn"): 3.5,
    ("rnn", PENALTY, "torch.nn"): 2.0,
    (ANY, TANGENT, "eager"): 5.0,
    (ANY, TANGENT, "compile"): 5.0,
    (ANY, TANGENT, "jax"): 1.5,
    (ANY, HVP, FIRST_ORDER): 1 / 4,
    (ANY, KEPT, FIRST_ORDER): 1 / 1.07,
    (ANY, MEMORY, "torch.nn"): 2.0,
}
"""The ratio that is wanted, by cell, phase and peer, where it is not `RATIO`."""


def at_peak(cell: str, phase: str, share: float) -> bool:
    """Say whether a share of the peak is as good as all of it."""
    return share >= SHARES.get((cell, phase), float("inf"))


def wanted(cell: str, phase: str, peer: str) -> float | None:
    """Return the ratio that is wanted of second order; None where there is no goal of its own."""
    return RATIOS.get((cell, phase, peer), RATIOS.get((ANY, phase, peer)))
