"""What is printed is true: every line of first and second order, read as text, at numbers that the interpreter has found.

A symbol has one value: what two links call the same is the same, and what has the mark of the step before is what stood there.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from helpers import chained, formulas
from helpers.head_cells import HEAD_CELLS
from helpers.interpreted import problem
from helpers.matrix_cells import MATRIX_CELLS

from derive import Cell
from derive.calculus.chain import BACKWARD, FORWARD, Derivation
from derive.calculus.derivation import differentiate
from derive.calculus.second import ALONG, HESSIAN, TANGENT, THROUGH, TWICE, second_order
from derive.cells import REGISTRY
from derive.notation.formula import Formulas
from derive.notation.style import Text
from derive.notation.text import adjoint_lines, formulas_of
from derive.verify.problem import Problem, directions

Arrays = dict[str, np.ndarray]
WAYS = ((BACKWARD, TANGENT, TWICE, THROUGH), (BACKWARD, ALONG, HESSIAN))  # to second derivatives: v̿ is not the same on both
OWN = (
    Cell("h = tanh(W @ x + U @ tanh(U @ h_prev))", name="shared", output="h"),
    Cell("h = tanh(W @ x + b) * sigmoid(V @ x + U @ h_prev)", name="gated", output="h"),
    Cell("h = h_prev + softmax(W @ x) * softmax(U @ h_prev)", name="attention", output="h"),
    Cell("u = tanh(W @ x)\nh = tanh(g * layer_norm(u * (U @ h_prev) + b) + layer_norm(h_prev))", name="normalised", output="h"),
    Cell("m = mean(W @ x)\nh = tanh(U @ h_prev - m) * mean(h_prev)", name="means", output="h"),
    Cell("h = softmax(W @ x * (K @ v)) - U @ h_prev", name="context", output="h", context=("v",), shapes={"v": "k"}),
    Cell("a_h = W @ x\nh = tanh(a_h + U @ h_prev)\ny = h - tanh(V @ h)", name="letters", output="y"),
)
HARDEST = (
    "rnn",
    "lstm",
    "lstmp",
    "gru",
    "gru_v3_concat",
    "slstm",
    "lstm_layernorm",
    "antisymmetric",
    "lru",
    "qrnn",
    "fastgrnn",
    "soft_cross_entropy",
)
REST = [pytest.param(cell, marks=pytest.mark.exhaustive) for name, cell in REGISTRY.items() if name not in HARDEST]
cells = pytest.mark.parametrize(
    "cell", [*(REGISTRY[name] for name in HARDEST), *OWN, *MATRIX_CELLS.values(), *HEAD_CELLS.values(), *REST], ids=lambda cell: cell.name
)


def solved(cell: Cell) -> tuple[Derivation, Problem, dict[str, Arrays]]:
    found, p = second_order(differentiate(cell)), problem(cell)
    return found, p, chained.values(found, p, directions(p, 3), curvature=2.0)


def symbols(found: Derivation, link: str, p: Problem, made: dict[str, Arrays], head: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield what a link's values are called, with their values in a head, rows with an axis of features."""
    names = formulas_of(found, link, Text({}))
    for name, value in made[link].items():
        kind, own = names.types[name], value
        if name in names.rest:
            own = own + made[TWICE][names.rest[name]]
        own = own.take(head, axis=-1 - len(kind.shape)) if kind.headed else own
        if names.is_of_heads(names.mark(name)[1]):  # of all heads together, and called by what one has
            own = np.split(own, p.sizes[p.cell.heads], axis=-1)[head]
        row = own[..., None] if kind.batched and not kind.shape else own
        once = kind.batched and own.ndim == 1 + len(kind.shape)  # for all steps, as a context is
        yield from called(names, name, row[None] if once else row, p)


def called(names: Formulas, name: str, row: np.ndarray, p: Problem) -> Iterator[tuple[str, np.ndarray]]:
    label, (mark, value) = names.label(name), names.mark(name)
    if mark and label.kind != "part":
        for part in names.split.get(value, ()):
            start, size = part.node.start.evaluate(p.sizes), part.node.size.evaluate(p.sizes)
            yield names.over(mark, part.name), row[..., start : start + size]
    if label.role in ("normalised", "std") or not (names.is_inside(name) or (label.kind == "part" and name not in names.called)):
        yield names.left(name), row


