"""How figures look: one ink that the page sets, no background, and the same bytes for the same data."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from typing import Any

from ..plotting import SAME_BYTES

Data = dict[str, Any]
Draw = Callable[[Data, Any], None]

INK = "#12ab34"  # stands for the colour of the page's text: `svg` puts `currentColor` in its place
STYLE = {
    **SAME_BYTES,
    "font.size": 10.5,
    "axes.titlesize": 10.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.7,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "legend.labelcolor"), INK),
}
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def svg(draw: Draw, data: Data, size: tuple[float, float]) -> str:
    """Return what `draw` makes of `data` as SVG, `size` in inches.

    Text stays text, the background is transparent, and ink is the `currentColor` of where the picture stands.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    out = io.StringIO()
    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        figure = Figure(figsize=size, layout="constrained", facecolor="none")  # no pyplot: no display and no global state
        FigureCanvasSVG(figure)
        draw(data, figure)
        figure.savefig(out, format="svg", facecolor="none", metadata={"Date": None, "Creator": None})
    return _clean(out.getvalue())


def _clean(text: str) -> str:
    """Put `currentColor` for the ink, round to hundredths of a point, and leave out what stands before the element and what ends lines."""
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)


def powers(axis: Any, low: float, high: float, step: int) -> None:
    """Make an axis logarithmic from 10^low to 10^high with a tick at every `step`-th power, written without markup."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (10.0**low, 10.0**high)})
    axis.set_major_locator(_fixed([10.0**k for k in range(math.ceil(low), math.floor(high) + 1) if k % step == 0]))
    axis.set_minor_locator(_fixed([]))
    axis.set_major_formatter(lambda value, _: power(value))


def below(axes: Any, columns: int, **options: Any) -> None:
    """Put the legend under an axes, where it hides no line."""
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17)}
    axes.legend(**{**place, **options}, ncols=columns, columnspacing=1.2, handlelength=1.8, labelspacing=0.8)


def power(value: float) -> str:
    """Return a power of ten as text: ``10⁻⁵``; 1 as itself."""
    exponent = round(math.log10(value))
    return "1" if exponent == 0 else "10" + str(exponent).translate(SUPERSCRIPTS)


def _fixed(places: list[float]) -> Any:
    from matplotlib.ticker import FixedLocator

    return FixedLocator(places)
