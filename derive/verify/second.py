"""Second order against independent witnesses: double backward, tangents and Hessians times vectors, of kernels and of PyTorch.

PyTorch differentiates the cell's own text twice; differences are taken of the kernel's own gradients along one direction.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..package import memory
from .evaluate import unroll
from .problem import Array, Arrays, Problem, Result, directions, sample
from .report import Report
from .tolerances import AUTOGRAD, DIFFERENCES, FLOAT32, TOLERANCES, least_of, magnitude, relative
from .witnesses import arguments

STEPS = (2e-5, 2e-6, 2e-7)  # of central differences of gradients; the later ones are for where the first reaches across a kink


@dataclass(frozen=True)
class Second:
    """What second order gives at a problem, by name: a gradient each of double backward, tangents, and a Hessian times a vector."""

    twice: Arrays
    tangents: Arrays
    hessian: Arrays

    def named(self) -> dict[str, Array]:
        """Return all of it by one name each."""
        parts = {"double backward": self.twice, "tangent": self.tangents, "Hessian": self.hessian}
        return {f"{part} {name}": value for part, values in parts.items() for name, value in values.items()}

    @property
    def result(self) -> Result:
        """All of it as values and gradients, which are compared with those of a witness."""
        tangents = {name for name in self.named() if name.startswith("tangent ")}
        values: dict[str, Array] = {}
        grads: dict[str, Array] = {}
        for name, value in self.named().items():
            (values if name in tangents else grads)[name] = value
        return Result(values, grads)


def along(p: Problem, seed: int = 0) -> dict[str, Array]:
    """Return a random direction for all that the cell is differentiated by."""
    return {name: value for name, value in directions(p, seed).items() if name in p.differentiable}


def grads_of(module: ModuleType, p: Problem, values: Mapping[str, Array]) -> Any:
    """Return a `Grads` of a module with values by the names of a problem's arrays; None for those that are not there."""
    cell = p.cell
    given = [values.get(name) for name in (*cell.inputs, *cell.context)]
    params = module.Params(*(values.get(name) for name in cell.parameters))
    return module.Grads(*given, params, module.State(*(values.get(f"{state}_prev") for state in cell.states)))


def by_name(p: Problem, grads: Any) -> dict[str, Array]:
    """Return the gradients of a `Grads`, or of a `Second`, by the names of a problem's arrays."""
    found = {name: getattr(grads, name) for name in (*p.cell.inputs, *p.cell.context)}
    found |= grads.params._asdict() | {f"{name}_prev": value for name, value in grads.state._asdict().items()}
    return {name: found[name] for name in p.differentiable}


def kernels(module: ModuleType, p: Problem, second: Mapping[str, Array], **options: Any) -> Second:
    """Return what the kernels of a module of second order compute, with cotangents and tangents `second`."""
    given, keywords = arguments(module, p)
    dfinal = module.State(*(p.dfinal[name] for name in p.cell.states))
    _, _, tape = module.forward(*given, **keywords, **options)
    _, tape2 = module.backward(p.dy, tape, dfinal, second=True)
    u = grads_of(module, p, second)
    twice = module.backward_backward(u, tape2)
    y, final = module.tangent(u, tape)
    _, hessian = module.hvp(u, tape, p.dy, dfinal, curvature=lambda y: 2 * y)
    seeds = {"dy": twice.dy, **{f"dfinal {name}": value for name, value in twice.dfinal._asdict().items()}}
    tangents = {"output": y, **{f"final {name}": value for name, value in final._asdict().items()}}
    return Second(by_name(p, twice) | seeds, tangents, by_name(p, hessian))


