"""Diagrams of unrolled networks as SVG, drawn by rule: boxes on a grid, arrows between them, in the colour of the page's text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..plotting import BLUE, RED

BOX, STEP, RISE, HEAD = 40, 92, 82, 7  # side of a box, distance of columns and of rows, length of an arrow's head


@dataclass
class Canvas:
    """Elements of a picture, in pixels."""

    width: float
    height: float
    elements: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, label: str, size: int = 15, colour: str = "currentColor", anchor: str = "middle") -> None:
        """Write a label centred at a height; what follows an underscore is set lower: ``s_t``."""
        name, _, index = label.partition("_")
        lower = f'<tspan dy="4" font-size="{round(0.72 * size)}">{index}</tspan>' if index else ""
        italic = ' font-style="italic"' if index or len(name) == 1 else ""
        place = f'x="{x:g}" y="{y + 0.35 * size:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"'
        self.elements.append(f"<text {place}{italic}>{name}{lower}</text>")

    def box(self, x: float, y: float, label: str, filled: bool = False) -> None:
        """Draw a box with its centre at (x, y); a cell is filled, inputs and outputs are round."""
        left, top = x - BOX / 2, y - BOX / 2
        paint = f'fill="{BLUE}" fill-opacity="0.18"' if filled else 'fill="none"'
        round_ = 6 if filled else BOX / 2
        self.elements.append(f'<rect x="{left:g}" y="{top:g}" width="{BOX}" height="{BOX}" rx="{round_:g}" {paint} stroke="currentColor"/>')
        self.text(x, y, label)

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        colour: str = "currentColor",
        dashed: bool = False,
        gap: float = BOX / 2 + 3,
    ) -> None:
        """Draw an arrow between the rims of two boxes whose centres are given."""
        (x, y), (u, v) = start, end
        length = ((u - x) ** 2 + (v - y) ** 2) ** 0.5
        dx, dy = (u - x) / length, (v - y) / length
        tip = (u - gap * dx, v - gap * dy)
        neck = (tip[0] - HEAD * dx, tip[1] - HEAD * dy)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        line = f'x1="{x + gap * dx:.1f}" y1="{y + gap * dy:.1f}" x2="{neck[0]:.1f}" y2="{neck[1]:.1f}"'
        self.elements.append(f'<line {line} stroke="{colour}" stroke-width="1.5"{dash}/>')
        self.head(tip, (dx, dy), colour)

    def head(self, tip: tuple[float, float], along: tuple[float, float], colour: str = "currentColor") -> None:
        """Draw the head of an arrow."""
        (x, y), (dx, dy) = tip, along
        back, side = (x - HEAD * dx, y - HEAD * dy), (-dy * HEAD / 2.2, dx * HEAD / 2.2)
        points = [tip, (back[0] + side[0], back[1] + side[1]), (back[0] - side[0], back[1] - side[1])]
        self.elements.append(f'<polygon points="{" ".join(f"{px:.1f},{py:.1f}" for px, py in points)}" fill="{colour}"/>')

    def path(self, d: str) -> None:
        """Draw a curve."""
        self.elements.append(f'<path d="{d}" fill="none" stroke="currentColor" stroke-width="1.5"/>')

    def svg(self) -> str:
        """Return the picture."""
        size = f'width="{self.width:g}" height="{self.height:g}" viewBox="0 0 {self.width:g} {self.height:g}"'
        inner = "\n".join(self.elements)
        return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n{inner}\n</svg>\n'


def unrolling() -> str:
    """Return the recurrent cell as a loop, and the same cell unrolled over four steps."""
    canvas = Canvas(660, 270)
    rows = (48, 48 + RISE, 48 + 2 * RISE)  # outputs, states, inputs
    _column(canvas, 70, rows, "t")
    middle = rows[1]
    canvas.path(f"M 93 {middle - 8} C 140 {middle - 38}, 140 {middle + 38}, {93 + HEAD} {middle + 10}")
    canvas.head((93, middle + 7), (-0.93, -0.37))
    canvas.text(142, middle, "U")
    canvas.text(190, middle, "=", size=24)
    canvas.box(250, middle, "s_0", filled=True)
    for t in range(1, 5):
        _column(canvas, 250 + STEP * t, rows, str(t))
        canvas.arrow((250 + STEP * (t - 1), middle), (250 + STEP * t, middle))
        canvas.text(250 + STEP * (t - 0.5), middle - 13, "U")
    return canvas.svg()


def _column(canvas: Canvas, x: float, rows: tuple[float, float, float], t: str) -> None:
    """Draw one copy of the cell with its input below and its output above."""
    for y, name in zip(rows, "osx", strict=True):
        canvas.box(x, y, f"{name}_{t}", filled=name == "s")
    for below, above, weight in ((rows[2], rows[1], "W"), (rows[1], rows[0], "V")):
        canvas.arrow((x, below), (x, above))
        canvas.text(x + 12, (below + above) / 2, weight)


@dataclass(frozen=True)
class Pattern:
    """How inputs and outputs lie along a sequence: which steps have which, and after how many another network takes over the state."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    encoder: int = 0


