"""Kernels of the device, executed on the grid simulator: every way of running a time loop against the kernels of the CPU."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from conftest import ordinary
from device import SimulatedDevice, using
from helpers.devices import VECTORS
from mutants import barriers, mutant
from simulator import Deadlock, Race

from derive.cells import REGISTRY
from derive.runtime.cuda import members as resident
from derive.verify.problem import Problem, sample
from derive.verify.tolerances import relative
from derive.verify.witnesses import arguments, kernel
from generated.runtime.cuda import current, planner
from generated.runtime.cuda.kind import KINDS, Kind
from generated.runtime.cuda.limits import H200
from generated.runtime.cuda.plan import Plan, Steps

# One phase and several, states of several sizes, scalars, sums over features, products of inputs, of products and of states only.
CELLS = (
    *("rnn_relu", "lstm", "lstm_concat", "lstm_stacked", "lstm_peephole", "lstmp", "slstm", "gru", "gru_v3", "mut1", "mut3"),
    *("lstm_layernorm", "lmu", "antisymmetric", "fastrnn", "rhn", "qrnn", "indrnn"),
)
TOLERANCE = {"float64": 1e-11, "float32": 1e-5, "tf32": 2e-3, "bfloat16": 4e-2, "float16": 4e-3}
THREADS = 64  # two warps: enough for a race between warps, few enough to be fast


@dataclass(frozen=True)
class Shape:
    """How a loop is run: how many members a group has, rows, and whether weights are the second factor."""

    kind: str
    members: int
    rows: int
    turned: bool = False
    n: int = 16
    batch: int = 3


ALONE, SPREAD = Shape("float64", 1, 2, n=8), Shape("float64", 2, 2, n=8)
SHAPES = {
    "alone": ALONE,
    "spread": SPREAD,
    "many lanes": Shape("float64", 1, 16, n=12, batch=17),
    "float32": Shape("float32", 4, 4, n=16, batch=9),
    "bfloat16": Shape("bfloat16", 2, 8, n=32, batch=9),
    "float16, turned": Shape("float16", 2, 16, True, n=32),
    "tf32": Shape("tf32", 1, 16, n=24),
    "tf32, turned": Shape("tf32", 2, 16, True, n=32, batch=17),
}


class Forced(SimulatedDevice):
    """A simulated device that plans as it is told; without a shape, step by step."""

    def __init__(self, shape: Shape | None, order: str = "forward") -> None:
        super().__init__(order=order)
        self.shape = shape

    def plan(self, steps: Steps, sizes: Any, batch: int, kind: Kind) -> Plan | None:
        if self.shape is None:
            return None
        members = self.shape.members if steps.spread else 1
        found = planner.plan(steps, sizes, batch, kind, members, self.shape.rows, self.shape.turned, THREADS)
        assert found is not None, "operands do not fill lines of 16 bytes"
        return found


def problem(name: str, shape: Shape | None, steps: int = 3) -> Problem:
    """Return arguments of a cell, of the values that the shape's kind of number has."""
    cell = REGISTRY[name]
    sizes = {size: shape.n if shape else 5 for size in cell.sizes}
    drawn = sample(cell, sizes=sizes, steps=steps, batch=shape.batch if shape else 2)
    return rounded(drawn, shape.kind if shape else "float64")


def rounded(drawn: Problem, kind: str) -> Problem:
    """Return a problem with numbers as a kind of number stores them."""
    stored = KINDS[kind].stored
    return drawn.cast(np.dtype(ml_dtypes.bfloat16 if stored == "bfloat16" else stored))


def compared(name: str, device: SimulatedDevice, given: Problem, module: ModuleType | None = None, kind: str = "float64") -> float:
    """Return the largest error of a cell's module for the device, against the CPU in float64."""
    module = module or importlib.import_module(f"generated.cuda.{name}")
    with using(device, current):
        got = kernel(module if kind != "tf32" else _with_tf32(module), given)
        positional, named = arguments(module, given)
        y, final = module.infer(*positional, **named, **({"tf32": True} if kind == "tf32" else {}))
    np.testing.assert_array_equal(y, got.values["output"])  # without a tape, the same bits
    for state, value in final._asdict().items():
        np.testing.assert_array_equal(value, got.values[f"final {state}"])
    want = kernel(importlib.import_module(f"generated.{name}"), given.cast(np.float64))
    errors = relative(got, want)
    if KINDS[kind].narrow:  # the gradient of a number is a sum that cancels: in 16 bits, little may be left of it
        errors = {name: error for name, error in errors.items() if name not in want.grads or want.grads[name].ndim}
    return max(float(error) for error in errors.values())


