"""Proof by numbers: generated kernels against automatic differentiation, finite differences, and float32 against float64.

For a loss ``L = Σ_t ⟨dy_t, y_t⟩ + ⟨dfinal, final state⟩`` with random cotangents on every output and final state, the gradients by
every parameter, input, context and initial state are compared with those of independent witnesses; so are the outputs and final states.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..calculus.derivation import BACKWARD, FORWARD, differentiate
from ..calculus.doubts import doubts
from ..language.definition import Definition
from ..language.names import canonical
from ..language.shapes import shape_of
from ..language.tree import Call
from ..language.walks import walk
from ..package import memory
from .evaluate import constants_of, unroll
from .interpret import run as interpret

Array = np.ndarray
Arrays = Mapping[str, Array]

AUTOGRAD, INTERPRETER, DIFFERENCES, FLOAT32 = "autograd", "interpreter", "differences", "float32"
TOLERANCES = {AUTOGRAD: 1e-10, INTERPRETER: 1e-10, DIFFERENCES: 1e-6, FLOAT32: 1e-5}
# A gradient below this part of the largest one is measured against that part: it may be a sum that cancels, where rounding is all there is.
SMALL = {AUTOGRAD: 1e-3, INTERPRETER: 1e-3, DIFFERENCES: 1e-3, FLOAT32: 1e-2}
# Of central differences.  Rounding is near 1e-16 / step; the second is for where the first reaches across a kink.
STEPS = (2e-5, 2e-7)
ENTRIES, DIRECTIONS = 12, 2  # differences taken of each array: single entries, and random directions through all of them
SIZES = {"d": 3, "n": 7}
OTHER_SIZE = 5


@dataclass(frozen=True)
class Report:
    """The largest relative error of each name, by witness.

    Attributes
    ----------
    cell : str
    sizes : mapping
    steps, batch, seed : int
        T and B of the run, and what its random numbers come from.
    parameters : int
        How many numbers the parameters hold.
    errors : mapping
        By witness (`TOLERANCES` has their names) and by name.  Names are those of gradients, a state's being ``<state>_prev``, and for
        values ``output`` and ``final <state>``.  Not finite where the kernel's result is not.
    """

    cell: str
    sizes: Mapping[str, int]
    steps: int
    batch: int
    seed: int
    parameters: int
    errors: Mapping[str, Mapping[str, float]]

    def worst(self, witness: str) -> float:
        """Return the largest error that a witness found; NaN if it took no part."""
        return max(self.errors[witness].values(), default=0.0) if witness in self.errors else math.nan

    @property
    def failures(self) -> list[tuple[str, str, float]]:
        """Witness, name and error of what is beyond tolerance."""
        return [(w, name, error) for w, found in self.errors.items() for name, error in found.items() if not error <= TOLERANCES[w]]

    @property
    def ok(self) -> bool:
        """Whether all errors are within tolerance."""
        return not self.failures


@dataclass(frozen=True)
class Problem:
    """Values to run a cell on, and cotangents; `arrays` has inputs, contexts, parameters and, as ``<state>_prev``, initial states."""

    cell: Definition
    sizes: Mapping[str, int]
    steps: int
    batch: int
    arrays: Arrays
    dy: Array
    dfinal: Arrays

    @property
    def differentiable(self) -> list[str]:
        """The names that have a gradient."""
        without = {*self.cell.integers, *self.cell.fixed}
        return [name for name in self.arrays if name not in without]

    def cast(self, dtype: Any) -> Problem:
        """Return the problem with all floating-point numbers rounded to `dtype`."""

        def to(value: Array) -> Array:
            return value.astype(dtype) if value.dtype.kind == "f" else value

        arrays = {name: to(value) for name, value in self.arrays.items()}
        dfinal = {name: to(value) for name, value in self.dfinal.items()}
        return Problem(self.cell, self.sizes, self.steps, self.batch, arrays, to(self.dy), dfinal)

    def at(self, name: str, value: Array) -> Problem:
        """Return the problem with one array replaced."""
        return Problem(self.cell, self.sizes, self.steps, self.batch, {**self.arrays, name: value}, self.dy, self.dfinal)


@dataclass(frozen=True)
class Result:
    """Output, final states and gradients by name."""

    values: Arrays
    grads: Arrays


# The problem


def complete_sizes(cell: Definition, sizes: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return a value for every named size of `cell`: those given, else odd numbers; sizes that must be equal are."""
    given = {canonical(name): value for name, value in (sizes or {}).items()}
    names = [*cell.sizes, *(name for pair in cell.equal_sizes for name in pair)]
    found = {name: given.get(name, SIZES.get(name, OTHER_SIZE)) for name in names}
    return found | {a: found[b] for a, b in cell.equal_sizes}


