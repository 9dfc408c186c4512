"""The kernel that stays on the device for all steps: weights and states on the chip, a row's features divided among blocks.

A group of blocks has some sequences; each block of it, a member, has some features of every one.  It computes those columns of each
product, from the whole operand, which all members exchange through the device's memory: between writing and reading it, they meet.
A block alone in its group keeps the operand to itself.
"""

from __future__ import annotations

from ....calculus.naming import Names
from ....program.imperative import Array, Product, Stage
from ...kernel import Kernel
from ...source import PRODUCT, SUM, Source, Tree, assign, block, code, do, merged, name, store
from ..factory import PLAN, Binding, bind, bound, factory, on_machine, taken
from ..features import Loops
from ..kernel import ALL_STEPS, FIRST, RESERVED, SYNCHRONISE, Host, J, narrowed, widened
from .division import U
from .loop import Phase, analysed, phases
from .rows import after, first_row, rows_of, sequence_after
from .table import Table
from .values import LANE, Values

STEPS, T = name("steps"), name("t")
LAST = code("steps % 2", uses=("steps",), binding=PRODUCT)  # which copy of a state is that after all steps
ABOUT = "Kernel for all steps: weights and states stay on the chip, members of a group share the features of its rows."
MACHINE = ("cuda", "real", "widen", "narrow", "plan", "index", "word", "clear", "arrive", "wait")


def resident_kernel(host: Host, called: str) -> tuple[Kernel, Table]:
    """Return the kernel of a whole time loop, and the table that it is planned from."""
    return _Resident(host).kernel(called)


