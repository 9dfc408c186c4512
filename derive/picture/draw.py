"""From a layout to SVG."""

from __future__ import annotations

from html import escape

from .graph import BOXES, CIRCLES, Node
from .label import BASE, SMALL, SUB, SUP, Label, extent, width
from .layout import Layout
from .node_shape import CELL, Port, Rect, Shape
from .route import Branch, Wire
from .wires import Line, dots, lines

PAD = 8.0  # px around the picture
ARROW = (6.0, 3.2)  # length and half width of an arrowhead
STYLE = """
svg.cell { --ink: var(--cell-ink, currentColor); --dark: var(--cell-text, #1b1b1b);
  font-family: var(--cell-font, "STIX Two Text", "Latin Modern Roman", "Times New Roman", "Liberation Serif", "DejaVu Serif", serif);
  font-size: 14px; color: inherit; }
svg.cell .wire { fill: none; stroke: var(--ink); stroke-width: 1.4; stroke-linejoin: round; }
svg.cell .tip, svg.cell .dot { fill: var(--ink); stroke: none; }
svg.cell .name { fill: var(--ink); stroke: none; }
svg.cell .body { stroke: var(--cell-edge, #55534b); stroke-width: 1.2; }
svg.cell .layer .body, svg.cell .linear .body { fill: var(--cell-layer, #f6d776); }
svg.cell .gain .body { fill: var(--cell-gain, #fbeebb); }
svg.cell .sum .body, svg.cell .product .body { fill: var(--cell-operation, #f5c0c0); }
svg.cell .function .body, svg.cell .shift .body { fill: var(--cell-function, #f3efe6); }
svg.cell .state .body, svg.cell .next .body { fill: var(--cell-state, #cfe6cf); }
svg.cell .input .body, svg.cell .context .body { fill: var(--cell-input, #cddff5); }
svg.cell .output .body, svg.cell .next.output .body { stroke-width: 2.6; }
svg.cell .output .body { fill: var(--cell-output, #e3d3f0); }
svg.cell .next.output .body { fill: var(--cell-state, #cfe6cf); }
svg.cell .join .body, svg.cell .split .body, svg.cell .wire-name .body { fill: var(--ink); stroke: none; }
svg.cell .inside { fill: var(--dark); stroke: none; }
svg.cell .sign { stroke: var(--dark); stroke-width: 1.5; fill: none; }
svg.cell .mark { stroke: var(--ink); stroke-width: 1.8; stroke-linecap: round; fill: none; }
svg.cell a { text-decoration: none; }
""".strip()


def drawing(layout: Layout, name: str, title: str, description: str) -> str:
    """Return a layout as an SVG element; ids in it begin with `name`."""
    content: list[str] = []
    for wire in layout.wires:
        content += wire_elements(layout, wire)
    for number, node in enumerate(layout.placement.graph.nodes):
        group, *rest = node_elements(layout, number)
        content += [f'<a href="#F{node.line}">{group}</a>' if node.line else group, *rest]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cell" {extents(bounds(layout))} role="group" '
        f'aria-labelledby="{name}-picture-title {name}-picture-desc">'
    )
    told = [
        f'<title id="{name}-picture-title">{escape(title)}</title>',
        f'<desc id="{name}-picture-desc">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
    ]
    return "\n".join([head, *told, *content, "</svg>"]) + "\n"


def extents(rect: Rect) -> str:
    """Return the attributes of an element that shows a rectangle at its natural size."""
    left, top, right, bottom = rect
    width, height = px(right - left), px(bottom - top)
    return f'viewBox="{px(left)} {px(top)} {width} {height}" width="{width}" height="{height}"'


