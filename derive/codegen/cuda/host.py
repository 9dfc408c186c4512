"""The host's statements of a pass on a CUDA device: arrays, products by cuBLAS, and launches of kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import sympy as sp

from ...calculus.ir import Concat, Equation, FeatureSum, LogSumExp, Map, MatVec, MatVecT, Outer, Slice, Transpose
from ...calculus.symbols import EYE, extent_name, is_extent
from ...language.sizes import Size
from ...program.imperative import Array, Place, Product, Program, Stage, VectorLoop
from ..expression import Expressions
from ..host import ONE, HostCode
from ..source import PRODUCT, SUM, Block, Source, Tree, assign, attribute, block, code, do, listed, name, spelt
from .equations import Equations, equations
from .resident.kernel import resident_kernel
from .resident.loop import residable
from .resident.table import Table
from .stages import stage_kernel, whole_rows

COUNTS = {
    **{"sequence": Source("call.count"), "tape": Source("call.kept_count"), "ahead": Source("call.count")},
    **{"once": Source("call.batch"), "scratch": Source("call.batch")},
}
STEP = {"sequence": "row", "ahead": "row", "tape": "kept", "carry": "ring"}  # how the rows of step t are found


@dataclass
class Code(HostCode):
    """One recurrence's code for the device.

    Attributes
    ----------
    outputs : set of str
        Arrays that are handed out, or kept for another pass.
    static_kept : set of str
        Static values in the dtype of storage: parameters, and matrices that products read.
    factories : list of Block
        The functions that make kernels.
    table : Table, optional
        What the time loop is planned from.
    stored : set of str
        The arrays in the dtype of storage.
    """

    outputs: frozenset[str] = frozenset()
    static_kept: set[str] = field(default_factory=set)
    factories: list[Block] = field(default_factory=list)
    fused: dict[VectorLoop, Equations] = field(default_factory=dict)
    table: Table | None = None
    stored: frozenset[str] = frozenset()

    xp: ClassVar[str] = "xp"  # the module of the host's arrays

    def run(self) -> None:
        self.stored = stored_arrays(self.program, {value for value in self.given if value in self.program.arrays}, self.outputs)
        super().run()

    @property
    def count(self) -> Source:
        return COUNTS["sequence"]

    # Static values

    def static(self, eq: Equation, statements: list[Tree]) -> None:
        value = self.static_value(eq)
        statements += [*self.say(eq), assign(self.variable(eq.name), value)]

    def static_value(self, eq: Equation) -> Source:
        """Return the host's expression of a static equation."""
        if not self.is_stored_matrix(eq):
            return self.static_of(eq, self.number)
        self.static_kept.add(eq.name)
        moved = isinstance(eq.node, Concat | Slice | Transpose)  # no arithmetic: as it is stored
        return self.static_of(eq, self.source) if moved else code("call.stored({})", self.static_of(eq, self.number))

    def static_of(self, eq: Equation, of: Callable[[str], Source]) -> Source:
        """Return the host's expression of a static equation; `of` gives that of an operand."""
        size = self.size
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

    def is_stored_matrix(self, eq: Equation) -> bool:
        """Say whether a static equation makes a matrix that products read: one of the prologue."""
        return len(self.rec.types[eq.name].shape) == 2 and eq in self.rec.prologue

    def number(self, value: str) -> Source:
        return code("call.real({})", self.source(value)) if value in self.static_kept else self.source(value)

    def stacked(self, parts: Iterable[Source]) -> Source:
        return code("call.stacked({})", listed(parts))

    def static_stored(self, value: str) -> bool:
        """Say whether a static value is in the dtype of storage."""
        return value in self.static_kept

    def equations(self, loop: VectorLoop) -> Equations:
        """Return the function of a loop's equations, made once."""
        if loop not in self.fused:
            called = self.names.fresh(f"{self.prefix}{len(self.fused) or ''}_equations")
            self.fused[loop] = equations(called, loop, self.say, self.program.places)
            self.factories.append(self.fused[loop].code)
        return self.fused[loop]

    # Arrays

    def allocated(self, array: Array) -> Source:
        kind, count = "stored" if array.name in self.stored else "real", COUNTS[array.space]
        if array.space == "scratch" and array.name in self.stored:
            count = Source("2 * call.batch")  # members of a group may be a step apart
        return code("call.{}_rows({}, {})", kind, count, self.size(array.width))

    def before(self, array: Array) -> Source:
        return code("call.before({})", self.source(array.name))

    def over_time(self, rows: Source, width: Size) -> Source:
        return code("call.over_time({})", rows)

    def spread(self, static: Source, size: Size) -> Source:
        return code("call.spread({})", static)

    def at_step(self, place: Place, width: Size) -> Source:
        """Return the rows of a place at step t."""
        array, rows = self.program.arrays[place.array], self.source(place.array)
        if array.space in STEP:
            shift = f" + {place.shift}" if place.shift else ""
            rows = code("call.{}({}, t{})", STEP[array.space], rows, shift, uses=("t",))
        elif array.space == "scratch" and array.name in self.stored:
            rows = code("{}[: call.batch]", rows)  # the rest is for members of a group
        return self.columns(rows, place, width)

    # Work

    def multiplied(self, product: Product, vector: Source, out: Source) -> list[Tree]:
        matrix = code("{}{}", self.source(product.matrix), "" if product.transposed else ".T")
        made = code("call.multiply({}, {}, {}{})", vector, matrix, out, ", add=True" if product.accumulate else "")
        return [*self.note(product.equation), do(made)]

    def run_stage(self, region: str, number: int, stage: Stage, count: Source) -> list[Tree]:
        kernel = stage_kernel(self, region, self.names.fresh(f"{self.prefix}_{region}{number or ''}"), stage)
        self.factories.append(kernel.code)
        features = code("features={}{}", self.size(self.widest(stage)), ", whole=True" if whole_rows(self.program, stage) else "")
        head = code("call.run({}, {}, {}, given=(", name(f"make_{kernel.name}"), count, features)
        return [spelt(head, [host for _, host in kernel.arguments], "))")]

    def widest(self, stage: Stage) -> Size:
        """Return the largest size that a stage's loops go through, by its number of terms where that is not known."""
        vectors = [loop.size for loop in stage.loops if isinstance(loop, VectorLoop)]
        nodes = (c.equation.node for loop in stage.loops for c in loop.computes)
        vectors += [self.program.shape(node.value)[0] for node in nodes if isinstance(node, FeatureSum | LogSumExp)]
        return max(vectors, key=lambda size: (sum(k for _, k in size.terms), size.constant, str(size)), default=ONE)

    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        if not any(s.loops or s.products for s in stages):
            return
        lines: list[Tree] = []
        for number, stage in enumerate(stages):
            for product in stage.products:
                node = product.equation.node
                assert isinstance(node, MatVec | MatVecT)
                vector = self.at_step(product.vector, self.program.shape(node.vector)[0])
                lines += self.multiplied(product, vector, self.at_step(product.out, self.program.shape(product.equation.name)[0]))
            lines += self.run_stage("loop", number, stage, Source("call.batch")) if stage.loops else []
        steps = "reversed(range(call.steps))" if self.rec.reverse else "range(call.steps)"
        stepwise = block(code("for t in {}:", steps), lines, defines=("t",))
        self.statements += self.resident(stepwise) if residable(self.program) else [stepwise]

    def resident(self, stepwise: Block) -> list[Tree]:
        """Make the kernel of the whole loop, and return the statements that run it, or the steps one by one if it does not fit."""
        kernel, self.table = resident_kernel(self, self.names.fresh(f"{self.prefix}_resident"))
        self.factories.append(kernel.code)
        head = code("call.stay(plan, {}, given=(", name(f"make_{kernel.name}"), uses=("plan",))
        run = spelt(head, [host for _, host in kernel.arguments], "))")
        planned = code("if plan := call.plan({}_STEPS):", self.prefix.upper())
        return [block(planned, [run], defines=("plan",)), block(Source("else:"), [stepwise])]

    # Sums

    def summed_by_sequence(self, eq: Equation, rows: Source, *, by_head: bool) -> None:
        value = code("call.total_by_sequence({}){}", rows, "" if self.rec.types[eq.name].shape else ".reshape(call.batch)")
        self.statements += [*self.note(eq), assign(self.variable(eq.name), value)]

    def sums(self, left: Source, equations: list[Equation], *, by_head: bool) -> None:
        for eq in equations:
            if isinstance(eq.node, Outer):
                value = code("call.outer({}, {})", left, self.operand(eq.node.right))
            else:
                value = code("call.total({}){}", left, "" if self.rec.types[eq.name].shape else ".reshape(())")
            self.statements += [*self.note(eq), assign(self.variable(eq.name), value)]


def stored_arrays(program: Program, given: set[str], outputs: frozenset[str]) -> frozenset[str]:
    """Return the arrays in the dtype of storage: what is given, handed out or kept, and what products, those of sums too, read.

    The others, results of products and values of one step, have the dtype that is computed with.
    """
    stages = (*program.once, *program.before, *program.loop, *program.after)
    operands = {product.vector.array for stage in stages for product in stage.products}
    summed = {o for eq in program.rec.accumulators if isinstance(eq.node, Outer) for o in eq.node.operands()}
    operands |= {program.places[value].array for value in summed if value in program.places}
    wide = {array.name for array in program.arrays.values() if array.space == "carry" or array.integer}
    return frozenset((given | outputs) - wide | {value for value in operands if not program.arrays[value].integer})