def close(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.allclose(found, expected, rtol=1e-10, atol=1e-10 * max(1.0, np.abs(expected).max(initial=0.0)))


def known(found: Derivation, way: tuple[str, ...], p: Problem, made: dict[str, Arrays]) -> list[Arrays]:
    """Return the values of all symbols in each head, and see that each has one."""
    return [known_of(found, way, p, made, head) for head in range(p.sizes.get(p.cell.heads, 1))]


def known_of(found: Derivation, way: tuple[str, ...], p: Problem, made: dict[str, Arrays], head: int) -> Arrays:
    values = {name: np.asarray(float(value)) for name, value in p.cell.scalar_constants.items()}
    for link in (FORWARD, *way):
        for symbol, value in symbols(found, link, p, made, head):
            assert symbol not in values or close(value, values[symbol]), f"{link}: {symbol} has two values"
            values.setdefault(symbol, value)
    for symbol, value in values.items():
        if (here := symbol.replace("_{t-1}", "")) != symbol and here in values and values[here].ndim == value.ndim:
            assert close(value[1:], values[here][:-1]), f"{symbol} is not {here} of the step before"
    values.setdefault("I", np.eye(max(p.sizes.values(), default=1)))
    for index in p.cell.integers:
        features = next(p.arrays[name].shape[-1] for name in p.cell.inputs if name != index)
        values[f"e_{index}"] = np.eye(features)[p.arrays[index]]
    return values


@cells
def test_every_line_is_true(cell: Cell) -> None:
    found, p, made = solved(cell)
    for way in WAYS:
        values = known(found, way, p, made)
        for link in way:
            for tag, line in adjoint_lines(found, link, Text({})).items():
                assert all(is_true(line, values, p, head) for head in range(len(values))), f"({tag})  {line}"


def is_true(line: str, values: list[Arrays], p: Problem, head: int) -> bool:
    left = formulas.value(line.split(" = ", 1)[0], values, p.sizes, head=head)
    right = formulas.value(line.split(" = ", 1)[1], values, p.sizes, head=head, batch=left.ndim < 3)
    right = right.reshape(left.shape) if right.size == left.size else right
    return np.broadcast_shapes(left.shape, right.shape) == left.shape and close(right, left)


@cells
def test_both_ways_agree_where_something_is_given(cell: Cell) -> None:
    """Hessians are symmetric: ∂M/∂v is the derivative of v̄ along the direction, for inputs, parameters and states before the first step."""
    found, p = second_order(differentiate(cell)), problem(cell)
    made = chained.values(found, p, directions(p, 3), curvature=0.0)
    twice, along = (known(found, way, p, made) for way in WAYS)
    style = Text({})
    given = [n for n in (*cell.inputs, *cell.context, *cell.parameters) if n not in (*cell.integers, *cell.fixed)]
    inputs = [style.marked_name("bars", name, "t") for name in given]
    states = [style.carried(style.marked_name("bars", state, "t-1")) for state in cell.states]
    for one, other in zip(twice, along, strict=True):
        for symbol in inputs:
            assert close(one[symbol], other[symbol]), symbol
        for symbol in states:
            assert close(one[symbol][0], other[symbol][0]), symbol


def test_what_is_false_is_found() -> None:
    """A guard: lines with a wrong sign, or of another step, do not pass."""
    found, p, made = solved(REGISTRY["rnn"])
    values = known(found, WAYS[1], p, made)
    left = formulas.value("a̿_h", values, p.sizes)
    assert close(formulas.value("h̿ ⊙ (1 - h²) - 2 h̄ ⊙ ḣ ⊙ h", values, p.sizes), left)
    for wrong in ("h̿ ⊙ (1 - h²) + 2 h̄ ⊙ ḣ ⊙ h", "h̿ ⊙ (1 - h_{t-1}²) - 2 h̄ ⊙ ḣ ⊙ h", "h̿ ⊙ (1 - h²)"):
        assert not close(formulas.value(wrong, values, p.sizes), left)


def test_what_is_false_of_matrices_is_found() -> None:
    shapes = {"W": "d, d", "V": "d, d"}
    found, p, made = solved(Cell("S = 0.5 * S_prev + outer(W @ x, x)\ny = S @ (V @ x)", name="hebb", output="y", shapes=shapes))
    values = known(found, WAYS[1], p, made)
    assert is_true("S̄ = S̄⁺ + ∂L_t/∂y (V x_t)ᵀ", values, p, 0)
    for wrong in ("S̄⁺ + (V x_t) ∂L_t/∂yᵀ", "S̄⁺ᵀ + ∂L_t/∂y (V x_t)ᵀ", "S̄⁺ + ∂L_t/∂y (Vᵀ x_t)ᵀ", "S̄⁺ + ∂L_t/∂y 1ᵀ"):
        assert not is_true(f"S̄ = {wrong}", values, p, 0)
    assert is_true("x̄ = S̄ᵀ (W x_t) + Vᵀ (Sᵀ ∂L_t/∂y) + Wᵀ (S̄ x_t)", values, p, 0)
    assert not is_true("x̄ = S̄ᵀ (W x_t) + Vᵀ (S ∂L_t/∂y) + Wᵀ (S̄ x_t)", values, p, 0)
