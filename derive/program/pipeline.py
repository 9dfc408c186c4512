"""From a cell to its programs: the one ordered list of passes.

Each pass takes a chain of links and returns one that computes the same; the interpreter can run the result of any of them.  After the
last, each link's recurrence is parted into regions, given storage, and is a `Program`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from sympy import count_ops

from ..calculus.chain import FORWARD, Derivation, Link
from ..calculus.derivation import differentiate
from ..calculus.ir import Concat, Map, Slice
from ..calculus.naming import Names
from ..calculus.second import second_order
from ..language.definition import Definition
from ..language.errors import CellError
from .imperative import Program
from .passes.accumulate import accumulate
from .passes.copies import Kept, materialise
from .passes.hoist import Regions, hoist
from .passes.invert import invert
from .passes.narrow import narrow
from .passes.numbers import numbers
from .passes.recompute import recompute
from .passes.schedule import schedule
from .passes.share import share
from .passes.stack import stack
from .passes.storage import store
from .passes.zeros import zeros

PASSES: tuple[tuple[str, Callable[[Derivation], Derivation]], ...] = (
    ("numbers", numbers),  # before what weighs and compares expressions
    ("recompute", recompute),  # early, so that what is made again takes part in everything below
    ("zeros", zeros),
    ("stack", stack),  # before `accumulate`, which wants one product a sum
    ("accumulate", accumulate),
    ("invert", invert),
    ("narrow", narrow),  # once nothing moves between links
    ("share", share),  # last: it names what the final expressions have in common
)


LARGEST = 12_000
"""Operations in all passes of second order: an LSTM has 600, twelve Euler steps of a cell 1,800, for which Numba takes a minute, and 24 of
them 3,600, for which it takes two and a half."""


@dataclass(frozen=True)
class Field:
    """What a link keeps on the tape: a value, or a state's values before and after every step.

    Attributes
    ----------
    name : str
        Of the tape's field.
    value : str
    array : str
        Of the link's program.
    state : bool
        Whether it is a state's, with a row before the first step.
    """

    name: str
    value: str
    array: str
    state: bool


@dataclass(frozen=True)
class Stored:
    """A link of a chain with its program.

    Attributes
    ----------
    link : Link
        After all passes.
    program : Program
    outputs : mapping
        From each value of a step that is handed out to the program's array of it.
    reads : mapping
        From each of the program's arrays that another link fills to that link and the field of its tape.
    keeps : tuple of Field
        What later links read of it.
    """

    link: Link
    program: Program
    outputs: Mapping[str, str]
    reads: Mapping[str, tuple[str, str]]
    keeps: tuple[Field, ...]

    @property
    def name(self) -> str:
        return self.link.name


@dataclass(frozen=True, eq=False)  # it is known by itself: a cell is compiled once
class Compiled:
    """A cell's chain with its programs.

    Attributes
    ----------
    derived : Derivation
        As it was differentiated: what people read.
    derivation : Derivation
        After all passes.
    links : tuple of Stored
        In the order of the chain.
    """

    derived: Derivation
    derivation: Derivation
    links: tuple[Stored, ...]

    def __getitem__(self, name: str) -> Stored:
        """Return the link of that name; KeyError if there is none."""
        return next(link for link in self.links if link.link is self.derivation[name])

    def __iter__(self) -> Iterator[Stored]:
        return iter(self.links)


def stages(cell: Definition) -> list[tuple[str, Derivation]]:
    """Return the derivation as differentiated and after each pass."""
    found = differentiate(cell)
    return [("differentiate", found), *passed(found)]


def passed(derivation: Derivation) -> Iterator[tuple[str, Derivation]]:
    """Yield a chain after each pass, with the pass's name."""
    for name, apply in PASSES:
        derivation = apply(derivation)
        yield name, derivation


@lru_cache(maxsize=256)
def compile_cell(cell: Definition, order: int = 1) -> Compiled:
    """Return the programs of `cell`: of forward and backward pass, and for `order` 2 those of second order.

    Raises
    ------
    CellError
        If second order would be too large to be compiled (see `LARGEST`).
    """
    derived = differentiate(cell)
    return compiled(derived) if order == 1 else _small_enough(compiled(second_order(derived)))


def _small_enough(found: Compiled) -> Compiled:
    """Return a chain that can be compiled in bearable time; raise CellError for another."""
    equations = (eq for link in found for eq in link.program.rec.equations())
    count = sum(int(count_ops(eq.node.expr)) if isinstance(eq.node, Map) else 1 for eq in equations)
    if count > LARGEST:
        raise CellError(
            f"{found.derived.cell.name}: to second order, its passes have {count} operations, and above {LARGEST} compiling takes over "
            "ten minutes: split the cell into smaller ones, or go without; the first order, and `derive show --order 2`, have no limit"
        )
    return found


