"""What a forward pass keeps for the backward pass, and which equations read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..calculus.derivation import differentiate
from ..calculus.ir import Equation
from ..cell import Cell
from ..language.names import previous
from ..language.sizes import Size
from ..notation.formula import Formulas
from ..notation.style import Latex
from ..program.pipeline import Compiled, compile_cell


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
    states = {value for _, value, is_state in compiled.saved if is_state}
    return [
        Kept(
            _formula(cell, compiled, value),
            compiled.forward.arrays[array].width,
            is_state,
            _readers(compiled, value, is_state),
            not is_state and value in states,
        )
        for array, value, is_state in compiled.saved
    ]


def _formula(cell: Cell, compiled: Compiled, value: str) -> str:
    """Return a kept value as the derivation has it, before matrices were stacked; the argument of a function as a formula."""
    derived = differentiate(cell).forward
    forward = derived if value in derived.types else compiled.derivation.forward
    formulas = Formulas(cell, forward, Latex(cell.latex))
    if forward.labels[value].kind == "preactivation":
        return next(formulas.node(eq.node)[0] for eq in forward.equations() if eq.name == value)
    return formulas.left(value)


def _readers(compiled: Compiled, value: str, is_state: bool) -> tuple[str, ...]:
    """Return the numbers of the equations that read a value, directly or inside what has no number."""
    equations = tuple(compiled.derivation.backward.equations())
    names = {value, previous(value)} if is_state else {value}
    tags = _tags(equations, names)
    return tuple(sorted(tags, key=lambda tag: int(tag[1:])))


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
