"""What skipping zeros of spikes would bring: both ways compute the same, and the page has the table of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from derive.bench import sparse

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("activity", [0.0, 0.1, 1.0])
def test_both_ways_compute_the_same(activity: float) -> None:
    for dense, skipping in sparse.ways(33, activity).values():
        expected, found = dense(), skipping()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        assert bool(np.any(expected)) == (activity > 0)


def test_what_is_written_is_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sparse, "SIZES", (16,))
    monkeypatch.setattr(sparse, "ACTIVITIES", (0.5,))
    monkeypatch.setattr(sparse, "ROUNDS", 1)
    file = tmp_path / "sparse.json"
    monkeypatch.setattr("sys.argv", ["sparse", "--json", str(file)])
    assert sparse.main() == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    (row,) = record["rows"]
    assert all(row[name][way] > 0 for name in sparse.PRODUCTS for way in ("dense", "sparse"))
    assert sparse.table(record) in capsys.readouterr().out


def test_the_page_has_the_table_of_the_file() -> None:
    record = json.loads((DOCS / "data" / "sparse.json").read_text(encoding="utf-8"))
    assert sparse.table(record) in (DOCS / "benchmarks.md").read_text(encoding="utf-8")


def test_the_page_says_from_where_on_time_would_be_lost() -> None:
    rows = json.loads((DOCS / "data" / "sparse.json").read_text(encoding="utf-8"))["rows"]
    lost = {row["activity"] for row in rows for name in sparse.PRODUCTS if row[name]["sparse"] > row[name]["dense"]}
    won = {row["activity"] for row in rows for name in sparse.PRODUCTS if row[name]["sparse"] < row[name]["dense"]}
    assert max(won) < min(lost)
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    assert f"where {100 * min(lost):.0f} % of the neurons spike, it\nwould lose" in page
