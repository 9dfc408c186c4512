"""`derive bench --cuda` without a device: options, contenders on the simulator, and what is made of times that a false clock gives."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from device import DTYPES, SimulatedDevice

from derive.bench.compare import Settings
from derive.bench.cuda import clock, device, device_run
from derive.bench.cuda import device_contenders as contenders
from derive.bench.cuda.cases import BUILT_IN, DEFAULT, LONG, LOOPS, Case, chosen, peers_of
from derive.bench.cuda.clock import EventClock, floors
from derive.bench.cuda.device_record import load
from derive.bench.cuda.device_table import aligned, cells_of_row
from derive.bench.cuda.match import Match, compare
from derive.bench.measure import Clock, Limits
from derive.bench.peers import NO_LAYER
from derive.bench.phases import ALONE
from derive.bench.record import Timing
from derive.cells import REGISTRY
from derive.command import bench
from generated.runtime.cuda import current

SMALL = (1, 2, 8, 8)
MACHINE = {
    "device": "Some device",
    "multiprocessors": 132,
    "driver": "580.1",
    "processor": "Some processor",
    "versions": {"python": "3.12"},
}


class TensorDevice(SimulatedDevice):
    """A simulated device whose callers have tensors of PyTorch."""

    def array(self, value: Any, argument: str) -> Any:
        if not isinstance(value, torch.Tensor):
            return super().array(value, argument)
        narrow = value.dtype == torch.bfloat16
        return value.detach().view(torch.int16).numpy().view(DTYPES["bfloat16"]) if narrow else value.detach().numpy()

    def like(self, value: Any, example: Any) -> Any:
        if value.dtype == DTYPES["bfloat16"]:
            return torch.from_numpy(np.ascontiguousarray(value).view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(np.ascontiguousarray(value))


class Ticking:
    """A clock that moves on by a hundredth of a second whenever it is read."""

    def __init__(self) -> None:
        self.time = 0.0
        self.clock = Clock(self.now, lambda: None)

    def now(self) -> float:
        self.time += 0.01
        return self.time


@pytest.fixture(autouse=True)
def simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedDevice]:
    """Let generated modules run on the simulator, and tensors lie in the host's memory."""
    before = list(current._device)
    current.use(device := TensorDevice())
    monkeypatch.setattr(contenders, "PLACE", "cpu")
    yield device
    current._device[:] = before


def generated(name: str) -> ModuleType:
    return importlib.import_module(f"generated.cuda.{name}")


# Cases and options


def test_cases() -> None:
    assert {case.kind for case in DEFAULT if case.cell == "lstm" and case.size == LONG} == {"bfloat16", "float16", "float32", "tf32"}
    assert {peers_of(case.cell) for case in DEFAULT} == {BUILT_IN, LOOPS}
    assert chosen(None, None, None) == DEFAULT
    assert chosen(["rnn"], ["tf32", "float16"], None) == (Case("rnn", "tf32", LONG), Case("rnn", "float16", LONG))
    assert chosen(None, None, [SMALL]) == (Case("lstm", "bfloat16", SMALL), Case("gru", "bfloat16", SMALL))


def test_without_a_device_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing() -> None:
        raise RuntimeError("CUDA kernels need a device, but CUDA finds none")

    monkeypatch.setattr(device_run, "current", missing)
    assert bench.main(["--cuda", "--cells", "rnn"]) == 1
    assert capsys.readouterr().err == "derive bench --cuda: CUDA kernels need a device, but CUDA finds none\n"


def test_without_pytorch_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(device_run, "current", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench.main(["--cuda"]) == 1
    assert "PyTorch finds no device" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--kinds", "int8"], ["--sizes", "1,2,3"], ["--peers", "jax"], ["--runs", "0"], ["--dtype", "float32"]]
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["--cuda", *arguments])
    assert ended.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_a_cell_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(device_run, "current", lambda: None)
    monkeypatch.setattr(device, "require_torch", lambda: None)
    assert bench.main(["--cuda", "--cells", "lstn"]) == 1
    assert "lstn" in capsys.readouterr().err


def test_help_names_every_case(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["--cuda", "--help"])
    out = capsys.readouterr().out
    assert all(f"{case.cell} {case.kind} {','.join(map(str, case.size))}" in out for case in DEFAULT)


# Contenders


@pytest.mark.parametrize(
    ("name", "kind", "peer"), [("rnn", "float64", "torch.nn"), ("gru", "bfloat16", "eager"), ("mut1", "float16", "eager")]
)
def test_contenders_agree(name: str, kind: str, peer: str) -> None:
    cell = REGISTRY[name]
    p = contenders.on_device(Case(name, kind, SMALL), generated(name), cell)
    own, other = contenders.ours(generated(name), p, kind), contenders.peer(peer, p)
    assert not isinstance(other, str)
    assert own.infer().dtype == other.infer().dtype == p.arrays["x"].dtype == getattr(torch, kind)
    assert contenders.disagreement(own, other) < {"float64": 1e-12, "bfloat16": 5e-2, "float16": 5e-3}[kind]


def test_an_index_stays_an_index_and_a_layer_may_be_missing() -> None:
    p = contenders.on_device(
        Case("softmax_cross_entropy", "bfloat16", SMALL), generated("softmax_cross_entropy"), REGISTRY["softmax_cross_entropy"]
    )
    assert p.arrays["k"].dtype == torch.int64
    assert contenders.peer("torch.nn", p) == NO_LAYER


