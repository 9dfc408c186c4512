"""What the lines and shapes of a cell's picture mean, each drawn once with a word below."""

from __future__ import annotations

from html import escape

from .draw import STYLE
from .lit import figure

COLUMN, ROW, PER_ROW = 205, 92, 2
WIRE = '<path class="wire" d="{}"/>'
WORD = '<text class="name" x="{}" y="{}" text-anchor="middle" font-size="13">{}</text>'


def _tip(x: float, y: float) -> str:
    return f'<path class="tip" d="M{x:g} {y:g} l-6 3.2 v-6.4 Z"/>'


def _box(kind: str, text: str, radius: float) -> str:
    """Return a box in the middle, with a wire in and out."""
    body = f'<rect class="body" x="48" y="18" width="50" height="26" rx="{radius:g}"/>'
    inside = f'<text class="inside" x="73" y="35.5" text-anchor="middle" font-size="14">{text}</text>'
    wires = WIRE.format("M18 31 L48 31 M98 31 L128 31") + _tip(48, 31) + _tip(128, 31)
    return f'{wires}<g class="{kind}">{body}{inside}</g>'


def _circle(kind: str, sign: str) -> str:
    """Return a circle that two wires come to."""
    wires = WIRE.format("M18 31 L63 31 M73 58 L73 41 M83 31 L128 31") + _tip(63, 31) + _tip(128, 31)
    tip = '<path class="tip" d="M73 41 l3.2 6 h-6.4 Z"/>'
    return f'{wires}{tip}<g class="{kind}"><circle class="body" cx="73" cy="31" r="10"/><path class="sign" d="{sign}"/></g>'


MERGE = WIRE.format("M18 19 L71 19 M18 43 L71 43 M75 31 L128 31") + _tip(128, 31)
COPY = WIRE.format("M18 31 L73 31 M128 18 L73 18 L73 44 L128 44") + _tip(128, 18) + _tip(128, 44)
ITEMS = (
    ("a merge: one vector of two", MERGE + '<g class="join"><rect class="body" x="71" y="11" width="4" height="40"/></g>'),
    ("a copy: one vector, twice", COPY + '<circle class="dot" cx="73" cy="31" r="2.6"/>'),
    ("product, entry by entry", _circle("product", "M69 27 L77 35 M69 35 L77 27")),
    ("sum, entry by entry", _circle("sum", "M68 31 L78 31 M73 26 L73 36")),
    ("a layer: σ(W x + U h + b)", _box("layer", "σ", 3)),
    ("a function and no weights", _box("function", "tanh", 9)),
)


def legend() -> str:
    """Return the legend as an SVG element."""
    items = []
    for k, (word, drawing) in enumerate(ITEMS):
        x, y = COLUMN * (k % PER_ROW) + 28, ROW * (k // PER_ROW)
        items.append(f'<g transform="translate({x} {y})">{drawing}{WORD.format(73, 76, escape(word))}</g>')
    return figure((0, 0, COLUMN * PER_ROW, ROW * -(-len(ITEMS) // PER_ROW)), STYLE, items)
