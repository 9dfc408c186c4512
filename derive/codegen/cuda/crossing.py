"""When the threads of a block must wait for each other between two loops.

A thread has the same features of every loop of a size, and the same elements of every loop over matrices of a shape: what it has stored
there it may read again.  What others have stored, or still read, it must wait for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from ...calculus.ir import Pick
from ...language.sizes import Size
from ...program.imperative import HeadLoop, Loop, Place, Program, RowLoop, Scalars, VectorLoop

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


def crosses(program: Program, before: Sequence[Loop], loop: Loop, known: Collection[str] | None = None) -> bool:
    """Say whether a loop reads what other threads have stored in the loops before it, or stores where they may still read.

    The numbers that are `known` stand in variables of every thread; by default all of which no head has its own.
    """
    stored = [access for each in before for access in stores(program, each)]
    if any(one.meets(other) for one in reads(program, loop, known) for other in stored):
        return True
    read = [access for each in before for access in reads(program, each, known)]
    return any(one.meets(other) for one in stores(program, loop) for other in read)


def stores(program: Program, loop: Loop) -> Iterator[Access]:
    """Yield where a loop stores."""
    if isinstance(loop, HeadLoop):
        for own in loop.loops:
            yield from stores(program, own)
        return
    for compute in loop.computes:
        matrix = len(program.shape(compute.equation.name)) == 2
        yield from (Access(place, _owner(loop, matrix=matrix)) for place in compute.stores)


def reads(program: Program, loop: Loop, known: Collection[str] | None) -> Iterator[Access]:
    """Yield what a loop reads from memory that it has not made."""
    own, shown = {compute.equation.name for compute in loop.computes}, program.rec.shown
    leaves = loop.loops if isinstance(loop, HeadLoop) else (loop,)
    for at, equation in [(leaf, compute.equation) for leaf in leaves for compute in leaf.computes]:
        for value in (shown.get(operand, operand) for operand in equation.node.operands()):
            kind = program.rec.types[value]
            in_variable = not kind.shape and (not kind.headed if known is None else value in known)
            if value in own or value not in program.places or in_variable:
                continue
            whole = isinstance(equation.node, Pick) or not kind.shape
            yield Access(program.places[value], None if whole else _owner(at, matrix=len(kind.shape) == 2))


def _owner(loop: VectorLoop | Scalars | RowLoop, *, matrix: bool) -> Owner:
    match loop:
        case RowLoop(rows=rows, columns=columns):
            return (rows, columns) if matrix else None
        case VectorLoop(size=size):
            return (size,)
    return ()
