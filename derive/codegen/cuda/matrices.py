"""Loops over the rows of matrices: some lanes of a warp have a row, each of them every so many columns, and then the row after next.

What a row is multiplied with is brought into registers before the loop, the sums of columns stay in them until it has ended.  A sum of a
row is made by its lanes, that of a column or of the whole matrix by all threads of a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import sympy as sp

from ...calculus.ir import AxisSum, FeatureSum, HeadSum, Map
from ...calculus.symbols import EYE
from ...program.imperative import Compute, Place, RowLoop, Scalars, VectorLoop
from ..source import SUM, Source, Statement, Tree, add, assign, block, code, name, store
from .features import Loops, Numbers
from .kernel import ROW, J

M = name("m")


def column() -> Statement:
    """Return the statement that names a thread's column m."""
    return assign("j", code("m * across + within", uses=("m", "across", "within")))


class RowNumbers(Numbers, Protocol):
    """What loops over heads and matrices ask of the kernel that they are in."""

    @property
    def by_head(self) -> bool:
        """Whether a block has one head of a row."""

    def put(self, place: Place, index: Source, source: Source) -> list[Tree]:
        """Return the statements that store one element of a vector."""

    def matrix(self, value: str) -> Source:
        """Return the source of the element (i, j) of a matrix."""

    def put_matrix(self, place: Place, loop: RowLoop, source: Source) -> list[Tree]:
        """Return the statements that store the element (i, j) of a matrix, in a loop over its rows."""

    def columns(self, loop: RowLoop) -> Source:
        """Return the source of the number of columns that a thread has in a loop over rows."""

    def each_row(self, loop: RowLoop, body: Iterable[Tree]) -> Tree:
        """Return the loop over the rows i that a slot has."""