def test_a_peer_that_cannot_be_made_is_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    p = contenders.on_device(Case("rnn", "float32", SMALL), generated("rnn"), REGISTRY["rnn"])
    monkeypatch.setitem(contenders.PEERS, "eager", replace(contenders.PEERS["eager"], make=lambda p: 1 / 0))
    assert contenders.peer("eager", p) == "failed: ZeroDivisionError: division by zero"


def rounds() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_pytorch_may_round_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = rounds()
    for frozen in (False, True):  # a program may forbid that such flags be set without an end
        if frozen:
            monkeypatch.setattr(torch.backends, "__allow_nonbracketed_mutation_flag", False)
        for allowed in (True, False):
            with contenders.rounding(allowed):
                assert rounds() == (allowed, allowed)
            assert rounds() == before


# Times


def test_the_clock_adds_up_what_lies_between_events(monkeypatch: pytest.MonkeyPatch) -> None:
    class Event:
        made = 0

        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            Event.made += 1
            self.at = Event.made**2

        def synchronize(self) -> None: ...

        def elapsed_time(self, other: Event) -> float:
            return float(other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    now = EventClock().now
    assert [now(), now(), now()] == pytest.approx([0.003, 0.008, 0.015])


def test_floors_are_those_of_the_kernels_that_stay(simulated: SimulatedDevice) -> None:
    p = contenders.on_device(Case("rnn", "float32", SMALL), generated("rnn"), REGISTRY["rnn"])
    own = contenders.ours(generated("rnn"), p, "float32")
    found = floors(generated("rnn"), own.train, Ticking().now, times=2)
    assert [floor.kernel for floor in found] == ["forward", "backward"]
    assert all(floor.seconds == pytest.approx(0.005) and floor.members == floor.groups == 1 and floor.estimate > 0 for floor in found)
    assert [floor.kernel for floor in floors(generated("rnn"), own.infer, Ticking().now, times=1)] == ["forward"]
    simulated.plan = lambda *given: None  # type: ignore[method-assign]
    assert floors(generated("rnn"), own.train, Ticking().now, times=1) == []


def test_rows_of_a_case() -> None:
    settings = Settings(phases=ALONE, limits=Limits(2, 1), clock=Ticking().clock)
    match = Match(Case("mut1", "float32", (1, 2, 3, 8)), REGISTRY["mut1"], generated("mut1"), ("torch.nn", "eager"))
    rows = list(compare(match, settings))
    assert [row.phase for row in rows] == [*ALONE] and rows[1].operations == 3 * rows[0].operations == 3 * 2 * 2 * 4 * 8 * 8
    for row in rows:
        assert (row.cell, row.kind, row.size) == ("mut1", "float32", "1, 2, 8, 8")  # d is n
        assert row.peers["torch.nn"] == NO_LAYER and isinstance(row.peers["eager"], Timing)
        assert row.ours == Timing(pytest.approx(0.01), pytest.approx(0), 2) and row.step == pytest.approx(0.005)
        assert row.disagreements.keys() == {"eager"} and row.disagreements["eager"] < 1e-5
    assert [len(row.floors) for row in rows] == [1, 2]


def test_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(name="Some device", major=9, minor=0, multi_processor_count=132, total_memory=1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setenv("PATH", "")
    found = device.describe()
    assert (found["device"], found["capability"], found["driver"]) == ("Some device", "9.0", "unknown")
    assert found["versions"].keys() >= {"python", "numpy", "numba", "torch", "cudnn"} and json.dumps(found)


# The command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command run on the simulator."""
    monkeypatch.setattr(device_run, "current", lambda: None)
    monkeypatch.setattr(device, "require_torch", lambda: None)
    monkeypatch.setattr(device, "describe", lambda: MACHINE)
    monkeypatch.setattr(clock, "warmed", lambda: Ticking().clock)
    monkeypatch.setattr(device_run, "compile_all", lambda cells, cuda: {cell.name: generated(cell.name) for cell in cells})


@pytest.mark.usefixtures("command")
def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path, size = tmp_path / "bench.json", ",".join(map(str, SMALL))
    arguments = [
        "--cells",
        "rnn",
        "mingru",
        "--kinds",
        "bfloat16",
        "--sizes",
        size,
        "--runs",
        "1",
        "--phases",
        "training",
        "--peers",
        "eager",
    ]
    assert bench.main(["--cuda", *arguments, "--json", str(path)]) == 0
    out, record = capsys.readouterr().out, load(path)
    assert [(row.cell, row.kind, row.phase, row.size) for row in record.rows] == [
        (name, "bfloat16", "training", "1, 2, 8, 8") for name in ("rnn", "mingru")
    ]
    for row in record.rows:
        assert aligned(cells_of_row(row, record.peers), record.peers) in out.splitlines()
        assert row.ratio("eager") == pytest.approx(1.0) and row.floors
    assert record.machine == MACHINE and record.notes == ()


@pytest.mark.usefixtures("command")
def test_what_fails_is_a_remark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def fails(*given: Any) -> None:
        raise MemoryError("out of memory")

    monkeypatch.setattr(contenders, "ours", fails)
    path = tmp_path / "bench.json"
    assert bench.main(["--cuda", "--cells", "rnn", "--sizes", "1,2,8,8", "--json", str(path)]) == 0
    why = "rnn, bfloat16, 1, 2, 8, 8: failed: MemoryError: out of memory"
    assert why in capsys.readouterr().out.splitlines() and load(path).notes == (why,)