PATTERNS = {
    "one-to-one": Pattern((1,), (1,)),
    "one-to-many": Pattern((1, 0, 0), (1, 1, 1)),
    "many-to-one": Pattern((1, 1, 1), (0, 0, 1)),
    "many-to-many": Pattern((1, 1, 1), (1, 1, 1)),
    "encoder-decoder": Pattern((1, 1, 0, 0), (0, 0, 1, 1), encoder=2),
}


def pattern(name: str) -> str:
    """Return an unrolled network with inputs, outputs and losses where a pattern has them, and the gradients of these losses in red."""
    drawn = PATTERNS[name]
    wide, high, aside = 0.88 * STEP, 0.86 * RISE, 7
    steps = len(drawn.outputs)
    loss, output, state = 12, 70, 70 + high
    canvas = Canvas(wide * (steps - 1) + 2 * BOX, state + high + BOX / 2 + (26 if drawn.encoder else 4))
    for t, (reads, writes) in enumerate(zip(drawn.inputs, drawn.outputs, strict=True), 1):
        x = BOX + wide * (t - 1)
        canvas.box(x, state, f"s_{t}", filled=True)
        if t > 1:
            canvas.arrow((x - wide, state - aside), (x, state - aside))
            canvas.arrow((x, state + aside), (x - wide, state + aside), RED)
        if reads:
            canvas.box(x, state + high, f"x_{t}")
            canvas.arrow((x, state + high), (x, state))
        if writes:
            canvas.box(x, output, f"o_{t}")
            canvas.text(x, loss, f"L_{t}")
            for below, above in ((state, output), (output, loss + 8 - BOX / 2)):  # a loss has no box: its arrows end at its letter
                canvas.arrow((x - aside, below), (x - aside, above))
                canvas.arrow((x + aside, above), (x + aside, below), RED)
    if drawn.encoder:
        half, foot = wide * (drawn.encoder - 1) / 2, canvas.height - 10
        canvas.text(BOX + half, foot, "encoder", size=13)
        canvas.text(canvas.width - BOX - half, foot, "decoder", size=13)
    return canvas.svg()


def backward() -> str:
    """Return the two ways in which a gradient comes to a state: from its own step's loss, and from the step after it."""
    canvas = Canvas(560, 215)
    names = ("t−1", "t", "t+1")
    wide, low, high = 170, 165, 50
    for number, name in enumerate(names):
        x = 110 + wide * number
        canvas.box(x, low, f"s_{name}", filled=True)
        canvas.box(x, high, f"L_{name}")
        canvas.arrow((x - 8, low), (x - 8, high))
        canvas.arrow((x + 8, high), (x + 8, low), RED)
    for number in range(-1, 3):
        x = 110 + wide * number
        start, end = max(x, -24), min(x + wide, 584)
        canvas.arrow((start, low - 8), (end, low - 8))
        canvas.arrow((end, low + 8), (start, low + 8), RED)
    return canvas.svg()


def lanes() -> str:
    """Return the LSTM's two lanes, c and h, with the path from c to h, which abridged derivations leave out, dashed."""
    canvas = Canvas(600, 275)
    wide, top, middle, bottom = 200, 45, 140, 235
    for number, name in enumerate(("t−1", "t", "t+1")):
        x = 100 + wide * number
        canvas.box(x, top, f"c_{name}", filled=True)
        canvas.box(x, middle, f"h_{name}", filled=True)
        canvas.box(x, bottom, f"L_{name}")
        canvas.arrow((x, top), (x, middle), RED, dashed=True)
        canvas.arrow((x, middle), (x, bottom))
        if number < 2:
            canvas.arrow((x, top), (x + wide, top))
            canvas.text(x + wide / 2, top - 14, "f")
            canvas.arrow((x, middle), (x + wide, top))
            canvas.text(x + wide / 2 - 30, (top + middle) / 2 - 8, "i, f, g", size=14)
            canvas.arrow((x, middle), (x + wide, middle))
            canvas.text(x + wide / 2, middle + 16, "o")
    return canvas.svg()


UNROLLED: dict[str, Callable[[], str]] = {
    "unrolling": unrolling,
    **{name: partial(pattern, name) for name in PATTERNS},
    "backward": backward,
    "lanes": lanes,
}
