"""Agreement in numbers: generated kernels against automatic differentiation, finite differences, and float32 against float64.

For a loss ``L = Σ_t ⟨dy_t, y_t⟩ + ⟨dfinal, final state⟩`` with random cotangents on every output and final state, the gradients with
respect to every parameter, input, context and initial state are compared with those of independent witnesses; so are the outputs and
final states.
"""

from __future__ import annotations

import importlib.util
import json
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

from ..calculus.doubts import doubts
from ..calculus.laws import changes, is_true
from ..language.definition import Definition
from ..package import memory
from ..runtime.cpu.threads import get_threads
from .problem import Problem, Result, sample
from .tolerances import AUTOGRAD, DIFFERENCES, FLOAT32, INTERPRETER, TOLERANCES, relative
from .witnesses import autograd, differences, interpreter, kernel

GROUP = 4  # cells that a process checks before it ends


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
    note : str
        Why a witness took no part.
    """

    cell: str
    sizes: Mapping[str, int]
    steps: int
    batch: int
    seed: int
    parameters: int
    errors: Mapping[str, Mapping[str, float]]
    note: str = ""

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
    float32 : bool
        Whether the kernels are compiled for float32 too, and compared with those for float64.

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
        **({DIFFERENCES: differences(module, p, found, seed)} if is_true(cell) else {}),
        **({FLOAT32: rounding(partial(kernel, module), p)} if float32 else {}),
    }
    count = sum(p.arrays[name].size for name in cell.parameters)
    return Report(cell.name, p.sizes, steps, batch, seed, count, errors, undifferenced(cell))


def undifferenced(cell: Definition) -> str:
    """Return why differences are no witness of a cell's gradients; nothing, where they are."""
    names = " and ".join(f"`{name}`" for name in changes(cell))
    return f"differences do not apply: what stands for the derivative of {names} is not that of the value" if names else ""


def rounding(computed: Callable[[Problem], Result], p: Problem) -> dict[str, float]:
    """Return the errors of what is computed in float32 against float64 at the same, rounded values."""
    narrow = p.cast(np.float32)
    got = computed(narrow)
    wrong = {name: math.inf for name, value in {**got.values, **got.grads}.items() if value.dtype != np.float32}
    return relative(got, computed(narrow.cast(np.float64)), FLOAT32) | wrong


def table(reports: Sequence[Report]) -> str:
    """Return a table with a line for each report, what is beyond tolerance, and the worst error of each witness."""
    used = [witness for witness in TOLERANCES if any(witness in report.errors for report in reports)]
    rows = [["cell", *used, "parameters", "ok"]]
    rows += [
        [r.cell, *(f"{r.worst(w):.1e}" if w in r.errors else "-" for w in used), str(r.parameters), "yes" if r.ok else "NO"]
        for r in reports
    ]
    rows.append(["tolerance", *(f"{TOLERANCES[w]:.0e}" for w in used), "", ""])
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [_aligned(row, widths) for row in rows]
    lines.insert(1, "-" * len(lines[0]))
    lines.insert(-1, lines[1])
    lines += [f"{r.cell}: {name}: {error:.1e} against {w}, beyond {TOLERANCES[w]:.0e}" for r in reports for w, name, error in r.failures]
    lines += [f"{r.cell}: {r.note}" for r in reports if r.note]
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
    check: Callable[..., Report] = check,
    order: int = 1,
    show: Callable[[str], None] = print,
) -> int:
    """Check cells, print the table and what was hardly meant and, if asked to, write the numbers to a file; return 1 if an error is
    beyond tolerance, else 0.

    Parameters
    ----------
    cells : sequence of Definition
    json_path : str, optional
        File for a list of the reports' fields, each with `ok`.
    check : function
        What checks a cell, given it and its module: that of this module, or of `second`.
    order : int
        Of the modules' derivatives.
    show : function
        What prints a text.
    """
    begin = time.perf_counter()
    reports = checked(cells, check, order)
    show(table(reports))
    for cell in cells:
        for doubt in doubts(cell):
            show(f"warning: {cell.name}: {doubt}")
    show(f"{time.perf_counter() - begin:.0f} s")
    if json_path is not None:
        Path(json_path).write_text(json.dumps([asdict(r) | {"ok": r.ok} for r in reports], indent=1) + "\n", encoding="utf-8")
    return 0 if all(report.ok for report in reports) else 1


def checked(cells: Sequence[Definition], check: Callable[..., Report], order: int) -> list[Report]:
    """Check cells, of one package; many of them in processes that end after some, as what is compiled stays in a process's memory."""
    modules = memory.compile_all(cells, order=order)
    if len(cells) <= GROUP:
        return [check(cell, module=modules[cell.name]) for cell in cells]
    tasks = [Task(check, cell, *memory.located(modules[cell.name])) for cell in cells]
    groups = [tasks[k : k + GROUP] for k in range(0, len(tasks), GROUP)]
    with ThreadPoolExecutor(get_threads()) as processes:
        return [report for reports in processes.map(_apart, groups) for report in reports]


@dataclass(frozen=True)
class Task:
    """What a process is to check: a cell, and the name and folder of its module."""

    check: Callable[..., Report]
    cell: Definition
    module: str
    folder: Path


def _apart(tasks: list[Task]) -> list[Report]:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_reports, tasks).result()


def _reports(tasks: list[Task]) -> list[Report]:
    return [task.check(task.cell, module=memory.imported(task.module, task.folder)) for task in tasks]
