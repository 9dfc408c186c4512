"""Elementwise recurrences: units do not see each other's state, the Jacobian of a step is diagonal, or has one small block a unit."""

from __future__ import annotations

from ..cell import Cell

TYPED = "Balduzzi, Ghifary 2016, Strongly-Typed Recurrent Neural Networks, ICML, arXiv:1602.02218"
MINIMAL = "Feng, Tung, Ahmed, Bengio, Hajimirsadeghi 2024, Were RNNs All We Needed?, arXiv:2410.01201"
OLDER_INPUT = {"xl": "x'"}  # the state that holds the input, to be read a step later

indrnn = Cell(
    "h = relu(W @ x + u * h_prev + b)",
    name="indrnn",
    output="h",
    title="Independently recurrent network",
    reference="Li, Li, Cook, Zhu, Gao 2018, CVPR, arXiv:1803.04831",
    description=(
        "The simple recurrent network of rectified linear units with a diagonal recurrent matrix: each unit sees only its own past, "
        "with one weight. Gradients along time are powers of that weight where the unit is active, which the original keeps in range "
        "by |u| ≤ 2^(1/T) for sequences of T steps; u starts at 1, within this bound for every T."
    ),
    init={"u": 1.0},
)

brc = Cell(
    """
    a = 1 + tanh(U_a @ x + w_a * h_prev + b_a)
    c = sigmoid(U_c @ x + w_c * h_prev + b_c)
    h = c * h_prev + (1 - c) * tanh(U_h @ x + a * h_prev)
    """,
    name="brc",
    output="h",
    title="Bistable recurrent cell",
    reference="Vecoven, Ernst, Drion 2021, PLoS ONE 16(6):e0252676, arXiv:2006.05252",
    description=(
        "A GRU without recurrent matrices, after the bistability of neurons. The feedback a, between 0 and 2, acts on the unit's own "
        "state: above 1 the unit has two stable states and holds one of them for as long as it takes, below 1 it forgets. The gate c "
        "sets how fast. The weights w start at 1. The letters are the paper's: its U multiplies the input."
    ),
    init={"w_a": 1.0, "w_c": 1.0},
)

sru_v1 = Cell(
    """
    f = sigmoid(W_f @ x + b_f)
    r = sigmoid(W_r @ x + b_r)
    c = f * c_prev + (1 - f) * (W @ x)
    y = r * tanh(c) + (1 - r) * x
    """,
    name="sru_v1",
    output="y",
    title="Simple recurrent unit, first version",
    reference="Lei, Zhang 2017, Training RNNs as Fast as CNNs, arXiv:1709.02755v1",
    description=(
        "Gates that see the input only: all matrix products can be made for the whole sequence at once, and what is left of the "
        "recurrence is elementwise and linear in c. The output mixes the state with the input itself by a highway gate r, so that the "
        "input must be as large as the state: d = n."
    ),
)

qrnn = Cell(
    """
    z = tanh(W_z1 @ x + W_z0 @ xl_prev + b_z)
    f = sigmoid(W_f1 @ x + W_f0 @ xl_prev + b_f)
    o = sigmoid(W_o1 @ x + W_o0 @ xl_prev + b_o)
    c = f * c_prev + (1 - f) * z
    y = o * c
    xl = x
    """,
    name="qrnn",
    output="y",
    title="Quasi-recurrent network, fo-pooling, window 2",
    reference="Bradbury, Merity, Xiong, Socher 2017, ICLR, arXiv:1611.01576",
    description=(
        "Candidate and gates are a convolution along time, here over the present and the previous input; the recurrence, called "
        "pooling, is elementwise and linear in c. The previous input is carried as a state, x', so that the cell can be used step by "
        "step."
    ),
    latex={**OLDER_INPUT, **{f"W_{gate}{k}": f"W_{{{gate}{k}}}" for gate in "zfo" for k in (0, 1)}},
)

mingru = Cell(
    """
    z = sigmoid(W_z @ x + b_z)
    g = W_h @ x + b_h
    h = (1 - z) * h_prev + z * g
    """,
    name="mingru",
    output="h",
    title="Minimal GRU for parallel scans",
    reference=MINIMAL,
    description=(
        "The GRU with every dependence on the state taken out of gate and candidate, and without the tanh of the candidate h̃. What is "
        "left is linear in h with a factor that is known from the input, so that all steps can be computed by a parallel scan."
    ),
    latex={"g": r"\tilde h"},
)

