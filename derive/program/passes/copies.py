"""Copies of values that would have to lie in more places than one.

A view lies where its vector does, and a product writes to one place: where such a value is wanted elsewhere too (by a state's array, the
tape, a concatenation that another loop fills) an equation of its own copies it.  What follows the time loop reads a copy of a previous
state, and another recurrence is kept one, since states lie in memory for two steps only.

Needs: regions.  Leaves: regions in which storage finds a place for every value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from ...calculus.ir import VIEWS, Along, Concat, Equation, Map, MatVec, MatVecT, Merge, Repeat, Slice
from .hoist import REGIONS, Regions

_VIEWS = (Slice, *VIEWS)


@dataclass(frozen=True)
class Kept:
    """What is asked of the storage of one recurrence.

    Attributes
    ----------
    outputs : mapping
        From a value to the name of the sequence array that it is handed out in.
    rows : frozenset
        Values that are kept for another recurrence, in arrays of their own.
    states : frozenset
        Values that are kept for another recurrence in a state's own array: ``s_prev``, and ``s`` one row later.
    read : mapping
        From a sequence that is read to the state array it lies in and its shift: how this recurrence finds what another keeps so.
    """

    outputs: dict[str, str] = field(default_factory=dict)
    rows: frozenset[str] = frozenset()
    states: frozenset[str] = frozenset()
    read: dict[str, tuple[str, int]] = field(default_factory=dict)


def materialise(regions: Regions, kept: Kept) -> tuple[Regions, Kept, dict[str, str]]:
    """Return regions with the copies that storage needs, what is asked of it then, and by each value that is kept what is in its stead."""
    copies = _Copies(regions, kept)
    made = copies.made()
    kept_as = {name: copies.lasting[name].name if name in copies.lasting else name for name in kept.rows}
    return made, replace(kept, rows=frozenset(kept_as.values())), kept_as


class _Copies:
    """The regions as far as they are copied."""

    def __init__(self, regions: Regions, kept: Kept) -> None:
        self.regions, self.kept, self.rec = regions, kept, regions.rec
        self.types = dict(self.rec.types)
        self.names = self.rec.names(*kept.outputs.values())
        self.states = {c.value for c in self.rec.carries}
        self.elsewhere = _read_elsewhere(regions)
        self.fleeting = {c.previous for c in self.rec.carries}  # previous states and views of them, which lie in memory for two steps only
        self.lasting: dict[str, Equation] = {}  # copies of those

    def made(self) -> Regions:
        changed: dict[str, list[Equation]] = {}
        for region in REGIONS:
            equations = getattr(self.regions, region)
            after = (self.reading(eq, changed["loop"]) for eq in equations) if region == "after" else equations
            changed[region] = self.region(after)
        sums = tuple(self.reading(eq, changed["loop"]) for eq in self.rec.accumulators)
        for name in [c.previous for c in self.rec.carries if c.previous in self.kept.rows]:
            self.last(name, changed["loop"])
        rec = replace(self.rec, types=self.types, body=self.showing(changed), accumulators=sums)
        return Regions(rec, **{region: tuple(equations) for region, equations in changed.items()})

    def showing(self, changed: Mapping[str, list[Equation]]) -> tuple[Equation, ...]:
        """Return the body in which is looked up what shows another value: so that a copy shows nothing, and what is copied does."""
        names = {eq.name for eq in self.rec.body}
        made = {eq.name: eq for equations in changed.values() for eq in equations}
        body = (made[eq.name] if isinstance(eq.node, Along | Repeat) else eq for eq in self.rec.body)
        return (*body, *(eq for eq in made.values() if eq.name not in names and isinstance(eq.node, Along | Repeat)))

    def region(self, equations: Iterable[Equation]) -> list[Equation]:
        """Return the equations of a region with copies of concatenations' parts, and of what lies in several places."""
        made: list[Equation] = []
        here: set[str] = set()  # what loops of the region compute, and what they compute for each head, of all heads
        slices: set[str] = set()  # of what each head has: they do not lie side by side
        for eq in equations:
            if isinstance(eq.node, Concat):
                eq = self.joined(eq, eq.node, here, made)
            if isinstance(eq.node, Merge) and eq.node.value in slices:
                made.append(self.copy(eq.node.value))
                here.add(made[-1].name)
                eq = replace(eq, node=Merge(made[-1].name))
            if self.lies_in_several_places(eq):
                raw = self.names.fresh(f"{eq.name}_value")
                self.types[raw] = self.types[eq.name]
                made.append(replace(eq, name=raw, shown=False))
                eq = replace(eq, node=Map(sp.Symbol(raw)))
            made.append(eq)
            if isinstance(eq.node, _VIEWS) and eq.node.value in self.fleeting:
                self.fleeting.add(eq.name)
            if isinstance(eq.node, Slice) and self.types[eq.name].headed:
                slices.add(eq.name)
            if not isinstance(eq.node, (Concat, MatVec, MatVecT, *_VIEWS)) or (isinstance(eq.node, Merge) and eq.node.value in here):
                here.add(eq.name)
        return made

    def joined(self, eq: Equation, node: Concat, here: set[str], made: list[Equation]) -> Equation:
        """Return a concatenation of copies of those parts that no loop of the region computes, or that stand in it already."""
        parts: list[str] = []
        for part in node.parts:
            if part not in here or part in parts:
                made.append(self.copy(part))
                part = made[-1].name
            parts.append(part)
        return replace(eq, node=Concat(tuple(parts)))

    def lies_in_several_places(self, eq: Equation) -> bool:
        """Say whether a vector that is a view, or that no loop computes, is wanted in more places than it can lie in."""
        if isinstance(eq.node, Map) or (not self.types[eq.name].shape and not isinstance(eq.node, _VIEWS)):
            return False
        state = eq.name in self.states
        places = [state, state and eq.name in self.elsewhere, eq.name in self.kept.outputs, eq.name in self.kept.rows]
        room = {**dict.fromkeys(_VIEWS, 0), Concat: places[-1]}  # the array of a concatenation can be kept as it is
        return sum(places) > room.get(type(eq.node), 1)

    def copy(self, name: str) -> Equation:
        copy = self.names.fresh(f"{name}_copy")
        self.types[copy] = replace(self.types[name], batched=True)  # a static value has a row for each sequence now
        return Equation(copy, Map(sp.Symbol(name)), shown=False)

    def reading(self, eq: Equation, loop: list[Equation]) -> Equation:
        """Return what follows the loop reading copies, which the loop makes, of previous states."""
        for name in [o for o in eq.node.operands() if o in self.fleeting]:
            eq = replace(eq, node=eq.node.rename({name: self.last(name, loop)}))
        return eq

    def last(self, name: str, loop: list[Equation]) -> str:
        """Return the copy, which the loop makes, of a previous state."""
        if name not in self.lasting:
            self.lasting[name] = self.copy(name)
            loop.append(self.lasting[name])
        return self.lasting[name].name


def _read_elsewhere(regions: Regions) -> set[str]:
    """Return what is read, itself or a view of it, outside the region that makes it, or summed over steps."""
    base: dict[str, str] = {}
    made: dict[str, str] = {}
    found: set[str] = set()
    for region in REGIONS:
        for eq in getattr(regions, region):
            made[eq.name] = region
            if isinstance(eq.node, _VIEWS):
                base[eq.name] = base.get(eq.node.value, eq.node.value)
            found |= {name for o in eq.node.operands() if made.get(name := base.get(o, o), region) != region}
    return found | {base.get(o, o) for eq in regions.rec.accumulators for o in eq.node.operands()}
