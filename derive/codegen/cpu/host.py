"""The compiled host functions on the CPU: what a pass does with the arrays that its function in Python has made.

Python makes every array, and calls one compiled function, which does the rest: products with packed matrices, kernels over rows, sums.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from ...calculus.ir import Along, Carry, Concat, Equation, Map, Merge, Outer, Part, Repeat, Slice
from ...language.sizes import Size, elements
from ...program.imperative import Array, Place, Product, Stage
from ..host import ONE
from ..kernel import Kernel
from ..signature import PARAMS
from ..source import (
    Block,
    Comment,
    Source,
    Statement,
    Tree,
    assign,
    attribute,
    block,
    code,
    do,
    free,
    listed,
    name,
    needed,
    spelt,
    tuple_of,
)
from .kernel import BY_STEP, INDICES, RowKernel
from .packing import Packing
from .static import static_work, typed_constants
from .sums import NONE, Factor, Memory, Pair, call, pairs


@dataclass(frozen=True)
class HostFunction:
    """A compiled function: its arguments after `parts` and `how`, by name, and the arrays of a link's carries after their last step."""

    name: str
    code: Block
    arguments: tuple[str, ...]
    finals: tuple[Source, ...]


@dataclass
class Around:
    """The statements before the pieces of a time loop, and those after them."""

    before: list[Tree] = field(default_factory=list)
    after: list[Tree] = field(default_factory=list)


