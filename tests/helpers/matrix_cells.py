"""Cells with matrices at each step: those that are hard in a way of their own."""

from derive import Cell

DELTA = Cell(
    """
    k = l2norm(silu(W_k @ x), 1e-6)
    beta = sigmoid(w_b @ x)
    D = exp(-exp(A_log) * softplus(w_a @ x + b_a)) * S_prev
    S = D + beta * outer(silu(W_v @ x) - D @ k, k)
    y = g * rms_norm(S @ l2norm(silu(W_q @ x), 1e-6), 1e-5)
    """,
    name="delta",
    output="y",
    shapes={"W_q": "k, d", "W_k": "k, d", "W_v": "v, d", "w_b": "d", "w_a": "d", "b_a": "", "A_log": ""},
    functions={"l2norm(u, e)": "u / sqrt(u @ u + e)", "rms_norm(u, e)": "u / sqrt(mean(u * u) + e)"},
)
"""The gated delta rule: a sum of each row, which the row alone reads (Yang et al. 2024, arXiv:2412.06464)."""

OJA = Cell(
    """
    v = W_v @ x
    D = outer(sigmoid(W_a @ x), 1) * S_prev
    S = D + outer(v, sigmoid(w_b @ x) * (W_k @ x - D.T @ v))
    y = S @ (W_q @ x)
    """,
    name="oja",
    output="y",
    shapes={"W_q": "k, d", "W_k": "k, d", "W_v": "v, d", "W_a": "v, d", "w_b": "d"},
)
"""A sum of each column, which all rows read: two passes over the state."""

SSM = Cell(
    """
    u = silu(W_u @ x)
    dt = softplus(W_t @ u + b_t)
    h = exp(-outer(dt, 1) * exp(A_log)) * h_prev + outer(dt * u, W_B @ u)
    y = h @ (W_C @ u) + D * u
    """,
    name="ssm",
    output="y",
    shapes={"A_log": "n, m", "W_B": "m, n", "W_C": "m, n"},
)
"""A parameter as large as the state, and a function of each element (Gu and Dao 2023, arXiv:2312.00752)."""

SYNAPSES = Cell(
    """
    A = w * sigmoid(g * (outer(1, v_prev) - mu))
    a = w_s * sigmoid(outer(x, 1) - m_s)
    v = (v_prev + sum(A * E, 1) + sum(a, 0)) / (2 + sum(A * A, 1) + sum(a * a, 0))
    y = v + 0.1 * sum(A) - 0.2 * mean(a)
    """,
    name="synapses",
    output="y",
    shapes={"w": "n, n", "w_s": "d, n"},
)
"""Matrices that are no states, and sums of all kinds (after Hasani et al. 2021, arXiv:2006.04439)."""

PLASTIC = Cell(
    """
    h = tanh(W @ x + (U + A * Q_prev) @ h_prev + (Q_prev / (2 + sum(x))).T @ h_prev + b)
    Q = (1 - sigmoid(e)) * Q_prev + sigmoid(e) * outer(h, h_prev) + 0.1 * eye * outer(h, 1)
    """,
    name="plastic",
    output="h",
    shapes={"e": ""},
)
"""A static matrix beside one of each step, on the left of a product; the identity (after Miconi et al. 2018, arXiv:1804.02464)."""

MATRIX_CELLS = {cell.name: cell for cell in (DELTA, OJA, SSM, SYNAPSES, PLASTIC)}
