"""`derive bench --second`: that every contender computes the same, and what is made of times and of memory."""

from __future__ import annotations

import json
import shutil
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import generated

from derive.bench import chart, memory, options, pytorch, run, second
from derive.bench.agreement import ALONE, disagreement
from derive.bench.compare import Settings, compare
from derive.bench.contender import Array, sizes_of
from derive.bench.goals import FIRST_ORDER, RATIO, RATIOS
from derive.bench.measure import Clock, Limits
from derive.bench.peers import NOT_IN_PHASE, PEERS, USUAL
from derive.bench.phases import (
    BACKWARD,
    CELL,
    DOUBLE,
    HVP,
    INFERENCE,
    KEPT,
    MEMORY,
    PENALTY,
    PHASES,
    PRODUCTS,
    SECOND,
    TANGENT,
    TIMED,
    TORCH,
    TRAINING,
)
from derive.bench.record import Peak, Record, Row, Timing, load
from derive.bench.second import Chosen, SecondOrder
from derive.bench.table import choices, geometric_means, goals, header, line, markdown, mean_lines, short
from derive.calculus.ir import MatVec, MatVecT, Outer
from derive.cell import Cell
from derive.cells import REGISTRY
from derive.command import bench
from derive.program.pipeline import compile_cell
from derive.verify.problem import Problem, directions, initial

