"""Linear attention: a matrix for each head is written by values and keys, decays, and is read by queries."""

from __future__ import annotations

from ..cell import Cell

KEYS = {"W_q": "d_k, d", "W_k": "d_k, d", "W_v": "d_v, d"}
NORMALISED = {"l2norm(u, e)": "u / sqrt(u @ u + e)", "rms_norm(u, e)": "u / sqrt(mean(u * u) + e)"}
"""Functions of a vector that these cells and those of the delta rule use."""

linear_attention = Cell(
    """
    q = phi(W_q @ x)
    k = phi(W_k @ x)
    v = W_v @ x
    S = S_prev + outer(v, k)
    z = z_prev + k
    y = S @ q / (z @ q + eps)
    """,
    name="linear_attention",
    output="y",
    title="Linear attention",
    reference="Katharopoulos, Vyas, Pappas, Fleuret 2020, Transformers are RNNs: Fast Autoregressive Transformers with Linear Attention, "
    "ICML, arXiv:2006.16236",
    description=(
        "Attention whose weights are inner products of features, not exponentials, need not keep past keys: a query reads only the matrix "
        "S, the sum of all outer products of values and keys, and divides by what it reads from z, the sum of the keys. Nothing is ever "
        "taken out of S, so its gradient goes back through all steps unchanged, and what was written long ago is never overwritten."
    ),
    functions={"phi(u)": "elu(u) + 1"},
    constants={"eps": 1e-10},
    heads="H",
    shapes={**KEYS, "S": "d_v, d_k", "z": "d_k"},
    latex={"eps": r"\epsilon"},
)

retnet = Cell(
    """
    S = gamma * S_prev + outer(W_v @ x, W_k @ x)
    y = S @ (W_q @ x) / sqrt(len(W_q @ x))
    """,
    name="retnet",
    output="y",
    title="Retention: linear attention with a fixed decay",
    reference="Sun, Dong, Huang, Ma, Xia, Xue, Wang, Wei 2023, Retentive Network: A Successor to Transformer for Large Language Models, "
    "arXiv:2307.08621",
    description=(
        "Linear attention that forgets: the memory decays at every step by γ, a number for each head that is not learned. The paper has "
        "1 - 2⁻⁵ for the first head, 1 - 2⁻⁶ for the next, and so on, so that each has a horizon of its own; all begin at the first of "
        "these here. Its rotation of queries and keys is left out."
    ),
    heads="H",
    fixed=("gamma",),
    init={"gamma": 0.96875},
    shapes={**KEYS, "gamma": ""},
    latex={"gamma": r"\gamma"},
)

gla = Cell(
    """
    q = W_q @ x
    k = W_k @ x
    v = W_v @ x
    a = sigmoid(W_a @ (W_r @ x) + b_a) ** 0.0625
    S = outer(1, a) * S_prev + outer(v, k)
    o = rms_norm(S @ q / sqrt(len(q)), 1e-5) * g_o
    y = W_o @ merge(o * silu(W_g @ x + b_g))
    """,
    name="gla",
    output="y",
    title="Gated linear attention",
    reference="Yang, Wang, Shen, Panda, Kim 2024, Gated Linear Attention Transformers with Hardware-Efficient Training, ICML, "
    "arXiv:2312.06635",
    description=(
        "Linear attention whose decay is a gate with an entry for each feature of the keys, made from the input through a matrix of low "
        "rank. The decay is the gate's sixteenth root, so a gate of 0.5 still keeps 0.96. Each head's output is normalized, gated, and "
        "mixed with the others'."
    ),
    functions={"rms_norm(u, e)": NORMALISED["rms_norm(u, e)"]},
    heads="H",
    shared=("W_r", "W_o"),
    init={"g_o": 1.0},
    shapes={**KEYS, "W_a": "d_k, r", "W_r": "r, d", "W_g": "d_v, d", "W_o": "d, H*d_v"},
)

hgrn2 = Cell(
    """
    f = lb + (1 - lb) * sigmoid(W_f @ x)
    k = 1 - f
    S = outer(1, f) * S_prev + outer(W_i @ x, k)
    y = S @ silu(W_q @ x) / sqrt(len(k))
    """,
    name="hgrn2",
    output="y",
    title="HGRN2: the forget gate is the key",
    reference="Qin, Yang, Sun, Shen, Li, Sun, Zhong 2024, HGRN2: Gated Linear RNNs with State Expansion, COLM, arXiv:2404.07904",
    description=(
        "Gated linear attention with one gate less: what a feature of the memory forgets is what it writes, 1 - f, as in the GRU's "
        "interpolation. The lower bound of the forget gate, learned for each layer in the paper, is a parameter here."
    ),
    heads="H",
    init={"lb": 0.5},
    shapes={"W_f": "d_k, d", "W_i": "d_v, d", "W_q": "d_k, d"},
    latex={"lb": r"\gamma"},
)

gsa = Cell(
    """
    a = sigmoid(W_a @ x) ** 0.125
    K = outer(a, 1) * K_prev + outer(1 - a, silu(W_k @ x))
    V = outer(a, 1) * V_prev + outer(1 - a, silu(W_v @ x))
    y = V.T @ softmax(K @ silu(W_q @ x) / sqrt(len(W_q @ x)))
    """,
    name="gsa",
    output="y",
    title="Gated slot attention",
    reference="Zhang, Yang, Zhu, Zhang, Cui, Wang, Wang, Shi, Wang, Bi, Zhou, Fu 2024, Gated Slot Attention for Efficient Linear-Time "
    "Sequence Modeling, NeurIPS, arXiv:2409.07146",
    description=(
        "A memory of m slots, each with a key and a value, which a gate lets fade and fill. It is read by softmax attention over the "
        "slots, not over past steps: two linear attentions with a softmax between them."
    ),
    heads="H",
    shapes={**KEYS, "W_a": "m, d", "K": "m, d_k", "V": "m, d_v"},
)

CELLS = (linear_attention, retnet, gla, hgrn2, gsa)