def _with_tf32(module: ModuleType) -> Any:
    class Module:
        Params, State, backward = module.Params, module.State, staticmethod(module.backward)

        @staticmethod
        def forward(*given: Any, **named: Any) -> Any:
            return module.forward(*given, **named, tf32=True)

    return Module


STEPWISE = {"lstm", "lstmp", "slstm", "gru_v3", "lstm_layernorm", "lmu", "sru_v1", "softmax_cross_entropy", "linear"}
HARDEST = {"lstm", "lstmp", "slstm", "gru_v3", "lstm_layernorm", "lmu", "qrnn"}


@pytest.mark.parametrize("name", ordinary(VECTORS, STEPWISE))
def test_step_by_step(name: str) -> None:
    assert compared(name, Forced(None), problem(name, None)) <= TOLERANCE["float64"]


@pytest.mark.parametrize("variant", ("alone", "spread"))
@pytest.mark.parametrize("name", ordinary(CELLS, HARDEST))
def test_resident(name: str, variant: str) -> None:
    run(name, SHAPES[variant])


def test_operands_that_do_not_fill_lines_have_no_plan() -> None:
    steps = importlib.import_module("generated.cuda.lmu").FORWARD_STEPS
    assert planner.best(steps, {"d": 32, "n": 32}, 9, KINDS["bfloat16"], H200) is None  # six numbers of 16 bits
    assert planner.best(steps, {"d": 32, "n": 32}, 9, KINDS["float64"], H200) is not None


EACH = {*((name, "tf32, turned") for name in ("lstm", "gru_v3", "lstmp")), *(("gru_v3", shape) for shape in SHAPES)}


@pytest.mark.parametrize(("name", "variant"), ordinary(product(("lstm", "gru_v3", "lstmp"), SHAPES), EACH))
def test_shapes(name: str, variant: str) -> None:
    run(name, SHAPES[variant])


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", SHAPES)
@pytest.mark.parametrize("name", VECTORS)
def test_every_cell_in_every_shape(name: str, variant: str) -> None:
    run(name, SHAPES[variant])


def run(name: str, shape: Shape) -> None:
    if name == "lmu" and shape.kind != "float64":
        return  # see above
    device = Forced(shape)
    assert compared(name, device, problem(name, shape), kind=shape.kind) <= TOLERANCE[shape.kind]
    module = importlib.import_module(f"generated.cuda.{name}")
    expected = {kernel for kernel in FIRST if hasattr(module, f"make_{kernel}")}
    assert {kernel for kernel in device.launched if kernel.endswith("resident")} == expected


def test_the_order_of_threads_changes_no_bit() -> None:
    given = problem("gru_v3", SPREAD)
    results = []
    for order in ("forward", "backward"):
        with using(Forced(SPREAD, order), current):
            results.append(kernel(importlib.import_module("generated.cuda.gru_v3"), given))
    for name, value in results[0].grads.items():
        np.testing.assert_array_equal(value, results[1].grads[name])


# Mutants: with a barrier taken out, what is emitted must fail.

FIRST = ("forward_resident", "backward_resident")
BARRIERS = [(name, *found) for name in ("gru_v3", "lstm", "mut1", "slstm", "fastrnn") for found in barriers(name) if found[0] in FIRST]


@pytest.mark.parametrize(("name", "link", "number"), BARRIERS)
def test_without_a_barrier_it_fails(name: str, link: str, number: int) -> None:
    made = mutant(name, number)
    assert any(fails(name, made, shape) for shape in (ALONE, SPREAD))


def fails(name: str, module: ModuleType | None, shape: Shape) -> bool:
    try:
        return compared(name, Forced(shape), problem(name, shape), module) > TOLERANCE["float64"]
    except (Race, Deadlock):
        return True


@pytest.mark.parametrize("number", range(3))
def test_without_a_barrier_of_the_runtime_it_fails(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What members meet by, and what clears the memory, without one ``syncthreads``."""
    text = Path(resident.__file__).read_text(encoding="utf-8")
    found = list(re.finditer(r"cuda\.syncthreads\(\)", text))
    assert len(found) == 3
    broken = ModuleType(resident.__name__)
    broken.__package__ = resident.__package__
    exec(compile(text[: found[number].start()] + "pass" + text[found[number].end() :], "mutant", "exec"), broken.__dict__)
    for name in ("meetings", "clearing"):
        monkeypatch.setattr(resident, name, getattr(broken, name))
    assert fails("gru", None, SPREAD)