B, T, D, N = 2, 3, 3, 5
CAN_COMPILE = shutil.which("g++") is not None and (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file()
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # PyTorch about its forward mode
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(autouse=True)
def surroundings(threads_as_before: None) -> Iterator[None]:
    """Leave numbers of threads, and what PyTorch may use, as they were."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    assert torch.backends.mkldnn.enabled


def problem(name: str, **options: Any) -> Problem:
    cell = REGISTRY[name]
    return initial(generated(name), cell, sizes=sizes_of(cell, D, N), steps=T, batch=B, dtype="float64", **options)


def peer(name: str, p: Problem) -> SecondOrder:
    make = PEERS[name].second
    assert make is not None
    return make(p, directions(p))


def results(contender: SecondOrder, phase: str) -> dict[str, Array]:
    return {name: np.array(value) for name, value in ALONE[phase](contender, contender.calls[phase]()).items()}


def same(got: Mapping[str, Array], want: Mapping[str, Array]) -> None:
    assert got.keys() == want.keys() and want
    for name, value in want.items():
        assert got[name].shape == value.shape, name
        np.testing.assert_allclose(got[name], value, rtol=1e-9, atol=1e-10, err_msg=name)


# Contenders


@pytest.mark.parametrize("name", pytorch.LAYERS)
def test_layers_of_pytorch_are_the_cell(name: str) -> None:
    p = problem(name)
    layer, eager = peer("torch.nn", p), peer("eager", p)
    for phase in (PENALTY, TANGENT, HVP):
        same(results(layer, phase), results(eager, phase))


@pytest.mark.parametrize("name", ["rnn", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("lmu", "softmax_cross_entropy"))])
def test_jax_is_the_cell(name: str) -> None:
    pytest.importorskip("jax")
    p = problem(name)
    jax, eager = peer("jax", p), peer("eager", p)
    for phase in (PENALTY, TANGENT, HVP):
        same(results(jax, phase), results(eager, phase))
        assert jax.choices[phase] == "unroll 1"


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore")  # of PyTorch's compiler about itself
@pytest.mark.skipif(not CAN_COMPILE, reason="torch.compile needs a C++ compiler and Python's headers")
@pytest.mark.parametrize("name", ["gru", "lmu"])
def test_compiled_pytorch_has_tangents_and_no_double_backward(name: str) -> None:
    pytorch.set_threads(1)
    p = problem(name)
    compiled = peer("compile", p)
    same(results(compiled, TANGENT), results(peer("eager", p), TANGENT))
    for phase in (PENALTY, HVP):
        with pytest.raises(RuntimeError, match=r"double backward|create_graph=False"):
            compiled.calls[phase]()


@pytest.mark.parametrize("name", ["rnn", "softmax_cross_entropy"])
def test_ours_is_the_cell(name: str) -> None:
    p = problem(name)
    v = directions(p)
    own, eager = second.ours(generated(name), p, v), peer("eager", p)
    for phase in (PENALTY, TANGENT, HVP):
        same(results(own, phase), results(eager, phase))
    plain = second.first_order(generated(name), p)
    same(results(own, KEPT), results(plain, KEPT))
    gradient = results(plain, HVP)
    assert disagreement(gradient, results(own, HVP), whole=False) == "" and {*gradient} == {f"gradient {name}" for name in p.differentiable}


def test_a_penalty_is_on_the_gradients_by_the_inputs() -> None:
    p = problem("rnn")
    x = torch.tensor(p.arrays["x"], requires_grad=True)
    layer = pytorch.looped(p)
    (grad,) = torch.autograd.grad(layer.run([x]), x, torch.tensor(p.dy), create_graph=True)
    (by_x,) = torch.autograd.grad(grad.square().sum(), x)
    np.testing.assert_allclose(results(peer("eager", p), PENALTY)["x"], by_x.numpy(), rtol=1e-12)
    assert second.penalized(REGISTRY["softmax_cross_entropy"]) == ["a"]


@pytest.mark.parametrize("name", ["lstm", "gru", "mut1"])
def test_products_are_those_of_the_programs(name: str) -> None:
    derivation, sizes = compile_cell(REGISTRY[name], 2).derivation, sizes_of(REGISTRY[name], D, N)

    def made(*links: str) -> int:
        total = 0
        for link in links:
            rec = derivation[link].recurrence
            for eq in (*rec.body, *rec.accumulators):
                if isinstance(eq.node, MatVec | MatVecT | Outer):
                    matrix = eq.name if isinstance(eq.node, Outer) else eq.node.matrix
                    total += prod(size.evaluate(sizes) for size in rec.types[matrix].shape)
        return total

    once = made("forward")
    assert made("backward") == BACKWARD * once == PRODUCTS[KEPT] * once
    assert made("forward", "backward", "backward_backward_inputs", "through") == PRODUCTS[DOUBLE] * once
    assert made("forward", "backward_backward_inputs", "through") == (PRODUCTS[PENALTY] - 1) * once  # and of the backward pass the vectors'
    assert made("forward", "tangent") == PRODUCTS[TANGENT] * once
    assert made("forward", "backward", "along", "hessian") == PRODUCTS[HVP] * once
    assert made("forward", "backward") == PRODUCTS[TRAINING] * once


def test_of_several_ways_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    made, chosen = list[str](), dict[str, str]()
    monkeypatch.setattr(second, "fastest", lambda ways: "b")
    call = Chosen({way: lambda way=way: made.append(way) for way in "ab"}, HVP, chosen)  # type: ignore[misc]
    call()
    call()
    assert made == ["b", "b"] and chosen == {HVP: "b"}
    contender = SecondOrder({HVP: call, KEPT: made.clear}, {}, chosen)
    assert [*contender.ways(HVP)] == ["a", "b"] and [*contender.ways(KEPT)] == [""]


def test_an_lstm_of_pytorch_is_measured_with_and_without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    used = list[bool]()
    layer = peer("torch.nn", problem("lstm"))
    ways = layer.ways(PENALTY)
    real = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (used.append(torch.backends.mkldnn.enabled), real(*a, **k))[1])
    for way in ways.values():
        way()
    assert [*ways] == ["oneDNN", "no oneDNN"] and used == [True, True, False, False]
    assert [*peer("torch.nn", problem("gru")).ways(PENALTY)] == [""]


# Rows


def rows(name: str, *phases: str, peers: tuple[str, ...] = ("torch.nn", "eager", "scan")) -> list[Row]:
    settings = Settings("float64", peers, phases, Limits(2), Clock())
    return list(compare(REGISTRY[name], generated(name), (B, T, D, N), settings))


def test_a_row_of_each_phase() -> None:
    found = rows("rnn", *TIMED)
    work = 2 * B * T * N * (N + D)
    assert [(row.phase, row.operations) for row in found] == [(phase, work * PRODUCTS[phase]) for phase in TIMED]
    for row in found:
        assert row.ours.runs == 2 and row.peers["scan"] == NOT_IN_PHASE
        assert isinstance(row.peers["torch.nn"], Timing) == isinstance(row.peers["eager"], Timing) == (row.phase != KEPT)
        assert isinstance(row.peers[FIRST_ORDER], Timing) == (row.phase in (HVP, KEPT))


@pytest.mark.parametrize("phase", [PENALTY, TANGENT, HVP])
def test_who_computes_something_else_is_a_gap(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = PEERS["eager"].second
    assert make is not None
    monkeypatch.setitem(PEERS, "eager", replace(PEERS["eager"], second=lambda p, v: make(p.at("U", p.arrays["U"] / 2), v)))
    (row,) = rows("rnn", phase)
    why = row.peers["eager"]
    assert isinstance(why, str) and why.startswith("failed: ") and why.endswith("of its norm")


# Memory


def test_memory_is_the_most_at_any_time() -> None:
    if memory.absence():
        pytest.skip(memory.absence())
    size = 48 << 20
    assert 0.95 * size < memory._most(lambda: np.ones(size, np.uint8)) < 1.1 * size
    assert memory._most(lambda: None) < 0.1 * size  # what was before does not count


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    if memory.absence():
        pytest.skip(memory.absence())
    cell, size = REGISTRY["rnn"], (8, 200, 16, 64)
    found = memory.peak(memory.task(cell, generated("rnn"), size, "float64"))
    array = 8 * 8 * 200 * 64
    assert 3 * array < found.bytes < 60 * array and found.runs == memory.CALLS  # at the least the output, the states, and their cotangents


def test_whose_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    peers = ("torch.nn", "eager", "jax")
    assert memory.peer(REGISTRY["gru"], peers) == "torch.nn" and memory.peer(REGISTRY["slstm"], peers) == "eager"
    assert memory.peer(REGISTRY["gru"], ("jax",)) == "" and memory.peer(REGISTRY["gru"], ("jax", "eager")) == "eager"

    def peak(task: Any, contender: str = memory.OURS) -> Peak:
        if contender == "eager":
            raise MemoryError("no room\nat all")
        return Peak(10 + len(contender), memory.CALLS)

    monkeypatch.setattr(memory, "peak", peak)
    monkeypatch.setattr(memory, "absence", lambda: "")
    (row,) = rows("gru", MEMORY)
    assert row.ours == Peak(10, memory.CALLS) and row.ratio("torch.nn") == 1.8
    assert row.peers == {"torch.nn": Peak(18, memory.CALLS), "eager": NOT_IN_PHASE, "scan": NOT_IN_PHASE}
    (row,) = rows("slstm", MEMORY)
    assert row.peers["eager"] == "failed: MemoryError: no room"
    monkeypatch.setattr(memory, "absence", lambda: "no mark")
    assert rows("gru", MEMORY) == []


# The record

PLACE = ("lstm", 4, 10, 8, 16)


def row(phase: str, ours: Timing | Peak, cell: str = "lstm", work: int = 0, **peers: Timing | Peak | str) -> Row:
    named = {{"nn": "torch.nn", "first": FIRST_ORDER}.get(name, name): value for name, value in peers.items()}
    return Row(cell, phase, 4, 10, 8, 16, work, ours, named)


def seconds(value: float) -> Timing:
    return Timing(value, 0.1, 9)


RECORD = Record(
    machine={"processor": "Some processor", "cores": 2, "features": ["avx2"], "system": "Linux", "versions": {"python": "3.11.7"}},
    dtype="float32",
    threads=2,
    runs=21,
    pauses=False,
    peak=100.0,
    peers=("torch.nn", "compile", "jax", FIRST_ORDER),
    notes=(),
    rows=(
        row(PENALTY, seconds(0.1), work=10**9, nn=seconds(0.5), compile="failed: E: why", jax=seconds(0.2), first=NOT_IN_PHASE),
        row(PENALTY, seconds(0.1), cell="gru", nn=seconds(0.3), compile="failed: E: why", jax=seconds(0.2), first=NOT_IN_PHASE),
        row(TANGENT, seconds(0.1), nn=seconds(0.05), compile=seconds(0.5), jax=seconds(0.15), first=NOT_IN_PHASE),
        row(HVP, seconds(0.1), nn=seconds(0.2), compile=NOT_IN_PHASE, jax=seconds(0.1), first=seconds(0.025)),
        row(KEPT, seconds(0.11), nn=NOT_IN_PHASE, first=seconds(0.1)),
        row(MEMORY, Peak(2 << 20, 3), nn=Peak(5 << 20, 3, "no oneDNN"), jax=NOT_IN_PHASE),
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bench.json"
    path.write_text(RECORD.json(), encoding="utf-8")
    return path


def test_a_record_is_read_as_it_was_written(file: Path) -> None:
    assert load(file) == RECORD
    found = json.loads(file.read_text())["rows"]
    assert found[5]["ours"] == {"bytes": 2 << 20, "runs": 3, "how": ""} and found[5]["peers"]["torch.nn"]["ratio"] == 2.5
    assert found[0]["goals"] == {"torch.nn": 4.0} and found[4]["goals"] == {FIRST_ORDER: pytest.approx(1 / 1.07)}
    assert [row["meets"] for row in found] == [True, False, False, True, False, True]


def test_goals_are_those_of_cells_phases_and_peers() -> None:
    assert {phase for _, phase, _ in RATIOS} == {*SECOND, *TORCH} - {CELL} and {peer for _, _, peer in RATIOS} <= {*PEERS, FIRST_ORDER}
    assert {cell for cell, _, _ in RATIOS} <= {"", *pytorch.LAYERS}
    of_lstm, of_gru, *_ = RECORD.rows
    assert (of_lstm.goal("torch.nn"), of_gru.goal("torch.nn"), of_gru.goal("jax")) == (4.0, 3.5, RATIO)
    assert replace(of_lstm, phase=TRAINING).goals == {}


def test_each_phase_has_a_table_with_its_own_peers() -> None:
    _, reached, *tables = markdown(RECORD).split("\n\n")
    heads = [table.splitlines()[0].split(" | ")[3:] for table in tables]
    assert heads[0] == ["ms", "±", "torch.nn ms", "×", "compile ms", "×", "jax ms", "×", "GF/s", "peak |"]
    assert heads[3] == ["ms", "±", "first order ms", "×", "GF/s", "peak |"] and heads[4] == ["ours", "torch.nn", "× |"]
    assert "| lstm | penalty | 4, 10, 8, 16 | 100.00 | 10% | 500.00 | 5.00 | failed | - | 200.00 | 2.00 | 10.0 | 10% |" in tables[0]
    assert "| 25.00 | 1/4.00 | - | - |" in tables[2] and tables[4].endswith("| 2.0 MiB | 5.0 MiB | 2.50 |")
    assert tables[5].splitlines() == [
        "- compile: failed: E: why",
        "- torch.nn: no oneDNN in 1 rows",
        "- slower: lstm, tangent, 4, 10, 8, 16: torch.nn 0.50",
    ]
    assert reached == goals(RECORD) and len(tables) == 6


def test_goals_are_told_in_a_table() -> None:
    told = [text.split(" | ")[1:] for text in goals(RECORD).splitlines()[2:]]
    assert told == [
        ["penalty", "4, 10, 8, 16", "torch.nn", "5.00", "4.00", "yes", "8% |"],
        ["penalty", "4, 10, 8, 16", "torch.nn", "3.00", "3.50", "no", "- |"],
        ["tangent", "4, 10, 8, 16", "compile", "5.00", "5.00", "yes", "- |"],
        ["tangent", "4, 10, 8, 16", "jax", "1.50", "1.50", "no", "- |"],
        ["hvp", "4, 10, 8, 16", FIRST_ORDER, "1/4.00", "1/4.00", "yes", "- |"],
        ["second", "4, 10, 8, 16", FIRST_ORDER, "1/1.10", "1/1.07", "no", "- |"],
        ["memory", "4, 10, 8, 16", "torch.nn", "2.50", "2.00", "yes", "- |"],
    ]
    assert goals(replace(RECORD, rows=())) == ""


def test_lines_of_the_table() -> None:
    lines = [header(RECORD.peers), *(line(row, RECORD) for row in RECORD.rows)]
    words = [" ".join(text.split()) for text in lines[1:]]
    assert len({len(text) for text in lines}) == 1
    assert words[3] == "lstm hvp 4 10 8 16 100.00 10% 200.00 2.00 - - 100.00 1.00 25.00 1/4.00 - -"
    assert words[5] == "lstm memory 4 10 8 16 2.0 MiB - 5.0 MiB 2.50 - - - - - - - -"
    assert short(replace(RECORD, rows=RECORD.rows[-1:])) == [] and choices(RECORD) == ["torch.nn: no oneDNN in 1 rows"]


def test_means_and_charts_are_of_first_order() -> None:
    both = replace(RECORD, rows=(*RECORD.rows, row(INFERENCE, seconds(0.1), nn=seconds(0.3), jax=seconds(0.2))))
    assert geometric_means(RECORD) == {} and mean_lines(RECORD) == [] and chart.drawn(RECORD) == ()
    assert geometric_means(both) == {("lstm", INFERENCE): [pytest.approx(3.0), None, pytest.approx(2.0)]}
    assert mean_lines(both) == ["mean × of lstm inference: torch.nn 3.00, jax 2.00"]
    assert "| cell | phase | torch.nn | compile | jax |\n" in markdown(both) and chart.drawn(both) == both.rows[-1:]


def test_a_chart_leaves_second_order_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    both = replace(RECORD, rows=(*RECORD.rows, row(INFERENCE, seconds(0.1), nn=seconds(0.3), first=NOT_IN_PHASE)))
    chart.draw(both, tmp_path / "a.svg")
    chart.draw(replace(both, rows=both.rows[-1:], peers=("torch.nn", "compile", "jax")), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_nothing_to_draw(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert bench.main(["--from", str(file), "--chart", str(file.parent / "a.svg")]) == 1
    assert "nothing to draw" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        bench.main(["--second", "--chart", "a.svg"])
    assert stop.value.code == 2 and "inference, training, model" in capsys.readouterr().err


# The command


def test_what_is_usual() -> None:
    found = options.parse(["--second"])
    assert (found.cells, found.sizes, found.phases) == (options.SECOND_CELLS, options.SECOND_SIZES, SECOND)
    assert found.peers == ("torch.nn", "eager", "compile", "jax")
    assert (
        options.parse(["--second", "--cells", "slstm", "--peers", "--phases", "hvp"]).__dict__.items()
        >= {"cells": ["slstm"], "peers": []}.items()
    )
    found = options.parse([])
    assert (found.cells, found.sizes, found.phases, found.peers) == (options.CELLS, options.SIZES, PHASES, USUAL)


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rows, gaps, goals and the file say the same."""
    orders = list[int]()

    def compiled(cells: list[Cell], order: int) -> dict[str, ModuleType]:
        orders.append(order)
        return {cell.name: generated(cell.name) for cell in cells}

    monkeypatch.setattr(run, "compile_all", compiled)
    monkeypatch.setattr(memory, "peak", lambda task, contender="": Peak(1 << 20, memory.CALLS))
    monkeypatch.setattr(memory, "absence", lambda: "")
    path, size = tmp_path / "bench.json", f"{B},{T},{D},{N}"
    arguments = [
        "--second",
        "--cells",
        "rnn",
        "--sizes",
        size,
        "--runs",
        "2",
        "--threads",
        "1",
        "--dtype",
        "float64",
        "--peers",
        "torch.nn",
    ]
    assert bench.main([*arguments, "--json", str(path)]) == 0
    out, record = capsys.readouterr().out, load(path)
    assert orders == [2] and [row.phase for row in record.rows] == [*SECOND] and record.peers == ("torch.nn", FIRST_ORDER)
    assert {line(row, record) for row in record.rows} <= {*out.splitlines()} and goals(record) in out
    assert record.rows[-1].ratio("torch.nn") == 1.0 and "| rnn | memory | 2, 3, 3, 5 | torch.nn | 1.00 | 2.00 | no |" in out


def test_what_has_no_gradient_by_an_input_is_told() -> None:
    picked = Cell("h = tanh(U @ h_prev + pick(b, x))", name="picked", output="h", shapes={"x": ""})
    assert (
        picked.integers and "no gradient with respect to an input" in second.absence(picked, PENALTY) and second.absence(picked, HVP) == ""
    )
    assert run._absences(SECOND, [picked])[:2] == [second.absence(picked, phase) for phase in (PENALTY, MEMORY)]


def test_the_page_has_the_tables_of_the_file() -> None:
    record, page = load(DOCS / "benchmarks-second.json"), (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    between = page.partition("--table docs/benchmarks-second.json` prints -->\n")[2].partition("<!-- /DERIVE-BENCH-SECOND -->")[0]
    assert between.strip() == markdown(record) and not record.pauses
    assert {row.phase for row in record.rows} == {*SECOND} and {row.cell for row in record.rows} == {*options.SECOND_CELLS}
