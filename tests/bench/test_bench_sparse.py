"""What it brings to leave out the zeros of spikes: both ways compute the same, and the page has the table of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import assert_same_bits, generated

from derive.bench import sparse
from derive.cells import REGISTRY
from derive.verify.problem import initial
from derive.verify.witnesses import arguments

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("activity", [0.0, 0.1, 1.0])
def test_both_ways_compute_the_same(activity: float) -> None:
    for dense, skipping in sparse.ways(65, activity).values():
        expected, found = dense(), skipping()
        assert_same_bits(found, expected)
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


def test_zeros_are_left_out_where_that_is_faster_and_nowhere_else() -> None:
    """The file tells whether the limits in `spikes` are right for the machine of the page."""
    rows = json.loads((DOCS / "data" / "sparse.json").read_text(encoding="utf-8"))["rows"]
    for row in rows:
        for name in sparse.PRODUCTS:
            ratio = row[name]["dense"] / row[name]["sparse"]
            assert ratio > 0.95 and (ratio > 1.5 or row["activity"] > 0.02), (row["n"], row["activity"], name)


def test_the_page_says_how_many_spike_in_its_tables() -> None:
    problem = initial(generated("lsnn"), REGISTRY["lsnn"], sizes={"d": 64, "n": 128}, steps=100, batch=32)
    (x, params, state), _ = arguments(generated("lsnn"), problem)
    share = (generated("lsnn").infer(x, params, state)[0] != 0).mean()
    assert f"{100 * share:.1f} % of the neurons of `lsnn` spike" in (DOCS / "benchmarks.md").read_text(encoding="utf-8")
