"""A cell's step by itself, for one sequence that comes step by step.

Nothing is kept for a backward pass and nothing is made ahead: all is in the loop, each product by itself, so that parameters are read where
they lie.  States need not lie twice, where a step may write over them: see `overwritten`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from ..calculus.chain import FORWARD, Derivation
from ..calculus.derivation import primal
from ..calculus.ir import Along, AxisSum, Equation, FeatureSum, HeadSum, Map, Merge, Node, Part, Repeat, Slice
from ..language.definition import Definition
from .imperative import HeadLoop, Loop, Place, Product, Program, Scalars, VectorLoop
from .passes.accumulate import accumulate
from .passes.copies import Kept, materialise
from .passes.hoist import Regions
from .passes.invert import invert
from .passes.narrow import narrow
from .passes.numbers import numbers
from .passes.schedule import schedule
from .passes.share import share
from .passes.storage import store

PASSES: tuple[Callable[[Derivation], Derivation], ...] = (numbers, accumulate, invert, narrow, share)


@dataclass(frozen=True)
class Step:
    """A step as a program.

    Attributes
    ----------
    chain : Derivation
        Of the cell's own equations alone, after the passes.
    program : Program
        All of it in the loop.
    equations : tuple of Equation
        Of the step, views of values among them.
    output : str
        The array that is handed out.
    """

    chain: Derivation
    program: Program
    equations: tuple[Equation, ...]
    output: str

    @cached_property
    def overwritten(self) -> frozenset[str]:
        """The states' arrays in which a step may write the new value over the old one: nothing reads the old one after that."""
        carried = {carry.previous: self.program.places[carry.previous].array for carry in self.program.rec.carries}
        accesses = list(_accesses(self.program))
        views = {eq.name: eq.node for eq in self.equations}
        found = set()
        for previous, array in carried.items():
            writes = [(a, self.all_of(a, previous)) for a in accesses if any(place.array == array for place in a.stores)]
            shown = [(a, *_base(name, views)) for a in accesses for name in a.node.operands()]
            reads = [(a, aligned) for a, base, aligned in shown if base == previous]
            if all(_before(read, write, aligned and whole) for read, aligned in reads for write, whole in writes):
                found.add(array)
        return frozenset(found)

    def all_of(self, write: _Access, previous: str) -> bool:
        """Say whether what is written to a state's array is as large as the state, and so its elements lie where those of the state do."""
        own, types = self.program.places[previous], self.program.rec.types
        places = [place for place in write.stores if place.array == own.array]
        return types[write.value].shape == types[previous].shape and all(place.start == own.start for place in places)


def step(cell: Definition) -> Step:
    """Return the step of a cell as a program."""
    chain = primal(cell)
    for apply in PASSES:
        chain = apply(chain)
    rec = chain[FORWARD].recurrence
    output = rec.names().fresh(f"{cell.output}_out")
    regions, kept, _ = materialise(Regions(rec, (), (), rec.body, ()), Kept(outputs={cell.output: output}))
    lasting = {*kept.outputs, *(carry.value for carry in rec.carries)}
    return Step(chain, store(regions, schedule(regions, lasting), kept), regions.loop, output)


@dataclass(frozen=True)
class _Access:
    """What reads and stores, and when.

    Attributes
    ----------
    value : str
        That is computed.
    node : Node
    stores : tuple of Place
    around : tuple of int
        The number of the product, or of the loop that it is in.
    within : tuple of int
        Its place in a loop that has loops or parts in it.
    """

    value: str
    node: Node
    stores: tuple[Place, ...]
    around: tuple[int, ...]
    within: tuple[int, ...] = ()


def _accesses(program: Program) -> Iterator[_Access]:
    for number, stage in enumerate(program.loop):
        for k, product in enumerate(stage.products):
            yield _of_product(product, (number, 0, k))
        for k, loop in enumerate(stage.loops):
            yield from _of_loop(loop, (number, 1, k), ())


def _of_product(product: Product, around: tuple[int, ...]) -> _Access:
    return _Access(product.equation.name, product.equation.node, (product.out,), around)


def _of_loop(loop: Loop, around: tuple[int, ...], within: tuple[int, ...]) -> Iterator[_Access]:
    if isinstance(loop, VectorLoop | Scalars):
        yield from (_Access(c.equation.name, c.equation.node, c.stores, around, within) for c in loop.computes)
        return
    for k, part in enumerate(loop.loops if isinstance(loop, HeadLoop) else loop.parts):
        yield from _of_loop(part, around, (*within, k))


def _base(name: str, views: dict[str, Node]) -> tuple[str, bool]:
    """Return what a value shows, and whether whoever is at an element of it reads the same element of that."""
    node, aligned = views.get(name), True
    while isinstance(node, Slice | Merge | Part | Repeat | Along):
        aligned = aligned and isinstance(node, Along) and node.axis == 0
        name = node.value
        node = views.get(name)
    return name, aligned


def _before(read: _Access, write: _Access, aligned: bool) -> bool:
    """Say whether a value is read before it is written, or in the same loop, if they go through its elements together: `aligned`."""
    if read.around != write.around:
        return read.around < write.around
    sums = isinstance(write.node, HeadSum) or (isinstance(write.node, AxisSum) and write.node.axis == 0)  # begun before the loop
    element = isinstance(read.node, Map | FeatureSum | AxisSum) and isinstance(write.node, Map | FeatureSum | AxisSum)
    return aligned and element and not sums and read.within <= write.within
