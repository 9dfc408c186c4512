"""Loops over the features of a row, one after the other: what all kernels of a stage have in common.

A row belongs to a team of threads.  Each thread has the features ``lane``, ``lane + lanes`` …; scalars are computed by every thread of the
team, sums over features by all of them together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import sympy as sp

from ...calculus.ir import Equation, FeatureSum, LogSumExp, Map, Pick
from ...calculus.naming import Names
from ...calculus.symbols import extent_name, is_extent
from ...language.sizes import Size
from ...program.imperative import Compute, Place, Scalars, Stage, VectorLoop
from ..expression import Expressions
from ..layout import CONSTANTS, INDENT, RUNTIME, wrapped
from ..source import Source, printed
from .equations import Equations, bare

if TYPE_CHECKING:
    from .host import Code

RESERVED = {
    *("on", "cuda", "real", "widen", "narrow", "t", "batch", "keep", "seq", "b", "row", "kept", "ring", "j", "u", "lane", "lanes", "lead"),
    *("bits", "i", "k", *(f"{row}_ahead" for row in ("row", "row_next", "kept", "kept_next"))),
    *("row_next", "kept_next", "ring_next", "row_sum", "row_max", "add", "range", "lowest", "nan", "steps", "first", "last"),
    *("group", "member", "running", "own", "step", "before", "after", "meetings", "arrivals", "plan", "arrive", "wait", "word", "clear"),
    *("index", "k", "thread", "block", "seq", "min", "ROWS", "LANES", "MEMBERS", "SUMS", "sums", "m", "call"),
    *RUNTIME,
}


class RowCode(ABC):
    """Prints the loops of stages, given how a kernel finds its numbers."""

    def __init__(self, code: Code) -> None:
        self.code, self.program, self.rec = code, code.program, code.program.rec
        self.names = Names(RESERVED)
        self.local: dict[str, str] = {}
        self.arguments: dict[str, tuple[str, str]] = {}
        self.functions: set[str] = set()
        self.constants: dict[str, str] = {}
        self.team: set[str] = set()  # what is used of row_sum, row_max, lowest and nan
        self.scalars_known: set[str] = set()
        self.called: dict[str, None] = {}  # the functions of equations

    # What kernels differ in

    @abstractmethod
    def features(self, size: Size) -> list[str]:
        """Return the head of a loop over the features of a size, and the statements that name the feature."""

    @abstractmethod
    def read(self, name: str) -> str:
        """Return the source of a value, or of its element at the loop's feature."""

    @abstractmethod
    def picked(self, name: str, index: str) -> str:
        """Return the source of one element of a vector, or not a number if the index is none of its."""

    @abstractmethod
    def write(self, name: str, place: Place, value: str) -> list[str]:
        """Return the statements that store a value to a place."""

    @abstractmethod
    def number(self, size: str) -> str:
        """Return the source of a named size."""

    @abstractmethod
    def meet(self, stage: Stage, position: int) -> list[str]:
        """Return what lets a loop of a stage read what other threads stored in those before it."""

    def joined(self, variables: list[str], function: str) -> list[str]:
        """Return what combines values of a row's team with those of other teams that have features of the row; there are none."""
        return []

    # What they have in common

    def crosses(self, stage: Stage, position: int) -> bool:
        """Say whether a loop of a stage reads what other threads have stored in the loops before it."""
        vectors = {name for name, kind in self.rec.types.items() if kind.batched and kind.shape}
        return crossing(stage, position, self.program.places, vectors)

    @staticmethod
    def widened(stored: bool, source: str) -> str:
        return f"widen({source})" if stored else source

    def array(self, name: str) -> str:
        key = f"array:{name}"
        if key not in self.arguments:
            known = name.endswith(("_rows", "_state", "_states", "_kept", "_out"))
            self.arguments[key] = (self.names.fresh(name if known else f"{name}_rows"), self.code.host[name])
        return self.arguments[key][0]

    # Loops

    def stage(self, stage: Stage) -> list[str]:
        lines: list[str] = []
        for position, loop in enumerate(stage.loops):
            lines += self.meet(stage, position)
            lines += self.vector(loop) if isinstance(loop, VectorLoop) else self.scalars(loop)
        return lines

    def vector(self, loop: VectorLoop) -> list[str]:
        made = self.code.equations(loop)
        sums = [c for c in loop.computes if isinstance(c.equation.node, FeatureSum)]
        before = [f"{self.variable(c.equation.name)} = real(0.0)" for c in sums]
        body = self.features(loop.size)
        indent = INDENT * sum(line.endswith(":") for line in body)
        head = len([line for line in body if line.endswith(":")])
        lines = [*body[:head], *(INDENT * head + line for line in body[head:])]
        lines += [indent + line for line in self.call(made)]
        stored = {c.equation.name: c.stores for c in loop.computes if c.stores}
        for name in made.results:
            for place in stored.get(name, ()):
                lines += [indent + line for line in self.write(name, place, self.variable(name))]
        for c in sums:
            assert isinstance(c.equation.node, FeatureSum)
            lines.append(f"{indent}{self.local[c.equation.name]} += {self.local[c.equation.node.value]}")
        after: list[str] = []
        for c in sums:
            self.team.add("row_sum")
            after.append(f"{self.local[c.equation.name]} = row_sum({self.local[c.equation.name]})")
        after += self.joined([self.local[c.equation.name] for c in sums], "row_sum") if sums else []
        after += [line for c in sums for line in self.finished(c)]
        return [*before, *lines, *after]

    def call(self, made: Equations) -> list[str]:
        """Return the statement that computes a loop's values at one feature."""
        self.called[made.name] = None
        arguments = [*(bare(self.read(name)) for name in made.reads), *(self.number(size) for size in made.extents)]
        arguments += ["j"] if made.position else []
        results = ", ".join(self.variable(name) for name in made.results)
        return wrapped(f"{results} = {made.name}(", arguments, ")")

    def scalars(self, loop: Scalars) -> list[str]:
        lines: list[str] = []
        for compute in loop.computes:
            eq = compute.equation
            lines += printed(self.code.say(eq))
            lines += self.scalar(eq)
            lines += self.finished(compute)
        return lines

    def finished(self, compute: Compute) -> list[str]:
        """Make a scalar known, and return the statements that store it."""
        name = compute.equation.name
        self.scalars_known.add(name)
        return [line for place in compute.stores for line in self.write(name, place, self.local[name])]

    def scalar(self, eq: Equation) -> list[str]:
        match eq.node:
            case Map(expr=expr):
                return [f"{self.variable(eq.name)} = {self.expression(expr)}"]
            case FeatureSum(value=v):
                return self.reduced(eq.name, v, "row_sum", "real(0.0)", "{0} += {1}")
            case LogSumExp(value=v):
                return self.log_sum_exp(eq.name, v)
            case Pick(value=v, index=k):
                self.team.add("nan")
                return [f"{self.variable(eq.name)} = {self.picked(v, self.read(k))}"]
        raise TypeError(f"{type(eq.node).__name__} has no code a row")

    def reduced(self, name: str, vector: str, function: str, start: str, add: str) -> list[str]:
        """Return the statements that reduce a vector to the scalar `name`."""
        self.team.add(function)
        size = self.rec.types[vector].shape[0]
        variable = self.variable(name)
        loop = self.features(size)
        head = [line for line in loop if line.endswith(":")]
        inner = [*loop[len(head) :], add.format(variable, self.read(vector))]
        lines = [f"{variable} = {start}", *head, *(INDENT * len(head) + line for line in inner), f"{variable} = {function}({variable})"]
        return [*lines, *self.joined([variable], function)]

    def log_sum_exp(self, name: str, vector: str) -> list[str]:
        """``m + log Σ exp(v - m)`` with the largest feature m: no term overflows."""
        self.functions |= {"exp", "log", "maximum"}
        self.team.add("lowest")
        largest, value = f"{name}_max", self.variable(name)
        self.local[largest] = self.names.fresh(largest)
        peak = self.local[largest]
        lines = self.reduced(largest, vector, "row_max", "lowest", "{0} = maximum({0}, {1})")
        lines += self.reduced(name, vector, "row_sum", "real(0.0)", f"{{0}} += exp({{1}} - {peak})")
        return [*lines, f"{value} = {peak} + log({value})"]

    def expression(self, expr: sp.Expr) -> str:
        def atom(symbol: sp.Symbol) -> Source:
            return Source(f"real({self.number(extent_name(symbol))})" if is_extent(symbol) else self.read(symbol.name))

        printer = Expressions(atom)
        source = printer.source(expr)
        self.functions |= source.reads - CONSTANTS - printer.constants.keys() - {"real"}
        self.constants |= printer.constants
        return source.text

    def variable(self, name: str) -> str:
        if name not in self.local:
            self.local[name] = self.names.fresh(name)
        return self.local[name]


def crossing(stage: Stage, position: int, program_places: Mapping[str, Place], vectors: set[str]) -> bool:
    """Say whether a loop of a stage reads elements that other threads have stored in the loops before it."""
    stores: dict[str, list[tuple[Place, Size | None]]] = {}
    for loop in stage.loops[:position]:
        for compute in loop.computes:
            for place in compute.stores:
                size = loop.size if isinstance(loop, VectorLoop) else None
                stores.setdefault(place.array, []).append((place, size))
    loop = stage.loops[position]
    own = {c.equation.name for c in loop.computes}
    for compute in loop.computes:
        whole = isinstance(compute.equation.node, Pick)
        for name in _vectors(compute.equation, own, vectors):
            read = program_places.get(name)
            if read is None or read.array not in stores:
                continue
            size = loop.size if isinstance(loop, VectorLoop) else None
            if whole or any(size != other or read.start != there.start for there, other in stores[read.array]):
                return True
    return False


def _vectors(eq: Equation, own: set[str], vectors: set[str]) -> Iterable[str]:
    """Return the vectors that an equation reads from memory."""
    return [o for o in eq.node.operands() if o in vectors and o not in own]
