"""Cells that several tests share, written out apart from the library: what is tested must not move with it."""

from __future__ import annotations

from derive.cell import Cell

LSTM = Cell(
    """
    i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
    g = tanh(W_g @ x + U_g @ h_prev + b_g)
    o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
    """,
    name="lstm",
    output="h",
)
GRU = Cell(
    """
    r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    g = tanh(W_n @ x + b_in + r * (U_n @ h_prev + b_hn))
    h = (1 - z) * g + z * h_prev
    """,
    name="gru",
    output="h",
)
GRU_V3 = Cell(
    """
    r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    g = tanh(W @ x + U @ (r * h_prev) + b)
    h = (1 - z) * g + z * h_prev
    """,
    name="gru_v3",
    output="h",
)
LAYER_NORM = Cell("h = tanh(gamma * layer_norm(W @ x + U @ h_prev) + beta)", name="layer_norm_rnn", output="h")
SLSTM = Cell(
    """
    z = tanh(W_z @ x + R_z @ h_prev + b_z)
    a = W_i @ x + R_i @ h_prev + b_i
    l = logsigmoid(W_f @ x + R_f @ h_prev + b_f)
    o = sigmoid(W_o @ x + R_o @ h_prev + b_o)
    m = maximum(l + m_prev, a)
    i = exp(a - m)
    f = exp(l + m_prev - m)
    c = f * c_prev + i * z
    v = f * v_prev + i
    h = o * c / (v + 1)
    """,
    name="slstm",
    output="h",
)
