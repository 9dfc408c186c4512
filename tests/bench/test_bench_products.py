"""What products take by themselves: they are those of the cells, and the page has the times of the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from derive.bench import products
from derive.bench.phases import INFERENCE, MODEL, PHASES, TRAINING
from derive.bench.work import operations
from derive.cells import REGISTRY

SIZE = (3, 5, 7, 11)


def work(cell: str, phase: str) -> int:
    return sum(2 * one.m * one.k * one.n * one.times for one in products.products(cell, phase, SIZE))


@pytest.mark.parametrize("cell", products.GATES)
def test_they_are_those_of_the_cell(cell: str) -> None:
    batch, steps, d, n = SIZE
    forward = operations(REGISTRY[cell], {"d": d, "n": n}, steps, batch)
    assert work(cell, INFERENCE) == forward
    assert work(cell, TRAINING) == 3 * forward
    assert work(cell, MODEL) == 3 * forward + 2 * batch * steps * (2 * d * d + 3 * n * n)


def test_what_is_written_is_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(products, "SIZES", (SIZE,))
    monkeypatch.setattr(products, "ROUNDS", 1)
    monkeypatch.setattr(products, "BURST", 0.0)
    file = tmp_path / "products.json"
    monkeypatch.setattr("sys.argv", ["products", "--json", str(file)])
    assert products.main() == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert {(row["cell"], row["phase"]) for row in record["rows"]} == {(cell, phase) for cell in products.GATES for phase in PHASES}
    assert all(row["seconds"] > 0 for row in record["rows"])
    for cell in products.GATES:
        found = {row["phase"]: row["seconds"] for row in record["rows"] if row["cell"] == cell}
        assert found[INFERENCE] < found[TRAINING] < found[MODEL]
    assert products.table(record) in capsys.readouterr().out
