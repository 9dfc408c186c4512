"""Loops over the features of a row, one after the other: what all kernels of a stage have in common.

A row belongs to a team of threads.  Each thread has the features ``lane``, ``lane + lanes`` …; scalars are computed by every thread of the
team, sums over features by all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import sympy as sp

from ...calculus.ir import Equation, FeatureSum, HeadSum, LogSumExp, Map, Pick
from ...calculus.naming import Names
from ...calculus.symbols import extent_name, is_extent
from ...language.sizes import Size
from ...program.imperative import Compute, Loop, Place, Scalars, Stage, VectorLoop
from ..expression import Expressions
from ..source import ATOM, SUM, Block, Source, Statement, Tree, add, assign, block, code, listed, name, spelt
from .crossing import Span
from .equations import Equations
from .factory import Binding, bind, constants, functions, on_machine
from .kernel import SYNCHRONISE, Host

ZERO = code("real(0.0)", uses=("real",))
TEAM = ("lowest", "nan", "row_max", "row_sum")  # what a machine has for the threads of a row


@dataclass(frozen=True)
class Features:
    """The head of a loop over a thread's features of a row: its variable and range, and what names the feature at hand."""

    variable: str
    head: Source
    named: tuple[Statement, ...] = ()

    def over(self, body: Iterable[Tree]) -> Block:
        """Return the loop."""
        return block(self.head, (*self.named, *body), defines=(self.variable,))


@dataclass(frozen=True)
class Reduction:
    """How numbers of a row become one.

    Attributes
    ----------
    function : str
        What makes one of those that the threads of a team have.
    start : Source
        What a thread begins with.
    taken : callable
        The statement that takes one more into a variable.
    both : callable
        What is made of two.
    """

    function: str
    start: Source
    taken: Callable[[str, Source], Statement]
    both: Callable[[Source, Source], Source]

    def by_team(self, variable: str) -> Statement:
        """Return the statement that makes of each thread's number that of all."""
        return assign(variable, code("{}({})", name(self.function), name(variable)))


def _larger(one: Source, other: Source) -> Source:
    return code("maximum({}, {})", one, other, uses=("maximum",))


TOTAL = Reduction("row_sum", ZERO, add, lambda one, other: code("{} + {}", one, other, binding=SUM))
LARGEST = Reduction("row_max", name("lowest"), lambda variable, more: assign(variable, _larger(name(variable), more)), _larger)


class Numbers(Protocol):
    """What loops ask of the kernel that they are in: where it finds numbers, and where it leaves them."""

    def features(self, size: Size) -> Features:
        """Return the head of a loop over the features of a size."""

    def read(self, value: str) -> Source:
        """Return the source of a value, or of its element at the loop's feature."""

    def picked(self, value: str, index: Source) -> Source:
        """Return the source of one element of a vector."""

    def write(self, value: str, place: Place, source: Source) -> list[Tree]:
        """Return the statements that store a value to a place."""

    def number(self, size: str) -> Source:
        """Return the source of a named size."""

    def whole(self, size: Size) -> Source:
        """Return the source of a size."""


Joined = Callable[[Sequence[str], Reduction], list[Tree]]
"""What combines values of a row's team with those of other teams that have features of the row."""