def sample(cell: Definition, *, sizes: Mapping[str, int] | None = None, steps: int = 5, batch: int = 3, seed: int = 0) -> Problem:
    """Return random float64 values of moderate size for everything that `cell` reads, and cotangents for all that it gives."""
    full = complete_sizes(cell, sizes)
    draw = Draw(cell, full, np.random.default_rng(seed))
    arrays = draw.inputs(steps, batch)
    arrays |= {name: _moderate(draw.normal(name)) for name in cell.parameters}
    arrays |= {f"{name}_prev": draw.normal(name, batch) / 2 for name in cell.states}
    dfinal = {name: draw.normal(name, batch) for name in cell.states}
    return _reached(Problem(cell, full, steps, batch, arrays, draw.normal(cell.output, steps, batch), dfinal))


@dataclass(frozen=True)
class Draw:
    """Random float64 values of a cell's names."""

    cell: Definition
    sizes: Mapping[str, int]
    random: np.random.Generator

    def normal(self, name: str, *lead: int) -> Array:
        """Return normal numbers of the shape of `name`, after the axes `lead`."""
        return self.random.standard_normal((*lead, *(size.evaluate(self.sizes) for size in self.cell.shapes[name])))

    def inputs(self, steps: int, batch: int) -> dict[str, Array]:
        """Return inputs and contexts: normal numbers, and indices within what they pick from."""
        leads = dict.fromkeys(self.cell.inputs, (steps, batch)) | dict.fromkeys(self.cell.context, (batch,))
        return {name: self._given(name, lead) for name, lead in leads.items()}

    def _given(self, name: str, lead: tuple[int, ...]) -> Array:
        if name in self.cell.integers:
            return self.random.integers(0, classes(self.cell, name, self.sizes), lead)
        return self.normal(name, *lead)


def _reached(p: Problem) -> Problem:
    """Return the problem with initial states that the cell comes to from zero, if it comes to any.

    A state may mean something: a normaliser, the sum of exponentials, is positive.  At values of either sign, a quotient by it may have no
    accurate value in float32.
    """
    cell = p.cell
    given = {name: p.arrays[name] for name in cell.parameters}
    zero = {name: np.zeros_like(p.arrays[f"{name}_prev"]) for name in cell.states}
    context = {name: p.arrays[name] for name in cell.context}
    with np.errstate(all="ignore"):
        inputs = {name: p.arrays[name][::-1] for name in cell.inputs}
        _, final = unroll(cell, inputs, given, zero, np, context=context, steps=p.steps)
    for name, value in final.items():
        if np.isfinite(value).all() and value.all():
            p = p.at(f"{name}_prev", np.array(value))
    return p


def _moderate(parameter: Array) -> Array:
    """Scale normal values so that wide matrices do not make a chaotic system, where rounding grows from step to step."""
    return parameter / max(2.0, math.sqrt(parameter.shape[-1]) if parameter.ndim == 2 else 0.0)


def classes(cell: Definition, index: str, sizes: Mapping[str, int]) -> int:
    """Return what an index must be below: the size of the smallest vector that it picks from."""
    nodes = [node for line in cell.equations for node in walk(line.value) if isinstance(node, Call) and node.function == "pick"]
    picked = [node.args[0] for node in nodes if getattr(node.args[1], "id", None) == index]
    return min(shape_of(vector, cell.shapes)[0].evaluate(sizes) for vector in picked)


# The kernel and its witnesses


def arguments(module: ModuleType, p: Problem) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and the named arguments of a generated module's `forward` and `infer`."""
    cell = p.cell
    names = [*cell.inputs, *cell.context]
    first = p.arrays[names.pop(0)] if cell.inputs else None
    params = module.Params(*(p.arrays[name] for name in cell.parameters))
    state = module.State(*(p.arrays[f"{name}_prev"] for name in cell.states))
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
    cell = p.cell
    leaves = {name: torch.tensor(value, requires_grad=name in p.differentiable) for name, value in p.arrays.items()}
    inputs, context, params = ({name: leaves[name] for name in names} for names in (cell.inputs, cell.context, cell.parameters))
    state = {name: leaves[f"{name}_prev"] for name in cell.states}
    y, final = unroll(cell, inputs, params, state, torch, context=context, steps=p.steps)
    loss = (y * torch.tensor(p.dy)).sum() + sum((final[name] * torch.tensor(value)).sum() for name, value in p.dfinal.items())
    wanted = [leaves[name] for name in p.differentiable]
    found = torch.autograd.grad(loss, wanted, allow_unused=True) if loss.requires_grad else [None] * len(wanted)
    grads = {n: np.zeros_like(p.arrays[n]) if g is None else g.numpy() for n, g in zip(p.differentiable, found, strict=True)}
    final = {name: value.detach().numpy() for name, value in final.items()}
    return Result(_values(cell, y.detach().numpy(), final), grads)


