"""The simple recurrent network."""

from __future__ import annotations

from ..cell import Cell
from .variants import with_bias_free

rnn = Cell(
    "h = tanh(W @ x + U @ h_prev + b)",
    name="rnn",
    output="h",
    title="Simple (Elman) recurrent network",
    reference=(
        "Elman 1990, Finding Structure in Time, Cognitive Science 14(2):179-211; "
        "Goodfellow et al. 2016, Deep Learning, eqs. 10.8-10.9 (there W and U are the other way round)"
    ),
    description=(
        "The state is one layer of tanh units that sees the input and its own previous value. Going back a step multiplies the "
        "gradient by Uᵀ Diag(1 - h²), and a product of many such matrices usually shrinks or grows exponentially: that is why gated "
        "cells were invented. With the weights that this cell starts from it shrinks, to less than half at each step (0.46 at d = 16, "
        "n = 64). PyTorch keeps two biases, which only ever occur as their sum; here, as in Keras, there is one."
    ),
)

rnn_relu = rnn.replace(
    name="rnn_relu",
    title="Simple recurrent network of rectified linear units",
    reference="Le, Jaitly, Hinton 2015, arXiv:1504.00941",
    description=(
        "The simple recurrent network with max(0, ·) for tanh. An active unit passes its gradient on undamped and an inactive one stops "
        "it, so whether gradients grow or shrink depends on U and on which units are active; the state, however, is not bounded. Le et "
        "al. start from U = I and b = 0 (the IRNN)."
    ),
    h="relu(W @ x + U @ h_prev + b)",
)

rnn_concat = rnn.replace(
    name="rnn_concat",
    title="Simple recurrent network, one matrix for state and input",
    description=(
        "The simple recurrent network with state and input put into one long vector and one matrix for both. It is the same function: "
        "the left n columns of W are the recurrent weights, the others the input weights."
    ),
    h="tanh(W @ [h_prev, x] + b)",
)

CELLS = with_bias_free(rnn, rnn_relu, rnn_concat)
