"""`derive bench`: that every contender computes the same cell, and what is made of times; no test depends on how long anything takes."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import generated

from derive.bench import chart, jax_scan, machine, options, pytorch, run
from derive.bench.agreement import disagreement
from derive.bench.compare import Settings, compare, measure, size_for
from derive.bench.contender import Contender, ours, sizes_of
from derive.bench.deadline import TooLong
from derive.bench.goals import SHARES
from derive.bench.measure import Clock, Limits
from derive.bench.peak import peak
from derive.bench.peers import LIMIT, NO_LAYER, NOT_INSTALLED, OVER_LIMIT, PEERS, TOO_LONG
from derive.bench.phases import ALONE, INFERENCE, PHASES, STEP, TRAINING
from derive.bench.record import Record, Row, Timing, load
from derive.bench.table import about, choices, gaps, geometric_means, header, line, markdown, mean_lines, short
from derive.bench.transcript import transcribe
from derive.bench.work import operations
from derive.cell import Cell
from derive.cells import REGISTRY
from derive.command import bench
from derive.verify.evaluate import evaluate
from derive.verify.problem import Problem, initial, sample

B, T, D, N = 2, 4, 3, 5
CAN_COMPILE = shutil.which("g++") is not None and (Path(sysconfig.get_paths()["include"]) / "Python.h").is_file()


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, threads_as_before: None) -> Iterator[None]:
    """Leave numbers of threads and the environment as they were."""
    for name in (*jax_scan.VARIABLES, "JAX_PLATFORMS", "TORCHINDUCTOR_COMPILE_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1" if name in jax_scan.VARIABLES else ""))
        if not os.environ[name]:
            monkeypatch.delenv(name)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Work


@pytest.mark.parametrize(
    ("name", "products"),
    [
        ("rnn", N * (N + D)),
        ("gru", 3 * N * (N + D)),
        ("lstm", 4 * N * (N + D)),
        ("lstm_stacked", 4 * N * (N + D)),
        ("lstm_peephole", 4 * N * (N + D)),  # a peephole is a vector
        ("mut1", 4 * N * N),
        ("sigmoid_cross_entropy", 0),
    ],
)
def test_operations_are_those_of_the_products(name: str, products: int) -> None:
    cell = REGISTRY[name]
    assert operations(cell, sizes_of(cell, D, N), T, B) == 2 * products * T * B


def test_a_product_with_a_context_is_made_once_a_sequence() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev + V @ k)", name="conditioned", output="h", context=("k",), shapes={"k": "m"})
    sizes = {"d": D, "n": N, "m": 7}
    assert operations(cell, sizes, T, B) == 2 * B * (T * N * (N + D) + 7 * N)


def test_equal_sizes_are_equal() -> None:
    assert size_for(REGISTRY["mut1"], (B, T, D, N)) == (B, T, N, N)
    assert size_for(REGISTRY["lstm"], (B, T, D, N)) == (B, T, D, N)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.exhaustive)])
def test_peak_is_a_rate(dtype: str) -> None:
    found = peak(dtype, count=100, calls=3)
    assert math.isfinite(found) and found > 0


# Rows


class Fake:
    """A clock that only the calls move on."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, list[str]()
        self.clock = Clock(lambda: self.now)

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def made() -> None:
            self.now += seconds
            self.calls.append(name)

        return made

    def contender(self, name: str, seconds: float) -> Contender:
        return Contender(self.call(name, seconds), self.call(name, 3 * seconds), dict)


def test_a_phase_has_a_time_or_a_reason_for_each_peer() -> None:
    fake = Fake()

    def fails() -> None:
        raise RuntimeError("no compiler\nand much more")

    peers = {"slow": fake.contender("slow", 0.75), "broken": Contender(fails, fails, dict), "gone": NOT_INSTALLED}
    settings = Settings(limits=Limits(3), clock=fake.clock)
    found = measure(INFERENCE, fake.contender("ours", 0.5), peers, settings)
    assert found == {
        "": Timing(0.5, 0.0, 3),
        "slow": Timing(0.75, 0.0, 3),
        "broken": "failed: RuntimeError: no compiler",
        "gone": NOT_INSTALLED,
    }
    assert measure(TRAINING, fake.contender("ours", 0.5), {}, settings) == {"": Timing(1.5, 0.0, 3)}


