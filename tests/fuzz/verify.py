"""What must hold for every cell: all roads to its values and gradients meet."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
import torch

from derive.calculus.derivation import BACKWARD, FORWARD, Derivation, differentiate
from derive.cell import Cell
from derive.package import contents
from derive.package.folder import Files
from derive.program.pipeline import compile_cell, stages
from derive.runtime.cpu import layer
from derive.verify.evaluate import unroll
from derive.verify.interpret import run
from derive.verify.report import classes

from . import device
from .twin import plain

T, B = 3, 2
LARGEST = 1e6
NUDGE = 1e-9  # how far arguments are moved, relatively, to see how well conditioned a gradient is
Arrays = dict[str, np.ndarray]


class Skipped(Exception):
    """The values say nothing: they overflow, or a gradient jumps or is ill conditioned where they are."""


class Mismatch(AssertionError):
    """Two roads give different values, or one of them ends."""


@dataclass(frozen=True)
class Sample:
    """What a cell is run on; states are named `s_prev`."""

    sizes: dict[str, int]
    params: Arrays
    inputs: Arrays
    context: Arrays
    states: Arrays
    dfinal: Arrays
    dy: np.ndarray

    def all(self) -> Arrays:
        return {**self.params, **self.inputs, **self.context, **self.states}


Result = dict[str, np.ndarray]  # "y", "final s" for each state, "d name" for what has a gradient


def verify(cell: Cell, sizes: Mapping[str, int], seed: int = 0, *, numba: bool = False, simulate: bool = False) -> float:
    """Hold every stage of the derivation and the emitted code of `cell` against PyTorch's autograd.

    Returns the worst error, relative to what the conditioning of each result allows (1 is the limit).

    Raises
    ------
    Skipped
    Mismatch
    """
    given = draw_sample(cell, sizes, seed)
    want = reference(cell, given)
    limit = limits(cell, given, want, seed)
    worst = 0.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        for stage, derivation in attempt("derive", lambda: stages(cell)):
            found = attempt(stage, lambda d=derivation: interpreted(d, given))  # type: ignore[misc]
            worst = max(worst, compare(stage, found, want, limit))
        files = attempt("emit", lambda: emitted(cell))
        module = attempt("import", lambda: plain(files, cell.name))
        worst = max(worst, compare("plain", attempt("run", lambda: executed(module, cell, given)), want, limit))
        with mock.patch.object(layer, "step_by_step", lambda *_: True):
            worst = max(worst, compare("inline", attempt("run", lambda: executed(module, cell, given)), want, limit))
        if simulate:
            worst = max(worst, simulated(files, cell, module, seed))
        attempt("float32", lambda: executed(module, cell, given, np.float32))
        if numba:
            worst = max(worst, attempt("numba", lambda: compiled(files, cell, given, want, limit)))
    return worst


def simulated(files: Files, cell: Cell, cpu: ModuleType, seed: int) -> float:
    """Return the worst error of the module for CUDA devices, in every shape; sizes are such that members can divide them."""
    given = draw_sample(cell, dict.fromkeys(cell.sizes, 4), seed)
    want = reference(cell, given)
    limit, worst = limits(cell, given, want, seed), 0.0
    made = attempt("import for devices", lambda: device.module(files, cell, cpu))
    for members in device.MEMBERS:
        stage = f"device, {members} members"
        with device.on_members(members):
            worst = max(worst, compare(stage, attempt(stage, lambda: executed(made, cell, given)), want, limit))
    return worst


def attempt(stage: str, action: Callable[[], Any]) -> Any:
    """Do `action`; an exception is a mismatch of that stage."""
    try:
        return action()
    except (Mismatch, Skipped, KeyboardInterrupt):
        raise
    except Exception as error:
        raise Mismatch(f"{stage}: {type(error).__name__}: {error}"[:2000]) from error


# The reference


def draw_sample(cell: Cell, sizes: Mapping[str, int], seed: int) -> Sample:
    random = np.random.default_rng(seed)
    sizes = {s: sizes.get(s, 4) for s in cell.sizes} | {a: sizes.get(b, 4) for a, b in cell.equal_sizes}

    def draw(name: str, *lead: int, scale: float = 1.0) -> np.ndarray:
        shape = (*lead, *(s.evaluate(sizes) for s in cell.shapes[name]))
        return (
            random.integers(0, classes(cell, name, sizes), shape)
            if name in cell.integers
            else np.asarray(random.standard_normal(shape) * scale)
        )

    return Sample(
        sizes,
        {p: draw(p, scale=0.6) for p in cell.parameters},
        {x: draw(x, T, B) for x in cell.inputs},
        {v: draw(v, B) for v in cell.context},
        {f"{s}_prev": draw(s, B) for s in cell.states},
        {s: draw(s, B) for s in cell.states},
        draw(cell.output, T, B),
    )


def reference(cell: Cell, given: Sample, dtype: Any = np.float64) -> Result:
    """Return outputs, final states and gradients by PyTorch, through the text alone."""

    def tensors(values: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
        real = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in values.items()}
        return {k: torch.tensor(v, requires_grad=v.dtype.kind == "f") for k, v in real.items()}

    params, inputs, context, states = (tensors(v) for v in (given.params, given.inputs, given.context, given.states))
    start = {k.removesuffix("_prev"): v for k, v in states.items()}
    y, final = unroll(cell, inputs, params, start, torch, context=context, steps=T)
    loss = (y * torch.tensor(given.dy)).sum() + sum((final[s] * torch.tensor(v)).sum() for s, v in given.dfinal.items())
    leaves = {k: v for k, v in {**params, **inputs, **context, **states}.items() if v.requires_grad and k not in cell.fixed}
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True) if leaves and loss.requires_grad else [None] * len(leaves)
    result = {"y": y.detach().numpy(), **{f"final {s}": final[s].detach().numpy() for s in cell.states}}
    for (name, leaf), grad in zip(leaves.items(), grads, strict=True):
        result[f"d {name}"] = np.zeros(tuple(leaf.shape)) if grad is None else grad.numpy()
    return result


def limits(cell: Cell, given: Sample, want: Result, seed: int) -> dict[str, float]:
    """Return the error that each result may have.

    That is what moving every argument by a few thousand ulp would make of it; and, for results that are small differences of large terms
    whatever the arguments are, some hundred times what rounding makes of them (seen in float32, where it is 2²⁹ times larger).
    """
    _refuse_wild(want)
    random = np.random.default_rng(seed + 1)

    def moved(values: Arrays) -> Arrays:
        return {k: np.asarray(v * (1 + NUDGE * random.uniform(-1, 1, v.shape))) if v.dtype.kind == "f" else v for k, v in values.items()}

    change = dict.fromkeys(want, 0.0)
    for _ in range(2):
        parts = (moved(v) for v in (given.params, given.inputs, given.context, given.states))
        near = reference(cell, Sample(given.sizes, *parts, given.dfinal, given.dy))
        _refuse_wild(near)
        change = {k: max(change[k], float(np.abs(near[k] - v).max(initial=0.0))) for k, v in want.items()}
    single = reference(cell, given, np.float32)
    rounding = {k: float(np.abs(single[k] - v).max(initial=0.0)) for k, v in want.items()}
    largest = max((float(np.abs(v).max(initial=0.0)) for v in want.values()), default=1.0)
    found = {}
    for name, value in want.items():
        scale = float(np.abs(value).max(initial=0.0))
        if change[name] > 1e-4 * max(scale, 1e-3):
            raise Skipped(f"{name} is ill conditioned, or at a kink")
        found[name] = 1e-11 * scale + 1e-13 * max(largest, 1.0) + 1e-3 * change[name]
        if rounding[name] > 0.1 * max(largest, 1.0):
            raise Skipped(f"{name} has no digit right in float32, or takes another branch there")
        if np.isfinite(rounding[name]):  # what overflows in float32 only says nothing
            found[name] += 2e-7 * rounding[name]
    return found


def _refuse_wild(values: Result) -> None:
    for name, value in values.items():
        if not np.isfinite(value).all() or np.abs(value).max(initial=0.0) > LARGEST:
            raise Skipped(f"{name} is not finite, or huge")


def compare(stage: str, found: Result, want: Result, limit: Mapping[str, float]) -> float:
    """Return the worst error relative to its limit."""
    worst = 0.0
    for name, value in want.items():
        if name not in found:
            raise Mismatch(f"{stage}: {name} is missing")
        if found[name].shape != value.shape:
            raise Mismatch(f"{stage}: {name} has shape {found[name].shape}, not {value.shape}")
        error = float(np.abs(found[name] - value).max(initial=0.0)) / limit[name]
        if not error <= 1:
            raise Mismatch(f"{stage}: {name} is off by {error:.1e} times its limit of {limit[name]:.1e}")
        worst = max(worst, error)
    return worst


# The roads


def interpreted(derivation: Derivation, given: Sample) -> Result:
    """Return the results of a derivation's two recurrences by the interpreter."""
    cell, forward, backward = derivation.cell, derivation[FORWARD].recurrence, derivation[BACKWARD].recurrence
    values = {**given.all(), **cell.array_constants}
    ahead = run(forward, values, given.sizes, T, B)
    values |= {n: ahead.sequences[n] for n in derivation.saved(FORWARD)}
    values[derivation[BACKWARD].cotangent[cell.output]] = given.dy
    for carry, state, back in zip(forward.carries, cell.states, backward.carries, strict=True):
        values[back.previous] = given.dfinal[state]
        values.pop(carry.previous, None) if carry.previous not in derivation.saved(FORWARD) else None
    behind = run(backward, values, given.sizes, T, B)
    result = {"y": ahead.sequences[cell.output]}
    for carry, state, back in zip(forward.carries, cell.states, backward.carries, strict=True):
        result[f"final {state}"] = ahead.carries[carry.previous]
        result[f"d {carry.previous}"] = behind.carries[back.previous]
    for name in (*cell.inputs, *cell.context, *cell.parameters):
        if name not in cell.integers and name not in cell.fixed:
            cotangent = derivation[BACKWARD].cotangent[name]
            result[f"d {name}"] = behind.sequences[cotangent] if cotangent in behind.sequences else behind.results[cotangent]
    return result


