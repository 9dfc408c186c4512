"""A cell's generated modules for the CPU and for the device, the latter on the grid simulator; how they are called and compared."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from device import DTYPES, SimulatedDevice, using

from derive.cell import Cell
from derive.cells import REGISTRY
from derive.package import memory
from derive.runtime.cuda.limits import H200, Limits
from derive.verify.problem import Problem, Result, sample
from derive.verify.witnesses import arguments, gradients

STEPWISE = Limits((9, 0), 132, shared=0)  # nothing fits, so that steps are run one by one
LIMITS = {"stepwise": STEPWISE, "resident": H200}

DRIVEN = Cell(
    """
    h = tanh(W @ x + V @ z + M @ v + U @ h_prev + b)
    s = s_prev / 2 + v * mean(h)
    """,
    name="driven",
    output="h",
    inputs=("x", "z"),
    context=("v",),
    shapes={"z": "m", "v": "k"},
    init={"h": 0.5},
)
FREE = Cell("h = tanh(U @ h_prev + b)", name="free", output="h", inputs=())
CONSTANT = Cell("y = W @ v + b", name="constant", output="y", inputs=(), context=("v",), shapes={"v": "k"})
PICKED = Cell("h = tanh(W @ x + U @ h_prev)\ns = s_prev / 2 + pick(h, k)", name="picked", output="s", inputs=("x", "k"))
OWN = (DRIVEN, FREE, CONSTANT, PICKED)


class Pair(NamedTuple):
    """A cell and its modules."""

    cell: Cell
    host: ModuleType
    device: ModuleType

    def sample(self, dtype: str = "float32", *, steps: int = 3, batch: int = 2, size: int = 8) -> Problem:
        """Return values for all arguments and cotangents, in a dtype; all sizes are `size`, so that a loop can be resident."""
        sizes = dict.fromkeys(self.cell.sizes, size)
        return sample(self.cell, sizes=sizes, steps=steps, batch=batch).cast(DTYPES[dtype])


@cache
def own() -> dict[str, ModuleType]:
    return memory.compile_all(OWN, cuda=True)


@cache
def pair(name: str) -> Pair:
    """Return the modules of a cell, of the toolkit's or of this file's."""
    if name in REGISTRY:
        return Pair(REGISTRY[name], importlib.import_module(f"generated.{name}"), importlib.import_module(f"generated.cuda.{name}"))
    cell, device = next(cell for cell in OWN if cell.name == name), own()[name]
    return Pair(cell, importlib.import_module(device.__name__.replace(".cuda.", ".")), device)


@contextmanager
def on_simulator(limits: Limits) -> Iterator[SimulatedDevice]:
    """Let all modules use one simulated device."""
    device = SimulatedDevice(limits)
    packages = ("generated", own()["free"].__name__.partition(".")[0])
    places = [importlib.import_module(f"{package}.runtime.cuda.current") for package in packages]
    with using(device, *places):
        yield device


def forward(module: ModuleType, problem: Problem, **options: Any) -> Any:
    given, named = arguments(module, problem)
    return module.forward(*given, **named, **options)


def infer(module: ModuleType, problem: Problem, **options: Any) -> Any:
    given, named = arguments(module, problem)
    return module.infer(*given, **named, **options)


def backward(module: ModuleType, problem: Problem, tape: Any) -> Any:
    return module.backward(problem.dy, tape, module.State(*(problem.dfinal[name] for name in problem.cell.states)))


def result(module: ModuleType, problem: Problem, **options: Any) -> Result:
    """Return the values and gradients of a module."""
    y, final, tape = forward(module, problem, **options)
    values = {"output": y, **{f"final {name}": value for name, value in final._asdict().items()}}
    return Result(values, gradients(problem, backward(module, problem, tape)))


def distance(got: Result, want: Result) -> float:
    """Return the largest distance of two arrays of one name, by the norm of the second."""
    pairs = [(getattr(got, kind)[name], value) for kind in ("values", "grads") for name, value in getattr(want, kind).items()]
    assert all(a.shape == b.shape for a, b in pairs)
    return max((float(np.linalg.norm(a.astype(np.float64) - b) / max(np.linalg.norm(b), 1e-30)) for a, b in pairs if b.size), default=0.0)
