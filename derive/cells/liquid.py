"""Liquid time constants: synapses that change how fast a neuron forgets."""

from __future__ import annotations

from ..cell import Cell

ltc = Cell(
    """
    a = abs(w_s) * sigmoid(g_s * (outer(1, x * w_x + b_x) - m_s))
    c = 6 * abs(cm)
    v = v_prev
    for j in range(6):
        A = abs(w) * sigmoid(g * (outer(1, v) - mu))
        v = (c * v + abs(gl) * vl + sum(A * E, 1) + sum(a * E_s, 1)) / (c + abs(gl) + sum(A, 1) + sum(a, 1) + 1e-8)
    y = v * w_y + b_y
    """,
    name="ltc",
    output="y",
    title="Liquid time-constant network",
    reference="Hasani, Lechner, Amini, Rus, Grosu 2021, Liquid Time-constant Networks, AAAI, arXiv:2006.04439",
    description=(
        "Neurons as leaky capacitors: each synapse opens with the potential of the neuron before it, and drives the one behind it towards "
        "its reversal potential E. The conductances are in the denominator, so the inputs decide how fast a neuron forgets. A step of "
        "the sequence is six implicit Euler steps, each with a matrix of open synapses, of which only sums are kept. Capacitances and "
        "conductances are positive, whatever sign a step of training gives them."
    ),
    init={
        "w": 0.5,
        "w_s": 0.5,
        "g": 5.0,
        "g_s": 5.0,
        "mu": 0.5,
        "m_s": 0.5,
        "cm": 0.5,
        "gl": 0.5,
        "vl": 0.0,
        "w_x": 1.0,
        "b_x": 0.0,
        "w_y": 1.0,
    }
    | {"b_y": 0.0},
    shapes={"w_s": "n, d", "g_s": "n, d", "m_s": "n, d", "E_s": "n, d", "w": "n, n", "g": "n, n", "mu": "n, n", "E": "n, n"},
    latex={"mu": r"\mu", "g_s": r"\gamma_s", "g": r"\gamma", "m_s": r"\mu_s", "cm": "C", "gl": r"g_\ell", "vl": r"v_\ell"},
)

CELLS = (ltc,)
