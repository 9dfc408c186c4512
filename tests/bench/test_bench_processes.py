"""What two processes bring beside one: how the record is made of times, and that the page shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from derive.bench import processes

ROOT = Path(__file__).parents[2]


def test_the_page_has_the_table_of_the_file() -> None:
    record = json.loads((ROOT / "docs" / "data" / "processes.json").read_text())
    page = (ROOT / "docs" / "distributed.md").read_text()
    assert processes.table(record) in page and record["command"] in page
    assert record["gradient bytes"] == processes.gradient_bytes() and record["operations"] == processes.operations()


def test_the_page_says_what_the_sum_costs() -> None:
    record = json.loads((ROOT / "docs" / "data" / "processes.json").read_text())
    page = (ROOT / "docs" / "distributed.md").read_text()
    elapsed, efficiency = (record["elapsed"][of] for of in ("milliseconds", "efficiency"))
    apart, together, alone = (elapsed[way] for way in (processes.APART, processes.TOGETHER, processes.SUM))
    lost, kilobytes = max(1 - efficiency[processes.APART]["median"], 0), record["gradient bytes"] / 1000
    more = together["median"] - apart["median"]
    assert f"at a cost of {100 * lost:.0f} %. The sum of {kilobytes:.0f} kB adds {more:.1f} ms to a step of {apart['median']:.0f}" in page
    assert f"alone it takes {alone['median']:.1f} ms, and {alone['least']:.2f} at best" in page
    assert 0.9 < efficiency[processes.TOGETHER]["median"] < efficiency[processes.APART]["median"]


def test_efficiency_is_throughput_over_twice_that_of_one() -> None:
    seconds = {processes.ALONE: [(2.0, 1.0), (4.0, 1.0)], processes.APART: [(4.0, 1.0)] * 2, processes.TOGETHER: [(5.0, 2.0)] * 2}
    record = processes.report({**seconds, processes.SUM: [(0.1, 0.1)] * 2}, "")
    elapsed = record["elapsed"]["efficiency"]
    assert elapsed[processes.APART]["median"] == pytest.approx(0.75) and elapsed[processes.APART]["of the least"] == pytest.approx(0.5)
    assert record["processor"]["efficiency"][processes.TOGETHER]["median"] == pytest.approx(0.5)
    assert record["elapsed"]["milliseconds"][processes.ALONE]["median"] == pytest.approx(3000)


@pytest.mark.exhaustive
def test_two_processes_are_measured() -> None:
    seconds = processes.measured(2)
    assert all(len(turns) == 2 and all(elapsed > 0 for elapsed, _ in turns) for turns in seconds.values())
    assert min(seconds[processes.ALONE])[1] > 1e-3, "the first process does not train in its own turns"
