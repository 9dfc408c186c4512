"""Random cells: a short run, and every cell that once failed."""

from __future__ import annotations

import contextlib

import pytest
from conftest import ordinary
from hypothesis import HealthCheck, Phase, given, settings

from fuzz.strategy import Drawn, case, cells
from fuzz.verify import Skipped, verify

FOUND: list[Drawn] = [
    # what two passes of second order lay side by side alike, of which only one is run
    case(
        """
W8, W9, W10, W11 = split(W5 @ (W_prev @ (W6 @ W_prev + W_prev + W6 @ W_prev + W7) + T_prev), 4)
W = W_prev
T = W8
W2 = W12 @ W + 0.5 * W2_prev
W3 = W3_prev
W4 = W4_prev + mean(x)
""",
        name="fuzz",
        output="W8",
        inputs=("x",),
        shapes={"x": "d", "W": "p", "T": "n", "W2": "n", "W3": "", "W4": "n, n", "W5": "4*n, n", "W6": "p, p", "W7": "p", "W12": "n, p"},
        heads="H",
        sizes={"n": 1, "d": 1, "p": 1, "H": 2},
    ),
    # a comparison of what all heads have in common, in a static choice of each
    case(
        """
m = logsumexp((where(outer(b, k) > 3, outer(g, k), 1e-2) * r) @ k) * x
""",
        name="fuzz",
        output="m",
        inputs=("x",),
        shapes={"x": "d", "b": "q", "k": "n", "g": "q", "r": "q, n", "m": "d"},
        heads="H",
        shared=("b", "k"),
        sizes={"n": 2, "d": 2, "q": 3, "H": 2},
    ),
    # what all heads have in common, read where a choice of each head falls on it and by the choice itself
    case(
        """
b = x * x
B = where(mean(outer(r, x) @ c) < b - x, exp(b), 7)
""",
        name="fuzz",
        output="B",
        inputs=("x",),
        context=("c",),
        shapes={"x": "n", "r": "d", "c": "n", "b": "n", "B": "n"},
        heads="H",
        sizes={"n": 4, "d": 2, "H": 3},
    ),
    # a clip of what all heads have in common, along an axis of a matrix of each head
    case(
        """
W = outer(clip_gradient(softmax(d), -0.5, 0.25), r) + 0.5 * W_prev
R = q @ x
""",
        name="fuzz",
        output="R",
        inputs=("x", "d"),
        shapes={"d": "3", "x": "d", "R": "n", "q": "n, d", "W": "3, 3", "r": "3"},
        heads="H",
        shared=("q",),
        sizes={"n": 2, "d": 2, "H": 3},
    ),
    # a matrix that all heads have in common, times a vector of each, to second order
    case(
        """
R = (V - V.T - range * eye) @ R_prev + x
""",
        name="fuzz",
        output="R",
        inputs=("x",),
        fixed=("range",),
        shapes={"R": "n", "V": "n, n", "range": "", "x": "n"},
        heads="H",
        shared=("V",),
        sizes={"n": 3, "H": 2},
    ),
    # what all heads have in common, clipped on its way back: all that it gets together
    case(
        """
s = clip_gradient(softmax(d), -0.5, 0.25) * r + 0.5 * s_prev
""",
        name="fuzz",
        output="s",
        inputs=("d",),
        shapes={"d": "n", "r": "n"},
        heads="H",
        sizes={"n": 3, "H": 3},
    ),
    # a sum that all heads have in common, kept for each
    case(
        """
c = ((sqrt(1 + abs(((where(eye > 0.5, 1, heaviside)) @ x)))) + 3) / (2 + sin(alpha))
v = spike(u2_prev)
g = where(layer_norm(outer(v_prev, x) @ c) > R_prev, R_prev, R_prev) @ static
u2 = (7 + exp(-exp(sum(u) * floor(g * outer(v_prev, alpha2)))) @ u) + R_prev
square = where(square_prev - outer((square_prev @ u), u) >= square_prev, outer(c, u), square_prev)
R = (b @ (((square_prev @ (u + (tau @ v_prev) + Inputs))) / 2))
""",
        name="fuzz",
        output="v",
        inputs=("u",),
        context=("x",),
        functions={"spike(u)": ("step(u - 0.5)", "exp(-u * u)")},
        shapes={
            "u": "d",
            "x": "2*n",
            "v": "n",
            "R": "n",
            "u2": "n",
            "square": "2*n, d",
            "heaviside": "2*n, 2*n",
            "alpha": "",
            "c": "2*n",
            "static": "n",
            "alpha2": "d",
            "b": "n, 2*n",
            "tau": "d, n",
            "Inputs": "d",
        },
        heads="H",
        shared=("alpha", "b", "Inputs"),
        sizes={"n": 1, "d": 2, "H": 2},
    ),
    # a product that a sum reads twice, once times a slope
    case(
        """
m = gamma @ (q @ sin(x) + q @ x) + 0.5 * m_prev
v = W @ x + 0.5 * v_prev
""",
        name="fuzz",
        output="v",
        shapes={"x": "d", "m": "n", "gamma": "n, B", "q": "B, d", "v": "k", "W": "k, d"},
        sizes={"n": 3, "d": 2, "B": 4, "k": 2},
    ),
    # a parameter that is called like the array of a state
    case(
        """
h = tanh(W @ x + U @ h_prev + h_states)
""",
        name="fuzz",
        output="h",
        shapes={"W": "n, d", "U": "n, n", "h_states": "n"},
        sizes={"n": 3, "d": 2},
    ),
    # a number for each feature that SymPy writes as one
    case(
        """
y = sum(v * (1 + t) ** 0) + 0.5 * y_prev
""",
        name="fuzz",
        output="y",
        inputs=(),
        shapes={"v": "", "t": "d", "y": ""},
        sizes={"d": 3},
    ),
    # the identity in a function's argument
    case(
        """
y = sum(tanh(eye + m)) * x + sum(tanh(eye + m)) * y_prev
""",
        name="fuzz",
        output="y",
        shapes={"m": "n, n", "x": "n", "y": "n"},
        sizes={"n": 3, "d": 3},
    ),
    # a sum over steps of a slice of a carried cotangent
    case(
        """
v = [(m @ x) + b] + 0.5 * v_prev
y = y_prev
""",
        name="fuzz",
        output="y",
        shapes={"y": "n", "v": "n", "m": "n, d", "b": "n"},
        sizes={"n": 3, "d": 2},
    ),
    # a carried cotangent that is the start of a product's sum, and summed over steps
    case(
        """
y = sum(x)
u = s_prev + (A @ s_prev) + b
s = u
""",
        name="fuzz",
        output="y",
        shapes={"x": "d", "s": "n", "A": "n, n", "b": "n", "y": "", "u": "n"},
        sizes={"n": 1, "d": 1},
    ),
    # two matrices of one operand whose products share a cotangent
    case(
        """
w = tanh(x)
s = (A @ w) + (C @ w) + b + 0.5 * s_prev
y = sum(w)
""",
        name="fuzz",
        output="y",
        shapes={"x": "n", "w": "n", "s": "n", "A": "n, n", "C": "n, n", "b": "n", "y": ""},
        sizes={"n": 5, "d": 5},
    ),
    # a mean of a transposed matrix has one number as its gradient
    case(
        """
index = mean(final.T) + 0.5 * index_prev
""",
        name="fuzz",
        output="index",
        inputs=(),
        shapes={"index": "", "final": "n, B"},
        sizes={"n": 3, "d": 7, "B": 4},
    ),
    # a sum over steps of a carried cotangent
    case(
        """
beta = x + 0.5 * beta_prev
n = (b2 @ dx) + 0.5 * n_prev
""",
        name="fuzz",
        output="beta",
        context=("dx",),
        shapes={"x": "d", "dx": "p", "beta": "d", "n": "p", "b2": "p, p"},
        sizes={"n": 5, "d": 7, "p": 4},
    ),
    # a concatenation of one static part
    case(
        """
g2, c = split(size @ ([minimum(T, 2)]), 2)
q = q_prev + (R2 @ g2) + x
""",
        name="fuzz",
        output="c",
        inputs=("x",),
        shapes={"x": "d", "q": "d", "size": "2*d, q", "T": "q", "R2": "d, d"},
        sizes={"n": 3, "d": 2, "q": 6},
    ),
    # a state that no state feeds
    case(
        """
y = z @ g_prev
g = (p2 @ x)
""",
        name="fuzz",
        output="g",
        inputs=("x",),
        shapes={"x": "d", "g": "n + d", "y": "n", "z": "n, n + d", "p2": "n + d, d"},
        sizes={"n": 5, "d": 1, "h": 1},
    ),
    # an output made once, read by a product
    case(
        """
i, h = split(U @ T, 2)
p =  where(h > p_prev, h, LAYER @ i) 
""",
        name="fuzz",
        output="i",
        inputs=(),
        context=("T",),
        shapes={"T": "d", "p": "n", "LAYER": "n, n", "U": "2*n, d"},
        sizes={"n": 3, "d": 1, "B": 4},
    ),
    # a concatenation of static and batched parts
    case(
        """
a = [backward, x, backward]
p = p_prev * a
""",
        name="fuzz",
        output="p",
        inputs=("x",),
        shapes={"x": "d", "backward": "d", "p": "3*d"},
        sizes={"n": 3, "d": 2, "B": 4},
    ),
    # a static softmax as a state
    case(
        """
r = softmax(u)
v = r_prev * x
""",
        name="fuzz",
        output="v",
        inputs=("x",),
        shapes={"x": "n", "r": "n", "u": "n"},
        sizes={"n": 3, "d": 2, "q": 2},
    ),
    # a sum over steps of a part of a concatenation
    case(
        """
v = v_prev + LAYER
h, s = split(tanh([v_prev * y + tau @ range, v]), 2)
""",
        name="fuzz",
        output="h",
        inputs=("LAYER",),
        context=("y",),
        shapes={"LAYER": "", "y": "n", "v": "n", "range": "T", "tau": "n, T"},
        sizes={"n": 5, "d": 2, "T": 4},
    ),
    # a scalar broadcast within a sum
    case(
        """
m = mean(x) + z_prev
z = m 
W = sum(m - z_prev + x)
""",
        name="fuzz",
        output="W",
        inputs=("x",),
        shapes={"x": "n", "z": "", "m": "", "W": ""},
        sizes={"n": 5, "d": 2},
    ),
    # a product of a value made once, in a region of all steps
    case(
        """
z = (U @ (elu((layer_norm((i @ (u+0*x)))) * g)))
""",
        name="fuzz",
        output="z",
        inputs=("x",),
        context=("u",),
        constants={"g": 3},
        shapes={"i": "d, d", "z": "d", "U": "d, d"},
        sizes={"n": 1, "d": 2},
    ),
    # parameters and inputs that reach no result have a gradient of zero
    case("h = tanh(x + h_prev)\nv = w + b", name="fuzz", output="h"),
    # a function of a number
    case("h = softplus(1) * x + h_prev", name="fuzz", output="h"),
    # an index into a static vector, and two vectors of different sizes under one index
    case("h = h_prev + pick(w, k) + pick(x, k)", name="fuzz", output="h", inputs=("x", "k"), shapes={"w": "p", "h": ""}, sizes={"p": 2}),
    # inputs that are named like what a module defines
    case("h = h_prev + Inputs + LAYER", name="fuzz", output="h", inputs=("Inputs", "LAYER"), shapes={"Inputs": "n", "LAYER": "n"}),
    case("h = h_prev + x", name="fuzz", output="h", inputs=(), context=("x",), shapes={"x": "n"}),
    # a state that is a product, read after the loop
    case("s = U @ s_prev\na, b = split([V @ s_prev, s], 2)", name="fuzz", output="a", inputs=(), shapes={"s": "n"}, sizes={"n": 3}),
    case("h = U @ h_prev\na, b = split(V @ h, 2)", name="fuzz", output="a", inputs=(), sizes={"n": 3}),
    # an index that one line reads in vain
    case("a = pick(x, k)\nh = pick(w, k) + 0.5 * h_prev", name="fuzz", output="h", inputs=("x", "k"), shapes={"w": "p"}, sizes={"p": 5}),
    # a concatenation of parts of unknown size that is split
    case("a, b = split([w + h_prev, h_prev], 2)\nh = a * x + b", name="fuzz", output="h", shapes={"h": "n"}),
    # On devices.  Products of products, and a value that is called like a kernel's own variable
    case("b = tanh(A @ (B @ b_prev) + x)", name="fuzz", output="b", shapes={"x": "n", "B": "p, n"}),
    # what a loop keeps for the backward pass, and another of the same step reads
    case("a = U @ h_prev\nh = softmax(a) * x + 0.5 * m_prev\nm = layer_norm(h)", name="fuzz", output="h", shapes={"x": "n"}),
    # a state's cotangent that is a product formed before the loop that reads the one of the next step
    case("a = W @ w_prev + 0.5 * a_prev\nw = x * w_prev", name="fuzz", output="a", shapes={"x": "n", "a": "n"}),
    # a view of what the same loop makes
    case("s = [softmax(x + h_prev)]\nh = s * x", name="fuzz", output="h", shapes={"x": "n"}),
    # a size that only an elementwise loop has
    case("s = 0.5 * s_prev + mean(v) + pick(x, k)", name="fuzz", output="s", inputs=("x", "k"), context=("v",), shapes={"v": "n", "s": ""}),
    # an operand that is given once a sequence
    case(
        "c = tanh(pick(w, k) * v)\nh = (h_prev * h_prev) + (W @ (U @ c)) + (V @ h_prev)",
        name="fuzz",
        output="h",
        inputs=(),
        context=("k",),
        shapes={"k": "", "h": "n", "v": "d", "W": "n, d", "U": "d, d"},
    ),
    # an operand that is a part of what a loop stores
    case(
        "g = g_prev + x\nz = softmax([P @ g_prev, W] * g) @ g",
        name="fuzz",
        output="z",
        shapes={"x": "n + d", "z": "", "g": "n + d", "P": "d, n + d", "W": "n"},
    ),
    # a sum over features of two sizes
    case("h = (U @ h_prev) + mean(y)", name="fuzz", output="h", inputs=("y",), shapes={"y": "n + d", "h": "n"}),
    # a state that is a product, and stands in another's sum
    case("s = U @ s_prev\nv = s + 0.5 * v_prev + mean(x)", name="fuzz", output="v", shapes={"x": "d", "s": "n", "v": "n"}, sizes={"d": 2}),
    # a product of a state's previous value, after one that makes the next: added to what a loop leaves
    case("s = U @ v_prev + x\nv = V @ s_prev", name="fuzz", output="s", shapes={"x": "n", "s": "n", "v": "n"}),
    case(
        "s = U.T @ s_prev\nv = V @ s_prev + 0.5 * v_prev + mean(x)",
        name="fuzz",
        output="v",
        shapes={"x": "d", "s": "n", "v": "n"},
        sizes={"d": 2},
    ),
    # the same, before the loop
    case(
        "s = U.T @ s_prev\nz = B @ tanh(s)\nv = tanh(V @ s_prev + x * z + 0.5 * v_prev)",
        name="fuzz",
        output="v",
        shapes={"x": "n", "s": "n", "v": "n", "z": "n"},
    ),
    # states that are products with transposed matrices, in one sum
    case("a = A.T @ a_prev\nb = B.T @ b_prev\nc = a + b + x", name="fuzz", output="c", shapes={"x": "n", "a": "n", "b": "n"}),
    # a mean that is large beside the deviations from it, in first and in second order
    case("h = layer_norm(300 * (h_prev @ h_prev) + x) + h_prev", name="fuzz", output="h", shapes={"x": "n", "h": "n"}, sizes={"n": 17}),
    # a normalisation of parameters alone that is a state's value, in second order
    case("s = layer_norm(b)\nh = s * x + s_prev", name="fuzz", output="h", shapes={"x": "n", "b": "n"}, sizes={"n": 3}),
    # a matrix that heads have in common, of a state, which only what follows the loop reads
    case(
        "R = M @ tanh(Z @ e)\nm = e\nh = sum(outer(1, M.T @ R_prev) * outer(e, m_prev), 1) * m_prev",
        name="fuzz",
        output="h",
        inputs=(),
        context=("e",),
        shapes={"e": "d", "R": "n", "m": "d", "Z": "d, d", "M": "n, d", "h": "d"},
        sizes={"n": 5, "d": 2, "H": 3},
        heads="H",
    ),
    # a product with all heads' matrices that a copy stands for, in what the code says of itself
    case(
        "m = e\nR = M @ e\nh = (M.T @ R_prev) * m_prev",
        name="fuzz",
        output="h",
        inputs=(),
        context=("e",),
        shapes={"e": "d", "R": "n", "m": "d", "M": "n, d", "h": "d"},
        sizes={"n": 5, "d": 2, "H": 2},
        heads="H",
    ),
    # parameters times the number 0: of each head, and of two sizes
    case("h = (0 * W) @ x + h_prev", name="fuzz", output="h", shapes={"x": "n", "W": "n, n"}, sizes={"n": 3, "H": 2}, heads="H"),
    case("s = 0 * b\nh = s_prev * x + h_prev", name="fuzz", output="h", shapes={"x": "n", "b": "n"}, sizes={"n": 3, "H": 2}, heads="H"),
    case("h = [0 * a, 0 * b, x] + h_prev", name="fuzz", output="h", shapes={"x": "n", "a": "n", "b": "d"}, sizes={"n": 3, "d": 2}),
    # products whose vectors are zero unless a neuron, or the only one, spikes
    case(
        "W = W4 @ W_prev\nW2 = abs(W5 @ (u_prev * W_prev)) + u_prev + W2_prev\nu = step(u_prev)\nW3 = W_prev + 0.5 * W3_prev + mean(x)",
        name="fuzz",
        output="W",
        inputs=("x",),
        shapes={"x": "d", "u": "", "W": "n", "W2": "n", "W3": "n", "W4": "n, n", "W5": "n, n"},
        sizes={"n": 3, "d": 2},
    ),
    case("z = step(v_prev)\nv = 0.9 * (1 - z) * v_prev + W @ x + V @ z_prev", name="fuzz", output="v", sizes={"n": 3, "d": 2}),
]


LONG = "c = ((sqrt(1"  # the beginning of one whose kernels take a minute on the simulator


def first_line(found: Drawn) -> str:
    return found.text.strip().splitlines()[0]


@pytest.mark.parametrize("found", ordinary(FOUND, [found for found in FOUND if not first_line(found).startswith(LONG)]), ids=first_line)
def test_cells_that_once_failed(found: Drawn) -> None:
    assert found.cell is not None, found.refusal
    assert verify(found.cell, found.sizes, simulate=True) <= 1


@settings(max_examples=24, derandomize=True, deadline=None, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
@given(cells())
def test_random_cells(drawn: Drawn) -> None:
    if drawn.cell is None:
        return
    with contextlib.suppress(Skipped):
        assert verify(drawn.cell, drawn.sizes) <= 1


@given(cells())
@settings(
    max_examples=100, derandomize=True, deadline=None, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck)
)
def test_few_random_cells_are_refused(drawn: Drawn) -> None:
    REFUSED.append(drawn.cell is None)
    assert sum(REFUSED) <= 5


REFUSED: list[bool] = []
