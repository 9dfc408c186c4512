"""The host's statements on the CPU: Numba kernels over rows, and products with packed matrices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ...calculus.ir import Equation, Outer, Total
from ...language.sizes import Size
from ...program.imperative import Array, Product, Stage
from ..host import HostCode
from ..kernel import Kernel
from ..source import Source, Tree, assign, block, code, do, listed, name, spelt, tuple_of
from .kernel import RowKernel

COUNTS = {
    "sequence": name("count"),
    "tape": Source("call.rows.kept_count"),
    "ahead": Source("call.rows.ahead_count"),
    "once": Source("call.batch"),
    "scratch": Source("call.batch"),
}  # of the rows of an array


@dataclass
class Code(HostCode):
    """One recurrence's code for the CPU; `panels` are the variables of packed matrices, by matrix and whether it is transposed."""

    panels: dict[tuple[str, bool], str] = field(default_factory=dict)

    @property
    def count(self) -> Source:
        return COUNTS["sequence"]

    def allocated(self, array: Array) -> Source:
        return code("empty(({}, {}), call.dtype)", COUNTS[array.space], self.size(array.width), uses=("empty",))

    def before(self, rows: Source) -> Source:
        return code("call.rows.before({})", rows)

    def over_time(self, rows: Source) -> Source:
        return code("call.rows.over_time({})", rows)

    def spread(self, static: Source, size: Size) -> Source:
        return code("np.broadcast_to({}, ({}, {}))", static, self.count, self.size(size), uses=("np",))

    def stacked(self, parts: Iterable[Source]) -> Source:
        return code("stacked({})", listed(parts), uses=("stacked",))

    def by_sequence(self, rows: Source) -> Source:
        return code("call.rows.total({})", rows)

    # Products

    def matrix(self, value: str, transposed: bool) -> Source:
        """Return the host's variable of a matrix's panels for products, ``v @ M.T`` or, transposed, ``v @ M``."""
        key = (value, transposed)
        if key not in self.panels:
            self.panels[key] = self.names.fresh(f"{value}{'_t' if transposed else ''}_panels")
            packed = code("panels({}{})", self.source(value), "" if transposed else ".T", uses=("panels",))
            self.weights.append(assign(self.panels[key], packed))
        return name(self.panels[key])

    def multiplied(self, product: Product, vector: Source, out: Source) -> list[Tree]:
        matrix = self.matrix(product.matrix, product.transposed)
        made = code("multiply_rows({}, {}, {}, {})", vector, matrix, out, product.accumulate, uses=("multiply_rows",))
        lines: list[Tree] = [*self.note(product.equation), do(made)]
        ahead = self.program.arrays[product.out.array].space == "ahead"
        return [block(Source("if not call.rows.inline:"), lines)] if ahead else lines

    # Kernels

    def run_stage(self, region: str, number: int, stage: Stage, count: Source) -> list[Tree]:
        kernel = RowKernel(self, region).kernel(self.names.fresh(f"{self.prefix}_{region}{number or ''}"), stage)
        return self.called(kernel, count, (), ())

    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        if any(s.loops or s.products for s in stages):
            kernel = RowKernel(self, "loop").kernel(self.names.fresh(f"{self.prefix}_steps"), *stages)
            products = (product for stage in stages for product in stage.products)
            self.statements += self.called(kernel, Source("call.batch"), products, self.program.ahead)

    def called(self, kernel: Kernel, count: Source, products: Iterable[Product], ahead: Iterable[Product]) -> list[Tree]:
        """Add a kernel, which makes `products` at each step and those `ahead` perhaps, and return its call."""
        self.kernels.append(kernel)
        always, perhaps = (dict.fromkeys(self.matrix(p.matrix, p.transposed) for p in made) for made in (products, ahead))
        read = tuple_of(always)
        if perhaps:
            read = code("{} if call.rows.inline else {}", tuple_of(perhaps | always), read)
        return [spelt(code("run_rows(", uses=("run_rows",)), [kernel.name, count, read, *(host for _, host in kernel.arguments)], ")")]

    # Sums

    def sums(self, left: Source, equations: list[Equation]) -> None:
        made: dict[Source | None, str] = {}  # by the right operand; a second sum of the same is a copy, an array of its own
        copies: list[Tree] = []
        for eq in equations:
            right = self.operand(eq.node.right) if isinstance(eq.node, Outer) else None
            self.statements += self.note(eq)
            variable = self.variable(eq.name)
            copies += [assign(variable, code("{}.copy()", name(made[right])))] if right in made else []
            made.setdefault(right, variable)
        total = made.pop(None, "")
        given = [left, *(right for right in made if right is not None), *([Source("total=True")] if total else [])]
        targets = [*made.values(), *([total] if total else [])]
        self.statements += [assign(targets, code("sums({})", listed(given), uses=("sums",))), *copies]
        for eq in equations:
            if isinstance(eq.node, Total) and not self.rec.types[eq.name].shape:
                self.given[eq.name] = code("{}.reshape(())", self.given[eq.name])