@dataclass
class Code(Packing):
    """One recurrence's code for the CPU.

    Attributes
    ----------
    views : list
        Statements that name parts of arrays, on either side.
    told : dict
        Comments of views, by name.
    constants : dict
        Of static values, by name.
    gathered : dict
        The variables of values before each step, by the array of their state.
    memory : Memory
        What sums over rows work in.
    around : Around, optional
        While statements of a piece of the loop are made: what stands around that.
    """

    views: list[Statement] = field(default_factory=list)
    told: dict[str, list[Comment]] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    gathered: dict[str, str] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    around: Around | None = None

    def run(self) -> None:
        self.passed |= {"batch": name("batch"), "count": name("count")}
        self.passed |= {index: attribute("rows", index) for index in INDICES}
        self.passed |= {"pieces": attribute("rows", "pieces")}
        self.passed |= {known: name(known) for known in (*self.sizes.values(), *self.asked.values())}
        given = {value: source for value, source in self.given.items() if value not in self.carried()}
        self.given |= {value: self.taken(value, source) for value, source in given.items()}
        super().run()

    # Static values

    def static(self, eq: Equation, statements: list[Tree]) -> None:
        if isinstance(eq.node, Along | Repeat):  # what reads it reads what it shows
            return
        if isinstance(eq.node, Merge | Part):
            self.shaped(eq, eq.node.value)
            return
        if isinstance(eq.node, Map) and eq.node.expr.is_Symbol and eq.node.expr.name in self.shown_of_results:
            self.given[eq.name] = self.given[eq.node.expr.name]
            self.told[self.given[eq.name].text] = self.say(eq)
            return
        if isinstance(eq.node, Slice) and not self.rec.types[eq.name].headed:  # what each head has does not lie side by side
            start = eq.node.start
            part = code("{}[{} : {}]", self.source(eq.node.value), self.size(start), self.size(start + eq.node.size))
            self.views.append(assign(self.variable(eq.name), part))
            self.told[self.given[eq.name].text] = self.say(eq)
            return
        kind = self.rec.types[eq.name]
        if isinstance(eq.node, Concat) and len(kind.shape) == 2 and self.only_packed(eq.name):
            self.stacked[eq.name] = eq.node.parts
            return
        axes = [*([name("batch")] if kind.batched else []), *self.axes(eq.name)]
        in_part = isinstance(eq.node, Concat) and self.linear.perhaps(eq.node.parts)
        target = self.new(eq.name, self.zeros(*axes) if in_part else self.empty(*axes), self.linear.behind(eq.name))
        statements += [*self.say(eq), *static_work(self, eq, target)]

    def shaped(self, eq: Equation, value: str) -> None:
        """Add the view of a value that is constant in time which has an axis of heads, or has lost it."""
        axes, of = tuple_of(self.axes(eq.name)), self.source(value)
        if of.text in self.passed or of.text in self.made:
            room = self.room(eq.name, code("{}.reshape{}", self.passed.get(of.text, of), axes), self.linear.behind(eq.name))
            self.given[eq.name], self.reshaped[room.text] = room, self.reshaped.get(of.text, of.text)
        else:
            self.views.append(assign(self.variable(eq.name), code("{}.reshape({})", of, axes)))
        self.told[self.given[eq.name].text] = self.say(eq)

    @cached_property
    def shown_of_results(self) -> frozenset[str]:
        """The views of what is made after the loop that only one result reads."""
        readers = Counter(name for eq in self.rec.epilogue for name in eq.node.operands())
        views = {eq.name for eq in self.rec.epilogue if isinstance(eq.node, Merge | Part | Slice)}
        return frozenset(name for name in views if readers[name] == 1 and name not in self.rec.results)

    # Rows

    def before(self, array: Array) -> Source:
        if array.name not in self.gathered:
            own = self.source(array.name)
            taken = code("{}({}, empty)", attribute("rows", "before"), self.passed.get(own.text, own), uses=("empty",))
            room = self.room(f"{array.name}_before", taken, self.linear.behind_array(array.name))
            self.gathered[array.name] = room.text
            filled = code("gather({}, {}, state, active)", room, own, uses=("gather", "state", "active"))
            statements = self.around.before if self.around else self.statements
            statements.append(block(code("if gathered:", uses=("gathered",)), [do(filled)]))
        return name(self.gathered[array.name])

    def over_time(self, rows: Source, width: Size) -> Source:
        room = self.room("steps", self.empty(self.count, self.size(width)), self.behind(rows))
        self.statements.append(do(code("over_time({}, {}, {}, {})", room, rows, name("row"), name("active"), uses=("over_time",))))
        return room

    def spread(self, static: Source, size: Size) -> Source:
        room = self.room("steps", self.empty(self.count, self.size(size)), self.behind(static))
        self.statements.append(do(code("spread({}, {})", room, static, uses=("spread",))))
        return room

    # Products

    def multiplied(self, product: Product, vector: Source, out: Source) -> list[Tree]:
        panels = self.matrix(product.matrix, product.transposed)
        if self.rec.types[product.matrix].headed:
            panels = code("{}[head]", panels, uses=("head",))
        given = (vector, panels, out, product.accumulate)
        made = code("multiply_rows(parts, how, {}, {}, {}, {})", *given, uses=("multiply_rows", "parts", "how"))
        by_head = self.over_heads(product.out.stride is not None, [do(made)])
        lines: list[Tree] = [*self.note(product.equation), *by_head]
        ahead = self.program.arrays[product.out.array].space == "ahead"
        return [block(code("if not inline:", uses=("inline",)), lines)] if ahead else lines

    # Kernels

    def steps(self) -> None:
        """Run the time loop and what follows it: piece by piece, where there is memory for one (see ``program.passes.pieces``)."""
        if not self.program.in_pieces:
            super().steps()
            return
        statements, self.statements, self.around = self.statements, [], Around()
        super().steps()
        pieces = code("range(pieces.size - 2, -1, -1)" if self.rec.reverse else "range(pieces.size - 1)", uses=("pieces",))
        head = code("for at in {}:  # some steps at a time, each with all that follows them", pieces)
        steps = assign(("t", "end"), code("pieces[at], pieces[at + 1]", uses=("pieces", "at")))
        rows = assign(("first", "last"), code("row[t], row[end]", uses=("row", "t", "end")))
        body = [*needed([steps, rows], self.statements), *self.statements]
        self.statements = [*statements, *self.around.before, block(head, body, defines=("at",)), *self.around.after]
        self.around = None

    def taken_rows(self, rows: Source, place: Place) -> Source:
        if self.around is None:
            return rows
        piece = self.program.arrays[place.array].space == "piece"
        taken = "cut({}, 0, last - first)" if piece else "cut({}, first, last)"
        return code(taken, rows, uses=("cut", "first", "last"))

    def indexed(self, argument: str, given: Source) -> Source:
        """Return what a kernel is given for an argument: where the rows of steps begin, from the first step of the piece on."""
        if self.around is None or argument not in (*BY_STEP, "active"):
            return given
        return code("{}[t : end]" if argument == "active" else "{}[t:]", given, uses=("t", "end") if argument == "active" else ("t",))

    def run_stage(self, region: str, number: int, stage: Stage, count: Source) -> list[Tree]:
        kernel = RowKernel(self, region).kernel(self.names.fresh(f"{self.prefix}_{region}{number or ''}"), stage)
        return self.called(kernel, name("batch" if region == "once" else "count"), name("parts"))

    def time_loop(self, stages: tuple[Stage, ...]) -> None:
        if any(s.loops or s.products for s in stages):
            kernel = RowKernel(self, "loop").kernel(self.names.fresh(f"{self.prefix}_steps"), *stages)
            products = [product for stage in stages for product in stage.products]
            heads = self.program.by_head
            count = code("batch * {}", self.size_of(self.rec.heads), uses=("batch",)) if heads else self.batch
            self.statements += self.called(kernel, count, self.row_parts(products, self.program.ahead))

    def row_parts(self, products: Iterable[Product], ahead: Iterable[Product]) -> Source:
        """Return into how many parts the rows of a loop are divided that makes `products` at each step, and those `ahead` perhaps."""
        always, perhaps = (list(dict.fromkeys(self.matrix(p.matrix, p.transposed) for p in made)) for made in (products, ahead))
        sizes = [code("{}.nbytes", panels) for panels in always]
        also = [code("{}.nbytes", panels) for panels in perhaps if panels not in always]
        if also:
            sizes.append(code("inline * {}" if len(also) == 1 else "inline * ({})", listed(also, " + "), uses=("inline",)))
        if not sizes:
            return name("parts")
        weights = self.names.fresh("weights")
        self.statements.append(assign(weights, listed(sizes, " + ")))
        return code("row_parts(batch, {}, parts, how)", name(weights), uses=("row_parts", "batch", "parts", "how"))

    def called(self, kernel: Kernel, count: Source, parts: Source) -> list[Tree]:
        """Add a kernel, and return its call."""
        self.kernels.append(kernel)
        given = [count, parts, name("how"), name(kernel.name), *(self.indexed(*argument) for argument in kernel.arguments)]
        return [spelt(code("share(", uses=("share",)), given, ")")]

    # Sums

    def summed_by_sequence(self, eq: Equation, rows: Source, *, by_head: bool) -> None:
        on = self.linear.behind(eq.name)
        target = self.new(eq.name, self.empty(name("batch"), *self.axes(eq.name)), on)
        if len(self.axes(eq.name)) > 1:
            target = self.room(f"{eq.name}_flat", code("{}.reshape(batch, -1)", target, uses=("batch",)), on)
        if by_head:
            target = self.columns(target, Place("", stride=self.width_of(eq.name, by_head=True)), self.width_of(eq.name, by_head=True))
        added = do(code("total({}, {}, row, active)", target, rows, uses=("total", "row", "active")))
        self.statements += [*self.note(eq), *self.over_heads(by_head, [added])]

    def sums(self, left: Source, equations: list[Equation], *, by_head: bool) -> None:
        """Add sums over all rows; those of one left operand are made two at a time, in one pass over it."""
        first = equations[0]
        p, headed = self.width_of(first.node.operands()[0], by_head=by_head), self.rec.types[first.name].headed
        made: dict[Source | None, Factor] = {}  # by the right operand; None for the plain sum
        lines: list[Tree] = []
        copies: list[Tree] = []
        for eq in equations:
            right, on = self.factor(eq, by_head=by_head), self.linear.behind(eq.name)
            target = self.total(eq, by_head=by_head) if right is None else self.new(eq.name, self.empty(*self.axes(eq.name)), on)
            lines += self.note(eq)
            if right in made:  # a second sum of the same is an array of its own
                copies.append(do(code("put_rows({}, 0, {})", target, made[right].target, uses=("put_rows",))))
                continue
            made[right] = Factor(right or NONE, target, *self.kind_of(eq, by_head=by_head))
        if by_head and headed:
            made = {right: one._replace(target=code("{}[head]", one.target, uses=("head",))) for right, one in made.items()}
        total = made.pop(None, None)
        factors = pairs(made.values())
        lines += self.over_heads(by_head, self.summed(left, p, total and total.target, factors, onto_others=by_head and not headed))
        self.statements += self.if_asked(PARAMS, lines)
        (self.around.after if self.around else self.statements).extend(self.if_asked(PARAMS, copies))

    def total(self, eq: Equation, *, by_head: bool) -> Source:
        """Return the name of a new array for a plain sum over rows, with one axis for their elements: else a view."""
        axes, on = self.axes(eq.name), self.linear.behind(eq.name)
        target = self.new(eq.name, self.empty(*axes), on)
        if by_head:
            return self.room(f"{eq.name}_flat", code("{}.reshape({}, -1)", target, axes[0]), on)
        return target if len(axes) == 1 else self.room(f"{eq.name}_flat", code("{}.reshape(-1)", target), on)

    def width_of(self, value: str, *, by_head: bool = False) -> Size:
        """Return the number of elements of a value; `by_head`, of one head's."""
        kind = self.rec.types[value]
        return elements(kind.shape) * Size.of(self.rec.heads) if kind.headed and not by_head else elements(kind.shape)

    def factor(self, eq: Equation, *, by_head: bool) -> Source | None:
        """Return the right operand of a sum of outer products; None for a plain sum."""
        return self.operand(eq.node.right, by_head=by_head) if isinstance(eq.node, Outer) else None

    def kind_of(self, eq: Equation, *, by_head: bool) -> tuple[Size, bool]:
        """Return how wide the right operand of a sum is, and whether its zeros are left out."""
        if not isinstance(eq.node, Outer):
            return ONE, False
        return self.width_of(eq.node.right, by_head=by_head), eq.node.right in self.rec.sparse and not by_head

    def summed(self, left: Source, p: Size, total: Source | None, factors: list[Pair], *, onto_others: bool) -> list[Tree]:
        """Return the statements of sums of one left operand, p wide, and make their memory; `onto_others`, heads add to one sum."""
        for pair in factors:
            self.memory.grow(self.size(p), pair, self.size)
        self.made["memory"] = self.memory.made()
        first, *others = factors
        add = self.adds(onto_others)
        return [call(left, first, total, add), *(call(left, pair, None, add) for pair in others)]

    def adds(self, onto_others: bool) -> Source:
        """Return whether sums are added to what stands where they go: what the first piece that is run, or head, has made."""
        found = [code("head > 0", uses=("head",))] if onto_others else []
        if self.around:
            piece = code("at < pieces.size - 2" if self.rec.reverse else "at > 0", uses=("at", "pieces") if self.rec.reverse else ("at",))
            found.append(piece)
        return listed(found, " or ") if found else Source("False")

    # Functions

    def begin(self, carry: Carry, value: Source) -> Tree:
        """Return the statement that puts a carry's value before its first step, given by Python as `value`."""
        array = self.program.arrays[self.program.places[carry.previous].array]
        given = self.taken(f"{carry.previous}_first", value)
        own = self.given[array.name]
        if not self.rec.reverse:
            return do(code("put_first({}, {})", own, given, uses=("put_first",)))
        if array.space == "tape":
            return do(code("put_last({}, {}, state, active)", own, given, uses=("put_last", "state", "active")))
        return do(code("put_both({}, {})", own, given, uses=("put_both",)))

    def end(self, carry: Carry) -> tuple[Source, Tree]:
        """Return the array of a carry's value after its last step, and the statement that fills it."""
        array = self.program.arrays[self.program.places[carry.previous].array]
        target = self.room(f"{carry.value}_last", self.empty(name("batch"), self.size(array.width)), self.linear.behind_array(array.name))
        own = self.given[array.name]
        if self.rec.reverse:
            return target, do(code("take_first({}, {})", target, own, uses=("take_first",)))
        begins = name("state" if array.space == "tape" else "ring")
        return target, do(code("take_last({}, {}, {}, active)", target, own, begins, uses=("take_last", "active")))

    def function(self, called: str, doc: str, work: list[Tree], finals: tuple[Source, ...] = ()) -> HostFunction:
        """Return the compiled function that does `work`."""
        body = [*typed_constants(self, work), *needed(self.views, work), *work]
        wanted = free(body)
        arguments = tuple(made for made in (*self.passed, *self.made) if made in wanted)
        head = spelt(f"def {called}(", ["parts", "how", *arguments], "):", defines=("parts", "how", *arguments))
        return HostFunction(called, block(head, [Statement((f'"""{doc}"""',)), *body]), arguments, finals)
