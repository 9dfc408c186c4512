"""The loops of a kernel of whole rows: over heads, and over the rows of matrices, too."""

from __future__ import annotations

from collections.abc import Iterable

from ...calculus.ir import HeadSum, Map
from ...calculus.naming import Names
from ...language.sizes import elements
from ...program.imperative import Compute, HeadLoop, Loop, Program, RowLoop, VectorLoop, own_loops
from ..source import Source, Tree, block, code, name
from .crossing import Span
from .factory import Binding, on_machine
from .features import ZERO, Loops
from .kernel import SYNCHRONISE, Host
from .matrices import RowLines, RowNumbers

TEAM = ("line_sum", "column_sum")  # what a machine has for the rows and columns of matrices


class StageLoops(Loops):
    """The loops of stages of whole rows as statements."""

    numbers: RowNumbers

    def __init__(self, host: Host, names: Names, numbers: RowNumbers) -> None:
        super().__init__(host, names, numbers)
        self.shown = host.program.rec.shown

    def taken(self) -> list[Binding]:
        return [*super().taken(), *on_machine(TEAM)]

    def span(self) -> Span:
        return Span(self.program, by_head=self.numbers.by_head)

    def read(self, value: str) -> Source:
        return super().read(self.shown.get(value, value))

    def loop(self, loop: Loop) -> list[Tree]:
        if isinstance(loop, HeadLoop):
            return self.heads(loop)
        return RowLines(self, self.numbers, loop).lines() if isinstance(loop, RowLoop) else super().loop(loop)

    def sequence(self, loops: Iterable[Loop]) -> list[Tree]:
        return super().sequence(own_loops(loops) if self.numbers.by_head else loops)

    def heads(self, loop: HeadLoop) -> list[Tree]:
        """Return what is done for each head; before it, sums over heads are begun."""
        known = set(self.known)
        begun = [line for compute in over_heads(loop) for line in self.zeroed(compute)]
        body = self.sequence(loop.loops)
        self.known = known
        heads = self.numbers.number(self.program.rec.heads)
        return [*begun, *([SYNCHRONISE] if begun else []), block(code("for head in range({}):", heads), body, defines=("head",))]

    def zeroed(self, compute: Compute) -> list[Tree]:
        """Return the statements that begin a sum over heads."""
        value, shape = compute.equation.name, self.types[compute.equation.name].shape
        if not shape:
            return [line for place in compute.stores for line in self.numbers.write(value, place, ZERO)]
        lines = [line for place in compute.stores for line in self.numbers.put(place, name("j"), ZERO)]
        return [self.numbers.features(elements(shape)).over(lines)]


def over_heads(loop: HeadLoop) -> list[Compute]:
    """Return the sums over heads of a loop."""
    return [compute for compute in loop.computes if isinstance(compute.equation.node, HeadSum)]


def heads_apart(program: Program, loops: Iterable[Loop]) -> bool:
    """Say whether each head of a row may have a block: nothing is made of several, and other loops go over the features of all heads."""
    found = list(loops)
    return any(isinstance(loop, HeadLoop) for loop in found) and all(_apart(program, loop) for loop in found)


def _apart(program: Program, loop: Loop) -> bool:
    heads = program.rec.heads
    if isinstance(loop, HeadLoop):
        sizes = [own.size for own in loop.loops if isinstance(own, VectorLoop)]
        return not over_heads(loop) and all(size.shared(heads) is None for size in sizes)
    own = {compute.equation.name for compute in loop.computes}
    if not isinstance(loop, VectorLoop) or loop.size.shared(heads) is None:
        return False
    return all(_by_feature(program, compute, own) for compute in loop.computes)


def _by_feature(program: Program, compute: Compute, own: set[str]) -> bool:
    """Say whether an equation of a loop over the features of all heads needs nothing of other features, and none of their numbers."""
    node = compute.equation.node
    return isinstance(node, Map) and all(value in own or program.shape(value) for value in node.operands())