def autograd(p: Problem, second: Mapping[str, Array]) -> Second:
    """Return what PyTorch makes of the cell's text: by its double backward, and by double backward again for tangents.

    A tangent is the derivative by u of ⟨u, gradient⟩'s seeds: what is linear in dy is differentiated by it.
    """
    torch = importlib.import_module("torch")
    cell = p.cell
    leaves = {name: torch.tensor(value, requires_grad=name in p.differentiable) for name, value in p.arrays.items()}
    seeds = {"dy": torch.tensor(p.dy, requires_grad=True)}
    seeds |= {f"dfinal {name}": torch.tensor(value, requires_grad=True) for name, value in p.dfinal.items()}
    inputs, context, params = ({name: leaves[name] for name in names} for names in (cell.inputs, cell.context, cell.parameters))
    y, final = unroll(cell, inputs, params, {s: leaves[f"{s}_prev"] for s in cell.states}, torch, context=context, steps=p.steps)
    outputs = {"dy": y, **{f"dfinal {name}": final[name] for name in cell.states}}
    wanted = {name: leaves[name] for name in p.differentiable}
    vector = {name: torch.tensor(second[name]) for name in wanted}

    def gradients(loss: Any) -> dict[str, Any]:
        made = torch.autograd.grad(loss, list(wanted.values()), create_graph=True, allow_unused=True)
        return {name: torch.zeros_like(wanted[name]) if g is None else g for name, g in zip(wanted, made, strict=True)}

    def derived(value: Any, by: Mapping[str, Any]) -> dict[str, Any]:
        made = (
            torch.autograd.grad(value, list(by.values()), retain_graph=True, allow_unused=True) if value.requires_grad else [None] * len(by)
        )
        return {name: torch.zeros_like(by[name]) if g is None else g for name, g in zip(by, made, strict=True)}

    first = gradients(sum((outputs[name] * seeds[name]).sum() for name in seeds))
    product = sum((first[name] * vector[name]).sum() for name in wanted)
    twice = derived(product, wanted | seeds)
    tangents = {name: twice[name].detach() for name in seeds}  # ⟨u, gradient⟩ is linear in dy: its slope by dy is the output's along u
    bent = gradients(
        (outputs["dy"] * (seeds["dy"].detach() - 2 * y.detach() + y)).sum()
        + sum((outputs[name] * seeds[name].detach()).sum() for name in seeds if name != "dy")
    )
    hessian = derived(sum((bent[name] * vector[name]).sum() for name in wanted), wanted)
    numbers = {name: value.detach().numpy() for name, value in tangents.items()}
    return Second(
        {name: value.detach().numpy() for name, value in twice.items()},
        {("output" if name == "dy" else f"final {name.split()[1]}"): value for name, value in numbers.items()},
        {name: value.detach().numpy() for name, value in hessian.items()},
    )


def check(
    cell: Definition,
    *,
    sizes: Mapping[str, int] | None = None,
    steps: int = 5,
    batch: int = 3,
    seed: int = 0,
    module: ModuleType | None = None,
) -> Report:
    """Compare second order with all witnesses at random values; arguments as for `report.check`. It needs PyTorch.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    """
    module = memory.compile(cell, order=2) if module is None else module
    p = sample(cell, sizes=sizes, steps=steps, batch=batch, seed=seed)
    second = along(p, seed)
    found = kernels(module, p, second)
    errors = {
        AUTOGRAD: relative(found.result, autograd(p, second).result),
        DIFFERENCES: differences(module, p, second),
        FLOAT32: _rounding(module, p, second),
    }
    count = sum(p.arrays[name].size for name in cell.parameters)
    return Report(cell.name, p.sizes, steps, batch, seed, count, errors)


def _rounding(module: ModuleType, p: Problem, second: Mapping[str, Array]) -> dict[str, float]:
    """Return the errors of float32 kernels against float64 kernels at the same, rounded values."""
    narrow, direction = p.cast(np.float32), {name: value.astype(np.float32) for name, value in second.items()}
    got = kernels(module, narrow, direction).result
    wrong = {name: math.inf for name, value in {**got.values, **got.grads}.items() if value.dtype != np.float32}
    wide = {name: value.astype(np.float64) for name, value in direction.items()}
    return relative(got, kernels(module, narrow.cast(np.float64), wide).result, FLOAT32) | wrong


def differences(module: ModuleType, p: Problem, second: Mapping[str, Array]) -> dict[str, float]:
    """Return the errors of the Hessian times a vector against central differences of `backward` along it."""
    given, keywords = arguments(module, p)
    dfinal = module.State(*(p.dfinal[name] for name in p.cell.states))
    _, product = module.hvp(grads_of(module, p, second), module.forward(*given, **keywords)[2], p.dy, dfinal)
    found = by_name(p, product)
    least = least_of(Result({}, found), DIFFERENCES)
    worst = dict.fromkeys(found, math.inf)
    for step in STEPS:
        slopes = _slopes(module, p, second, step)
        errors = {name: magnitude(found[name] - slopes[name]) / max(magnitude(found[name]), least) for name in found}
        worst = {name: min(worst[name], errors[name]) for name in found}
        if all(error <= TOLERANCES[DIFFERENCES] for error in worst.values()):
            break
    return {f"Hessian {name}": error for name, error in worst.items()}


def _slopes(module: ModuleType, p: Problem, second: Mapping[str, Array], step: float) -> dict[str, Array]:
    """Return central differences of the kernel's gradients, exact for polynomials of degree 4."""
    total = {name: np.zeros_like(p.arrays[name]) for name in p.differentiable}
    for width, weight in ((step, 2 / (3 * step)), (2 * step, -1 / (12 * step))):
        for sign in (1, -1):
            moved = replace(p, arrays={**p.arrays, **{name: p.arrays[name] + sign * width * v for name, v in second.items()}})
            given, keywords = arguments(module, moved)
            dfinal = module.State(*(p.dfinal[name] for name in p.cell.states))
            grads = module.backward(p.dy, module.forward(*given, **keywords)[2], dfinal)
            for name, value in by_name(p, grads).items():
                total[name] += sign * weight * value
    return total
