"""The picture of a cell: an SVG drawn from its equations.

`svg` goes through four steps, a module or a few each: the drawing graph (`build`, `bundle`), columns, orders and rows (`columns`, `rails`,
`crossings`, `rows`, `place`), wires (`route`), and the drawing (`draw`). `thumbnail` draws the same layout without its texts (`small`).
"""

from __future__ import annotations

from ..language.definition import Definition
from .build import build
from .bundle import bundled, grouped
from .draw import drawing
from .graph import Graph
from .label import text_of
from .layout import Layout, laid_out
from .small import small

__all__ = ["svg", "thumbnail"]


def svg(cell: Definition) -> str:
    """Return the picture of one step of a cell.

    Time runs from left to right: previous states and inputs come in at the left, new states and the output leave at the right.  A filled
    box is a layer: a function of weighted inputs; circles are sums and products.  Each part refers to its equation as ``#F1``, ``#F2`` …
    and tells it as a tooltip.

    Parameters
    ----------
    cell : Definition
        Any cell.

    Returns
    -------
    str
        An ``<svg class="cell">`` element, to stand in a page or in a file of its own; the same bytes for the same cell.  Its colours are
        custom properties (``--cell-layer``, ``--cell-ink`` …) with defaults for light and dark pages.
    """
    layout = _laid_out(cell)
    return drawing(layout, cell.name, f"{cell.title or cell.name}: one step", _description(layout.placement.graph))


def thumbnail(cell: Definition) -> str:
    """Return the picture of one step without its texts, as a page shows many of them side by side.

    Parameters
    ----------
    cell : Definition
        Any cell.

    Returns
    -------
    str
        An ``<svg class="small">`` element of a few paths, which a page's stylesheet gives their colours; hidden from those who listen.
    """
    return small(_laid_out(cell))


def _laid_out(cell: Definition) -> Layout:
    return laid_out(grouped(bundled(build(cell))))


def _description(graph: Graph) -> str:
    """Return the picture in words: what comes in and what goes out."""
    comes = [text_of(n.label) for n in graph.nodes if n.kind in ("state", "input", "context")]
    goes = [text_of(n.label) for n in graph.nodes if n.kind in ("next", "output")]
    return f"From {', '.join(comes) or 'nothing'} on the left to {', '.join(goes)} on the right."
