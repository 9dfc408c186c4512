"""What kind of cell a cell is, told from its equations and its structure: what a catalogue sorts cells by.

Each trait says in words how it is found, so that a page that sorts by it can say so too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from ..language.definition import Definition
from ..language.tree import Call
from ..language.walks import walk
from .functions import exp, hard_sigmoid, sigmoid
from .ir import Along, FeatureSum, Map, Merge, Part, Recurrence, Repeat, Slice, downstream
from .laws import is_linear
from .lower import lower
from .rowfunctions import RowFunction
from .structure import Structure, structure
from .symbols import is_value

SQUASHING = (sigmoid, hard_sigmoid, exp)


@dataclass(frozen=True)
class Found:
    """What traits are told from; there is no structure where a cell's backward pass has no Jacobian behind it."""

    cell: Definition
    forward: Recurrence
    structure: Structure | None


@dataclass(frozen=True)
class Trait:
    """A property of cells: its name, how it is found, in a sentence, and whether a cell has it."""

    name: str
    told: str
    holds: Callable[[Found], bool]


def traits(cell: Definition) -> tuple[Trait, ...]:
    """Return the traits that `cell` has, in the order of `TRAITS`."""
    found = Found(cell, lower(cell), structure(cell) if is_linear(cell) else None)
    return tuple(trait for trait in TRAITS if trait.holds(found))


def _gated(found: Found) -> bool:
    """Say whether a gate, or what is made of gates alone, multiplies something else of the step."""
    moved, gates = _moved(found.forward), set[str]()
    for eq in found.forward.body:
        if isinstance(eq.node, Along | Repeat | Part | Merge | Slice) and eq.node.value in gates:
            gates.add(eq.name)
        if isinstance(eq.node, Map) and not isinstance(eq.node, RowFunction):
            if any(_multiplies(product, moved, gates) for product in eq.node.expr.atoms(sp.Mul)):
                return True
            if _is_gate(eq.node.expr, moved, gates):
                gates.add(eq.name)
    return False


def _moved(forward: Recurrence) -> set[str]:
    """Return what depends on the inputs or on the states before."""
    return downstream(forward.body, {*forward.sequences, *forward.contexts, *(carry.previous for carry in forward.carries)})


def _multiplies(product: sp.Mul, moved: set[str], gates: set[str]) -> bool:
    """Say whether one factor is a gate and another one is none."""
    factors = [factor for factor in product.args if _reads(factor, moved)]
    kinds = {_is_gate(factor, moved, gates) for factor in factors}
    return kinds == {True, False}


def _is_gate(expr: sp.Expr, moved: set[str], gates: set[str]) -> bool:
    """Say whether what depends on the data in an expression does so through gates: z, but also 1 - z."""
    if isinstance(expr, sp.Symbol):
        return expr.name in gates
    if isinstance(expr, SQUASHING):
        return _reads(expr, moved)
    if not isinstance(expr, sp.Add | sp.Mul | sp.Pow):
        return False
    parts = [part for part in expr.args if _reads(part, moved)]
    return bool(parts) and all(_is_gate(part, moved, gates) for part in parts)


def _reads(expr: sp.Expr, names: set[str]) -> bool:
    return any(is_value(symbol) and symbol.name in names for symbol in expr.free_symbols)


def _normalised(found: Found) -> bool:
    """Say whether a value is divided by a number that is summed over features."""
    sums = {eq.name for eq in found.forward.body if isinstance(eq.node, FeatureSum)}
    for eq in found.forward.body:
        if isinstance(eq.node, Map):
            if any(power.exp.is_negative and _reads(power.base, sums) for power in eq.node.expr.atoms(sp.Pow)):
                return True
            if not found.forward.types[eq.name].shape and _reads(eq.node.expr, sums):
                sums.add(eq.name)
    return False


def _affine(found: Found) -> bool:
    told = found.structure
    if told is None or not found.cell.states or told.coupling == "none":
        return False
    return told.affine or (bool(told.memories) and all(memory.affine for memory in told.memories))


def _spiking(found: Found) -> bool:
    """Say whether a function with a derivative of its own has a step for a value."""
    surrogates = found.cell.own.surrogates.values()
    return any(isinstance(part, Call) and part.function == "step" for own in surrogates for part in walk(own.value))


TRAITS: tuple[Trait, ...] = (
    Trait("gated", "a value that comes out of a sigmoid or an exponential of data multiplies another, element by element", _gated),
    Trait(
        "affine in its state",
        "the new state is a matrix times the old one and a vector, neither of which depends on it: a linear recurrence, "
        "which a parallel scan can compute; of a cell with matrix states, each matrix in itself, all others given",
        _affine,
    ),
    Trait(
        "diagonal",
        "every block of the Jacobian of a step is diagonal: a unit sees its own states, and no other unit's",
        lambda found: found.structure is not None and found.structure.coupling in ("diagonal", "blocks"),
    ),
    Trait("normalized", "a value is divided by a number that is summed over features, such as a norm or a deviation", _normalised),
    Trait("spiking", "a step function whose derivative is another one's, a surrogate", _spiking),
    Trait("matrix state", "a state has two axes", lambda found: any(len(found.cell.shapes[state]) == 2 for state in found.cell.states)),
    Trait("heads", "the cell is that of one head, so many side by side", lambda found: bool(found.cell.heads)),
    Trait(
        "several inputs",
        "more than one value is given from outside, at each step or for a sequence",
        lambda found: len(found.cell.inputs) + len(found.cell.context) > 1,
    ),
)
"""All traits, in the order in which they are shown."""
