"""What is in the language and hardly meant is said by `derive show` and `derive check`, and nowhere else."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from conftest import generated

from derive import Cell
from derive.__main__ import main
from derive.calculus.doubts import doubts
from derive.cells import REGISTRY
from derive.verify import report as checks

LOST = Cell("h = tanh(W @ x + U @ memory + b)", name="lost", output="h")
FLAT = Cell("h = step(W @ x + U @ h_prev)", name="flat", output="h")


def test_a_recurrence_without_a_state() -> None:
    (doubt,) = doubts(LOST)
    assert doubt.startswith("the cell has no state") and "`U @ memory`" in doubt and "`h_prev`" in doubt


def test_parameters_without_gradient() -> None:
    (doubt,) = doubts(FLAT)
    assert doubt.startswith("no gradient reaches `W`, `U`: ") and doubt.endswith('`fixed=("W", "U")`')
    (doubt,) = doubts(Cell("h = where(x > theta, x, h_prev)", name="threshold", output="h"))
    assert doubt.startswith("no gradient reaches `theta`: ") and doubt.endswith('`fixed=("theta",)`')


@pytest.mark.parametrize(
    "cell",
    [
        *REGISTRY.values(),
        Cell("y = W @ x + b", name="readout", output="y"),
        Cell("y = W @ (A @ x)", name="factors", output="y"),
        Cell("y = g * layer_norm(x) + b", name="norm", output="y"),
        Cell("l = sum((W @ x - y) ** 2)", name="loss", output="l", inputs=("x", "y")),
        Cell("y = W @ x + A @ u", name="offset", output="y", fixed=("u",)),
        Cell("h = where(x > theta, x, h_prev)", name="threshold", output="h", fixed=("theta",)),
        Cell("a = A @ v\nh = tanh(W @ x + a * h_prev)", name="recurrent", output="h"),
    ],
    ids=lambda cell: cell.name,
)
def test_what_is_meant_so(cell: Cell) -> None:
    assert doubts(cell) == ()


def test_they_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cells.py"
    path.write_text(
        textwrap.dedent(
            """
            from derive import Cell
            lost = Cell("h = tanh(W @ x + U @ memory + b)", name="lost", output="h")
            flat = Cell("h = step(W @ x + U @ h_prev)", name="flat", output="h")
            """
        )
    )
    assert main(["show", str(path)]) == 0
    out = capsys.readouterr().out
    assert out.count("Warning: ") == 2 and "Warning: no gradient reaches `W`, `U`" in out
    assert main(["show", "gru"]) == 0
    assert "Warning" not in capsys.readouterr().out


def test_they_stand_below_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checks, "doubts", lambda cell: doubts(LOST))
    monkeypatch.setattr(checks.memory, "compile_all", lambda cells, order: {"rnn": generated("rnn")})
    assert checks.run([REGISTRY["rnn"]]) == 0  # the numbers are right all the same
    assert "\nwarning: rnn: the cell has no state: " in capsys.readouterr().out
