"""A picture of a cell for a row of many: what `draw` draws, without texts and in few bytes."""

from __future__ import annotations

from collections.abc import Iterable

from .draw import bounds
from .graph import CIRCLES
from .layout import Layout
from .node_shape import CELL
from .wires import Line, lines

COLOURS = {
    **dict.fromkeys(("layer", "linear"), "layer"),
    **dict.fromkeys(("sum", "product"), "operation"),
    **dict.fromkeys(("function", "shift"), "function"),
    **dict.fromkeys(("state", "next"), "state"),
    **dict.fromkeys(("input", "context"), "input"),
    **dict.fromkeys(("join", "split", "wire"), "ink"),
    "gain": "gain",
    "output": "output",
}
"""By kind of node, the class of its path; the page's stylesheet has a colour for each."""


def small(layout: Layout) -> str:
    """Return a layout as an SVG element of one path for all wires, and one for the nodes of each colour.

    It says nothing to those who do not see it: what it is stands beside it.
    """
    left, top, right, bottom = map(round, bounds(layout))
    wires = [_line(way) for wire in layout.wires for way in lines(layout, wire)]
    paths = {"wires": wires, **_nodes(layout)}
    drawn = "".join(f'<path class="{name}" d="{"".join(parts)}"/>' for name, parts in paths.items())
    return f'<svg class="small" viewBox="{left} {top} {right - left} {bottom - top}" aria-hidden="true">{drawn}</svg>'


def _nodes(layout: Layout) -> dict[str, list[str]]:
    """Return the bodies of the nodes by colour, in the order of `COLOURS`."""
    found: dict[str, list[str]] = {colour: [] for colour in COLOURS.values()}
    placement = layout.placement
    for node, shape, (x, y) in zip(placement.graph.nodes, placement.shapes, placement.centres, strict=True):
        body = _circle if node.kind in CIRCLES and len(node.inputs) <= 3 else _box
        found[COLOURS[node.kind]].append(body(x * CELL, y * CELL, shape.half_width, shape.half_height))
    return {colour: parts for colour, parts in found.items() if parts}


def _circle(x: float, y: float, radius: float, _: float) -> str:
    r = round(radius)
    return f"M{round(x) - r} {round(y)}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0-{2 * r} 0"


def _box(x: float, y: float, half_width: float, half_height: float) -> str:
    left, top, width, height = (round(value) for value in (x - half_width, y - half_height, 2 * half_width, 2 * half_height))
    return f"M{left} {top}h{width}v{height}h-{width}z"


def _line(way: Line) -> str:
    """Return a line of stretches along the axes, each from where the last one ended."""
    (x, y), *rest = _rounded(way)
    found = f"M{x} {y}"
    for u, v in rest:
        found += f"h{u - x}" * (u != x) + f"v{v - y}" * (v != y)
        x, y = u, v
    return found


def _rounded(way: Iterable[tuple[float, float]]) -> list[tuple[int, int]]:
    return [(round(x), round(y)) for x, y in way]
