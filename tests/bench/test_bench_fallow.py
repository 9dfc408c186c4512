"""Memory that lies fallow: what is written is what was measured, and the page has the table and the ratios of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from derive.bench import fallow
from derive.bench.record import load
from derive.bench.table import markdown

DOCS = Path(__file__).parents[2] / "docs"


def test_what_is_written_is_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"PAUSES": (0.0, 0.001), "ROUNDS": 2, "SIZE": (2, 3, 4, 5), "BYTES": 1 << 14}.items():
        monkeypatch.setattr(fallow, name, value)
    file = tmp_path / "fallow.json"
    monkeypatch.setattr("sys.argv", ["fallow", "--json", str(file)])
    assert fallow.main() == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert [row["pause"] for row in record["rows"]] == [0, 1]
    assert all(row[name] > 0 for row in record["rows"] for name in (fallow.READ, fallow.WRITE, fallow.OURS, fallow.THEIRS))
    assert fallow.table(record) in capsys.readouterr().out


def test_the_page_has_the_table_of_the_file() -> None:
    record, page = json.loads((DOCS / "data" / "fallow.json").read_text(encoding="utf-8")), _page()
    assert fallow.table(record) in page
    first, *_, last = record["rows"]
    ours, theirs = (last[name] / first[name] for name in (fallow.OURS, fallow.THEIRS))
    assert f"After {last['pause']:.0f} ms, our LSTM takes {ours:.1f} times as long" in page
    assert f"and PyTorch's {theirs:.1f} times" in page


@pytest.mark.parametrize(
    ("name", "peers"), {"benchmarks-spiking.json": {"norse", "snntorch"}, "benchmarks-spiking-jax.json": {"jax"}}.items()
)
def test_the_page_has_the_tables_of_spiking_cells(name: str, peers: set[str]) -> None:
    record: Any = load(DOCS / name)
    between = _page().partition(f"--table docs/{name}` prints -->\n")[2].partition(f"<!-- /DERIVE-BENCH {name} -->")[0]
    assert between.strip() == markdown(record) and not record.pauses
    assert {*record.peers} == peers and {row.cell for row in record.rows} == {"lsnn", "lif"}


def _page() -> str:
    return (DOCS / "benchmarks.md").read_text(encoding="utf-8")
