"""Networks that learn while they run: fast weights, traces, and memories that solve a problem at each step."""

from __future__ import annotations

from ..cell import Cell
from .attention import KEYS

fast_weights = Cell(
    """
    A = lam * A_prev + eta * outer(h_prev, h_prev)
    z = W @ h_prev + V @ x + b
    s = relu(z)
    for j in range(2):
        s = relu(layer_norm(z + A @ s) * g + c)
    h = s
    """,
    name="fast_weights",
    output="h",
    title="Fast weights that attend to the recent past",
    reference="Ba, Hinton, Mnih, Leibo, Ionescu 2016, Using Fast Weights to Attend to the Recent Past, NeurIPS, arXiv:1610.06258",
    description=(
        "Beside the slow weights W there are fast ones, A, that remember the states of recent steps: A s is a sum of past states, each "
        "weighted by its inner product with s and by how long ago it was. The new state settles in two inner steps under both, with layer "
        "normalization. It is linear attention, four years before the name, with the state itself as key and value."
    ),
    constants={"lam": 0.95, "eta": 0.5},
    init={"g": 1.0, "c": 0.0},
    latex={"lam": r"\lambda", "eta": r"\eta"},
)

plasticity = Cell(
    """
    h = tanh(W @ x + (U + A * Q_prev) @ h_prev + b)
    Q = (1 - sigmoid(e)) * Q_prev + sigmoid(e) * outer(h, h_prev)
    """,
    name="plasticity",
    output="h",
    title="Differentiable plasticity",
    reference="Miconi, Clune, Stanley 2018, Differentiable Plasticity: Training Plastic Neural Networks with Backpropagation, ICML, "
    "arXiv:1804.02464",
    description=(
        "Each connection has a fixed part U and a plastic one: its Hebbian trace Q, the running mean of the products of what it connects, "
        "times how plastic it is, A. Training finds which connections should learn while the network runs."
    ),
    init={"e": -2.0, "A": 0.01},
    shapes={"A": "n, n", "e": ""},
    latex={"e": r"\eta"},
)

ttt_linear = Cell(
    """
    q = W_q @ x
    k = W_k @ x
    eta = sigmoid(w_e @ x + b_e)
    u = M_prev @ k + c_prev
    s = sqrt(mean((u - mean(u)) ** 2) + 1e-6)
    uh = (u - mean(u)) / s
    g = (g_n * uh + b_n - W_v @ x + k) * g_n
    du = (g - mean(g) - uh * mean(g * uh)) / s
    M = M_prev - eta * outer(du, k)
    c = c_prev - eta * du
    o = M @ q + c
    y = o + norm(o, 1e-6) * g_n + b_n
    """,
    name="ttt_linear",
    output="y",
    title="TTT: a linear model that learns at test time",
    reference="Sun, Li, Dalal, Xu, Vikram, Zhang, Dubois, Chen, Wang, Koyejo, Hashimoto, Guestrin 2024, Learning to (Learn at Test Time): "
    "RNNs with Expressive Hidden States, arXiv:2407.04620",
    description=(
        "The state is a linear model, M u + c, that is trained while the sequence is read. Each step is one step of gradient descent on "
        "how well the model, followed by a layer normalization, predicts from the key the difference between value and key. The gradient "
        "of that loss is written out in the equations, and backpropagation through time goes through it. A mini-batch is one step."
    ),
    functions={"norm(u, e)": "(u - mean(u)) / sqrt(mean((u - mean(u)) ** 2) + e)"},
    heads="H",
    init={"g_n": 1.0, "b_n": 0.0, "b_e": -2.0},
    shapes={"W_q": "n, d", "W_k": "n, d", "W_v": "n, d", "w_e": "d", "b_e": ""},
    latex={"eta": r"\eta", "uh": r"\hat{u}", "du": r"\nabla_{\!u}"},
)

mesanet = Cell(
    """
    q = W_q @ x
    k = silu(W_k @ x)
    f = sigmoid(w_f @ x + b_f)
    b = sigmoid(w_b @ x)
    A = f * A_prev + b * outer(k, k)
    G = f * G_prev + b * outer(W_v @ x, k)
    lam = softplus(l)
    u = q / (sum(eye * A, 1) + lam)
    r = q - A @ u - lam * u
    p = r
    d = r @ r
    for j in range(3):
        z = A @ p + lam * p
        a = d / (p @ z + 1e-5)
        u = u + a * p
        r = r - a * z
        e = r @ r
        p = r + e / (d + 1e-5) * p
        d = e
    y = G @ u
    """,
    name="mesanet",
    output="y",
    title="MesaNet: a memory that is fitted anew at each step",
    reference="von Oswald et al. 2025, MesaNet: Sequence Modeling by Locally Optimal Test-Time Training, arXiv:2506.05233",
    description=(
        "Where the delta rule takes one step of gradient descent, this memory is the best linear map from all past keys to their values: "
        "G (A + Λ)⁻¹, with the sums A of k kᵀ and G of v kᵀ, that decay. The query is multiplied by the inverse through three steps of "
        "conjugate gradients, which are equations like any other: their gradient is exact for what they compute."
    ),
    heads="H",
    init={"b_f": 3.0, "l": 1.0},
    shapes={**KEYS, "w_f": "d", "b_f": "", "w_b": "d", "l": "d_k"},
    latex={"lam": r"\Lambda", "l": r"\ell", "A": "R"},
)

CELLS = (fast_weights, plasticity, ttt_linear, mesanet)
