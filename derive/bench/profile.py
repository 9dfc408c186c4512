"""Where the time of a pass goes, phase by phase, as the caller's thread sees it.

The module of a cell is generated anew with a call of `stamps.spent` after every statement that takes time, and then measured as it is. What
a thread waits for at the end of a kernel is waiting; what it does for others that have not begun counts as that as well. A product that
idle threads share counts for the one who asks, with the time that it takes.
"""

from __future__ import annotations

import ast
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..language.definition import Definition
from ..package.contents import digest, files
from ..package.folder import Files, complete
from ..package.memory import import_from
from ..verify.problem import Problem, directions, initial
from ..verify.second import grads_of
from ..verify.witnesses import arguments
from .compare import size_for
from .contender import Size, sizes_of, threads_of
from .phases import BACKWARD, DOUBLE, HVP, INFERENCE, PRODUCTS, TANGENT, TRAINING
from .second import penalized
from .stamps import ELEMENTWISE, MULTIPLYING, OVER_STEPS, PACKING, SHARED, STATES, SUMS, table
from .table import pipes
from .work import operations

SECONDS = 1.0  # for which a pass is measured, and at least
LEAST = 11  # calls
HOST = {
    **dict.fromkeys(("fill_panels", "fill_part", "put_rows", "transposed", "matvec", "matvec_t", "outer", "plus"), PACKING),
    "multiply_rows": OVER_STEPS,
    **dict.fromkeys(("outer_spikes", "outer_sums", "total"), SUMS),
    "share": SHARED,
}  # by what a statement of a host function calls; whatever else there is moves states
# By what a statement of a kernel calls; whatever else there is goes through elements.
KERNEL = dict.fromkeys(("multiply", "multiply_spikes"), MULTIPLYING)
COLUMNS = ("products of a step", "elementwise", "waiting", "products of all steps", "sums", "packing", "states", "call")


@dataclass(frozen=True)
class Profile:
    """One pass at one size.

    Attributes
    ----------
    cell, name : str
        The cell's, and the pass's.
    size : tuple of int
        B, T, d, n.
    seconds : float
        Of a call: the median.
    operations : int
        Of its matrix products; a multiplication and its addition are two.
    phases : tuple of float
        Seconds by phase (`stamps.PHASES`): medians.
    """

    cell: str
    name: str
    size: Size
    seconds: float
    operations: int
    phases: tuple[float, ...]

    def shares(self) -> dict[str, float]:
        """Return the share of each of the `COLUMNS` in the time of a call."""
        of = self.phases
        waiting = of[SHARED] - of[MULTIPLYING] - of[ELEMENTWISE]
        call = self.seconds - sum(of[phase] for phase in (PACKING, STATES, OVER_STEPS, SUMS, SHARED))
        values = (of[MULTIPLYING], of[ELEMENTWISE], waiting, of[OVER_STEPS], of[SUMS], of[PACKING], of[STATES], call)
        return {name: value / self.seconds for name, value in zip(COLUMNS, values, strict=True)}

    def multiplying(self) -> float:
        """Return the rate of products while they are made, in 10⁹ operations a second; 0 if there are none."""
        seconds = sum(self.phases[phase] for phase in (MULTIPLYING, OVER_STEPS, SUMS))
        return self.operations / seconds / 1e9 if seconds else 0.0


# A module that notes down its time


def stamped(package: Files, name: str) -> Files:
    """Return a package in which the functions of the module `name` note down their time."""
    tree = ast.parse(package[f"{name}.py"])
    for function in tree.body:
        if isinstance(function, ast.FunctionDef):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Name) and decorator.id in ("host", "kernel"):
                    _stamp(function, host=decorator.id == "host")
    imported = ast.parse(f"from {__package__}.stamps import nanoseconds as _nanoseconds, spent as _spent").body
    place = 1 + next(k for k, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom) and node.module == "__future__")
    tree.body[place:place] = imported
    return {**package, f"{name}.py": ast.unparse(ast.fix_missing_locations(tree)) + "\n"}


def _stamp(function: ast.FunctionDef, *, host: bool) -> None:
    first, kinds, rest = ("0", HOST, STATES) if host else ("first", KERNEL, ELEMENTWISE)
    function.body = [*ast.parse("_clock = _nanoseconds()").body, *_stamped(function.body, first, kinds, rest)]


