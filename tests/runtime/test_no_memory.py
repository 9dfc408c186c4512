"""Memory that cannot be had: an error of the caller, whichever of a call's arrays it is for, and no harm to the next call."""

from __future__ import annotations

import ast
import importlib
import sys
from typing import Any

import numpy as np
import pytest
from conftest import ROOT, assert_same_bits, generated, python

from derive.runtime.cpu.outer import layout
from generated.runtime.cpu.replay import Recordings


class Allocator:
    """What takes the place of `memory.empty`, or of `memory.fresh`, in all modules of a package, and fails at one call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, function: str = "empty") -> None:
        self.empty = getattr(importlib.import_module(f"{name}.runtime.cpu.memory"), function)
        self.left = -1
        for module in [module for key, module in sys.modules.items() if key.startswith(f"{name}.")]:
            if getattr(module, function, None) is self.empty:
                monkeypatch.setattr(module, function, self)

    def __call__(self, *given: Any, **options: Any) -> np.ndarray:
        self.left -= 1
        if self.left == 0:
            raise MemoryError
        return self.empty(*given, **options)


@pytest.mark.parametrize("recorded", [False, True])
def test_each_allocation_may_fail(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = generated("lstm")
    name, params = module.__name__.rpartition(".")[0], module.init(d=5, n=7, seed=1)
    x = np.random.default_rng(0).standard_normal((400, 20, 5), dtype=np.float32)
    if not recorded:
        monkeypatch.setattr(importlib.import_module(f"{name}.runtime.cpu.replay"), "RECORDED", 0)
        monkeypatch.setattr(module.LAYER, "recordings", Recordings())

    def passes() -> Any:
        y, final, tape = module.forward(x, params)
        return y, final, module.backward(np.ones_like(y), tape)

    passes()
    expected, allocator = passes(), Allocator(monkeypatch, name, "fresh" if recorded else "empty")
    allocator.left = 0
    assert_same_bits(passes(), expected)
    count = -allocator.left
    assert count > (14 if recorded else 20)  # recorded: one for all that a pass works in
    for k in range(1, count + 1):
        allocator.left = k
        with pytest.raises(MemoryError):
            passes()
        allocator.left = -1
        assert_same_bits(passes(), expected)


def test_kernels_allocate_nothing() -> None:
    for path in sorted((ROOT / "generated").glob("*.py")):
        for function in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(function, ast.FunctionDef) and any(ast.unparse(made) in ("kernel", "host") for made in function.decorator_list):
                names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
                assert not names & {"np", "empty", "panel_room", "workspace"}, f"{path.name}: {function.name}"


def test_each_part_of_a_sum_has_its_own_memory() -> None:
    """However many parts there are of those asked for: `crew.divide` makes nearly equal ones."""
    for p in range(1, 70):
        for most in range(1, 20):
            pieces, *_ = layout(2, p, 2 * p, most, 4)
            for parts in range(1, min(most, p) + 1):
                used = [p * part // parts // (p // pieces) for part in range(parts)]
                assert len(set(used)) == parts and max(used) < pieces


LIMITED = """
import resource
import numpy as np
from derive.runtime.cpu.openmp import LIGHT
from derive.runtime.cpu.outer import outer_sums, workspace
u, v, product, total = np.ones((256, 192)), np.ones((256, 300)), np.empty((192, 300)), np.empty(192)
def sums(u, v):
    memory = workspace(u.dtype, len(u), 64, (192, 300))
    assert len(u) < 256 or memory.nbytes > 1 << 25  # what an allocator asks the system for, however much it has
    outer_sums(64, LIGHT, memory, u, v, product, None, None, total, False)
sums(u[:4], v[:4])  # compiles
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
failed, wrong = 0, 0
for more in range(0, 1 << 27, 1 << 20):
    resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.getrlimit(resource.RLIMIT_AS)[1]))
    product[...], total[...] = np.nan, np.nan
    try:
        sums(u, v)
    except MemoryError:
        failed += 1
        continue
    wrong += (product != 256.0).any() + (total != 256.0).any()
    break
print(failed > 0, wrong)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no such limits on this system")
def test_no_sum_is_wrong_for_want_of_memory() -> None:
    assert python(LIMITED) == "True 0\n"
