"""The machine code of emitted kernels: vectorisation dies silently, and only the assembly tells."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

SCRIPT = """
import re, sys
import numpy as np
from generated import {name} as module

for dtype, suffix in ((np.float32, "s"), (np.float64, "d")):
    params = module.init(8, 16, dtype=dtype)
    y, _, tape = module.forward(np.zeros((2, 2, 8), dtype), params)
    module.backward(y, tape)
for kernel in (module.forward_steps, module.backward_steps):
    for signature, text in kernel.inspect_asm().items():
        letter = "s" if "float32" in str(signature) else "d"
        packed = len(re.findall(rf"\\tv?mulp{{letter}}\\s.*%[yz]mm", text))
        division = len(re.findall(rf"\\tv?divp{{letter}}\\s.*%[yz]mm", text))
        print(kernel.__name__, letter, packed, division)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_loops_are_vectorised(name: str, tmp_path: Path) -> None:
    """Packed multiplications at the width of AVX or wider in every kernel, and packed divisions where sigmoids and tanh are."""
    from llvmlite.binding import get_host_cpu_features

    if not get_host_cpu_features().get("avx2"):
        pytest.skip("this processor has no AVX2")
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), "PATH": ""}  # code from the cache has no assembly to show
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(name=name)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 4
    for kernel, letter, packed, division in lines:
        assert int(packed) >= 8, (kernel, letter)
        assert int(division) >= (3 if kernel == "forward_steps" else 0), (kernel, letter)
