"""The delta rule: a memory is read for the key before it is written, and only what it has wrong is changed."""

from __future__ import annotations

from ..cell import Cell
from .attention import KEYS, NORMALISED

L2NORM = {"l2norm(u, e)": NORMALISED["l2norm(u, e)"]}
DECAY = {"b_a": -2.25}  # softplus of it is 0.1, the middle of what the papers draw

deltanet = Cell(
    """
    q = l2norm(silu(W_q @ x), 1e-6)
    k = l2norm(silu(W_k @ x), 1e-6)
    v = silu(W_v @ x)
    beta = sigmoid(w_b @ x)
    S = S_prev + beta * outer(v - S_prev @ k, k)
    y = S @ q / sqrt(len(q))
    """,
    name="deltanet",
    output="y",
    title="DeltaNet",
    reference="Schlag, Irie, Schmidhuber 2021, Linear Transformers Are Secretly Fast Weight Programmers, ICML, arXiv:2102.11174; Yang, "
    "Wang, Zhang, Shen, Kim 2024, Parallelizing Linear Transformers with the Delta Rule over Sequence Length, NeurIPS, arXiv:2406.06484",
    description=(
        "The memory is read first, to see what it holds for the key, S k; what is written is the difference from the new value, times the "
        "rate β. So a key's old value gives way to the new one, where linear attention would hold the sum of both. It is one step of "
        "gradient descent on ½‖S k - v‖², the delta rule of Widrow and Hoff."
    ),
    functions=L2NORM,
    heads="H",
    shapes={**KEYS, "w_b": "d"},
    latex={"beta": r"\beta"},
)

gated_deltanet = Cell(
    """
    q = l2norm(silu(W_q @ x), 1e-6)
    k = l2norm(silu(W_k @ x), 1e-6)
    v = silu(W_v @ x)
    beta = sigmoid(w_b @ x)
    a = exp(-exp(A_log) * softplus(w_a @ x + b_a))
    D = a * S_prev
    S = D + beta * outer(v - D @ k, k)
    o = rms_norm(S @ q / sqrt(len(q)), 1e-5) * g_o * silu(W_g @ x)
    y = W_o @ merge(o)
    """,
    name="gated_deltanet",
    output="y",
    title="Gated DeltaNet",
    reference="Yang, Kautz, Hatamizadeh 2025, Gated Delta Networks: Improving Mamba2 with Delta Rule, ICLR, arXiv:2412.06464",
    description=(
        "The delta rule on a memory that decays: the gate α, a number for each head, lets all of it fade at once, which clears a memory "
        "that the delta rule alone would have to correct key by key. Each head's output is normalized and gated, and the heads are mixed. "
        "The short convolutions of queries, keys and values are left out."
    ),
    functions=NORMALISED,
    heads="H",
    shared=("W_o", "g_o"),
    init={"g_o": 1.0, "A_log": 0.0, **DECAY},
    shapes={**KEYS, "w_b": "d", "w_a": "d", "b_a": "", "A_log": "", "W_g": "d_v, d", "W_o": "d, H*d_v"},
    latex={"beta": r"\beta", "a": r"\alpha", "A_log": "A"},
)

gdn2 = Cell(
    """
    k = l2norm(silu(W_k @ x), 1e-6)
    D = outer(1, exp(-exp(A_log) * softplus(W_a @ x + b_a))) * S_prev
    S = D + outer(sigmoid(W_w @ x) * (W_v @ x) - D @ (sigmoid(W_b @ x) * k), k)
    y = S @ l2norm(silu(W_q @ x), 1e-6) / sqrt(len(k))
    """,
    name="gdn2",
    output="y",
    title="Gated DeltaNet 2: gates for each channel",
    reference="Hatamizadeh, Choi, Kautz 2026, Gated DeltaNet-2, arXiv:2605.22791; as in flash-linear-attention, fla/ops/gdn2",
    description=(
        "The single rate of the delta rule becomes two gates: one for what is written, with an entry for each feature of the value, and "
        "one for what is erased, with an entry for each feature of the key. The decay, too, has an entry for each feature of the key."
    ),
    functions=L2NORM,
    heads="H",
    init={"A_log": 0.0, **DECAY},
    shapes={**KEYS, "W_a": "d_k, d", "W_b": "d_k, d", "W_w": "d_v, d", "A_log": ""},
    latex={"A_log": "A"},
)

