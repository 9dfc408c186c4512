"""Gated recurrent units: the reset gate after or before the product, and both readings of the update gate."""

from __future__ import annotations

from ..cell import Cell
from .variants import with_bias_free

gru = Cell(
    """
    r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    g = tanh(W_n @ x + b_in + r * (U_n @ h_prev + b_hn))
    h = (1 - z) * g + z * h_prev
    """,
    name="gru",
    output="h",
    title="Gated recurrent unit, reset after the product",
    reference="Cho et al. 2014, arXiv:1406.1078v1; the form of cuDNN and of torch.nn.GRU",
    description=(
        "The update gate z mixes the old state with a candidate h̃; z = 1 keeps the old state. The reset gate r decides how much the "
        "candidate sees of the past. Here r multiplies the product U_n h, not h itself, so that all products of a step can be made at "
        "once. That is the form of cuDNN and PyTorch; it is another function than the published one, not the same in other parameters. "
        "Its candidate needs two biases, since only one of them is under the reset gate."
    ),
    latex={"g": r"\tilde h"},
)

gru_v3 = gru.replace(
    name="gru_v3",
    title="Gated recurrent unit, reset before the product",
    reference="Cho et al. 2014, arXiv:1406.1078v3, eqs. 5-8 (without biases)",
    description=(
        "The gated recurrent unit as published: the reset gate r multiplies the old state before the product, so that the candidate "
        "h̃ sees only what r lets through of it. The update gate z keeps the old state where it is 1."
    ),
    g="tanh(W_h @ x + U_h @ (r * h_prev) + b_h)",
)

gru_v3_flipped = gru_v3.replace(
    name="gru_v3_flipped",
    title="Gated recurrent unit, reset before the product, update gate lets the new state in",
    reference="Chung, Gulcehre, Cho, Bengio 2014, arXiv:1412.3555, section 3.2 (without biases)",
    description=(
        "The gated recurrent unit with the update gate read the other way round: z = 1 takes the candidate h̃, z = 0 keeps the old "
        "state. Since 1 - σ(a) = σ(-a), it is the other form with the parameters of z negated."
    ),
    h="(1 - z) * h_prev + z * g",
)

gru_v3_concat = gru_v3.replace(
    name="gru_v3_concat",
    title="Gated recurrent unit, reset before the product, one matrix for state and input",
    reference=(
        "Cho et al. 2014, arXiv:1406.1078v3, eqs. 5-8; with concatenation, and z the other way round: "
        "Olah 2015, Understanding LSTM Networks"
    ),
    description=(
        "The gated recurrent unit as published, with state and input put into one long vector and one matrix for both: the left n "
        "columns of a matrix are its recurrent weights, the others its input weights. The candidate has the reset state in the "
        "vector's first part. The update gate z keeps the old state where it is 1."
    ),
    r="sigmoid(W_r @ [h_prev, x] + b_r)",
    z="sigmoid(W_z @ [h_prev, x] + b_z)",
    g="tanh(W @ [r * h_prev, x] + b)",
)

CELLS = with_bias_free(gru, gru_v3, gru_v3_flipped, gru_v3_concat)
