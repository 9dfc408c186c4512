"""The ratios of a record as a picture."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..plotting import COLOURS as PLOTTING
from ..plotting import SAME_BYTES
from .goals import FIRST_ORDER
from .phases import PHASES
from .record import Record, Row

SUFFIXES = (".svg", ".png", ".pdf")
COLUMNS = 3
COLOURS = (*PLOTTING, "#56b4e9", "#999999", "#f0e442", "#000000", "#8c564b", "#17becf")  # one for each peer
PAPER, INK, FAINT = "#ffffff", "#1f2328", "#d0d7de"  # a background of its own, so that it can be read on a dark page too
TICKS = (0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
MARKS = dict(zip(PHASES, (("o", "none", "--"), ("o", "full", "-"), ("s", "full", ":")), strict=True))
STYLE = {**SAME_BYTES, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK}


def available() -> bool:
    """Say whether a chart can be drawn."""
    return importlib.util.find_spec("matplotlib") is not None


def drawn(record: Record) -> tuple[Row, ...]:
    """Return the rows that a chart shows: those of first order."""
    return tuple(row for row in record.rows if row.phase in PHASES)


def draw(record: Record, path: Path) -> None:
    """Write a panel for each cell: the ratio to each peer by size, on a logarithmic axis, with a line at 1.

    The format follows from the suffix; the same record gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    record = replace(record, rows=drawn(record), peers=tuple(peer for peer in record.peers if peer != FIRST_ORDER))
    cells = list(dict.fromkeys(row.cell for row in record.rows))
    columns = min(COLUMNS, len(cells))
    lines = -(-len(cells) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.5 * columns, 3.4 * lines + 0.8), layout="constrained", facecolor=PAPER)
        FigureCanvasAgg(figure)  # no pyplot: no display and no global state
        panels = list(figure.subplots(lines, columns, squeeze=False).flat)
        for cell, axes in zip(cells, panels, strict=False):
            _panel(record, cell, axes)
        for axes in panels[len(cells) :]:
            axes.set_axis_off()
        _legend(figure, record)
        metadata = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}.get(path.suffix, {})
        figure.savefig(path, facecolor=PAPER, metadata=metadata)


def _panel(record: Record, cell: str, axes: Any) -> None:
    rows = [row for row in record.rows if row.cell == cell]
    sizes = list(dict.fromkeys(row.size for row in rows))
    for peer, colour in _colours(record).items():
        for phase in PHASES:
            found = {row.size: row.ratio(peer) for row in rows if row.phase == phase}
            heights = [ratio if (ratio := found.get(size)) is not None else math.nan for size in sizes]  # NaN breaks the line
            mark, fill, dash = MARKS[phase]
            axes.plot(range(len(sizes)), heights, dash, marker=mark, fillstyle=fill, markersize=5, color=colour)
    axes.set_facecolor(PAPER)
    axes.set_yscale("log")
    low, high = _limits(rows, record)
    axes.axhline(1, color=INK, linewidth=1)
    axes.set_yticks([tick for tick in TICKS if low <= tick <= high])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, high)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.set_xticks(range(len(sizes)), sizes, rotation=30, ha="right", fontsize=7)
    axes.set_xlim(-0.4, len(sizes) - 0.6)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(colors=INK)
    axes.set_title(cell)


def _limits(rows: Sequence[Row], record: Record) -> tuple[float, float]:
    """Return the ends of an axis that shows all ratios, and the line at 1."""
    ratios = [ratio for row in rows for peer in record.peers if (ratio := row.ratio(peer))]
    return min([0.9, *ratios]) / 1.1, max([1.1, *ratios]) * 1.1


def _colours(record: Record) -> dict[str, str]:
    """Return a colour for each peer that was measured at all."""
    found = [peer for peer in record.peers if any(row.ratio(peer) is not None for row in record.rows)]
    return {peer: COLOURS[i % len(COLOURS)] for i, peer in enumerate(found)}


def _legend(figure: Any, record: Record) -> None:
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=colour, linewidth=2, label=peer) for peer, colour in _colours(record).items()]
    for phase in dict.fromkeys(row.phase for row in record.rows):
        mark, fill, dash = MARKS[phase]
        marks.append(Line2D([], [], color=INK, linestyle=dash, marker=mark, fillstyle=fill, markersize=5, label=phase))
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    figure.suptitle(
        "Time of each peer over ours, by B, T, d, n: above 1, ours is faster\n"
        f"{record.dtype}, {record.threads} threads, {record.machine['processor']}",
        fontsize=11,
    )
