"""The geometry of wires: straight stretches in px, and the dots where they branch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from .grid import Point
from .layout import Layout
from .node_shape import CELL
from .place import Placement
from .route import Branch, Wire

Line = tuple[tuple[float, float], ...]


def lines(layout: Layout, wire: Wire) -> list[Line]:
    """Return the lines of a wire in px: from its maker's edge as far as it is not shared, then to each reader's edge."""
    placement = layout.placement
    maker = placement.graph.values[wire.value]
    x = placement.centres[maker.node][0]
    edge = (x * CELL + placement.shapes[maker.node].half_width, wire.stub[0][1] * CELL)
    stub = [edge, *_pixels(wire.stub[1:])]
    found = [_straight(stub)] if len(stub) > 1 else []
    found += [_straight([*_pixels(b.path), _end(placement, b)]) for b in wire.branches]
    return _joined(found)


def _joined(found: list[Line]) -> list[Line]:
    """Put the stub and the branch that goes on from its end into one line."""
    for k, line in enumerate(found[1:], 1):
        if line[0] == found[0][-1]:
            return [_straight([*found[0], *line]), *found[1:k], *found[k + 1 :]]
    return found


def _end(placement: Placement, branch: Branch) -> tuple[float, float]:
    x, y = placement.centres[branch.reader]
    shape = placement.shapes[branch.reader]
    dx, dy = shape.edge(shape.ports[branch.port])
    return x * CELL + dx, y * CELL + dy


def _pixels(path: Sequence[Point]) -> list[tuple[float, float]]:
    return [(x * CELL, y * CELL) for x, y in path]


def _straight(points: Sequence[tuple[float, float]]) -> Line:
    """Leave out points on straight stretches."""
    kept: list[tuple[float, float]] = []
    for point in points:
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and any(kept[-2][i] == kept[-1][i] == point[i] for i in (0, 1)):
            kept.pop()
        kept.append(point)
    return tuple(kept)


def dots(wire: Wire) -> list[tuple[float, float]]:
    """Return where three or more stretches of a wire meet."""
    stretches: set[tuple[Point, Point]] = set()
    for path in (wire.stub, *(b.path for b in wire.branches)):
        for a, b in pairwise(path):
            stretches.add((min(a, b), max(a, b)))
    meeting: dict[Point, int] = {}
    for a, b in sorted(stretches):
        meeting[a], meeting[b] = meeting.get(a, 0) + 1, meeting.get(b, 0) + 1
    return [(x * CELL, y * CELL) for (x, y), count in sorted(meeting.items()) if count > 2]
