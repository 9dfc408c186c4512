"""Layer normalization: a composition of means and elementwise functions like any other."""

from __future__ import annotations

from ..cell import Cell
from .lstm import OPEN_FORGET_GATE

ORIGIN = "Ba, Kiros, Hinton 2016, Layer Normalization, arXiv:1607.06450"

lstm_layernorm = Cell(
    """
    a_i, a_f, a_g, a_o = split(s_x * layer_norm(W @ x) + s_h * layer_norm(U @ h_prev), 4)
    i = sigmoid(a_i + b_i)
    f = sigmoid(a_f + b_f)
    g = tanh(a_g + b_g)
    o = sigmoid(a_o + b_o)
    c = f * c_prev + i * g
    k = tanh(s_c * layer_norm(c) + b_c)
    h = o * k
    """,
    name="lstm_layernorm",
    output="h",
    title="Long short-term memory with layer normalization",
    reference=ORIGIN,
    description=(
        "The LSTM with three normalizations: of the input's and of the state's contribution to all gates together, 4n numbers each, and "
        "of the memory before it is shown. Each brings a vector to mean 0 and variance 1 over its features, within one sequence and "
        "step, and has a gain s of its own; shifts of the first two would only add to the gates' biases. The memory itself is not "
        "normalized, so that its gradient still passes through f alone along one path."
    ),
    init={**OPEN_FORGET_GATE, **dict.fromkeys(["s_x", "s_h", "s_c"], 1.0), **dict.fromkeys(["b_i", "b_g", "b_o", "b_c"], 0.0)},
)

gru_layernorm = Cell(
    """
    a_r, a_z = split(s_x * layer_norm(W @ x) + s_h * layer_norm(U @ h_prev), 2)
    r = sigmoid(a_r + b_r)
    z = sigmoid(a_z + b_z)
    g = tanh(s_in * layer_norm(W_n @ x) + b_in + r * (s_hn * layer_norm(U_n @ h_prev) + b_hn))
    h = (1 - z) * g + z * h_prev
    """,
    name="gru_layernorm",
    output="h",
    title="Gated recurrent unit with layer normalization",
    reference=f"{ORIGIN}; the reset after the product and the update gate as in torch.nn.GRU",
    description=(
        "The GRU with every product normalized to mean 0 and variance 1 over its features and scaled by a gain s: those of both gates "
        "together, 2n numbers, those of the candidate h̃ by themselves. The reset gate acts on the normalized product, so the candidate "
        "keeps its two biases. The update gate z keeps the old state where it is 1."
    ),
    init={**dict.fromkeys(["s_x", "s_h", "s_in", "s_hn"], 1.0), **dict.fromkeys(["b_r", "b_z", "b_in", "b_hn"], 0.0)},
    latex={"g": r"\tilde h"},
)

CELLS = (lstm_layernorm, gru_layernorm)
