"""Kernels for the CPU: the loops of a program, row by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ...calculus.ir import Equation, MatVec, MatVecT
from ...calculus.naming import Names
from ...language.sizes import Size
from ...program.imperative import Array, Place, Product, Program, Stage
from ..host import place_of_head
from ..kernel import Kernel
from ..layout import INSIDE, RUNTIME, rows_name
from ..sizes import size_source
from ..source import Comment, Source, Statement, Tree, assign, block, code, listed, name, needed, spelt
from .row import StageRow

BY_STEP = ("row", "kept", "state", "ring", "ahead", "piece")  # where the rows of a step begin
INDICES = (*BY_STEP, "active", "inline", "gathered", "sequence")


class Host(Protocol):
    """What a kernel asks of the code that calls it."""

    @property
    def program(self) -> Program: ...

    def source(self, value: str) -> Source:
        """Return the caller's expression of an array, or of a static value."""

    def before(self, array: Array) -> Source:
        """Return the caller's expression of a state's values before each step."""

    def size_of(self, named: str) -> Source:
        """Return the caller's expression of a named size."""

    def always(self, array: str) -> bool:
        """Say whether an array is never nothing."""

    def matrix(self, value: str, transposed: bool) -> Source:
        """Return the caller's variable of a matrix's panels."""

    def say(self, eq: Equation) -> list[Comment]:
        """Return the comment of a shown equation."""

    def note(self, eq: Equation) -> list[Comment]:
        """Return a comment for any equation."""


def real_of(always: Sequence[str], perhaps: Sequence[str]) -> Source | None:
    """Return what makes constants of the dtype of arrays: of one that is never nothing, else of the first that is something."""
    if always:
        return code("{}.dtype.type", name(always[0]))
    return code("real_of({})", listed(map(name, perhaps)), uses=("real_of",)) if perhaps else None


