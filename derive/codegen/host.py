"""The host's statements of a pass: arrays, products and kernels over rows, sums, and what is made of static values.

What the CPU and CUDA devices have in common stands here; where they differ is a method that each has of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import sympy as sp

from ..calculus.ir import Concat, Equation, FeatureSum, LogSumExp, Map, MatVec, MatVecT, Outer, Recurrence, Slice, Total, Transpose
from ..calculus.naming import Names
from ..calculus.symbols import EYE, extent_name, is_extent
from ..language.sizes import Size
from ..program.imperative import Array, Place, Product, Program, Stage
from .expression import Expressions
from .kernel import Kernel
from .sizes import size_source
from .source import PRODUCT, SUM, Comment, Source, Tree, assign, attribute, code, listed, name, note

ONE = Size((), 1)


@dataclass
class HostCode(ABC):
    """One recurrence's code: kernels, and the host's statements that run them.

    Attributes
    ----------
    program : Program
    prefix : str
        Of the kernels' names.
    comment : callable
        The text of the equation with a tag.
    given : mapping
        The caller's expression for each array and static value that is given; what is made joins them.
    sizes : mapping
        The host's variable of each named size.
    names : Names
        Taken by the module and by this code.
    kernels : list
    weights, statements : list
        What the host does with parameters alone, and then with a sequence.
    """

    program: Program
    prefix: str
    comment: Callable[[Equation], str]
    given: dict[str, Source]
    sizes: Mapping[str, str]
    names: Names
    kernels: list[Kernel] = field(default_factory=list)
    weights: list[Tree] = field(default_factory=list)
    statements: list[Tree] = field(default_factory=list)

    xp: ClassVar[str] = "np"  # the module of the host's arrays

    @property
    def rec(self) -> Recurrence:
        return self.program.rec

    def run(self) -> None:
        """Make all kernels and statements."""
        program = self.program
        for eq in self.rec.prologue:
            self.static(eq, self.weights)
        self.allocate()
        self.rows("once", program.once, Source("call.batch"))
        self.rows("before", program.before, self.count)
        self.time_loop(program.loop)
        self.rows("after", program.after, self.count)
        self.totals()
        for eq in self.rec.epilogue:
            self.static(eq, self.statements)

    # What the CPU and a device differ in

    @property
    @abstractmethod
    def count(self) -> Source:
        """The number of rows of all steps."""

    @abstractmethod
    def allocated(self, array: Array) -> Source:
        """Return what makes an array."""

    @abstractmethod
    def before(self, rows: Source) -> Source:
        """Return the values before each step, from a state's array."""

    @abstractmethod
    def over_time(self, rows: Source) -> Source:
        """Return the rows of what is constant in time, at every step."""

    @abstractmethod
    def spread(self, static: Source, size: Size) -> Source:
        """Return a static vector in every row."""

    @abstractmethod
    def stacked(self, parts: Iterable[Source]) -> Source:
        """Return static values one after the other."""

    @abstractmethod
    def multiplied(self, product: Product, vector: Source, out: Source) -> list[Tree]:
        """Return the statements of a product over rows."""

    @abstractmethod
    def run_stage(self, region: str, number: int, stage: Stage, count: Source) -> list[Tree]:
        """Make the kernel of a stage, and return the statements that run it over rows."""

    @abstractmethod
    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        """Run the time loop."""

    @abstractmethod
    def by_sequence(self, rows: Source) -> Source:
        """Return the sum of rows over steps, for each sequence."""

    @abstractmethod
    def sums(self, left: Source, equations: list[Equation]) -> None:
        """Add the sums over all rows of what has one left operand: outer products, and the sum of its rows."""

    # Names and comments

    def source(self, value: str) -> Source:
        """Return the host's expression of an array or of a static value."""
        return self.given[value]

    def variable(self, value: str) -> str:
        """Return a new variable of the host for a value."""
        made = self.names.fresh(value)
        self.given[value] = name(made)
        return made

    def size_of(self, named: str) -> Source:
        """Return the host's variable of a named size."""
        return name(self.sizes[named])

    def size(self, size: Size) -> Source:
        """Return the source of a size on the host."""
        return size_source(size, self.size_of)

    def say(self, eq: Equation) -> list[Comment]:
        """Return the comment of a shown equation; a line of several names is shown where the value is made that it splits."""
        eq = replace(eq, shown=True) if eq.name in self.split else eq
        return [note(f"({eq.tag})  {self.comment(eq)}")] if eq.shown and eq.tag else []

    @cached_property
    def split(self) -> frozenset[str]:
        """The values of a step that lines of several names split: the names of such a line have its number in common."""
        parts = Counter((eq.node.value, eq.tag) for eq in self.rec.body if isinstance(eq.node, Slice) and eq.shown)
        return frozenset(value for (value, _), names in parts.items() if names > 1)

    def note(self, eq: Equation) -> list[Comment]:
        """Return a comment for any equation."""
        return self.say(eq) or [note(self.comment(eq))]

    # Arrays

    def allocate(self) -> None:
        """Make the arrays that are not given; what nothing writes must be given, or it would be read as it lies in memory."""
        written = self.program.written_arrays()
        for array in self.program.arrays.values():
            if array.name not in self.given:
                assert array.name in written, f"{self.rec.name}: nothing writes the array {array.name}"
                made = self.allocated(array)
                self.statements.append(assign(self.variable(array.name), made))

    def view(self, place: Place, width: Size) -> Source:
        """Return the rows of an array, for all steps, in the columns of a place."""
        array = self.program.arrays[place.array]
        rows = self.before(self.source(place.array)) if array.extra else self.source(place.array)
        return self.columns(rows, place, width)

    def columns(self, rows: Source, place: Place, width: Size) -> Source:
        """Return the columns of rows where a value lies."""
        if place.start == Size() and width == self.program.arrays[place.array].width:
            return rows
        return code("{}[:, {} : {}]", rows, self.size(place.start), self.size(place.start + width))

    def operand(self, value: str) -> Source:
        """Return the rows of a value that is summed over steps."""
        shape = self.rec.types[value].shape
        if value not in self.program.places:
            return self.spread(self.source(value), shape[0])
        place = self.program.places[value]
        rows = self.view(place, shape[0] if shape else ONE)
        return self.over_time(rows) if self.program.arrays[place.array].space == "once" else rows

    # Static values

    def static(self, eq: Equation, statements: list[Tree]) -> None:
        """Add the statement of a static equation."""
        value = self.static_value(eq)
        statements += [*self.say(eq), assign(self.variable(eq.name), value)]

    def static_value(self, eq: Equation, of: Callable[[str], Source] | None = None) -> Source:
        """Return the host's expression of a static equation; `of` gives that of an operand, by default one that is computed with."""
        of, size = of or self.number, self.size
        match eq.node:
            case Map(expr=expr):
                return self.static_map(eq, expr)
            case Concat(parts=parts):
                return self.stacked(of(part) for part in parts)
            case Slice(value=v, start=start, size=width):
                return code("{}[{} : {}]", of(v), size(start), size(start + width))
            case Transpose(matrix=m):
                return self.module("ascontiguousarray({}.T)", of(m))
            case MatVec(matrix=m, vector=v, plus=p):
                return self.plus(code("{} @ {}", of(m), of(v), binding=PRODUCT), p)
            case MatVecT(matrix=m, vector=v, plus=p):
                return self.plus(code("{}.T @ {}", of(m), of(v), binding=PRODUCT), p)
            case Outer(left=u, right=v):
                return self.module("outer({}, {})", of(u), of(v))
            case FeatureSum(value=v):
                return self.module("sum({})", of(v))
            case LogSumExp(value=v):
                largest = self.module("max({})", of(v))
                scaled = self.module("log({})", self.module("sum({})", self.module("exp({} - {})", of(v), largest)))
                return code("{} + {}", largest, scaled, binding=SUM)
        raise TypeError(f"{eq.name}: {type(eq.node).__name__} of static values has no code")

    def module(self, template: str, *parts: Source) -> Source:
        """Return a call of a function of the arrays' module."""
        return code(f"{self.xp}.{template}", *parts, uses=(self.xp,))

    def plus(self, product: Source, more: str) -> Source:
        return code("{} + {}", product, self.number(more), binding=SUM) if more else product

    def number(self, value: str) -> Source:
        """Return the host's expression of a static value that is computed with."""
        return self.source(value)

    def static_map(self, eq: Equation, expr: sp.Expr) -> Source:
        kind = self.rec.types[eq.name]
        last = kind.shape[-1] if kind.shape else Size()

        def atom(symbol: sp.Symbol) -> Source:
            if symbol == EYE:
                return self.module("eye({}, dtype=call.dtype)", self.size(last))
            return self.size_of(extent_name(symbol)) if is_extent(symbol) else self.number(symbol.name)

        source = Expressions(atom, function=lambda called: attribute("static", called), typed=False).source(expr)
        shape = [*([Source("call.batch")] if kind.batched else []), *(self.size(s) for s in kind.shape)]
        values = [self.rec.types[s.name] for s in expr.free_symbols if s != EYE and not is_extent(s)]
        full = EYE in expr.free_symbols or any(len(v.shape) == len(kind.shape) and v.batched == kind.batched for v in values)
        if full or not shape:
            return self.module("asarray({}, call.dtype)", source)
        return self.module("full(({}{}), {}, call.dtype)", listed(shape), Source("," if len(shape) == 1 else ""), source)

    # Rows

    def rows(self, region: str, stages: tuple[Stage, ...], count: Source) -> None:
        """Run a region over all rows at once."""
        for number, stage in enumerate(stages):
            for product in stage.products:
                node = product.equation.node
                assert isinstance(node, MatVec | MatVecT)
                vector = self.view(product.vector, self.program.shape(node.vector)[0])
                out = self.view(product.out, self.program.shape(product.equation.name)[0])
                if region != "once" and self.program.arrays[product.vector.array].space == "once":
                    vector = self.over_time(vector)
                self.statements += self.multiplied(product, vector, out)
            if stage.loops:
                self.statements += self.run_stage(region, number, stage, count)

    # Sums

    def totals(self) -> None:
        """Add the sums over all rows; those of one value are made together, in one pass over it."""
        groups: dict[Source, list[Equation]] = {}
        for eq in self.rec.accumulators:
            node = eq.node
            if isinstance(node, Total) and self.rec.types[eq.name].batched:
                total = self.by_sequence(self.operand(node.value))
                shaped = total if self.rec.types[eq.name].shape else code("{}.reshape(call.batch)", total)
                self.statements += [*self.note(eq), assign(self.variable(eq.name), shaped)]
            else:
                assert isinstance(node, Outer | Total)
                groups.setdefault(self.operand(node.operands()[0]), []).append(eq)
        for left, equations in groups.items():
            self.sums(left, equations)
