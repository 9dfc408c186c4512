"""Wires: every value runs from its maker to all its readers, never along another wire nor through anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import inf

from .grid import Grid, Point
from .place import Placement
from .search import BEND, FORK, STEPS, search

SLACK = 12  # by how much improving wires in place makes them cheaper
PASSES = 3
ATTEMPTS = 8


@dataclass(frozen=True)
class Branch:
    """A path from the wire to input `k` of node `reader`, into its port number `port`."""

    reader: int
    k: int
    port: int
    path: tuple[Point, ...]
    cost: int


@dataclass(frozen=True)
class Wire:
    """A value's wire: `stub` leads from its maker to where it may branch, `branches` each to one reader's port."""

    value: int
    stub: tuple[Point, ...]
    branches: tuple[Branch, ...] = ()

    @cached_property
    def cost(self) -> int:
        return sum([branch.cost for branch in self.branches])


@dataclass
class Router:
    """Routes one value after the other on a shared grid."""

    placement: Placement
    grid: Grid = field(init=False)
    stubs: list[tuple[Point, ...]] = field(init=False)  # of each value, where its wire begins
    readers: list[list[tuple[int, int]]] = field(init=False)  # of each value, in the order in which they are reached
    ports: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)  # what took a node's port: value and input
    wires: dict[int, Wire] = field(default_factory=dict)
    steps: int = 0
    changes: int = 0  # how often a wire came to lie elsewhere
    tried: dict[int, tuple[int, int]] = field(default_factory=dict)  # of a value that was routed again: the changes until then, and steps

    def __post_init__(self) -> None:
        """Lay out the grid; where wires begin is kept free for them."""
        self.grid = Grid(self.placement)
        values = range(len(self.placement.graph.values))
        self.stubs, self.readers = [self._stub(value) for value in values], [self._readers(value) for value in values]
        for value in values:
            self.grid.occupy(value, self.stubs[value], start=True)

    def total(self) -> int:
        """Return what all wires cost."""
        return sum([wire.cost for wire in self.wires.values()])

    def route(self, value: int) -> bool:
        """Route a value to all its readers; False if there is no way."""
        wire = Wire(value, self.stubs[value])
        for reader, k in self.readers[value]:
            self.wires[value] = wire
            branch = self._branch(wire, reader, k)
            if branch is None:
                return False
            self.ports[reader, branch.port] = (value, k)
            self.grid.occupy(value, branch.path)
            wire = Wire(value, wire.stub, (*wire.branches, branch))
        self.wires[value] = wire
        return True

    def again(self, value: int) -> None:
        """Route a value anew, and keep what is cheaper; if no wire has changed since the last time, it would take the same steps."""
        changes, steps = self.tried.get(value, (-1, 0))
        if changes == self.changes:
            self.steps += steps
            return
        old, before = self.wires[value], self.steps
        self._release(value)
        if not self.route(value) or self.wires[value].cost > old.cost:
            self._release(value)
            self.restore(old)
        self.changes += self.wires[value] != old
        self.tried[value] = self.changes, self.steps - before

    def _stub(self, value: int) -> tuple[Point, ...]:
        made = self.placement.graph.values[value]
        x, y = self.placement.centres[made.node]
        outlet = self.placement.shapes[made.node].outlets[made.port]
        return tuple((x + dx, y + outlet.dy) for dx in range(outlet.start, outlet.end + 1))

    def _readers(self, value: int) -> list[tuple[int, int]]:
        """Return the readers in the order in which they are reached: along the rail first, then the nearest."""
        placement = self.placement
        maker = placement.graph.values[value].node
        straight = {b for rail in placement.rails for a, b in pairwise(rail) if a == maker}
        x, y = placement.centres[maker]

        def far(reader: tuple[int, int]) -> tuple[bool, int]:
            u, v = placement.centres[reader[0]]
            return reader[0] not in straight, abs(u - x) + abs(v - y)

        return sorted(placement.graph.readers[value], key=far)

    def _release(self, value: int) -> None:
        wire = self.wires.pop(value)
        for branch in wire.branches:
            self.grid.release(value, branch.path)
            del self.ports[branch.reader, branch.port]
        self.grid.occupy(value, wire.stub, start=True)

    def free(self, wire: Wire) -> bool:
        """Say whether nothing is in a wire's way."""
        return all(self.grid.fits(wire.value, branch.path) for branch in wire.branches)

    def restore(self, wire: Wire) -> None:
        """Put a wire back."""
        self.wires[wire.value] = wire
        for branch in wire.branches:
            self.grid.occupy(wire.value, branch.path)
            self.ports[branch.reader, branch.port] = (wire.value, branch.k)

    # Searches

    def _branch(self, wire: Wire, reader: int, k: int) -> Branch | None:
        targets = self._targets(reader, k)
        if not targets:
            return None
        way = search(self.grid, wire.value, self._seeds(wire), targets)
        if way is None:
            return None
        self.steps += way.steps
        return Branch(reader, k, way.port, self.grid.points(way.path), way.cost)

    def _seeds(self, wire: Wire) -> dict[int, int]:
        """Return where a branch may leave a wire: straight on at the stub's end, or by a fork."""
        end = self.grid.index(wire.stub[-1])
        if not wire.branches:
            return {4 * end: 0, 4 * end + 1: BEND, 4 * end + 3: BEND}
        tree = dict.fromkeys(p for path in (wire.stub[1:], *(b.path[:-1] for b in wire.branches)) for p in self.grid.indices(path))
        return {4 * p + d: FORK for p in tree if self.grid.own(p, wire.value) for d in range(4)}

    def _targets(self, reader: int, k: int) -> dict[int, tuple[int, int]]:
        """Return the ports that an input may take, by state."""
        shape = self.placement.shapes[reader]
        x, y = self.placement.centres[reader]
        return {
            4 * self.grid.index((x + port.dx, y + port.dy)) + STEPS.index(port.step): (number, port.cost)
            for number, port in enumerate(shape.ports)
            if (reader, number) not in self.ports and (not shape.ordered or number == k)
        }