def test_who_takes_too_long_to_compile_is_a_gap_and_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, tried = Fake(), list[str]()

    def slow(p: Problem) -> Contender:
        def compiles() -> None:
            tried.append(p.cell.name)
            raise TooLong

        return Contender(compiles, compiles, dict)

    monkeypatch.setitem(PEERS, "eager", replace(PEERS["eager"], make=slow))
    settings = Settings("float64", ("eager",), (INFERENCE,), Limits(1), fake.clock)
    for steps in (T, 2 * T, T - 1):
        (row,) = compare(REGISTRY["rnn"], generated("rnn"), (B, steps, D, N), settings)
        assert row.peers == {"eager": TOO_LONG} and row.ours.runs == 1
    assert tried == ["rnn"] * 2  # the second time with fewer steps


@pytest.mark.parametrize("phase", PHASES)
def test_who_computes_something_else_is_a_gap(phase: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = PEERS["eager"]
    halved = {
        "make": lambda p: peer.make(p.at("U", p.arrays["U"] / 2)),
        "train": lambda net: peer.train(replace(net, target=net.target / 2)),
    }
    settings = Settings("float64", ("eager",), (phase,), Limits(1), Fake().clock)
    (row,) = compare(REGISTRY["rnn"], generated("rnn"), (B, T, D, N), settings)
    assert isinstance(row.peers["eager"], Timing)
    monkeypatch.setitem(PEERS, "eager", replace(peer, **halved))
    (row,) = compare(REGISTRY["rnn"], generated("rnn"), (B, T, D, N), settings)
    why = row.peers["eager"]
    assert isinstance(why, str) and why.startswith("failed: ") and why.endswith("of its norm")


def test_results_agree_by_their_norms() -> None:
    want = {"W": np.array([1.0, -1.0]), "b": np.array([1e-9, 0.0])}
    assert disagreement({"W": np.array([1.01, -1.0]), "b": np.array([1e-6, 0.0])}, want) == ""  # the second is rounding beside the first
    assert disagreement({"W": np.array([1.0, 1.0]), "b": want["b"]}, want) == "W differs from ours by 1 of its norm"
    assert "nan" in disagreement({"W": np.array([np.nan, 1.0]), "b": want["b"]}, want)
    assert "U" in disagreement({"U": want["W"], "b": want["b"]}, want) and disagreement({}, {}) == ""


def test_what_a_contender_has_chosen_is_told() -> None:
    fake = Fake()
    choosing = replace(fake.contender("a", 1.0), choices={TRAINING: "unroll 4"})
    settings = Settings(limits=Limits(1), clock=fake.clock)
    assert [measure(phase, fake.contender("ours", 0.5), {"a": choosing}, settings)["a"] for phase in ALONE] == [
        Timing(1.0, 0.0, 1),
        Timing(3.0, 0.0, 1, "unroll 4"),
    ]


def test_compare_makes_a_row_of_each_phase() -> None:
    """With peers that are not measured: what a row says of work and gaps."""
    cell, settings = REGISTRY["lstm_peephole"], Settings("float64", ("torch.nn",), ALONE, Limits(2), Fake().clock)
    rows = list(compare(cell, generated("lstm_peephole"), (B, T, D, N), settings))
    assert [row.phase for row in rows] == [*ALONE]
    assert [row.operations for row in rows] == [2 * 4 * N * (N + D) * B * T, 3 * 2 * 4 * N * (N + D) * B * T]
    assert all(row.peers == {"torch.nn": NO_LAYER} and row.ours.runs == 2 and row.ratio("torch.nn") is None for row in rows)


# Peers


def agree(name: str, peer: str) -> None:
    """Compare outputs and all gradients of a peer with ours."""
    cell, module = REGISTRY[name], generated(name)
    p = initial(module, cell, sizes=sizes_of(cell, D, N), steps=T, batch=B, dtype="float64")
    own, other = ours(module, p), PEERS[peer].make(p)
    y, want = np.asarray(other.infer()), other.gradients(other.train())
    assert y.dtype == np.float64
    np.testing.assert_allclose(own.infer(), y, rtol=1e-10, atol=1e-12)
    got = own.gradients(own.train())
    assert got.keys() == want.keys() == {*p.differentiable}
    for key, grad in got.items():
        np.testing.assert_allclose(grad, want[key], rtol=1e-9, atol=1e-10, err_msg=key)


@pytest.mark.parametrize("name", pytorch.LAYERS)
def test_layers_of_pytorch_compute_the_cell(name: str) -> None:
    agree(name, "torch.nn")


@pytest.mark.parametrize("name", [*options.CELLS, "softmax_cross_entropy"])
def test_eager_pytorch_computes_the_cell(name: str) -> None:
    agree(name, "eager")


@pytest.mark.parametrize("peer", ["jax", "jax-kernels"])
@pytest.mark.parametrize("name", ["lstm", "slstm", "lstm_layernorm", "softmax_cross_entropy"])
def test_jax_computes_the_cell(name: str, peer: str) -> None:
    pytest.importorskip("jax")
    agree(name, peer)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's compiler about itself
@pytest.mark.skipif(not CAN_COMPILE, reason="torch.compile needs a C++ compiler and Python's headers")
def test_compiled_pytorch_computes_the_cell() -> None:
    pytorch.set_threads(1)
    agree("gru", "compile")


@pytest.mark.parametrize("name", REGISTRY)
def test_a_transcript_is_the_cell(name: str) -> None:
    cell = REGISTRY[name]
    p = sample(cell, steps=1)
    tensors = {key: torch.tensor(value[0] if key in cell.inputs else value) for key, value in p.arrays.items()}
    program = transcribe(cell, tensors)
    moving = [tensors[key] for key in (*cell.inputs, *(f"{s}_prev" for s in cell.states))]
    y, states = program.step(*moving, *program.prepare(*(tensors[key] for key in (*cell.parameters, *cell.context))))
    want = evaluate(cell, tensors, torch)
    for key, value in {cell.output: y, **dict(zip(cell.states, states, strict=True))}.items():
        torch.testing.assert_close(value, want[key], rtol=1e-12, atol=1e-12)


def test_a_transcript_has_the_operations_alone() -> None:
    cell = REGISTRY["lstm"]
    source = transcribe(cell, {k: torch.tensor(v[0] if k == "x" else v) for k, v in sample(cell).arrays.items()}).source
    before, step = source.split("def step")
    assert before.count(".T") == 8 and ".T" not in step
    assert step.count(" @ ") == 8 and step.count("f_sigmoid(") == 3 and step.count("f_tanh(") == 2


def test_constants_of_a_transcript_stand_where_they_may() -> None:
    """A number is written in an expression, and is a tensor as an argument or as a value of its own."""
    cell = Cell("one = 2 - 1\ng = maximum(x, 0.5) * one\nh = 0.5 * h_prev + where(x > 0, g, 1)", name="numbers", output="h")
    tensors = {"x": torch.tensor([[0.25, -1.0, 3.0]]), "h_prev": torch.ones(1, 3)}
    program = transcribe(cell, tensors)
    y, _ = program.step(tensors["x"], tensors["h_prev"], *program.prepare())
    torch.testing.assert_close(y, torch.tensor([[1.0, 1.5, 3.5]]))
    assert "0.5 * own_h_prev" in program.source


def test_what_is_left_out() -> None:
    lstm, mut1 = REGISTRY["lstm"], REGISTRY["mut1"]
    assert PEERS["torch.nn"].absence(lstm, 10 * LIMIT) == "" and PEERS["torch.nn"].absence(mut1, 0) == NO_LAYER
    mine = Cell("h = tanh(W @ x + U @ h_prev)", name="rnn", output="h")
    assert PEERS["torch.nn"].absence(mine, 0) == NO_LAYER  # a name alone makes no layer
    assert PEERS["eager"].absence(mut1, LIMIT) == "" and PEERS["eager"].absence(mut1, LIMIT + 1) == OVER_LIMIT


def test_threads_of_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", ModuleType("jax"))
    assert "before" in jax_scan.set_threads(3) and os.environ["NPROC"] != "3"
    monkeypatch.delitem(sys.modules, "jax")
    assert jax_scan.set_threads(3) == "" and os.environ["NPROC"] == "3"


# The record

RECORD = Record(
    machine={"processor": "Some processor", "cores": 2, "features": ["avx2", "fma"], "system": "Linux", "versions": {"python": "3.11.7"}},
    dtype="float32",
    threads=2,
    runs=21,
    pauses=False,
    peak=100.0,
    peers=("torch.nn", "eager", "jax"),
    notes=("jax is not installed: no jax",),
    rows=(
        Row("lstm", INFERENCE, 1, 10, 8, 16, 10**8, Timing(0.002, 0.1, 21), {"torch.nn": Timing(0.001, 0.2, 21), "eager": OVER_LIMIT}),
        Row("lstm", INFERENCE, 4, 10, 8, 16, 10**8, Timing(0.02, 0.1, 9), {"torch.nn": Timing(0.16, 0.2, 9), "eager": "failed: E: why"}),
        Row("lstm", TRAINING, 4, 10, 8, 16, 3 * 10**8, Timing(0.1, 0.1, 9), {"torch.nn": Timing(0.3, 0.2, 9), "jax": NOT_INSTALLED}),
        Row("squared_error", INFERENCE, 4, 10, 8, 16, 0, Timing(0.1, 0.1, 9), {"torch.nn": NO_LAYER}),
    ),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bench.json"
    path.write_text(RECORD.json(), encoding="utf-8")
    return path


def test_a_record_is_read_as_it_was_written(file: Path) -> None:
    assert load(file) == RECORD


def test_json_has_what_follows_from_the_times() -> None:
    found = json.loads(RECORD.json())
    for row in found["rows"]:
        assert row["gigaflops"] == row["operations"] / row["ours"]["seconds"] / 1e9
        assert row["peak_share"] == row["gigaflops"] / found["peak"]
        for peer in row["peers"].values():
            assert "missing" in peer or peer["ratio"] == peer["seconds"] / row["ours"]["seconds"]
    assert found["rows"][0]["peers"] == {
        "torch.nn": {"seconds": 0.001, "spread": 0.2, "runs": 21, "how": "", "ratio": 0.5},
        "eager": {"missing": OVER_LIMIT},
    }


def test_rates_and_ratios() -> None:
    row = RECORD.rows[0]
    assert row.gigaflops == pytest.approx(50) and row.ratio("torch.nn") == 0.5 and row.ratio("eager") is None and row.ratio("jax") is None


def test_geometric_means() -> None:
    means = geometric_means(RECORD)
    assert list(means) == [("lstm", INFERENCE), ("lstm", TRAINING), ("squared_error", INFERENCE)]
    assert means["lstm", INFERENCE] == [pytest.approx(2.0), None, None] and means["squared_error", INFERENCE] == [None] * 3


def at_share(share: float, cell: str = "lstm", phase: str = INFERENCE, **peers: float) -> Row:
    """Return a row of 1 s that reaches a share of a peak of 100 GF/s, with peers that take so many seconds."""
    return Row(cell, phase, 4, 10, 8, 16, int(share * 1e11), Timing(1.0, 0.1, 9), {name: Timing(s, 0.1, 9) for name, s in peers.items()})


def test_sizes_at_the_peak_are_left_out_of_the_means() -> None:
    rows = at_share(0.9, jax=0.5), at_share(0.8, jax=2.0), at_share(0.9, phase=PHASES[2], jax=3.0), at_share(0.85, "gru", jax=0.5)
    record = replace(RECORD, peers=("jax",), rows=rows)
    assert [record.at_peak(row) for row in rows] == [True, False, False, True]
    assert geometric_means(record) == {
        ("lstm", INFERENCE): [pytest.approx(2.0)],
        ("lstm", PHASES[2]): [pytest.approx(3.0)],
        ("gru", INFERENCE): [None],
    }
    assert mean_lines(record) == ["mean × of lstm inference: jax 2.00", "mean × of lstm model: jax 3.00"]
    assert [line(row, record).endswith("%*") for row in rows] == [True, False, False, True] and "90%* |" in markdown(record)


def test_a_row_is_good_enough_by_its_ratios_or_at_the_peak() -> None:
    rows = at_share(0.5, a=1.0, b=2.0), at_share(0.5, a=0.9, b=2.0, c=0.5), at_share(0.9, a=0.9), at_share(0.5)
    record = replace(RECORD, peers=("a", "b", "c"), rows=rows)
    assert [record.meets(row) for row in rows] == [True, False, True, True]
    assert short(record) == ["slower: lstm, inference, 4, 10, 8, 16: a 0.90, c 0.50"]
    found = json.loads(record.json())["rows"]
    assert [(row["at_peak"], row["meets"]) for row in found] == [(False, True), (False, False), (True, True), (False, True)]


def test_shares_are_those_of_cells_and_phases() -> None:
    assert {cell for cell, _ in SHARES} == {*pytorch.LAYERS} and {phase for _, phase in SHARES} == {*ALONE, STEP}
    assert all(0 < share < 1 for share in SHARES.values())


def test_how_turns_were_taken_is_in_the_file_and_in_the_first_line(file: Path) -> None:
    assert about(RECORD)[0].endswith("back to back") and about(replace(RECORD, pauses=True))[0].endswith("the one before rest")
    found = json.loads(file.read_text())
    assert found.pop("pauses") is False
    file.write_text(json.dumps(found))
    assert load(file).pauses  # as it was before there was another way


@pytest.mark.parametrize("name", ["benchmarks", "benchmarks-float64", "benchmarks-xeon", "benchmarks-cells"])
def test_the_files_of_the_page_are_read(name: str) -> None:
    record = load(Path(__file__).parents[2] / "docs" / f"{name}.json")
    assert not record.pauses and markdown(record) in (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")


def test_choices_are_counted_below_the_table() -> None:
    taken = [{"jax": Timing(1.0, 0.1, 9, how), "eager": Timing(1.0, 0.1, 9)} for how in ("unroll 1", "unroll 4", "unroll 4")]
    rows = tuple(replace(RECORD.rows[0], peers=peers) for peers in taken)
    assert choices(replace(RECORD, rows=rows)) == ["jax: unroll 1 in 1, unroll 4 in 2 rows"] and choices(RECORD) == []


def test_lines_of_the_table() -> None:
    lines = [header(RECORD.peers), *(line(row, RECORD) for row in RECORD.rows)]
    assert len({len(text) for text in lines}) == 1
    words = [" ".join(text.split()) for text in lines[1:]]
    assert words[0] == "lstm inference 1 10 8 16 2.000 10% 1.000 0.50 limit - - - 50.0 50%"
    assert words[1] == "lstm inference 4 10 8 16 20.00 10% 160.00 8.00 failed - - - 5.0 5%"
    assert words[3] == "squared_error inference 4 10 8 16 100.00 10% - - - - - - - -"
    why, limit = gaps(RECORD)
    assert why == "eager: failed: E: why" and limit.startswith("limit: ")


def test_table_from_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--table", str(file)]) == 0
    out = capsys.readouterr().out
    assert out == markdown(RECORD) + "\n"
    assert "| lstm | training | 4, 10, 8, 16 | 100.00 | 10% | 300.00 | 3.00 | - | - | - | - | 3.0 | 3% |\n" in out
    assert "| lstm | inference | 2.00 | - | - |\n" in out and "\n- jax is not installed: no jax\n" in out
    for table in out.split("\n\n"):
        assert len({text.count("|") for text in table.splitlines() if text.startswith("|")}) <= 1


def test_chart_from_a_file(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = [tmp_path / "a.svg", tmp_path / "b.svg"]
    for path in paths:
        assert bench.main(["--from", str(file), "--chart", str(path)]) == 0
    text = paths[0].read_text(encoding="utf-8")
    assert text == paths[1].read_text(encoding="utf-8") and chart.PAPER in text
    assert all(f">{word}<" in text for word in ("lstm", "torch.nn", "inference", "training", "1, 10, 8, 16"))


def test_every_peer_has_a_colour() -> None:
    assert len({*chart.COLOURS}) >= len(PEERS)


def test_chart_without_matplotlib(file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hide(monkeypatch, "matplotlib")
    assert bench.main(["--from", str(file), "--chart", str(file.parent / "a.svg")]) == 1
    assert "matplotlib" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "", "{}", "[1]", '{"machine": "x", "threads": 2, "runs": 21, "rows": []}'])
def test_files_that_are_something_else(content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other.json"
    if content is not None:
        path.write_text(content)
    assert bench.main(["--table", str(path)]) == 1
    err = capsys.readouterr().err
    assert str(path) in err and "Traceback" not in err


def test_a_record_without_rows_is_refused(file: Path) -> None:
    file.write_text(replace(RECORD, rows=()).json(), encoding="utf-8")
    with pytest.raises(ValueError, match=r"bench\.json"):
        load(file)


# The command


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Let packages seem not to be installed."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in packages else found(name, *rest))


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Rows, gaps and the file say the same."""
    monkeypatch.setattr(run, "compile_all", lambda cells, order: {cell.name: generated(cell.name) for cell in cells})
    monkeypatch.setattr(machine, "busy", lambda: "")
    hide(monkeypatch, "jax")
    path = tmp_path / "bench.json"
    sizes = [f"{B},{T},{D},{N}", f"{B},{T},{N},{N}"]
    cells, peers = ["rnn", "mut1", "squared_error"], ["torch.nn", "eager", "jax"]
    arguments = ["--cells", *cells, "--sizes", *sizes, "--runs", "2", "--threads", "1", "--peers", *peers]
    assert bench.main([*arguments, "--json", str(path)]) == 0
    out, record = capsys.readouterr().out, load(path)
    assert [(r.cell, r.phase, r.d) for r in record.rows] == [
        *(("rnn", phase, d) for d in (D, N) for phase in PHASES),
        *(("mut1", phase, N) for phase in PHASES),  # both sizes are one to a cell with d = n
        *(("squared_error", phase, d) for d in (D, N) for phase in ALONE),
    ]
    for row in record.rows:
        assert line(row, record) in out.splitlines()
        assert isinstance(row.peers["eager"], Timing) and row.peers["jax"] == NOT_INSTALLED
        assert isinstance(row.peers["torch.nn"], Timing) == (row.cell == "rnn")
        assert row.ours.runs == 2 and row.ours.seconds > 0
    assert record.notes == ("jax is not installed: no jax", "no row for a model: squared_error does not have one input")
    assert {*record.notes} <= {*out.splitlines()} and not record.pauses
    assert (record.threads, record.runs, record.dtype, record.peers) == (1, 2, "float32", ("torch.nn", "eager", "jax"))
    assert record.machine["cores"] >= 1 and record.machine["versions"].keys() >= {"python", "numpy", "numba", "torch"}


def test_other_programs_at_work_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = machine.describe()["cores"]
    for value, told in ((cores + 0.5, f"a load of {cores + 0.5} on {cores} cores"), (cores, "")):
        monkeypatch.setattr(os, "getloadavg", lambda value=value: (value, 0.0, 0.0), raising=False)
        assert told in machine.busy() and bool(machine.busy()) == bool(told)


def test_no_peers_at_all(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "compile_all", lambda cells, order: {cell.name: generated(cell.name) for cell in cells})
    hide(monkeypatch, "torch", "jax")
    assert bench.main(["--cells", "rnn", "--sizes", "1,2,3,5", "--runs", "1", "--phases", "inference", "--peers"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(text.startswith("rnn ") for text in lines) == 1 and not any("not installed" in text for text in lines)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--sizes", "1,2,3"], "B,T,d,n"),
        (["--sizes", "1,2,3,0"], "B,T,d,n"),
        (["--sizes", "1,2,3,x"], "B,T,d,n"),
        (["--threads", "0"], "at least 1"),
        (["--runs", "many"], "at least 1"),
        (["--peers", "tensorflow"], "torch.nn"),
        (["--phases", "sleep"], "inference"),
        (["--dtype", "float16"], "float32"),
        (["--cells"], "--cells"),
        (["--from", "a.json"], "--chart"),
        (["--chart", "a.txt"], ".svg"),
        (["--json", "/nowhere/at/all.json"], "folder"),
    ],
)
def test_wrong_options(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        bench.main(arguments)
    assert stop.value.code == 2 and part in capsys.readouterr().err


def test_an_unknown_cell_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--cells", "lstm_peepholes"]) == 1
    assert "lstm_peephole`?" in capsys.readouterr().err


def test_help_names_the_peers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--help"])
    out = capsys.readouterr().out
    assert all(peer in out for peer in PEERS)
