"""What was measured, and its form as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .goals import RATIO, at_peak


@dataclass(frozen=True)
class Timing:
    """Median of `runs` calls in seconds; `spread` is the interquartile range over the median.

    `how` says what a contender that had a choice has taken.
    """

    seconds: float
    spread: float
    runs: int
    how: str = ""


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    cell, phase : str
    batch, steps, d, n : int
    operations : int
        Of all matrix products of the call; a multiplication and its addition are two.
    ours : Timing
    peers : mapping
        By name, a peer's `Timing`, or why there is none.
    """

    cell: str
    phase: str
    batch: int
    steps: int
    d: int
    n: int
    operations: int
    ours: Timing
    peers: Mapping[str, Timing | str]

    @property
    def size(self) -> str:
        return f"{self.batch}, {self.steps}, {self.d}, {self.n}"

    @property
    def gigaflops(self) -> float:
        """Rate of the matrix products, in 10⁹ operations a second, over all of our time."""
        return self.operations / self.ours.seconds / 1e9

    def ratio(self, peer: str) -> float | None:
        """Return how many times the peer's time is ours; None if it was not measured."""
        found = self.peers.get(peer)
        return found.seconds / self.ours.seconds if isinstance(found, Timing) else None


@dataclass(frozen=True)
class Record:
    """A run of the command.

    Attributes
    ----------
    machine : mapping
        Processor, cores, vector features, versions.
    dtype : str
    threads, runs : int
        Threads of every contender, and the most calls that were counted.
    pauses : bool
        Whether each turn waited for the threads of the one before; else turns were back to back.
    peak : float
        10⁹ operations a second of nothing but fused multiply-adds, with the same threads and dtype.
    peers, notes : tuple of str
        The columns, and what else is to be known.
    rows : tuple of Row
    """

    machine: Mapping[str, Any]
    dtype: str
    threads: int
    runs: int
    pauses: bool
    peak: float
    peers: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[Row, ...]

    def share(self, row: Row) -> float:
        """Return the share of the peak that a row reaches."""
        return row.gigaflops / self.peak

    def at_peak(self, row: Row) -> bool:
        """Say whether a row is so near the peak that its ratios say nothing."""
        return at_peak(row.cell, row.phase, self.share(row))

    def meets(self, row: Row) -> bool:
        """Say whether a row has the ratio that it should have, to every peer that was measured, or is at the peak."""
        return self.at_peak(row) or all(ratio >= RATIO for peer in row.peers if (ratio := row.ratio(peer)) is not None)

    def json(self) -> str:
        """Return the record as JSON: all fields, and what follows from them for each row."""
        rows = [_row_fields(row) | self._standing(row) for row in self.rows]
        return json.dumps({**_flat(self), "rows": rows}, indent=1, ensure_ascii=False) + "\n"

    def _standing(self, row: Row) -> dict[str, Any]:
        return {"peak_share": self.share(row), "at_peak": self.at_peak(row), "meets": self.meets(row)}


def _flat(value: Record | Row) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _row_fields(row: Row) -> dict[str, Any]:
    peers = {k: asdict(v) | {"ratio": row.ratio(k)} if isinstance(v, Timing) else {"missing": v} for k, v in row.peers.items()}
    return _flat(row) | {"ours": asdict(row.ours), "gigaflops": row.gigaflops, "peers": peers}


def load(path: Path) -> Record:
    """Return the record that a file holds.

    Raises
    ------
    ValueError
        If it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found = {"pauses": True} | found  # there was no other way before it was said
        values = {f.name: found[f.name] for f in fields(Record)}
        values |= {"peers": tuple(found["peers"]), "notes": tuple(found["notes"]), "rows": tuple(map(_row, found["rows"]))}
        if not values["rows"]:
            raise ValueError("a record has rows")
        return Record(**values)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not a file that `derive bench --json` wrote") from None


def _row(found: Mapping[str, Any]) -> Row:
    peers = {k: v["missing"] if "missing" in v else _timing(v) for k, v in found["peers"].items()}
    values = {f.name: found[f.name] for f in fields(Row)}
    return Row(**values | {"ours": _timing(found["ours"]), "peers": peers})


def _timing(found: Mapping[str, Any]) -> Timing:
    return Timing(found["seconds"], found["spread"], found["runs"], found.get("how", ""))