class _Resident:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.loop = analysed(host.program, host.stored)
        self.program, self.rec = host.program, host.program.rec
        names = Names(RESERVED)
        self.values = Values(host, self.loop, names)
        self.members = self.values.members
        self.loops = Loops(host, names, self.values, self.members.joined)

    def kernel(self, called: str) -> tuple[Kernel, Table]:
        steps = self.steps()
        begun, ended = self.begun(), self.ended()
        counter = "step" if self.rec.reverse else "t"
        body = [*begun, block(code(f"for {counter} in range(steps):", uses=("steps",)), steps, defines=(counter,)), *ended]
        inner = [*bound(self.position(), body), *body]
        arguments = self.arguments()
        binds = bound(self.taken(), inner)
        made = factory(called, ABOUT, binds, "kernel", [local for local, _ in arguments], inner)
        return Kernel(called, made, arguments), self.table()

    def table(self) -> Table:
        values, memory = self.values, self.values.memory
        products, tiles = values.operands.tables()
        divided = tuple(sorted(values.division.divided))
        return Table(self.loop.spread, self.members.meetings, products, tiles, memory.statics, memory.rows, memory.near, divided)

    def arguments(self) -> tuple[tuple[str, Source], ...]:
        """Return the kernel's arguments, and what the host passes."""
        found = [*ALL_STEPS, *self.values.arguments.found]
        if self.members.joins:
            passed = code("call.real_rows(plan.members * {}, call.batch)", 2 * self.members.joins, uses=("plan",))
            found.append(("sums", passed))
        if self.members.meetings:
            found.append(("arrivals", code("call.arrivals(plan)", uses=("plan",))))
        return tuple(found)

    def taken(self) -> list[Binding]:
        """Return what binds what the kernel takes from the machine."""
        values = self.values
        return [
            *on_machine(MACHINE),
            taken("bits", name("on"), "kept"),
            *self.loops.taken(),
            *(taken(number.upper(), PLAN, number) for number in ("rows", "lanes", "members")),
            bind("SUMS", code("{}", self.members.joins)),
            *values.staging.taken(),
            *values.division.taken(),
            *values.memory.taken(),
            *values.operands.taken(),
        ]

    def position(self) -> list[Binding]:
        """Return what says which rows and features a thread has."""
        found = [
            bind("thread", code("index(cuda.threadIdx.x)", uses=("index", "cuda"))),
            bind("block", code("index(cuda.blockIdx.x)", uses=("index", "cuda"))),
            bind("lane", code("index(thread % LANES)", uses=("index", "thread", "LANES"))),
            bind("b", code("index(thread // LANES)", uses=("index", "thread", "LANES"))),
            bind("group", code("index(block // MEMBERS)", uses=("index", "block", "MEMBERS"))),
            bind("member", code("index(block % MEMBERS)", uses=("index", "block", "MEMBERS"))),
            bind("first", code("group * ROWS  # of the group's sequences", uses=("group", "ROWS"))),
            bind("running", code("1 if first + b < batch else 0  # else a row is there to fill the block", uses=("first", "b", "batch"))),
            bind("lead", code("running == 1 and lane == 0 and member == 0", uses=("running", "lane", "member"))),
            bind("seq", code("index(min(first + b, batch - 1))", uses=("index", "first", "b", "batch"))),
            bind("own", code("cuda.shared.array(0, real, 16)", uses=("cuda", "real"))),
        ]
        return [*found, *self.values.division.begun()]

    # Before and after all steps

    def begun(self) -> list[Tree]:
        """Return what is done before the first step: weights, static values, states before it."""
        values, reverse = self.values, self.rec.reverse
        lines: list[Tree] = [do(code("clear()", uses=("clear",))), *values.operands.loads(), *values.statics.loads()]
        first = {array.name: first_row(array, STEPS) if reverse else None for array in self.states()}
        lines += [self.received(array, first[array.name]) for array in self.states()]
        for operand, tile in values.operands.tiles.items():
            if operand.array in first:
                row = after(first[operand.array], name("first"))
                lines += self.members.alone([values.operands.fetched(tile, operand.array, row)])
        lines += values.staging.rooms()
        lines += [assign("meetings", code("0"))] if self.members.meetings else []
        read_at_once = not self.loop.stages[0].products and (values.statics.vectors or not self.loop.spread)
        return [*lines, SYNCHRONISE] if read_at_once else lines

    def ended(self) -> list[Tree]:
        """Return what is done after the last step: the states are handed out."""
        return [self.handed(array, None if self.rec.reverse else first_row(array, STEPS)) for array in self.states()]

    def states(self) -> list[Array]:
        return [self.program.arrays[self.program.places[carry.previous].array] for carry in self.rec.carries]

    def received(self, array: Array, row: Source | None) -> Tree:
        """Return what brings a state's rows to the block; that of the batch's first sequence is `row`."""
        line = store(self.kept(array, None), widened(array.name in self.loop.stored, self.given(array, row)))
        return line if array.scalar else self.values.features(array.width).over([line])

    def handed(self, array: Array, row: Source | None) -> Tree:
        """Return what hands out a state's rows; that of the batch's first sequence is `row`."""
        line = store(self.given(array, row), narrowed(array.name in self.loop.stored, self.kept(array, LAST)))
        return block(code("if lead:", uses=("lead",)), [line]) if array.scalar else self.values.features(array.width).over([line])

    def kept(self, array: Array, copy: Source | None) -> Source:
        """Return where a block keeps a state's number at hand."""
        return self.values.memory.slot(array, copy, LANE if array.scalar else U)

    def given(self, array: Array, row: Source | None) -> Source:
        """Return where that number is in the device's memory."""
        return code("{}[{}, {}]", self.values.arguments.array(array.name), sequence_after(row), FIRST if array.scalar else J)

    # A step

    def steps(self) -> list[Tree]:
        """Return what is done in each step."""
        lines = [line for phase in phases(self.loop) for line in self.phase(phase)]
        if self.loop.crossed and not self.loop.outs:
            lines.append(SYNCHRONISE)  # before the next step writes what others may still read
        inner = [*self.values.staging.statements(), *lines]
        counted = bind("before", code("t % 2", uses=("t",)))
        if self.rec.reverse:
            counted = bind("before", code("step % 2", uses=("step",)))
        backwards = [bind("t", code("steps - 1 - step", uses=("steps", "step")))] if self.rec.reverse else []
        rows = [*backwards, counted, bind("after", code("1 - before", uses=("before",))), *rows_of(T)]
        return [*bound(rows, inner), *merged(inner)]

    def phase(self, phase: Phase) -> list[Tree]:
        """Return the products of a stage, what is stored of them, its loops, and where members meet."""
        lines = [self.members.wait()] if phase.waits else []
        lines += self.products(phase.stage) if phase.stage.products else []
        lines += [self.values.published(product) for product in phase.published]
        lines += self.loops.stage(phase.stage)
        return [*lines, *(self.members.arrive() if phase.arrives else [])]

    def products(self, stage: Stage) -> list[Tree]:
        """Return the products of a stage, with what they read brought into the block's memory."""
        operands = self.values.operands
        lines = [line for product in {operands.tile(p): p for p in stage.products}.values() for line in self.fetched(product)]
        lines.append(SYNCHRONISE)
        for product in stage.products:
            lines += [*self.host.note(product.equation), operands.multiplied(product)]
        return [*lines, SYNCHRONISE]

    def fetched(self, product: Product) -> list[Tree]:
        """Return what brings a product's operand into the block's memory."""
        array, shift = self.program.arrays[product.vector.array], product.vector.shift
        row = first_row(array, code("{} + {}", T, shift, binding=SUM) if shift else T)
        operands = self.values.operands
        line = operands.fetched(operands.tile(product), array.name, after(row, name("first")))
        return self.members.several([line]) if array.name in self.loop.operands else [line]
