"""What must hold for every cell: all roads to its values and gradients meet."""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

from derive.calculus.chain import Derivation
from derive.calculus.derivation import differentiate
from derive.cell import Cell
from derive.package import contents
from derive.package.folder import Files
from derive.program.pipeline import compile_cell, stages
from derive.runtime.cpu import checked
from derive.verify import second
from derive.verify.problem import Problem, Scales, directions, sample
from derive.verify.witnesses import arguments, autograd, gradients, interpreter

from . import device
from .twin import plain

T, B = 3, 2
LARGEST = 1e6
SCALES = Scales(parameters=0.6, states=1.0)
NUDGE = 1e-9  # how far arguments are moved, relatively, to see how well conditioned a gradient is


class Skipped(Exception):
    """The values say nothing: they overflow, or a gradient jumps or is ill conditioned where they are."""


class Mismatch(AssertionError):
    """Two roads give different values, or one of them ends."""


Result = dict[str, np.ndarray]  # "y", "final s" for each state, "d name" for what has a gradient


def verify(cell: Cell, sizes: Mapping[str, int], seed: int = 0, *, numba: bool = False, simulate: bool = False) -> float:
    """Hold every stage of the derivation and the emitted code of `cell` against PyTorch's autograd.

    Returns the worst error, relative to what the conditioning of each result allows (1 is the limit).

    Raises
    ------
    Skipped
    Mismatch
    """
    given = drawn(cell, sizes, seed)
    want = reference(given)
    limit = limits(given, want, seed)
    worst = 0.0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        for stage, derivation in attempt("derive", lambda: stages(cell)):
            found = attempt(stage, lambda d=derivation: interpreted(d, given))  # type: ignore[misc]
            worst = max(worst, compare(stage, found, want, limit))
        files = attempt("emit", lambda: emitted(cell))
        module = attempt("import", lambda: plain(files, cell.name))
        worst = max(worst, compare("plain", attempt("run", lambda: executed(module, given)), want, limit))
        with mock.patch.object(checked, "step_by_step", lambda *_: True):
            worst = max(worst, compare("inline", attempt("run", lambda: executed(module, given)), want, limit))
        worst = max(worst, differentiated_twice(cell, given, seed))
        if simulate:
            worst = max(worst, simulated(files, cell, module, seed))
        attempt("float32", lambda: executed(module, given.cast(np.float32)))
        if numba:
            worst = max(worst, attempt("numba", lambda: compiled(files, given, want, limit)))
    return worst


def differentiated_twice(cell: Cell, given: Problem, seed: int) -> float:
    """Return the worst error of second order, in the emitted code; 0 where PyTorch's own values say nothing."""
    direction = directions(given, seed)

    def by_torch(p: Problem) -> Result:
        return second.autograd(p, {name: value.astype(p.dy.dtype) for name, value in direction.items()}).named()

    files = attempt("emit second order", lambda: contents.files([cell], "the fuzzer", cuda=False, orders={cell.name: 2}))
    module = attempt("import second order", lambda: plain(files, cell.name))
    found = attempt("run second order", lambda: second.kernels(module, given, direction).named())
    left_out(module, given, direction, seed)
    try:
        want = by_torch(given)
        limit = limits(given, want, seed, by_torch)
    except Skipped:
        return 0.0
    return compare("second order", found, want, limit)


def left_out(module: ModuleType, given: Problem, direction: dict[str, np.ndarray], seed: int) -> None:
    """Compare second order where some fields are None with the same where they are zero."""
    drawn = np.random.default_rng(seed).random(len(direction)) < 0.5
    some = {name: value for (name, value), kept in zip(direction.items(), drawn, strict=True) if kept}
    zeros = {name: np.zeros_like(value) for name, value in direction.items()}
    found = attempt("run second order of some fields", lambda: second.kernels(module, given, some).named())
    want = attempt("run second order of some zeros", lambda: second.kernels(module, given, zeros | some).named())
    for name, value in want.items():
        if not np.allclose(found[name], value, rtol=1e-9, atol=1e-12 * max(1.0, np.abs(value).max(initial=0.0)), equal_nan=True):
            raise Mismatch(f"second order of {', '.join(some)}: {name} is another than with zeros for the rest")


