"""What becomes of a matrix that is a state, read off a step's equations: how it decays, and whether it is read before it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from ..language.definition import Definition
from ..language.names import previous
from .buffers import buffers
from .functions import derivative
from .ir import AxisSum, Equation, Map, Recurrence, downstream
from .lower import lower
from .symbols import is_value

KEPT, NUMBER, ROWS, COLUMNS, ELEMENTS = "kept", "a number", "rows", "columns", "elements"


@dataclass(frozen=True)
class Memory:
    """A matrix state S.

    Attributes
    ----------
    state : str
    decay : str
        What the step before is multiplied by: nothing (``kept``), a number, a number for each of its rows, columns or elements.
    by : str
        Where that comes from: ``input``, ``learned``, ``fixed``, or ``state``; nothing where it is kept as it is.
    corrects : tuple of str
        What of the step before is read to make what is written: ``S k``, sums of rows, or ``Sᵀ v``, sums of columns.
    affine : bool
        Whether its new value is affine in the one before, given all others.
    """

    state: str
    decay: str
    by: str
    corrects: tuple[str, ...]
    affine: bool

    def text(self) -> str:
        """Return what becomes of it, in words."""
        times = {KEPT: "is kept", NUMBER: "decays by a number", ELEMENTS: "decays, each element by a number of its own"}
        decay = times.get(self.decay, f"decays, its {self.decay} each by a number of its own")
        source = {"": "", "input": " from the input", "state": " from states and the input", "learned": " that is learned"}
        found = decay + source.get(self.by, " that is fixed")
        if self.corrects:
            found += f"; what is written depends on {' and '.join(self.corrects)}, which is read before"
        return found if self.affine else f"{found}; not affine"


def memories(cell: Definition) -> tuple[Memory, ...]:
    """Return what becomes of each matrix state of `cell`."""
    forward = lower(cell)
    return tuple(_memory(cell, forward, state) for state in cell.states if len(cell.shapes[state]) == 2)


def _memory(cell: Definition, forward: Recurrence, state: str) -> Memory:
    body = {eq.name: eq for eq in forward.body}
    before = previous(state)
    reach = downstream(forward.body, {before})
    factor = _Chain(forward, body, before).factor(state)
    made = _upstream(body, state)
    reads = [eq.node for eq in forward.body if eq.name in made and isinstance(eq.node, AxisSum) and eq.node.value in reach]
    corrects = tuple(text for axis, text in ((1, "S k"), (0, "Sᵀ v")) if any(node.axis == axis for node in reads))
    symbols = {s.name for s in factor.free_symbols if is_value(s)}
    affine = symbols.isdisjoint(reach) and all(_is_linear(body[name], reach) for name in made & reach if name in body)
    return Memory(state, _decay(forward, factor, symbols), _source(cell, forward, body, symbols, factor), corrects, affine)


@dataclass(frozen=True)
class _Chain:
    """Equations between a state before the step and after it."""

    forward: Recurrence
    body: Mapping[str, Equation]
    before: str

    def factor(self, name: str) -> sp.Expr:
        """Return what each element of the state before is multiplied by on its way to that element of a value, but through sums."""
        if name == self.before:
            return sp.S.One
        eq = self.body.get(name)
        if eq is None or not isinstance(eq.node, Map) or len(self.forward.types[name].shape) < 2:
            return sp.S.Zero
        parts = [(operand, self.factor(operand)) for operand in eq.node.operands()]
        return sp.Add(*(derivative(eq.node.expr, sp.Symbol(operand)) * part for operand, part in parts if part != 0))


def _decay(forward: Recurrence, factor: sp.Expr, symbols: set[str]) -> str:
    """Return how a factor varies over a matrix."""
    if not symbols:
        return KEPT if factor == 1 else NUMBER
    laid = forward.laid
    axes = {laid[name].axis if name in laid else 2 for name in symbols if len(forward.types[name].shape) == 2}
    return NUMBER if not axes else {frozenset({0}): ROWS, frozenset({1}): COLUMNS}.get(frozenset(axes), ELEMENTS)


def _source(cell: Definition, forward: Recurrence, body: Mapping[str, Equation], symbols: set[str], factor: sp.Expr) -> str:
    """Return where a factor comes from."""
    if not symbols:
        return "" if factor == 1 else "fixed"
    if not any(forward.types[name].batched for name in symbols):
        learned = set(cell.parameters) - set(cell.fixed)
        made = {eq.name: set(eq.node.operands()) for eq in forward.prologue}
        return "learned" if any(learned & ({name} | made.get(name, set())) for name in symbols) else "fixed"
    behind = set().union(*(_upstream(body, name) for name in symbols))
    live = {*cell.states} - {*buffers(cell.states, forward.body)}
    return "state" if behind & {previous(state) for state in live} else "input"


def _upstream(body: Mapping[str, Equation], name: str) -> set[str]:
    """Return a value and all that it is made of."""
    found, waiting = set[str](), [name]
    while waiting:
        if (made := waiting.pop()) not in found:
            found.add(made)
            waiting += body[made].node.operands() if made in body else ()
    return found


def _is_linear(eq: Equation, reach: set[str]) -> bool:
    """Say whether an equation is affine in those of its operands that depend on the state before."""
    if not isinstance(eq.node, Map):
        return not type(eq.node).__name__.startswith("Log")
    read = {sp.Symbol(name) for name in eq.node.operands() if name in reach}
    return all(read.isdisjoint(derivative(eq.node.expr, symbol).free_symbols) for symbol in read)
