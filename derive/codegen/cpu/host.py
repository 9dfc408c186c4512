"""Numba code for the CPU: the host's statements, which make arrays, run kernels, and form what lies outside the time loop."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import sympy as sp

from ...calculus.ir import (
    EYE,
    Concat,
    Equation,
    FeatureSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Outer,
    Recurrence,
    Slice,
    Total,
    Transpose,
    extent_name,
    is_extent,
)
from ...calculus.naming import Names
from ...language.sizes import Size
from ...program.imperative import Place, Product, Program, Stage
from ..expression import Expressions
from ..layout import INDENT, commented, size_source, tuple_source, wrapped
from .kernel import Kernel, RowKernel

COUNTS = {
    "sequence": "count",
    "tape": "call.rows.kept_count",
    "ahead": "call.rows.ahead_count",
    "once": "call.batch",
    "scratch": "call.batch",
}  # of the rows of an array


@dataclass
class Code:
    """One recurrence's code: kernels, and the host's statements that run them.

    Attributes
    ----------
    program : Program
    prefix : str
        Of the kernels' names.
    comment : callable
        The text of the equation with a tag.
    host : mapping
        The caller's expression for each array and static value that is given.
    weights, statements : list of str
        What the host does with parameters alone, and then with a sequence.
    """

    program: Program
    prefix: str
    comment: Callable[[Equation], str]
    host: dict[str, str]
    names: Names
    functions: set[str] = field(default_factory=set)
    runtime: set[str] = field(default_factory=set)
    kernels: list[Kernel] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    statements: list[str] = field(default_factory=list)

    xp: ClassVar[str] = "np"  # the module of the host's arrays

    @property
    def rec(self) -> Recurrence:
        return self.program.rec

    # Host

    def run(self) -> None:
        """Make all kernels and statements."""
        program = self.program
        for eq in self.rec.prologue:
            self.static(eq, self.weights)
        self.allocate()
        self.rows("once", program.once, "call.batch")
        self.rows("before", program.before, "count")
        self.time_loop(program.loop)
        self.rows("after", program.after, "count")
        self.totals()
        for eq in self.rec.epilogue:
            self.static(eq, self.statements)

    def variable(self, name: str) -> str:
        """Return a new variable of the host for a value."""
        self.host[name] = self.names.fresh(name)
        return self.host[name]

    def say(self, eq: Equation) -> list[str]:
        """Return the comment of a shown equation; a line of several names is shown where the value is made that it splits."""
        eq = replace(eq, shown=True) if eq.name in self.split else eq
        return commented(f"({eq.tag})  {self.comment(eq)}") if eq.shown and eq.tag else []

    @cached_property
    def split(self) -> frozenset[str]:
        """The values of a step that lines of several names split: the names of such a line have its number in common."""
        parts = Counter((eq.node.value, eq.tag) for eq in self.rec.body if isinstance(eq.node, Slice) and eq.shown)
        return frozenset(value for (value, _), names in parts.items() if names > 1)

    def note(self, eq: Equation) -> list[str]:
        """Return a comment for any equation."""
        return self.say(eq) or commented(self.comment(eq))

    def allocate(self) -> None:
        """Make the arrays that are not given; what nothing writes must be given, or it would be read as it lies in memory."""
        written = self.program.written_arrays()
        for array in self.program.arrays.values():
            if array.name in self.host:
                continue
            assert array.name in written, f"{self.rec.name}: nothing writes the array {array.name}"
            count = COUNTS[array.space]
            self.statements.append(f"{self.variable(array.name)} = empty(({count}, {self.size(array.width)}), call.dtype)")

    def size(self, size: Size) -> str:
        """Return the source of a size on the host."""
        return size_source(size, self.sizes)

    def sizes(self, name: str) -> str:
        return self.host[f"size:{name}"]

    def static(self, eq: Equation, statements: list[str]) -> None:
        """Add the host's statement of a static equation."""
        node, of, xp = eq.node, self.number, self.xp
        match node:
            case Map(expr=expr):
                value = self.static_map(eq, expr)
            case Concat(parts=parts):
                value = self.stacked(parts)
            case Slice(value=v, start=start, size=size):
                value = f"{of(v)}[{self.size(start)} : {self.size(start + size)}]"
            case Transpose(matrix=m):
                value = f"{xp}.ascontiguousarray({of(m)}.T)"
            case MatVec(matrix=m, vector=v, plus=p):
                value = f"{of(m)} @ {of(v)}" + (f" + {of(p)}" if p else "")
            case MatVecT(matrix=m, vector=v, plus=p):
                value = f"{of(m)}.T @ {of(v)}" + (f" + {of(p)}" if p else "")
            case Outer(left=u, right=v):
                value = f"{xp}.outer({of(u)}, {of(v)})"
            case FeatureSum(value=v):
                value = f"{xp}.sum({of(v)})"
            case LogSumExp(value=v):
                value = f"{xp}.max({of(v)}) + {xp}.log({xp}.sum({xp}.exp({of(v)} - {xp}.max({of(v)}))))"
            case _:
                raise TypeError(f"{eq.name}: {type(node).__name__} of static values has no code")
        statements += [*self.say(eq), f"{self.variable(eq.name)} = {value}"]

    def number(self, name: str) -> str:
        """Return the host's expression of a static value that is computed with."""
        return self.host[name]

    def stacked(self, parts: tuple[str, ...]) -> str:
        """Return the host's expression of static values one after the other."""
        return f"stacked({', '.join(self.host[p] for p in parts)})"

    def static_map(self, eq: Equation, expr: sp.Expr) -> str:
        kind = self.rec.types[eq.name]
        last = kind.shape[-1] if kind.shape else Size()

        def atom(symbol: sp.Symbol) -> str:
            if symbol == EYE:
                return f"{self.xp}.eye({self.size(last)}, dtype=call.dtype)"
            return self.sizes(extent_name(symbol)) if is_extent(symbol) else self.number(symbol.name)

        printer = Expressions(atom, typed=False)
        text = printer.source(expr)
        for name in sorted(printer.functions, key=len, reverse=True):
            text = _prefixed(text, name)
        lead, rank = ["call.batch"] if kind.batched else [], len(kind.shape)
        values = [self.rec.types[s.name] for s in expr.free_symbols if s != EYE and not is_extent(s)]
        full = EYE in expr.free_symbols or any(len(v.shape) == rank and v.batched == kind.batched for v in values)
        if not full and (lead or rank):
            shape = [*lead, *(self.size(s) for s in kind.shape)]
            return f"{self.xp}.full(({', '.join(shape)}{',' if len(shape) == 1 else ''}), {text}, call.dtype)"
        return f"{self.xp}.asarray({text}, call.dtype)"

    def matrix(self, name: str, transposed: bool) -> str:
        """Return the host's variable of a matrix's panels for products, ``v @ M.T`` or, transposed, ``v @ M``."""
        key = f"panels:{name}:{transposed}"
        if key not in self.host:
            variable = self.names.fresh(f"{self.host[name].split('.')[-1]}{'_t' if transposed else ''}_panels")
            self.host[key] = variable
            self.runtime.add("panels")
            self.weights.append(f"{variable} = panels({self.host[name]}{'' if transposed else '.T'})")
        return self.host[key]

    def rows(self, region: str, stages: tuple[Stage, ...], count: str) -> None:
        """Run a region over all rows at once."""
        for k, stage in enumerate(stages):
            for product in stage.products:
                matrix = self.matrix(product.matrix, product.transposed)
                vector, out = self.columns(product.vector, product.equation, 1), self.columns(product.out, product.equation, 0)
                if region != "once" and self.program.arrays[product.vector.array].space == "once":
                    vector = f"call.rows.over_time({vector})"
                self.runtime.add("multiply_rows")
                made = [*self.note(product.equation), f"multiply_rows({vector}, {matrix}, {out}, {product.accumulate})"]
                ahead = self.program.arrays[product.out.array].space == "ahead"
                self.statements += ["if not call.rows.inline:", *(INDENT + line for line in made)] if ahead else made
            if stage.loops:
                kernel = RowKernel(self, region).kernel(self.names.fresh(f"{self.prefix}_{region}{k or ''}"), stage)
                self.call(kernel, count, (), ())

    def call(self, kernel: Kernel, count: str, products: Iterable[Product], ahead: Iterable[Product]) -> None:
        """Add a kernel, which makes `products` at each step and those `ahead` perhaps, and its call."""
        self.kernels.append(kernel)
        always, perhaps = (dict.fromkeys(self.matrix(p.matrix, p.transposed) for p in made) for made in (products, ahead))
        read = tuple_source(always) if not perhaps else f"{tuple_source(perhaps | always)} if call.rows.inline else {tuple_source(always)}"
        self.statements += wrapped("run_rows(", [kernel.name, count, read, *(host for _, host in kernel.arguments)], ")")

    def columns(self, place: Place, eq: Equation, operand: int) -> str:
        """Return the host's expression for the columns of an array where a value lies."""
        node = eq.node
        assert isinstance(node, MatVec | MatVecT)
        width = self.program.shape(node.vector if operand else eq.name)[0]
        return self.view(place, width)

    def view(self, place: Place, width: Size) -> str:
        array = self.program.arrays[place.array]
        name = self.host[place.array]
        rows = f"call.rows.before({name})" if array.extra else name
        if place.start == Size() and width == array.width:
            return rows
        return f"{rows}[:, {self.size(place.start)} : {self.size(place.start + width)}]"

    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        if any(s.loops or s.products for s in stages):
            kernel = RowKernel(self, "loop").kernel(self.names.fresh(f"{self.prefix}_steps"), *stages)
            self.call(kernel, "call.batch", (product for stage in stages for product in stage.products), self.program.ahead)

    def totals(self) -> None:
        """Add the sums over all rows; those of one value are made together, in one pass over it."""
        groups: dict[str, list[Equation]] = {}
        for eq in self.rec.accumulators:
            if isinstance(eq.node, Total) and self.rec.types[eq.name].batched:
                self.total_by_sequence(eq, eq.node)
            else:
                assert isinstance(eq.node, Outer | Total)
                groups.setdefault(self.operand(eq.node.operands()[0]), []).append(eq)
        for left, equations in groups.items():
            self.sums(left, equations)

    def total_by_sequence(self, eq: Equation, node: Total) -> None:
        self.statements += self.note(eq)
        kind = self.rec.types[eq.name]
        shaped = ".reshape(call.batch)" if not kind.shape else ""
        self.statements.append(f"{self.variable(eq.name)} = call.rows.total({self.operand(node.value)}){shaped}")

    def sums(self, left: str, equations: list[Equation]) -> None:
        """Add the sums of what has one left operand: outer products, and the sum of its rows."""
        made: dict[str, str] = {}  # by the right operand; a second sum of the same is a copy, an array of its own
        copies = []
        for eq in equations:
            right = self.operand(eq.node.right) if isinstance(eq.node, Outer) else ""
            self.statements += self.note(eq)
            variable = self.variable(eq.name)
            copies += [f"{variable} = {made[right]}.copy()"] if right in made else []
            made.setdefault(right, variable)
        total = made.pop("", "")
        names, given = [*made.values(), *([total] if total else [])], [left, *made, *(["total=True"] if total else [])]
        self.runtime.add("sums")
        self.statements.append(f"{', '.join(names)}{',' if len(names) == 1 else ''} = sums({', '.join(given)})")
        self.statements += copies
        for eq in equations:
            if isinstance(eq.node, Total) and not self.rec.types[eq.name].shape:
                self.host[eq.name] += ".reshape(())"

    def operand(self, name: str) -> str:
        """Return the host's rows of a value that is summed over steps."""
        shape = self.rec.types[name].shape
        if name not in self.program.places:
            return f"np.broadcast_to({self.host[name]}, (count, {self.size(shape[0])}))"
        place = self.program.places[name]
        if self.program.arrays[place.array].space == "once":
            return f"call.rows.over_time({self.view(place, shape[0])})"
        return self.view(place, shape[0] if shape else Size((), 1))


def _prefixed(text: str, function: str) -> str:
    return re.sub(rf"(?<![\w.]){function}\(", f"static.{function}(", text)