class RowLines:
    """The statements of one loop over rows of matrices."""

    def __init__(self, loops: Loops, numbers: RowNumbers, loop: RowLoop) -> None:
        self.loops, self.loop, self.numbers, self.types = loops, loop, numbers, loops.types
        self.rec, self.names = loops.program.rec, loops.names
        self.laid, self.shown = self.rec.laid, self.rec.shown
        self.columns = numbers.columns(loop)
        self.known: set[str] = set()  # elements of vectors, and of matrices in the part at hand, that stand in variables
        self.before: list[Tree] = []
        self.of_row: list[Statement] = []  # what is read once for each row
        self.of_part: list[Statement] = []  # what is read once for each element
        self.read: dict[tuple[str, str], Source] = {}  # by value, and how

    def lines(self) -> list[Tree]:
        """Return the loop, with what begins and ends its sums."""
        sums = [compute for compute in self.loop.computes if self.over_rows(compute)]
        self.before += [line for compute in sums for line in self.begun(compute)]
        body = [line for part in self.loop.parts for line in self.part(part)]
        rows = self.numbers.each_row(self.loop, [*self.of_row, *body])
        return [*self.before, rows, *(line for compute in sums for line in self.ended(compute))]

    # Sums

    @staticmethod
    def over_rows(compute: Compute) -> bool:
        """Say whether an equation sums what several rows have."""
        node = compute.equation.node
        return isinstance(node, FeatureSum) or (isinstance(node, AxisSum) and node.axis == 0)

    def begun(self, compute: Compute) -> list[Tree]:
        total = self.loops.variable(compute.equation.name)
        if isinstance(compute.equation.node, FeatureSum):
            return [assign(total, self.zero())]
        return [self.registers(total), self.each_register([store(code("{}[{}]", name(total), M), self.zero())])]

    def ended(self, compute: Compute) -> list[Tree]:
        """Return what makes a sum of those of all threads, and stores it."""
        eq, total = compute.equation, self.loops.local[compute.equation.name]
        if isinstance(eq.node, FeatureSum):
            return [assign(total, code("row_sum({})", name(total), uses=("row_sum",))), *self.loops.finished(compute)]
        made = name(self.names.fresh(f"{total}_j"))
        stores = [line for place in compute.stores for line in self.numbers.write(eq.name, place, made)]
        mine = code("slot == 0 and {}", self.inside, uses=("slot",))
        return [
            self.each_register(
                [
                    assign(made.text, code("column_sum({}[{}])", name(total), M, uses=("column_sum",))),
                    column(),
                    block(code("if {}:", mine), stores),
                ]
            )
        ]

    # Registers of a thread, for its columns

    @property
    def width(self) -> Source:
        return self.numbers.whole(self.loop.columns)

    def registers(self, called: str) -> Statement:
        return assign(called, code("cuda.local.array({}, real)", self.columns, uses=("cuda", "real")))

    def each_register(self, body: list[Tree]) -> Tree:
        return block(code("for m in range({}):", self.columns), body, defines=("m",))

    def each_column(self, body: list[Tree], condition: Source) -> Tree:
        """Return the loop over a thread's columns, as far as there are any."""
        return self.each_register([column(), block(code("if {}:", condition), body)])

    @property
    def inside(self) -> Source:
        """Whether the matrix has a column j."""
        return code("j < {}", self.width.within(SUM), uses=("j",))

    @property
    def here(self) -> Source:
        """Whether the element (i, j) is the thread's."""
        return code("here and {}", self.inside, uses=("here",))

    # Parts

    def part(self, part: VectorLoop | Scalars) -> list[Tree]:
        if isinstance(part, Scalars):
            return [line for compute in part.computes for line in self.element(compute)]
        rows = [c for c in part.computes if isinstance(c.equation.node, AxisSum) and c.equation.node.axis == 1]
        before: list[Tree] = [assign(self.loops.variable(c.equation.name), self.zero()) for c in rows]
        known, read = set(self.known), dict(self.read)
        body = [line for compute in part.computes for line in self.matrix_element(compute)]
        self.known = known | {c.equation.name for c in rows}
        self.read = {key: source for key, source in self.read.items() if key in read or key[1] != "element"}
        elements, self.of_part = self.of_part, []
        after = [line for compute in rows for line in self.row_sum(compute)]
        return [*before, self.each_column([*elements, *body], self.here), *after]

    def row_sum(self, compute: Compute) -> list[Tree]:
        total = self.loops.local[compute.equation.name]
        return [assign(total, code("line_sum({})", name(total), uses=("line_sum",))), *self.stored_element(compute)]

    def element(self, compute: Compute) -> list[Tree]:
        """Return the statements that compute an element of a vector, for the row at hand."""
        eq = compute.equation
        assert isinstance(eq.node, Map)
        value = self.expression(eq.node.expr)
        self.known.add(eq.name)
        return [*self.loops.host.say(eq), assign(self.loops.variable(eq.name), value), *self.stored_element(compute)]

    def stored_element(self, compute: Compute) -> list[Tree]:
        made = name(self.loops.local[compute.equation.name])
        lines = [line for place in compute.stores for line in self.numbers.put(place, ROW, made)]
        return [block(code("if within == 0 and here:", uses=("within", "here")), lines)] if lines else []

    def matrix_element(self, compute: Compute) -> list[Tree]:
        """Return the statements that compute an element of a matrix and store it, or add one to a sum."""
        eq = compute.equation
        said: list[Tree] = [*self.loops.host.say(eq)]
        match eq.node:
            case AxisSum(value=v, axis=0):
                total = code("{}[{}]", name(self.loops.local[eq.name]), M)
                return [*said, store(total, code("{} + {}", total, self.value(v)))]
            case AxisSum(value=v) | FeatureSum(value=v):
                return [*said, add(self.loops.local[eq.name], self.value(v))]
            case HeadSum(value=v):
                total = code("{} + {}", self.numbers.matrix(eq.name), self.value(v))
                return [*said, *(line for place in compute.stores for line in self.stored_in_matrix(place, total))]
            case Map(expr=expr):
                value = self.expression(expr)
                self.known.add(eq.name)
                made = name(self.loops.variable(eq.name))
                stores = [line for place in compute.stores for line in self.stored_in_matrix(place, made)]
                return [*said, assign(made.text, value), *stores]
        raise TypeError(f"{type(eq.node).__name__} has no code in a loop over rows")

    def stored_in_matrix(self, place: Place, value: Source) -> list[Tree]:
        return self.numbers.put_matrix(place, self.loop, value)

    # Values

    def zero(self) -> Source:
        self.loops.constants["zero"] = "0.0"
        return name("zero")

    def expression(self, expr: sp.Expr) -> Source:
        return self.loops.printed(expr, lambda symbol: self.eye() if symbol == EYE else self.value(symbol.name))

    def eye(self) -> Source:
        self.loops.constants |= {"one": "1.0", "zero": "0.0"}
        return code("where(i == j, one, zero)", uses=("where", "i", "j", "one", "zero"))

    def value(self, value: str) -> Source:
        """Return an element of a value: of a matrix (i, j), of a vector that of the row, of one along an axis i or j."""
        if value in self.known:
            return name(self.loops.local[value])
        along = self.laid.get(value)
        lies = self.shown.get(value, value)
        if lies in self.known:
            return name(self.loops.local[lies])
        kind = self.types[lies]
        if not kind.shape:
            return self.loops.read(lies)
        if len(kind.shape) == 2:
            return self.once(lies, "element", self.of_part, self.numbers.matrix(lies))
        if along is not None and along.axis == 1:
            return self.of_column(lies)
        return self.once(lies, "row", self.of_row, self.numbers.picked(lies, ROW))

    def once(self, value: str, how: str, where: list[Statement], source: Source) -> Source:
        """Return the variable of what is read once."""
        if (value, how) not in self.read:
            made = self.names.fresh(f"{value}_{'ij' if how == 'element' else 'i'}")
            where.append(assign(made, source))
            self.read[value, how] = name(made)
        return self.read[value, how]

    def of_column(self, vector: str) -> Source:
        """Return an element of a vector along the columns, which stands in a register of the thread from before the loop on."""
        if (vector, "column") not in self.read:
            made = self.names.fresh(f"{vector}_columns")
            self.read[vector, "column"] = code("{}[{}]", name(made), M)
            load = store(self.read[vector, "column"], self.numbers.picked(vector, J))
            self.before += [self.registers(made), self.each_column([load], self.inside)]
        return self.read[vector, "column"]
