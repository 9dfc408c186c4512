"""The statements of a stage for one row: views of the arrays, then the loops over its features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import sympy as sp

from ...calculus.ir import AxisSum, Equation, FeatureSum, HeadSum, LogSumExp, Map, Pick, Recurrence, Spread
from ...calculus.naming import Names
from ...calculus.symbols import EYE, extent_name, is_extent
from ...language.sizes import Size, elements
from ...program.imperative import Array, Compute, HeadLoop, Loop, Place, Program, RowLoop, Scalars, Stage, VectorLoop
from ..expression import Expressions
from ..host import place_of_head
from ..source import ATOM, Comment, Source, Statement, Tree, assign, block, code, name, store


class Says(Protocol):
    """What comments equations."""

    def say(self, eq: Equation) -> list[Comment]: ...


class KernelOfRows(Protocol):
    """What the statements of a row ask of the kernel that they are in."""

    names: Names
    constants: dict[str, str]
    local: dict[str, str]

    @property
    def program(self) -> Program: ...

    @property
    def rec(self) -> Recurrence: ...

    @property
    def host(self) -> Says: ...

    def array(self, value: str) -> Source: ...

    def static(self, value: str) -> Source: ...

    def size(self, size: Size) -> Source: ...

    def size_name(self, size: str) -> Source: ...

    def row_index(self, array: Array, shift: int) -> Source: ...


@dataclass
class Rows:
    """A loop over rows of matrices, as far as its statements are made.

    Attributes
    ----------
    columns : Size
    index : str
        Of the row at hand.
    known : set of str
        Elements of vectors, and of matrices in the loop over columns at hand, that stand in variables.
    views : list
        Statements that name rows of matrices.
    viewed : dict
        By matrix and where it lies.
    """

    columns: Size
    index: str
    known: set[str] = field(default_factory=set)
    views: list[Statement] = field(default_factory=list)
    viewed: dict[tuple[str, Place | None], str] = field(default_factory=dict)


@dataclass
class Views:
    """Statements that name rows of arrays, by value and place, and what of them a value that is constant in time is called."""

    statements: list[Statement] = field(default_factory=list)
    named: dict[tuple[str, Place | None], str] = field(default_factory=dict)


class StageRow:
    """One row of a stage, loop by loop."""

    def __init__(self, kernel: KernelOfRows, stage: Stage, *, of_head: bool = False) -> None:
        self.of_head_alone = of_head  # what is around the row goes over heads too
        self.kernel, self.stage, self.rec = kernel, stage, kernel.rec
        self.made = {c.equation.name for loop in stage.loops for c in loop.computes}
        self.views, self.views_of_head = Views(), Views()
        self.known: set[str] = set()  # numbers of the row that stand in variables
        self.current: set[str] = set()  # what the loop at hand computes
        self.rows: Rows | None = None  # of a loop over rows of matrices, while its statements are made
        self.along, self.repeated = kernel.rec.laid, kernel.rec.repeated

    def statements(self) -> list[Tree]:
        body = [line for loop in self.stage.loops for line in self.loop(loop)]
        return [*self.views.statements, *body]

    def loop(self, loop: Loop) -> list[Tree]:
        return self.head_loop(loop) if isinstance(loop, HeadLoop) else self.own_loop(loop)

    def head_loop(self, loop: HeadLoop) -> list[Tree]:
        """Return the loop over heads, before which sums over them are begun."""
        self.views_of_head, known = Views(), set(self.known)
        sums = [compute for compute in loop.computes if isinstance(compute.equation.node, HeadSum)]
        before = [store(code("{}[:]", self.view(c.equation.name, place, "_row")), self.zero()) for c in sums for place in c.stores]
        body = [line for own in loop.loops for line in self.own_loop(own)]
        self.known = known
        if self.of_head_alone:
            return [*self.views_of_head.statements, *body]
        head = code("for head in range({}):", self.kernel.size(loop.heads))
        return [*before, block(head, [*self.views_of_head.statements, *body], defines=("head",))]

    def own_loop(self, loop: VectorLoop | Scalars | RowLoop) -> list[Tree]:
        self.current = {c.equation.name for c in loop.computes}
        numbers = {value for value in self.current if not self.rec.types[value].shape}
        if isinstance(loop, RowLoop):
            made = self.row_loop(loop)
            self.known |= numbers  # sums of whole matrices: they are there now
            return made
        self.known |= numbers
        return self.vector_loop(loop) if isinstance(loop, VectorLoop) else self.scalars(loop)

    # Values

    def view(self, value: str, place: Place, suffix: str = "") -> Source:
        """Return the variable of a row's view of a place, adding its statement once."""
        views = self.views if place.stride is None else self.views_of_head
        if (value, place) not in views.named:
            kernel, width = self.kernel, elements(self.rec.types[value].shape)
            array = kernel.program.arrays[place.array]
            row = code("{}[{}]", kernel.array(array.name), kernel.row_index(array, place.shift))
            if place.stride is not None:
                row = self.columns_of_head(row, place, width)
            elif not array.scalar and (place.start != Size() or width != array.width):
                bounds = kernel.size(place.start), kernel.size(place.start + width)
                row = code("cut({}, {}, {})", row, *bounds, uses=("cut",))
            variable = kernel.local[value] if not suffix else kernel.names.fresh(f"{value}{suffix}")
            views.statements.append(assign(variable, row))
            views.named[value, place] = variable
        return name(views.named[value, place])

    def columns_of_head(self, row: Source, place: Place, width: Size) -> Source:
        """Return the columns of the head at hand, of a row."""
        first = place_of_head(place, self.kernel.size)
        return code("cut({}, {}, {} + {})", row, first, first, self.kernel.size(width), uses=("cut",))

    def of_head(self, value: str) -> Source:
        """Return the variable of what the head at hand has of a value that is constant in time: of a number that itself."""
        whole = self.kernel.static(value)
        if not self.rec.types[value].headed:
            return whole
        if not self.rec.types[value].shape:
            return code("{}[head]", whole, uses=("head",))
        if (value, None) not in self.views_of_head.named:
            variable = self.kernel.names.fresh(f"{value}_head")
            self.views_of_head.statements.append(assign(variable, code("{}[head]", whole, uses=("head",))))
            self.views_of_head.named[value, None] = variable
        return name(self.views_of_head.named[value, None])

    def read(self, value: str, *, element: bool) -> Source:
        """Return the source of a value in the current loop; of one element, or of the whole row."""
        if self.rows is not None and element:
            return self.in_rows(value)
        value = self.repeated.get(value, value)
        kind = self.rec.types[value]
        if not kind.batched:
            static = self.of_head(value)
            if not kind.shape and element:
                return static if kind.headed else code("{}[0]", static)
            return code("{}[j]", static, uses=("j",)) if element else static
        if (value in self.current and element) or value in self.known:
            return name(self.kernel.local[value])
        view = self.view(value, self.kernel.program.places[value], "_row" if value in self.made or not kind.shape else "")
        if not kind.shape:
            return code("{}[0]", view)
        return code("{}[j]", view, uses=("j",)) if element else view

    def element(self, value: str) -> Source:
        return self.read(value, element=True)

    def expression(self, expr: sp.Expr) -> Source:
        """Return the source of an elementwise expression."""

        def atom(symbol: sp.Symbol) -> Source:
            if is_extent(symbol):
                return code("real({})", self.kernel.size_name(extent_name(symbol)), uses=("real",))
            if symbol == EYE and self.rows is not None:
                self.kernel.constants |= {"one": "1.0", "zero": "0.0"}
                return code("where({} == j, one, zero)", name(self.rows.index), uses=("where", "j", "one", "zero"))
            return self.element(symbol.name)

        printer = Expressions(atom)
        source = printer.source(expr)
        self.kernel.constants |= printer.constants
        return source

    def zero(self) -> Source:
        self.kernel.constants["zero"] = "0.0"
        return name("zero")

    def value(self, eq: Equation) -> Source:
        """Return the source of an equation's value in the current loop."""
        match eq.node:
            case Map(expr=expr):
                return self.expression(expr)
            case HeadSum(value=v):
                return self.element(v)
            case Spread(value=v, index=k):
                return code("where(j == {}, {}, {})", self.element(k), self.element(v), self.zero(), uses=("where", "j"))
            case FeatureSum(value=v):
                return code("feature_sum({})", self.read(v, element=False), uses=("feature_sum",))
            case LogSumExp(value=v):
                return code("log_sum_exp({})", self.read(v, element=False), uses=("log_sum_exp",))
            case Pick(value=v, index=k):
                return code("{}[{}]", self.read(v, element=False), self.element(k))
        raise TypeError(f"{type(eq.node).__name__} has no code a row")

    # Loops

    def vector_loop(self, loop: VectorLoop) -> list[Tree]:
        before: list[Tree] = []
        body: list[Tree] = []
        after: list[Tree] = []
        for compute in loop.computes:
            if isinstance(compute.equation.node, FeatureSum):
                before.append(assign(self.kernel.local[compute.equation.name], self.zero()))
                body += self.added(compute.equation, compute.equation.node)
                after += self.stored(compute, "0")
            else:
                body += self.compute(compute, "j")
        return [*before, block(code("for j in range({}):", self.kernel.size(loop.size)), body, defines=("j",)), *after]

    def added(self, eq: Equation, node: FeatureSum) -> list[Tree]:
        """Return the statements that add a term to a sum over features."""
        total = name(self.kernel.local[eq.name])
        term = code("added({}, {})", total, self.element(node.value), uses=("added",))
        return [*self.kernel.host.say(eq), assign(total.text, term)]

    def scalars(self, loop: Scalars) -> list[Tree]:
        return [line for compute in loop.computes for line in self.compute(compute, "0")]

    def compute(self, compute: Compute, index: str) -> list[Tree]:
        """Return the statements that compute a value and store it."""
        eq = compute.equation
        value = self.value(eq)
        if isinstance(eq.node, HeadSum):
            targets = [code(f"{{}}[{index}]", self.view(eq.name, p, "_row"), uses=(index,) * (index == "j")) for p in compute.stores]
            return [*self.kernel.host.say(eq), *(store(target, code("{} + {}", target, value)) for target in targets)]
        return [*self.kernel.host.say(eq), assign(self.kernel.local[eq.name], value), *self.stored(compute, index)]

    def stored(self, compute: Compute, index: str) -> list[Tree]:
        """Return the statements that store a value to its places."""
        value = compute.equation.name
        local = name(self.kernel.local[value])
        return [store(code("{}[{}]", self.view(value, place, "_row"), index), local) for place in compute.stores]

    # Loops over rows of matrices

    def row_loop(self, loop: RowLoop) -> list[Tree]:
        self.rows = rows = Rows(loop.columns, self.kernel.names.fresh("i"))
        before, after = self.around(loop)
        body = [line for part in loop.parts for line in self.row_part(part)]
        self.rows = None
        size = self.kernel.size(loop.rows)
        head = code(f"for {rows.index} in range({{}}):", size)
        return [*before, block(head, [*rows.views, *body], defines=(rows.index,)), *after]

    def around(self, loop: RowLoop) -> tuple[list[Tree], list[Tree]]:
        """Return what begins the sums of columns and of whole matrices, and what stores the latter."""
        before: list[Tree] = []
        after: list[Tree] = []
        for compute in loop.computes:
            eq = compute.equation
            if isinstance(eq.node, AxisSum) and eq.node.axis == 0:
                for place in compute.stores:
                    before.append(store(code("{}[:]", self.view(eq.name, place, "_row")), self.zero()))
            elif isinstance(eq.node, FeatureSum):
                before.append(assign(self.kernel.local[eq.name], self.zero()))
                after += self.stored(compute, "0")
        return before, after

    def row_part(self, part: VectorLoop | Scalars) -> list[Tree]:
        assert self.rows is not None
        if isinstance(part, Scalars):
            return [line for compute in part.computes for line in self.row_element(compute)]
        sums = [c for c in part.computes if isinstance(c.equation.node, AxisSum) and c.equation.node.axis == 1]
        elements_before = set(self.rows.known)
        body = [line for compute in part.computes for line in self.matrix_element(compute)]
        self.rows.known = elements_before | {c.equation.name for c in sums}
        before = [assign(self.kernel.local[c.equation.name], self.zero()) for c in sums]
        after = [line for c in sums for line in self.stored_element(c)]
        return [*before, block(code("for j in range({}):", self.kernel.size(self.rows.columns)), body, defines=("j",)), *after]

    def row_element(self, compute: Compute) -> list[Tree]:
        """Return the statements that compute an element of a vector, for the row at hand."""
        assert self.rows is not None
        eq = compute.equation
        value = self.value(eq)
        self.rows.known.add(eq.name)
        return [*self.kernel.host.say(eq), assign(self.kernel.local[eq.name], value), *self.stored_element(compute)]

    def stored_element(self, compute: Compute) -> list[Tree]:
        """Return the statements that store an element of a vector, for the row at hand."""
        assert self.rows is not None
        value = compute.equation.name
        local, index = name(self.kernel.local[value]), self.rows.index
        return [store(code(f"{{}}[{index}]", self.view(value, p, "_row"), uses=(index,)), local) for p in compute.stores]

    def matrix_element(self, compute: Compute) -> list[Tree]:
        """Return the statements that compute an element of a matrix and store it, or add one to a sum."""
        eq, local = compute.equation, self.kernel.local
        assert self.rows is not None
        match eq.node:
            case AxisSum(value=v, axis=0):
                return [*self.kernel.host.say(eq), *(self.column_sum(eq.name, v, place) for place in compute.stores)]
            case AxisSum(value=v) | FeatureSum(value=v):
                term = code("added({}, {})", name(local[eq.name]), self.in_rows(v), uses=("added",))
                return [*self.kernel.host.say(eq), assign(local[eq.name], term)]
        value = self.value(eq)
        if isinstance(eq.node, HeadSum):
            targets = [code("{}[j]", self.matrix_row(eq.name, place), uses=("j",)) for place in compute.stores]
            return [*self.kernel.host.say(eq), *(store(target, code("{} + {}", target, value)) for target in targets)]
        self.rows.known.add(eq.name)
        stores = [store(code("{}[j]", self.matrix_row(eq.name, place), uses=("j",)), name(local[eq.name])) for place in compute.stores]
        return [*self.kernel.host.say(eq), assign(local[eq.name], value), *stores]

    def column_sum(self, total: str, value: str, place: Place) -> Tree:
        row = self.view(total, place, "_row")
        return store(code("{}[j]", row, uses=("j",)), code("{}[j] + {}", row, self.in_rows(value), uses=("j",)))

    def matrix_row(self, value: str, place: Place | None) -> Source:
        """Return the variable of a row of a matrix; of one that is constant in time, which has no place, too."""
        assert self.rows is not None
        if (value, place) not in self.rows.viewed:
            whole = self.view(value, place, "_matrix") if place else self.of_head(value)
            variable = self.kernel.names.fresh(f"{value}_i")
            columns = self.kernel.size(self.rows.columns)
            index = name(self.rows.index)
            flat = code("{}[{} * {} : ({} + 1) * {}]", whole, index, columns.within(ATOM), index, columns.within(ATOM))
            self.rows.views.append(assign(variable, flat if place else code("{}[{}]", whole, index)))
            self.rows.viewed[value, place] = variable
        return name(self.rows.viewed[value, place])

    def in_rows(self, value: str) -> Source:
        """Return the source of an element of a value: of a matrix (i, j), of a vector that of the row, of one along an axis i or j."""
        assert self.rows is not None
        value = self.repeated.get(value, value)
        kind, local = self.rec.types[value], self.kernel.local
        if value in self.rows.known:
            return name(local[value])
        if value in self.along:
            vector, axis = self.along[value].value, self.along[value].axis
            if axis == 0 and vector in self.rows.known:
                return name(local[vector])
            return self.element_at(vector, (self.rows.index, "j")[axis])
        if len(kind.shape) == 2:
            place = self.kernel.program.places[value] if kind.batched else None
            return code("{}[j]", self.matrix_row(value, place), uses=("j",))
        return self.element_at(value, self.rows.index) if kind.shape else self.number(value)

    def element_at(self, vector: str, index: str) -> Source:
        rows, self.rows = self.rows, None
        row = self.read(vector, element=False)
        self.rows = rows
        return code(f"{{}}[{index}]", row, uses=(index,))

    def number(self, value: str) -> Source:
        rows, self.rows = self.rows, None
        found = self.read(value, element=True)
        self.rows = rows
        return found