def interpreter(p: Problem) -> Result:
    """Return what the derivation gives, before any pass, evaluated equation by equation."""
    made = differentiate(p.cell)
    ahead, back, cotangent = made[FORWARD].recurrence, made[BACKWARD].recurrence, made[BACKWARD].cotangent
    given = {**p.arrays, **constants_of(p.cell)}
    forward = interpret(ahead, given, p.sizes, p.steps, p.batch)
    pairs = list(zip(ahead.carries, back.carries, strict=True))
    seeds = {cotangent[p.cell.output]: p.dy} | {after.previous: p.dfinal[before.value] for before, after in pairs}
    backward = interpret(back, {**given, **forward.sequences, **seeds}, p.sizes, p.steps, p.batch)
    written = {**backward.results, **backward.sequences}
    grads = {before.previous: backward.carries[after.previous] for before, after in pairs}
    grads |= {name: written[cotangent[name]] for name in p.differentiable if name not in grads}
    final = {before.value: forward.carries[before.previous] for before, _ in pairs}
    return Result(_values(p.cell, forward.sequences[p.cell.output], final), grads)


def slope(module: ModuleType, p: Problem, name: str, direction: Array, step: float) -> float:
    """Return the central difference of the kernel's own loss at `name` along a direction: exact for polynomials of degree 4."""
    seeds, total = _values(p.cell, p.dy, p.dfinal), 0.0
    for width, weight in ((step, 2 / (3 * step)), (2 * step, -1 / (12 * step))):
        ahead, back = (_infer(module, p.at(name, p.arrays[name] + sign * width * direction)) for sign in (1, -1))
        # Differences of values, not of losses: the loss is a large sum, whose rounding would spoil them.
        total += weight * sum(float(np.sum(seeds[key] * (ahead[key] - back[key]))) for key in seeds)
    return total


def _infer(module: ModuleType, p: Problem) -> dict[str, Array]:
    given, keywords = arguments(module, p)
    y, final = module.infer(*given, **keywords)
    return _values(p.cell, y, final._asdict())


# Errors


def relative(got: Result, want: Result, witness: str = AUTOGRAD) -> dict[str, float]:
    """Return, for each name, the largest error relative to the largest number; a gradient that is nearly zero is measured against the
    others.
    """
    floor = _floor(want, witness)
    errors = {name: _error(got.values[name], value, SMALL[witness]) for name, value in want.values.items()}
    return errors | {name: _error(got.grads[name], value, floor) for name, value in want.grads.items()}


def _floor(result: Result, witness: str) -> float:
    """Return what a gradient is measured against if it is smaller; the cotangents, of size 1, count as a gradient."""
    return SMALL[witness] * max([1.0, *map(_size, result.grads.values())])


def _size(value: Array) -> float:
    return float(np.max(np.abs(value), initial=0.0))


def root_mean_square(value: Any) -> float:
    """Return the size of an array's numbers where a norm is asked for, of any number of them."""
    return float(np.linalg.norm(np.asarray(value, np.float64))) / math.sqrt(max(np.size(value), 1))


def _error(got: Array, want: Array, floor: float) -> float:
    if got.shape != want.shape or not np.isfinite(got).all():
        return math.inf
    return _size(got - want) / max(_size(want), floor)


def differences(module: ModuleType, p: Problem, found: Result, seed: int) -> dict[str, float]:
    """Return the errors of gradients against central differences in some entries and random directions of each array."""
    random = np.random.default_rng(seed)
    floor = _floor(found, DIFFERENCES)
    return {name: _worst_slope(module, p, name, grad, floor, random) for name, grad in found.grads.items()}


def _worst_slope(module: ModuleType, p: Problem, name: str, grad: Array, floor: float, random: np.random.Generator) -> float:
    if grad.shape != p.arrays[name].shape or not np.isfinite(grad).all():
        return math.inf
    scale, worst = max(_size(grad), floor), 0.0
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


