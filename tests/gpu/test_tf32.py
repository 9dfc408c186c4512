"""What TF32 errs by: the rounding of operands explains what a device had, to a few parts in a hundred."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import witness
from device import SimulatedDevice, using
from witness import Case

from generated.runtime.cuda import current

# Errors of an NVIDIA H200, step by step, beside the CPU in float64.
ON_A_DEVICE = {
    Case("lmu", "tf32"): {"output": 3.718e-4, "final m": 1.0455e-3, "final h": 3.898e-4, "x": 7.176e-4},
    Case("lmu", "tf32", 64, steps=6, batch=17): {"output": 8.024e-4, "final m": 1.0077e-3, "final h": 9.415e-4, "x": 1.7483e-3},
    Case("lstmp", "tf32"): {"output": 2.444e-4, "final c": 3.730e-4, "final h": 2.398e-4, "x": 5.274e-4},
    Case("fastrnn", "tf32"): {"output": 2.326e-4, "final h": 2.843e-4, "x": 3.893e-4, "W": 3.364e-4},
}


def round_tf32(values: np.ndarray) -> np.ndarray:
    """Return numbers of float32 as tensor cores take them in TF32: of 11 bits, ties away from zero."""
    bits = np.array(values, np.float32).view(np.uint32)
    return ((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)


class StepByStep(SimulatedDevice):
    """A device whose products, all of cuBLAS, round their operands."""

    def plan(self, *arguments: object) -> None:
        return None

    def multiply(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        first, second = (round_tf32(value) if tf32 else value for value in (a, b))
        super().multiply(first, second, out, add=add, tf32=tf32)


@pytest.mark.parametrize("case", ON_A_DEVICE, ids=lambda case: f"{case.cell}-{case.n}")
def test_operands_that_are_rounded_err_as_a_device_did(case: Case) -> None:
    with using(StepByStep(), current):
        found = witness.compared(case, np.asarray)
    for name, error in ON_A_DEVICE[case].items():
        assert found[name] == pytest.approx(error, rel=0.03), name
    assert not witness.beyond(case, found)
