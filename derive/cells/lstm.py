"""Long short-term memory."""

from __future__ import annotations

from ..cell import Cell
from .variants import with_bias_free

MEMORY = """c = f * c_prev + i * g
    h = o * tanh(c)"""

# A forget gate that starts open lets gradients through from the first update on: Gers et al. 2000; Jozefowicz et al. 2015.
OPEN_FORGET_GATE = {"b_f": 1.0}

ORIGIN = (
    "Hochreiter, Schmidhuber 1997, Neural Computation 9(8):1735-1780; forget gate: Gers, Schmidhuber, Cummins 2000, "
    "Neural Computation 12(10):2451-2471; forget bias of 1: also Jozefowicz, Zaremba, Sutskever 2015, ICML, PMLR 37:2342-2350"
)

lstm = Cell(
    f"""
    i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
    g = tanh(W_g @ x + U_g @ h_prev + b_g)
    o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
    {MEMORY}
    """,
    name="lstm",
    output="h",
    title="Long short-term memory with forget gate",
    reference=ORIGIN,
    description=(
        "A memory c beside the output h. The forget gate f says how much of the old memory stays, the input gate i how much of the "
        "candidate g is written (PyTorch's name for what others call c̃), the output gate o how much of the memory is shown. Along c "
        "the gradient is multiplied by f alone, not by a matrix: with f near 1 it survives many steps. The bias of the forget gate "
        "starts at 1 (Gers et al. 2000; Jozefowicz et al. 2015). That is f = 0.73 where nothing else drives the gate, so a new cell "
        "remembers for a few steps, not for many: its time constant is 3.2 steps, against 1.4 with a bias of 0."
    ),
    init=OPEN_FORGET_GATE,
)

lstm_concat = lstm.replace(
    name="lstm_concat",
    title="Long short-term memory, one matrix a gate for state and input",
    reference=f"{ORIGIN}; in this notation: Olah 2015, Understanding LSTM Networks",
    description=(
        "The LSTM with state and input put into one long vector, and one matrix for both in each gate. It is the same function: the "
        "left n columns of a matrix are its recurrent weights, the others its input weights. The candidate is called g, as in "
        "PyTorch."
    ),
    i="sigmoid(W_i @ [h_prev, x] + b_i)",
    f="sigmoid(W_f @ [h_prev, x] + b_f)",
    g="tanh(W_g @ [h_prev, x] + b_g)",
    o="sigmoid(W_o @ [h_prev, x] + b_o)",
)

lstm_stacked = Cell(
    f"""
    a_i, a_f, a_g, a_o = split(W @ [h_prev, x] + b, 4)
    i = sigmoid(a_i)
    f = sigmoid(a_f)
    g = tanh(a_g)
    o = sigmoid(a_o)
    {MEMORY}
    """,
    name="lstm_stacked",
    output="h",
    title="Long short-term memory, one matrix for everything",
    reference=f"{ORIGIN}; in this notation: Zaremba, Sutskever, Vinyals 2014, arXiv:1409.2329, section 3.1",
    description=(
        "The LSTM with the pre-activations of all gates from one product, which is then split: rows of W in the order i, f, g, o, as "
        "in PyTorch; columns for the state first, then for the input. It is the same function, and how fast implementations compute "
        "it. With a single bias for all gates there is no rule that starts the forget gate's part at 1: set `b[n:2*n]` for that."
    ),
)

CELLS = with_bias_free(lstm, lstm_concat, lstm_stacked)
