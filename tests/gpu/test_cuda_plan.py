"""The planner of time loops on a device, over a wide grid of sizes: pure arithmetic, whatever the device."""

from __future__ import annotations

from functools import cache
from itertools import product

import pytest
from conftest import ordinary

from derive.__main__ import main
from derive.cells import REGISTRY
from derive.codegen.cuda.module import tables
from derive.explain.cuda import explain, parse_request
from derive.program.pipeline import compile_cell
from derive.runtime.common.table import evaluate
from derive.runtime.cuda.kind import BYTES, KINDS, Kind
from derive.runtime.cuda.limits import H200, Limits
from derive.runtime.cuda.plan import Part, Plan, Steps
from derive.runtime.cuda.planner import best, plans, refused

CELLS = ("lstm", "lstm_concat", "lstmp", "gru", "gru_v3", "slstm", "mut3", "lstm_layernorm", "lmu", "rhn", "indrnn")
HIDDEN = (1, 5, 8, 12, 24, 64, 96, 100, 128, 250, 256, 320, 512, 640, 768, 1000, 1024, 2048, 5000)
BATCHES = (1, 3, 8, 16, 50, 256, 4096)
SMALL = Limits((8, 0), 16, 100 << 10)


@cache
def loops(name: str) -> dict[str, Steps | None]:
    return tables(REGISTRY[name], compile_cell(REGISTRY[name]))


def columns(part: Part, members: int) -> list[int]:
    """Return the columns of the matrix that all members make, in the order of members."""
    return [c // part.unit * part.stride + member * part.unit + c % part.unit for member in range(members) for c in range(part.columns)]


def holds(plan: Plan, steps: Steps, sizes: dict[str, int], kind: Kind, limits: Limits) -> None:
    """Check that a plan covers all that it must, and takes no more than there is."""
    assert not refused(plan, limits)
    assert plan.members == 1 or plan.blocks <= limits.processors
    assert plan.threads <= 1024 and plan.shared <= limits.shared
    for name, size in sizes.items():
        assert plan.here[name] * (plan.members if name in steps.divided else 1) == size
    regions = [(plan.at[name], evaluate(text, plan.here)) for name, text in steps.statics.items()]
    for name, (text, copies) in steps.own.items():
        regions.append((plan.at[name], plan.rows * copies * (plan.lanes if text == "lanes" else evaluate(text, plan.here))))
    regions += [(at, plan.rows * pitch) for at, pitch, *_ in plan.tiles.values()]
    for name, part in plan.parts.items():
        regions.append((part.partial, part.slices * plan.rows * part.partial_pitch))
        regions += [(part.weights, part.width * part.columns)] if kind.product == "fma" else []
        whole = evaluate(steps.products[name].columns, sizes)
        assert sorted(columns(part, plan.members)) == list(range(whole)), name
        depth = {"fma": 1, "tf32": 8}.get(kind.product, 16)
        assert part.slices * part.span * depth >= part.width, name
        jobs = part.columns if kind.product == "fma" else -(-part.columns // part.tile_columns)
        workers = plan.threads if kind.product == "fma" else plan.threads // 32
        assert part.across * part.each >= jobs and part.across * part.slices <= workers, name
    regions.sort()
    for (start, length), (following, _) in zip(regions, [*regions[1:], (plan.shared // BYTES[kind.real], 0)], strict=True):
        assert start % (16 // BYTES[kind.real]) == 0 and start + length <= following


@pytest.mark.parametrize("limits", (H200, SMALL), ids=("H200", "small"))
@pytest.mark.parametrize("name", ordinary(CELLS, ("lstm", "lstmp", "gru_v3", "slstm", "lmu", "indrnn")))
def test_a_plan_holds_or_there_is_none(name: str, limits: Limits) -> None:
    found = 0
    for steps, kind, n, batch in product(loops(name).values(), KINDS.values(), HIDDEN, BATCHES):
        assert steps is not None
        sizes = dict.fromkeys(REGISTRY[name].sizes, n)
        plan = best(steps, sizes, batch, kind, limits)
        if plan is not None:
            holds(plan, steps, sizes, kind, limits)
            found += 1
    assert found > 50


def test_every_plan_holds() -> None:
    steps = loops("gru_v3")["backward"]
    assert steps is not None
    for kind in KINDS.values():
        sizes = {"d": 96, "n": 96}
        found = list(plans(steps, sizes, 40, kind, H200))
        assert len(found) > 10
        for plan in found:
            holds(plan, steps, sizes, kind, H200)


@pytest.mark.parametrize(
    ("name", "kind", "n", "batch", "members"),
    (
        ("lstm", "bfloat16", 64, 256, "one"),
        ("gru", "bfloat16", 128, 256, "one"),
        ("lstm", "bfloat16", 768, 16, "many"),
        ("lstm", "tf32", 768, 16, "many"),
        ("gru", "bfloat16", 768, 16, "many"),
        ("mut1", "bfloat16", 768, 16, "many"),
        ("slstm", "bfloat16", 768, 16, "many"),
        ("lstm_layernorm", "bfloat16", 64, 64, "one"),
        ("lstm_layernorm", "bfloat16", 768, 16, "many"),
        ("lmu", "bfloat16", 768, 16, "none"),
        ("lstm", "bfloat16", 4096, 16, "none"),
        ("lstm", "bfloat16", 771, 16, "none"),
    ),
)
def test_which_plan(name: str, kind: str, n: int, batch: int, members: str) -> None:
    for steps in loops(name).values():
        assert steps is not None
        plan = best(steps, dict.fromkeys(REGISTRY[name].sizes, n), batch, KINDS[kind], H200)
        assert members == ("none" if plan is None else "one" if plan.members == 1 else "many")


def test_a_larger_device_is_never_slower() -> None:
    steps = loops("lstm")["forward"]
    assert steps is not None
    sizes = {"d": 512, "n": 512}
    costs = []
    for processors in (8, 16, 64, 132, 264):
        plan = best(steps, sizes, 16, KINDS["bfloat16"], Limits((9, 0), processors, H200.shared))
        costs.append(plan.cost if plan else float("inf"))
    assert costs == sorted(costs, reverse=True)


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "lstm", "--cuda-plan", "n=512", "b=16"]) == 0
    shown = capsys.readouterr().out
    assert "lstm: B = 16, d = 512, n = 512, bfloat16\n" in shown
    assert "forward: one kernel for all steps: 2 groups of 64 members, 8 sequences each, 256 threads a block\n" in shown
    assert "forward:   a member has 8 of n; members meet once a step\n" in shown
    assert "tensor cores (bf16)" in shown
    assert main(["show", "gru", "--cuda-plan", "n=2048"]) == 0
    assert "step by step, products by cuBLAS, since no kernel that keeps its weights fits:\n" in capsys.readouterr().out
    assert main(["show", "gru", "--cuda-plan", "m=2048"]) == 2
    assert "gru: needs words like b=16, for d, n, b, processors, shared" in capsys.readouterr().err


@pytest.mark.parametrize("name", REGISTRY)
def test_every_cell_is_explained(name: str) -> None:
    for words in (
        ["b=7"],
        ["b=64", "dtype=tf32", "shared=50000", "processors=20"],
        ["dtype=float64", *(f"{s}=33" for s in REGISTRY[name].sizes)],
    ):
        assert explain(REGISTRY[name], parse_request(REGISTRY[name], words)).startswith(f"{name}: B = ")
