"""How far a gradient reaches: the norm of ∂L_T/∂s_{T-k} over the distance k, by the kernels' backward pass, one step at a time.

The state s is h, for an LSTM c and h side by side.  Networks are at their initial parameters, inputs standard normal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generated import gru, lstm, rnn

from ..plotting import BLUE, GREEN, PINK, RED, YELLOW
from .appearance import Data, below, powers

Array = NDArray[np.float64]

STEPS, BATCH, INPUTS, HIDDEN = 100, 8, 16, 64
WARM_UP, OPEN_WARM_UP = 20, 600  # the second with a gate's bias of 3 or 5: four time constants of the slowest, σ(5), are 596 steps
NETWORKS = 5
RADII = (0.5, 0.9, 1.0, 1.5, 3.0)
BIASES = (0.0, 1.0, 3.0, 5.0)
KEEPS = (0.0, 3.0)
SCALED = "lstm 1, U × 8"


@dataclass(frozen=True)
class Network:
    """A generated module, how its parameters are made from a seed, and the steps after which its first state hardly matters."""

    module: Any
    params: Callable[[int], Any]
    warm_up: int = WARM_UP


def tanh_rnn(radius: float, hidden: int = HIDDEN) -> Network:
    """Return the tanh RNN with a normal recurrent matrix, scaled so that its largest eigenvalue has the absolute value `radius`."""

    def params(seed: int) -> Any:
        start = rnn.init(INPUTS, hidden, seed=seed, dtype=np.float64)
        u = np.random.default_rng(seed).standard_normal((hidden, hidden))
        return start._replace(U=u * (radius / np.abs(np.linalg.eigvals(u)).max()), b=np.zeros(hidden))

    return Network(rnn, params)


def open_lstm(bias: float, hidden: int = HIDDEN, scale: float = 1.0) -> Network:
    """Return the LSTM as it is initialised, with every forget bias at `bias` and its recurrent matrices times `scale`."""

    def params(seed: int) -> Any:
        start = lstm.init(INPUTS, hidden, seed=seed, dtype=np.float64)
        return start._replace(b_f=np.full(hidden, bias), **{name: getattr(start, name) * scale for name in ("U_i", "U_f", "U_g", "U_o")})

    return Network(lstm, params, _warm_up(bias))


def keeping_gru(bias: float, hidden: int = HIDDEN) -> Network:
    """Return the GRU as it is initialised, with every bias of the update gate, which keeps the old state where it is 1, at `bias`."""

    def params(seed: int) -> Any:
        return gru.init(INPUTS, hidden, seed=seed, dtype=np.float64)._replace(b_z=np.full(hidden, bias))

    return Network(gru, params, _warm_up(bias))


def _warm_up(bias: float) -> int:
    return OPEN_WARM_UP if bias > 1 else WARM_UP


def networks() -> dict[str, Network]:
    """Return the networks that are compared, by the names in the data."""
    return {
        **{f"rnn {radius:g}": tanh_rnn(radius) for radius in RADII},
        **{f"lstm {bias:g}": open_lstm(bias) for bias in BIASES},
        SCALED: open_lstm(1.0, scale=8.0),
        **{f"gru {bias:g}": keeping_gru(bias) for bias in KEEPS},
    }


def distances(network: Network, seed: int, steps: int = STEPS, warm_up: int | None = None, batch: int = BATCH) -> Array:
    """Return ‖∂L_T/∂s_{T-k}‖ for k = 0 … steps, one column a sequence: `(steps + 1, batch)`.

    L_T = ⟨v, h_T⟩ with a random v of norm 1 for each sequence.  The T - steps steps before, by default the network's own `warm_up`, are
    run forward only: at zero, where the state starts, its gradient is not what it is later on.
    """
    warm_up = network.warm_up if warm_up is None else warm_up
    random = np.random.default_rng((seed, 1))
    params = network.params(seed)
    x = random.standard_normal((warm_up + steps, batch, INPUTS))
    _, state, _ = network.module.forward(x[:warm_up], params)
    v = random.standard_normal(state.h.shape)
    tapes = []
    for t in range(warm_up, warm_up + steps):
        _, state, tape = network.module.forward(x[t : t + 1], params, state)
        tapes.append(tape)
    nothing = network.module.State(*(np.zeros_like(part) for part in state))
    back = nothing._replace(h=v / np.linalg.norm(v, axis=1, keepdims=True))
    found = [back]
    for tape in reversed(tapes):
        back = network.module.backward(None, tape, dfinal=back).state
        found.append(back)
    return np.stack([np.linalg.norm(np.concatenate(parts, axis=1), axis=1) for parts in found])


def median(network: Network, seeds: range = range(NETWORKS)) -> Array:
    """Return the median over all networks and sequences at every distance."""
    return np.asarray(np.median(np.concatenate([distances(network, seed) for seed in seeds], axis=1), axis=1))


def rate(norms: Array | list[float]) -> float:
    """Return the factor a step over the farther half of the distances: the slope of log norm."""
    half = len(norms) // 2
    return float(np.exp(np.polyfit(np.arange(half, len(norms)), np.log(np.asarray(norms)[half:]), 1)[0]))


def along_memory(bias: float, seeds: range = range(NETWORKS)) -> tuple[float, float]:
    """Return what an LSTM's forget gates alone do to a gradient along c, on the inputs of `distances`.

    The first number is the geometric mean of the gates over steps, sequences and units, the second the rate of the norms of their products
    over k = 0 … STEPS steps back: what ∂c_T/∂c_{T-k} would be if h were not read.  Both are medians over the networks.
    """
    network, means, norms = open_lstm(float(bias)), [], []
    for seed in seeds:
        x = np.random.default_rng((seed, 1)).standard_normal((network.warm_up + STEPS, BATCH, INPUTS))
        _, _, tape = lstm.forward(x, network.params(seed))
        gates = tape.saved.f[network.warm_up :][::-1]
        means.append(np.exp(np.log(gates).mean()))
        norms.append(np.linalg.norm(np.cumprod(np.concatenate([np.ones_like(gates[:1]), gates]), axis=0), axis=2))
    return float(np.median(means)), rate(np.median(np.concatenate(norms, axis=1), axis=1))


def stretch(radius: float) -> float:
    """Return the largest singular value of the recurrent matrix at spectral radius `radius`, the median over the networks."""
    return float(np.median([np.linalg.norm(tanh_rnn(radius).params(seed).U, 2) for seed in range(NETWORKS)]))


def measure() -> Data:
    """Return the median norms by network, their rate a step, and the bound's rate for the tanh RNN."""
    curves = {name: median(network) for name, network in networks().items()}
    return {
        "settings": {"d": INPUTS, "n": HIDDEN, "batch": BATCH, "networks": NETWORKS, "steps": STEPS},
        "warm up": {name: network.warm_up for name, network in networks().items()},
        "norms": {name: curve.tolist() for name, curve in curves.items()},
        "rates": {name: rate(curve) for name, curve in curves.items()},
        "largest singular values": {f"{radius:g}": stretch(radius) for radius in RADII},
    }


