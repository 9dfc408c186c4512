"""When the threads of a block must wait for each other between two loops.

A thread has the same features of every loop of a size, and the same elements of every loop over matrices of a shape: what it has stored
there it may read again.  What others have stored, or still read, it must wait for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ...calculus.ir import Pick
from ...language.sizes import Size
from ...program.imperative import Loop, Place, Program, RowLoop, Scalars, VectorLoop, own_loops

Owner = tuple[Size, ...] | None
"""Who has an element: the same thread in all loops that say the same; None if that cannot be said."""


@dataclass(frozen=True)
class Access:
    """An access to features of an array."""

    place: Place
    owner: Owner

    def meets(self, other: Access) -> bool:
        """Say whether one thread's may meet another thread's."""
        if self.place.array != other.place.array:
            return False
        lie_alike = (self.place.start, self.place.stride) == (other.place.start, other.place.stride)
        return self.owner is None or self.owner != other.owner or not lie_alike


class Span:
    """Loops between which no thread waits for another: what they read and store, by array.

    The numbers that are `known` stand in variables of every thread; by default all of which no head has its own.  Where a block has one
    head, `by_head`, it has its part of what goes over the features of all.
    """

    def __init__(self, program: Program, *, by_head: bool = False) -> None:
        self._program, self._heads = program, program.rec.heads if by_head else ""
        self._read, self._stored = defaultdict[str, list[Access]](list), defaultdict[str, list[Access]](list)

    def crosses(self, loop: Loop, known: Collection[str] | None = None) -> bool:
        """Say whether a loop reads what other threads have stored in these, or stores where they may still read."""
        read, stored = reads(self._program, loop, known, self._heads), stores(self._program, loop, self._heads)
        return _meet(read, self._stored) or _meet(stored, self._read)

    def add(self, loop: Loop, known: Collection[str] | None = None) -> None:
        for access in reads(self._program, loop, known, self._heads):
            self._read[access.place.array].append(access)
        for access in stores(self._program, loop, self._heads):
            self._stored[access.place.array].append(access)


def _meet(accesses: Iterable[Access], others: Mapping[str, Sequence[Access]]) -> bool:
    return any(one.meets(other) for one in accesses for other in others.get(one.place.array, ()))


def crossed(program: Program, loops: Iterable[Loop]) -> bool:
    """Say whether a thread reads what others have stored in one of the loops before, or stores where they may still read."""
    span = Span(program)
    for loop in loops:
        if span.crosses(loop):
            return True
        span.add(loop)
    return False


def crosses_steps(program: Program, last: Sequence[Loop], first: Sequence[Loop], *, by_head: bool = False) -> bool:
    """Say whether the first loops of a step may meet what the last ones of the step before it still do."""
    heads = program.rec.heads if by_head else ""
    made = {c.equation.name for loop in first for c in loop.computes if not program.shape(c.equation.name)}
    stored, storing = ([access for loop in loops for access in stores(program, loop, heads)] for loops in (last, first))
    read = [access for loop in last for access in reads(program, loop, None, heads)]
    reading = [access for loop in first for access in reads(program, loop, made, heads)]
    pairs = [*((one, other) for one in stored for other in (*reading, *storing)), *((one, other) for one in read for other in storing)]
    return any(one.meets(other) and _same_row(program, one.place, other.place) for one, other in pairs)


def _same_row(program: Program, before: Place, after: Place) -> bool:
    """Say whether two places, of a step and of the one that follows, may be of the same row of their array."""
    space, step = program.arrays[before.array].space, -1 if program.rec.reverse else 1
    if space in ("tape", "carry"):
        return (before.shift - after.shift - step) % 2 == 0  # two steps' worth, in turn
    return space in ("scratch", "once") or before.shift == after.shift + step


def stores(program: Program, loop: Loop, heads: str) -> Iterator[Access]:
    """Yield where a loop stores."""
    for own in own_loops([loop]):
        for compute in own.computes:
            matrix = len(program.shape(compute.equation.name)) == 2
            yield from (_access(place, own, heads, matrix=matrix) for place in compute.stores)


def reads(program: Program, loop: Loop, known: Collection[str] | None, heads: str) -> Iterator[Access]:
    """Yield what a loop reads from memory that it has not made."""
    own, shown = {compute.equation.name for compute in loop.computes}, program.rec.shown
    for at, equation in [(one, compute.equation) for one in own_loops([loop]) for compute in one.computes]:
        for value in (shown.get(operand, operand) for operand in equation.node.operands()):
            kind = program.rec.types[value]
            in_variable = not kind.shape and (not kind.headed if known is None else value in known)
            if value in own or value not in program.places or in_variable:
                continue
            if isinstance(equation.node, Pick) or not kind.shape:
                yield Access(program.places[value], None)
            else:
                yield _access(program.places[value], at, heads, matrix=len(kind.shape) == 2)


def _access(place: Place, loop: VectorLoop | Scalars | RowLoop, heads: str, *, matrix: bool) -> Access:
    match loop:
        case RowLoop(rows=rows, columns=columns):
            return Access(place, (rows, columns) if matrix else None)
        case VectorLoop(size=size):
            if heads and (part := size.shared(heads)) is not None:
                return Access(replace(place, stride=part), (part,))
            return Access(place, (size,))
    return Access(place, ())