# The check


def check(
    cell: Definition,
    *,
    sizes: Mapping[str, int] | None = None,
    steps: int = 5,
    batch: int = 3,
    seed: int = 0,
    module: ModuleType | None = None,
) -> Report:
    """Compare the kernels of a cell with all witnesses at random values.

    Parameters
    ----------
    cell : Definition
    sizes : mapping, optional
        Values of named sizes; odd ones by default.
    steps, batch, seed : int
        T, B, and what the random numbers come from.
    module : module, optional
        Generated from `cell`; by default it is compiled in memory.

    Returns
    -------
    Report
        PyTorch's autograd is a witness where it is installed, the NumPy interpreter of the derivation where it is not.
    """
    module = memory.compile(cell) if module is None else module
    p = sample(cell, sizes=sizes, steps=steps, batch=batch, seed=seed)
    found = kernel(module, p)
    witness, reference = (AUTOGRAD, autograd) if importlib.util.find_spec("torch") else (INTERPRETER, interpreter)
    errors = {
        witness: relative(found, reference(p)),
        DIFFERENCES: differences(module, p, found, seed),
        FLOAT32: _rounding(module, p),
    }
    count = sum(p.arrays[name].size for name in cell.parameters)
    return Report(cell.name, p.sizes, steps, batch, seed, count, errors)


def _rounding(module: ModuleType, p: Problem) -> dict[str, float]:
    """Return the errors of the float32 kernel against the float64 kernel at the same, rounded values."""
    narrow = p.cast(np.float32)
    got = kernel(module, narrow)
    wrong = {name: math.inf for name, value in {**got.values, **got.grads}.items() if value.dtype != np.float32}
    return relative(got, kernel(module, narrow.cast(np.float64)), FLOAT32) | wrong


# The table


def table(reports: Sequence[Report]) -> str:
    """Return a table with a line for each report, what is beyond tolerance, and the worst error of each witness."""
    used = [witness for witness in TOLERANCES if any(witness in report.errors for report in reports)]
    rows = [["cell", *used, "parameters", "ok"]]
    rows += [[r.cell, *(f"{r.worst(w):.1e}" for w in used), str(r.parameters), "yes" if r.ok else "NO"] for r in reports]
    rows.append(["tolerance", *(f"{TOLERANCES[w]:.0e}" for w in used), "", ""])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [_aligned(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, lines[1])
    lines += [f"{r.cell}: {name}: {error:.1e} against {w}, beyond {TOLERANCES[w]:.0e}" for r in reports for w, name, error in r.failures]
    return "\n".join([*lines, *_summary(reports, used)])


def _aligned(row: list[str], widths: list[int]) -> str:
    first, *others = [f"{text:>{width}}" for text, width in zip(row, widths, strict=True)]
    return "  ".join([f"{row[0]:<{len(first)}}", *others]).rstrip()


def _summary(reports: Sequence[Report], used: Iterable[str]) -> list[str]:
    lines = [f"{sum(r.ok for r in reports)} of {len(reports)} cells within tolerance; worst relative error:"]
    for witness in used:
        every = [(error, f"{r.cell}: {name}") for r in reports for name, error in r.errors.get(witness, {}).items()]
        error, where = max(every, default=(0.0, "nothing compared"))
        lines.append(f"  {witness:<12}{error:.1e}  ({where})")
    return lines


def run(
    cells: Sequence[Definition],
    json_path: str | None = None,
    *,
    show: Callable[[str], None] = print,
) -> int:
    """Check cells, print the table and what was hardly meant and, if asked to, write the numbers to a file; return 1 if an error is
    beyond tolerance, else 0.

    Parameters
    ----------
    cells : sequence of Definition
    json_path : str, optional
        File for a list of the reports' fields, each with `ok`.
    show : function
        What prints a text.
    """
    begin = time.perf_counter()
    modules = memory.compile_all(cells)
    reports = [check(cell, module=modules[cell.name]) for cell in cells]
    show(table(reports))
    for cell in cells:
        for doubt in doubts(cell):
            show(f"warning: {cell.name}: {doubt}")
    show(f"{time.perf_counter() - begin:.0f} s")
    if json_path is not None:
        Path(json_path).write_text(json.dumps([asdict(r) | {"ok": r.ok} for r in reports], indent=1) + "\n", encoding="utf-8")
    return 0 if all(report.ok for report in reports) else 1
