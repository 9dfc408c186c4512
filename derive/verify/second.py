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

from ..calculus.laws import is_linear, is_true
from ..language.definition import Definition
from ..package import memory
from .problem import Array, Arrays, Problem, Result, directions, sample
from .report import Report, rounding, undifferenced
from .tolerances import AUTOGRAD, DIFFERENCES, FLOAT32, TOLERANCES, least_of, magnitude, relative
from .witnesses import arguments, gradients, stencil, unrolled

STEPS = (2e-5, 2e-6, 2e-7)  # of central differences of gradients; the later ones are for where the first reaches across a kink


@dataclass(frozen=True)
class Second:
    """What second order gives at a problem, by name: a gradient each of double backward, tangents, and a Hessian times a vector."""

    twice: Arrays
    tangents: Arrays
    hessian: Arrays

    @property
    def result(self) -> Result:
        """All of it as values and gradients, which are compared with those of a witness."""
        parts = {"double backward": self.twice, "Hessian": self.hessian}
        grads = {f"{part} {name}": value for part, values in parts.items() for name, value in values.items()}
        return Result({f"tangent {name}": value for name, value in self.tangents.items()}, grads)

    def named(self) -> dict[str, Array]:
        """Return all of it by one name each."""
        return {**self.result.values, **self.result.grads}


def grads_of(module: ModuleType, p: Problem, values: Mapping[str, Array]) -> Any:
    """Return a `Grads` of a module with values by the names of a problem's arrays; None for those that are not there."""
    cell = p.cell
    given = [values.get(name) for name in (*cell.inputs, *cell.context)]
    params = module.Params(*(values.get(name) for name in cell.parameters))
    return module.Grads(*given, params, module.State(*(values.get(f"{state}_prev") for state in cell.states)))


def kernels(module: ModuleType, p: Problem, second: Mapping[str, Array], **options: Any) -> Second:
    """Return what the kernels of a module of second order compute, with cotangents and tangents `second`."""
    given, keywords = arguments(module, p)
    dfinal = module.State(*(p.dfinal[name] for name in p.cell.states))
    _, _, tape = module.forward(*given, **keywords, **options)
    _, tape2 = module.backward(p.dy, tape, dfinal, second=True)
    u = grads_of(module, p, second)
    twice = module.backward_backward(u, tape2)
    seeds = {"dy": twice.dy, **{f"dfinal {name}": value for name, value in twice.dfinal._asdict().items()}}
    if not is_linear(p.cell):
        return Second(gradients(p, twice) | seeds, {}, {})
    y, final = module.tangent(u, tape)
    _, hessian = module.hvp(u, tape, p.dy, dfinal, curvature=lambda y: 2 * y)
    tangents = {"output": y, **{f"final {name}": value for name, value in final._asdict().items()}}
    return Second(gradients(p, twice) | seeds, tangents, gradients(p, hessian))


def autograd(p: Problem, second: Mapping[str, Array]) -> Second:
    """Return what PyTorch makes of the cell's text: by its double backward, and by double backward again for tangents.

    A tangent is the derivative by u of ⟨u, gradient⟩'s seeds: what is linear in dy is differentiated by it.
    """
    torch = importlib.import_module("torch")
    cell, (leaves, y, final) = p.cell, unrolled(p, torch)
    seeds = {"dy": torch.tensor(p.dy, requires_grad=True)}
    seeds |= {f"dfinal {name}": torch.tensor(value, requires_grad=True) for name, value in p.dfinal.items()}
    outputs = {"dy": y, **{f"dfinal {name}": final[name] for name in cell.states}}
    wanted = {name: leaves[name] for name in p.differentiable}
    vector = {name: torch.tensor(second[name]) for name in wanted}

    def derived(value: Any, by: Mapping[str, Any], **options: bool) -> dict[str, Any]:
        tensors = list(by.values())
        made = torch.autograd.grad(value, tensors, allow_unused=True, **options) if value.requires_grad else [None] * len(by)
        return {name: torch.zeros_like(by[name]) if g is None else g for name, g in zip(by, made, strict=True)}

    def along(loss: Any) -> Any:
        """Return the derivative of a loss along the direction, as what can be differentiated again."""
        return sum((g * vector[name]).sum() for name, g in derived(loss, wanted, create_graph=True).items())

    twice = derived(along(sum((outputs[name] * seeds[name]).sum() for name in seeds)), wanted | seeds, retain_graph=True)
    if not is_linear(cell):
        return Second({name: value.numpy(force=True) for name, value in twice.items()}, {}, {})
    tangents = {name: twice[name].detach() for name in seeds}  # ⟨u, gradient⟩ is linear in dy: its slope by dy is the output's along u
    bent = (outputs["dy"] * (seeds["dy"].detach() - 2 * y.detach() + y)).sum()
    bent += sum((outputs[name] * seeds[name].detach()).sum() for name in seeds if name != "dy")
    hessian = derived(along(bent), wanted)
    numbers = {name: value.numpy(force=True) for name, value in tangents.items()}
    return Second(
        {name: value.numpy(force=True) for name, value in twice.items()},
        {("output" if name == "dy" else f"final {name.split()[1]}"): value for name, value in numbers.items()},
        {name: value.numpy(force=True) for name, value in hessian.items()},
    )


def check(
    cell: Definition,
    *,
    sizes: Mapping[str, int] | None = None,
    steps: int = 5,
    batch: int = 3,
    seed: int = 0,
    module: ModuleType | None = None,
    float32: bool = True,
) -> Report:
    """Compare second order with all witnesses at random values; arguments as for `report.check`. It needs PyTorch.

    Raises
    ------
    ModuleNotFoundError
        If PyTorch is not installed.
    """
    module = memory.compile(cell, order=2) if module is None else module
    p = sample(cell, sizes=sizes, steps=steps, batch=batch, seed=seed)
    second = directions(p, seed)
    found, narrow = kernels(module, p, second), {name: value.astype(np.float32) for name, value in second.items()}

    def rounded(q: Problem) -> Result:
        return kernels(module, q, {name: value.astype(q.dy.dtype) for name, value in narrow.items()}).result

    errors = {
        AUTOGRAD: relative(found.result, autograd(p, second).result),
        **({DIFFERENCES: differences(module, p, second)} if is_true(cell) else {}),
        **({FLOAT32: rounding(rounded, p)} if float32 else {}),
    }
    count = sum(p.arrays[name].size for name in cell.parameters)
    return Report(cell.name, p.sizes, steps, batch, seed, count, errors, undifferenced(cell))


def differences(module: ModuleType, p: Problem, second: Mapping[str, Array]) -> dict[str, float]:
    """Return the errors of the Hessian times a vector against central differences of `backward` along it."""
    given, keywords = arguments(module, p)
    dfinal = module.State(*(p.dfinal[name] for name in p.cell.states))
    _, product = module.hvp(grads_of(module, p, second), module.forward(*given, **keywords)[2], p.dy, dfinal)
    found = gradients(p, product)
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
    """Return central differences of the kernel's gradients along a direction."""
    total = {name: np.zeros_like(p.arrays[name]) for name in p.differentiable}
    for width, weight in stencil(step):
        for sign in (1, -1):
            moved = replace(p, arrays={**p.arrays, **{name: p.arrays[name] + sign * width * v for name, v in second.items()}})
            given, keywords = arguments(module, moved)
            dfinal = module.State(*(p.dfinal[name] for name in p.cell.states))
            grads = module.backward(p.dy, module.forward(*given, **keywords)[2], dfinal)
            for name, value in gradients(p, grads).items():
                total[name] += sign * weight * value
    return total
