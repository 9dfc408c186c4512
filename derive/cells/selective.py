"""Selective state spaces: a diagonal recurrence with as many numbers for each unit as one likes, whose step size is from the input."""

from __future__ import annotations

from ..cell import Cell

mamba = Cell(
    """
    e = W_e @ x
    e1 = e_prev
    e2 = e1_prev
    e3 = e2_prev
    u = silu(w_0 * e3 + w_1 * e2 + w_2 * e1 + w_3 * e + b_c)
    dt = softplus(W_t @ (W_r @ u) + b_t)
    h = exp(-outer(dt, 1) * exp(A_log)) * h_prev + outer(dt * u, W_B @ u)
    y = W_o @ ((h @ (W_C @ u) + D * u) * silu(W_z @ x))
    """,
    name="mamba",
    output="y",
    title="Mamba: a selective state space",
    reference="Gu, Dao 2024, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, COLM, arXiv:2312.00752",
    description=(
        "Each unit has m numbers of memory, a row of h, which decay at rates of their own. The length of a step, Δ, is computed from the "
        "input for each unit: a step of length 0 keeps the memory as it is, a long one clears it and takes the input in. Where the input "
        "is written and what is read, B u and C u, are computed from the input too. Before all that there is a convolution over four "
        "steps, whose older inputs are states here."
    ),
    init={"b_t": -4.6, "D": 1.0, "A_log": 0.0},
    shapes={"A_log": "n, m", "W_e": "n, d", "W_t": "n, r", "W_r": "r, n", "W_B": "m, n", "W_C": "m, n", "W_o": "d, n"},
    latex={"dt": r"\Delta", "A_log": "A", **{f"e{k}": f"e^{{(-{k})}}" for k in (1, 2, 3)}},
)

CELLS = (mamba,)
