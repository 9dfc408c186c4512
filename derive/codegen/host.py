"""The host's statements of a pass: arrays, products and kernels over rows, sums, and what is made of static values.

What the CPU and CUDA devices have in common stands here; where they differ is a method that each has of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..calculus.ir import Equation, MatVec, MatVecT, Merge, Outer, Part, Recurrence, Slice, Total
from ..calculus.naming import Names
from ..language.sizes import Size, elements
from ..program.imperative import Array, Place, Product, Program, Stage
from ..program.passes.hoist import REGIONS
from .kernel import Kernel
from .signature import PARAMS
from .sizes import size_source
from .source import PRODUCT, SUM, Comment, Source, Tree, assign, block, code, defined, merged, name, note

ONE = Size((), 1)


def place_of_head(place: Place, size: Callable[[Size], Source]) -> Source:
    """Return the first column of the head at hand, of a value that each head has."""
    assert place.stride is not None
    first = name("head") if place.stride == ONE else code("head * {}", size(place.stride).within(PRODUCT), uses=("head",), binding=PRODUCT)
    return first if place.start == Size() else code("{} + {}", size(place.start), first, binding=SUM)


@dataclass
class HostCode(ABC):
    """One recurrence's code: kernels, and the host's statements that run them.

    Attributes
    ----------
    program : Program
    prefix : str
        Of the kernels' names.
    comment : callable
        The text of the equation with a tag.
    given : mapping
        The caller's expression for each array and static value that is given; what is made joins them.
    sizes : mapping
        The host's variable of each named size.
    names : Names
        Taken by the module and by this code.
    kernels : list
    weights, statements : list
        What the host does with parameters alone, and then with a sequence.
    asked : mapping
        For the array of a gradient that the caller may not ask for, and for all gradients by parameters, under `PARAMS`, the variable that
        says whether it does.
    """

    program: Program
    prefix: str
    comment: Callable[[Equation], str]
    given: dict[str, Source]
    sizes: Mapping[str, str]
    names: Names
    kernels: list[Kernel] = field(default_factory=list)
    weights: list[Tree] = field(default_factory=list)
    statements: list[Tree] = field(default_factory=list)
    asked: Mapping[str, str] = field(default_factory=dict)

    @property
    def rec(self) -> Recurrence:
        return self.program.rec

    def run(self) -> None:
        """Make all kernels and statements."""
        program = self.program
        for eq in self.rec.prologue:
            self.static(eq, self.weights)
        self.allocate()
        self.rows("once", program.once, Source("call.batch"))
        self.rows("before", program.before, self.count)
        self.steps()
        for eq in self.rec.epilogue:
            made: list[Tree] = []
            self.static(eq, made)
            self.statements += made if self.rec.types[eq.name].batched else self.if_asked(PARAMS, made)
        self.statements = merged(self.statements)

    def if_asked(self, gradient: str, work: list[Tree]) -> list[Tree]:
        """Return the statements that make a gradient, so that they are run only if it is asked for, where it may not be."""
        if gradient not in self.asked or not work:
            return work
        return [block(code("if {}:", name(self.asked[gradient])), work)]

    def rows_asked(self, count: Source, array: str) -> Source:
        """Return the number of rows of an array; none, if it has a gradient that is not asked for."""
        return code("{} * {}", count, name(self.asked[array]), binding=PRODUCT) if array in self.asked else count

    def steps(self) -> None:
        """Run the time loop, and what follows it."""
        self.time_loop(self.program.loop)
        self.rows("after", self.program.after, self.count)
        self.totals()

    def made_of_weights(self) -> Iterable[str]:
        """Return the variables that are made of parameters alone."""
        return defined(self.weights)

    # What the CPU and a device differ in

    @property
    @abstractmethod
    def count(self) -> Source:
        """The number of rows of all steps."""

    @abstractmethod
    def allocated(self, array: Array) -> Source:
        """Return what makes an array."""

    @abstractmethod
    def before(self, array: Array) -> Source:
        """Return the values before each step, from a state's array."""

    @abstractmethod
    def over_time(self, rows: Source, width: Size) -> Source:
        """Return the rows of what is constant in time, at every step."""

    @abstractmethod
    def static(self, eq: Equation, statements: list[Tree]) -> None:
        """Add the statements of a static equation."""

    @abstractmethod
    def spread(self, static: Source, size: Size) -> Source:
        """Return a static vector in every row."""

    @abstractmethod
    def multiplied(self, product: Product, vector: Source, out: Source) -> list[Tree]:
        """Return the statements of a product over rows."""

    @abstractmethod
    def run_stage(self, region: str, number: int, stage: Stage, count: Source) -> list[Tree]:
        """Make the kernel of a stage, and return the statements that run it over rows."""

    @abstractmethod
    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        """Run the time loop."""

    @abstractmethod
    def summed_by_sequence(self, eq: Equation, rows: Source, *, by_head: bool) -> None:
        """Add the sum of rows over steps, for each sequence."""

    @abstractmethod
    def sums(self, left: Source, equations: list[Equation], *, by_head: bool) -> None:
        """Add the sums over all rows of what has one left operand: outer products, and the sum of its rows."""

    # Names and comments

    def source(self, value: str) -> Source:
        """Return the host's expression of an array or of a static value."""
        return self.given[self.rec.repeated.get(value, value)]

    def variable(self, value: str) -> str:
        """Return a new variable of the host for a value."""
        made = self.names.fresh(value)
        self.given[value] = name(made)
        return made

    def size_of(self, named: str) -> Source:
        """Return the host's variable of a named size."""
        return name(self.sizes[named])

    def size(self, size: Size) -> Source:
        """Return the source of a size on the host."""
        return size_source(size, self.size_of)

    def say(self, eq: Equation) -> list[Comment]:
        """Return the comment of a shown equation; a line of several names is shown where the value is made that it splits."""
        eq = replace(eq, shown=True) if eq.name in self.split else eq
        return [note(f"({eq.tag})  {self.comment(eq)}")] if eq.shown and eq.tag else []

    @cached_property
    def split(self) -> frozenset[str]:
        """The values of a step that lines of several names split: the names of such a line have its number in common."""
        parts = Counter((eq.node.value, eq.tag) for eq in self.rec.body if isinstance(eq.node, Slice) and eq.shown)
        return frozenset(value for (value, _), names in parts.items() if names > 1)

    def note(self, eq: Equation) -> list[Comment]:
        """Return a comment for any equation; of a product of which lines of the author's are parts, those lines."""
        parts = [comment for part in self.parts.get(eq.name, ()) for comment in self.say(part)]
        return self.say(eq) or parts or [note(self.comment(eq))]

    @cached_property
    def parts(self) -> dict[str, list[Equation]]:
        """The shown views of each value that are no computation of their own, and so have no line in a kernel."""
        stages = (stage for region in REGIONS for stage in getattr(self.program, region))
        computed = {compute.equation.name for stage in stages for loop in stage.loops for compute in loop.computes}
        base: dict[str, str] = {}
        found: dict[str, list[Equation]] = defaultdict(list)
        for eq in self.rec.body:
            if isinstance(eq.node, Slice | Merge | Part):
                base[eq.name] = base.get(eq.node.value, eq.node.value)
                if eq.shown and eq.name not in computed and eq.name not in self.split:
                    found[base[eq.name]].append(eq)
        return found

    # Arrays

    def allocate(self) -> None:
        """Make the arrays that are not given; what nothing writes must be given, or it would be read as it lies in memory."""
        written = self.program.written_arrays()
        for array in self.program.arrays.values():
            if array.name not in self.given:
                assert array.name in written, f"{self.rec.name}: nothing writes the array {array.name}"
                made = self.allocated(array)
                self.statements.append(assign(self.variable(array.name), made))

    def view(self, place: Place, width: Size) -> Source:
        """Return the rows of an array, for all steps, in the columns of a place."""
        array = self.program.arrays[place.array]
        rows = self.before(array) if array.extra else self.source(place.array)
        return self.columns(rows, place, width)

    def over_heads(self, heads: bool, work: list[Tree]) -> list[Tree]:
        """Return statements, in a loop over heads if there is work for each."""
        return [block(code("for head in range({}):", self.size_of(self.rec.heads)), work, defines=("head",))] if heads else work

    def columns(self, rows: Source, place: Place, width: Size) -> Source:
        """Return the columns of rows where a value lies; of one that each head has, those of the head at hand."""
        rows = self.taken_rows(rows, place)
        if place.stride is not None:
            first = place_of_head(place, self.size)
            return code("{}[:, {} : {} + {}]", rows, first, first, self.size(width))
        if place.start == Size() and width == self.program.arrays[place.array].width:
            return rows
        return code("{}[:, {} : {}]", rows, self.size(place.start), self.size(place.start + width))

    def taken_rows(self, rows: Source, place: Place) -> Source:
        """Return those rows of an array that the statements at hand are about: all."""
        return rows

    def operand(self, value: str, *, by_head: bool = False) -> Source:
        """Return the rows of a value that is summed over steps; of one whose heads' values lie side by side, all of them."""
        value = self.rec.repeated.get(value, value)
        kind = self.rec.types[value]
        shape = kind.shape
        if value not in self.program.places and not kind.headed:
            return self.spread(self.source(value), shape[0])
        if value not in self.program.places:
            whole = self.spread(code("{}.reshape(-1)", self.source(value)), elements(shape) * Size.of(self.rec.heads))
            stride = elements(shape)
            return self.columns(whole, Place("", stride=stride), stride) if by_head else whole
        place, width = self.program.places[value], elements(shape)
        if not by_head and place.stride is not None:
            place, width = replace(place, stride=None), width * Size.of(self.rec.heads)
        return self.at_every_step(place, width)

    def at_every_step(self, place: Place, width: Size) -> Source:
        """Return the rows of a value for all steps, where it has one for each sequence alone too."""
        array = self.program.arrays[place.array]
        if array.space != "once":
            return self.view(place, width)
        return self.columns(self.over_time(self.source(array.name), array.width), place, width)

    # Rows

    def rows(self, region: str, stages: tuple[Stage, ...], count: Source) -> None:
        """Run a region over all rows at once."""
        for number, stage in enumerate(stages):
            for product in stage.products:
                node = product.equation.node
                assert isinstance(node, MatVec | MatVecT)
                width = self.program.shape(node.vector)[0]
                vector = self.view(product.vector, width) if region == "once" else self.at_every_step(product.vector, width)
                out = self.view(product.out, self.program.shape(product.equation.name)[0])
                self.statements += self.if_asked(product.out.array, self.multiplied(product, vector, out))
            if stage.loops:
                self.statements += self.run_stage(region, number, stage, count)

    # Sums

    def totals(self) -> None:
        """Add the sums over all rows; those of one value are made together, in one pass over it."""
        groups: dict[tuple[Source, bool, bool], list[Equation]] = {}
        for eq in self.rec.accumulators:
            node = eq.node
            assert isinstance(node, Outer | Total)
            by_head, kind = self.by_head(node), self.rec.types[eq.name]
            rows = self.operand(node.operands()[0], by_head=by_head)
            if kind.batched:
                self.summed_by_sequence(eq, rows, by_head=by_head)
            else:
                groups.setdefault((rows, by_head, kind.headed), []).append(eq)
        for (left, by_head, _), equations in groups.items():
            self.sums(left, equations, by_head=by_head)

    def by_head(self, node: Outer | Total) -> bool:
        """Say whether a sum is made for one head after the other: an outer product of what each has, and what does not lie side by side."""
        if isinstance(node, Outer):
            return any(self.rec.types[operand].headed for operand in node.operands())
        kind, place = self.rec.types[node.value], self.program.places.get(node.value)
        return kind.headed and (place is None or place.stride != elements(kind.shape))
