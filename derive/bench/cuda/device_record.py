"""What was measured on a device, and its form as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..record import Row, Timing
from .clock import Floor


@dataclass(frozen=True)
class DeviceRow(Row):
    """One comparison on a device.

    Attributes
    ----------
    kind : str
        Of number.
    floors : tuple of Floor
        The kernels that stay for all steps, alone; none where steps are run one by one.
    disagreements : mapping
        By name, the largest error of a peer's results beside ours.
    """

    ours: Timing
    peers: Mapping[str, Timing | str]
    kind: str
    floors: tuple[Floor, ...]
    disagreements: Mapping[str, float]

    @property
    def step(self) -> float:
        """Seconds a step."""
        return self.ours.seconds / self.steps

    @property
    def floor(self) -> float | None:
        """Seconds a step of the kernels that stay for all steps; None where there are none."""
        return sum(floor.seconds for floor in self.floors) or None


@dataclass(frozen=True)
class DeviceRecord:
    """A run of the command.

    Attributes
    ----------
    machine : mapping
        Device, processor, versions.
    runs : int
        The most calls that were counted.
    notes : tuple of str
        What could not be measured.
    rows : tuple of DeviceRow
    """

    machine: Mapping[str, Any]
    runs: int
    notes: tuple[str, ...]
    rows: tuple[DeviceRow, ...]

    @property
    def peers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for row in self.rows for name in row.peers))

    def json(self) -> str:
        """Return the record as JSON: all fields, and what follows from them for each row."""
        return json.dumps({**asdict(self), "rows": [_row_fields(row) for row in self.rows]}, indent=1, ensure_ascii=False) + "\n"


def _row_fields(row: DeviceRow) -> dict[str, Any]:
    ratios = {name: ratio for name in row.peers if (ratio := row.ratio(name)) is not None}
    return asdict(row) | {"gigaflops": row.gigaflops, "seconds_a_step": row.step, "floor_a_step": row.floor, "ratios": ratios}


def load(path: Path) -> DeviceRecord:
    """Return the record that a file holds.

    Raises
    ------
    ValueError
        If it cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return DeviceRecord(found["machine"], found["runs"], tuple(found["notes"]), tuple(map(_row, found["rows"])))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is not a file that `derive bench --cuda --json` wrote") from None


def _row(found: Mapping[str, Any]) -> DeviceRow:
    values = {f.name: found[f.name] for f in fields(DeviceRow)}
    peers = {name: value if isinstance(value, str) else Timing(**value) for name, value in found["peers"].items()}
    floors = tuple(Floor(**floor) for floor in found["floors"])
    return DeviceRow(**values | {"ours": Timing(**found["ours"]), "peers": peers, "floors": floors})
