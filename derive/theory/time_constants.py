"""How long a forget gate remembers: f^k over the steps k, and the time constant by the gate's bias.

A leaky integrator c_t = f c_{t-1} + … forgets like f^k = exp(-k / τ) with τ = -1 / ln f, about 1 / (1 - f) for f near 1; with f = σ(b)
that is 1 + exp(b).  (The reading of gates as time constants: Tallec and Ollivier 2018, arXiv:1804.11188.)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from generated import lstm

from ..plotting import BLUE, GREEN, PINK, RED, YELLOW
from .appearance import INK, Data, below, powers

BIASES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
SHOWN = (0.0, 1.0, 2.0, 3.0, 5.0)
STEPS = 50


def kept(bias: float, steps: int = STEPS) -> list[float]:
    """Return |∂c_T/∂c_{T-k}| for k = 0 … steps by the LSTM's kernel, one unit, all weights zero: the gate is σ(bias) at every step."""
    start = lstm.init(1, 1, dtype=np.float64)
    params = lstm.Params(*(np.zeros_like(part) for part in start))._replace(b_f=np.full(1, bias))
    one = lstm.State(c=np.ones((1, 1)), h=np.zeros((1, 1)))
    found = []
    for k in range(steps + 1):
        _, _, tape = lstm.forward(np.zeros((k, 1, 1)), params)
        found.append(float(lstm.backward(None, tape, dfinal=one).state.c[0, 0]))
    return found


def measure() -> Data:
    """Return what of a gradient along c is left after k steps, the gate and its time constants, by forget bias."""
    gates = {f"{b:g}": 1 / (1 + float(np.exp(-b))) for b in BIASES}
    return {
        "steps": STEPS,
        "kept": {f"{b:g}": kept(b) for b in SHOWN},
        "gate": gates,
        "time constant": {b: -1 / float(np.log(f)) for b, f in gates.items()},
        "1 / (1 - f)": {b: 1 / (1 - f) for b, f in gates.items()},
    }


def draw(data: Data, figure: Any) -> None:
    """Draw what is left over the steps beside the time constant over the bias."""
    left, right = figure.subplots(1, 2)
    for bias, colour in zip(SHOWN, (BLUE, GREEN, PINK, YELLOW, RED), strict=True):
        left.plot(range(data["steps"] + 1), data["kept"][f"{bias:g}"], color=colour, label=f"forget bias {bias:g}")
    left.set(title="a gradient along c", xlabel="steps back, k", ylabel="what is left", xlim=(0, data["steps"]), ylim=(0, 1))
    below(left, 2)
    biases = [float(b) for b in data["time constant"]]
    right.plot(biases, list(data["time constant"].values()), "o-", color=BLUE, label="τ = −1 / ln f")
    right.plot(biases, list(data["1 / (1 - f)"].values()), "--", color=INK, label="1 / (1 − f) = 1 + exp(b)")
    right.set(title="time constant of a forget gate", xlabel="forget bias b", ylabel="steps")
    powers(right.yaxis, 0, 3, 1)
    below(right, 1)