def routed(placement: Placement, bound: float = inf, old: Router | None = None) -> Router | int:
    """Return all wires of a placement, each improved a few times while the others lie.

    Wires of `old`, routed before nodes were moved, stay where they are untouched.  If a value finds no way, or if the first attempt is so
    much dearer than `bound` that improving it will not do, return the steps made.
    """
    steps, sequence = 0, _sequence(placement)
    for _ in range(ATTEMPTS if old is None else 1):
        router = Router(placement, steps=steps)
        kept = _kept(router, old) if old is not None else frozenset()
        fresh = [value for value in sequence if value not in kept]
        failed = next((value for value in fresh if not router.route(value) or router.total() > bound + SLACK), None)
        if failed is None:
            _improve(router, fresh, bound)
            return router
        steps = router.steps
        sequence = [failed, *(value for value in sequence if value != failed)]  # others had closed its way
    return steps


def _improve(router: Router, fresh: list[int], bound: float) -> None:
    """Route values again: first those whose wires are new, then, if that may do, all."""
    partial = len(fresh) < len(router.wires)
    for chosen in ((fresh,) if partial else ()) + (sorted(router.wires),) * PASSES:
        before = router.total()
        for value in chosen:
            router.again(value)
        if router.total() == before and (len(chosen) > len(fresh) or before > bound + SLACK / 2):
            return


def _kept(router: Router, old: Router) -> frozenset[int]:
    """Put the wires back that end at nodes which did not move, and whose points are still free."""
    now, before = router.placement, old.placement
    moved = {k for k, (a, b) in enumerate(zip(now.centres, before.centres, strict=True)) if a != b}
    kept = []
    for value, wire in old.wires.items():
        nodes = {now.graph.values[value].node, *(b.reader for b in wire.branches)}
        if not nodes & moved and router.free(wire):
            router.restore(wire)
            kept.append(value)
    return frozenset(kept)


def _sequence(placement: Placement) -> list[int]:
    """Return the values in the order in which they are routed: rails first, then the short ones."""
    graph = placement.graph
    straight = {node for rail in placement.rails for node in rail}

    def far(value: int) -> int:
        x, y = placement.centres[graph.values[value].node]
        ends = [placement.centres[r] for r, _ in graph.readers[value]]
        return sum(abs(x - u) + abs(y - v) for u, v in ends)

    return sorted(range(len(graph.values)), key=lambda v: (graph.values[v].node not in straight, far(v), v))
