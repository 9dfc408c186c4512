"""Relatives of the LSTM: without forgetting, with a projection, with exponential gates."""

from __future__ import annotations

from ..cell import Cell
from .lstm import MEMORY, OPEN_FORGET_GATE, lstm

lstm_original = lstm.replace(
    name="lstm_original",
    title="Long short-term memory of 1997, without forget gate",
    reference="Hochreiter, Schmidhuber 1997, Neural Computation 9(8):1735-1780",
    description=(
        "The memory only ever adds: c passes from step to step with weight 1, the constant error carousel, and along it a gradient "
        "neither vanishes nor explodes. Nothing is ever forgotten, so over long sequences c may grow without bound. The squashing "
        "functions are those of today, tanh; those of 1997 were scaled logistic functions, and its training was not full "
        "backpropagation through time."
    ),
    f="1",
)

lstmp = Cell(
    f"""
    i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
    g = tanh(W_g @ x + U_g @ h_prev + b_g)
    o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
    {MEMORY.replace("o * tanh(c)", "W_hr @ (o * tanh(c))")}
    """,
    name="lstmp",
    output="h",
    shapes={"h": "p"},
    title="Long short-term memory with recurrent projection",
    reference="Sak, Senior, Beaufays 2014, arXiv:1402.1128; the form of torch.nn.LSTM(proj_size=p)",
    description=(
        "The LSTM with its output projected from n to p numbers by W_hr before it goes back to the gates and on to the next layer. "
        "With p well below n, the memory is large while the recurrent weights are few: 4np + np instead of 4n². The original also "
        "has peepholes and a second projection that does not recur; this form, PyTorch's, has neither."
    ),
    init=OPEN_FORGET_GATE,
)

slstm = Cell(
    """
    zt = tanh(W_z @ x + R_z @ h_prev + b_z)
    it = W_i @ x + R_i @ h_prev + b_i
    lf = logsigmoid(W_f @ x + R_f @ h_prev + b_f)
    o = sigmoid(W_o @ x + R_o @ h_prev + b_o)
    m = maximum(lf + m_prev, it)
    is_ = exp(it - m)
    fs = exp(lf + m_prev - m)
    c = fs * c_prev + is_ * zt
    nn = fs * nn_prev + is_
    h = o * c / nn
    """,
    name="slstm",
    output="h",
    title="sLSTM: exponential input gate with stabilizer",
    reference="Beck et al. 2024, xLSTM: Extended Long Short-Term Memory, NeurIPS, arXiv:2405.04517",
    description=(
        "The input gate is an exponential, so that a new input can outweigh all that was stored before; the normalizer n sums the "
        "gates as the memory c sums the gated inputs, and the output is their ratio. The state m, a running maximum of the gates' "
        "logarithms, scales both by e⁻ᵐ so that no exponential overflows. How it is chosen does not change h, and so m̄ is 0 at every "
        "step of a loss that reads h alone. A loss that also reads the final c or n does see m. The forget gate is a sigmoid; the "
        "recurrent weights are full matrices here, where the original has one block for each head."
    ),
    init={**OPEN_FORGET_GATE, "m": -1e30},  # no gate seen yet: the first one sets the stabilizer
    latex={
        "zt": "z",
        "it": r"\tilde i",
        "lf": r"\ell",
        "is_": "i'",
        "fs": "f'",
        "nn": "n",
    },
)

CELLS = (lstm_original, lstmp, slstm)
