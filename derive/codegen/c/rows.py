"""The loops of a step as C: statement by statement, each value a variable as long as its loop lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import sympy as sp

from ...calculus.ir import AxisSum, Equation, FeatureSum, HeadSum, LogSumExp, Map, Node, Pick, Recurrence, Spread
from ...calculus.symbols import EYE, extent_name, is_extent
from ...program.imperative import Compute, HeadLoop, Loop, Place, RowLoop, Scalars, VectorLoop
from ..source import Comment, Source, Statement, Tree, code, do, name, store
from .expression import CExpressions
from .memory import Lying, Places
from .text import declare, loop, put

J = name("j")
ZERO = Source("R(0.0)")
ADDED = (HeadSum, AxisSum, FeatureSum)  # in a loop over features


@dataclass
class Rows:
    """The statements of loops.

    Attributes
    ----------
    places : Places
    lies : mapping
        Where values lie in memory.
    place : callable
        Where a value is stored to, by its name and its place in the program; None for what stays in its variable.
    local : mapping
        The variable of each value that is computed.
    overwritten : mapping
        By each state's value before the step that is written over, the array of the program.
    row : Source
        The index of a row of matrices.
    say : callable
        The comment of an equation.
    known : set of str
        The values that stand in variables at the statement at hand.
    in_rows : bool
        Whether it is in a loop over rows of matrices.
    """

    places: Places
    lies: Mapping[str, Lying]
    place: Callable[[str, Place], Lying | None]
    local: Mapping[str, str]
    overwritten: Mapping[str, str]
    row: Source
    say: Callable[[Equation], list[Comment]]
    known: set[str] = field(default_factory=set)
    in_rows: bool = False

    @property
    def rec(self) -> Recurrence:
        return self.places.rec

    def loop(self, found: Loop) -> list[Tree]:
        match found:
            case HeadLoop():
                return self.head_loop(found)
            case RowLoop():
                return self.row_loop(found)
            case VectorLoop():
                return self.vector_loop(found)
            case Scalars():
                return self.block(found.computes, (), (HeadSum,))

    # Values

    def element(self, value: str) -> Source:
        """Return an element of a value, in the loop at hand."""
        value = self.rec.repeated.get(value, value)
        if value in self.known:
            return name(self.local[value])
        if value in self.rec.laid:
            along = self.rec.laid[value]
            vector = self.rec.repeated.get(along.value, along.value)
            if along.axis == 0 and vector in self.known:
                return name(self.local[vector])
            return self.places.element(self.lies[vector], [self.row if along.axis == 0 else J])
        rank = len(self.rec.types[value].shape)
        indices = [self.row, J] if rank == 2 else [self.row if self.in_rows else J] * rank
        return self.places.element(self.lies[value], indices)

    def expression(self, expr: sp.Expr) -> Source:
        def atom(symbol: sp.Symbol) -> Source:
            if is_extent(symbol):
                return code("(real){}", self.places.name_of(extent_name(symbol)))
            if symbol == EYE:
                return code("({} == j ? R(1.0) : R(0.0))", self.row, uses=("j",))
            return self.element(symbol.name)

        return CExpressions(atom).source(expr)

    def value(self, eq: Equation) -> Source:
        match eq.node:
            case Map(expr=expr):
                return self.expression(expr)
            case HeadSum(value=v):
                return self.element(v)
            case Spread(value=v, index=k):
                return code("(j == (size_t){} ? {} : {})", self.element(k), self.element(v), ZERO, uses=("j",))
            case FeatureSum(value=v):
                return self.of_vector("sum", v)
            case LogSumExp(value=v):
                return self.of_vector("log_sum_exp", v)
            case Pick(value=v, index=k):
                return self.places.element(self.lies[self.rec.repeated.get(v, v)], [self.element(k)])
        raise TypeError(f"{type(eq.node).__name__} has no code in C")

    def of_vector(self, called: str, value: str) -> Source:
        value = self.rec.repeated.get(value, value)
        size = self.places.size(self.rec.types[value].shape[0])
        return code(f"{called}({{}}, {{}})", size, self.places.pointer(self.lies[value]), uses=(called,))

    # Statements

    def computed(self, compute: Compute) -> list[Tree]:
        """Return the statement that computes a value, and let it be known."""
        eq = compute.equation
        made = declare(self.local[eq.name], self.value(eq), self.kind(eq.name))
        self.known.add(eq.name)
        return [*self.say(eq), made]

    def kind(self, value: str) -> str:
        return "const int" if self.rec.types[value].integer else "const real"

    def stored(self, compute: Compute, *indices: Source) -> list[Tree]:
        """Return the statements that store a value that is known."""
        value = compute.equation.name
        targets = [target for place in compute.stores if (target := self.place(value, place)) is not None]
        return [put(target.memory.source, self.places.element(target, indices), name(self.local[value])) for target in targets]

    def block(self, computes: Iterable[Compute], indices: Iterable[Source], adds: tuple[type[Node], ...]) -> list[Tree]:
        """Return the statements that compute values and store them; equations of the kinds `adds` add a term to a sum."""
        computes = tuple(computes)
        body: list[Tree] = self.old_states(computes)
        for compute in computes:
            if isinstance(compute.equation.node, adds):
                body += self.added(compute)
            else:
                body += [*self.computed(compute), *self.stored(compute, *indices)]
        return body

    def old_states(self, computes: Sequence[Compute]) -> list[Tree]:
        """Return the statements that keep the elements of states that are read here and overwritten here."""
        written = {place.array for compute in computes for place in compute.stores}
        read = {value for compute in computes for value in compute.equation.node.operands()}
        found = [previous for previous, array in self.overwritten.items() if array in written and previous in read]
        lines: list[Tree] = [declare(self.local[previous], self.element(previous), self.kind(previous)) for previous in found]
        self.known.update(found)
        return lines

    def added(self, compute: Compute) -> list[Tree]:
        """Return the statements that add a term to a sum."""
        eq = compute.equation
        match eq.node:
            case FeatureSum(value=v) | AxisSum(value=v, axis=1):
                return [*self.say(eq), _add(name(self.local[eq.name]), self.element(v))]
            case AxisSum(value=v):
                return [*self.say(eq), *(_add(target, self.element(v)) for target in self.targets(compute, J))]
        value = self.value(eq)
        rank = len(self.rec.types[eq.name].shape)
        indices = [self.row, J] if rank == 2 else [self.row if self.in_rows else J] * rank
        return [*self.say(eq), *(_add(target, value) for target in self.targets(compute, *indices))]

    def targets(self, compute: Compute, *indices: Source) -> list[Source]:
        found = [self.place(compute.equation.name, place) for place in compute.stores]
        return [self.places.element(target, indices) for target in found if target is not None]

    def begun(self, compute: Compute) -> list[Tree]:
        """Return the statements that begin a sum that lies in memory."""
        shape = self.rec.types[compute.equation.name].shape
        indices = [name("i_0"), J][2 - len(shape) :]
        work: list[Tree] = [store(target, ZERO) for target in self.targets(compute, *indices)]
        for index, size in reversed([*zip(indices, shape, strict=True)]):
            work = [loop(index.text, self.places.size(size), work)]
        return work

    # Loops

    def vector_loop(self, found: VectorLoop) -> list[Tree]:
        sums = [c for c in found.computes if isinstance(c.equation.node, FeatureSum)]
        before = [self.sum_begun(c) for c in sums]
        known = set(self.known)
        body = self.block(found.computes, [J], ADDED)
        self.known = known | {c.equation.name for c in sums}
        after = [line for c in sums for line in self.stored(c)]
        return [*before, loop("j", self.places.size(found.size), body), *after]

    def sum_begun(self, compute: Compute) -> Statement:
        return declare(self.local[compute.equation.name], ZERO, "real")

    def row_loop(self, found: RowLoop) -> list[Tree]:
        """Return a loop over rows, around it the sums of columns and of whole matrices."""
        totals = [c for c in found.computes if isinstance(c.equation.node, FeatureSum)]
        columns = [c for c in found.computes if isinstance(c.equation.node, AxisSum) and c.equation.node.axis == 0]
        before: list[Tree] = [*(self.sum_begun(c) for c in totals), *(line for c in columns for line in self.begun(c))]
        known, self.in_rows = set(self.known), True
        body = [line for part in found.parts for line in self.row_part(part)]
        self.in_rows, self.known = False, known | {c.equation.name for c in totals}
        after = [line for c in totals for line in self.stored(c)]
        return [*before, loop(self.row.text, self.places.size(found.rows), body), *after]

    def row_part(self, part: VectorLoop | Scalars) -> list[Tree]:
        if isinstance(part, Scalars):
            return self.block(part.computes, [self.row], (HeadSum,))
        sums = [c for c in part.computes if isinstance(c.equation.node, AxisSum) and c.equation.node.axis == 1]
        before = [self.sum_begun(c) for c in sums]
        known = set(self.known)
        body = self.block(part.computes, [self.row, J], ADDED)
        self.known = known | {c.equation.name for c in sums}
        after = [line for c in sums for line in self.stored(c, self.row)]
        return [*before, loop("j", self.places.size(part.size), body), *after]

    def head_loop(self, found: HeadLoop) -> list[Tree]:
        sums = [c for c in found.computes if isinstance(c.equation.node, HeadSum)]
        before = [line for c in sums for line in self.begun(c)]
        known = set(self.known)
        body = [line for own in found.loops for line in self.loop(own)]
        self.known = known
        return [*before, loop("head", self.places.size(found.heads), body)]


def _add(target: Source, value: Source) -> Statement:
    return do(code("{} += {}", target, value))
