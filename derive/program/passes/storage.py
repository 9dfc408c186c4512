"""Where every value lives: local to its loop, in working memory, or in an array over all steps.

- A value that only its own loop reads is a local variable.
- A slice is a view of its vector; the parts of a concatenation are stored in their places of the whole, without a copy where they are
computed.
- The heads' values lie side by side: those of all heads as one are a view of them, and the other way round.
- A state has a row before the first step: ``s_prev`` of step t and ``s`` of step t-1 are the same row of one array.
- What crosses regions of the body has a row for every step, or for those of a piece (see `pieces`).

Needs: regions with copies, scheduled.  Leaves: a `Program`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ...calculus.ir import (
    VIEWS,
    Along,
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    MatVec,
    MatVecT,
    Merge,
    Part,
    Pick,
    Recurrence,
    Repeat,
    Slice,
)
from ...language.sizes import Size, elements
from ..imperative import Array, Compute, HeadLoop, Loop, Place, Product, Program, RowLoop, Scalars, Stage, VectorLoop
from .copies import Kept
from .drafts import Draft, HeadSegment, RowSegment, Segment
from .hoist import REGIONS, Regions
from .pieces import pieces

Schedule = Mapping[str, list[Draft]]
"""The stages of each region, in order."""


def store(regions: Regions, drafts: Schedule, kept: Kept) -> Program:
    """Return the program of a recurrence whose body has been parted into regions, and these into stages."""
    return _Storage(regions, drafts, kept).program()


class _Storage:
    def __init__(self, regions: Regions, drafts: Schedule, kept: Kept) -> None:
        self.rec: Recurrence = regions.rec
        self.kept, self.drafts = kept, drafts
        self.names = self.rec.names()
        self.equations = {region: getattr(regions, region) for region in REGIONS}
        self.region = {eq.name: region for region, eqs in self.equations.items() for eq in eqs}
        self.nodes = {eq.name: eq.node for eqs in self.equations.values() for eq in eqs}
        self.order = {name: k for k, name in enumerate(self.nodes)}
        self.arrays: dict[str, Array] = {}
        self.places: dict[str, Place] = {}
        self.stores: dict[str, list[Place]] = defaultdict(list)
        self.repeated = self.rec.repeated
        self.sums = {self.lying(o) for eq in self.rec.accumulators for o in eq.node.operands()}
        self.segment_of = self.locate()
        self.inline = {name: eq for drafts in drafts.values() for draft in drafts for name, eq in draft.inline.items()}
        self.part_of_row = {name: k for drafts in drafts.values() for draft in _with_heads(drafts) for name, k in draft.part.items()}
        self.consumers = self.consumed()
        self.parts = self.part_of()

    def program(self) -> Program:
        self.given()
        self.required()
        for region in REGIONS:
            for eq in self.equations[region]:
                self.assign(eq)
        stages = {region: tuple(self.stage(d) for d in drafts) for region, drafts in self.drafts.items()}
        program = Program(self.rec, dict(self.arrays), dict(self.places), **stages)
        ahead = self.ahead(program)
        arrays = {name: replace(array, space="ahead") if name in ahead else array for name, array in program.arrays.items()}
        return pieces(replace(program, arrays=arrays), self.lasting())

    def lasting(self) -> set[str]:
        """Return the arrays that are handed out or kept."""
        kept = {self.places[name].array for name in self.kept.rows | self.kept.states if name in self.places}
        return {*self.kept.outputs.values(), *kept}

    def ahead(self, program: Program) -> set[str]:
        """Return the arrays that only products of what is given fill and only the time loop reads: they need not have rows for all steps.

        Where heads run without each other, the products are made before.
        """
        if program.by_head:
            return set()
        products = [p for stage in program.before for p in stage.products]
        given = {self.places[name].array for name in self.rec.sequences}
        otherwise = {p.out.array for p in products if p.vector.array not in given or p.accumulate}
        otherwise |= {place.array for stage in program.before for loop in stage.loops for c in loop.computes for place in c.stores}
        otherwise |= self.read_outside_loop(program) | {*self.kept.outputs.values()}
        return {p.out.array for p in products if program.arrays[p.out.array].space == "sequence"} - otherwise

    def read_outside_loop(self, program: Program) -> set[str]:
        """Return the arrays that are read before or after the time loop, or summed over steps, or kept."""
        read = {o for region in ("before", "after") for eq in self.equations[region] for o in eq.node.operands()} | self.sums
        kept = {o for o in self.kept.rows | self.kept.states if o in self.places}
        return {program.places[name].array for name in read | kept if name in program.places}

    # What is where

    def locate(self) -> dict[str, tuple[str, int, tuple[int, ...]]]:
        """Return region, stage and segment of every row-local value, and in a loop over heads the segment of that."""
        return {
            eq.name: (region, number, path)
            for region, drafts in self.drafts.items()
            for number, draft in enumerate(drafts)
            for path, segment in _segments(draft)
            for eq in segment.equations
        }

    def consumed(self) -> dict[str, list[Equation]]:
        """Return who reads each value, looking through views."""
        readers: dict[str, list[Equation]] = defaultdict(list)
        for eqs in self.equations.values():
            for eq in eqs:
                for name in eq.node.operands():
                    readers[name].append(eq)

        def through(name: str) -> list[Equation]:
            found = []
            for eq in readers[name]:
                found.append(eq)
                if isinstance(eq.node, (Slice, *VIEWS)) or eq.name in self.inline:
                    found += through(eq.name)
            return found

        return {name: through(name) for name in self.rec.types}

    def lying(self, name: str) -> str:
        """Return the value that lies in memory where one is read that is the same for all heads."""
        return self.repeated.get(name, name)

    def width(self, name: str) -> Size:
        """Return the number of elements of a value, or of one head's."""
        return elements(self.rec.types[name].shape)

    def array(self, name: str, space: str, like: str, extra: int = 0) -> str:
        kind = self.rec.types[like]
        width = self.width(like) * self.heads if kind.headed else self.width(like)
        self.arrays[name] = Array(name, space, width, extra, kind.integer, not kind.shape and not kind.headed)
        return name

    @property
    def heads(self) -> Size:
        return Size.of(self.rec.heads)

    def at(self, array: str, value: str, shift: int = 0) -> Place:
        """Return the place of a value that has an array to itself."""
        return Place(array, shift=shift, stride=self.width(value) if self.rec.types[value].headed else None)

    # What is fixed from outside

    def given(self) -> None:
        rec = self.rec
        for name in rec.contexts:
            self.places[name] = self.at(self.array(name, "once", name), name)
        for name in rec.sequences:
            array, shift = self.kept.read.get(name, (name, 0))
            if array not in self.arrays:
                self.array(array, "sequence", name, 1 if name in self.kept.read else 0)
            self.places[name] = self.at(array, name, shift)

    def required(self) -> None:
        """Place states, outputs and what is saved."""
        rec, kept = self.rec, self.kept
        for value in sorted(n for n in kept.rows if rec.types[n].batched):
            every_step = self.outlives(value) or self.region[value] != "loop"
            self.keep(value, self.array(self.names.fresh(f"{value}_kept"), "sequence" if every_step else "tape", value))
        for carry in rec.carries:
            saved = not kept.states.isdisjoint((carry.previous, carry.value))
            name = self.array(self.names.fresh(f"{carry.value}_state"), "tape" if saved else "carry", carry.value, 1)
            early, late = (1, 0) if rec.reverse else (0, 1)
            self.places[carry.previous] = self.at(name, carry.previous, early)
            self.stores[carry.value].append(self.at(name, carry.value, late))
            if self.outlives(carry.value) and carry.value not in self.places:
                self.keep(carry.value, self.array(self.names.fresh(f"{carry.value}_rows"), "sequence", carry.value))
            self.places.setdefault(carry.value, self.at(name, carry.value, late))
        for value, name in kept.outputs.items():
            self.keep(value, self.array(name, "sequence", value))

    def keep(self, value: str, array: str) -> None:
        self.keep_at(value, self.at(array, value))

    def keep_at(self, value: str, place: Place) -> None:
        self.stores[value].append(place)
        self.places.setdefault(value, place)

    def outlives(self, name: str) -> bool:
        """Say whether another region than the one that makes `name` reads it."""
        here = self.region.get(name, "loop")
        readers = self.consumers[name]
        summed = not self.sums.isdisjoint((name, *(eq.name for eq in readers if isinstance(eq.node, (Slice, *VIEWS)))))
        return summed or any(self.region[eq.name] != here for eq in readers)

    # The rest, in order

    def assign(self, eq: Equation) -> None:
        node = eq.node
        if isinstance(node, Slice):
            if node.value not in self.places:
                raise AssertionError(f"{eq.name} is a view of {node.value}, which has no place")
            base = self.places[node.value]
            self.places[eq.name] = replace(base, start=base.start + node.start)
        elif isinstance(node, Concat):
            self.working(eq.name)
        elif isinstance(node, Part):
            self.places[eq.name] = replace(self.places[node.value], stride=self.width(eq.name))
        elif isinstance(node, Merge):
            self.merged(eq.name, node.value)
        elif not isinstance(node, Along | Repeat) and eq.name not in self.inline:  # which lie nowhere
            self.assign_value(eq)

    def merged(self, name: str, value: str) -> None:
        """Place the values of all heads as one, where they lie side by side; if only concatenations read them, they lie in those alone."""
        if name not in self.sums and name not in self.places and all(isinstance(eq.node, Concat) for eq in self.consumers[name]):
            return
        where = (*([self.places[value]] if value in self.places else []), *(p for p in self.stores[value] if self.lasts(p, value)))
        beside = [place for place in where if place.stride == self.width(value)]
        if not beside:
            beside.append(self.at(self.array(self.names.fresh(f"{value}_rows"), self.space(value), value), value))
            self.keep_at(value, beside[0])
        self.places[name] = replace(beside[0], stride=None)

    def assign_value(self, eq: Equation) -> None:
        for whole in self.wholes(eq.name):
            self.stores[eq.name].append(whole)
            if self.lasts(whole, eq.name):
                self.places.setdefault(eq.name, whole)
        target = next((c for c in self.consumers[eq.name] if isinstance(c.node, MatVec | MatVecT) and c.node.plus == eq.name), None)
        if target is not None:
            self.assign_value(target)
            self.stores[eq.name].append(self.places[target.name])
            self.places.setdefault(eq.name, self.places[target.name])
        product = isinstance(eq.node, MatVec | MatVecT)
        if eq.name not in self.places and (product or self.needs_array(eq.name)):
            self.stores[eq.name].append(self.working(eq.name))

    def working(self, name: str) -> Place:
        """Return the place of a value in working memory, made if it has none."""
        if name not in self.places:
            self.places[name] = self.at(self.array(self.names.fresh(f"{name}_rows"), self.space(name), name), name)
        return self.places[name]

    def wholes(self, name: str) -> list[Place]:
        """Return the places of `name` in the concatenations that it is part of, making their arrays if need be."""
        found = []
        for whole, before in self.parts[name]:
            base = self.working(whole)
            stride = base.stride or (self.width(name) if self.rec.types[name].headed else None)
            found.append(replace(base, start=base.start + before, stride=stride))
        return found

    def part_of(self) -> dict[str, list[tuple[str, Size]]]:
        """Return, for each value, the concatenations that it is part of, or all heads' values as one, and where it first begins there."""
        found: dict[str, dict[str, Size]] = defaultdict(dict)
        for eq in (eq for region in REGIONS for eq in self.equations[region] if isinstance(eq.node, Concat)):
            before = Size()
            for part in eq.node.parts:
                node = self.nodes.get(part)
                found[node.value if isinstance(node, Merge) else part].setdefault(eq.name, before)
                before = before + self.width(part)
        return defaultdict(list, {part: list(wholes.items()) for part, wholes in found.items()})

    def needs_array(self, name: str) -> bool:
        """Say whether a row-local value is read outside its loop."""
        region, stage, segment = self.segment_of[name]
        vector, headed = bool(self.rec.types[name].shape), self.rec.types[name].headed
        node = self.nodes[name]
        if name in self.sums or isinstance(node, HeadSum) or (isinstance(node, AxisSum) and node.axis == 0):
            return True
        for eq in self.consumers[name]:
            if isinstance(eq.node, FeatureSum) and eq.node.value == name and self.segment_of[eq.name] == self.segment_of[name]:
                continue  # added up in the loop that makes it
            if (isinstance(eq.node, FeatureSum | LogSumExp | Pick | Slice | Part) and vector) or isinstance(eq.node, MatVec | MatVecT):
                return True
            if eq.name not in self.segment_of:
                continue
            other = self.segment_of[eq.name]
            in_rows = len(self.rec.types[name].shape) == 2 and name in self.part_of_row
            if in_rows and self.part_of_row.get(eq.name) != self.part_of_row[name]:
                return True
            if other[:2] != (region, stage) or (vector and other[2] != segment) or (headed and other[2][0] != segment[0]):
                return True
        return False

    def lasts(self, place: Place, value: str) -> bool:
        """Say whether a value is found at a place whenever it is read."""
        return self.arrays[place.array].space in ("sequence", self.space(value))

    def space(self, name: str) -> str:
        region = self.region[name]
        if region == "once":
            return "once"
        return "sequence" if region != "loop" or self.outlives(name) else "scratch"

    # Stages

    def stage(self, draft: Draft) -> Stage:
        return Stage(tuple(self.product(eq) for eq in draft.products), tuple(self.loop(s) for s in draft.segments))

    def product(self, eq: Equation) -> Product:
        node = eq.node
        assert isinstance(node, MatVec | MatVecT)
        vector, out = self.places[self.lying(node.vector)], self.places[eq.name]
        return Product(eq, self.lying(node.matrix), vector, out, isinstance(node, MatVecT), bool(node.plus))

    def loop(self, segment: Segment | RowSegment | HeadSegment) -> Loop:
        if isinstance(segment, HeadSegment):
            return HeadLoop(self.heads, tuple(self.own_loop(s) for s in segment.draft.segments if not isinstance(s, HeadSegment)))
        return self.own_loop(segment)

    def own_loop(self, segment: Segment | RowSegment) -> VectorLoop | Scalars | RowLoop:
        if isinstance(segment, RowSegment):
            rows, columns = segment.shape
            return RowLoop(rows, columns, tuple(map(self.part, segment.parts)))
        computes = tuple(map(self.compute, segment.equations))
        return Scalars(computes) if segment.size is None else VectorLoop(segment.size, computes)

    def part(self, part: Segment) -> VectorLoop | Scalars:
        """Return a part of a loop over rows, with the elements that it reads of matrices which lie nowhere."""
        if part.size is None:
            return Scalars(tuple(map(self.compute, part.equations)))
        wanted = {eq.name for eq in part.equations}

        def reads(eq: Equation) -> set[str]:
            return {self.lying(name) for name in eq.node.operands()}

        for eq in sorted(self.inline.values(), key=lambda eq: -self.order[eq.name]):
            if any(eq.name in reads(other) for other in (*part.equations, *self.inline.values()) if other.name in wanted):
                wanted.add(eq.name)
        chosen = [*part.equations, *(eq for eq in self.inline.values() if eq.name in wanted)]
        return VectorLoop(part.size, tuple(map(self.compute, sorted(chosen, key=lambda eq: self.order[eq.name]))))

    def compute(self, eq: Equation) -> Compute:
        return Compute(eq, _distinct(self.stores[eq.name]))


def _with_heads(drafts: Iterable[Draft]) -> Iterator[Draft]:
    """Yield drafts, and what loops over heads do in them."""
    for draft in drafts:
        yield from (draft, *(segment.draft for segment in draft.segments if isinstance(segment, HeadSegment)))


def _segments(draft: Draft) -> Iterator[tuple[tuple[int, ...], Segment | RowSegment]]:
    """Yield the segments of a draft with their numbers, in a loop over heads that and theirs."""
    for k, segment in enumerate(draft.segments):
        if isinstance(segment, HeadSegment):
            yield from (((k, *path), own) for path, own in _segments(segment.draft))
        else:
            yield (k,), segment


def _distinct(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(dict.fromkeys(places))
