"""The gradient of a sequence as an explicit double sum over steps, and a tangent as a sum, with ordered products of Jacobians.

    ∂L/∂W = Σ_t Σ_{k≥t} (∂⁺s_t/∂W)ᵀ (∂s_{t+1}/∂s_t)ᵀ ⋯ (∂s_k/∂s_{k-1})ᵀ ∂L_k/∂s_k
    ṡ_k   = Σ_{t≤k} (∂s_k/∂s_{k-1}) ⋯ (∂s_{t+1}/∂s_t) ((∂⁺s_t/∂W) Ẇ + (∂⁺s_t/∂x_t) ẋ_t) + (∂s_k/∂s_{k-1}) ⋯ (∂s_1/∂s_0) ṡ_0

(Pascanu, Mikolov and Bengio 2013, arXiv:1211.5063, eqs. 3-5; ∂⁺ is the immediate derivative, with s_{t-1} held constant.)  Here it is
summed as it stands: T (T + 1) / 2 terms, each with up to T - 1 Jacobians; the recursion of `derive.calculus.derivation` gives the same in T
products.  Matrices do not commute in general, so their order is part of the formula: ∂s_k/∂s_t is J_k J_{k-1} … J_{t+1}, and a power
W^(k-t) only where all of them are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..calculus.chain import BACKWARD, FORWARD, Derivation
from ..calculus.derivation import differentiate
from ..calculus.jacobian import jacobian
from ..language.definition import Definition
from ..language.names import previous
from .interpret import run
from .jacobian import block_values

Array = np.ndarray


@dataclass(frozen=True)
class Trajectory:
    """What a cell computed over a sequence.

    Attributes
    ----------
    derivation : Derivation
    sizes : mapping
    names : tuple of str
        What the state vector s_t is made of: the states, and the output if it is none.
    values : mapping
        Every value at every step, `(T, B, ·)`; statics and contexts as given.
    """

    derivation: Derivation
    sizes: Mapping[str, int]
    names: tuple[str, ...]
    values: Mapping[str, Array]
    steps: int
    batch: int

    def step(self, t: int) -> dict[str, Array]:
        """Return all values of step `t`."""
        constant = {*self.derivation[FORWARD].recurrence.statics, *self.derivation[FORWARD].recurrence.contexts}
        return {name: value if name in constant else value[t] for name, value in self.values.items()}

    def pack(self, parts: Mapping[str, Array]) -> Array:
        """Return the vectors of `parts` side by side, in the order of `names`; those that are missing are zero."""
        widths = dict(zip(self.names, self.widths, strict=True))
        lead = (self.batch,)
        return np.concatenate([np.reshape(parts.get(n, np.zeros((*lead, widths[n]))), (*lead, widths[n])) for n in self.names], axis=-1)

    def unpack(self, vector: Array) -> dict[str, Array]:
        """Return the inverse of `pack`."""
        ends = np.cumsum(self.widths)[:-1]
        types = self.derivation[FORWARD].recurrence.types
        parts = dict(zip(self.names, np.split(vector, ends, axis=-1), strict=True))
        return {name: part if types[name].shape else part[..., 0] for name, part in parts.items()}

    @property
    def widths(self) -> list[int]:
        types = self.derivation[FORWARD].recurrence.types
        return [types[name].shape[0].evaluate(self.sizes) if types[name].shape else 1 for name in self.names]


def trajectory(cell: Definition, values: Mapping[str, Array], sizes: Mapping[str, int], steps: int, batch: int) -> Trajectory:
    """Run `cell` and keep everything.

    Parameters
    ----------
    cell : Definition
    values : mapping
        float64 arrays: parameters and array constants; contexts and previous states (``h_prev``, before the first step) `(B, ·)`; inputs
        `(T, B, ·)`.
    sizes : mapping
        Value of each named size.
    steps, batch : int
        T and B.
    """
    derivation = differentiate(cell)
    forward = derivation[FORWARD].recurrence
    everything = (*(c.previous for c in forward.carries), *(eq.name for eq in forward.body))
    result = run(replace(forward, written=everything), values, sizes, steps, batch)
    given = {name: np.asarray(values[name]) for name in (*forward.statics, *forward.contexts, *forward.sequences)}
    names = tuple(dict.fromkeys((*cell.states, cell.output)))
    return Trajectory(derivation, sizes, names, {**given, **result.sequences}, steps, batch)


def step_jacobians(path: Trajectory) -> Array:
    """Return ∂s_t/∂s_{t-1} for every step, `(T, B, N, N)`, with N features in all of `path.names`.

    An output that is no state has rows and, as no step reads it, zero columns.

    Parameters
    ----------
    path : Trajectory
        Of T steps and B sequences.
    """
    cell = path.derivation.cell
    step = jacobian(cell, of=path.names)
    total = sum(path.widths)
    found = np.zeros((path.steps, path.batch, total, total))
    starts = dict(zip(path.names, np.cumsum([0, *path.widths]), strict=False))
    widths = dict(zip(path.names, path.widths, strict=True))
    for t in range(path.steps):
        blocks = block_values(step, path.step(t), path.sizes)
        for of in path.names:
            for by in cell.states:
                rows, columns = (slice(starts[n], starts[n] + widths[n]) for n in (of, by))
                found[t, :, rows, columns] = blocks[of, previous(by)]
    return found


def sensitivity(jacobians: Array, k: int, t: int) -> Array:
    """Return ∂s_k/∂s_t = J_k J_{k-1} … J_{t+1}, `(B, N, N)`, in this order; the identity for k = t.

    Parameters
    ----------
    jacobians : array
        J of every step, `(T, B, N, N)`.
    k, t : int
        Steps, with t ≤ k; t = -1 is the state before the first step.
    """
    _, batch, total, _ = jacobians.shape
    product = np.broadcast_to(np.eye(total), (batch, total, total))
    for j in range(t + 1, k + 1):
        product = jacobians[j] @ product
    return product


def explicit_cotangents(jacobians: Array, direct: Array) -> Array:
    """Return Σ_{k≥t} (∂s_k/∂s_t)ᵀ ∂L_k/∂s_k for t = -1 (the state before the first step), 0, …, T-1, as `(T + 1, B, N)`.

    Parameters
    ----------
    jacobians : array
        `(T, B, N, N)`.
    direct : array
        ∂L_k/∂s_k, what the loss of step k gives to its state, `(T, B, N)`.
    """
    steps = len(direct)
    totals = np.zeros((steps + 1, *direct.shape[1:]))
    for t in range(-1, steps):
        for k in range(max(t, 0), steps):
            totals[t + 1] += np.einsum("bij,bi->bj", sensitivity(jacobians, k, t), direct[k])
    return totals


def immediate_gradients(path: Trajectory, cotangents: Array) -> dict[str, Array]:
    """Return Σ_t (∂⁺s_t/∂θ)ᵀ cotangents[t] for each parameter and context θ, and the gradients of inputs, by name.

    Parameters
    ----------
    path : Trajectory
    cotangents : array
        Of s_t for t = 0, …, T-1: `(T, B, N)`.
    """
    steps = [_one_step_back(path, t, path.unpack(cotangents[t])) for t in range(path.steps)]
    stacked = {name: np.stack([step[name] for step in steps]) for name in steps[0]}
    inputs = path.derivation.cell.inputs
    return {name: value if name in inputs else value.sum(axis=0) for name, value in stacked.items()}


def immediate_tangents(path: Trajectory, along: Mapping[str, Array]) -> Array:
    """Return (∂⁺s_t/∂θ) θ̇ + (∂⁺s_t/∂x_t) ẋ_t for each step, `(T, B, N)`: how the state moves with the state before held constant.

    Row by row of the Jacobians, each by one step of the backward pass.

    Parameters
    ----------
    path : Trajectory
    along : mapping
        The direction: θ̇ of parameters and contexts, ẋ of inputs, `(T, B, ·)`, by name.
    """
    found = np.zeros((path.steps, path.batch, sum(path.widths)))
    for t, b, i in np.ndindex(found.shape):
        unit = np.zeros(found.shape[1:])
        unit[b, i] = 1.0
        gradients = _one_step_back(path, t, path.unpack(unit))
        inputs = path.derivation.cell.inputs
        found[t, b, i] = sum(np.sum(gradient * (along[name][t] if name in inputs else along[name])) for name, gradient in gradients.items())
    return found


def _one_step_back(path: Trajectory, t: int, cotangents: Mapping[str, Array]) -> dict[str, Array]:
    """Return the gradients of parameters, contexts and inputs of step `t` alone, from the cotangents of its states and its output."""
    derivation = path.derivation
    cell, forward, backward = derivation.cell, derivation[FORWARD].recurrence, derivation[BACKWARD].recurrence
    constant = {*backward.statics, *backward.contexts}
    given = {name: value if name in constant else value[t : t + 1] for name, value in path.values.items()}
    output = cotangents[cell.output][None]
    given[derivation[BACKWARD].cotangent[cell.output]] = np.zeros_like(output) if cell.output in cell.states else output
    given |= {carry.previous: cotangents[state] for state, carry in zip(cell.states, backward.carries, strict=True)}
    result = run(backward, given, path.sizes, 1, path.batch)
    found = {**result.results, **{name: rows[0] for name, rows in result.sequences.items()}}
    named = derivation[BACKWARD].cotangent
    return {name: found[named[name]] for name in (*forward.statics, *forward.contexts, *forward.sequences) if name in named}


def explicit_gradients(
    cell: Definition,
    values: Mapping[str, Array],
    sizes: Mapping[str, int],
    dy: Array,
    dfinal: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Return the gradients of parameters, contexts, inputs and previous states (``h_prev``) by the explicit double sum.

    Parameters
    ----------
    cell : Definition
    values, sizes : mapping
        As in `trajectory`.
    dy : array
        Cotangent of the output, `(T, B, ·)`, with at least one step.
    dfinal : mapping, optional
        Cotangent of each state after the last step, `(B, ·)`.
    """
    steps, batch = dy.shape[:2]
    path = trajectory(cell, values, sizes, steps, batch)
    direct = np.stack([path.pack({cell.output: dy[k]}) for k in range(steps)])
    direct[-1] += path.pack(dfinal or {})
    totals = explicit_cotangents(step_jacobians(path), direct)
    initial = path.unpack(totals[0])
    return immediate_gradients(path, totals[1:]) | {previous(state): initial[state] for state in cell.states}


def explicit_tangents(cell: Definition, values: Mapping[str, Array], sizes: Mapping[str, int], along: Mapping[str, Array]) -> Array:
    """Return the tangents of the state (and the output, if it is no state) after each step by the explicit sum, `(T, B, N)`.

    Parameters
    ----------
    cell : Definition
        With an input of numbers, which says how many steps and sequences there are.
    values, sizes : mapping
        As in `trajectory`.
    along : mapping
        The direction: tangents of parameters, contexts, inputs, and previous states (``h_prev``, before the first step), by name.
    """
    steps, batch = next(along[name].shape[:2] for name in cell.inputs if name in along)
    path = trajectory(cell, values, sizes, steps, batch)
    jacobians, local = step_jacobians(path), immediate_tangents(path, along)
    start = path.pack({state: along[previous(state)] for state in cell.states})
    found = np.zeros_like(local)
    for k in range(steps):
        found[k] = np.einsum("bij,bj->bi", sensitivity(jacobians, k, -1), start)
        for t in range(k + 1):
            found[k] += np.einsum("bij,bj->bi", sensitivity(jacobians, k, t), local[t])
    return found
