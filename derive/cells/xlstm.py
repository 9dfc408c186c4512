"""LSTMs of heads: a matrix memory, and recurrent weights that are blocks."""

from __future__ import annotations

from ..cell import Cell
from .attention import KEYS

mlstm = Cell(
    """
    q = W_q @ x + b_q
    k = (W_k @ x + b_k) / sqrt(len(q))
    v = W_v @ x + b_v
    i = w_i @ x + b_i
    f = logsigmoid(w_f @ x + b_f)
    m = maximum(f + m_prev, i)
    fs = exp(f + m_prev - m)
    is_ = exp(i - m)
    C = fs * C_prev + is_ * outer(v, k)
    n = fs * n_prev + is_ * k
    h = sigmoid(W_o @ x + b_o) * (C @ q) / (maximum(abs(n @ q), exp(-m)) + eps)
    """,
    name="mlstm",
    output="h",
    title="mLSTM: a matrix memory with exponential gates",
    reference="Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, Hochreiter 2024, xLSTM: Extended Long Short-Term "
    "Memory, NeurIPS, arXiv:2405.04517",
    description=(
        "The LSTM's memory is a matrix that is written by values and keys and read by queries; its gates are numbers of each head that see "
        "the input alone, so that nothing recurrent is multiplied by weights. As in the sLSTM the input gate is an exponential, m keeps it "
        "from overflowing, and n, the sum of the keys with their gates, is what the output is divided by."
    ),
    constants={"eps": 1e-6},
    heads="H",
    init={"b_f": 3.0, "b_i": -10.0, "m": -1e30},  # no gate seen yet: the first one sets the stabilizer
    shapes={**KEYS, "W_o": "d_v, d", "w_i": "d", "w_f": "d", "b_i": "", "b_f": "", "m": ""},
    latex={"i": r"\tilde i", "f": r"\ell", "is_": "i'", "fs": "f'", "eps": r"\epsilon"},
)

slstm_heads = Cell(
    """
    i = W_i @ x + R_i @ h_prev + b_i
    f = logsigmoid(W_f @ x + R_f @ h_prev + b_f)
    m = maximum(i, f + m_prev)
    fs = exp(f + m_prev - m)
    is_ = exp(i - m)
    c = fs * c_prev + is_ * tanh(W_z @ x + R_z @ h_prev + b_z)
    n = fs * n_prev + is_
    h = sigmoid(W_o @ x + R_o @ h_prev + b_o) * c / n
    """,
    name="slstm_heads",
    output="h",
    title="sLSTM of heads: recurrent weights in blocks",
    reference=mlstm.reference,
    description=(
        "The sLSTM as it was published: its recurrent matrices have a block for each head and nothing between heads, which mix within a "
        "layer only through what follows it. H blocks of n rows have H times fewer weights than one matrix of H n rows."
    ),
    heads="H",
    init={"b_f": 3.0, "m": -1e30},
    latex={"i": r"\tilde i", "f": r"\ell", "is_": "i'", "fs": "f'"},
)

flash_lstm = Cell(
    """
    u = part(x)
    i = sigmoid(W_i @ u + R_i @ h_prev + b_i)
    f = sigmoid(W_f @ u + R_f @ h_prev + b_f)
    o = sigmoid(W_o @ u + R_o @ h_prev + b_o)
    c = f * c_prev + i * tanh(W_z @ u + R_z @ h_prev + b_z)
    h = o * tanh(c)
    """,
    name="flash_lstm",
    output="h",
    title="LSTM of heads, as FlashRNN has it",
    reference="Pöppel, Beck, Hochreiter 2024, FlashRNN: I/O-Aware Optimization of Traditional RNNs on Modern Hardware, ICLR, "
    "arXiv:2412.07752",
    description=(
        "The LSTM with recurrent matrices, and matrices of the input, that are blocks: each head reads its part of the input and of the "
        "state. It is as many small LSTMs side by side."
    ),
    heads="H",
    init={"b_f": 1.0},
    shapes={"x": "H*n"},
)

CELLS = (mlstm, slstm_heads, flash_lstm)