def px(value: float) -> str:
    """Return a number of px as it is written."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


# Wires


def wire_elements(layout: Layout, wire: Wire, *, back: bool = False) -> list[str]:
    """Return a wire with arrowheads at its readers, or at its maker if it runs `back`, and dots where it branches."""
    ways = lines(layout, wire)
    path = " ".join(_path(way) for way in ways)
    found = [f'<path class="wire" data-value="{wire.value}" d="{path}"/>'] if path else []
    found += [_leftward(layout, wire)] if back else [_arrowhead(layout, branch) for branch in wire.branches]
    found += [f'<circle class="dot" cx="{px(x)}" cy="{px(y)}" r="2.6"/>' for x, y in dots(wire)]
    return found


def _path(way: Line) -> str:
    return "M" + " L".join(f"{px(x)} {px(y)}" for x, y in way)


def _arrowhead(layout: Layout, branch: Branch) -> str:
    port = layout.placement.shapes[branch.reader].ports[branch.port]
    if layout.placement.graph.nodes[branch.reader].kind in ("join", "wire"):
        return ""
    x, y = _at(layout, branch.reader, port)
    return _head(x, y, port.step)


def _leftward(layout: Layout, wire: Wire) -> str:
    """Return the arrowhead of a wire that runs back, at the right edge of its maker."""
    maker = layout.placement.graph.values[wire.value].node
    x = layout.placement.centres[maker][0] * CELL + layout.placement.shapes[maker].half_width
    return _head(x, wire.stub[0][1] * CELL, (-1, 0))


def _head(x: float, y: float, step: tuple[int, int]) -> str:
    dx, dy = step
    length, half = ARROW
    back = (x - dx * length, y - dy * length)
    one, other = (back[0] + dy * half, back[1] + dx * half), (back[0] - dy * half, back[1] - dx * half)
    return f'<path class="tip" d="M{px(x)} {px(y)} L{px(one[0])} {px(one[1])} L{px(other[0])} {px(other[1])} Z"/>'


def _at(layout: Layout, node: int, port: Port) -> tuple[float, float]:
    x, y = layout.placement.centres[node]
    dx, dy = layout.placement.shapes[node].edge(port)
    return x * CELL + dx, y * CELL + dy


# Nodes


def node_elements(layout: Layout, number: int) -> list[str]:
    """Return a node as a group, then the names of what it makes and the signs beside its ports."""
    placement = layout.placement
    node, shape = placement.graph.nodes[number], placement.shapes[number]
    x, y = (c * CELL for c in placement.centres[number])
    kind = "wire-name" if node.kind == "wire" else node.kind
    classes = f"{kind} output" if node.kind == "next" and node.tip.endswith("output") else kind
    reads = " ".join(str(i.value) for i in node.inputs)
    makes = " ".join(map(str, node.outputs))
    inner = [f"<title>{escape(node.tip)}</title>"] if node.tip else []
    inner += [_body(node, shape, x, y), *_inside(node, shape, x, y)]
    group = f'<g class="{classes}" data-reads="{reads}" data-makes="{makes}">{"".join(inner)}</g>'
    found = [group]
    for k, outlet in enumerate(shape.outlets):
        if outlet.label:
            found.append(_text(placement.graph.values[node.outputs[k]].label, x + outlet.label[0], y + outlet.baseline, "name"))
    return found + _marks(layout, number)


def _body(node: Node, shape: Shape, x: float, y: float) -> str:
    if node.kind in CIRCLES and len(node.inputs) <= 3:
        return f'<circle class="body" cx="{px(x)}" cy="{px(y)}" r="{px(shape.half_width)}"/>'
    w, h = shape.half_width, shape.half_height
    radius = 3 if node.kind in BOXES else 0 if node.kind in ("join", "split") else min(w, h)
    if node.kind in ("function", "shift", "gain"):
        radius = 6 if len(node.inputs) > 1 else min(h, 9)
    return f'<rect class="body" x="{px(x - w)}" y="{px(y - h)}" width="{px(2 * w)}" height="{px(2 * h)}" rx="{px(radius)}"/>'


def _inside(node: Node, shape: Shape, x: float, y: float) -> list[str]:
    if node.kind == "sum":
        return [f'<path class="sign" d="M{px(x - 5)} {px(y)} L{px(x + 5)} {px(y)} M{px(x)} {px(y - 5)} L{px(x)} {px(y + 5)}"/>']
    if node.kind == "product":
        a, b, c, d = px(x - 4), px(y - 4), px(x + 4), px(y + 4)
        return [f'<path class="sign" d="M{a} {b} L{c} {d} M{a} {d} L{c} {b}"/>']
    if not node.label:
        return []
    above, below = extent(node.label)
    return [_text(node.label, x - width(node.label) / 2, y + (min(above, 10.0) - min(below, 3.0)) / 2, "inside", centre=x)]


def _marks(layout: Layout, number: int) -> list[str]:
    """Return the signs beside the ports of a node."""
    node, shape = layout.placement.graph.nodes[number], layout.placement.shapes[number]
    found = []
    for wire in layout.wires:
        for branch in wire.branches:
            if branch.reader == number and node.inputs[branch.k].mark:
                found.append(_mark(node.inputs[branch.k].mark, mark_place(layout, number, shape.ports[branch.port])))
    return found


def _mark(mark: str, place: Rect) -> str:
    """Return a minus or a division sign as strokes."""
    left, top, right, bottom = place
    x, y = (left + right) / 2, (top + bottom) / 2
    path = f"M{px(left)} {px(y)} L{px(right)} {px(y)}"
    if mark == "÷":
        path += f" M{px(x)} {px(y - 3.2)} l0 0.01 M{px(x)} {px(y + 3.2)} l0 0.01"
    return f'<path class="mark" d="{path}"><title>{mark}</title></path>'


def mark_place(layout: Layout, number: int, port: Port) -> Rect:
    """Return where the sign of a port stands: in the corner beside its arrow that is farther from other wires."""
    x = layout.placement.centres[number][0] * CELL
    ex, ey = _at(layout, number, port)
    if port.step == (1, 0):
        taken = {shape_port(layout, b).step for b in _into(layout, number)}
        up = (0, 1) not in taken or (0, -1) in taken
        return (ex - 8, ey - 12, ex - 2, ey - 4) if up else (ex - 8, ey + 4, ex - 2, ey + 12)
    return (x + 5, ey - 9, x + 11, ey - 1) if port.step == (0, 1) else (x + 5, ey + 1, x + 11, ey + 9)


def _into(layout: Layout, number: int) -> list[Branch]:
    return [b for wire in layout.wires for b in wire.branches if b.reader == number]


def shape_port(layout: Layout, branch: Branch) -> Port:
    return layout.placement.shapes[branch.reader].ports[branch.port]


# Text


def _text(label: Label, x: float, y: float, kind: str, *, centre: float | None = None) -> str:
    """Return a label that begins at x, or stands around `centre`."""
    spans, shift = [], 0
    for run in label:
        attributes = ' font-style="italic"' if run.italic else ""
        dy = _offset(run.shift) - _offset(shift)
        attributes += f' dy="{px(dy)}"' if dy else ""
        attributes += f' font-size="{px(SMALL)}"' if run.shift else ""
        shift = run.shift
        text = escape(run.text)
        spans.append(f"<tspan{attributes}>{text}</tspan>" if attributes else text)
    anchor = f'x="{px(x)}"' if centre is None else f'x="{px(centre)}" text-anchor="middle"'
    return f'<text class="{kind}" {anchor} y="{px(y)}" font-size="{px(BASE)}">{"".join(spans)}</text>'


def _offset(shift: int) -> float:
    return SUB if shift > 0 else SUP if shift < 0 else 0.0


# The whole


def bounds(layout: Layout) -> Rect:
    """Return the rectangle around everything that is drawn."""
    xs: list[float] = []
    ys: list[float] = []
    for (cx, cy), shape in zip(layout.placement.centres, layout.placement.shapes, strict=True):
        x, y = cx * CELL, cy * CELL
        xs += [x - shape.half_width, x + shape.half_width]
        ys += [y - shape.half_height, y + shape.half_height]
        for outlet in shape.outlets:
            if outlet.label:
                xs.append(x + outlet.label[2])
                ys += [y + outlet.label[1], y + outlet.label[3]]
    for wire in layout.wires:
        for way in lines(layout, wire):
            xs += [x for x, _ in way]
            ys += [y for _, y in way]
    return min(xs) - PAD, min(ys) - PAD, max(xs) + PAD, max(ys) + PAD
