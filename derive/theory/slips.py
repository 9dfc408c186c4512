"""Backward passes written by hand, right or with a slip: what notes on LSTMs and RNNs often leave out, to be measured against the kernels.

The full rules are B1-B25 of the LSTM's derivation and Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, eqs. 3-5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
GATES = "ifgo"


@dataclass(frozen=True)
class Rule:
    """A backward pass of the LSTM; by default the full one.

    Attributes
    ----------
    source : str
        Where c̄ takes in what comes through h, h̄ ⊙ o ⊙ (1 - tanh(c)²): at ``every`` step, at the ``last``, or ``never``; ``memory``: at the
        last step, and before it of h̄ only what comes through i, f and g of the next step.
    future : bool
        Whether what h_{t-1} does to c_t counts with all that comes of c_t, or only with what reaches h_t.
    gates : str
        Through which of the four h_{t-1} is reached.
    at_value : bool
        Whether slopes are taken at the activated value: σ'(o) = σ(o) (1 - σ(o)) in place of o (1 - o).
    """

    source: str = "every"
    future: bool = True
    gates: str = GATES
    at_value: bool = False

    def slope(self, gate: str, value: Array) -> Array:
        """Return the derivative of the function that made `value`."""
        made = value if not self.at_value else np.tanh(value) if gate == "g" else 1 / (1 + np.exp(-value))
        return 1 - made**2 if gate == "g" else made * (1 - made)


def lstm_gradient(tape: Any, dy: Array, dfinal: Any, rule: Rule) -> Array:
    """Return the gradient of all parameters, as one vector in the order of `Params`, by `rule` from the values on a kernel's tape."""
    saved, params, x = tape.saved, tape.params, tape.inputs.x
    deltas = {gate: np.zeros_like(saved.i) for gate in GATES}
    c_later, h_later = dfinal
    h_memory = np.zeros_like(h_later)
    for t in reversed(range(len(dy))):
        value = {gate: getattr(saved, gate)[t] for gate in GATES}
        h_bar, tanh_c = dy[t] + h_later, np.tanh(saved.c[t + 1])
        through_h = h_bar * value["o"] * (1 - tanh_c**2)
        last = t == len(dy) - 1
        taken = rule.source == "every" or (last and rule.source in ("last", "memory"))
        c_bar = c_later + through_h if taken else c_later
        if rule.source == "memory" and not last:
            c_bar = c_bar + h_memory * value["o"] * (1 - tanh_c**2)
        slope = {gate: rule.slope(gate, value[gate]) for gate in GATES}
        factor = {"i": value["g"], "f": saved.c[t], "g": value["i"]}  # ∂c/∂ of each
        for gate in GATES:
            deltas[gate][t] = slope[gate] * (h_bar * tanh_c if gate == "o" else c_bar * factor[gate])
        reached = c_bar if rule.future else through_h
        back = {gate: deltas["o"][t] if gate == "o" else slope[gate] * reached * factor[gate] for gate in rule.gates}
        handed = {gate: part @ getattr(params, f"U_{gate}") for gate, part in back.items()}
        h_memory, h_later = (sum((handed[gate] for gate in kept if gate in handed), np.zeros_like(h_bar)) for kept in ("ifg", GATES))
        c_later = c_bar * value["f"]
    return np.concatenate([part.ravel() for gate in GATES for part in sums(deltas[gate], x, saved.h[:-1])])


def sums(delta: Array, x: Array, h_prev: Array) -> tuple[Array, Array, Array]:
    """Return Σ_t δ xᵀ, Σ_t δ h_{t-1}ᵀ and Σ_t δ, over the batch too."""
    return np.einsum("tbi,tbj->ij", delta, x), np.einsum("tbi,tbj->ij", delta, h_prev), delta.sum(axis=(0, 1))


def rnn_gradient(tape: Any, dy: Array, slip: str = "") -> Array:
    """Return the gradient of W, U and b of the tanh RNN as one vector, as the double sum over k ≥ t of (∂z_k/∂z_t)ᵀ ∂L_k/∂z_k.

    Parameters
    ----------
    slip : str
        ``order``: ∂z_k/∂z_t as U^(k-t) times the product of all slopes; ``transpose``: the Jacobians in the recursion not transposed;
        ``total``: ∂L/∂z_k, with all later losses, in the place of ∂L_k/∂z_k.
    """
    u, h = tape.params.U, tape.saved.h
    slope = 1 - h[1:] ** 2  # φ'(z_t)
    if slip == "transpose":
        delta = _recursion(dy, slope, lambda cotangent, later: (cotangent @ u.T) * later)
    elif slip == "order":
        delta = _unordered(dy * slope, slope, u)
    else:
        right = _recursion(dy, slope, lambda cotangent, later: (cotangent * later) @ u)
        delta = _recursion(right / slope, slope, lambda cotangent, later: (cotangent * later) @ u) if slip == "total" else right
    return np.concatenate([part.ravel() for part in sums(delta, tape.inputs.x, h[:-1])])


def _recursion(direct: Array, slope: Array, back: Any) -> Array:
    """Return δ_t = φ'(z_t) ⊙ s̄_t, with s̄_t what step t gets directly and `back(s̄_{t+1}, φ'(z_{t+1}))`."""
    delta, later = np.zeros_like(direct), np.zeros_like(direct[0])
    for t in reversed(range(len(direct))):
        cotangent = direct[t] + later
        delta[t] = cotangent * slope[t]
        later = back(cotangent, slope[t])
    return delta


def _unordered(direct: Array, slope: Array, u: Array) -> Array:
    """Return Σ_{k≥t} (U^(k-t) Diag(Π_{i=t}^{k-1} φ'(z_i)))ᵀ direct_k for every t."""
    delta = np.zeros_like(direct)
    for t in range(len(direct)):
        slopes, power = np.ones_like(direct[0]), np.eye(len(u))
        for k in range(t, len(direct)):
            delta[t] += slopes * (direct[k] @ power)
            slopes, power = slopes * slope[k], power @ u
    return delta
