"""`derive bench --torch`: that our layers and those of `torch.nn` are given the same and compute the same, and what is asked of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import generated, ordinary

from derive.bench import layers, options, pytorch, pytorch_layers, run
from derive.bench.agreement import ALONE
from derive.bench.compare import Settings, compare
from derive.bench.contender import Array, Calls, sizes_of
from derive.bench.goals import MEANS, RATIOS
from derive.bench.measure import Clock, Limits
from derive.bench.peers import NOT_IN_PHASE, PEERS
from derive.bench.phases import BACKWARD, BOTH, CELL, DOUBLE, GRAD, NO_GRAD, PACKED, PHASES, PRODUCTS, SECOND, STEP, TORCH
from derive.bench.record import Record, Row, Timing, load
from derive.bench.table import goals, line, markdown
from derive.bench.work import operations
from derive.cell import Cell
from derive.cells import REGISTRY
from derive.command import bench
from derive.verify.problem import Problem, initial

B, T, D, N = 4, 5, 3, 6
OF_LAYERS = [phase for phase in TORCH if phase != CELL]
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def surroundings(threads_as_before: None) -> Iterator[None]:
    """Leave numbers of threads, and what PyTorch may use, as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    assert torch.backends.mkldnn.enabled


def problem(name: str, dtype: str = "float64") -> Problem:
    return initial(generated(name), REGISTRY[name], sizes=sizes_of(REGISTRY[name], D, N), steps=T, batch=B, dtype=dtype)


def results(contender: Calls, phase: str) -> dict[str, Array]:
    return {name: np.array(value) for name, value in ALONE[phase](contender, contender.calls[phase]()).items()}


# Contenders


@pytest.mark.parametrize(("name", "phase"), ordinary(product(pytorch.LAYERS, OF_LAYERS), {*product(("rnn",), OF_LAYERS), ("lstm", PACKED)}))
def test_our_layers_compute_what_those_of_pytorch_do(name: str, phase: str) -> None:
    p = problem(name)
    got, want = results(pytorch_layers.ours(phase, p, generated(name)), phase), results(PEERS["torch.nn"].layers[phase](p), phase)
    assert got.keys() == want.keys() and want
    for key, value in want.items():
        assert got[key].shape == value.shape, key
        np.testing.assert_allclose(got[key], value, rtol=1e-9, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("name", ["lstm_peephole", pytest.param("softmax_cross_entropy", marks=pytest.mark.exhaustive)])
def test_a_layer_of_any_cell_computes_what_its_text_says(name: str) -> None:
    p = problem(name)
    got, want = results(pytorch_layers.ours(CELL, p, generated(name)), CELL), results(PEERS["eager"].layers[CELL](p), CELL)
    assert got.keys() == want.keys() == {*p.differentiable}
    for key, value in want.items():
        np.testing.assert_allclose(got[key], value, rtol=1e-9, atol=1e-11, err_msg=key)


def test_whose_kernels_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours on one side, PyTorch's on the other: a comparison of one of them with itself would agree as well."""
    made = list[str]()
    real = torch.nn.RNN.forward
    ours = importlib.import_module("generated.torch").RNN
    monkeypatch.setattr(torch.nn.RNN, "forward", lambda self, *a: (made.append("theirs"), real(self, *a))[1])
    of_ours = ours.forward
    monkeypatch.setattr(ours, "forward", lambda self, *a: (made.append("ours"), of_ours(self, *a))[1])
    p = problem("rnn")
    for phase in OF_LAYERS:
        for contender, who in ((pytorch_layers.ours(phase, p, generated("rnn")), "ours"), (PEERS["torch.nn"].layers[phase](p), "theirs")):
            made.clear()
            contender.calls[phase]()
            assert {*made} == {who}, phase


def test_what_is_compared() -> None:
    p = problem("gru")
    of = {phase: {*results(PEERS["torch.nn"].layers[phase](p), phase)} for phase in OF_LAYERS}
    assert of[STEP] >= {"loss", "first.weight", "last.bias", "W_r", "U_n", "b_hn"}  # gradients: what Adam moves by hides how large they are
    assert of[PACKED] >= {"output", "x", "weight_ih_l0", "weight_hh_l1_reverse"}
    assert of[BOTH] >= {"output", "x", "weight_ih_l0"} and of[GRAD] == of[NO_GRAD] == {"output"}
    assert of[DOUBLE] >= {"x", "W_r", "U_n"}


def test_a_step_is_one_of_adam() -> None:
    trainer = pytorch_layers.ours(STEP, problem("rnn"), generated("rnn"))
    losses = [float(trainer.calls[STEP]()) for _ in range(4)]
    assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1]


