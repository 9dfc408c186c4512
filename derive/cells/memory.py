"""Fixed memories: the Legendre memory unit, whose matrices are not trained."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ..cell import Cell

ORDER, WINDOW = 6, 32
NEGLIGIBLE = Fraction(1, 10**25)


def legendre(order: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrix Ā and the vector B̄ of a memory of `order` Legendre polynomials over a window of `window` steps.

    The delay system is θ ṁ = A m + B u with A_ij = (2i + 1) (-1 if i < j else (-1)^(i - j + 1)) and B_i = (2i + 1) (-1)^i, indices
    from 0 (Voelker, Kajić, Eliasmith 2019).  It is discretized by zero-order hold, u being constant within a step:
    exp([[A, B], [0, 0]] / θ) = [[Ā, B̄], [0, 1]].  The series is summed in fractions, so that all machines find the same numbers.
    """
    system = np.full((order + 1, order + 1), Fraction(0))
    for i in range(order):
        system[i, :order] = [Fraction((2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1)), window) for j in range(order)]
        system[i, order] = Fraction((2 * i + 1) * (-1) ** i, window)
    total, term, power = np.full_like(system, Fraction(0)), np.diag([Fraction(1)] * (order + 1)) * Fraction(1), 0
    while max(abs(value) for value in term.flat) > NEGLIGIBLE:
        power += 1
        total, term = total + term, term @ system / power
    exponential = total.astype(np.float64)
    return exponential[:order, :order], exponential[:order, order]


A_BAR, B_BAR = legendre(ORDER, WINDOW)

lmu = Cell(
    """
    u = e_x @ x + e_h @ h_prev + e_m @ m_prev
    m = Ab @ m_prev + Bb * u
    h = tanh(W_x @ x + W_h @ h_prev + W_m @ m)
    """,
    name="lmu",
    output="h",
    shapes={"e_x": "d", "e_h": "n", "e_m": str(ORDER)},
    title="Legendre memory unit",
    reference="Voelker, Kajić, Eliasmith 2019, Legendre Memory Units: Continuous-Time Representation in Recurrent Neural Networks, NeurIPS",
    description=(
        f"One number a step, u, is written to a linear memory m of {ORDER} numbers: the coefficients, in Legendre polynomials, of what u "
        f"has been over the last {WINDOW} steps. Its matrix A and its vector B are fixed, being those of the delay system, discretized by "
        "zero-order hold (the paper writes Ā and B̄); what is learnt is what to write, and the nonlinear state h that reads the memory. The "
        "letters are the paper's: e and W, with the name of what each multiplies."
    ),
    constants={"Ab": A_BAR, "Bb": B_BAR},
    latex={"Ab": "A", "Bb": "B"},
)

CELLS = (lmu,)
