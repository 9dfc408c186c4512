"""Where everything stands: from columns, orders and rows to points of a grid."""

from __future__ import annotations

from dataclasses import dataclass

from .crossings import Order, crossings, ordered
from .graph import Graph
from .lanes import Lanes
from .node_shape import Shape
from .rails import Rails, arrangements
from .rows import rows

MARGIN = 4  # cells around the picture in which wires may run


@dataclass(frozen=True)
class Placement:
    """Centres of the nodes in cells of the grid, and its size; straight wires connect the nodes of `rails`, the first `top` at the top."""

    graph: Graph
    shapes: tuple[Shape, ...]
    centres: tuple[tuple[int, int], ...]
    width: int
    height: int
    rails: tuple[tuple[int, ...], ...]
    top: int


@dataclass(frozen=True)
class Spots:
    """What a placement is made from: how far each node is right of its column's middle, its row, and the channel behind each column."""

    shifts: tuple[int, ...]
    rows: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Draft:
    """An order of items with what it costs before wires are routed."""

    lanes: Lanes
    rails: Rails
    order: Order
    cost: float

    @property
    def rail_nodes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(i for i in rail if self.lanes.is_node(i)) for rail in (*self.rails.top, *self.rails.bottom))


def drafts(lanes: Lanes) -> list[Draft]:
    """Return arrangements, the most promising first."""
    found: dict[tuple[Rails, Order], Draft] = {}
    for rails in arrangements(lanes):
        for reverse in (False, True):
            order = ordered(lanes, rails, reverse=reverse)
            if (rails, order) not in found:
                found[rails, order] = Draft(lanes, rails, order, _cost(lanes, rails, order))
    return sorted(found.values(), key=lambda draft: draft.cost)


def _cost(lanes: Lanes, rails: Rails, order: Order) -> float:
    y = rows(lanes, order, rails)
    length = sum(abs(y[e.left] + e.left_row - y[e.right] - e.right_row) for e in lanes.links)
    return 8.0 * crossings(lanes, order) + length + max(y.values()) - min(y.values()) + 4.0 * len(rails.bottom)


def spots(draft: Draft, spread: int) -> Spots:
    """Return where a draft's nodes stand at first; `spread` more cells than seem needed lie between them."""
    y = rows(draft.lanes, draft.order, draft.rails, spread)
    channels = (_channel(draft.lanes, y, c) + spread for c in range(len(draft.order)))
    return Spots((0,) * len(draft.lanes.shapes), tuple(y[k] for k in range(len(draft.lanes.graph.nodes))), tuple(channels))


def placed(draft: Draft, spots: Spots) -> Placement:
    """Return the placement of a draft's nodes."""
    lanes, shapes = draft.lanes, draft.lanes.shapes
    x = _column_centres(lanes, spots.channels)
    nodes = range(len(shapes))
    highest = min(spots.rows[k] - shapes[k].up for k in nodes)
    centres = tuple((x[lanes.column[k]] + spots.shifts[k], spots.rows[k] - highest + MARGIN) for k in nodes)
    width = max(centres[k][0] + shapes[k].right for k in nodes) + MARGIN
    height = max(centres[k][1] + shapes[k].rows for k in nodes) + MARGIN
    return Placement(lanes.graph, shapes, centres, width + 1, height + 1, draft.rail_nodes, len(draft.rails.top))


def _column_centres(lanes: Lanes, channels: tuple[int, ...]) -> list[int]:
    at, centres = MARGIN, []
    for (left, right), channel in zip(lanes.widths, channels, strict=True):
        centres.append(at + left)
        at += left + right + channel
    return centres


def clear(lanes: Lanes, placement: Placement) -> bool:
    """Say whether nodes keep their distance from one another and from the rails, and lie between the outermost ones."""
    centres, shapes = placement.centres, placement.shapes
    order = sorted(range(len(centres)), key=lambda k: centres[k][1])
    for n, a in enumerate(order):
        for b in order[n + 1 :]:
            (ax, ay), (bx, by) = centres[a], centres[b]
            beside = bx - shapes[b].left > ax + shapes[a].right or ax - shapes[a].left > bx + shapes[b].right
            if not beside and by - ay < lanes.apart(a, b):
                return False
    return all(_beside_rail(placement, rail, k < placement.top) for k, rail in enumerate(placement.rails))


def _beside_rail(placement: Placement, rail: tuple[int, ...], top: bool) -> bool:
    """Say whether nodes leave a rail's row free and lie on its right side."""
    row = placement.centres[rail[0]][1]
    others = {k for other in placement.rails for k in other}
    for k, ((_, y), shape) in enumerate(zip(placement.centres, placement.shapes, strict=True)):
        if k not in rail and y - shape.up <= row <= y + shape.rows:
            return False
        if k not in others and (y < row if top else y > row):
            return False
    return True


def _channel(lanes: Lanes, y: dict[int, int], c: int) -> int:
    """Return the width of the channel to the right of a column, by how many wires change rows beside one another."""
    spans: dict[int, tuple[int, int]] = {}
    for e in lanes.channels[c]:
        ends = (y[e.left] + e.left_row, y[e.right] + e.right_row)
        low, high = spans.get(e.value, ends)
        spans[e.value] = (min(low, *ends), max(high, *ends))
    bends = [(low, high) for low, high in spans.values() if low < high]
    lowest, highest = min(y.values()), max(y.values())
    dense = max([sum(low <= row <= high for low, high in bends) for row in range(lowest, highest + 1)], default=0)
    return 2 + dense // 2
