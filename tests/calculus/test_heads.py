"""Cells of heads: their shapes, and their derivations beside reference vectors and PyTorch, to second order.

`tests/verify/data/modern.json` has cells of recent papers and `modern.npz` what the authors' code, or autograd of an independent reading of
it, gives at random values: T = 4 steps, B = 3 sequences, two heads, float64.
"""

from __future__ import annotations

import json
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ordinary
from helpers import chained, published_cells
from helpers.head_cells import SHARED

from derive import Cell, CellError
from derive.calculus.derivation import differentiate
from derive.calculus.second import HESSIAN, role, second_order
from derive.language.sizes import shape_text
from derive.notation import show
from derive.verify import second
from derive.verify.problem import Problem, directions, sample
from derive.verify.witnesses import autograd, interpreter

DATA = Path(__file__).parents[1] / "verify" / "data"
MODERN = json.loads((DATA / "modern.json").read_text(encoding="utf-8"))
PUBLISHED: dict[str, dict[str, Any]] = {entry["key"]: entry for entry in MODERN if "heads" in entry}


@cache
def vectors() -> dict[str, np.ndarray]:
    with np.load(DATA / "modern.npz") as file:
        return dict(file)


def published(key: str) -> Cell:
    """Return a cell as its paper prints it."""
    return published_cells.published(PUBLISHED[key])


def problem(key: str) -> Problem:
    """Return the problem that the vectors are of."""
    cell, known = published(key), {name.partition("/")[2]: value for name, value in vectors().items() if name.startswith(f"{key}/")}
    arrays = {name: known[f"input/{name}"] for name in cell.inputs} | {name: known[f"param/{name}"] for name in cell.parameters}
    arrays |= {f"{name}_prev": known[f"state/{name}"] for name in cell.states}
    sizes = {
        str(size): n
        for name in arrays
        for size, n in zip(cell.axes[name], arrays[name].shape[-len(cell.axes[name]) or None :], strict=False)
    }
    drawn = sample(cell, sizes={name: sizes[name] for name in cell.sizes if name in sizes}, steps=4, batch=3)
    return Problem(cell, drawn.sizes, 4, 3, arrays, known["dy"], {name: np.zeros_like(known[f"state/{name}"]) for name in cell.states})


@pytest.mark.parametrize("key", PUBLISHED)
def test_derivations_of_published_cells(key: str) -> None:
    p, known = problem(key), vectors()
    found = interpreter(p)
    results = {"y": found.values["output"], **{f"final/{s}": found.values[f"final {s}"] for s in p.cell.states}}
    results |= {f"dparam/{n}": found.grads[n] for n in p.cell.parameters if n not in p.cell.fixed}
    results |= {f"dinput/{n}": found.grads[n] for n in p.cell.inputs} | {f"dstate/{s}": found.grads[f"{s}_prev"] for s in p.cell.states}
    for name, value in results.items():
        want = known[f"{key}/{name}"]
        assert np.abs(value - want).max() <= 1e-10 * max(np.abs(want).max(), 1e-9), name


@pytest.mark.parametrize("cell", [SHARED, *map(published, PUBLISHED)], ids=lambda cell: cell.name)
def test_derivations_against_pytorch(cell: Cell) -> None:
    p = sample(cell, sizes={"H": 3}, steps=3, batch=2, seed=1)
    found, expected = interpreter(p), autograd(p)
    for name, value in {**expected.values, **expected.grads}.items():
        got = {**found.values, **found.grads}[name]
        assert np.abs(got - value).max() <= 1e-12 * max(1.0, np.abs(value).max()), name


@pytest.mark.parametrize("key", ordinary(["shared", *PUBLISHED], {"shared", "gated_deltanet"}))
def test_hessians_against_pytorch(key: str) -> None:
    p = sample(SHARED if key == "shared" else published(key), sizes={"H": 2}, steps=3, batch=2, seed=1)
    direction, found = directions(p, 3), second_order(differentiate(p.cell))
    made, want = chained.values(found, p, direction, curvature=2.0)[HESSIAN], second.autograd(p, direction).named()
    link = found[HESSIAN]
    for name in (*link.handed, *link.recurrence.results):
        expected = want[f"Hessian {role(found, link, name).removeprefix('params.')}"]
        assert np.abs(made[name] - expected).max() <= 1e-11 * max(1.0, np.abs(expected).max()), name


def test_shapes() -> None:
    assert SHARED.headed == {"W", "b", "scale", "z", "h", "h_prev"}
    axes = {name: shape_text(SHARED.axes[name]) for name in ("W", "R", "P", "b", "scale", "W_o", "h", "u", "y")}
    assert axes == {
        **{"W": "H, n, n", "R": "n, n", "P": "H*n, d", "b": "H, n", "scale": "H", "W_o": "n, H*n", "h": "H, n", "u": "n", "y": "n"},
    }


def test_formulas_are_those_of_one_head() -> None:
    lines = [line.strip() for line in show.text(published("gated_deltanet")).splitlines()]
    assert any("k̄ = " in line and "S̄ᵀ (v - D k) - Dᵀ (" in line for line in lines)
    assert any("x̄ = Σ_h " in line for line in lines) and any(line.endswith("∇W_v = Σ_t δ_v x_tᵀ") for line in lines)
    assert any(line.startswith("W_q") and line.endswith("(H, k, d)") for line in lines)


def test_copies_keep_heads() -> None:
    again = pickle.loads(pickle.dumps(SHARED))
    assert again == SHARED and again.heads == "H" and again.shared == SHARED.shared
    changed = SHARED.replace(name="plain", b="0")
    assert changed.heads == "H" and "b" not in changed.parameters and changed.axes["W"] == SHARED.axes["W"]


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "y = merge(h_prev)\nh = x": ("`merge` needs heads", {}),
    "h = W @ x + h_prev\ny = merge(x) + h": ("`merge`: `x` has no heads that could be put together", {"heads": "H"}),
    "h = W @ x + h_prev\ny = part(h)": ("`part`: `h` has a value for each head already", {"heads": "H"}),
    "y = y_prev + W @ x": ("shared: `V` is not a parameter", {"heads": "H", "shared": ("V",)}),
    "y = y_prev + U @ x": ("the cell has none without", {"shared": ("U",)}),
    "y = y_prev + (W @ x)": ("heads needs the name of a size", {"heads": "2"}),
    "h = h_prev + W @ x\ny = U @ merge(h)": ("`d*n` is no size", {"heads": "H", "shared": ("U",), "shapes": {"U": "n, n*d"}}),
    "y = y_prev + Q @ x": ("nothing has a value for each head", {"heads": "H", "shared": ("Q",)}),
    "h = part(x) + h_prev\ny = W @ h": ("a vector of all heads has size H*n", {"heads": "H"}),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    message, declared = REFUSED[text]
    with pytest.raises(CellError) as caught:
        _ = Cell(text, name="c", output="y", **declared).shapes
    assert message in str(caught.value)