def test_gradients_are_kept_or_not() -> None:
    p = problem("lstm")
    for phase, kept in ((NO_GRAD, False), (GRAD, True)):
        for contender in (pytorch_layers.ours(phase, p, generated("lstm")), PEERS["torch.nn"].layers[phase](p)):
            assert contender.calls[phase]().requires_grad == kept


def test_lengths_are_uniform() -> None:
    found = pytorch_layers.lengths(replace(problem("rnn"), steps=5, batch=10_000))
    counts = np.bincount(found, minlength=6)
    assert counts[0] == 0 and len(counts) == 6 and (abs(counts[1:] - 2000) < 300).all()


def test_an_lstm_of_pytorch_is_penalised_with_and_without_onednn() -> None:
    contender = PEERS["torch.nn"].layers[DOUBLE](problem("lstm"))
    contender.calls[DOUBLE]()
    assert contender.choices[DOUBLE] in ("oneDNN", "no oneDNN")
    assert PEERS["torch.nn"].layers[DOUBLE](problem("gru")).choices == {}


# Rows


def rows(name: str, *phases: str, peers: tuple[str, ...] = ("torch.nn", "eager")) -> list[Row]:
    settings = Settings("float64", peers, phases, Limits(2), Clock())
    return list(compare(REGISTRY[name], generated(name), (B, T, D, N), settings))


def test_a_row_of_each_phase() -> None:
    found = rows("rnn", *TORCH) + rows("lstm_peephole", *TORCH)
    assert [(row.cell, row.phase) for row in found] == [*(("rnn", phase) for phase in OF_LAYERS), ("lstm_peephole", CELL)]
    for row in found:
        of_layers = row.cell == "rnn"
        assert row.ours.runs == 2 and isinstance(row.peers["torch.nn"], Timing) == of_layers
        assert (row.peers["eager"] == NOT_IN_PHASE) == of_layers


def test_operations_are_those_of_the_products() -> None:
    p = problem("rnn")
    once, rows = 2 * B * T * N * (N + D), int(pytorch_layers.lengths(p).sum())
    work = operations(p.cell, p.sizes, T, B)
    found = {phase: layers.operations_of(phase, p, work) for phase in TORCH}
    assert work == once and found[NO_GRAD] == found[GRAD] == found[BOTH] == 0
    assert found[STEP] == (1 + BACKWARD) * once + 2 * B * T * (2 * D * D + 3 * N * N)
    assert found[PACKED] == (1 + BACKWARD) * 2 * rows * 2 * (N * (N + D) + N * (N + 2 * N))
    assert found[DOUBLE] == PRODUCTS[DOUBLE] * once and found[CELL] == (1 + BACKWARD) * once