class Loops:
    """The loops of stages as statements.

    What they come to need is collected: `constants`, by their names, and the kernel's names of the functions `called`.
    """

    def __init__(self, host: Host, names: Names, numbers: Numbers, joined: Joined = lambda variables, how: []) -> None:
        self.host, self.names, self.numbers, self.joined = host, names, numbers, joined
        self.program, self.types = host.program, host.program.rec.types
        self.local: dict[str, str] = {}
        self.known: set[str] = set()  # scalars of the row that stand in variables
        self.constants: dict[str, str] = {}
        self.spans: list[list[Loop]] = []  # the loops of the sequence that was made last: between one and the next, threads wait
        self.called: dict[str, str] = {}

    def taken(self) -> list[Binding]:
        """Return what binds what the loops call, and constants."""
        made = [bind(local, code("{}(on)", name(f"make_{called}"), uses=("on",))) for called, local in self.called.items()]
        return [*functions(), *on_machine(TEAM), *constants(self.constants), *made]

    def stage(self, stage: Stage) -> list[Tree]:
        return self.sequence(stage.loops)

    def sequence(self, loops: Iterable[Loop]) -> list[Tree]:
        """Return loops one after the other; threads wait for each other where one reads what another has stored."""
        lines: list[Tree] = []
        spans: list[list[Loop]] = [[]]
        span = self.span()
        for loop in loops:
            if span.crosses(loop, self.known):
                lines.append(SYNCHRONISE)
                spans.append([])
                span = self.span()
            span.add(loop, self.known)
            spans[-1].append(loop)
            lines += self.loop(loop)
        self.spans = spans
        return lines

    def span(self) -> Span:
        """Return what tells where threads must wait for each other."""
        return Span(self.program)

    def loop(self, loop: Loop) -> list[Tree]:
        """Return one loop: of the kinds that all kernels have."""
        assert isinstance(loop, VectorLoop | Scalars)
        return self.vector(loop) if isinstance(loop, VectorLoop) else self.scalars(loop)

    def onto(self, compute: Compute, term: Source) -> list[Tree]:
        """Return the statements that add a term to a sum over heads."""
        total = code("{} + {}", self.numbers.read(compute.equation.name), term, binding=SUM)
        return [line for place in compute.stores for line in self.numbers.write(compute.equation.name, place, total)]

    # Vectors

    def vector(self, loop: VectorLoop) -> list[Tree]:
        """Return a loop over features, and what is stored of the sums over them."""
        sums = [c for c in loop.computes if isinstance(c.equation.node, FeatureSum)]
        before = [assign(self.variable(c.equation.name), ZERO) for c in sums]
        features = self.numbers.features(loop.size)
        body = self.made(loop)
        own = {c.equation.name for c in loop.computes}
        for c, node in [(c, c.equation.node) for c in loop.computes if isinstance(c.equation.node, HeadSum)]:
            body += self.onto(c, name(self.local[node.value]) if node.value in own else self.read(node.value))
        for c in sums:
            assert isinstance(c.equation.node, FeatureSum)
            body.append(add(self.local[c.equation.name], name(self.local[c.equation.node.value])))
        totals = [self.local[c.equation.name] for c in sums]
        after: list[Tree] = [TOTAL.by_team(total) for total in totals]
        after += self.joined(totals, TOTAL) if totals else []
        return [*before, features.over(body), *after, *(line for c in sums for line in self.finished(c))]

    def made(self, loop: VectorLoop) -> list[Tree]:
        """Return what computes a loop's values at one feature, unless it has nothing but sums, and what stores them."""
        stored = {c.equation.name: c.stores for c in loop.computes}
        if all(isinstance(c.equation.node, FeatureSum | HeadSum) for c in loop.computes):
            return []
        made = self.host.equations(loop)
        lines: list[Tree] = [self.call(made)]
        for value in made.results:
            lines += [line for place in stored[value] for line in self.numbers.write(value, place, name(self.variable(value)))]
        return lines

    def call(self, made: Equations) -> Statement:
        """Return the statement that computes a loop's values at one feature."""
        if made.name not in self.called:
            self.called[made.name] = self.names.fresh(made.name)
        arguments = [*map(self.read, made.reads), *map(self.numbers.number, made.extents)]
        arguments += [name("j")] if made.position else []
        results = [self.variable(value) for value in made.results]
        head = code("{} = {}(", listed(map(Source, results)), name(self.called[made.name]))
        return spelt(head, arguments, ")", defines=results)

    # Scalars

    def scalars(self, loop: Scalars) -> list[Tree]:
        lines: list[Tree] = []
        for compute in loop.computes:
            node = compute.equation.node
            if isinstance(node, HeadSum):
                lines += [*self.host.say(compute.equation), *self.onto(compute, self.read(node.value))]
            else:
                lines += [*self.host.say(compute.equation), *self.scalar(compute.equation), *self.finished(compute)]
        return lines

    def finished(self, compute: Compute) -> list[Tree]:
        """Make a scalar known, and return the statements that store it."""
        value = compute.equation.name
        self.known.add(value)
        return [line for place in compute.stores for line in self.numbers.write(value, place, name(self.local[value]))]

    def scalar(self, eq: Equation) -> list[Tree]:
        match eq.node:
            case Map(expr=expr):
                return [assign(self.variable(eq.name), self.expression(expr))]
            case FeatureSum(value=v):
                return self.reduced(self.variable(eq.name), v, TOTAL)
            case LogSumExp(value=v):
                return self.log_sum_exp(eq.name, v)
            case Pick(value=v, index=k):
                return [assign(self.variable(eq.name), self.picked(v, self.read(k).within(ATOM)))]
        raise TypeError(f"{type(eq.node).__name__} has no code a row")

    def picked(self, vector: str, index: Source) -> Source:
        """Return the source of one element of a vector, or not a number if the index is none of its."""
        size = self.numbers.whole(self.types[vector].shape[0])
        element = self.numbers.picked(vector, index).within(ATOM)
        return code("{} if 0 <= {} < {} else nan", element, index, size, uses=("nan",))

    def reduced(self, variable: str, vector: str, how: Reduction, of: Callable[[Source], Source] = lambda term: term) -> list[Tree]:
        """Return the statements that reduce a vector, or a function `of` its elements, to a scalar."""
        features = self.numbers.features(self.types[vector].shape[0])
        loop = features.over([how.taken(variable, of(self.read(vector).within(ATOM)))])
        return [assign(variable, how.start), loop, how.by_team(variable), *self.joined([variable], how)]

    def log_sum_exp(self, value: str, vector: str) -> list[Tree]:
        """``m + log Σ exp(v - m)`` with the largest feature m: no term overflows."""
        total, peak = self.variable(value), self.names.fresh(f"{value}_max")
        lines = self.reduced(peak, vector, LARGEST)
        lines += self.reduced(total, vector, TOTAL, lambda term: code("exp({} - {})", term, name(peak), uses=("exp",)))
        return [*lines, assign(total, code("{} + log({})", name(peak), name(total), uses=("log",)))]

    # Values

    def read(self, value: str) -> Source:
        """Return the source of a value, or of its element at the loop's feature."""
        return name(self.local[value]) if value in self.known else self.numbers.read(value)

    def expression(self, expr: sp.Expr) -> Source:
        return self.printed(expr, lambda symbol: self.read(symbol.name))

    def printed(self, expr: sp.Expr, value: Callable[[sp.Symbol], Source]) -> Source:
        """Return the source of an expression; `value` gives that of what it is made of."""

        def atom(symbol: sp.Symbol) -> Source:
            if is_extent(symbol):
                return code("real({})", self.numbers.number(extent_name(symbol)), uses=("real",))
            return value(symbol).within(ATOM)

        printer = Expressions(atom)
        source = printer.source(expr)
        self.constants |= printer.constants
        return source

    def variable(self, value: str) -> str:
        """Return the variable that a value is computed in."""
        if value not in self.local:
            self.local[value] = self.names.fresh(value)
        return self.local[value]