def _stamped(body: Sequence[ast.stmt], first: str, kinds: dict[str, int], rest: int) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.For) and _of_steps(statement):
            statement.body = list(_stamped(statement.body, first, kinds, rest))
            yield statement
            continue
        yield statement
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # what a function says of itself
        called = {node.func.id for node in ast.walk(statement) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        if not isinstance(statement, ast.Assign) or called & {*kinds}:
            phase = next((kinds[name] for name in kinds if name in called), rest)
            yield from ast.parse(f"_clock = _spent({first}, {phase}, _clock)").body


def _of_steps(loop: ast.For) -> bool:
    """Say whether a loop goes through steps, or through pieces of some steps."""
    return isinstance(loop.target, ast.Name) and (
        loop.target.id == "t" or "pieces" in {n.id for n in ast.walk(loop.iter) if isinstance(n, ast.Name)}
    )


def profiled(cell: Definition, folder: Path, order: int = 1) -> ModuleType:
    """Return the module of a cell that notes down its time; its package lies in a folder that must stay."""
    package = stamped(files([cell], "a cell that is profiled", cuda=False, orders={cell.name: order}), cell.name)
    name = f"_derive_profile_{digest(*package.values())}"
    if name not in sys.modules:
        complete(package, folder / name)
        import_from(folder / name, name)
    return importlib.import_module(f"{name}.{cell.name}")


# Measuring


def profile(cell: Definition, sizes: Sequence[Size], dtype: str, threads: int, order: int = 1) -> Iterator[Profile]:
    """Yield the profile of each pass of an order at each size."""
    with tempfile.TemporaryDirectory(prefix="derive-profile-") as folder:
        module = profiled(cell, Path(folder), order)
        threads_of(module).set_threads(threads)
        for size in dict.fromkeys(size_for(cell, size) for size in sizes):
            yield from _passes(cell, module, size, dtype, PASSES[order])


def _passes(cell: Definition, module: ModuleType, size: Size, dtype: str, passes: Passes) -> Iterator[Profile]:
    batch, steps, d, n = size
    named = sizes_of(cell, d, n)
    p = initial(module, cell, sizes=named, steps=steps, batch=batch, dtype=dtype)
    work = operations(cell, named, steps, batch)
    for name, (call, products) in passes(module, p).items():
        seconds, phases = _measured(call)
        yield Profile(cell.name, name, size, seconds, work * products, phases)


Passes = Callable[[ModuleType, Problem], dict[str, tuple[Callable[[], object], int]]]  # calls, and products of each one forward


def _first(module: ModuleType, p: Problem) -> dict[str, tuple[Callable[[], object], int]]:
    given, keywords = arguments(module, p)
    tape = module.forward(*given, **keywords)[2]
    return {
        "infer": (lambda: module.infer(*given, **keywords), 1),
        "forward": (lambda: module.forward(*given, **keywords), 1),
        "backward": (lambda: module.backward(p.dy, tape), BACKWARD),
    }


def _second(module: ModuleType, p: Problem) -> dict[str, tuple[Callable[[], object], int]]:
    given, keywords = arguments(module, p)
    tape = module.forward(*given, **keywords)[2]
    tape2, v = module.backward(p.dy, tape, second=True)[1], directions(p)
    along, u = grads_of(module, p, v), grads_of(module, p, {name: v[name] for name in penalized(p.cell)})
    return {
        "backward, kept": (lambda: module.backward(p.dy, tape, second=True), BACKWARD),
        "double backward": (lambda: module.backward_backward(u, tape2), PRODUCTS[DOUBLE] - PRODUCTS[TRAINING]),
        "tangent": (lambda: module.tangent(along, tape), PRODUCTS[TANGENT] - PRODUCTS[INFERENCE]),
        "hvp": (lambda: module.hvp(along, tape, p.dy), PRODUCTS[HVP] - PRODUCTS[INFERENCE]),
    }


PASSES: dict[int, Passes] = {1: _first, 2: _second}


def _measured(call: Callable[[], object]) -> tuple[float, tuple[float, ...]]:
    call()
    times: list[float] = []
    noted: list[np.ndarray] = []
    end = time.perf_counter() + SECONDS
    while len(times) < LEAST or time.perf_counter() < end:
        table[:] = 0
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
        noted.append(table / 1e9)
    return float(np.median(times)), tuple(float(value) for value in np.median(noted, axis=0))


# Showing


def as_json(profiles: Sequence[Profile], machine: Mapping[str, Any], dtype: str, threads: int, peak: float) -> str:
    """Return everything as JSON; `peak` is the rate of multiply-adds alone, in 10⁹ operations a second."""
    rows = [asdict(found) | {"shares": found.shares(), "multiplying": found.multiplying()} for found in profiles]
    told = {"machine": machine, "dtype": dtype, "threads": threads, "peak": peak, "rows": rows}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def markdown(profiles: Sequence[Profile], machine: Mapping[str, Any], dtype: str, threads: int, peak: float) -> str:
    """Return a table, and above it what holds for all of its rows."""
    told = f"{dtype}, {threads} threads; {machine['processor']}, {machine['cores']} cores; multiply-adds reach {peak:.0f} GF/s"
    heads = ["cell", "pass", "B, T, d, n", "ms", *COLUMNS, "peak while multiplying"]
    body = []
    for found in profiles:
        shares = [f"{share:.0%}" if share >= 0.005 else "" for share in found.shares().values()]
        rate = f"{found.multiplying() / peak:.0%}" if found.operations else ""
        body.append([found.cell, found.name, ", ".join(map(str, found.size)), f"{found.seconds * 1e3:.3g}", *shares, rate])
    return f"{told}\n\n{pipes(heads, body)}"
