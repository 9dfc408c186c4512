"""Mutants of the GRU: what a search over architectures found."""

from __future__ import annotations

from ..cell import Cell

SEARCH = "Jozefowicz, Zaremba, Sutskever 2015, An Empirical Exploration of Recurrent Network Architectures, ICML, PMLR 37:2342-2350"

mut1 = Cell(
    """
    z = sigmoid(W_xz @ x + b_z)
    r = sigmoid(W_xr @ x + U_hr @ h_prev + b_r)
    h = tanh(U_hh @ (r * h_prev) + tanh(x) + b_h) * z + h_prev * (1 - z)
    """,
    name="mut1",
    output="h",
    title="MUT1, a mutant of the GRU",
    reference=SEARCH,
    description=(
        "The first of three cells that a search over mutated architectures arrived at. It resembles a GRU whose update gate z sees the "
        "input only and lets the candidate in where it is 1; the candidate takes tanh(x) without a matrix, so that the input must be as "
        "large as the state: d = n."
    ),
)

mut3 = Cell(
    """
    z = sigmoid(W_xz @ x + U_hz @ tanh(h_prev) + b_z)
    r = sigmoid(W_xr @ x + U_hr @ h_prev + b_r)
    h = tanh(U_hh @ (r * h_prev) + W_xh @ x + b_h) * z + h_prev * (1 - z)
    """,
    name="mut3",
    output="h",
    title="MUT3, a mutant of the GRU",
    reference=SEARCH,
    description=(
        "The third of three cells that a search over mutated architectures arrived at. It is the GRU with the reset before the product "
        "and an update gate that lets the candidate in where it is 1, but for one thing: that gate sees tanh(h), not h."
    ),
)

CELLS = (mut1, mut3)
