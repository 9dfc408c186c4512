"""Tables of what was measured on a device: in columns for a terminal, line by line, and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..table import listed, pipes, shown, times
from .device_record import DeviceRecord, DeviceRow

LEGEND = (
    "± is the interquartile range over the median; × is the peer's time over ours: above 1, ours is faster.",
    "µs is the time of a step, over the whole call; floor that of the kernels alone that stay for all steps, plan their members x rows.",
    "A dash: steps are run one by one, or nothing was measured.",
)
COLUMNS = {"cell": 16, "kind": 10, "phase": 10, "B": 5, "T": 6, "d": 6, "n": 6, "ms": 10, "±": 6, "µs": 8, "floor": 8, "plan": 14}
LEFT = 3  # columns of words
PEER = (14, 8)
DIFFERENT = {"float64": 1e-8, "float32": 1e-3, "tf32": 1e-2, "bfloat16": 1e-1, "float16": 5e-2}
"""How far the results of two contenders may lie apart; more is said below a table."""


def about(record: DeviceRecord) -> list[str]:
    """Return what holds for all rows."""
    machine = record.machine
    return [
        f"medians of at most {record.runs} interleaved runs, by CUDA events",
        f"{machine['device']}, {machine['multiprocessors']} multiprocessors, driver {machine['driver']}; {machine['processor']}",
        ", ".join(f"{name} {version}" for name, version in machine["versions"].items()),
    ]


def cells_of_row(row: DeviceRow, peers: Sequence[str]) -> list[str]:
    """Return the texts of a row."""
    start = [row.cell, row.kind, row.phase, *map(str, (row.batch, row.steps, row.d, row.n))]
    plans = " ".join(f"{floor.members}x{floor.rows}" for floor in row.floors) or "-"
    columns = [text for peer in peers for text in (shown(row.peers.get(peer)), times(row.ratio(peer)))]
    return [*start, shown(row.ours), f"{row.ours.spread:.0%}", _microseconds(row.step), _microseconds(row.floor), plans, *columns]


def _microseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:.2f}"


def heads(peers: Sequence[str]) -> list[str]:
    """Return the columns' heads."""
    return [*COLUMNS, *(text for peer in peers for text in (f"{peer} ms", "×"))]


def aligned(texts: Sequence[str], peers: Sequence[Any]) -> str:
    """Return a line for a terminal."""
    pairs = list(zip(texts, (*COLUMNS.values(), *PEER * len(peers)), strict=True))
    return "".join([*(f"{text:<{width}}" for text, width in pairs[:LEFT]), *(f"{text:>{width}}" for text, width in pairs[LEFT:])]).rstrip()


def markdown(record: DeviceRecord) -> str:
    """Return the whole record."""
    body = [cells_of_row(row, record.peers) for row in record.rows]
    parts = [listed(about(record)), pipes(heads(record.peers), body), "\n".join(remarks(record))]
    return "\n\n".join(part for part in parts if part)


def remarks(record: DeviceRecord) -> list[str]:
    """Return, line by line, why there are gaps in the table, and where contenders do not agree."""
    gaps = {f"{peer}: {why}": None for row in record.rows for peer, why in row.peers.items() if isinstance(why, str)}
    apart = [
        f"{row.cell}, {row.kind}, {row.size}: the results of {peer} differ from ours by {error:.1g} of their norm"
        for row in record.rows
        for peer, error in row.disagreements.items()
        if not error <= DIFFERENT[row.kind]
    ]
    return [*record.notes, *gaps, *dict.fromkeys(apart)]
