"""The RNN, the LSTM and the GRU with the weights of torch.nn's layers: one matrix for all gates, biases of the input and of the state."""

from __future__ import annotations

from ..cell import Cell
from .lstm import MEMORY
from .variants import with_bias_free

GATES = f"""a_i, a_f, a_g, a_o = split(W_ih @ x + W_hh @ h_prev + (b_ih + b_hh), 4)
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    {MEMORY}"""

STACKED = (
    "Each weight is one of the layer's own, so nothing is copied between the two: the rows of the gates are stacked in one matrix, and "
    "there are two biases, which only ever occur as their sum, except where a reset gate comes between them."
)

rnn_torch = Cell(
    "h = tanh(W_ih @ x + W_hh @ h_prev + (b_ih + b_hh))",
    name="rnn_torch",
    output="h",
    title="Simple recurrent network, weights as in torch.nn.RNN",
    reference="the form of torch.nn.RNN",
    description=f"The simple recurrent network with PyTorch's weights. {STACKED}",
)

rnn_relu_torch = rnn_torch.replace(
    name="rnn_relu_torch",
    title="Simple recurrent network with rectified units, weights as in torch.nn.RNN",
    reference="the form of torch.nn.RNN(nonlinearity='relu')",
    h="relu(W_ih @ x + W_hh @ h_prev + (b_ih + b_hh))",
)

lstm_torch = Cell(
    f"""
    {GATES}
    """,
    name="lstm_torch",
    output="h",
    title="Long short-term memory, weights as in torch.nn.LSTM",
    reference="the form of torch.nn.LSTM",
    description=f"The LSTM with PyTorch's weights, gates in the order i, f, g, o. {STACKED}",
)

lstmp_torch = Cell(
    f"""
    {GATES.replace("o * tanh(c)", "W_hr @ (o * tanh(c))")}
    """,
    name="lstmp_torch",
    output="h",
    shapes={"h": "p"},
    title="Long short-term memory with recurrent projection, weights as in torch.nn.LSTM",
    reference="the form of torch.nn.LSTM(proj_size=p)",
    description=f"The LSTM whose output is projected from n to p numbers, with PyTorch's weights. {STACKED}",
)

gru_torch = Cell(
    """
    i_r, i_z, i_n = split(W_ih @ x, 3)
    h_r, h_z, h_n = split(W_hh @ h_prev, 3)
    b_ir, b_iz, b_in = split(b_ih, 3)
    b_hr, b_hz, b_hn = split(b_hh, 3)
    r = sigmoid(i_r + h_r + (b_ir + b_hr))
    z = sigmoid(i_z + h_z + (b_iz + b_hz))
    g = tanh(i_n + b_in + r * (h_n + b_hn))
    h = (1 - z) * g + z * h_prev
    """,
    name="gru_torch",
    output="h",
    title="Gated recurrent unit, weights as in torch.nn.GRU",
    reference="the form of torch.nn.GRU",
    description=f"The GRU with PyTorch's weights, gates in the order r, z, n; n's candidate is called g here. {STACKED}",
    latex={"g": r"\tilde h"},
)

CELLS = with_bias_free(rnn_torch, rnn_relu_torch, lstm_torch, lstmp_torch, gru_torch)
