"""How a call runs on a CUDA device, and why: what the runtime's planner chooses, with the numbers that it chooses by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..codegen.cuda.apart import Apart
from ..codegen.cuda.module import tables
from ..language.definition import Definition
from ..language.sizes import Shape
from ..program.pipeline import compile_cell
from ..runtime.cuda.kind import BYTES, KINDS, Kind
from ..runtime.cuda.limits import H200, Limits
from ..runtime.cuda.plan import Plan, Steps
from ..runtime.cuda.planner import best, candidates, refused
from ..runtime.cuda.tiling import for_loop
from ..verify.problem import complete_sizes

BATCH, DTYPE, PROCESSORS, SHARED = "b", "dtype", "processors", "shared"


@dataclass(frozen=True)
class Request:
    """A call on a device: sequences B, kind of numbers, sizes by name, and what the device offers."""

    batch: int = 16
    kind: Kind = KINDS["bfloat16"]
    limits: Limits = H200
    sizes: Mapping[str, int] = field(default_factory=dict)


def parse_request(cell: Definition, words: list[str], others: Iterable[str] = ()) -> Request:
    """Return the call that words such as ``b=16 n=512 dtype=tf32 processors=132 shared=232448`` describe.

    Sizes that only `others`, cells that are shown too, have are let pass.

    Raises
    ------
    ValueError
        It names the word, and what is known.
    """
    found: dict[str, int] = {}
    kind = KINDS["bfloat16"]
    known = [*dict.fromkeys((*cell.sizes, *others)), BATCH, PROCESSORS, SHARED]
    for word in words:
        name, _, text = word.partition("=")
        if name == DTYPE and text in KINDS:
            kind = KINDS[text]
        elif name in known and text.isdigit() and int(text) > 0:
            found[name] = int(text)
        else:
            kinds = ", ".join(KINDS)
            raise ValueError(f"{cell.name}: needs words like {BATCH}=16, for {', '.join(known)}, or {DTYPE}= one of {kinds}, got {word!r}")
    batch = found.pop(BATCH, 16)
    limits = Limits(H200.capability, found.pop(PROCESSORS, H200.processors), found.pop(SHARED, H200.shared))
    return Request(batch, kind, limits, complete_sizes(cell, {name: found.get(name, 512) for name in cell.sizes}))


def explain(cell: Definition, request: Request) -> str:
    """Return which kernels run a call, in what shape, and why, as text."""
    sizes = ", ".join(f"{name} = {request.sizes[name]}" for name in cell.sizes)
    limits = request.limits
    lines = [
        f"{cell.name}: B = {request.batch}, {sizes}, {request.kind.name}",
        f"device: {limits.processors} processors, {limits.shared} bytes of shared memory and {limits.registers} registers a block",
    ]
    for name, steps in tables(cell, compile_cell(cell)).items():
        lines += [f"{name}: {line}" for line in _loop(steps, request)]
    return "\n".join(lines)


def _loop(steps: Steps | Apart | None, request: Request) -> Iterator[str]:
    """Say how a time loop is run."""
    if isinstance(steps, Apart):
        yield from _apart(steps, request)
        return
    if steps is None:
        yield "no loop over time that one kernel could run: products by cuBLAS, and a kernel for what follows each"
        return
    plan = best(steps, request.sizes, request.batch, request.kind, request.limits)
    if plan is None:
        yield "step by step, products by cuBLAS, since no kernel that keeps its weights fits:"
        yield from (f"  {line}" for line in _refusals(steps, request))
        return
    yield from _shape(steps, plan, request)


def _apart(of: Apart, request: Request) -> Iterator[str]:
    """Say how a time loop is run whose rows need nothing of each other."""
    sizes, size = request.sizes, BYTES[request.kind.real]
    matrices, kept = ([_numbers(shape, sizes) for shape in shapes] for shapes in (of.matrices, of.kept.values()))
    tiling = for_loop(of.features.evaluate(sizes), matrices, kept, size, request.limits.shared)
    if tiling is None:
        yield "step by step, since the states of a block that are matrices do not fit into shared memory"
        return
    heads = request.sizes[of.heads] if of.heads else 1
    each = "head of a sequence" if of.heads else "sequence"
    yield f"one kernel for all steps: a block for each {each}, {request.batch * heads} of {tiling.threads} threads; none waits for another"
    if matrices:
        yield f"  {tiling.across} threads have a row of a matrix, each of them up to {max(tiling.columns)} columns"
    if kept:
        yield f"  {', '.join(of.kept)}: {tiling.shared} bytes of shared memory"


def _numbers(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, int]:
    """Return the rows and columns of a matrix."""
    rows, columns = shape
    return rows.evaluate(sizes), columns.evaluate(sizes)


def _shape(steps: Steps, plan: Plan, request: Request) -> Iterator[str]:
    """Describe a plan."""
    members = f"{plan.members} members" if plan.members > 1 else "one block"
    groups = f"{_counted(plan.groups, 'group')} of {members}, {_counted(plan.rows, 'sequence')} each"
    yield f"one kernel for all steps: {groups}, {plan.threads} threads a block"
    if plan.members > 1:
        features = ", ".join(f"{plan.here[name]} of {name}" for name in sorted(steps.divided))
        yield f"  a member has {features}; members meet {_often(steps.meetings)} a step"
    elif not steps.spread:
        yield "  a group has one block, since features of a row are summed in a step, or its sizes cannot be divided"
    else:
        yield "  a group has one block, which has room for all weights and need not meet another"
    for name, part in plan.parts.items():
        yield f"  product {name}: {_product(plan, part.columns, part.width, request.kind, name)}"
    needs = f"{plan.shared} bytes of shared memory, {plan.registers} registers a thread for weights, sums and what is read ahead"
    yield f"  {needs}; about {plan.cost:.1f} µs a step (estimated)"


def _product(plan: Plan, columns: int, width: int, kind: Kind, name: str) -> str:
    part = plan.parts[name]
    if kind.product == "fma":
        return f"{columns} columns, each a sum of {width} in {_counted(part.slices, 'slice')}, by multiply-add from shared memory"
    turned = "second" if part.turned else "first"
    return (
        f"{columns} columns, each a sum of {width}, by tensor cores ({kind.product}); weights are the {turned} factor, "
        f"{_counted(part.each, 'tile')} of {part.tile_columns} columns a warp, in {_counted(part.slices, 'slice')}"
    )


def _refusals(steps: Steps, request: Request) -> Iterator[str]:
    """Say why the plans that ask for least do not fit."""
    found = list(candidates(steps, request.sizes, request.batch, request.kind, request.limits))
    if not found:
        yield "rows of an operand do not fill lines of 16 bytes"
        return
    least = (min(found, key=lambda plan: plan.shared), min(found, key=lambda plan: (plan.registers, plan.shared)))
    for plan in dict.fromkeys(least):
        members = _counted(plan.members, "member")
        yield f"{_counted(plan.groups, 'group')} of {members}, {_counted(plan.rows, 'sequence')} each: {refused(plan, request.limits)}"


def _often(times: int) -> str:
    return {1: "once", 2: "twice"}.get(times, f"{times} times")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