minlstm = Cell(
    """
    f = sigmoid(W_f @ x + b_f)
    i = sigmoid(W_i @ x + b_i)
    g = W_h @ x + b_h
    h = (f / (f + i)) * h_prev + (i / (f + i)) * g
    """,
    name="minlstm",
    output="h",
    title="Minimal LSTM for parallel scans",
    reference=MINIMAL,
    description=(
        "The LSTM with every dependence on the state taken out of gates and candidate h̃, without output gate and tanh, and with "
        "forget and input gate scaled to a sum of 1, so that the state does not grow with time. All steps can be computed by a "
        "parallel scan."
    ),
    latex={"g": r"\tilde h"},
)

trnn = Cell(
    """
    z = W @ x
    f = sigmoid(V @ x + b)
    h = f * h_prev + (1 - f) * z
    """,
    name="trnn",
    output="h",
    title="Strongly-typed recurrent network",
    reference=TYPED,
    description=(
        "A state in the coordinates of the transformed input W x alone: a matrix is never applied to a state, so that each unit keeps "
        "its meaning over time, as types in a program do. The state is a running average of W x, weighted by gates that see the input "
        "only."
    ),
)

tgru = Cell(
    """
    z = V_z @ xl_prev + W_z @ x + b_z
    f = sigmoid(V_f @ xl_prev + W_f @ x + b_f)
    o = tanh(V_o @ xl_prev + W_o @ x + b_o)
    h = f * h_prev + z * o
    xl = x
    """,
    name="tgru",
    output="h",
    title="Strongly-typed gated recurrent unit",
    reference=TYPED,
    description=(
        "The gated unit under the rule that no matrix is applied to a state: gates and candidate see the present and the previous "
        "input, which is carried as a state, x'. The state is elementwise and linear in its past."
    ),
    latex=OLDER_INPUT,
)

# |λ| = exp(-exp(-3)) = 0.95; γ is the logarithm of √(1 - |λ|²), which makes the state's variance that of its input.
DECAY, GAIN = -3.0, -1.178

lru = Cell(
    """
    a = exp(-exp(nu))
    lr = a * cos(exp(theta))
    li = a * sin(exp(theta))
    ur = exp(gamma) * (B_re @ x)
    ui = exp(gamma) * (B_im @ x)
    sr = lr * sr_prev - li * si_prev + ur
    si = lr * si_prev + li * sr_prev + ui
    y = C_re @ sr - C_im @ si + Dv * x
    """,
    name="lru",
    output="y",
    title="Linear recurrent unit",
    reference="Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu, De 2023, ICML, arXiv:2303.06349",
    description=(
        "A linear recurrence with a diagonal complex matrix, s = λ s + e^γ B x, and a real readout of it. Here the complex state is "
        "written as two real ones. λ = exp(-e^ν + i e^θ) lies within the unit circle whatever the parameters are, so that the "
        "recurrence is stable. The original draws λ on a ring and scales B by γ so that the state's variance stays that of the input; "
        "here |λ| starts at 0.95 for all units, γ at its value for that, and e^θ, the angle, as log-normal numbers around 1."
    ),
    init={"nu": DECAY, "theta": "normal", "gamma": GAIN},
    latex={
        "a": r"\lvert\lambda\rvert",
        "lr": r"\lambda^{\mathrm{re}}",
        "li": r"\lambda^{\mathrm{im}}",
        "ur": r"u^{\mathrm{re}}",
        "ui": r"u^{\mathrm{im}}",
        "sr": r"s^{\mathrm{re}}",
        "si": r"s^{\mathrm{im}}",
        "B_re": r"B^{\mathrm{re}}",
        "B_im": r"B^{\mathrm{im}}",
        "C_re": r"C^{\mathrm{re}}",
        "C_im": r"C^{\mathrm{im}}",
        "Dv": "D",
    },
)

CELLS = (indrnn, brc, sru_v1, qrnn, mingru, minlstm, trnn, tgru, lru)