def emitted(cell: Cell) -> Files:
    """Return the files of the package, which must be the same when they are made again from nothing."""
    files = contents.files([cell], "the fuzzer")
    compile_cell.cache_clear()
    differentiate.cache_clear()
    if contents.files([cell], "the fuzzer") != files:
        raise Mismatch("emit: a second time gives other bytes")
    return files


def executed(module: ModuleType, cell: Cell, given: Sample, dtype: Any = np.float64) -> Result:
    """Return the results of a module's functions; `infer` must agree with `forward` to the bit."""

    def cast(values: Mapping[str, np.ndarray]) -> Arrays:
        return {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in values.items()}

    params, state = module.Params(**cast(given.params)), module.State(**{k.removesuffix("_prev"): v for k, v in cast(given.states).items()})
    inputs = cast({**given.inputs, **given.context})
    first = inputs.pop(cell.inputs[0]) if cell.inputs else None
    steps = {} if cell.inputs else {"steps": T}
    y, final, tape = module.forward(first, params, state, **inputs, **steps)
    again, last = module.infer(first, params, state, **inputs, **steps)
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip((y, *final), (again, *last), strict=True)):
        raise Mismatch("infer gives other values than forward")
    dfinal = module.State(**cast(given.dfinal))
    grads = module.backward(given.dy.astype(dtype), tape, dfinal)
    result = {"y": y, **{f"final {s}": v for s, v in zip(cell.states, final, strict=True)}}
    result |= {f"d {s}_prev": v for s, v in zip(cell.states, grads.state, strict=True)}
    names = [n for n in (*cell.inputs, *cell.context) if n not in cell.integers]
    result |= {f"d {n}": getattr(grads, n) for n in names}
    result |= {f"d {n}": getattr(grads.params, n) for n in cell.parameters if n not in cell.fixed}
    for name, value in result.items():
        if not isinstance(value, np.ndarray) or value.dtype != dtype:
            raise Mismatch(f"{name} is {getattr(value, 'dtype', type(value))}, not {np.dtype(dtype)}")
    return result


def compiled(files: Files, cell: Cell, given: Sample, want: Result, limit: Mapping[str, float]) -> float:
    """Return the worst error of the module compiled by Numba on the toolkit's own runtime, which is compiled once a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{cell.name}.py"
        path.write_text(files[path.name].replace("cache=True", "cache=False"), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"derive.{cell.name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        executed(module, cell, given, np.float32)
        return compare("numba", executed(module, cell, given), want, limit)