comba = Cell(
    """
    k = l2norm(silu(W_k @ x), 1e-6)
    p = sigmoid(b_p) * k
    q = l2norm(silu(W_q @ x), 1e-6) - d_q * k
    beta = sigmoid(w_b @ x)
    D = exp(-exp(A_log) * softplus(w_a @ x + b_a)) * S_prev
    S = D + beta * outer(W_v @ x - D @ p, k)
    y = S @ q / sqrt(len(q))
    """,
    name="comba",
    output="y",
    title="Comba: feedback of state and output",
    reference="Hu et al. 2025, Comba: Improving Bilinear RNNs with Closed-loop Control, arXiv:2506.02475",
    description=(
        "Seen as control, the delta rule feeds back what the memory holds for the key. Here the feedback has a strength of its own, "
        "learned as the length of p, and the output is corrected as well: a part of the key is subtracted from the query."
    ),
    functions=L2NORM,
    heads="H",
    init={"A_log": 0.0, "b_p": 0.0, "d_q": 0.02, **DECAY},
    shapes={**KEYS, "w_b": "d", "w_a": "d", "b_a": "", "A_log": "", "b_p": "", "d_q": ""},
    latex={"beta": r"\beta", "A_log": "A", "d_q": "D"},
)

gated_oja = Cell(
    """
    v = l2norm(W_v @ x, 1e-6)
    D = outer(sigmoid(W_a @ x), 1) * S_prev
    S = D + outer(v, sigmoid(w_b @ x) * (W_k @ x - D.T @ v))
    y = S @ (W_q @ x) / sqrt(len(W_q @ x))
    """,
    name="gated_oja",
    output="y",
    title="Gated Oja rule",
    reference="flash-linear-attention, fla/ops/gated_oja_rule; the rule: Irie, Faccio, Schmidhuber 2022, Neural Differential Equations for "
    "Learning to Program Neural Nets Through Continuous Learning Rules, NeurIPS, arXiv:2206.01649",
    description=(
        "The delta rule from the other side: the memory is read for the key that it holds for the value, Sᵀ v, and the difference from the "
        "new key is written. It is Oja's rule, which keeps a Hebbian memory from growing."
    ),
    functions=L2NORM,
    heads="H",
    shapes={**KEYS, "W_a": "d_v, d", "w_b": "d"},
)

rwkv7 = Cell(
    """
    last = x
    dx = last_prev - x
    r = W_r @ (x + mu_r * dx)
    k0 = W_k @ (x + mu_k * dx)
    v = W_v @ (x + mu_v * dx)
    w = exp(-sigmoid(W_w2 @ tanh(W_w1 @ (x + mu_w * dx)) + b_w) * c)
    a = sigmoid(W_a2 @ (W_a1 @ (x + mu_a * dx)) + b_a)
    g = W_g2 @ sigmoid(W_g1 @ (x + mu_g * dx))
    kn = k0 * k_k
    kk = kn / maximum(sqrt(kn @ kn), 1e-12)
    k = k0 + k0 * (a - 1) * k_a
    S = outer(1, w) * S_prev - outer(S_prev @ kk, kk * a) + outer(v, k)
    o = norm(S @ r, 0.00064) * ln_w + ln_b + (r @ (k * r_k)) * v
    y = W_o @ merge(o * g)
    """,
    name="rwkv7",
    output="y",
    title="RWKV-7: a generalized delta rule",
    reference="Peng et al. 2025, RWKV-7 Goose with Expressive Dynamic State Evolution, COLM, arXiv:2503.14456",
    description=(
        "The delta rule with three vectors in the place of one key: w decays each feature, κ̂ with the rates a says what is erased, and k̃ "
        "where the value is written. Each of them is made from a mixture of this input and the one before, with a weight for each feature. "
        "This is the time mixing of the first layer; later layers mix in the values of the first."
    ),
    functions={"norm(u, e)": "(u - mean(u)) / sqrt(mean((u - mean(u)) ** 2) + e)"},
    constants={"c": 0.6065306597126334},
    heads="H",
    shared=("mu_r", "mu_k", "mu_v", "mu_w", "mu_a", "mu_g", "W_w1", "W_a1", "W_g1", "W_o"),
    init={
        **{f"mu_{name}": 0.5 for name in "rkvwag"},
        "k_k": 0.85,
        "k_a": 1.0,
        "r_k": 0.0,
        "ln_w": 1.0,
        "ln_b": 0.0,
        "b_w": -2.0,
        "b_a": 0.0,
    },
    shapes={
        **{f"mu_{name}": "d" for name in "rkvwag"},
        **{f"W_{name}": "n, d" for name in "rkv"},
        **{f"W_{name}1": "l, d" for name in "wag"},
        **{f"W_{name}2": "n, l" for name in "wag"},
        "last": "d",
        "W_o": "d, H*n",
    },
    latex={
        **{f"mu_{name}": rf"\mu_{{{name}}}" for name in "rkvwag"},
        **{f"W_{name}{k}": f"W_{{{name}{k}}}" for name in "wag" for k in (1, 2)},
        **{"last": "x'", "dx": r"\Delta x", "k0": r"\bar{k}", "kn": r"\kappa", "kk": r"\hat{\kappa}", "k": r"\tilde{k}", "c": "e^{-1/2}"},
        **{"k_k": r"\xi", "k_a": r"\alpha", "r_k": r"\rho", "ln_w": r"\gamma", "ln_b": r"\beta"},
    },
)

CELLS = (deltanet, gated_deltanet, gdn2, comba, gated_oja, rwkv7)
