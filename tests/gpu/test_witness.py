"""What tests of a real device are made of, on the simulated one: that they compare, and that they would find something."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import first_run
import instructions
import numpy as np
import pytest
import test_device
import witness
from device import SimulatedDevice
from report import available, compiled
from witness import Case, beyond, compared, labels, planned

from generated.runtime.cuda import current
from generated.runtime.cuda.kind import KINDS
from generated.runtime.cuda.limits import H200
from generated.runtime.cuda.planner import plans

UNAVAILABLE = available()


@pytest.fixture(autouse=True)
def simulated() -> Iterator[SimulatedDevice]:
    """Let generated modules run on the simulator."""
    before = list(current._device)
    current.use(device := SimulatedDevice())
    yield device
    current._device[:] = before


@pytest.mark.parametrize("choose", [witness.stepwise, witness.alone, witness.spread])
@pytest.mark.parametrize("kind", KINDS)
def test_the_comparison_is_within_tolerance(kind: str, choose: witness.Choice, simulated: SimulatedDevice) -> None:
    case = Case("rnn", kind, 16, steps=2, batch=2)
    with planned(choose) as chosen:
        found = compared(case)
    assert {"output", "final h", "x", "W", "U", "b", "h_prev"} == found.keys()
    assert not beyond(case, found) and max(found.values()) > 0
    members = {plan and plan.members for plan in chosen}
    assert members == {None} if choose is witness.stepwise else (members == {1}) == (choose is witness.alone)


def test_an_index_stays_an_index() -> None:
    case = Case("softmax_cross_entropy", "bfloat16", steps=2, batch=2)
    assert not beyond(case, compared(case))
    assert witness.stored(case, lambda value: value).arrays["k"].dtype.kind == "i"


def test_an_error_is_found() -> None:
    case = Case("rnn", "float32", steps=2, batch=2)
    got = witness.found(case, witness.stored(case, np.asarray))
    got.grads["U"][0, 0] += 0.1
    got.values["output"][0, 0, 0] = np.nan
    found = witness.errors(got, witness.reference(case))
    assert [line.split(": ")[1] for line in beyond(case, found)] == ["output", "U"]


def test_arrays_of_every_library_come_to_the_host() -> None:
    torch, value = pytest.importorskip("torch"), np.arange(4, dtype=np.float32)

    class Array:
        get = staticmethod(lambda: value)

    for given in (value, torch.tensor(value, dtype=torch.bfloat16, requires_grad=True), Array()):
        assert witness.on_host(given).tolist() == [0, 1, 2, 3] and witness.on_host(given).dtype == np.float64


# Plans


def test_sizes_lie_on_both_sides_of_what_the_planner_decides() -> None:
    """On an H200 the cheapest plans of the sizes that are measured have few members and many, or none."""
    for cell in test_device.BOUNDARY_CELLS:
        table = importlib.import_module(f"generated.cuda.{cell}").FORWARD_STEPS
        members = set()
        for n, batch in test_device.BOUNDARIES:
            case = Case(cell, "bfloat16", n, batch=batch)
            chosen = witness.cheapest(list(plans(table, case.sizes, batch, KINDS["bfloat16"], H200)))
            members.add(chosen and chosen.members)
            assert len(labels(case, H200, test_device.PLANS)) == test_device.PLANS
        assert len(members) > 1, cell


def test_a_plan_is_found_by_its_label() -> None:
    case, said = Case("lstm", "bfloat16", 64, batch=16), []
    table = importlib.import_module("generated.cuda.lstm").FORWARD_STEPS
    fitting = list(plans(table, case.sizes, 16, KINDS["bfloat16"], H200))
    for name in labels(case, H200, 100):
        said.append(witness.label(witness.called(name)(fitting)))
    assert said == labels(case, H200, 100)
    assert witness.label(witness.called("no such plan")(fitting)) == witness.label(witness.cheapest(fitting))
    assert witness.label(witness.stepwise(fitting)) == "step by step"


@pytest.mark.parametrize(("n", "members"), [(256, True), (128, False)])
def test_what_is_repeated_has_the_plan_that_it_is_repeated_for(n: int, members: bool) -> None:
    module = importlib.import_module("generated.cuda.lstm")
    for table in (module.FORWARD_STEPS, module.BACKWARD_STEPS):
        fitting = list(plans(table, {"d": n, "n": n}, 16, KINDS["bfloat16"], H200))
        chosen = (witness.spread if members else witness.alone)(fitting)
        assert chosen is not None and (chosen.members > 1) == members


# Instructions


@pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))
@pytest.mark.parametrize("name", [*instructions.PRODUCTS, "conversion"])
def test_kernels_of_single_instructions_compile(name: str) -> None:
    from numba import float32, uint32

    words, sums = uint32[:, ::1], float32[:, ::1]
    if name == "conversion":
        assert "tanh.approx" in compiled(instructions.conversion().py_func, (float32[::1], words, sums))
    else:
        assert "mma.sync" in compiled(instructions.product(name).py_func, (words, sums))


@pytest.mark.parametrize("kind", instructions.PRODUCTS)
def test_fragments_are_of_every_size(kind: str) -> None:
    words, sums = instructions.fragments(kind)
    got = instructions.expected(kind, words, sums)
    assert words.shape == (32, 6) and got.shape == (32, 4) and 1 < np.abs(got - sums).max() < 50


def test_conversions_agree_with_themselves_alone() -> None:
    words, values = instructions.converted(instructions.numbers())
    assert set(instructions.worst((words, values), (words, values)).values()) == {0.0}
    found = instructions.worst((words ^ np.uint32(1), values * np.float32(1.01)), (words, values))
    assert all(error > instructions.BOUNDS.get(name, 0.0) for name, error in found.items())


# The first run


def test_a_step_that_fails_is_recorded_with_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> dict[str, Any]:
        raise ValueError("no such thing")

    monkeypatch.setitem(first_run.STEPS, "fails", fails)
    monkeypatch.setitem(first_run.STEPS, "works", lambda: {"answer": np.float32(42)})
    assert first_run.step("works") == {"ok": True, "found": {"answer": 42.0}}
    found = first_run.step("fails")
    assert not found["ok"] and "ValueError: no such thing" in found["traceback"] and "in fails" in found["traceback"]


def test_steps_are_processes_and_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(first_run, "HANGS", 0.01)
    assert "TimeoutExpired" in first_run.separately("packages")["traceback"]
    monkeypatch.undo()
    path = tmp_path / "first.json"
    assert first_run.main([str(path), "packages"]) == 0
    found = json.loads(path.read_text())
    assert found["packages"]["ok"] and found["packages"]["found"]["python"] == sys.version.split()[0]


def test_what_a_process_that_dies_said_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "COMMAND", [sys.executable, "-c", "import sys; print('half'); sys.exit('the end')"])
    found = first_run.separately("packages")
    assert not found["ok"] and "half" in found["traceback"] and "the end" in found["traceback"]


def test_what_is_timed_runs_alone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "separately", lambda name: {"name": name})
    names = [found["name"] for found in first_run.results(["barrier", "packages", "plans lstm", "device"])]
    assert names == ["packages", "device", "barrier", "plans lstm"]


def test_a_step_that_finds_something_wrong_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(first_run.STEPS, "wrong", lambda: {"a": 1, first_run.WRONG: ["a"]})
    assert not first_run.step("wrong")["ok"] and first_run.step("wrong")["found"]["a"] == 1
