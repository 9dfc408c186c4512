"""The machine code of emitted kernels: vectorisation dies silently, and only the assembly tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ordinary

from derive.runtime.cpu.target import TARGET, is_x86

ROOT = Path(__file__).parents[2]

SCRIPT = """
import json, re
import numpy as np
from generated import {name} as module

for dtype, suffix in ((np.float32, "s"), (np.float64, "d")):
    params = module.init(8, 16, dtype=dtype)
    y, _, tape = module.forward(np.zeros((2, 2, 8), dtype), params)
    module.backward(y, tape)
for kernel in (module.forward_steps, module.backward_steps):
    for signature, text in kernel.inspect_asm().items():
        letter = "s" if "float32" in str(signature) else "d"
        found = []
        for block in re.split(r"^\\.LBB\\w+:", text, flags=re.MULTILINE):
            count = lambda pattern: len(re.findall(pattern, block, re.MULTILINE))
            wide = count(rf"\\tv?(?:mul|div|add)p{{letter}}\\s.*%{register}")
            found.append((wide, count(rf"\\tv?divp{{letter}}\\s"), count(rf"\\tv?divs{{letter}}\\s")))
        print(json.dumps([kernel.__name__, letter, found]))
"""


DIVISIONS = {  # sigmoids and tanh; a backward pass has them where it makes one again
    ("lstm", "forward_steps"): 5,
    ("lstm", "backward_steps"): 1,
    ("gru", "forward_steps"): 3,
    ("gru", "backward_steps"): 0,
}


@pytest.mark.skipif(not is_x86(TARGET.architecture), reason="reads x86 assembly")
@pytest.mark.parametrize("name", ordinary(["lstm", "gru"], ["lstm"]))
def test_loops_are_vectorised(name: str, tmp_path: Path) -> None:
    """Arithmetic at the width of the registers in every kernel, and no division of single numbers where sigmoids and tanh are."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_CPU")}
    environment |= {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""}  # code from the cache has no assembly to show
    register = {16: "xmm", 32: "ymm", 64: "zmm"}[TARGET.vector_bytes]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(name=name, register=register)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 4
    for kernel, letter, blocks in lines:
        assert sum(wide for wide, _, _ in blocks) >= 8, (kernel, letter)
        packed = [count for _, count, _ in blocks if count]
        scalar = [count for _, _, count in blocks if count]
        assert not any(both and single for _, both, single in blocks), (kernel, letter)
        # The loop for what is left of a row beyond whole vectors has the same divisions, one by one; no other has any. Where a selection of
        # one number is a branch, as without AVX, they stand in several blocks.
        whole = len(scalar) <= len(packed) and set(scalar) <= set(packed)
        assert whole or sum(scalar) == sum(packed), (kernel, letter)
        assert sum(packed) >= DIVISIONS[name, kernel.removesuffix("_divided")], (kernel, letter)
