"""How many threads kernels use by themselves: as many as processors that the process may keep busy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import python

from derive.runtime.cpu import processors


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system's files, in which this process may run on eight processors."""
    monkeypatch.setattr(processors, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(processors, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def write(system: Path, own: str, limits: dict[str, str]) -> None:
    (system / "own").write_text(own)
    for name, text in limits.items():
        file = system / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    "own, limits, want",
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),  # a container's own view
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"}, 3),  # the group around it
        ("0::/a/b\n", {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "500000 100000\n"}, 3),
        ("0::/elsewhere\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),  # whole ones
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),  # at least one
        ("0::/\n", {"cpu.max": "1600000 100000\n"}, 8),  # more than there are
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {}, 8),
        (
            "4:cpu,cpuacct:/a\n1:memory:/a\n",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n"},
            3,
        ),
        ("4:cpu,cpuacct:/a\n", {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"}, 8),
        ("1:memory:/a\n", {"memory/a/cpu.max": "100000 100000\n"}, 8),
        ("0::/\n", {"cpu.max": ""}, 8),
        ("0::/\n", {"cpu.max": "100000 0"}, 8),
        ("0::/\n", {"cpu.max": "100000 often"}, 8),
        ("none\n", {"cpu.max": "100000 100000"}, 8),
    ],
)
def test_a_group_keeps_no_more_busy_than_it_may(system: Path, own: str, limits: dict[str, str], want: int) -> None:
    write(system, own, limits)
    assert processors.available() == want


def test_a_system_without_groups(system: Path) -> None:
    assert processors.available() == 8


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system keeps no process to some processors")
def test_a_process_that_is_kept_to_one_processor_has_one_thread() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    code += "\nfrom generated.runtime import threads; print(threads.get_threads())"
    assert python(code).split() == ["1"]
