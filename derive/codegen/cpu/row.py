"""The statements of a stage for one row: views of the arrays, then the loops over its features."""

from __future__ import annotations

from typing import Protocol

import sympy as sp

from ...calculus.ir import Equation, FeatureSum, LogSumExp, Map, Pick, Recurrence, Spread
from ...calculus.naming import Names
from ...calculus.symbols import extent_name, is_extent
from ...language.sizes import Size
from ...program.imperative import Array, Compute, Place, Program, Scalars, Stage, VectorLoop
from ..expression import Expressions
from ..source import Comment, Source, Statement, Tree, assign, block, code, name, store


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


class StageRow:
    """One row of a stage, loop by loop."""

    def __init__(self, kernel: KernelOfRows, stage: Stage) -> None:
        self.kernel, self.stage, self.rec = kernel, stage, kernel.rec
        self.made = {c.equation.name for loop in stage.loops for c in loop.computes}
        self.views: list[Statement] = []
        self.viewed: dict[tuple[str, Place], str] = {}
        self.known: set[str] = set()  # numbers of the row that stand in variables
        self.current: set[str] = set()  # what the loop at hand computes

    def statements(self) -> list[Tree]:
        body: list[Tree] = []
        for loop in self.stage.loops:
            self.current = {c.equation.name for c in loop.computes}
            self.known |= {value for value in self.current if not self.rec.types[value].shape}
            body += self.vector_loop(loop) if isinstance(loop, VectorLoop) else self.scalars(loop)
        return [*self.views, *body]

    # Values

    def view(self, value: str, place: Place, suffix: str = "") -> Source:
        """Return the variable of a row's view of a place, adding its statement once."""
        key = (value, place)
        if key not in self.viewed:
            kernel, shape = self.kernel, self.rec.types[value].shape
            array = kernel.program.arrays[place.array]
            row = code("{}[{}", kernel.array(array.name), kernel.row_index(array, place.shift))
            if shape and (place.start != Size() or shape[0] != array.width):
                row = code("{}, {} : {}", row, kernel.size(place.start), kernel.size(place.start + shape[0]))
            variable = kernel.local[value] if not suffix else kernel.names.fresh(f"{value}{suffix}")
            self.views.append(assign(variable, code("{}]", row)))
            self.viewed[key] = variable
        return name(self.viewed[key])

    def read(self, value: str, *, element: bool) -> Source:
        """Return the source of a value in the current loop; of one element, or of the whole row."""
        kind = self.rec.types[value]
        if not kind.batched:
            static = self.kernel.static(value)
            return static if not element else code("{}[j]", static, uses=("j",)) if kind.shape else code("{}[0]", static)
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
        return [*self.kernel.host.say(eq), assign(self.kernel.local[eq.name], value), *self.stored(compute, index)]

    def stored(self, compute: Compute, index: str) -> list[Tree]:
        """Return the statements that store a value to its places."""
        value = compute.equation.name
        local = name(self.kernel.local[value])
        return [store(code("{}[{}]", self.view(value, place, "_row"), index), local) for place in compute.stores]
