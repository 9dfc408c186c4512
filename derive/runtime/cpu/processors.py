"""How many processors a process may use: those that the system lets it run on, but no more than its control group may keep busy.

A container that was given two processors' time still sees all of its machine's: threads on all of them would use up each period's time at
its beginning, and stand still, in the middle of a product, for the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import inf
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def available() -> int:
    """Return the number of processors for this process: whole ones, at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(max(1, min(allowed, quota())))


def quota() -> float:
    """Return how many processors' time this process's control group may use, and those that it lies in, of either version of Linux's
    groups; infinity where nobody has said.
    """
    try:
        lines = OWN.read_text().splitlines()
        return min((share for line in lines for folder in _folders(line) if (share := _share(folder)) > 0), default=inf)
    except (OSError, ValueError):  # another system, or one that only looks like Linux
        return inf


def _folders(line: str) -> Iterator[Path]:
    """Yield where the limits of a group stand, and of those around it; in a container the group may seem to be elsewhere."""
    _, controllers, path = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    root = GROUPS / controllers
    yield root
    for part in Path(path.lstrip("/")).parts:
        root /= part
        yield root


def _share(folder: Path) -> float:
    """Return how many processors' time a group may use; 0 if it says nothing."""
    if (found := _words(folder / "cpu.max")) is None:  # version 2 has one file, version 1 two
        found = [*(_words(folder / "cpu.cfs_quota_us") or ()), *(_words(folder / "cpu.cfs_period_us") or ())]
    return int(found[0]) / int(found[1]) if len(found) == 2 and found[0].isdecimal() and int(found[1]) else 0.0


def _words(file: Path) -> list[str] | None:
    try:
        return file.read_text().split()
    except OSError:
        return None
