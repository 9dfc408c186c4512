"""A layout of which a part is lit and the rest faint: a figure of its own, without links, that stands beside others on a page."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import cos, sin

from .draw import STYLE, bounds, extents, node_elements, px, wire_elements
from .layout import Layout
from .node_shape import CELL, RADIUS, Rect

KNOWN, BACK, CONTROL = "known", "back", "control"  # how a wire is drawn: a cotangent that is there, one that is made, a gate that is fixed
OPEN = 0.7  # rad by which the lever of an open switch is turned
LIT = """
svg.cell .faint { opacity: 0.25; }
svg.cell .back .wire { stroke: var(--cell-back, #d1495b); stroke-width: 2.6; }
svg.cell .known .wire { stroke: var(--cell-back, #d1495b); stroke-width: 1.4; }
svg.cell .back .tip, svg.cell .known .tip, svg.cell .back .dot, svg.cell .known .dot { fill: var(--cell-back, #d1495b); }
svg.cell .control .wire { stroke-dasharray: 3 3; }
svg.cell .switch .body { fill: var(--cell-function, #f3efe6); }
svg.cell .switch .lever { stroke: var(--dark); stroke-width: 2; stroke-linecap: round; }
svg.cell .switch .contact { fill: var(--dark); }
""".strip()


@dataclass(frozen=True)
class Light:
    """What is lit.

    Attributes
    ----------
    nodes : collection of int
    wires : mapping
        How each lit wire is drawn, by its value: ``back`` and ``known`` run back, ``control`` is dashed, nothing is as ever.
    switches : mapping
        Nodes that are drawn as a switch: which of its inputs goes through, and whether it is closed.
    """

    nodes: Collection[int]
    wires: Mapping[int, str]
    switches: Mapping[int, tuple[int, bool]] = field(default_factory=dict)


def lit(layout: Layout, light: Light) -> str:
    """Return a layout as an SVG element."""
    content = [_group(wire_elements(layout, w, back=_runs_back(light, w.value)), light.wires.get(w.value, "faint")) for w in layout.wires]
    for number, node in enumerate(layout.placement.graph.nodes):
        body, *rest = node_elements(layout, number)
        count = sum(outlet.label is not None for outlet in layout.placement.shapes[number].outlets)
        if number in light.switches:
            body = _switch(layout, number, *light.switches[number])
        named = any(value in light.wires for value in node.outputs)
        kind = "" if number in light.nodes else "faint"  # of its signs, too: a division sign is no part of the name beside it
        content += [_group([body], kind), _group(rest[:count], "" if named else "faint"), _group(rest[count:], kind)]
    return figure(bounds(layout), f"{STYLE}\n{LIT}", filter(None, content))


def figure(rect: Rect, style: str, content: Iterable[str]) -> str:
    """Return an SVG element that stands in a text: a page may scale it, and is told its natural width."""
    natural = f'style="--natural: {px(rect[2] - rect[0])}px"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" class="cell" {extents(rect)} {natural}>'
    return "\n".join([head, f"<style>{style}</style>", *content, "</svg>"]) + "\n"


def _runs_back(light: Light, value: int) -> bool:
    return light.wires.get(value) in (BACK, KNOWN)


def _group(elements: Iterable[str], kind: str) -> str:
    inner = "".join(elements)
    return f'<g class="{kind}">{inner}</g>' if kind and inner else inner


def _switch(layout: Layout, number: int, k: int, closed: bool) -> str:
    """Return a switch in the place of a product: from where input `k` comes in, to the right."""
    placement = layout.placement
    x, y = (c * CELL for c in placement.centres[number])
    branch = next(b for wire in layout.wires for b in wire.branches if (b.reader, b.k) == (number, k))
    dx, dy = placement.shapes[number].ports[branch.port].step
    start, end = (x - 0.7 * dx * RADIUS, y - 0.7 * dy * RADIUS), (x + 0.7 * RADIUS, y)
    tip = end if closed else _turned(start, end)
    line = f'<path class="lever" d="M{px(start[0])} {px(start[1])} L{px(tip[0])} {px(tip[1])}"/>'
    contacts = "".join(f'<circle class="contact" cx="{px(u)}" cy="{px(v)}" r="2"/>' for u, v in (start, end))
    circle = f'<circle class="body" cx="{px(x)}" cy="{px(y)}" r="{px(RADIUS)}"/>'
    return f'<g class="switch">{circle}{line}{contacts}</g>'


def _turned(pivot: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Return the end of a lever that is turned up."""
    x, y = end[0] - pivot[0], end[1] - pivot[1]
    return pivot[0] + x * cos(OPEN) + y * sin(OPEN), pivot[1] - x * sin(OPEN) + y * cos(OPEN)