def compiled(derived: Derivation) -> Compiled:
    """Return the programs of a chain as it was differentiated."""
    *_, (_, derivation) = passed(derived)
    regions = {link.name: hoist(link.recurrence) for link in derivation}
    states = {link.name: _states_read(derivation, link, regions[link.name]) for link in derivation}
    links: dict[str, Stored] = {}
    for link in derivation:
        links[link.name] = _stored(derivation, link, regions[link.name], states, links)
    return Compiled(derived, derivation, tuple(links.values()))


States = Mapping[str, tuple[str, str, int]]
"""By a value that is read: the link whose state it is, the state, and the shift at which the state's own array holds it."""


def _stored(derivation: Derivation, link: Link, regions: Regions, states: Mapping[str, States], before: Mapping[str, Stored]) -> Stored:
    """Return a link with its program, and what it reads of those `before` it and keeps for others."""
    rec, own = link.recurrence, states[link.name]
    readers = [(other, states[other.name]) for other in derivation.readers(link.name)]
    rows = frozenset(n for other, found in readers for n, of in other.reads.items() if of == link.name and n not in found)
    shared = frozenset(n for _, found in readers for n, (of, _, _) in found.items() if of == link.name)
    outputs = _outputs(derivation, link)
    names = rec.names()
    arrays = {pair: names.fresh(f"{pair[1]}_states") for pair in dict.fromkeys((of, state) for of, state, _ in own.values())}
    in_states = {value: (arrays[of, state], shift) for value, (of, state, shift) in own.items()}
    copied, kept, kept_as = materialise(regions, Kept(outputs=outputs, rows=rows, states=shared, read=in_states))
    lasting = {*kept.outputs, *kept.rows, *(carry.value for carry in copied.rec.carries)}
    program = store(copied, schedule(copied, lasting), kept)
    reads = {array: (of, _field(before[of], state, state=True)) for (of, state), array in arrays.items()}
    reads |= {value: (of, _field(before[of], value, state=False)) for value, of in link.reads.items() if value not in own}
    return Stored(link, program, outputs, reads, _fields(program, kept_as, shared))


def _outputs(derivation: Derivation, link: Link) -> dict[str, str]:
    """Return the names of the arrays in which a link's values of each step are handed out."""
    handed = [n for n in link.recurrence.written if n in link.handed]
    if link.name != FORWARD:
        return {name: name for name in handed}
    names = link.recurrence.names()
    return {name: names.fresh(f"{name}_out") for name in handed}


def _fields(program: Program, rows: Mapping[str, str], shared: frozenset[str]) -> tuple[Field, ...]:
    """Return what a link keeps: states with their values before the first step, then other values, each as what is kept in its stead."""
    names, found = Names(), []
    for carry in program.rec.carries:
        if not shared.isdisjoint((carry.previous, carry.value)):
            found.append(Field(names.fresh(carry.value), carry.value, program.places[carry.previous].array, True))
    for value in sorted(rows):
        array = program.places[rows[value]].array if rows[value] in program.places else ""  # else it is static
        found.append(Field(names.fresh(value), value, array, False))
    return tuple(found)


def _field(of: Stored, value: str, *, state: bool) -> str:
    return next(field.name for field in of.keeps if (field.value, field.state) == (value, state))


def _states_read(derivation: Derivation, link: Link, regions: Regions) -> States:
    """Return what a link reads of earlier links' states, where the state's own array holds it.

    In time's order ``s`` lies one row after ``s_prev``, and against it one row before.  Only equations of the loop can read the one that
    lies in a later row, since sums over all steps read equal rows of their operands.
    """
    outside = [*regions.once, *regions.before, *regions.after, *regions.rec.accumulators]
    outside += [eq for eq in regions.loop if not isinstance(eq.node, Map | Slice | Concat)]
    read_outside = {o for eq in outside for o in eq.node.operands()}
    found: dict[str, tuple[str, str, int]] = {}
    for name in dict.fromkeys(link.reads.values()):
        maker = derivation[name].recurrence
        for carry in maker.carries:
            for value, shift in ((carry.previous, int(maker.reverse)), (carry.value, int(not maker.reverse))):
                within = shift == 0 or (value not in read_outside and regions.rec.carries)
                if link.reads.get(value) == name and within:
                    found[value] = (name, carry.value, shift)
    return found


__all__ = ["PASSES", "Compiled", "Field", "Program", "Stored", "compile_cell", "compiled", "passed", "stages"]
