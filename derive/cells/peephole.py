"""The peephole LSTM: with its variants of the search space odyssey, each made from it by replacing one thing."""

from __future__ import annotations

from ..cell import Cell
from .lstm import OPEN_FORGET_GATE

GREFF = "Greff, Srivastava, Koutník, Steunebrink, Schmidhuber 2017, LSTM: A Search Space Odyssey, IEEE TNNLS 28(10), arXiv:1503.04069"

lstm_peephole = Cell(
    """
    z = tanh(W_z @ x + R_z @ y_prev + b_z)
    i = sigmoid(W_i @ x + R_i @ y_prev + p_i * c_prev + b_i)
    f = sigmoid(W_f @ x + R_f @ y_prev + p_f * c_prev + b_f)
    c = z * i + c_prev * f
    o = sigmoid(W_o @ x + R_o @ y_prev + p_o * c + b_o)
    y = tanh(c) * o
    """,
    name="lstm_peephole",
    output="y",
    title="Long short-term memory with peepholes",
    reference=(
        "Gers, Schmidhuber 2000, Recurrent Nets that Time and Count, IJCNN; Gers, Schraudolph, Schmidhuber 2002, JMLR 3:115-143; "
        f"in the notation of {GREFF}"
    ),
    description=(
        "The gates also see the memory itself, each unit its own, through the diagonal weights p: the input and the forget gate the "
        "old memory, the output gate the new one. A cell whose output gate is closed can thus still steer its gates by what it "
        "remembers. The bias of the forget gate starts at 1, as in the plain LSTM."
    ),
    init=OPEN_FORGET_GATE,
)


def greff(key: str, title: str, description: str, **expressions: str) -> Cell:
    """Return a variant of the odyssey: the peephole LSTM with `expressions` put for names."""
    full = f"{description} All else is as in the vanilla cell of the study, `lstm_peephole`."
    return lstm_peephole.replace(name=f"greff_{key}", title=f"Peephole LSTM, {title}", reference=GREFF, description=full, **expressions)


greff_nog = greff(
    "nog",
    "no output gate",
    "The variant NOG: the output gate is 1, so that the whole memory is shown at every step, y = tanh(c).",
    o="1",
)

greff_niaf = greff(
    "niaf",
    "no input activation function",
    "The variant NIAF: what is offered to the memory is linear in input and output, without the tanh that bounds it elsewhere.",
    z="W_z @ x + R_z @ y_prev + b_z",
)

greff_cifg = greff(
    "cifg",
    "coupled input and forget gate",
    "The variant CIFG: one gate for both, f = 1 - i, so that the memory forgets exactly as much as it takes in, as in a GRU.",
    f="1 - i",
)

greff_np = greff(
    "np",
    "no peepholes",
    "The variant NP: all p are 0, and the gates see input and output only. This is the plain LSTM, in other letters.",
    p_i="0",
    p_f="0",
    p_o="0",
)

CELLS = (lstm_peephole, greff_nog, greff_niaf, greff_cifg, greff_np)
