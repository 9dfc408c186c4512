"""What was measured, and its form as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .goals import RATIO, at_peak, wanted


@dataclass(frozen=True)
class Timing:
    """Median of `runs` calls in seconds; `spread` is the interquartile range over the median.

    `how` says what a contender that had a choice has taken.
    """

    seconds: float
    spread: float
    runs: int
    how: str = ""

    @property
    def amount(self) -> float:
        return self.seconds


@dataclass(frozen=True)
class Peak:
    """The most memory that `runs` calls took at any time, in bytes beyond what there was before the first; `how` as that of a `Timing`."""

    bytes: int
    runs: int
    how: str = ""

    @property
    def amount(self) -> float:
        return float(self.bytes)


Measured = Timing | Peak


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes
    ----------
    cell, phase : str
    batch, steps, d, n : int
    operations : int
        Of all matrix products of the call; a multiplication and its addition are two.  0 where they are not counted.
    ours : Timing or Peak
    peers : mapping
        By name, the same of a peer, or why there is none.
    """

    cell: str
    phase: str
    batch: int
    steps: int
    d: int
    n: int
    operations: int
    ours: Measured
    peers: Mapping[str, Measured | str]

    @property
    def size(self) -> str:
        return f"{self.batch}, {self.steps}, {self.d}, {self.n}"

    @property
    def gigaflops(self) -> float:
        """Rate of the matrix products, in 10⁹ operations a second, over all of our time."""
        return self.operations / self.ours.seconds / 1e9 if isinstance(self.ours, Timing) else 0.0

    def ratio(self, peer: str) -> float | None:
        """Return how many times the peer's time, or memory, is ours; None if it was not measured, or if ours is nothing."""
        found, own = self.peers.get(peer), self.ours.amount
        return None if found is None or isinstance(found, str) or not own else found.amount / own

    def goal(self, peer: str) -> float:
        """Return the ratio to a peer that is wanted."""
        return wanted(self.cell, self.phase, peer) or RATIO

    @property
    def goals(self) -> dict[str, float]:
        """The ratios that are wanted, by peer, where they are not just that no peer is faster."""
        return {peer: goal for peer in self.peers if (goal := wanted(self.cell, self.phase, peer)) is not None}


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
        return self.at_peak(row) or all(ratio >= row.goal(peer) for peer in row.peers if (ratio := row.ratio(peer)) is not None)

    def json(self) -> str:
        """Return the record as JSON: all fields, and what follows from them for each row."""
        rows = [_row_fields(row) | self._standing(row) for row in self.rows]
        return json.dumps({**_flat(self), "rows": rows}, indent=1, ensure_ascii=False) + "\n"

    def _standing(self, row: Row) -> dict[str, Any]:
        goals = {"goals": row.goals} if row.goals else {}
        return {"peak_share": self.share(row), "at_peak": self.at_peak(row), **goals, "meets": self.meets(row)}


def _flat(value: Record | Row) -> dict[str, Any]:
    return {f.name: getattr(value, f.name) for f in fields(value)}


def _row_fields(row: Row) -> dict[str, Any]:
    peers = {k: {"missing": v} if isinstance(v, str) else asdict(v) | {"ratio": row.ratio(k)} for k, v in row.peers.items()}
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
    peers = {k: v["missing"] if "missing" in v else _measured(v) for k, v in found["peers"].items()}
    values = {f.name: found[f.name] for f in fields(Row)}
    return Row(**values | {"ours": _measured(found["ours"]), "peers": peers})


def _measured(found: Mapping[str, Any]) -> Measured:
    if "bytes" in found:
        return Peak(found["bytes"], found["runs"], found["how"])
    return Timing(found["seconds"], found["spread"], found["runs"], found.get("how", ""))
