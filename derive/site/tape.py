"""What a forward pass keeps for the backward pass, and which equations read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..calculus.chain import BACKWARD, FORWARD
from ..calculus.derivation import differentiate
from ..calculus.ir import Equation
from ..calculus.tags import place
from ..cell import Cell
from ..explain.cpu import tape_size
from ..language.names import previous
from ..language.sizes import Size
from ..notation.formula import Formulas
from ..notation.written import latex_of
from ..program.pipeline import Compiled, compile_cell
from . import markup, symbols
from .example import BATCH, STEPS
from .formulas import inline
from .page import Page

BYTES = 4  # of a float32
ONE = Size((), 1)


@dataclass(frozen=True)
class Kept:
    """An array of the tape: the value in LaTeX, how wide a row is, whether there is a row before the first step, who reads it, and
    whether the value is kept a second time.
    """

    tex: str
    width: Size
    state: bool
    readers: tuple[str, ...]
    again: bool


def kept(cell: Cell) -> list[Kept]:
    """Return what the tape of `cell` keeps beside the inputs and parameters, which are the caller's."""
    compiled = compile_cell(cell)
    forward = compiled[FORWARD]
    states = {field.value for field in forward.keeps if field.state}
    return [
        Kept(
            _formula(cell, compiled, field.value),
            forward.program.arrays[field.array].width,
            field.state,
            _readers(compiled, field.value, field.state),
            not field.state and field.value in states,
        )
        for field in forward.keeps
    ]


def _formula(cell: Cell, compiled: Compiled, value: str) -> str:
    """Return a kept value as the derivation has it, before matrices were stacked; the argument of a function as a formula."""
    derived = differentiate(cell)[FORWARD].recurrence
    forward = derived if value in derived.types else compiled.derivation[FORWARD].recurrence
    formulas = Formulas(cell, forward, latex_of(cell))
    if forward.labels[value].kind == "preactivation":
        return next(formulas.node(eq.node)[0] for eq in forward.equations() if eq.name == value)
    return formulas.left(value)


def _readers(compiled: Compiled, value: str, is_state: bool) -> tuple[str, ...]:
    """Return the numbers of the equations that read a value, directly or inside what has no number."""
    equations = tuple(compiled.derivation[BACKWARD].recurrence.equations())
    names = {value, previous(value)} if is_state else {value}
    tags = _tags(equations, names)
    return tuple(sorted(tags, key=place))


def _tags(equations: Iterable[Equation], names: set[str]) -> set[str]:
    found = set()
    for eq in equations:
        if names.isdisjoint(eq.node.operands()):
            continue
        if eq.shown and eq.tag.startswith("B"):
            found.add(eq.tag)
        else:
            names.add(eq.name)
    return found


def tape(page: Page) -> str:
    """What is kept, and its bytes."""
    rows = []
    for array in kept(page.cell):
        steps = "T + 1" if array.state else "T"
        width = f", {page.style.size(array.width)}" if array.width != ONE else ""
        again = " (rows of its own, for products over all steps)" if array.again else ""
        rows.append([inline(array.tex) + again, f"<code>({steps}, B{width})</code>", ", ".join(map(markup.link, array.readers))])
    if not rows:
        return "<p>The backward pass needs nothing but what the caller already has: inputs and parameters.</p>"
    size = tape_size(page.cell)
    each = size.evaluate(symbols.usual(page.cell)) * BYTES
    total = each * STEPS * BATCH / 2**20
    first = "A state has one more row, its value before the first step." if page.cell.states else ""
    numbers = f"{inline(page.style.size(size))} number{'s' if size != ONE else ''}"
    text = (
        f"The tape keeps {numbers} for each step of each sequence, besides the inputs, which are the caller's: "
        f"in float32 {each:,} bytes{symbols.at(page.cell)}, and {total:.3g} MiB for {STEPS} steps of {BATCH} sequences. "
        f"{first}"
    )
    return f"{markup.table(['kept', 'shape', 'used in'], rows)}\n\n<p>{text}</p>"
