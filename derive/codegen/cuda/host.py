"""The host's statements of a pass on the device: arrays, products by cuBLAS, and launches of kernels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from ...calculus.ir import Concat, Equation, FeatureSum, LogSumExp, MatVec, MatVecT, Outer, Slice, Total, Transpose
from ...language.sizes import Size
from ...program.imperative import Place, Product, Program, Stage, VectorLoop
from ..cpu import host as cpu
from ..layout import INDENT, wrapped
from .equations import Equations, equations
from .loop import Table, residable
from .resident import ResidentKernel
from .stages import StageKernel

COUNTS = {"sequence": "call.count", "tape": "call.kept_count", "ahead": "call.count", "once": "call.batch", "scratch": "call.batch"}
STEP = {"sequence": "row", "ahead": "row", "tape": "kept", "carry": "ring"}  # how the rows of step t are found


@dataclass
class Code(cpu.Code):
    """One recurrence's code for the device.

    Attributes
    ----------
    outputs : set of str
        Arrays that are handed out, or kept for another pass.
    static_kept : set of str
        Static values in the dtype of storage: parameters, and matrices that products read.
    """

    outputs: frozenset[str] = frozenset()
    static_kept: set[str] = field(default_factory=set)
    factories: list[list[str]] = field(default_factory=list)
    fused: dict[int, Equations] = field(default_factory=dict)
    table: Table | None = None
    stored: frozenset[str] = frozenset()
    in_prologue: bool = True
    moved: bool = False

    xp: ClassVar[str] = "xp"

    def run(self) -> None:
        self.stored = stored_arrays(self.program, {name for name in self.host if name in self.program.arrays}, self.outputs)
        program = self.program
        for eq in self.rec.prologue:
            self.static(eq, self.weights)
        self.in_prologue = False
        self.allocate()
        self.rows("once", program.once, "call.batch")
        self.rows("before", program.before, "call.count")
        self.time_loop(program.loop)
        self.rows("after", program.after, "call.count")
        self.totals()
        for eq in self.rec.epilogue:
            self.static(eq, self.statements)

    # Static values

    def static(self, eq: Equation, statements: list[str]) -> None:
        matrix = self.in_prologue and len(self.rec.types[eq.name].shape) == 2
        self.moved = matrix and isinstance(eq.node, Concat | Slice | Transpose)  # no arithmetic: as it is stored
        super().static(eq, statements)
        if matrix:
            self.static_kept.add(eq.name)
            if not self.moved:
                name, _, value = statements.pop().partition(" = ")
                statements.append(f"{name} = call.stored({value})")

    def number(self, name: str) -> str:
        return f"call.real({self.host[name]})" if name in self.static_kept and not self.moved else self.host[name]

    def stacked(self, parts: tuple[str, ...]) -> str:
        return f"call.stacked({', '.join(self.number(p) for p in parts)})"

    def static_stored(self, name: str) -> bool:
        """Say whether a static value is in the dtype of storage."""
        return name in self.static_kept

    def equations(self, loop: VectorLoop) -> Equations:
        """Return the function of a loop's equations, made once."""
        if id(loop) not in self.fused:
            made = equations(self.names.fresh(f"{self.prefix}{len(self.fused) or ''}_equations"), loop, self.say, self.program.places)
            self.fused[id(loop)] = made
            self.factories.append(made.lines)
        return self.fused[id(loop)]

    # Arrays

    def allocate(self) -> None:
        written = self.program.written_arrays()
        for array in self.program.arrays.values():
            if array.name in self.host:
                continue
            assert array.name in written, f"{self.rec.name}: nothing writes the array {array.name}"
            kind = "stored" if array.name in self.stored else "real"
            count = COUNTS[array.space]
            if array.space == "scratch" and array.name in self.stored:
                count = "2 * call.batch"  # members of a group may be a step apart
            made = f"call.{kind}_rows({count}, {self.size(array.width)})"
            self.statements.append(f"{self.variable(array.name)} = {made}")

    def view(self, place: Place, width: Size) -> str:
        array = self.program.arrays[place.array]
        rows = f"call.before({self.host[place.array]})" if array.extra else self.host[place.array]
        return self.columns_of(rows, place, width)

    def columns_of(self, rows: str, place: Place, width: Size) -> str:
        if place.start == Size() and width == self.program.arrays[place.array].width:
            return rows
        return f"{rows}[:, {self.size(place.start)} : {self.size(place.start + width)}]"

    def at_step(self, place: Place, width: Size) -> str:
        """Return the rows of a place at step t."""
        array = self.program.arrays[place.array]
        rows = self.host[place.array]
        if array.space in STEP:
            rows = f"call.{STEP[array.space]}({rows}, t{f' + {place.shift}' if place.shift else ''})"
        elif array.space == "scratch" and array.name in self.stored:
            rows = f"{rows}[: call.batch]"  # the rest is for members of a group
        return self.columns_of(rows, place, width)

    # Work

    def multiplied(self, product: Product, vector: str, out: str) -> list[str]:
        add = ", add=True" if product.accumulate else ""
        matrix = f"{self.host[product.matrix]}{'' if product.transposed else '.T'}"
        return [*self.note(product.equation), f"call.multiply({vector}, {matrix}, {out}{add})"]

    def rows(self, region: str, stages: tuple[Stage, ...], count: str) -> None:
        for k, stage in enumerate(stages):
            for product in stage.products:
                vector, out = self.columns(product.vector, product.equation, 1), self.columns(product.out, product.equation, 0)
                if region != "once" and self.program.arrays[product.vector.array].space == "once":
                    vector = f"call.over_time({vector})"
                self.statements += self.multiplied(product, vector, out)
            if stage.loops:
                self.statements += self.launched(region, k, stage, count)

    def launched(self, region: str, number: int, stage: Stage, count: str) -> list[str]:
        """Make a stage's kernel, and return the statement that runs it."""
        printer = StageKernel(self, region)
        kernel = printer.kernel(self.names.fresh(f"{self.prefix}_{region}{number or ''}"), stage)
        self.factories.append(kernel.lines)
        whole = printer.whole(stage)
        features = f"features={self.size(self.widest(stage))}{', whole=True' if whole else ''}"
        return wrapped(f"call.run(make_{kernel.name}, {count}, {features}, given=(", [host for _, host in kernel.arguments], "))")

    def widest(self, stage: Stage) -> Size:
        """Return the largest size that a stage's loops go through, by its number of terms where that is not known."""
        vectors = [loop.size for loop in stage.loops if isinstance(loop, VectorLoop)]
        read = (c.equation.node for loop in stage.loops for c in loop.computes)
        vectors += [self.program.shape(node.value)[0] for node in read if isinstance(node, FeatureSum | LogSumExp)]
        return max(vectors, key=lambda size: (sum(k for _, k in size.terms), size.constant, str(size)), default=Size((), 1))

    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        if not any(s.loops or s.products for s in stages):
            return
        lines: list[str] = []
        for k, stage in enumerate(stages):
            for product in stage.products:
                node = product.equation.node
                assert isinstance(node, MatVec | MatVecT)
                vector = self.at_step(product.vector, self.program.shape(node.vector)[0])
                out = self.at_step(product.out, self.program.shape(product.equation.name)[0])
                lines += self.multiplied(product, vector, out)
            if stage.loops:
                lines += self.launched("loop", k, stage, "call.batch")
        steps = "reversed(range(call.steps))" if self.rec.reverse else "range(call.steps)"
        stepwise = [f"for t in {steps}:", *(INDENT + line for line in lines)]
        self.statements += self.resident(stepwise) if residable(self.program) else stepwise

    def resident(self, stepwise: list[str]) -> list[str]:
        """Make the kernel of the whole loop, and return the statements that run it, or the steps one by one if it does not fit."""
        printer = ResidentKernel(self)
        kernel = printer.kernel(self.names.fresh(f"{self.prefix}_resident"))
        self.factories.append(kernel.lines)
        self.table = printer.table
        run = wrapped(f"call.stay(plan, make_{kernel.name}, given=(", [host for _, host in kernel.arguments], "))")
        return [
            f"if plan := call.plan({self.prefix.upper()}_STEPS):",
            *(INDENT + line for line in run),
            "else:",
            *(INDENT + line for line in stepwise),
        ]

    # Sums

    def total_by_sequence(self, eq: Equation, node: Total) -> None:
        kind = self.rec.types[eq.name]
        shaped = ".reshape(call.batch)" if not kind.shape else ""
        value = f"call.total_by_sequence({self.operand(node.value)}){shaped}"
        self.statements += [*self.note(eq), f"{self.variable(eq.name)} = {value}"]

    def sums(self, left: str, equations: list[Equation]) -> None:
        for eq in equations:
            if isinstance(eq.node, Outer):
                value = f"call.outer({left}, {self.operand(eq.node.right)})"
            else:
                shaped = "" if self.rec.types[eq.name].shape else ".reshape(())"
                value = f"call.total({left}){shaped}"
            self.statements += [*self.note(eq), f"{self.variable(eq.name)} = {value}"]

    def operand(self, name: str) -> str:
        shape = self.rec.types[name].shape
        if name not in self.program.places:
            return f"call.spread({self.host[name]})"
        place = self.program.places[name]
        if self.program.arrays[place.array].space == "once":
            return f"call.over_time({self.view(place, shape[0])})"
        return self.view(place, shape[0] if shape else Size((), 1))


def stored_arrays(program: Program, given: set[str], outputs: frozenset[str]) -> frozenset[str]:
    """Return the arrays in the dtype of storage: what is given, handed out or kept, and what products, those of sums too, read.

    The others, results of products and values of one step, have the dtype that is computed with.
    """
    stages = (*program.once, *program.before, *program.loop, *program.after)
    operands = {product.vector.array for stage in stages for product in stage.products}
    summed = {o for eq in program.rec.accumulators if isinstance(eq.node, Outer) for o in eq.node.operands()}
    operands |= {program.places[name].array for name in summed if name in program.places}
    wide = {name for name, array in program.arrays.items() if array.space == "carry" or array.integer}
    return frozenset((given | outputs) - wide | {name for name in operands if not program.arrays[name].integer})


__all__ = ["Code", "stored_arrays"]
