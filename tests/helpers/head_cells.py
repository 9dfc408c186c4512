"""Cells of heads: those that are hard in a way of their own."""

from derive import Cell

SHARED = Cell(
    """
    u = sigmoid(W_u @ x)
    z = tanh(R @ h_prev + W @ u + part(P @ x) + b)
    h = where(z > u, u * h_prev, z) * g + sum(u) * scale
    y = W_o @ merge(h) + u
    """,
    name="shared",
    output="y",
    heads="H",
    shared=("W_u", "R", "P", "g", "W_o"),
    shapes={"scale": ""},
)
"""Heads that have parameters, a gate, and even the recurrent matrix in common."""

BLOCKS = Cell(
    """
    z = W_z @ x + R_z @ h_prev + b_z
    o = sigmoid(W_o @ x + R_o @ h_prev + z * merged(h_prev))
    h = o * h_prev + (1 - o) * tanh(z) + part(e)
    """,
    name="blocks",
    output="h",
    heads="H",
    context=("e",),
    functions={"merged(v)": "part(U @ merge(v))"},
    shared=("U",),
    shapes={"U": "H*n, H*n"},
)
"""Recurrent matrices of blocks beside one of all heads, and a context that they part (Beck et al. 2024, arXiv:2405.04517)."""

MEMORY = Cell(
    """
    k = softmax(W_k @ x)
    v = W_v @ x
    w = outer(W_s @ x, u)
    D = exp(-softplus(A)) * S_prev
    c = c_prev + sum(D * D) / 10
    S = D + w * sigmoid(a @ x) + outer(v - D @ k, k)
    p = logsumexp(S @ u / 3) + n_prev * sigmoid(c)
    n = tanh(p) * ((B.T @ (B @ q)) @ v)
    y = W_o @ merge(n * (S @ k) + sum(D.T @ v) * q)
    """,
    name="memory",
    output="y",
    heads="H",
    shared=("W_s", "u", "W_o"),
    shapes={"a": "d", "A": "v, k", "W_k": "k, d", "W_v": "v, d", "u": "k", "W_s": "v, d", "B": "v, v", "q": "v"},
)
"""Matrices and numbers of each head, a matrix that all have in common, and products of parameters of each head."""

HEAD_CELLS = {cell.name: cell for cell in (SHARED, BLOCKS, MEMORY)}
