"""Kernels for the CPU: the loops of a program, row by row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sympy as sp

from ...calculus.ir import Equation, FeatureSum, LogSumExp, Map, MatVec, MatVecT, Pick, Spread, extent_name, is_extent
from ...calculus.naming import Names
from ...language.sizes import Size
from ...program.imperative import Array, Compute, Place, Product, Scalars, Stage, VectorLoop
from ..expression import Expressions
from ..layout import INDENT, INSIDE, RUNTIME, size_source, wrapped

if TYPE_CHECKING:
    from .host import Code


@dataclass
class Kernel:
    """A kernel's source, and the arguments that its call must pass, in order: (name in the kernel, expression of the caller)."""

    name: str
    lines: list[str]
    arguments: list[tuple[str, str]]


class RowKernel:
    """A kernel that works row by row: over all rows of a region, or, for the time loop, step by step over the rows of a batch shard."""

    def __init__(self, code: Code, region: str) -> None:
        self.code, self.region = code, region
        self.program, self.rec = code.program, code.program.rec
        self.names = Names([*INSIDE, *RUNTIME])
        self.arguments: dict[str, tuple[str, str]] = {}
        self.constants: dict[str, str] = {}
        self.counts = False  # whether a size is used as a number
        self.sized: set[str] = set()
        self._sizes: dict[str, str] = {}
        self.indices: set[str] = set()

    def kernel(self, name: str, *stages: Stage) -> Kernel:
        self.local = {value: self.names.fresh(value) for value in self.used(stages)}
        body = self.loop_over_time(stages) if self.region == "loop" else self.loop_over_rows(stages[0])
        sizes = [(self.size_name(s), self.code.sizes(s)) for s in sorted(self.sized)]
        indices = [
            (k, f"call.rows.{k}") for k in ("row", "kept", "state", "ring", "ahead", "active", "inline", "sequence") if k in self.indices
        ]
        arguments = [*indices, *sizes, *self.arguments.values()]
        head = wrapped(f"def {name}(", [*(a for a, _ in arguments), "first", "last"], "):")
        constants = self.typed_constants()
        lines = [*head, *(INDENT + line for line in (*constants, *body))]
        return Kernel(name, lines, arguments)

    def used(self, stages: Iterable[Stage]) -> list[str]:
        """Return the batched values that the rows of `stages` compute or read: they keep their names."""
        names: dict[str, None] = {}
        for compute in (c for stage in stages for loop in stage.loops for c in loop.computes):
            names |= dict.fromkeys((compute.equation.name, *compute.equation.node.operands()))
        return [name for name in names if self.rec.types[name].batched]

    def typed_constants(self) -> list[str]:
        if not self.constants and not self.counts:
            return []
        array = next(
            local for key, (local, _) in self.arguments.items() if key.startswith("array:") and not self.program.arrays[key[6:]].integer
        )
        lines = [f"real = {array}.dtype.type  # constants of the kernel's dtype: one of another would widen float32"]
        return [*lines, *(f"{name} = real({value})" for name, value in sorted(self.constants.items(), key=lambda item: float(item[1])))]

    # Arguments

    def array(self, name: str) -> str:
        key = f"array:{name}"
        if key not in self.arguments:
            known = name.endswith(("_rows", "_state", "_states", "_kept"))
            host = self.code.host[name]
            if self.region != "loop" and self.program.arrays[name].extra:
                host = f"call.rows.before({host})"
            self.arguments[key] = (self.names.fresh(name if known else f"{name}_rows"), host)
        return self.arguments[key][0]

    def static(self, name: str) -> str:
        """Return the kernel's variable of a static vector or scalar."""
        key = f"static:{name}"
        if key not in self.arguments:
            host = self.code.host[name]
            self.arguments[key] = (self.names.fresh(name), host if self.rec.types[name].shape else f"np.atleast_1d({host})")
        return self.arguments[key][0]

    def packed(self, name: str, transposed: bool) -> str:
        key = f"packed:{name}:{transposed}"
        if key not in self.arguments:
            host = self.code.matrix(name, transposed)
            self.arguments[key] = (self.names.fresh(host), host)
        return self.arguments[key][0]

    def size_name(self, name: str) -> str:
        self.sized.add(name)
        if name not in self._sizes:
            self._sizes[name] = self.names.fresh(name)
        return self._sizes[name]

    def size(self, size: Size) -> str:
        return size_source(size, self.size_name)

    # Loops

    def loop_over_time(self, stages: Iterable[Stage]) -> list[str]:
        self.indices.add("active")
        direction = "range(active.size - 1, -1, -1)" if self.rec.reverse else "range(active.size)"
        lines = [f"for t in {direction}:", INDENT + "end = min(last, active[t])  # sequences that are still running"]
        if self.program.ahead:
            self.indices.add("inline")
            lines.append(INDENT + "if inline:  # else they are there for all steps")
            lines += [2 * INDENT + line for product in self.program.ahead for line in self.product(product)]
        for stage in stages:
            for product in stage.products:
                lines += [INDENT + line for line in self.product(product)]
            if stage.loops:
                lines.append(INDENT + "for seq in range(first, end):")
                lines += [2 * INDENT + line for line in self.row(stage)]
        return lines

    def loop_over_rows(self, stage: Stage) -> list[str]:
        return ["for at in range(first, last):", *(INDENT + line for line in self.row(stage))]

    def product(self, product: Product) -> list[str]:
        self.code.runtime.add("multiply")
        node = product.equation.node
        assert isinstance(node, MatVec | MatVecT)
        rows = [
            self.shard(place, self.program.shape(name)[0])
            for place, name in ((product.vector, node.vector), (product.out, product.equation.name))
        ]
        comment = self.code.note(product.equation)
        matrix = self.packed(product.matrix, product.transposed)
        return [*comment, f"multiply({rows[0]}, {matrix}, {rows[1]}, {product.accumulate})"]

    def shard(self, place: Place, width: Size) -> str:
        """Return the current step's rows of a place, for the batch shard of this call."""
        array = self.program.arrays[place.array]
        offset = self.offset(array, place.shift)
        columns = "" if place.start == Size() and width == array.width else f", {self.size(place.start)} : {self.size(place.start + width)}"
        return f"{self.array(array.name)}[{offset}first : {offset}end{columns}]"

    def offset(self, array: Array, shift: int) -> str:
        over_time = "state" if array.extra else "row" if array.space == "sequence" else "kept"
        index = {"sequence": over_time, "tape": over_time, "carry": "ring", "ahead": "ahead"}.get(array.space)
        if index is None:
            return ""
        self.indices.add(index)
        return f"{index}[t + {shift}] + " if shift else f"{index}[t] + "

    def row_index(self, array: Array, shift: int) -> str:
        if self.region != "loop":
            if array.space == "once" and self.region != "once":
                self.indices.add("sequence")
                return "sequence[at]"
            return "at"
        return f"{self.offset(array, shift)}seq"

    def row(self, stage: Stage) -> list[str]:
        """Return the statements for one row: views of the arrays, then the loops."""
        made = {c.equation.name for loop in stage.loops for c in loop.computes}
        views: list[str] = []
        body: list[str] = []
        self.viewed: dict[str, str] = {}
        self.fresh_views = views
        for position, loop in enumerate(stage.loops):
            self.current = {c.equation.name for c in loop.computes}
            self.made = made
            done = {c.equation.name for other in stage.loops[:position] for c in other.computes}
            self.scalars_done = {n for n in done | self.current if not self.rec.types[n].shape}
            body += self.vector_loop(loop) if isinstance(loop, VectorLoop) else self.scalars(loop)
        return [*views, *body]

    def view(self, name: str, place: Place, suffix: str = "") -> str:
        """Return the variable of a row's view of a place, adding its statement once."""
        key = f"{name}@{place}"
        if key not in self.viewed:
            array, shape = self.program.arrays[place.array], self.rec.types[name].shape
            index = self.row_index(array, place.shift)
            variable = self.local[name] if not suffix else self.names.fresh(f"{name}{suffix}")
            if not shape or (place.start == Size() and shape[0] == array.width):
                source = f"{self.array(array.name)}[{index}]"
            else:
                source = f"{self.array(array.name)}[{index}, {self.size(place.start)} : {self.size(place.start + shape[0])}]"
            self.fresh_views.append(f"{variable} = {source}")
            self.viewed[key] = variable
        return self.viewed[key]

    def read(self, name: str, *, element: bool) -> str:
        """Return the source of a value in the current loop; of one element, or of the whole row."""
        kind = self.rec.types[name]
        if not kind.batched:
            static = self.static(name)
            return static if not element else f"{static}[j]" if kind.shape else f"{static}[0]"
        if (name in self.current and element) or name in self.scalars_done:
            return self.local[name]
        place = self.program.places[name]
        view = self.view(name, place, "_row" if name in self.made or not kind.shape else "")
        if not kind.shape:
            return f"{view}[0]"
        return f"{view}[j]" if element else view

    def source(self, expr: sp.Expr) -> str:
        def atom(symbol: sp.Symbol) -> str:
            if is_extent(symbol):
                return f"real({self.size_name(extent_name(symbol))})"
            return self.read(symbol.name, element=True)

        if any(is_extent(s) for s in expr.free_symbols):
            self.counts = True
        printer = Expressions(atom)
        text = printer.source(expr)
        self.code.functions |= printer.functions
        self.constants |= printer.constants
        return text

    def value(self, compute: Compute) -> str:
        """Return the source of an equation's value in the current loop."""
        match compute.equation.node:
            case Map(expr=expr):
                return self.source(expr)
            case Spread(value=v, index=k):
                self.code.functions.add("where")
                self.constants["zero"] = "0.0"
                return f"where(j == {self.read(k, element=True)}, {self.read(v, element=True)}, zero)"
            case FeatureSum(value=v):
                self.code.runtime.add("feature_sum")
                return f"feature_sum({self.read(v, element=False)})"
            case LogSumExp(value=v):
                self.code.runtime.add("log_sum_exp")
                return f"log_sum_exp({self.read(v, element=False)})"
            case Pick(value=v, index=k):
                return f"{self.read(v, element=False)}[{self.read(k, element=True)}]"
        raise TypeError(f"{type(compute.equation.node).__name__} has no code a row")

    def vector_loop(self, loop: VectorLoop) -> list[str]:
        before, body, after = [], [], []
        for compute in loop.computes:
            if isinstance(compute.equation.node, FeatureSum):
                before.append(f"{self.local[compute.equation.name]} = zero")
                body += self.added(compute.equation)
                after += self.stored(compute, "[0]")
            else:
                body += self.compute(compute, "[j]")
        return [*before, f"for j in range({self.size(loop.size)}):", *(INDENT + line for line in body), *after]

    def added(self, eq: Equation) -> list[str]:
        """Return the statements that add a term to a sum over features."""
        assert isinstance(eq.node, FeatureSum)
        self.constants["zero"] = "0.0"
        self.code.runtime.add("added")
        name = self.local[eq.name]
        return [*self.code.say(eq), f"{name} = added({name}, {self.read(eq.node.value, element=True)})"]

    def scalars(self, loop: Scalars) -> list[str]:
        return [line for compute in loop.computes for line in self.compute(compute, "[0]")]

    def compute(self, compute: Compute, index: str) -> list[str]:
        eq = compute.equation
        value = self.value(compute)
        return [*self.code.say(eq), f"{self.local[eq.name]} = {value}", *self.stored(compute, index)]

    def stored(self, compute: Compute, index: str) -> list[str]:
        """Return the statements that store a value to its places."""
        name = compute.equation.name
        return [f"{self.view(name, place, '_row')}{index} = {self.local[name]}" for place in compute.stores]
