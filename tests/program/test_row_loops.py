"""Loops over the rows of matrices: how many there are, and what is stored."""

from __future__ import annotations

import pytest
from helpers.matrix_cells import DELTA, MATRIX_CELLS, OJA, SSM

from derive import Cell
from derive.program.imperative import RowLoop
from derive.program.pipeline import compile_cell


def row_loops(cell: Cell, link: str) -> list[RowLoop]:
    program = compile_cell(cell)[link].program
    return [loop for stage in program.loop for loop in stage.loops if isinstance(loop, RowLoop)]


def matrices(cell: Cell, link: str) -> set[str]:
    """Return the arrays of matrices that are neither given nor a state's."""
    program = compile_cell(cell)[link].program
    products = {name for name, array in program.arrays.items() if any("*" in term for term, _ in array.width.terms)}
    given = {*program.rec.sequences, *program.rec.contexts}
    return {name for name in products if name not in given and not program.arrays[name].extra}


@pytest.mark.parametrize(("cell", "loops"), [(DELTA, 1), (OJA, 2), (SSM, 1)], ids=lambda value: getattr(value, "name", ""))
@pytest.mark.parametrize("link", ["forward", "backward"])
def test_passes_over_the_state(cell: Cell, loops: int, link: str) -> None:
    assert len(row_loops(cell, link)) == loops


@pytest.mark.parametrize("cell", [DELTA, OJA], ids=lambda cell: cell.name)
def test_only_states_are_stored(cell: Cell) -> None:
    """What only sums read lies nowhere, and the tape has the state before each step once."""
    assert matrices(cell, "forward") == set() == matrices(cell, "backward")
    kept = [field for field in compile_cell(cell)["forward"].keeps if len(compile_cell(cell)["forward"].program.shape(field.value)) == 2]
    assert [field.name for field in kept] == ["S"]


def test_a_sum_of_a_row_is_read_in_its_row() -> None:
    first, elements, second = row_loops(DELTA, "forward")[0].parts
    assert [c.equation.name for c in elements.computes]
    assert any(c.equation.name == "D" for c in first.computes) and any(c.equation.name == "D" for c in second.computes)  # made twice


def test_functions_of_numbers_are_computed_once() -> None:
    """The decay is a number: its exponential is no part of the loop over the state."""
    for name, cell in MATRIX_CELLS.items():
        if name == "delta":
            texts = [str(c.equation.node) for loop in row_loops(cell, "forward") for c in loop.computes]
            assert not any("exp(" in text or "softplus(" in text for text in texts)
