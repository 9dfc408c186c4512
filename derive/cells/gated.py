"""Fewer gates: cells with less than the LSTM and the GRU have."""

from __future__ import annotations

from ..cell import Cell

mgu = Cell(
    """
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
    g = tanh(W_h @ x + U_h @ (f * h_prev) + b_h)
    h = (1 - f) * h_prev + f * g
    """,
    name="mgu",
    output="h",
    title="Minimal gated unit",
    reference="Zhou, Wu, Zhang, Zhou 2016, Minimal Gated Unit for Recurrent Neural Networks, arXiv:1603.09420",
    description=(
        "A GRU with one gate for both jobs: f says how much of the old state the candidate h̃ sees, and also how much of it the "
        "candidate replaces. With f = 0 the state stays as it is."
    ),
    latex={"g": r"\tilde h"},
)

ligru = Cell(
    """
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    g = relu(W_h @ x + U_h @ h_prev + b_h)
    h = z * h_prev + (1 - z) * g
    """,
    name="ligru",
    output="h",
    title="Light gated recurrent unit",
    reference="Ravanelli, Brakel, Omologo, Bengio 2018, IEEE TETCI 2(2):92-102, arXiv:1803.10225",
    description=(
        "A GRU without the reset gate and with a rectified candidate h̃, made for speech recognition. The original normalizes W x over "
        "the batch, outside the recurrence, which keeps the unbounded candidate in range; this is the step without it, its bias being "
        "that of the normalization."
    ),
    latex={"g": r"\tilde h"},
)

janet = Cell(
    """
    s = W_f @ x + U_f @ c_prev + b_f
    g = tanh(W_c @ x + U_c @ c_prev + b_c)
    c = sigmoid(s) * c_prev + (1 - sigmoid(s - beta)) * g
    """,
    name="janet",
    output="c",
    title="JANET: an LSTM of just a forget gate",
    reference="van der Westhuizen, Lasenby 2018, The Unreasonable Effectiveness of the Forget Gate, arXiv:1804.04849",
    description=(
        "The forget gate alone. Without β the candidate c̃ would fill exactly what the gate lets go of, 1 - σ(s). With β, which is 1, "
        "it comes in with the larger weight 1 - σ(s - β): the cell takes in more than it forgets. The original draws b_f so that the "
        "gates' time scales cover a range up to the length of the sequences (chrono initialization); that length is not known here, "
        "and b_f starts at 1."
    ),
    constants={"beta": 1},
    init={"b_f": 1.0, "b_c": 0.0},
    latex={"g": r"\tilde c"},
)

ugrnn = Cell(
    """
    c = tanh(W_c @ x + U_c @ h_prev + b_c)
    g = sigmoid(W_g @ x + U_g @ h_prev + b_g + b_fg)
    h = g * h_prev + (1 - g) * c
    """,
    name="ugrnn",
    output="h",
    title="Update gate recurrent network",
    reference="Collins, Sohl-Dickstein, Sussillo 2017, Capacity and Trainability in Recurrent Neural Networks, ICLR, arXiv:1611.09913",
    description=(
        "The plain recurrent network with one gate between its new value c and its old state. The constant b_fg in the gate's "
        "argument, 1, lets training begin with a gate that mostly keeps the state."
    ),
    constants={"b_fg": 1},
)

ran = Cell(
    """
    ct = W_c @ x
    i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
    c = i * ct + f * c_prev
    h = tanh(c)
    """,
    name="ran",
    output="h",
    title="Recurrent additive network",
    reference="Lee, Levy, Zettlemoyer 2017, Recurrent Additive Networks, arXiv:1705.07393",
    description=(
        "An LSTM whose content is linear in the input alone: c̃ has neither bias, recurrent weight nor tanh. The memory is therefore a "
        "sum of past inputs, W_c x weighted elementwise by products of gates; only the gates see the state. That is a function of the "
        "memory, h = tanh(c)."
    ),
    latex={"ct": r"\tilde c"},
)

CELLS = (mgu, ligru, janet, ugrnn, ran)
