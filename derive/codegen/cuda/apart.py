"""The kernel of a time loop whose rows need nothing of each other: a block has a row, or a head of one, for all steps.

So it is where no step multiplies by weights, as in recurrences of matrices: a head's memory is written by what its own key and value are.
The states that are matrices stay in shared memory, each element for the one thread that computes it: so none waits for another, and rows
lie so far apart that the lanes of a warp never ask one bank for several.  Registers would take a loop that is unrolled for every element:
from 64 x 64 on the assembler spills them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...calculus.naming import Names
from ...language.sizes import Shape, Size
from ...program.imperative import Array, HeadLoop, Loop, Place, Program, RowLoop, own_loops
from ..kernel import Kernel
from ..source import SUM, Source, Tree, assign, block, code, merged, name, store
from .crossing import crosses_steps
from .factory import PLAN, Binding, bind, bound, factory, on_machine
from .heads import StageLoops, heads_apart
from .kernel import ALL_STEPS, RESERVED, SYNCHRONISE, Host, widened
from .matrices import column
from .stages import MACHINE, StageNumbers, matrix_shapes, rows_of_step, slots, widest

ENDS = {False: code("steps - 1", uses=("steps",), binding=SUM), True: Source("0")}  # the last step, by whether steps go backwards


def apart(program: Program) -> bool:
    """Say whether the rows of a time loop need nothing of each other: no step has a product; of loops with heads or matrices."""
    products = any(stage.products for stage in program.loop)
    return not products and any(isinstance(loop, HeadLoop | RowLoop) for loop in all_loops(program))


def all_loops(program: Program) -> tuple[Loop, ...]:
    """Return the loops of a step."""
    return tuple(loop for stage in program.loop for loop in stage.loops)


@dataclass(frozen=True)
class Apart:
    """What such a loop goes through.

    Attributes
    ----------
    heads : str
        The number of heads, if each of a row has a block, or nothing.
    features : Size
        The largest size of a vector.
    matrices : tuple of shapes
    kept : mapping
        The arrays of the states that stay in shared memory, with their shapes.
    """

    heads: str
    features: Size
    matrices: tuple[Shape, ...]
    kept: Mapping[str, Shape]


def described(program: Program) -> Apart:
    """Return what a loop whose rows need nothing of each other goes through."""
    loops = all_loops(program)
    heads = program.rec.heads if heads_apart(program, loops) else ""
    return Apart(heads, widest(program, loops, heads), matrix_shapes(loops), _Numbers.tiled(program))


def apart_kernel(host: Host, called: str) -> Kernel:
    """Return the kernel of a whole time loop."""
    program = host.program
    numbers = _Numbers(host, Names(RESERVED))
    loops = StageLoops(host, numbers.names, numbers)
    reverse = program.rec.reverse
    body = merged(loops.sequence(all_loops(program)))
    body += [SYNCHRONISE] if _waits(program, loops.spans, by_head=numbers.by_head) else []
    head = code("for t in range(steps - 1, -1, -1):" if reverse else "for t in range(steps):", uses=("steps",))
    steps = block(head, [*bound(rows_of_step(), body), *body], defines=("t",))
    inner = [*numbers.begun(), steps]
    inner = [*bound(numbers.position(), inner), *inner]
    arguments = (*ALL_STEPS, *numbers.passed_sizes(), *numbers.arguments.found)
    binds = bound([*on_machine(MACHINE), *numbers.tiles(), *loops.taken()], inner)
    about = f"Kernel for all steps: a block has a {'head of a ' if numbers.by_head else ''}row."
    made = factory(called, about, binds, "kernel", [local for local, _ in arguments], inner)
    return Kernel(called, made, arguments)


def _waits(program: Program, spans: Sequence[Sequence[Loop]], *, by_head: bool) -> bool:
    """Say whether threads wait for each other between steps: they must at least once a step, for every other one shares memory with it."""
    nested = any(isinstance(loop, HeadLoop) for span in spans for loop in span)
    return nested or len(spans) == 1 or crosses_steps(program, spans[-1], spans[0], by_head=by_head)


class _Numbers(StageNumbers):
    """How the kernel finds numbers: states that are matrices near, all others in arrays of the device."""

    def __init__(self, host: Host, names: Names) -> None:
        super().__init__(host, "loop", names, all_loops(host.program))
        self.kept = self.tiled(self.program)
        self.lies = {array: (names.fresh(f"{array}_at"), names.fresh(f"{array}_pitch")) for array in self.kept}

    @staticmethod
    def tiled(program: Program) -> dict[str, Shape]:
        """Return the arrays of the states that stay near, with their shapes."""
        loops, found = all_loops(program), dict[str, Shape]()
        of_heads = any(isinstance(loop, HeadLoop) for loop in loops)
        by_head = heads_apart(program, loops)
        for carry in program.rec.carries:
            kind, place = program.rec.types[carry.previous], program.places[carry.previous]
            mine = by_head if kind.headed else not of_heads
            if len(kind.shape) == 2 and kind.shape in matrix_shapes(loops) and mine and _read_before_written(program, place):
                found[place.array] = kind.shape
        return found

    def position(self) -> list[Binding]:
        """Return what says which row and which features a thread has."""
        lanes = [bind("lane", code("cuda.threadIdx.x", uses=("cuda",))), bind("lanes", code("cuda.blockDim.x", uses=("cuda",)))]
        return [*self.head(), bind("seq", self.block), *lanes, *slots()]

    def tiles(self) -> list[Binding]:
        lies = [Binding(assign(made, code("{}.tiles[{}]", PLAN, k))) for k, made in enumerate(self.lies.values())]
        return [*super().tiles(), *lies]

    # States in shared memory

    def begun(self) -> list[Tree]:
        """Return what brings the states before the first step near."""
        lines: list[Tree] = []
        for carry in self.program.rec.carries:
            place = self.program.places[carry.previous]
            if place.array in self.kept:
                rows, columns = shape = self.kept[place.array]
                value = widened(place.array in self.host.stored, self.at(place, self.flat(columns)))
                mine = code("if here and j < {}:", self.whole(columns), uses=("here", "j"))
                load = block(mine, [store(self.near(place.array), value)])
                each = block(code("for m in range({}):", name(self.widths[shape])), [column(), load], defines=("m",))
                lines.append(self.each(rows, [each]))
        if not lines:
            return []
        own = assign("own", code("cuda.shared.array(0, real)", uses=("cuda", "real")))
        return [own, assign("t", ENDS[not self.program.rec.reverse]), *bound(rows_of_step(), lines), *lines]

    def near(self, array: str) -> Source:
        """Return the element (i, j) of a state in shared memory."""
        at, pitch = self.lies[array]
        return code("own[{} + i * {} + j]", name(at), name(pitch), uses=("own", "i", "j"))

    def matrix(self, value: str) -> Source:
        place = self.program.places.get(self.shown.get(value, value))
        return self.near(place.array) if place and place.array in self.kept else super().matrix(value)

    def put_matrix(self, place: Place, loop: RowLoop, source: Source) -> list[Tree]:
        shown = super().put_matrix(place, loop, source)
        if place.array not in self.kept:
            return shown
        wanted = self.wanted(self.program.arrays[place.array])
        return [store(self.near(place.array), source), *([block(wanted, shown)] if wanted else shown)]

    def wanted(self, array: Array) -> Source | None:
        """Return the condition on which others read a state after the step at hand; None if they always do."""
        last = code("t == {}", ENDS[self.program.rec.reverse], uses=("t",))
        if array.space == "tape":
            return code("if keep or {}:", last, uses=("keep",))
        return code("if {}:", last) if array.space == "carry" else None


def _read_before_written(program: Program, before: Place) -> bool:
    """Say whether a state may stay where it is: no part of a step reads it after one has written the next one, and all are of matrices."""
    written, shown = False, program.rec.shown
    for loop in own_loops(all_loops(program)):
        for computes in [part.computes for part in loop.parts] if isinstance(loop, RowLoop) else [loop.computes]:
            made = {compute.equation.name for compute in computes}
            read = [shown.get(o, o) for compute in computes for o in compute.equation.node.operands()]
            places = [program.places[value] for value in read if value in program.places and value not in made]
            stored = [place for compute in computes for place in compute.stores]
            if not isinstance(loop, RowLoop) and any(place.array == before.array for place in (*places, *stored)):
                return False
            if any(place.array == before.array and (place.shift == before.shift) == written for place in places):
                return False
            written = written or any(place.array == before.array for place in stored)
    return True
