"""Cells of recent papers: values and gradients beside reference vectors, which other implementations made.

`data/modern.json` has 29 cells as their papers print them and `data/modern.npz` what the authors' code, or autograd of an independent
reading of it, gives at random values: T = 4 steps, B = 3 sequences, two heads, float64.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from conftest import generated, ordinary
from helpers import published_cells

import derive
from derive import Cell
from derive.cells import REGISTRY

DATA = Path(__file__).parent / "data"
PUBLISHED: dict[str, dict[str, Any]] = {entry["key"]: entry for entry in json.loads((DATA / "modern.json").read_text(encoding="utf-8"))}
TOLERANCE = 1e-10
RENAMED = {"snntorch_leaky": "lif", "snntorch_rsynaptic": "rsynaptic", "norse_lsnn": "lsnn", "rhn": "rhn_loop"}
SHIPPED = {key: RENAMED.get(key, key) for key in PUBLISHED}
SAMPLE = ("norse_lsnn", "plif", "phased_lstm", "mamba", "gated_deltanet", "mlstm", "slstm_heads")


@cache
def vectors() -> dict[str, np.ndarray]:
    with np.load(DATA / "modern.npz") as file:
        return dict(file)


def as_printed(key: str) -> Cell:
    """Return a cell as its paper prints it."""
    return published_cells.published(PUBLISHED[key])


def worst(cell: Cell, module: ModuleType, key: str) -> dict[str, float]:
    """Return the largest error of each value and gradient of a cell's module, relative to the reference's largest entry."""
    known = vectors()
    params = module.Params(*(known[f"{key}/param/{name}"] for name in module.Params._fields))
    state = module.State(*(known[f"{key}/state/{name}"] for name in module.State._fields))
    first, *others = [known[f"{key}/input/{name}"] for name in cell.inputs]
    y, final, tape = module.forward(first, params, state, **dict(zip(cell.inputs[1:], others, strict=True)))
    grads = module.backward(known[f"{key}/dy"], tape)
    found = {"y": y, **{f"final/{name}": value for name, value in final._asdict().items()}}
    found |= {f"dparam/{name}": value for name, value in grads.params._asdict().items() if name not in cell.fixed}
    found |= {f"dstate/{name}": value for name, value in grads.state._asdict().items()}
    found |= {f"dinput/{name}": getattr(grads, name) for name in cell.inputs if name not in cell.fixed}
    wanted = {name: known[f"{key}/{name}"] for name in found}
    return {name: float(np.abs(found[name] - want).max() / max(np.abs(want).max(), 1e-9)) for name, want in wanted.items()}


@pytest.mark.parametrize("key", ordinary(PUBLISHED, {"rhn", "gsa"}))
def test_a_cell_as_its_paper_prints_it(key: str) -> None:
    cell = as_printed(key)
    found = worst(cell, derive.compile(cell), key)
    assert len(found) > 4 and max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize("key", ordinary(SHIPPED, SAMPLE))
def test_a_cell_as_it_comes_with_the_toolkit(key: str) -> None:
    found = worst(REGISTRY[SHIPPED[key]], generated(SHIPPED[key]), key)
    assert max(found.values()) < TOLERANCE, found


def test_all_are_shipped() -> None:
    assert len(PUBLISHED) == 29
    for key, name in SHIPPED.items():
        printed, own = as_printed(key), REGISTRY[name]
        assert (bool(own.heads), {*own.parameters}, {*own.states}) == (bool(printed.heads), {*printed.parameters}, {*printed.states}), key


def test_a_wrong_sign_is_seen() -> None:
    entry = PUBLISHED["plif"]
    wrong = Cell(
        entry["eqs"].replace("b - v_prev", "b + v_prev"),
        name="plif_slip",
        output="s",
        shapes={**entry["params"], **entry["states"]},
        functions={"spike(u)": tuple(entry["functions"]["spike(u)"])},
    )
    assert max(worst(wrong, derive.compile(wrong), "plif").values()) > 1e-3
