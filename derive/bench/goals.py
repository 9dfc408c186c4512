"""When a row is good enough: no peer is faster, or nobody could be much faster; or we are faster by as much as is asked of its phase."""

from __future__ import annotations

from collections.abc import Mapping

from .phases import BOTH, DOUBLE, GRAD, HVP, INFERENCE, KEPT, MEMORY, NO_GRAD, PACKED, PENALTY, STEP, TANGENT, TRAINING

RATIO = 1.0  # of a peer's time, or memory, to ours
SHARES: Mapping[tuple[str, str], float] = {
    ("lstm", INFERENCE): 0.85,
    ("lstm", TRAINING): 0.82,
    ("gru", INFERENCE): 0.85,
    ("gru", TRAINING): 0.82,
    ("rnn", INFERENCE): 0.80,
    ("rnn", TRAINING): 0.80,
    ("gru", STEP): 0.80,
    ("rnn", STEP): 0.80,
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
    ("lstm", STEP, "torch.nn"): 1.03,
    ("gru", STEP, "torch.nn"): 2.2,
    ("rnn", STEP, "torch.nn"): 2.0,
    (ANY, PACKED, "torch.nn"): 1.5,
    ("lstm", NO_GRAD, "torch.nn"): 1.0,
    ("lstm", GRAD, "torch.nn"): 1.0,
    ("lstm", BOTH, "torch.nn"): 1.2,
    ("lstm", DOUBLE, "torch.nn"): 4.0,
    ("gru", DOUBLE, "torch.nn"): 3.5,
    ("rnn", DOUBLE, "torch.nn"): 2.0,
}
"""The ratio that is wanted at every size, by cell, phase and peer, where it is not just `RATIO`."""

MEANS: Mapping[tuple[str, str, str], float] = {("lstm", STEP, "torch.nn"): 1.15}
"""The geometric mean of the ratios at all sizes that is wanted besides, by cell, phase and peer."""


def at_peak(cell: str, phase: str, share: float) -> bool:
    """Say whether a share of the peak is as good as all of it."""
    return share >= SHARES.get((cell, phase), float("inf"))


def wanted(cell: str, phase: str, peer: str) -> float | None:
    """Return the ratio that is wanted; None where there is no goal of its own."""
    return RATIOS.get((cell, phase, peer), RATIOS.get((ANY, phase, peer)))
