"""What a cell's Jacobian says about it: how states couple, whether a parallel scan would do, which parameters only add.

But for what is affine, everything is read off the symbolic blocks ∂s_t/∂s'_{t-1}; nothing is sampled.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from ..language.definition import Definition
from ..language.names import previous
from .buffers import buffers
from .functions import Elementwise, derivative
from .ir import LogSumExp, Map, Node, Recurrence
from .jacobian import Jacobian, a_matrix, jacobian
from .lower import lower
from .memory import Memory, memories
from .rowfunctions import RowFunction


@dataclass(frozen=True)
class Structure:
    """The structure of a cell's step.

    Attributes
    ----------
    coupling : str
        ``none`` without states; ``dense`` if units see one another across a step; ``diagonal`` if each unit sees only itself;
        ``blocks`` if each unit's few states see one another, and no other unit's; ``matrix`` if there are matrices at each step, whose
        Jacobian is no block for vectors, so that less is told.
    per_unit : int
        States of a unit that are coupled: the k of its k×k blocks; 1 for a diagonal.
    affine : bool
        Whether ``s_t = A(x_t) s_{t-1} + b(x_t)``, so that the forward pass could be a parallel scan.  (The backward recursion always is.)
    buffers : tuple of str
        States that only hold what came in at earlier steps, such as the previous input: to the others they are inputs, and do not count
        above.
    additive : tuple of str
        Parameters that no block of the Jacobian depends on: in the recurrence they never multiply the state, directly or through a gate.
    memories : tuple of Memory
        What becomes of each state that is a matrix.
    """

    coupling: str
    per_unit: int
    affine: bool
    buffers: tuple[str, ...]
    additive: tuple[str, ...]
    memories: tuple[Memory, ...] = ()

    def text(self) -> str:
        """Return the structure in words, a line for each finding."""
        kinds = {
            "none": "no state: steps do not affect one another",
            "dense": "dense: a unit depends on other units of the step before",
            "diagonal": "diagonal: a unit depends only on itself at the step before",
            "blocks": f"{self.per_unit}×{self.per_unit} blocks: the {self.per_unit} states of a unit depend on one another, on no others",
        }
        kinds["matrix"] = "a matrix at each step: how its elements depend on one another is not worked out"
        lines = [f"state to state       {kinds[self.coupling]}"]
        if self.coupling != "none":
            given = ", given the buffers" if self.buffers else ""
            scan = f"yes{given}: a parallel scan could compute it" if self.affine else "no"
            lines.append(f"affine in the state  {scan}")
        if self.coupling not in ("none", "matrix"):
            lines.append(f"not in the Jacobian  {', '.join(self.additive) or 'none: it depends on every parameter'}")
        lines += [f"{memory.state:<20} {memory.text()}" for memory in self.memories]
        lines += [f"buffers              {', '.join(self.buffers)}: made of earlier inputs alone"] if self.buffers else []
        return "\n".join(lines)


def structure(cell: Definition) -> Structure:
    """Return the structure of `cell`."""
    forward = lower(cell)
    held = buffers(cell.states, forward.body)
    live = [state for state in cell.states if state not in held]
    if a_matrix(forward):
        return Structure("matrix", 0, _is_affine(forward, live), held, (), memories(cell))
    found = jacobian(cell)
    blocks = [found[of, f"{by}_prev"] for of in live for by in live]
    reached = found.sources(*blocks)
    additive = tuple(name for name in cell.parameters if name not in reached)
    if not live:
        return Structure("none", 0, True, held, additive)
    local = all(block.is_zero or block.is_diagonal for block in blocks)
    per_unit = _largest_group(found, live) if local else 0
    coupling = "dense" if not local else "diagonal" if per_unit == 1 else "blocks"
    return Structure(coupling, per_unit, _is_affine(forward, live), held, additive)


def _is_affine(forward: Recurrence, states: list[str]) -> bool:
    """Say whether the values of states are affine in those before: derivatives tell less, where one is zero or not the value's own."""
    moved = {previous(state) for state in states}
    wrong: set[str] = set()
    for eq in forward.body:
        read = moved.intersection(eq.node.operands())
        if read:
            moved.add(eq.name)
        if not wrong.isdisjoint(eq.node.operands()) or (read and not _affine_in(eq.node, read)):
            wrong.add(eq.name)
    return wrong.isdisjoint(states)


def _affine_in(node: Node, names: set[str]) -> bool:
    """Say whether a node is affine in some of its operands together."""
    if isinstance(node, LogSumExp | RowFunction):
        return False
    if not isinstance(node, Map):
        return True
    symbols = {sp.Symbol(name) for name in names}
    if any(symbols & call.free_symbols for call in node.expr.atoms(Elementwise)):
        return False
    return all(symbols.isdisjoint(derivative(node.expr, symbol).free_symbols) for symbol in symbols)


def _largest_group(found: Jacobian, states: list[str]) -> int:
    """Return how many states are coupled to one another, directly or through others, at most."""
    groups: list[set[str]] = []
    for state in states:
        near = {o for o in states if not found[state, f"{o}_prev"].is_zero or not found[o, f"{state}_prev"].is_zero} | {state}
        joined = [group for group in groups if group & near]
        groups = [group for group in groups if not group & near] + [near.union(*joined)]
    return max(map(len, groups))
