"""Every emitted kernel is assembled for Hopper: numbers that should be in registers are, and no more registers are taken than were."""

from __future__ import annotations

import json

import pytest
from conftest import ordinary
from registers import CELLS, DATA, OF_MATRICES, QUICK, VARIANTS, cases, measured
from report import available

from derive.cells import SECOND

SLACK = 12  # registers: what another release of the compiler may take more

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


def checked(name: str, variant: str, *, second: bool = False) -> dict[str, int]:
    """Measure the kernels of a variant; none may use local memory, and none but those of float64 may compute in it."""
    reports = measured(name, variant, second=second)
    assert reports
    for kernel, made in reports.items():
        assert made.local == 0, f"{name}, {variant}: {kernel} has {made.stack} bytes of stack and {made.spill_stores} bytes spilled"
        assert variant.startswith("float64") or ".f64" not in made.ptx, f"{name}, {variant}: {kernel} computes in float64"
    return {kernel: made.registers for kernel, made in reports.items()}


@pytest.mark.parametrize(("name", "variant"), ordinary(cases(), QUICK))
def test_registers(name: str, variant: str) -> None:
    found, recorded = checked(name, variant), json.loads(DATA.read_text(encoding="utf-8"))[name][variant]
    assert set(found) == set(recorded), "measure anew: python tests/gpu/registers.py"
    for kernel, registers in found.items():
        assert registers <= recorded[kernel] + SLACK, f"{name}, {variant}: {kernel} takes {registers} registers, {recorded[kernel]} before"


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "variant"), [case for case in cases(every=True) if case not in cases()])
def test_every_kernel(name: str, variant: str) -> None:
    checked(name, variant)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("name", "variant"), [("rnn", "bfloat16, members")])
def test_second_order(name: str, variant: str) -> None:
    found = set(checked(name, variant, second=True))
    links = ("backward_backward", "backward_backward_inputs", "through", "tangent", "along", "hessian")
    assert {f"{link}_resident" for link in links} < found


@pytest.mark.exhaustive
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", SECOND)
def test_every_kernel_of_second_order(name: str, variant: str) -> None:
    checked(name, variant, second=True)


def test_variants_have_the_kernels_that_they_are_for() -> None:
    recorded = json.loads(DATA.read_text(encoding="utf-8"))
    assert set(recorded) == {*CELLS, *OF_MATRICES}
    assert {"forward_apart", "backward_apart"} <= set(recorded["gated_deltanet"]["bfloat16, apart"])
    for variant in VARIANTS:
        kernels = recorded["lstm"][variant]
        assert any(kernel.endswith("resident") for kernel in kernels) == (variant != "steps"), variant
