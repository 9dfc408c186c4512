"""The host's statements of a pass on a CUDA device: arrays, products by cuBLAS, and launches of kernels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from ...calculus.ir import Along, Equation, MatVec, MatVecT, Outer, Repeat
from ...language.sizes import Shape, Size
from ...program.imperative import Array, Place, Product, Program, Stage, VectorLoop
from ..host import HostCode
from ..kernel import Kernel
from ..signature import PARAMS
from ..source import PRODUCT, Block, Source, Tree, assign, block, code, do, listed, name, spelt, store, tuple_of
from .apart import Apart, apart, apart_kernel, described
from .equations import Equations, equations
from .heads import heads_apart
from .resident.kernel import resident_kernel
from .resident.loop import residable
from .resident.table import Table
from .stages import matrix_shapes, stage_kernel, whole_rows, widest
from .static import Statics

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
        What the time loop is planned from, where weights are to stay near.
    apart : Apart, optional
        What it goes through, where its rows need nothing of each other.
    stored : set of str
        The arrays in the dtype of storage.
    """

    outputs: frozenset[str] = frozenset()
    static_kept: set[str] = field(default_factory=set)
    factories: list[Block] = field(default_factory=list)
    fused: dict[VectorLoop, Equations] = field(default_factory=dict)
    table: Table | None = None
    apart: Apart | None = None
    stored: frozenset[str] = frozenset()

    def run(self) -> None:
        self.stored = stored_arrays(self.program, {value for value in self.given if value in self.program.arrays}, self.outputs)
        super().run()

    @property
    def count(self) -> Source:
        return COUNTS["sequence"]

    # Static values

    def static(self, eq: Equation, statements: list[Tree]) -> None:
        if isinstance(eq.node, Along | Repeat):  # what reads it reads what it shows
            return
        value = self.statics.value(eq, self.is_stored_matrix(eq))
        if self.statics.keeps(eq, self.is_stored_matrix(eq)):
            self.static_kept.add(eq.name)
        statements += [*self.say(eq), assign(self.variable(eq.name), value)]

    @cached_property
    def statics(self) -> Statics:
        return Statics(self)

    def is_stored_matrix(self, eq: Equation) -> bool:
        """Say whether a static equation makes a matrix that products read: one of the prologue."""
        return len(self.rec.types[eq.name].shape) == 2 and eq in self.rec.prologue

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
        return code("call.{}_rows({}, {})", kind, self.rows_asked(count, array.name), self.size(array.width))

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
        matrix = self.source(product.matrix)
        if self.rec.types[product.matrix].headed:
            matrix = code("{}[head]", matrix, uses=("head",))
        turned = "" if product.transposed else ".T"
        made = code("call.multiply({}, {}{}, {}{})", vector, matrix, turned, out, ", add=True" if product.accumulate else "")
        return [*self.note(product.equation), *self.over_heads(product.out.stride is not None, [do(made)])]

    def run_stage(self, region: str, number: int, stage: Stage, count: Source) -> list[Tree]:
        kernel = stage_kernel(self, region, self.names.fresh(f"{self.prefix}_{region}{number or ''}"), stage)
        self.factories.append(kernel.code)
        how = [code("features={}", self.size(widest(self.program, stage.loops)))]
        how += [Source("whole=True")] if whole_rows(self.program, stage) else []
        shapes = matrix_shapes(stage.loops)
        how += [code("matrices={}", self.shapes(shapes))] if shapes else []
        count = self.for_heads(count) if heads_apart(self.program, stage.loops) else count
        head = code("call.run({}, {}, {}, given=(", name(f"make_{kernel.name}"), count, listed(how))
        return [self.launched(head, kernel)]

    def launched(self, head: Source, kernel: Kernel) -> Tree:
        return spelt(head, [host for _, host in kernel.arguments], "))")

    def shapes(self, shapes: Iterable[Shape]) -> Source:
        """Return the rows and columns of matrices."""
        return tuple_of(code("({}, {})", *map(self.size, shape)) for shape in shapes)

    def for_heads(self, count: Source) -> Source:
        """Return a number of rows times that of heads."""
        return code("{} * {}", count, self.size_of(self.rec.heads), binding=PRODUCT)

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
        if apart(self.program):
            self.statements += self.rows_apart(stepwise)
        else:
            self.statements += self.resident(stepwise) if residable(self.program) else [stepwise]

    def rows_apart(self, stepwise: Block) -> list[Tree]:
        """Make the kernel of a loop whose rows need nothing of each other, and return the statements that run it.

        Where the matrices that it keeps do not fit into shared memory, the steps are run one by one.
        """
        kernel = apart_kernel(self, self.names.fresh(f"{self.prefix}_apart"))
        self.factories.append(kernel.code)
        of = self.apart = described(self.program)
        given = (self.size(of.features), self.shapes(of.matrices), self.shapes(of.kept.values()))
        planned = code("call.tiling({}, {}, {})", *given)
        count = self.for_heads(Source("call.batch")) if of.heads else Source("call.batch")
        head = code("call.run_apart({}, {}, plan, given=(", name(f"make_{kernel.name}"), count, uses=("plan",))
        test = block(code("if plan := {}:", planned), [self.launched(head, kernel)], defines=("plan",))
        return [test, block(Source("else:"), [stepwise])]

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
        batch, axes = Source("call.batch"), self.statics.axes(eq.name)
        made = code("call.total_by_sequence({})", rows)
        if not by_head:
            self.statements += [*self.note(eq), assign(self.variable(eq.name), self.shaped(made, [batch, *axes], len(axes)))]
            return
        empty = code("xp.empty({}, call.stored_dtype)", tuple_of([batch, *axes]), uses=("xp",))
        self.statements += [*self.note(eq), assign(self.variable(eq.name), empty)]
        target = code("{}[:, head]", self.source(eq.name), uses=("head",))
        self.statements += self.over_heads(True, [store(target, self.shaped(made, [batch, *axes[1:]], len(axes) - 1))])

    @staticmethod
    def shaped(made: Source, axes: list[Source], shown: int) -> Source:
        """Return a vector, or rows of vectors, with their own axes, of which so many are `shown`: one axis is as it is."""
        if shown == 1:
            return made
        return code("{}.reshape({})", made, listed(axes) if axes else Source("()"))

    def sums(self, left: Source, equations: list[Equation], *, by_head: bool) -> None:
        for eq in equations:
            axes, headed = self.statics.axes(eq.name), self.rec.types[eq.name].headed
            own = axes[1:] if by_head and headed else axes
            if isinstance(eq.node, Outer):
                value = code("call.outer({}, {})", left, self.operand(eq.node.right, by_head=by_head))
            else:
                value = self.shaped(code("call.total({})", left), own, len(own))
            made = self.sum_by_head(eq, value, axes) if by_head else [assign(self.variable(eq.name), value)]
            self.statements += self.if_asked(PARAMS, [*self.note(eq), *made])

    def sum_by_head(self, eq: Equation, value: Source, axes: list[Source]) -> list[Tree]:
        """Return the statements that make a sum for one head after the other: each its own, or all one."""
        headed = self.rec.types[eq.name].headed
        made = code("xp.{}({}, call.real_dtype)", "empty" if headed else "zeros", tuple_of(axes), uses=("xp",))
        begun, target = assign(self.variable(eq.name), made), self.source(eq.name)
        of_head = store(code("{}[head]", target, uses=("head",)), value)
        return [begun, *self.over_heads(True, [of_head if headed else assign(target.text, code("{} + {}", target, value))])]


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