def draw(data: Data, figure: Any) -> None:
    """Draw the tanh RNN by spectral radius beside the gated cells."""
    left, right = figure.subplots(1, 2, sharey=True)
    colours = (BLUE, GREEN, YELLOW, RED, PINK)
    _panel(left, data["norms"], {f"rnn {r:g}": (f"radius {r:g}", colour, "-") for r, colour in zip(RADII, colours, strict=True)})
    left.set(title="tanh RNN, by spectral radius", ylabel="norm of the gradient with respect to the state")
    lstms = {f"lstm {b:g}": (f"LSTM, forget bias {b:g}", colour, "-") for b, colour in zip(BIASES, colours, strict=False)}
    grus = {f"gru {b:g}": (f"GRU, update bias {b:g}", colour, "--") for b, colour in zip(KEEPS, (BLUE, YELLOW), strict=True)}
    _panel(right, data["norms"], lstms | {SCALED: ("LSTM, bias 1, U × 8", PINK, "-")} | grus)
    right.set(title="gated cells")


def _panel(axes: Any, norms: Mapping[str, list[float]], lines: Mapping[str, tuple[str, str, str]]) -> None:
    for name, (label, colour, dash) in lines.items():
        axes.plot(range(len(norms[name])), norms[name], dash, color=colour, label=label)
    axes.set(xlabel="steps back, k", xlim=(0, len(next(iter(norms.values()))) - 1))
    powers(axes.yaxis, -24, 12, 6)
    below(axes, 2)
