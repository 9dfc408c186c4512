"""For small devices: a residual connection with two scalar weights."""

from __future__ import annotations

from ..cell import Cell

ORIGIN = (
    "Kusupati, Singh, Bhatia, Kumar, Jain, Varma 2018, FastGRNN: A Fast, Accurate, Stable and Tiny Kilobyte Sized Gated Recurrent Neural "
    "Network, NeurIPS, arXiv:1901.02358"
)

fastrnn = Cell(
    """
    g = tanh(W @ x + U @ h_prev + b)
    h = sigmoid(alpha) * g + sigmoid(beta) * h_prev
    """,
    name="fastrnn",
    output="h",
    shapes={"alpha": "", "beta": ""},
    title="FastRNN: a residual connection with two scalars",
    reference=ORIGIN,
    description=(
        "The simple recurrent network with a weighted residual connection: two numbers for the whole layer say how much of the new "
        "value h̃ comes in and how much of the old state stays. They start at σ(-3) = 0.05 and σ(3) = 0.95, so that at first the state "
        "changes slowly and its gradient survives for more steps."
    ),
    init={"alpha": -3.0, "beta": 3.0, "b": 1.0},
    latex={"g": r"\tilde h"},
)

fastgrnn = Cell(
    """
    pre = W @ x + U @ h_prev
    z = sigmoid(pre + b_z)
    g = tanh(pre + b_h)
    h = (sigmoid(zeta) * (1 - z) + sigmoid(nu)) * g + z * h_prev
    """,
    name="fastgrnn",
    output="h",
    shapes={"zeta": "", "nu": ""},
    title="FastGRNN: gate and candidate from the same product",
    reference=ORIGIN,
    description=(
        "The residual weights of FastRNN made a gate: z keeps the old state, and ζ(1 - z) + ν lets the candidate h̃ in. Gate and candidate "
        "share W and U and differ in bias and nonlinearity alone, which halves the parameters; the gradients of both add in the shared "
        "matrices."
    ),
    init={"zeta": 1.0, "nu": -4.0},
    latex={"pre": "a", "g": r"\tilde h"},
)

CELLS = (fastrnn, fastgrnn)
