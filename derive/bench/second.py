"""What is measured of second order: calls of the generated module and of its peers on the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from ..language.definition import Definition
from ..verify.problem import Arrays, Problem
from ..verify.second import grads_of
from ..verify.witnesses import arguments, gradients
from .contender import Array, Calls, threads_of
from .measure import fastest
from .phases import HVP, KEPT, MEMORY, PENALTY, TANGENT


class SecondOrder(Calls):
    """What is measured of second order.

    All calls are about ``Σ_t ⟨dy_t, y_t⟩`` and all parameters, inputs, contexts and initial states, by which and along which is
    differentiated: PENALTY gives the gradients of the sum of squares of the gradients by the inputs, TANGENT the output and its derivative
    along a direction, HVP the gradients and their derivatives along the direction, KEPT the gradients, with what a double backward needs
    kept.  Results go by the cell's names: those of an HVP after "gradient" or "Hessian", those of TANGENT are "output" and "tangent".
    """

    def ways(self, phase: str) -> Mapping[str, Callable[[], Any]]:
        """Return the ways in which a call can be made, by how they are told."""
        call = self.calls[phase]
        return call.ways if isinstance(call, Chosen) else {"": call}


@dataclass(frozen=True)
class Chosen:
    """A call that can be made in several ways: the first time it tries all, and keeps to the fastest.

    Attributes
    ----------
    ways : mapping
        By how they are told.
    phase : str
    choices : dict
        Where it is noted, by phase, which was taken.
    """

    ways: Mapping[str, Callable[[], Any]]
    phase: str
    choices: dict[str, str]

    def __call__(self) -> Any:
        if self.phase not in self.choices:
            self.choices[self.phase] = fastest(self.ways)
        return self.ways[self.choices[self.phase]]()


def penalized(cell: Definition) -> list[str]:
    """Return the inputs that a penalty is put on the gradients of."""
    return [name for name in cell.inputs if name not in cell.without_gradient]


def absence(cell: Definition, phase: str) -> str:
    """Return why a cell has no row of a phase; empty if it has one."""
    if phase in (PENALTY, MEMORY) and not penalized(cell):
        return f"no row for {phase}: {cell.name} has no gradient with respect to an input"
    return ""


def of_product(gradient: Mapping[str, Array], product: Mapping[str, Array]) -> dict[str, Array]:
    """Return the results of an HVP by one name each."""
    parts = {"gradient": gradient, "Hessian": product}
    return {f"{part} {name}": value for part, values in parts.items() for name, value in values.items()}


def ours(module: ModuleType, p: Problem, v: Arrays, pool: str = "torch") -> SecondOrder:
    """Return the calls of a generated module of second order, on the threads of a pool as those of first order are."""
    given, keywords = arguments(module, p)
    along = grads_of(module, p, v)

    def forward() -> Any:
        return module.forward(*given, **keywords)

    tape = cache(lambda: forward()[2])

    def penalty() -> Any:
        grads, tape2 = module.backward(p.dy, forward()[2], second=True, only=penalized(p.cell))
        given = {name: getattr(grads, name) for name in penalized(p.cell)}
        for gradient in given.values():
            gradient *= 2  # the derivative of its square
        return module.backward_backward(grads_of(module, p, given), tape2, only=("params", "state", *penalized(p.cell)))

    def tangent() -> Any:
        y, _, tape = forward()
        return y, module.tangent(along, tape)[0]

    calls = {
        PENALTY: penalty,
        TANGENT: tangent,
        HVP: lambda: module.hvp(along, forward()[2], p.dy),
        KEPT: lambda: module.backward(p.dy, tape(), second=True)[0],
    }
    results: dict[str, Callable[[Any], Mapping[str, Array]]] = {
        PENALTY: lambda found: gradients(p, found),
        TANGENT: lambda found: dict(zip(("output", "tangent"), found, strict=True)),
        HVP: lambda found: of_product(*(gradients(p, part) for part in found)),
        KEPT: lambda found: gradients(p, found),
    }
    return SecondOrder({phase: _on(pool, module, call) for phase, call in calls.items()}, results)


def first_order(module: ModuleType, p: Problem, pool: str = "torch") -> SecondOrder:
    """Return what second order is measured beside: a step of training for an HVP, `backward` for one that keeps what it computes."""
    given, keywords = arguments(module, p)
    tape = cache(lambda: module.forward(*given, **keywords)[2])
    calls = {
        HVP: lambda: module.backward(p.dy, module.forward(*given, **keywords)[2]),
        KEPT: lambda: module.backward(p.dy, tape()),
    }
    results: dict[str, Callable[[Any], Mapping[str, Array]]] = {
        HVP: lambda found: of_product(gradients(p, found), {}),
        KEPT: lambda found: gradients(p, found),
    }
    return SecondOrder({phase: _on(pool, module, call) for phase, call in calls.items()}, results)


def _on(pool: str, module: ModuleType, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a call that runs on the threads of a pool."""
    threads = threads_of(module)

    def made() -> Any:
        with threads.pool(pool):
            return call()

    return made
