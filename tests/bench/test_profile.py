"""The profile of passes: a module that notes down its time does what it did before, and its phases are the time of a call."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from conftest import generated, ordinary

from derive.bench import profile, stamps
from derive.bench.run import main
from derive.cells import REGISTRY
from derive.package.contents import files

SIZE = (3, 6, 4, 5)
CELLS = ("gru_v3", "lstm_layernorm")
every_cell = pytest.mark.parametrize("name", ordinary(CELLS, {"gru_v3"}))


pytestmark = pytest.mark.usefixtures("threads_as_before")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ModuleType, ModuleType]]:
    folder = tmp_path_factory.mktemp("profile")
    return {name: (generated(name), profile.profiled(REGISTRY[name], folder)) for name in CELLS}


@every_cell
def test_a_profiled_module_gives_the_same_bits(name: str, modules: dict[str, tuple[ModuleType, ModuleType]]) -> None:
    lengths, found = np.array([6, 2, 4]), []
    x = np.random.default_rng(0).standard_normal((6, 3, 4))
    for module in modules[name]:
        y, final, tape = module.forward(x, module.init(4, 5, dtype=np.float64), lengths=lengths)
        grads = module.backward(np.ones_like(y), tape)
        found.append([y, *final, grads.x, *grads.params, *grads.state])
    assert all(map(np.array_equal, *found))


@every_cell
def test_phases_are_the_time_of_a_call(name: str, modules: dict[str, tuple[ModuleType, ModuleType]]) -> None:
    rows = list(profile._passes(REGISTRY[name], modules[name][1], SIZE, "float32", profile.PASSES[1]))
    assert [row.name for row in rows] == ["infer", "forward", "backward"]
    for row in rows:
        assert sum(row.shares().values()) == pytest.approx(1.0)
        assert row.seconds > sum(row.phases[:5]) > 0 and row.phases[stamps.MULTIPLYING] > 0 and row.phases[stamps.ELEMENTWISE] > 0
        assert row.phases[stamps.SHARED] >= row.phases[stamps.MULTIPLYING] + row.phases[stamps.ELEMENTWISE]
        assert (row.phases[stamps.SUMS] > 0) == (row.name == "backward") and row.phases[stamps.PACKING] > 0
        assert row.multiplying() > 0


def test_every_statement_of_a_pass_is_of_some_phase() -> None:
    """Each product, kernel and sum has a stamp after it, with its own phase."""
    text = profile.stamped(files([REGISTRY["gru"]], "gru", cuda=False), "gru")["gru.py"]
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}

    def phases(name: str) -> list[int]:
        calls = [node for node in ast.walk(functions[name]) if isinstance(node, ast.Call)]
        return sorted(call.args[1].value for call in calls if getattr(call.func, "id", "") == "_spent")  # type: ignore[attr-defined]

    assert set(phases("weights_pass")) == {stamps.PACKING}
    assert set(phases("forward_pass")) == {stamps.STATES, stamps.OVER_STEPS, stamps.SHARED}
    assert set(phases("backward_pass")) == {stamps.PACKING, stamps.STATES, stamps.OVER_STEPS, stamps.SUMS, stamps.SHARED}
    assert set(phases("forward_steps")) == set(phases("backward_steps")) == {stamps.MULTIPLYING, stamps.ELEMENTWISE}
    assert "_spent" not in ast.unparse(functions["_forward"])


FIRST, SECOND = ("infer", "forward", "backward"), ("backward, kept", "double backward", "tangent", "hvp")


@pytest.mark.parametrize(("options", "passes"), ordinary([((), FIRST), (("--second",), SECOND)], [((), FIRST)]))
def test_the_command(
    options: tuple[str, ...], passes: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile, "SECONDS", 0.0)
    out = tmp_path / "profile.json"
    assert main(["--profile", "--cells", "gru", "--sizes", "3,6,4,5", "--threads", "1", "--json", str(out), *options]) == 0
    told, empty, head, rule, *rows = capsys.readouterr().out.splitlines()
    assert (
        told.startswith("float32, 1 threads; ")
        and empty == ""
        and head.startswith("| cell | pass | B, T, d, n | ms | products of a step |")
    )
    assert [row.split(" | ")[1:3] for row in rows] == [[name, "3, 6, 4, 5"] for name in passes]
    assert {row.count("|") for row in (head, rule, *rows)} == {14}
    found = json.loads(out.read_text())
    assert found["peak"] > 0 and [row["name"] for row in found["rows"]] == list(passes)
    assert all(row["shares"].keys() == set(profile.COLUMNS) for row in found["rows"])
