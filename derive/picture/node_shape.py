"""How large a node is, where wires enter and leave it, and what stays free around it; in cells of the drawing grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil

from .graph import BOXES, CIRCLES, SINKS, SOURCES, Graph, Node
from .label import extent, width

CELL = 10.0  # px
RADIUS = 10.0  # of a circle
LABEL_GAP = 4.0  # px between a node and the name beside its wire
Rect = tuple[float, float, float, float]  # left, top, right, bottom in px


@dataclass(frozen=True)
class Port:
    """Where a wire may enter: a grid point relative to the node's centre, the direction of travel, and what choosing it costs."""

    dx: int
    dy: int
    step: tuple[int, int]
    cost: int = 0


@dataclass(frozen=True)
class Outlet:
    """Where a wire leaves to the right: from `start` straight on to `end`, with room for the value's name above it."""

    dy: int
    start: int
    end: int
    label: Rect | None  # relative to the node's centre
    baseline: float = 0.0


@dataclass(frozen=True)
class Shape:
    """Half extents of the body in px, and the ports; `ordered` says that input k takes port k."""

    half_width: float
    half_height: float
    ports: tuple[Port, ...]
    outlets: tuple[Outlet, ...]
    ordered: bool

    @property
    def narrow(self) -> bool:
        """Whether every port is needed and all are at the left, so that a wire into one must not close the way to another."""
        return len(self.ports) > 1 and all(port.step == (1, 0) for port in self.ports)

    @cached_property
    def left(self) -> int:
        return ceil(self.half_width / CELL)

    @cached_property
    def right(self) -> int:
        return max([self.left, *(o.end for o in self.outlets)])

    @cached_property
    def up(self) -> int:
        """Rows above the centre where no other wire may pass."""
        label = max([0, *(int(-o.label[1] / CELL) for o in self.outlets if o.label)])
        return max(self.rows, label)

    @cached_property
    def rows(self) -> int:
        """Rows above and below the centre that the body takes."""
        return int((self.half_height + 4.0) / CELL)

    def edge(self, port: Port) -> tuple[float, float]:
        """Return where on the body, relative to the centre, a wire that comes to a port ends; in px."""
        if port.step[0]:
            return -self.half_width * port.step[0], port.dy * CELL
        return port.dx * CELL, -self.half_height * port.step[1]


def shape_of(node: Node, graph: Graph) -> Shape:
    """Return the shape of a node."""
    half_width, half_height = _body(node)
    ports = _ports(node, half_width, half_height)
    outlets = tuple(_outlet(node, graph, port, half_width) for port in range(len(node.outputs)))
    return Shape(half_width, half_height, ports, outlets, node.ordered)


def _body(node: Node) -> tuple[float, float]:
    count = len(node.inputs)
    text = width(node.label) / 2
    if node.kind in CIRCLES:
        return RADIUS, RADIUS if count <= 3 else CELL * (count - 1) + 8
    if node.kind == "join":
        return 2.0, max([abs(d) for d in _join_rows(count)], default=0) * CELL + 6
    if node.kind == "split":
        return 2.0, max([abs(d) for d in _split_rows(len(node.outputs))]) * CELL + 8
    if node.kind == "wire":
        return 3.0, 3.0
    height = max(13.0 if node.kind in (*BOXES, *SOURCES, *SINKS) else 11.0, (14.0 if count > 1 else 0.0))
    reach = max([abs(d) for d in _spread(count)], default=0) if node.ordered or count > 5 else 0
    least, margin = (20, 8) if node.kind in BOXES else (20, 10) if node.kind in SOURCES or node.kind in SINKS else (15, 6)
    return 5.0 * ceil(max(least, text + margin) / 5), max(height, reach * CELL + 5)


def _join_rows(count: int) -> list[int]:
    """Return rows for what is joined: as far apart as sources stand, while they are few."""
    step = 4 if count <= 3 else 2
    return [step * k - step * (count - 1) // 2 for k in range(count)]


def _spread(count: int) -> list[int]:
    """Return rows for inputs that enter one above the other, around 0."""
    if count % 2:
        return [k - count // 2 for k in range(count)]
    return [2 * k - count + 1 for k in range(count)]


def _split_rows(count: int) -> list[int]:
    return [3 * k - 3 * (count - 1) // 2 for k in range(count)]


def _ports(node: Node, half_width: float, half_height: float) -> tuple[Port, ...]:
    count = len(node.inputs)
    x, y = -ceil(half_width / CELL), ceil(half_height / CELL)
    if node.kind in CIRCLES and count > 3:
        return tuple(Port(x, 2 * k - count + 1, (1, 0)) for k in range(count))
    if node.kind in ("join", "split", "wire", *SINKS) or node.ordered or count > 5:
        spread = _join_rows if node.kind == "join" else _spread
        return tuple(Port(x, row, (1, 0)) for row in spread(count))
    upright = 4 if node.kind in BOXES else 2  # boxes are entered from the left where that does not take a detour
    free = [Port(x, 0, (1, 0)), Port(0, -y, (0, 1), upright), Port(0, y, (0, -1), upright)]
    if half_height >= 13 and node.kind not in CIRCLES and count > 1:
        free += [Port(x, -1, (1, 0), 1), Port(x, 1, (1, 0), 1)]
    return tuple(free) if count else ()


def _outlet(node: Node, graph: Graph, port: int, half_width: float) -> Outlet:
    label = graph.values[node.outputs[port]].label
    row = _split_rows(len(node.outputs))[port] if node.kind == "split" else 0
    start = ceil(half_width / CELL)
    if not label:
        return Outlet(row, start, start + 1, None)
    above, below = extent(label)
    left = half_width + LABEL_GAP
    right = left + width(label) + 2
    baseline = row * CELL - 3 - below
    return Outlet(row, start, max(start + 1, ceil((right + 1) / CELL)), (left, baseline - above, right, baseline + below), baseline)
