"""Kernels of one stage: the loops of one step, or of all rows at once, after the products that they need.

A block has one row; where a stage has no sum over features, several blocks share the features of a row.
"""

from __future__ import annotations

from ...calculus.ir import FeatureSum
from ...calculus.naming import Names
from ...language.sizes import Size
from ...program.imperative import Array, Place, Program, Scalars, Stage
from ..kernel import Kernel
from ..sizes import size_source
from ..source import Source, Tree, block, code, merged, name, store
from .factory import Binding, bind, bound, factory, on_machine
from .features import Features, Loops, crosses
from .kernel import FIRST, RESERVED, Arguments, Host, J, column, narrowed, widened


def stage_kernel(host: Host, region: str, called: str, stage: Stage) -> Kernel:
    """Return the kernel of one stage of a region."""
    names = Names(RESERVED)
    numbers = StageNumbers(host, region, names)
    loops = Loops(host, names, numbers)
    body = merged(loops.stage(stage))
    inner = [*bound(rows(region), body), *body]
    arguments = (*given(region), *numbers.passed_sizes(), *numbers.arguments.found)
    binds = bound([*on_machine(("cuda", "real", "widen", "narrow")), *loops.taken()], inner)
    made = factory(called, about(host.program, region, stage), binds, "kernel", [local for local, _ in arguments], inner)
    return Kernel(called, made, arguments)


def about(program: Program, region: str, stage: Stage) -> str:
    """Return what the kernel is for."""
    what = {"loop": "one step", "once": "what is constant in time"}.get(region, "all steps")
    return f"Kernel for {what}: a block has a row{'' if whole_rows(program, stage) else ', or a part of its features'}."


def whole_rows(program: Program, stage: Stage) -> bool:
    """Say whether a row must have one block: its threads work together."""
    summed = any(isinstance(c.equation.node, FeatureSum) for loop in stage.loops for c in loop.computes)
    scalars = any(isinstance(loop, Scalars) for loop in stage.loops)
    return summed or scalars or any(crosses(program, stage, position) for position in range(1, len(stage.loops)))


def given(region: str) -> list[tuple[str, Source]]:
    """Return the arguments that every kernel of a region has."""
    batch = ("batch", Source("call.batch"))
    return [("t", name("t")), batch, ("keep", Source("call.keep"))] if region == "loop" else [batch]


def rows(region: str) -> list[Binding]:
    """Return what says which row and which features a thread has."""
    block_x = code("cuda.blockIdx.x", uses=("cuda",))
    if region == "loop":
        found = [
            bind("seq", block_x),
            bind("row", code("t * batch + seq", uses=("t", "batch", "seq"))),
            bind("row_next", code("row + batch", uses=("row", "batch"))),
            bind("kept", code("(t if keep else t % 2) * batch + seq", uses=("t", "keep", "batch", "seq"))),
            bind("kept_next", code("(t + 1 if keep else (t + 1) % 2) * batch + seq", uses=("t", "keep", "batch", "seq"))),
            bind("ring", code("t % 2 * batch + seq", uses=("t", "batch", "seq"))),
            bind("ring_next", code("(t + 1) % 2 * batch + seq", uses=("t", "batch", "seq"))),
        ]
    elif region == "once":
        found = [bind("seq", block_x)]
    else:
        found = [bind("row", block_x), bind("seq", code("row % batch", uses=("row", "batch")))]
    lane = code("cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x", uses=("cuda",))
    return [*found, bind("lane", lane), bind("lanes", code("cuda.gridDim.y * cuda.blockDim.x", uses=("cuda",)))]


class StageNumbers:
    """How a kernel of one stage finds numbers: all of them in arrays of the device."""

    def __init__(self, host: Host, region: str, names: Names) -> None:
        self.host, self.region, self.names = host, region, names
        self.program, self.types = host.program, host.program.rec.types
        self.arguments = Arguments(host, names)
        self.sizes: dict[str, str] = {}
        self.statics: dict[str, Source] = {}

    def passed_sizes(self) -> list[tuple[str, Source]]:
        """Return the arguments that are sizes."""
        return [(local, self.host.size_of(size)) for size, local in sorted(self.sizes.items())]

    def features(self, size: Size) -> Features:
        return Features("j", code("for j in range(lane, {}, lanes):", self.whole(size), uses=("lane", "lanes")))

    def read(self, value: str) -> Source:
        return self.element(value, J if self.types[value].shape else FIRST)

    def picked(self, value: str, index: Source) -> Source:
        return self.element(value, index)

    def element(self, value: str, index: Source) -> Source:
        if not self.types[value].batched:
            return widened(self.host.static_stored(value), code("{}[{}]", self.static(value), index))
        place = self.program.places[value]
        return widened(place.array in self.host.stored, self.at(place, index))

    def write(self, value: str, place: Place, source: Source) -> list[Tree]:
        vector = bool(self.types[value].shape)
        line = store(self.at(place, J if vector else FIRST), narrowed(place.array in self.host.stored, source))
        return [line] if vector else [block(code("if lane == 0:", uses=("lane",)), [line])]

    def at(self, place: Place, index: Source) -> Source:
        """Return the number at a feature of a place, of the row at hand."""
        array = self.program.arrays[place.array]
        rows, row = self.arguments.array(array.name), self.row(array, place.shift)
        return code("{}[{}, {}]", rows, row, column(place.start, index, self.whole))

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
