"""Why a call of a cell's kernels runs as it does: the runtime's decisions (`runtime.cpu.division`), with the numbers they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numba import from_dtype

from ..calculus.chain import FORWARD
from ..calculus.ir import MatVec, MatVecT
from ..language.definition import Definition
from ..language.sizes import Size
from ..program.imperative import Product, Program
from ..program.pipeline import Compiled, compile_cell
from ..runtime.cpu import division as plan
from ..runtime.cpu.threads import get_threads
from ..runtime.cpu.tile import ROWS, width
from ..verify.problem import complete_sizes

TIMES, BATCH, THREADS, DTYPE = "t", "b", "threads", "dtype"


@dataclass(frozen=True)
class Extent:
    """A call: steps T, sequences B, sizes by name, the number of threads and the dtype."""

    steps: int = 100
    batch: int = 32
    threads: int = field(default_factory=get_threads)
    dtype: np.dtype = field(default_factory=lambda: np.dtype(np.float32))
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize


def parse_extent(cell: Definition, words: list[str], others: Iterable[str] = ()) -> Extent:
    """Return the call that words such as ``b=16 t=100 d=64 n=512 threads=2 dtype=float64`` describe.

    Sizes that only `others`, cells that are shown too, have are let pass.

    Raises
    ------
    ValueError
        It names the word, and what is known.
    """
    found: dict[str, int] = {}
    dtype = np.dtype(np.float32)
    known = [*dict.fromkeys((*cell.sizes, *others)), BATCH, TIMES, THREADS]
    for word in words:
        name, _, text = word.partition("=")
        if name == DTYPE and text in ("float32", "float64"):
            dtype = np.dtype(text)
        elif name in known and text.isdigit() and int(text) > 0:
            found[name] = int(text)
        else:
            raise ValueError(
                f"{cell.name}: needs words like {BATCH}=16, for {', '.join(known)}, or {DTYPE}=float32 or float64, got {word!r}"
            )
    call = {"steps": found.pop(TIMES, 100), "batch": found.pop(BATCH, 32), "threads": found.pop(THREADS, get_threads())}
    return Extent(**call, dtype=dtype, sizes=complete_sizes(cell, {name: found.get(name, 128) for name in cell.sizes}))


def explain(cell: Definition, extent: Extent) -> str:
    """Return what a call does, and why, as text."""
    compiled = compile_cell(cell)
    sizes = ", ".join(f"{name} = {extent.sizes[name]}" for name in cell.sizes)
    head = f"{cell.name}: T = {extent.steps}, B = {extent.batch}, {sizes}, {extent.dtype}, {_counted(extent.threads, 'thread')}"
    lines = [head, *_inputs(cell, compiled, extent)]
    for name, program in ((link.name, link.program) for link in compiled):
        lines += [f"{name}: {line}" for line in _loop(cell, program, extent)]
    if extent.threads > 1:
        lines.append(f"threads that sleep are woken for a pass that goes through {plan.LIGHT} numbers or more; those awake help with any")
    return "\n".join((*lines, tape(cell, extent)))


def _parameters(cell: Definition, extent: Extent) -> int:
    """Return the bytes of all parameters."""
    return sum(int(np.prod([size.evaluate(extent.sizes) for size in cell.shapes[name]])) for name in cell.parameters) * extent.bytes


def _inline(cell: Definition, extent: Extent) -> bool:
    """Say whether products of the inputs are formed at each step."""
    return plan.step_by_step(extent.steps, extent.batch, _parameters(cell, extent), extent.threads, ROWS)


def _inputs(cell: Definition, compiled: Compiled, extent: Extent) -> list[str]:
    """Say when the products of the inputs are formed."""
    if not compiled[FORWARD].program.ahead:
        return []
    held, rows = _parameters(cell, extent), ROWS * extent.threads
    fits = f"all parameters, {_shown(held)}, {{}} {_shown(plan.CACHED)} of cache"
    if extent.steps == 1:
        why, when = "there is one", "at the step"
    elif _inline(cell, extent):
        when = "at each step"
        why = f"B = {extent.batch} is at least {rows}, a tile of {ROWS} rows for every thread, and {fits.format('are within')}"
    else:
        when = "for all steps before the first"
        few = f"B = {extent.batch} is less than {rows}, a tile of {ROWS} rows for every thread"
        why = few if extent.batch < rows else fits.format("exceed")
    return [f"products of the inputs: {when}, since {why}"]


def _loop(cell: Definition, program: Program, extent: Extent) -> Iterator[str]:
    """Say how a time loop is divided."""
    if not program.loop:
        yield "no loop over time: all rows at once"
        return
    products = [*(program.ahead if _inline(cell, extent) else ()), *(product for stage in program.loop for product in stage.products)]
    weights = sum({(p.matrix, p.transposed): _packed(program, p, extent) for p in products}.values())
    phases = sum(1 for stage in program.loop if stage.loops)
    count = plan.row_parts(extent.batch, weights, extent.threads, ROWS)
    if extent.threads == 1:
        why = "there is one thread"
    elif weights == 0:
        why = "there is no product in it"
    elif weights < plan.HEAVY:
        why = f"each thread can read all packed weights, {_shown(weights)}, at each step"
    elif extent.batch >= ROWS * extent.threads:
        why = f"{_counted(extent.batch, 'sequence')} give each thread a tile of {ROWS} rows or more"
    else:
        why = f"packed weights, {_shown(weights)}, are too much to read for fewer than {ROWS} rows"
        why += ", and threads without a part take columns of products"
    yield f"{_counted(phases, 'phase')} a step; rows in {_counted(count, 'part')}, since {why}"


def _packed(program: Program, product: Product, extent: Extent) -> int:
    """Return the bytes of a matrix in panels."""
    node = product.equation.node
    assert isinstance(node, MatVec | MatVecT)
    k, n = (program.shape(name)[0].evaluate(extent.sizes) for name in (node.vector, product.equation.name))
    wide = width(from_dtype(extent.dtype))
    return -(-n // wide) * wide * k * extent.bytes


def tape(cell: Definition, extent: Extent) -> str:
    """Say how much memory the tape takes."""
    each = tape_size(cell).evaluate(extent.sizes) * extent.bytes
    return f"tape: {each} bytes for each step and sequence, {_shown(each * extent.steps * extent.batch)} in all"


def tape_size(cell: Definition) -> Size:
    """Return how many numbers the tape keeps of each step of each sequence, beside the inputs, which are the caller's."""
    compiled = compile_cell(cell)
    return sum((link.program.arrays[field.array].width for link in compiled for field in link.keeps), start=Size())


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shown(size: int) -> str:
    return f"{size / 2**20:.3g} MiB" if size >= 1 << 20 else f"{size / 2**10:.3g} KiB"
