"""Cells on the device in use beside the same cells on the CPU in float64, at the same numbers, however time loops are run.

Nothing here needs a device before `compared` is called.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import ml_dtypes
import numpy as np

from derive.cells import REGISTRY
from derive.verify.problem import Problem, Result, complete_sizes, sample
from derive.verify.tolerances import FLOAT32, SMALL, root_mean_square
from derive.verify.witnesses import kernel
from generated.runtime.cuda.current import current
from generated.runtime.cuda.kind import KINDS
from generated.runtime.cuda.plan import Plan, Steps
from generated.runtime.cuda.planner import plans

# Of an error beside the norm of what is compared.  TF32 and bfloat16 may err by five roundings of an operand, of 2^-11 and 2^-8: a
# simulator that rounds operands and nothing else errs by as much; see `test_tf32`.
TOLERANCES = {"float64": 1e-10, "float32": 1e-5, "tf32": 2.5e-3, "bfloat16": 2e-2, "float16": 1e-2}
# Of cells with a kink: a number that is rounded may come to lie on its other side, where the gradient is another.
KINKED = {"float64": 1e-10, "float32": 1e-5, "tf32": 0.25, "bfloat16": 0.25, "float16": 0.25}
HEADS = 4
KINKS = ("relu(", "maximum(")
DTYPES = {name: np.dtype(name) for name in ("float32", "float64", "float16")} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
Choice = Callable[[Sequence[Plan]], Plan | None]


@dataclass(frozen=True)
class Case:
    """A cell at one size.

    Attributes
    ----------
    cell, kind : str
    n : int, optional
        Every named size; small odd ones by default.
    steps, batch : int
    """

    cell: str
    kind: str
    n: int | None = None
    steps: int = 5
    batch: int = 3

    @property
    def sizes(self) -> dict[str, int]:
        cell = REGISTRY[self.cell]
        return complete_sizes(cell, None if self.n is None else {size: HEADS if size == cell.heads else self.n for size in cell.sizes})

    @property
    def stored(self) -> np.dtype:
        return DTYPES[KINDS[self.kind].stored]


# Problems


def problem(case: Case) -> Problem:
    """Return a problem in float64, of numbers that the kind stores without rounding them."""
    drawn = sample(REGISTRY[case.cell], sizes=case.sizes, steps=case.steps, batch=case.batch)
    return drawn.cast(case.stored).cast(np.float64)


def stored(case: Case, make: Callable[[np.ndarray], Any]) -> Problem:
    """Return the problem as it is given to a device: numbers in the dtype that they are stored in, arrays as `make` makes them."""
    return problem(case).cast(case.stored).mapped(make)


# Results


@cache
def reference(case: Case) -> Result:
    """Return what the CPU computes in float64."""
    return kernel(importlib.import_module(f"generated.{case.cell}"), problem(case))


def found(case: Case, given: Problem) -> Result:
    """Return what the device in use computes, as arrays of its own."""
    module = importlib.import_module(f"generated.cuda.{case.cell}")
    forward = partial(module.forward, tf32=case.kind == "tf32")
    view: Any = SimpleNamespace(Params=module.Params, State=module.State, forward=forward, backward=module.backward)
    return kernel(view, given)


def on_host(value: Any) -> np.ndarray:
    """Return an array of any library in float64."""
    for method in ("get", "copy_to_host"):
        if hasattr(value, method):
            return np.asarray(getattr(value, method)()).astype(np.float64)
    return value.detach().cpu().double().numpy() if hasattr(value, "detach") else np.asarray(value).astype(np.float64)


def errors(got: Result, want: Result) -> dict[str, float]:
    """Return, for each name, the norm of the error over the norm itself; what is nearly zero is measured against the other gradients."""
    small, floor = SMALL[FLOAT32], SMALL[FLOAT32] * max([1.0, *map(root_mean_square, want.grads.values())])
    named = {name: _error(got.values[name], value, small) for name, value in want.values.items()}
    return named | {name: _error(got.grads[name], value, floor) for name, value in want.grads.items()}


def _error(got: Any, want: np.ndarray, floor: float) -> float:
    given = on_host(got)
    if given.shape != want.shape or not np.isfinite(given).all():
        return math.inf
    return root_mean_square(given - want) / max(root_mean_square(want), floor)


def compared(case: Case, make: Callable[[np.ndarray], Any] | None = None) -> dict[str, float]:
    """Return the errors of the device in use, whose arrays `make` makes."""
    return errors(found(case, stored(case, make or current().xp.asarray)), reference(case))


def tolerance(case: Case) -> float:
    return (KINKED if any(kink in REGISTRY[case.cell].text for kink in KINKS) else TOLERANCES)[case.kind]


def beyond(case: Case, found: Mapping[str, float]) -> list[str]:
    """Return, line by line, what is beyond tolerance."""
    most = tolerance(case)
    return [f"{case.cell} {case.kind}: {name}: {error:.1e}, beyond {most:.0e}" for name, error in found.items() if not error <= most]


# Plans


def label(plan: Plan | None) -> str:
    """Return a plan in short: members, rows, and whether weights are the second factor of products."""
    if plan is None:
        return "step by step"
    return f"{plan.members} x {plan.rows}{' turned' if any(part.turned for part in plan.parts.values()) else ''}"


@contextmanager
def planned(choose: Choice) -> Iterator[list[Plan | None]]:
    """Let time loops be run as `choose` says, from all plans that fit; give the list of what it said.

    Loops whose rows need nothing of each other have no plans: one kernel runs them unless steps are to be run one by one.
    """
    device, said = current(), list[Plan | None]()
    whole = device.tiling

    def plan(steps: Steps, sizes: Mapping[str, int], batch: int, kind: Any) -> Plan | None:
        said.append(choose(list(plans(steps, sizes, batch, kind, device.limits))))
        return said[-1]

    def tiling(*given: Any) -> Any:
        return None if choose is stepwise else whole(*given)

    with mock.patch.object(device, "plan", plan), mock.patch.object(device, "tiling", tiling):
        yield said


def stepwise(fitting: Sequence[Plan]) -> None:
    """Run steps one by one."""


def cheapest(fitting: Sequence[Plan]) -> Plan | None:
    return min(fitting, key=lambda plan: (plan.cost, plan.blocks), default=None)


def alone(fitting: Sequence[Plan]) -> Plan | None:
    """Choose a plan whose blocks do not meet, if there is one."""
    return cheapest([plan for plan in fitting if plan.members == 1] or fitting)


def spread(fitting: Sequence[Plan]) -> Plan | None:
    """Choose a plan whose blocks meet, if there is one."""
    return cheapest([plan for plan in fitting if plan.members > 1] or fitting)


def called(name: str) -> Choice:
    """Return what chooses the plan of a label, and of another loop, which has none, the cheapest."""
    return lambda fitting: next((plan for plan in fitting if label(plan) == name), cheapest(fitting))


def labels(case: Case, limits: Any, most: int) -> list[str]:
    """Return the labels of at most so many plans of both loops, from the fewest members to the most."""
    module, kind = importlib.import_module(f"generated.cuda.{case.cell}"), KINDS[case.kind]
    tables = [getattr(module, name) for name in ("FORWARD_STEPS", "BACKWARD_STEPS") if hasattr(module, name)]
    fitting = [plan for table in tables for plan in plans(table, case.sizes, case.batch, kind, limits)]
    every = list(dict.fromkeys(label(p) for p in sorted(fitting, key=lambda p: (p.members, p.rows, label(p)))))
    places = np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int)
    return [every[k] for k in places]
