"""Matrices that change from step to step: their shapes, and what is refused of them."""

from __future__ import annotations

import pytest
from helpers.matrix_cells import MATRIX_CELLS

from derive import Cell, CellError
from derive.language.parse import parse
from derive.language.sizes import Size, elements, shape_text
from derive.language.unparse import unparse


def cell(text: str, output: str = "y", **options: object) -> Cell:
    return Cell(text, name="c", output=output, **options)  # type: ignore[arg-type]


def shapes(of: Cell, *names: str) -> list[str]:
    return [shape_text(of.shapes[name]) for name in names]


def test_a_line_tells_that_its_state_is_a_matrix() -> None:
    found = cell("S = S_prev + outer(V @ x, K @ x)\ny = S @ (Q @ x)", shapes={"V": "v, d", "K": "k, d"})
    assert shapes(found, "S", "S_prev", "Q", "y") == ["v, k", "v, k", "k, d", "v"]
    assert {"S", "S_prev"} <= found.batched


def test_a_number_is_spread_over_what_stands_beside_it() -> None:
    found = cell("S = outer(1, a) * S_prev + outer(x, K @ x) * outer(b, 1)\ny = S.T @ x", shapes={"K": "k, d"})
    assert shapes(found, "a", "b", "S", "y") == ["k", "d", "d, k", "k"]


def test_sums_over_an_axis() -> None:
    found = cell("S = outer(x, w) * A\na = sum(S, 0)\nb = sum(S, 1)\ny = [a, b]", shapes={"w": "k"})
    assert shapes(found, "a", "b", "A", "y") == ["k", "d", "d, k", "d + k"]


def test_a_parameter_beside_a_matrix_is_one_unless_it_is_declared() -> None:
    text = "S = f * S_prev + outer(x, x)\ny = S @ x"
    assert shapes(cell(text), "f") == ["d, d"]
    assert shapes(cell(text, shapes={"f": ""}), "f") == [""]


def test_a_state_is_no_matrix_for_the_sake_of_a_parameter() -> None:
    with pytest.raises(CellError, match=r"`A` is a matrix .* `s_prev` is a vector"):
        cell("s = A * s_prev + (1 - A) * B @ x", output="s")


@pytest.mark.parametrize("name", MATRIX_CELLS)
def test_texts_are_read_as_they_are_written(name: str) -> None:
    lines = MATRIX_CELLS[name].equations
    assert parse(unparse(lines)) == lines


def test_the_number_of_elements() -> None:
    n, k = Size.of("n"), Size.of("k")
    assert str(elements((n, k + 1))) == "k*n + n" and str((n + 1) * (n + 1)) == "2*n + n*n + 1"
    assert elements((n * 2, k)).evaluate({"n": 3, "k": 5}) == 30 and elements(()).evaluate({}) == 1
    assert (n * k).substitute({"k": n + 1}) == n * n + n and (n * k).names == ("k", "n")


REFUSED = {
    "S = outer(1, 2) * S_prev\ny = S @ x": "`outer` needs a vector",
    "S = S_prev + outer(x, S_prev)\ny = S @ x": "`outer` needs vectors, `S_prev` is a matrix",
    "S = S_prev + outer(x, x)\ny = outer(1, x) @ x + S @ x": "has no number of rows of its own",
    "S = S_prev + outer(x, x)\ny = sum(outer(x, 1), 1) + S @ x": "has no number of columns of its own",
    "S = S_prev + outer(x, x)\ny = sum(x, 1) + S @ x": "`sum(M, 1)` needs a matrix, `x` is a vector",
    "S = S_prev + outer(x, x)\ny = sum(S, 2)": "the axis of `sum(M, axis)` is 0",
    "S = S_prev + outer(x, x)\ny = sum(S, 1, 0)": "`sum` takes 1 argument, or a matrix and an axis, got 3",
    "S = S_prev + outer(x, x)\ny = outer(x)": "`outer` takes 2 arguments, got 1",
    "S = S_prev.T + outer(x, x)\ny = S @ x": "its transpose stands only on the left of `@`",
    "S = S_prev @ S_prev + outer(x, x)\ny = S @ x": "multiplies two matrices",
    "S = S_prev + outer(x, x)\ny = softmax(S)": "`softmax` needs a vector",
    "S = S_prev + outer(x, x)\ny = [S, x]": "a concatenation needs a vector",
    "S = S_prev + outer(x, x)\ny = x * S": "write `S @ x` for their product",
    "y = y_prev + outer(x, x)": "the output `y` is a matrix",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(CellError) as caught:
        cell(text)
    assert REFUSED[text] in str(caught.value)


def test_inputs_are_no_matrices() -> None:
    with pytest.raises(CellError, match=r"`x` is declared a matrix \(n, n\): an input is a vector or a scalar"):
        cell("y = x @ h_prev\nh = y", shapes={"x": "n, n"})
