"""What a generated kernel computes, and what independent witnesses say of the same problem.

PyTorch's automatic differentiation of the cell's text, the derivation run equation by equation, and differences of the kernel's own values.
"""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Any

import numpy as np

from ..calculus.chain import BACKWARD, FORWARD, Derivation
from ..calculus.derivation import differentiate
from ..language.definition import Definition
from .constants import constants_of
from .evaluate import unroll
from .interpret import run as interpret
from .problem import Array, Arrays, Problem, Result
from .tolerances import DIFFERENCES, TOLERANCES, least_of, magnitude

# Of central differences.  Rounding is near 1e-16 / step; the second is for where the first reaches across a kink.
STEPS = (2e-5, 2e-7)
ENTRIES, DIRECTIONS = 12, 2  # differences taken of each array: single entries, and random directions through all of them


def arguments(module: ModuleType, p: Problem) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a generated module's `forward` and `infer`."""
    cell = p.cell
    names = [*cell.inputs, *cell.context]
    first = p.arrays[names.pop(0)] if cell.inputs else None
    params, state = module.Params(**p.parameters), module.State(**p.states)
    keywords: dict[str, Any] = {name: p.arrays[name] for name in names}
    return [first, params, state], keywords if cell.inputs else {**keywords, "steps": p.steps}


def kernel(module: ModuleType, p: Problem) -> Result:
    """Return what the generated module computes."""
    given, keywords = arguments(module, p)
    y, final, tape = module.forward(*given, **keywords)
    grads = module.backward(p.dy, tape, module.State(*(p.dfinal[name] for name in p.cell.states)))
    return Result(_values(p.cell, y, final._asdict()), gradients(p, grads))


def gradients(p: Problem, grads: Any) -> dict[str, Array]:
    """Return the gradients that a generated module's `backward` gave, by name."""
    found = {name: getattr(grads, name) for name in (*p.cell.inputs, *p.cell.context)}
    found |= grads.params._asdict() | {f"{name}_prev": value for name, value in grads.state._asdict().items()}
    return {name: found[name] for name in p.differentiable}


def _values(cell: Definition, y: Array, final: Arrays) -> dict[str, Array]:
    return {"output": y, **{f"final {name}": final[name] for name in cell.states}}


def autograd(p: Problem) -> Result:
    """Return what PyTorch's automatic differentiation of the cell's text gives."""
    torch = importlib.import_module("torch")
    cell, (leaves, y, final) = p.cell, unrolled(p, torch)
    loss = (y * torch.tensor(p.dy)).sum() + sum((final[name] * torch.tensor(value)).sum() for name, value in p.dfinal.items())
    wanted = [leaves[name] for name in p.differentiable]
    found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
    grads = {n: np.zeros_like(p.arrays[n]) if g is None else g.numpy() for n, g in zip(p.differentiable, found, strict=True)}
    final = {name: value.detach().numpy() for name, value in final.items()}
    return Result(_values(cell, y.detach().numpy(), final), grads)


def unrolled(p: Problem, torch: Any) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Return PyTorch's tensors of a problem's arrays, and the output and the final states that the cell's text makes of them."""
    cell = p.cell
    leaves = {name: torch.tensor(value, requires_grad=name in p.differentiable) for name, value in p.arrays.items()}
    inputs, context, params = ({name: leaves[name] for name in names} for names in (cell.inputs, cell.context, cell.parameters))
    state = {name: leaves[f"{name}_prev"] for name in cell.states}
    return leaves, *unroll(cell, inputs, params, state, torch, context=context, steps=p.steps)


def interpreter(p: Problem, derivation: Derivation | None = None) -> Result:
    """Return what a derivation gives, by default that before any pass, evaluated equation by equation.

    The backward pass gets no more of the forward pass than its link says that it reads.
    """
    made = differentiate(p.cell) if derivation is None else derivation
    ahead, back, cotangent = made[FORWARD].recurrence, made[BACKWARD].recurrence, made[BACKWARD].cotangent
    given = {**p.inputs, **p.context, **p.parameters, **constants_of(p.cell)}
    before = {carry.previous: p.arrays[carry.previous] for carry in ahead.carries}
    forward = interpret(ahead, {**given, **before}, p.sizes, p.steps, p.batch)
    kept = {name: forward.sequences[name] for name in made[BACKWARD].reads}
    pairs = list(zip(ahead.carries, back.carries, strict=True))
    seeds = {cotangent[p.cell.output]: p.dy} | {into.previous: p.dfinal[of.value] for of, into in pairs}
    backward = interpret(back, {**given, **kept, **seeds}, p.sizes, p.steps, p.batch)
    written = {**backward.results, **backward.sequences}
    grads = {of.previous: backward.carries[into.previous] for of, into in pairs}
    grads |= {name: written[cotangent[name]] for name in p.differentiable if name not in grads}
    final = {of.value: forward.carries[of.previous] for of, _ in pairs}
    return Result(_values(p.cell, forward.sequences[p.cell.output], final), grads)


def stencil(step: float) -> tuple[tuple[float, float], ...]:
    """Return distances and weights of central differences that are exact for polynomials of degree 4."""
    return (step, 2 / (3 * step)), (2 * step, -1 / (12 * step))


def slope(module: ModuleType, p: Problem, name: str, direction: Array, step: float) -> float:
    """Return the central difference of the kernel's own loss at `name` along a direction: exact for polynomials of degree 4."""
    seeds, total = _values(p.cell, p.dy, p.dfinal), 0.0
    for width, weight in stencil(step):
        ahead, back = (_infer(module, p.at(name, p.arrays[name] + sign * width * direction)) for sign in (1, -1))
        # Differences of values, not of losses: the loss is a large sum, whose rounding would spoil them.
        total += weight * sum(float(np.sum(seeds[key] * (ahead[key] - back[key]))) for key in seeds)
    return total


def _infer(module: ModuleType, p: Problem) -> dict[str, Array]:
    given, keywords = arguments(module, p)
    y, final = module.infer(*given, **keywords)
    return _values(p.cell, y, final._asdict())


def differences(module: ModuleType, p: Problem, found: Result, seed: int) -> dict[str, float]:
    """Return the errors of gradients against central differences in some entries and random directions of each array."""
    random = np.random.default_rng(seed)
    least = least_of(found, DIFFERENCES)
    return {name: _worst_slope(module, p, name, grad, least, random) for name, grad in found.grads.items()}


def _worst_slope(module: ModuleType, p: Problem, name: str, grad: Array, least: float, random: np.random.Generator) -> float:
    if grad.shape != p.arrays[name].shape or not np.isfinite(grad).all():
        return math.inf
    scale, worst = max(magnitude(grad), least), 0.0
    for direction in _directions(grad.shape, random):
        want = float(np.sum(grad * direction))
        for step in STEPS:
            error = abs(slope(module, p, name, direction, step) - want) / scale
            if error <= TOLERANCES[DIFFERENCES]:
                break
        worst = max(worst, error)
    return worst


def _directions(shape: tuple[int, ...], random: np.random.Generator) -> list[Array]:
    """Return unit vectors of some entries, all of a small array, and random directions of length 1."""
    count = math.prod(shape)
    if not count:
        return []
    chosen = np.arange(count) if count <= ENTRIES else random.choice(count, ENTRIES, replace=False)
    entries = [(np.arange(count) == k).astype(np.float64) for k in chosen]
    vectors = [random.standard_normal(count) for _ in range(DIRECTIONS)]
    return [v.reshape(shape) for v in (*entries, *(v / np.linalg.norm(v) for v in vectors))]