class RowKernel:
    """A kernel that works row by row: over all rows of a region, or, for the time loop, step by step over the rows of a batch shard."""

    def __init__(self, host: Host, region: str) -> None:
        self.host, self.region = host, region
        self.program, self.rec = host.program, host.program.rec
        self.names = Names([*INSIDE, *RUNTIME])
        self.arguments: dict[tuple[str, ...], tuple[str, Source]] = {}
        self.constants: dict[str, str] = {}
        self.sizes: dict[str, str] = {}
        self.local: dict[str, str] = {}
        self.indices: set[str] = set()

    def kernel(self, called: str, *stages: Stage) -> Kernel:
        self.local = {value: self.names.fresh(value) for value in self.used(stages)}
        body = self.loop_over_time(stages) if self.region == "loop" else self.loop_over_rows(stages[0])
        body = [*needed(self.typed_constants(), body), *body]
        sizes = [(self.sizes[size], self.host.size_of(size)) for size in sorted(self.sizes)]
        indices = [(k, name(k)) for k in INDICES if k in self.indices]
        arguments = (*indices, *sizes, *self.arguments.values())
        names = [*(a for a, _ in arguments), "first", "last"]
        return Kernel(called, block(spelt(f"def {called}(", names, "):", defines=names), body), arguments)

    def used(self, stages: Iterable[Stage]) -> list[str]:
        """Return the batched values that the rows of `stages` compute or read: they keep their names."""
        names: dict[str, None] = {}
        for compute in (c for stage in stages for loop in stage.loops for c in loop.computes):
            names |= dict.fromkeys((compute.equation.name, *compute.equation.node.operands()))
        names = dict.fromkeys(self.rec.shown.get(value, value) for value in names)
        return [value for value in names if self.rec.types[value].batched]

    def typed_constants(self) -> list[Statement]:
        """Return the statements that make constants of the kernel's dtype, and the dtype itself."""
        given = [(value, local) for (kind, value, *_), (local, _) in self.arguments.items() if kind == "array" and self.is_real(value)]
        real = real_of([local for value, local in given if self.host.always(value)], [local for _, local in given])
        if real is None:
            return []
        real = code("{}  # constants of the kernel's dtype: one of another would widen float32", real)
        pairs = sorted(self.constants.items(), key=lambda item: float(item[1]))
        return [assign("real", real), *(assign(constant, code("real({})", value, uses=("real",))) for constant, value in pairs)]

    def is_real(self, array: str) -> bool:
        return not self.program.arrays[array].integer

    # Arguments

    def array(self, value: str) -> Source:
        """Return the kernel's variable of an array."""
        key = ("array", value)
        if key not in self.arguments:
            gathered = self.region != "loop" and self.program.arrays[value].extra
            host = self.host.before(self.program.arrays[value]) if gathered else self.host.source(value)
            self.arguments[key] = (self.names.fresh(rows_name(value)), host)
        return name(self.arguments[key][0])

    def static(self, value: str) -> Source:
        """Return the kernel's variable of a static vector or scalar."""
        key = ("static", value)
        if key not in self.arguments:
            self.arguments[key] = (self.names.fresh(value), self.host.source(value))
        return name(self.arguments[key][0])

    def packed(self, value: str, transposed: bool) -> Source:
        """Return the kernel's variable of a matrix's panels."""
        key = ("packed", value, str(transposed))
        if key not in self.arguments:
            host = self.host.matrix(value, transposed)
            self.arguments[key] = (self.names.fresh(host.text), host)
        return name(self.arguments[key][0])

    def size_name(self, size: str) -> Source:
        """Return the kernel's variable of a named size."""
        if size not in self.sizes:
            self.sizes[size] = self.names.fresh(size)
        return name(self.sizes[size])

    def size(self, size: Size) -> Source:
        return size_source(size, self.size_name)

    # Loops

    def loop_over_time(self, stages: Iterable[Stage]) -> list[Tree]:
        self.indices.add("active")
        steps = code("range(active.size - 1, -1, -1)" if self.rec.reverse else "range(active.size)", uses=("active",))
        if self.program.by_head:
            return [block(code("for t in {}:", steps), self.heads_of_step(stages), defines=("t",))]
        end = code("min(last, active[t])  # sequences that are still running", uses=("last", "active", "t"))
        body: list[Tree] = [assign("end", end)]
        if self.program.ahead:
            self.indices.add("inline")
            made = [line for product in self.program.ahead for line in self.product(product)]
            body.append(block(code("if inline:  # else they are there for all steps", uses=("inline",)), made))
        for stage in stages:
            body += [line for product in stage.products for line in self.product(product)]
            if stage.loops:
                rows = StageRow(self, stage).statements()
                body.append(block(code("for seq in range(first, end):", uses=("first", "end")), rows, defines=("seq",)))
        return [block(code("for t in {}:", steps), body, defines=("t",))]

    def heads_of_step(self, stages: Iterable[Stage]) -> list[Tree]:
        """Return what is done at a step where the heads of all rows are divided among threads, one row's after the other's."""
        heads = self.size_name(self.rec.heads)
        end = code("min(last, active[t] * {})  # heads of sequences that are still running", heads, uses=("last", "active", "t"))
        body = [line for stage in stages for line in StageRow(self, stage, of_head=True).statements()]
        taken = assign(("seq", "head"), code("at // {}, at % {}", heads, heads, uses=("at",)))
        every = block(code("for at in range(first, end):", uses=("first", "end")), [taken, *body], defines=("at",))
        return [assign("end", end), every]

    def loop_over_rows(self, stage: Stage) -> list[Tree]:
        rows = StageRow(self, stage).statements()
        return [block(code("for at in range(first, last):", uses=("first", "last")), rows, defines=("at",))]

    def product(self, product: Product) -> list[Tree]:
        """Return a product over the rows of the current step."""
        node = product.equation.node
        assert isinstance(node, MatVec | MatVecT)
        vector = self.shard(product.vector, self.program.shape(node.vector)[0])
        out = self.shard(product.out, self.program.shape(product.equation.name)[0])
        matrix = self.packed(product.matrix, product.transposed)
        headed = self.rec.types[product.matrix].headed
        if headed:
            matrix = code("{}[head]", matrix, uses=("head",))
        called = "multiply_spikes" if node.vector in self.rec.sparse and not headed else "multiply"
        head = code(f"{called}(", uses=(called,))
        made = spelt(head, [vector, matrix, out, code("{}", product.accumulate)], ")", indent=12)
        heads = code("for head in range({}):", self.size_name(self.rec.heads)) if product.out.stride is not None else None
        return [*self.host.note(product.equation), block(heads, [made], defines=("head",)) if heads else made]

    def shard(self, place: Place, width: Size) -> Source:
        """Return the current step's rows of a place, for the batch shard of this call; of what each head has, the columns of one."""
        array = self.program.arrays[place.array]
        offset = self.offset(array, place.shift)
        whole = place.start == Size() and width == array.width and place.stride is None
        if whole:
            return code("cut({}, {}first, {}end)", self.array(array.name), offset, offset, uses=("cut", "first", "end"))
        columns = code(", {} : {}", self.size(place.start), self.size(place.start + width))
        if place.stride is not None:
            first = place_of_head(place, self.size)
            columns = code(", {} : {} + {}", first, first, self.size(width))
        return code("{}[{}first : {}end{}]", self.array(array.name), offset, offset, columns, uses=("first", "end"))

    def offset(self, array: Array, shift: int) -> Source:
        """Return where the rows of the current step begin, and a plus; nothing where an array has those of one step."""
        over_time = "state" if array.extra else "row" if array.space == "sequence" else "kept"
        index = {"sequence": over_time, "tape": over_time, "carry": "ring", "ahead": "ahead", "piece": "piece"}.get(array.space)
        if index is None:
            return Source("")
        self.indices.add(index)
        return code("{}[t{}] + ", index, f" + {shift}" if shift else "", uses=(index, "t"))

    def row_index(self, array: Array, shift: int) -> Source:
        """Return the row of an array that the current row of a stage reads or writes."""
        if self.region == "loop":
            return code("{}seq", self.offset(array, shift), uses=("seq",))
        if array.space == "once" and self.region != "once":
            self.indices.add("sequence")
            return code("sequence[at]", uses=("sequence", "at"))
        return name("at")