@pytest.mark.parametrize("phase", OF_LAYERS)
def test_who_computes_something_else_is_a_gap(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = PEERS["torch.nn"].layers
    other = {phase: lambda p: make[phase](p.at("x", p.arrays["x"] / 2))}
    monkeypatch.setitem(PEERS, "torch.nn", replace(PEERS["torch.nn"], layers=other))
    (row,) = rows("gru", phase)
    why = row.peers["torch.nn"]
    assert isinstance(why, str) and why.startswith("failed: ") and why.endswith("of its norm")


# What is asked of them


def seconds(value: float) -> Timing:
    return Timing(value, 0.1, 9)


def row(cell: str, phase: str, theirs: float, work: int = 0, n: int = 16) -> Row:
    return Row(cell, phase, 4, 10, 8, n, work, seconds(0.1), {"torch.nn": seconds(theirs), "eager": NOT_IN_PHASE})


RECORD = Record(
    machine={"processor": "Some processor", "cores": 2, "features": ["avx2"], "system": "Linux", "versions": {"python": "3.11.7"}},
    dtype="float32",
    threads=2,
    runs=21,
    pauses=False,
    peak=100.0,
    peers=("torch.nn", "eager"),
    notes=(),
    rows=(
        row("lstm", STEP, 0.1),
        row("lstm", STEP, 0.16, n=32),
        row("rnn", STEP, 0.15, work=85 * 10**8),
        row("rnn", STEP, 0.15, work=75 * 10**8, n=32),
        row("gru", PACKED, 0.16),
        row("lstm", BOTH, 0.1),
    ),
)


def test_goals_are_told_in_a_table() -> None:
    told = [text.split(" | ") for text in goals(RECORD).splitlines()[2:]]
    assert told == [
        ["| lstm", "step", "4, 10, 8, 16", "torch.nn", "1.00", "1.03", "no", "- |"],
        ["| lstm", "step", "4, 10, 8, 32", "torch.nn", "1.60", "1.03", "yes", "- |"],
        ["| rnn", "step", "4, 10, 8, 16", "torch.nn", "1.50", "2.00", "at the peak", "113% |"],
        ["| rnn", "step", "4, 10, 8, 32", "torch.nn", "1.50", "2.00", "no", "100% |"],
        ["| gru", "packed", "4, 10, 8, 16", "torch.nn", "1.60", "1.50", "yes", "- |"],
        ["| lstm", "both", "4, 10, 8, 16", "torch.nn", "1.00", "1.20", "no", "- |"],
        ["| lstm", "step", "mean of all", "torch.nn", "1.26", "1.15", "yes", "- |"],
    ]
    assert [RECORD.meets(row) for row in RECORD.rows] == [False, True, True, False, True, False]
    assert "mean of all" not in goals(replace(RECORD, rows=RECORD.rows[2:]))


def test_goals_are_of_phases_that_there_are() -> None:
    assert {(cell, phase) for cell, phase, _ in MEANS} <= {(cell, phase) for cell, phase, _ in RATIOS}
    assert {phase for _, phase, _ in RATIOS} & {*TORCH} == {*OF_LAYERS}
    assert len({*PHASES, *SECOND, *TORCH}) == len(PHASES) + len(SECOND) + len(TORCH)


def test_each_phase_has_a_table_with_its_own_peers() -> None:
    _, _, *tables = markdown(RECORD).split("\n\n")
    heads = ["| cell", "phase", "B, T, d, n", "ms", "±", "torch.nn ms", "×", "GF/s", "peak |"]
    assert [table.splitlines()[0].split(" | ") for table in tables[:3]] == [heads] * 3
    assert "| rnn | step | 4, 10, 8, 16 | 100.00 | 10% | 150.00 | 1.50 | 85.0 | 85%* |" in tables[0]
    assert tables[2].endswith("| lstm | both | 4, 10, 8, 16 | 100.00 | 10% | 100.00 | 1.00 | - | - |") and len(tables) == 3


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(RECORD.json(), encoding="utf-8")
    assert load(path) == RECORD


# The command


def test_what_is_usual() -> None:
    found = options.parse(["--torch"])
    assert (found.cells, found.phases, found.peers) == (options.TORCH_CELLS, TORCH, ("torch.nn", "eager", "compile"))
    assert (found.dtype, found.threads, found.pauses) == ("float32", 2, False)
    planned = options.plan(found)
    assert [size for size, phases in planned.items() if STEP in phases] == [*options.SIZES]
    assert planned[1, 10, 8, 8] == [NO_GRAD, GRAD, BOTH] and planned[32, 100, 64, 128] == [STEP, PACKED, DOUBLE, CELL]
    found = options.parse(["--torch", "--sizes", "1,2,3,4", "--phases", BOTH, STEP, "--cells", "gru"])
    assert options.plan(found) == {(1, 2, 3, 4): [BOTH, STEP]} and found.cells == ["gru"]
    assert options.plan(options.parse([])) == {size: [*PHASES] for size in options.SIZES}


@pytest.mark.parametrize(("arguments", "part"), [(["--torch", "--second"], "--second"), (["--torch", "--profile"], "--profile")])
def test_wrong_options(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(arguments)
    assert stop.value.code == 2 and part in capsys.readouterr().err


def test_without_pytorch_it_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else found(name, *rest))
    assert bench.main(["--torch"]) == 1
    assert "pip install torch" in capsys.readouterr().err


def test_what_a_cell_does_not_have_is_told() -> None:
    assert "torch.nn has no layer of slstm" in layers.absence(REGISTRY["slstm"], STEP) and layers.absence(REGISTRY["slstm"], CELL) == ""
    assert layers.absence(REGISTRY["gru"], STEP) == "" and "is a layer of torch.nn" in layers.absence(REGISTRY["gru"], CELL)
    another = Cell("h = tanh(W @ x + U @ h_prev)", name="gru", output="h")
    assert layers.absence(another, STEP) and layers.absence(another, CELL) == ""
    assert run._absences([STEP, BOTH], [REGISTRY["slstm"]]) == [layers.absence(REGISTRY["slstm"], phase) for phase in (STEP, BOTH)]
    assert run._absences(TORCH, [REGISTRY["slstm"], REGISTRY["gru"]]) == []


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rows, goals and the file say the same."""

    def compiled(cells: list[Cell], order: int) -> dict[str, ModuleType]:
        return {cell.name: generated(cell.name) for cell in cells}

    monkeypatch.setattr(run, "compile_all", compiled)
    path = tmp_path / "bench.json"
    words = f"--torch --cells rnn lstm_peephole --sizes {B},{T},{D},{N} --runs 2 --threads 1 --dtype float64 --peers torch.nn eager"
    assert bench.main([*words.split(), "--json", str(path)]) == 0
    out, record = capsys.readouterr().out, load(path)
    assert [row.phase for row in record.rows] == [*OF_LAYERS, CELL] and record.peers == ("torch.nn", "eager")
    assert {line(row, record) for row in record.rows} <= {*out.splitlines()} and goals(record) in out
    assert torch.get_num_threads() == 1


def test_the_page_has_the_tables_of_the_file() -> None:
    record, page = load(DOCS / "benchmarks-torch.json"), (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    between = page.partition("--table docs/benchmarks-torch.json` prints -->\n")[2].partition("<!-- /DERIVE-BENCH-TORCH -->")[0]
    assert between.strip() == markdown(record) and not record.pauses
    assert {(row.cell, row.phase) for row in record.rows} == {
        *((cell, phase) for cell in options.SECOND_CELLS for phase in OF_LAYERS),
        ("lstm_peephole", CELL),
    }
    assert {row.size for row in record.rows if row.phase == STEP} == {", ".join(map(str, size)) for size in options.SIZES}


def test_the_page_says_where_a_layer_is_slower() -> None:
    record, page = load(DOCS / "benchmarks-torch.json"), (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    rows = {(row.cell, row.phase, row.size): row.ratio("torch.nn") for row in record.rows if row.phase != CELL}
    slower = {place: ratio for place, ratio in rows.items() if ratio is not None and ratio < 1}
    for (cell, phase, size), ratio in slower.items():
        assert f"- slower: {cell}, {phase}, {size}: torch.nn {ratio:.2f}\n" in page
    assert all(phase == STEP for _, phase, _ in slower)  # no small call is
    lstm, sizes = REGISTRY["lstm"], {"d": 64, "n": 128}
    read = 4 * sum(int(np.prod([size.evaluate(sizes) for size in lstm.shapes[name]])) for name in lstm.parameters if name[0] in "WU")
    assert f"both sides read the weights, {read / 1000:.0f} kB, from a cache at every step" in page
