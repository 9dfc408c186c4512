"""From a cell to its programs: the one ordered list of passes.

Each pass takes a `Derivation` and returns one that computes the same; the interpreter can run the result of any of them.  After the
last, each recurrence is parted into regions, given storage, and is a `Program`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ..calculus.derivation import Derivation, differentiate
from ..calculus.ir import Concat, Map, Slice
from ..calculus.naming import Names
from ..language.definition import Definition
from .imperative import Program
from .passes.accumulate import accumulate
from .passes.hoist import Regions, hoist
from .passes.recompute import recompute
from .passes.share import share
from .passes.stack import stack
from .passes.storage import Kept, store

PASSES: tuple[tuple[str, Callable[[Derivation], Derivation]], ...] = (
    ("recompute", recompute),  # first, so that what is made again takes part in everything below
    ("stack", stack),  # before `accumulate`, which wants one product a sum
    ("accumulate", accumulate),
    ("share", share),  # last: it names what the final expressions have in common
)


@dataclass(frozen=True)
class Compiled:
    """A cell's two programs, with the derivation that they come from.

    Attributes
    ----------
    derivation : Derivation
        After all passes.
    forward, backward : Program
    output : str
        The forward program's array that is handed out.
    states : mapping
        From a state on the tape to the backward program's array of it.
    saved : mapping
        By the name of each array on the tape, the value that it holds, and whether it is a state's (with a row before the first step).
    """

    derivation: Derivation
    forward: Program
    backward: Program
    output: str
    states: Mapping[str, str]
    saved: tuple[tuple[str, str, bool], ...]


def stages(cell: Definition) -> list[tuple[str, Derivation]]:
    """Return the derivation as differentiated and after each pass."""
    found = [("differentiate", differentiate(cell))]
    for name, apply in PASSES:
        found.append((name, apply(found[-1][1])))
    return found


@lru_cache(maxsize=256)
def compile_cell(cell: Definition) -> Compiled:
    """Return the programs of `cell`."""
    derivation = stages(cell)[-1][1]
    forward, backward = hoist(derivation.forward), hoist(derivation.backward)
    saved = frozenset(derivation.saved)
    states = _shared_states(derivation, backward)
    shared = frozenset(states)
    output = Names(derivation.forward.types).fresh(f"{cell.output}_out")
    forward_program = store(forward, Kept(outputs={cell.output: output}, tape=saved, shared=shared))
    tape = []
    for carry in derivation.forward.carries:
        if not shared.isdisjoint((carry.previous, carry.value)):
            tape.append((forward_program.places[carry.previous].array, carry.value, True))
    for value in sorted(saved - shared):
        place = next(a for a in forward_program.arrays if a == forward_program.places[value].array)
        tape.append((place, value, False))
    taken = Names(derivation.backward.types)
    names = {value: taken.fresh(f"{value}_states") for _, value, is_state in tape if is_state}
    written = {name: name for name in derivation.backward.written}
    kept = Kept(outputs=written, states={s: (names[value], shift) for s, (value, shift) in states.items()})
    return Compiled(derivation, forward_program, store(backward, kept), output, names, tuple(tape))


def _shared_states(derivation: Derivation, backward: Regions) -> dict[str, tuple[str, int]]:
    """Return, by saved name, the state and the shift at which the state's own array holds it.

    ``s`` lies one row after ``s_prev``; only equations of the loop can read it there, since sums over all steps read equal rows of
    their operands.
    """
    shared: dict[str, tuple[str, int]] = {}
    saved = set(derivation.saved)
    outside = [*backward.once, *backward.before, *backward.after, *backward.rec.accumulators]
    outside += [eq for eq in backward.loop if not isinstance(eq.node, Map | Slice | Concat)]
    read_outside = {o for eq in outside for o in eq.node.operands()}
    for carry in derivation.forward.carries:
        if carry.previous in saved:
            shared[carry.previous] = (carry.value, 0)
        if carry.value in saved and carry.value not in read_outside and backward.rec.carries:
            shared[carry.value] = (carry.value, 1)
    return shared


__all__ = ["PASSES", "Compiled", "Program", "compile_cell", "stages"]
