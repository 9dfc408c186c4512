"""Which values of a cell are mostly zero, so that products with them leave out zeros."""

from __future__ import annotations

import pytest

from derive import Cell
from derive.calculus.adjoint import adjoint
from derive.calculus.lower import lower
from derive.cells import REGISTRY

SPIKE = {"spike(u)": ("step(u)", "1 / (1 + abs(u))**2")}
LIKE_SPIKE = {"spike(u)": ("tanh(u)", "1 / (1 + abs(u))**2")}
SPARSE = {
    "lif": {"s"},
    "lif_no_reset": {"s"},
    "lif_refractory": {"s"},
    "plif": {"s"},
    "lsnn": {"z", "z_prev"},
    "alif": {"z", "z_prev"},
    "rsynaptic": {"s", "s_prev"},
    "eprop_lif": {"z", "z_prev", "z_prev_2"},
}


@pytest.mark.parametrize("name", REGISTRY)
def test_published_cells(name: str) -> None:
    assert lower(REGISTRY[name]).sparse == SPARSE.get(name, set())


@pytest.mark.parametrize(
    ("text", "functions", "expected"),
    [
        ("h = step(W @ x)", {}, {"h"}),
        ("a = 2 * step(h_prev) * x\nh = tanh(W @ a)", {}, {"a"}),  # what a spike multiplies
        ("a = 2 + step(h_prev) * x\nh = tanh(W @ a)", {}, set()),
        ("a = where(x > 0, 0, spike(h_prev))\nh = tanh(W @ a)", SPIKE, {"a"}),
        ("a = where(x > 0, 1, spike(h_prev))\nh = tanh(W @ a)", SPIKE, set()),
        ("a = where(x > 0, 0, 0) * h_prev\nh = tanh(W @ a)", {}, set()),  # no spike
        ("h = spike(W @ x + V @ d_prev)\nc = h_prev\nd = detach(c_prev)", SPIKE, {"h", "h_prev", "c", "c_prev", "d", "d_prev"}),
        ("h = spike(W @ x + V @ h_prev)", LIKE_SPIKE, set()),  # another value, with a derivative of its own
        ("h = tanh(W @ spike(x))", SPIKE, {"x_2"}),
    ],
)
def test_found(text: str, functions: dict[str, tuple[str, str]], expected: set[str]) -> None:
    found = lower(Cell(text, name="c", output="h", functions=functions)).sparse
    assert found == expected


def test_adjoints_know_what_the_forward_pass_has_found() -> None:
    forward = lower(REGISTRY["lsnn"])
    assert adjoint(forward).recurrence.sparse == {"z", "z_prev"}
