"""Cells that are told the time: when a step is, or how long a value has been missing."""

from __future__ import annotations

from ..cell import Cell

phased_lstm = Cell(
    """
    i = sigmoid(W_i @ x + U_i @ h_prev + w_i * c_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ h_prev + w_f * c_prev + b_f)
    cn = f * c_prev + i * tanh(W_c @ x + U_c @ h_prev + b_c)
    o = sigmoid(W_o @ x + U_o @ h_prev + w_o * cn + b_o)
    p = (t + shift) / period - floor((t + shift) / period)
    k = where(p <= ron / 2, 2 * p / ron, where(p <= ron, 2 * (ron - p) / ron, leak * p))
    c = k * cn + (1 - k) * c_prev
    h = k * o * tanh(cn) + (1 - k) * h_prev
    """,
    name="phased_lstm",
    output="h",
    title="Phased LSTM",
    reference="Neil, Pfeiffer, Liu 2016, Phased LSTM: Accelerating Recurrent Network Training for Long or Event-based Sequences, NeurIPS, "
    "arXiv:1610.09513",
    description=(
        "An LSTM with peepholes whose units are open for a part of a rhythm of their own: the phase p of the time t runs from 0 to 1 in "
        "each period, and the gate k rises and falls in the first part of it, and leaks in the rest. While a gate is closed the states, "
        "and their cotangents, pass by almost unchanged. Period, shift and ratio are learned through the phase, whose jumps have no "
        "derivative."
    ),
    inputs=("x", "t"),
    constants={"leak": 0.001},
    init={"b_f": 1.0, "period": 10.0, "shift": 0.0, "ron": 0.1},
    shapes={"t": "", "shift": "n", "period": "n", "ron": "n"},
    latex={"period": r"\tau", "shift": "s", "ron": r"r_{on}", "leak": r"\alpha", "cn": r"\tilde{c}"},
)

gru_d = Cell(
    """
    gx = exp(-relu(w_gx * e + b_gx))
    gh = exp(-relu(W_gh @ e + b_gh))
    last = m * x + (1 - m) * last_prev
    xh = m * x + (1 - m) * gx * last_prev
    hd = gh * h_prev
    z = sigmoid(W_z @ xh + U_z @ hd + V_z @ (1 - m) + b_z)
    r = sigmoid(W_r @ xh + U_r @ hd + V_r @ (1 - m) + b_r)
    h = z * h_prev + (1 - z) * tanh(W_h @ xh + U_h @ (r * hd) + V_h @ (1 - m) + b_h)
    """,
    name="gru_d",
    output="h",
    title="GRU with decay for missing values",
    reference="Che, Purushotham, Cho, Sontag, Liu 2018, Recurrent Neural Networks for Multivariate Time Series with Missing Values, "
    "Scientific Reports 8:6085, arXiv:1606.01865",
    description=(
        "The mask m tells which features were measured, and e how long ago each was. A feature that is missing is its last value, decaying "
        "to the mean, which is zero here; the state decays too, by rates that are learned. The gates see what is missing as 1 - m. The "
        "last line keeps the state before it decayed, as the authors' code does."
    ),
    inputs=("x", "m", "e"),
    fixed=("m", "e"),
    shapes={"x": "d", "m": "d", "e": "d", "w_gx": "d", "b_gx": "d", "last": "d"},
    latex={"gx": r"\gamma^{x}", "gh": r"\gamma^{h}", "last": "x'", "xh": r"\hat{x}", "hd": r"\hat{h}", "e": r"\delta"},
)

CELLS = (phased_lstm, gru_d)