def simulated(files: Files, cell: Cell, cpu: ModuleType, seed: int) -> float:
    """Return the worst error of the module for CUDA devices, in every shape; sizes are such that members can divide them."""
    given = drawn(cell, dict.fromkeys(cell.sizes, 4), seed)
    want = reference(given)
    limit, worst = limits(given, want, seed), 0.0
    made = attempt("import for devices", lambda: device.module(files, cell, cpu))
    for members in device.MEMBERS:
        stage = f"device, {members} members"
        with device.on_members(members):
            worst = max(worst, compare(stage, attempt(stage, lambda: executed(made, given)), want, limit))
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


def drawn(cell: Cell, sizes: Mapping[str, int], seed: int) -> Problem:
    return sample(cell, sizes=sizes, steps=T, batch=B, seed=seed, scales=SCALES)


def reference(given: Problem) -> Result:
    """Return outputs, final states and gradients by PyTorch, through the text alone."""
    found = autograd(given)
    return named(given, found.values["output"], {s: found.values[f"final {s}"] for s in given.cell.states}, found.grads)


def named(given: Problem, y: np.ndarray, final: Mapping[str, np.ndarray], grads: Mapping[str, np.ndarray]) -> Result:
    return {"y": y, **{f"final {s}": final[s] for s in given.cell.states}, **{f"d {n}": grads[n] for n in given.differentiable}}


def limits(given: Problem, want: Result, seed: int, reference: Callable[[Problem], Result] = reference) -> dict[str, float]:
    """Return the error that each result of a reference may have.

    That is what moving every argument by a few thousand ulp would make of it; and, for results that are small differences of large terms
    whatever the arguments are, some hundred times what rounding makes of them (seen in float32, where it is 2²⁹ times larger).
    """
    _refuse_wild(want)
    random = np.random.default_rng(seed + 1)

    def moved(value: np.ndarray) -> np.ndarray:
        return np.asarray(value * (1 + NUDGE * random.uniform(-1, 1, value.shape))) if value.dtype.kind == "f" else value

    change = dict.fromkeys(want, 0.0)
    for _ in range(2):
        near = reference(replace(given, arrays={name: moved(value) for name, value in given.arrays.items()}))
        _refuse_wild(near)
        change = {k: max(change[k], float(np.abs(near[k] - v).max(initial=0.0))) for k, v in want.items()}
    single = reference(given.cast(np.float32))
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


def interpreted(derivation: Derivation, given: Problem) -> Result:
    """Return the results of a derivation's forward and backward pass by the interpreter."""
    found = interpreter(given, derivation)
    final = {state: found.values[f"final {state}"] for state in given.cell.states}
    return named(given, found.values["output"], final, found.grads)


def emitted(cell: Cell) -> Files:
    """Return the files of the package, which must be the same when they are made again from nothing."""
    files = contents.files([cell], "the fuzzer")
    compile_cell.cache_clear()
    differentiate.cache_clear()
    if contents.files([cell], "the fuzzer") != files:
        raise Mismatch("emit: a second time gives other bytes")
    return files


def executed(module: ModuleType, given: Problem) -> Result:
    """Return the results of a module's functions, in the problem's dtype; `infer` must agree with `forward` to the bit."""
    positional, keywords = arguments(module, given)
    y, final, tape = module.forward(*positional, **keywords)
    again, last = module.infer(*positional, **keywords)
    if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip((y, *final), (again, *last), strict=True)):
        raise Mismatch("infer gives other values than forward")
    grads = module.backward(given.dy, tape, module.State(**given.dfinal))
    result = named(given, y, final._asdict(), gradients(given, grads))
    for name, value in result.items():
        if not isinstance(value, np.ndarray) or value.dtype != given.dy.dtype:
            raise Mismatch(f"{name} is {getattr(value, 'dtype', type(value))}, not {given.dy.dtype}")
    return result


def compiled(files: Files, given: Problem, want: Result, limit: Mapping[str, float]) -> float:
    """Return the worst error of the module compiled by Numba on the toolkit's own runtime, which is compiled once a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{given.cell.name}.py"
        path.write_text(files[path.name].replace("cache=True", "cache=False"), encoding="utf-8")
        spec = importlib.util.spec_from_file_location(f"derive.{given.cell.name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        executed(module, given.cast(np.float32))
        return compare("numba", executed(module, given), want, limit)
