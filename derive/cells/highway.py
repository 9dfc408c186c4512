"""Recurrent highway networks: several layers with a gate within one step."""

from __future__ import annotations

from ..cell import Cell

DEPTH = 3


def highway_text(depth: int) -> str:
    """Return the equations of a coupled recurrent highway network of `depth` layers; the first sees the input, the last is the state."""
    lines = []
    for k in range(1, depth + 1):
        below = "s_prev" if k == 1 else f"s{k - 1}"
        h, t = ("W_H @ x + ", "W_T @ x + ") if k == 1 else ("", "")
        lines += [
            f"h{k} = tanh({h}R_H{k} @ {below} + b_H{k})",
            f"t{k} = sigmoid({t}R_T{k} @ {below} + b_T{k})",
            f"{'s' if k == depth else f's{k}'} = h{k} * t{k} + {below} * (1 - t{k})",
        ]
    return "\n".join(lines)


LAYERS = range(1, DEPTH + 1)

rhn = Cell(
    highway_text(DEPTH),
    name="rhn",
    output="s",
    title=f"Recurrent highway network of depth {DEPTH}",
    reference="Zilly, Srivastava, Koutník, Schmidhuber 2017, Recurrent Highway Networks, ICML, arXiv:1607.03474",
    description=(
        f"A step of {DEPTH} highway layers, each with weights of its own: a layer mixes what came from below with its own candidate h by "
        "the gate t, and carries the rest, 1 - t. Only the first layer sees the input; the last one's output is the state. The gates' "
        "biases start at -2, so that at first a layer carries about 0.88 of what came from below."
    ),
    init={f"b_T{k}": -2.0 for k in LAYERS},
    latex={
        **{f"{letter}_{gate}{k}": f"{letter}_{{{gate}{k}}}" for letter in "Rb" for gate in "HT" for k in LAYERS},
        **{f"{letter}{k}": f"{letter}_{{{k}}}" for letter in "hts" for k in LAYERS if (letter, k) != ("s", DEPTH)},
    },
)

rhn_loop = Cell(
    """
    t = sigmoid(W_t @ x + R_t[0] @ s_prev + b_t[0])
    z = t * tanh(W_h @ x + R_h[0] @ s_prev + b_h[0]) + (1 - t) * s_prev
    for l in range(1, 4):
        t = sigmoid(R_t[l] @ z + b_t[l])
        z = t * tanh(R_h[l] @ z + b_h[l]) + (1 - t) * z
    s = z
    """,
    name="rhn_loop",
    output="s",
    title="Recurrent highway network of depth 4, as a block",
    reference=rhn.reference,
    description=(
        "The recurrent highway network with its layers as a block that repeats: a layer is written once, and `R_t[l]` is a parameter of "
        "its own for each."
    ),
    init={f"b_t_{k}": -2.0 for k in range(4)},
)

CELLS = (rhn, rhn_loop)
