"""What `derive show CELL --plan` says: it is what the runtime does."""

from __future__ import annotations

import inspect
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import generated

from derive.__main__ import main
from derive.cells import REGISTRY
from derive.explain import cpu as plan
from derive.runtime.cpu import division as decisions
from derive.runtime.cpu.target import TARGET
from derive.runtime.cpu.tile import ROWS


def explained(name: str, words: str) -> list[str]:
    cell = REGISTRY[name]
    return plan.explain(cell, plan.parse_extent(cell, words.split())).splitlines()


def test_parts_are_as_many_as_threads_where_each_has_a_tile_of_rows() -> None:
    for batch, weights, threads in product(range(1, 70), (0, decisions.HEAVY - 1, decisions.HEAVY, 1 << 24), range(1, 9)):
        parts = decisions.row_parts(batch, weights, threads, ROWS)
        assert 1 <= parts <= min(batch, threads)
        assert parts == min(batch, threads) or (weights >= decisions.HEAVY and batch < ROWS * threads)
        assert parts == 1 or weights < decisions.HEAVY or batch // parts >= ROWS


def test_there_are_more_parts_than_threads_only_of_whole_tiles() -> None:
    for batch, weights, threads in product(range(1, 70), (0, 1 << 24), range(1, 5)):
        fewest = decisions.row_parts(batch, weights, threads, ROWS)
        parts = decisions.row_parts(batch, weights, threads, ROWS, 2 * threads)
        assert parts == max(fewest, min(2 * threads, batch // ROWS))
        assert parts == fewest or batch // parts >= ROWS


@pytest.mark.parametrize(
    ("words", "part", "reason"),
    [
        (f"b={2 * ROWS} n=512 d=64 threads=2", "rows in 2 parts", "give each thread a tile"),
        ("b=2 n=512 d=64 threads=2", "rows in 1 part,", "threads without a part take columns of products"),
        ("b=1 n=512 d=64 threads=1", "rows in 1 part,", "since there is one thread"),
        ("b=2 n=32 d=64 threads=2", "rows in 2 parts", "each thread can read all packed weights, 16 KiB"),
    ],
)
def test_the_division_of_rows_is_explained(words: str, part: str, reason: str) -> None:
    line = explained("lstm", words)[2]
    assert line.startswith("forward: 1 phase a step; ") and part in line and reason in line


@pytest.mark.parametrize(
    ("words", "when", "reason"),
    [
        ("b=64 n=64 d=64 threads=2", "at each step", "are within 4 MiB"),
        ("b=4 n=64 d=64 threads=2", "for all steps before the first", "B = 4 is less than"),
        ("b=64 n=1024 d=64 threads=2", "for all steps before the first", "exceed 4 MiB"),
        ("b=1 t=1 n=64 d=64 threads=2", "at the step", "there is one"),
    ],
)
def test_when_products_of_the_inputs_are_formed_is_explained(words: str, when: str, reason: str) -> None:
    line = explained("lstm", words)[1]
    assert line.startswith(f"products of the inputs: {when}, since") and reason in line


def test_cells_of_other_forms() -> None:
    assert explained("gru_v3", "b=64 n=64 threads=2")[2].startswith("forward: 2 phases a step; rows in 2 parts")
    assert "there is no product in it" in explained("lru", "b=4 n=512 threads=2")[2]
    lines = explained("softmax_cross_entropy", "b=4 d=8")
    assert lines[1].startswith("forward: no loop over time") and len(lines) == 5


@pytest.mark.parametrize("name", REGISTRY)
def test_the_tape_is_as_large_as_it_says(name: str) -> None:
    cell = REGISTRY[name]
    module: Any = generated(name)
    sizes = plan.parse_extent(cell, []).sizes
    keywords = {size: sizes[size] for size in list(inspect.signature(module.spec).parameters)[2:]}
    found = sum(int(np.prod(shape)) for shape in module.spec(7, 1, **keywords)["saved"].values())
    before = sum(int(np.prod(shape)) for shape in module.spec(0, 1, **keywords)["saved"].values())
    assert found - before == 7 * plan.tape_size(cell).evaluate(sizes)


@pytest.mark.parametrize("word", ["q=3", "b", "b=", "b=0", "n=-1", "dtype=float16", "n=2.5"])
def test_words_that_mean_nothing_are_named(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lstm", "--plan", "t=5", word]) == 2
    message = capsys.readouterr().err
    assert repr(word) in message and "d, n, b, t, threads" in message


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lstm", "--plan", "b=3", "t=5", "d=2", "n=4", "threads=2", "dtype=float64"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "lstm: T = 5, B = 3, d = 2, n = 4, float64, 2 threads"
    assert printed[-1] == "tape: 192 bytes for each step and sequence, 2.81 KiB in all"


def test_a_step_reads_the_panels_of_its_inputs_too() -> None:
    assert "packed weights, 32 MiB, are too much" in explained("mingru", "t=1 b=2 d=2048 n=2048 threads=2")[2]
    assert "there is no product in it" in explained("mingru", "t=2 b=2 d=2048 n=2048 threads=2")[2]


def test_sizes_that_only_one_of_several_cells_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.py"
    text = 'from derive import Cell\na = Cell("h = tanh(W @ x + U @ h_prev)", name="a", output="h")\n'
    file.write_text(text + 'b = Cell("h = h_prev + w", name="b", output="h", inputs=())\n', encoding="utf-8")
    assert main(["show", str(file), "--plan", "d=5", "n=3"]) == 0
    printed = capsys.readouterr().out
    assert "a: T = 100, B = 32, d = 5, n = 3" in printed and "b: T = 100, B = 32, n = 3" in printed


@pytest.mark.skipif(TARGET.registers != 32 or TARGET.vector_bytes != 64, reason="the plan on the page is of a processor with AVX-512")
def test_the_plan_on_the_page_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    words = "lstm --plan b=16 t=100 d=64 n=128 threads=2"
    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert main(["show", *words.split()]) == 0
    after = page.partition(f"derive show {words}\n")[2]
    assert after.partition("```text\n")[2].startswith(capsys.readouterr().out)
