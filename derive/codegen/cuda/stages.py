"""Kernels of one stage: the loops of one step, or of all rows at once, after the products that they need.

A block has one row, or one head of it; where a stage has no sum over features, several blocks share the features of a row.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...calculus.ir import FeatureSum, LogSumExp
from ...calculus.naming import Names
from ...language.sizes import Shape, Size
from ...program.imperative import Array, HeadLoop, Loop, Place, Program, RowLoop, Scalars, Stage, VectorLoop, own_loops
from ..host import ONE, place_of_head
from ..kernel import Kernel
from ..sizes import size_source
from ..source import PRODUCT, SUM, Source, Tree, assign, block, code, listed, merged, name, store
from .crossing import crossed
from .factory import PLAN, Binding, bind, bound, factory, on_machine, taken
from .features import Features
from .heads import StageLoops, heads_apart
from .kernel import FIRST, RESERVED, ROW, Arguments, Host, J, column, narrowed, widened

MACHINE = ("cuda", "real", "widen", "narrow")


def stage_kernel(host: Host, region: str, called: str, stage: Stage) -> Kernel:
    """Return the kernel of one stage of a region."""
    names = Names(RESERVED)
    numbers = StageNumbers(host, region, names, stage.loops)
    loops = StageLoops(host, names, numbers)
    body = merged(loops.stage(stage))
    inner = [*bound([*numbers.head(), *rows(region, numbers.block)], body), *body]
    arguments = (*given(region), *numbers.passed_sizes(), *numbers.arguments.found)
    binds = bound([*on_machine(MACHINE), *numbers.tiles(), *loops.taken()], inner)
    made = factory(called, about(host.program, region, stage), binds, "kernel", [local for local, _ in arguments], inner)
    return Kernel(called, made, arguments)


def about(program: Program, region: str, stage: Stage) -> str:
    """Return what the kernel is for."""
    what = {"loop": "one step", "once": "what is constant in time"}.get(region, "all steps")
    if heads_apart(program, stage.loops):
        return f"Kernel for {what}: a block has a head of a row."
    return f"Kernel for {what}: a block has a row{'' if whole_rows(program, stage) else ', or a part of its features'}."


def whole_rows(program: Program, stage: Stage) -> bool:
    """Say whether a row must have one block: its threads work together."""
    summed = any(isinstance(c.equation.node, FeatureSum) for loop in stage.loops for c in loop.computes)
    together = any(isinstance(loop, Scalars | RowLoop | HeadLoop) for loop in stage.loops)
    return summed or together or crossed(program, stage.loops)


def matrix_shapes(loops: Iterable[Loop]) -> tuple[Shape, ...]:
    """Return the shapes of the matrices that loops go through."""
    found: dict[Shape, None] = {}
    for loop in own_loops(loops):
        if isinstance(loop, RowLoop):
            found[loop.rows, loop.columns] = None
    return tuple(found)


def widest(program: Program, loops: Iterable[Loop], heads: str = "") -> Size:
    """Return the largest size of the vectors that loops go through, by its number of terms where that is not known.

    Where each of so many `heads` has a block, of a vector that is of all of them one has its part.
    """
    own = own_loops(loops)
    sizes = [loop.size for loop in own if isinstance(loop, VectorLoop)]
    nodes = (c.equation.node for loop in own if not isinstance(loop, RowLoop) for c in loop.computes)
    sizes += [program.shape(node.value)[0] for node in nodes if isinstance(node, FeatureSum | LogSumExp)]
    sizes = [size.shared(heads) or size for size in sizes]
    return max(sizes, key=lambda size: (sum(k for _, k in size.terms), size.constant, str(size)), default=ONE)


def given(region: str) -> list[tuple[str, Source]]:
    """Return the arguments that every kernel of a region has."""
    batch = ("batch", Source("call.batch"))
    return [("t", name("t")), batch, ("keep", Source("call.keep"))] if region == "loop" else [batch]


def rows(region: str, block: Source) -> list[Binding]:
    """Return what says which row and which features a thread has, from the number of its block."""
    if region == "loop":
        found = [bind("seq", block), *rows_of_step()]
    elif region == "once":
        found = [bind("seq", block)]
    else:
        found = [bind("row", block), bind("seq", code("row % batch", uses=("row", "batch")))]
    lane = code("cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x", uses=("cuda",))
    lanes = bind("lanes", code("cuda.gridDim.y * cuda.blockDim.x", uses=("cuda",)))
    return [*found, bind("lane", lane), lanes, *slots()]


def rows_of_step() -> list[Binding]:
    """Return what says where the rows of a step are."""
    return [
        bind("row", code("t * batch + seq", uses=("t", "batch", "seq"))),
        bind("row_next", code("row + batch", uses=("row", "batch"))),
        bind("kept", code("(t if keep else t % 2) * batch + seq", uses=("t", "keep", "batch", "seq"))),
        bind("kept_next", code("(t + 1 if keep else (t + 1) % 2) * batch + seq", uses=("t", "keep", "batch", "seq"))),
        bind("ring", code("t % 2 * batch + seq", uses=("t", "batch", "seq"))),
        bind("ring_next", code("(t + 1) % 2 * batch + seq", uses=("t", "batch", "seq"))),
    ]


def slots() -> list[Binding]:
    """Return what says which rows and columns of matrices a thread has: `across` threads have those of a slot."""
    return [
        bind("within", code("cuda.threadIdx.x % across", uses=("cuda", "across"))),
        bind("slot", code("cuda.threadIdx.x // across", uses=("cuda", "across"))),
        bind("slots", code("cuda.blockDim.x // across", uses=("cuda", "across"))),
    ]


class StageNumbers:
    """How a kernel of one stage finds numbers: all of them in arrays of the device."""

    def __init__(self, host: Host, region: str, names: Names, loops: tuple[Loop, ...]) -> None:
        self.host, self.region, self.names = host, region, names
        self.program, self.types, self.shown = host.program, host.program.rec.types, host.program.rec.shown
        self.by_head = heads_apart(host.program, loops)
        self.widths = {shape: names.fresh("columns") for shape in matrix_shapes(loops)}  # that a lane has of matrices
        self.arguments = Arguments(host, names)
        self.sizes: dict[str, str] = {}
        self.statics: dict[str, Source] = {}

    def passed_sizes(self) -> list[tuple[str, Source]]:
        """Return the arguments that are sizes."""
        return [(local, self.host.size_of(size)) for size, local in sorted(self.sizes.items())]

    @property
    def block(self) -> Source:
        """The number of the row that a block has, or has a head of."""
        block = code("cuda.blockIdx.x", uses=("cuda",))
        return code("{} // {}", block, self.number(self.program.rec.heads), binding=PRODUCT) if self.by_head else block

    def head(self) -> list[Binding]:
        """Return what says which head of its row a block has."""
        head = code("cuda.blockIdx.x % {}", self.number(self.program.rec.heads), uses=("cuda",)) if self.by_head else None
        return [bind("head", head)] if head else []

    def tiles(self) -> list[Binding]:
        """Return what binds the numbers of columns that a thread has of matrices."""
        columns = [bind(made, code("{}.columns[{}]", PLAN, k)) for k, made in enumerate(self.widths.values())]
        return [*on_machine(("plan",)), taken("across", PLAN, "across"), *columns]

    def features(self, size: Size) -> Features:
        if self.by_head and (own := size.shared(self.program.rec.heads)) is not None:
            width = self.whole(own)
            j = assign("j", code("head * {} + u", width.within(PRODUCT), uses=("head", "u")))
            return Features("u", code("for u in range(lane, {}, lanes):", width, uses=("lane", "lanes")), (j,))
        return Features("j", code("for j in range(lane, {}, lanes):", self.whole(size), uses=("lane", "lanes")))

    def read(self, value: str) -> Source:
        return self.element(value, J if self.types[value].shape else FIRST)

    def picked(self, value: str, index: Source) -> Source:
        return self.element(value, index)

    def element(self, value: str, index: Source) -> Source:
        value = self.shown.get(value, value)
        kind = self.types[value]
        if kind.batched:
            place = self.program.places[value]
            return widened(place.array in self.host.stored, self.at(place, index))
        head = [name("head")] if kind.headed else []
        return widened(self.host.static_stored(value), self.item(value, [*head, *([index] if kind.shape or not head else [])]))

    def item(self, value: str, indices: list[Source]) -> Source:
        """Return the source of a number of a value that is constant in time."""
        return code("{}[{}]", self.static(value), listed(indices))

    def write(self, value: str, place: Place, source: Source) -> list[Tree]:
        vector = bool(self.types[value].shape)
        line = store(self.at(place, J if vector else FIRST), narrowed(place.array in self.host.stored, source))
        return [line] if vector else [block(code("if lane == 0:", uses=("lane",)), [line])]

    def put(self, place: Place, index: Source, source: Source) -> list[Tree]:
        return [store(self.at(place, index), narrowed(place.array in self.host.stored, source))]

    def at(self, place: Place, index: Source) -> Source:
        """Return the number at a feature of a place, of the row at hand."""
        array = self.program.arrays[place.array]
        rows, row = self.arguments.array(array.name), self.row(array, place.shift)
        if place.stride is None:
            return code("{}[{}, {}]", rows, row, column(place.start, index, self.whole))
        first = place_of_head(place, self.whole)
        return code("{}[{}, {}]", rows, row, first if index == FIRST else code("{} + {}", first, index, binding=SUM))

    # Matrices

    def matrix(self, value: str) -> Source:
        value = self.shown.get(value, value)
        kind = self.types[value]
        if kind.batched:
            return self.element(value, self.flat(kind.shape[1]))
        return widened(self.host.static_stored(value), self.item(value, [*([name("head")] if kind.headed else []), ROW, J]))

    def flat(self, columns: Size) -> Source:
        """Return which number of a matrix with so many columns the element (i, j) is."""
        return code("i * {} + j", self.whole(columns).within(PRODUCT), uses=("i", "j"), binding=SUM)

    def put_matrix(self, place: Place, loop: RowLoop, source: Source) -> list[Tree]:
        return self.put(place, self.flat(loop.columns), source)

    def columns(self, loop: RowLoop) -> Source:
        return name(self.widths[loop.rows, loop.columns])

    def each_row(self, loop: RowLoop, body: Iterable[Tree]) -> Tree:
        return self.each(loop.rows, body)

    def each(self, rows: Size, body: Iterable[Tree]) -> Tree:
        """Return the loop over the rows i that a slot has: as many times in each, so that the threads of a warp stay together."""
        height = self.whole(rows)
        i = assign("i", code("min(first + slot, {} - 1)", height, uses=("min", "first", "slot")))
        here = assign("here", code("first + slot < {}", height, uses=("first", "slot")))
        head = code("for first in range(0, {}, slots):", height, uses=("slots",))
        return block(head, [i, here, *body], defines=("first",))

    def row(self, array: Array, shift: int) -> Source:
        if array.space in ("scratch", "once"):
            return name("seq")
        if self.region != "loop":
            return name("row")
        base = {"tape": "kept", "carry": "ring"}.get(array.space, "row")
        return name(f"{base}_next" if shift else base)

    def number(self, size: str) -> Source:
        if size not in self.sizes:
            self.sizes[size] = self.names.fresh(size)
        return name(self.sizes[size])

    def whole(self, size: Size) -> Source:
        return size_source(size, self.number)

    def static(self, value: str) -> Source:
        if value not in self.statics:
            self.statics[value] = self.arguments.static(value, value)
        return self.statics[value]
