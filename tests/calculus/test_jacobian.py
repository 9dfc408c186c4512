"""Jacobian blocks against autograd, their structure and formulas, and the explicit double sum against the recursion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import sympy as sp
import torch
from helpers.texts import GRU, GRU_V3, LAYER_NORM, LSTM, SLSTM

from derive.calculus import functions as fn
from derive.calculus.chain import BACKWARD, FORWARD
from derive.calculus.derivation import differentiate
from derive.calculus.jacobian import Jacobian, jacobian
from derive.calculus.linear import Block, Column, Diag, Matrix, Range, Row, Select, Term
from derive.cell import Cell
from derive.language.names import previous
from derive.language.sizes import Size
from derive.notation.explicit import explicit_latex, explicit_tangent_latex
from derive.notation.jacobian import latex_lines, text_lines
from derive.verify.evaluate import unroll
from derive.verify.explicit import (
    explicit_cotangents,
    explicit_gradients,
    explicit_tangents,
    immediate_gradients,
    sensitivity,
    step_jacobians,
    trajectory,
)
from derive.verify.interpret import run
from derive.verify.jacobian import block_values, step_values
from derive.verify.problem import Problem, Scales, directions, sample

SIZES = {"d": 3, "n": 4, "k": 5, "q": 2, "p": 3}
LRU = Cell(
    """
    a = exp(-exp(nu))
    lr = a * cos(exp(theta))
    li = a * sin(exp(theta))
    re = lr * re_prev - li * im_prev + exp(gamma) * (B_re @ x)
    im = lr * im_prev + li * re_prev + exp(gamma) * (B_im @ x)
    y = C_re @ re - C_im @ im + D * x
    """,
    name="lru",
    output="y",
)
SCALAR = Cell(
    """
    s = 0.5 * s_prev + sum(q * tanh(Q @ h_prev + K @ v)) - logsumexp(h_prev)
    u = beta * u_prev * s
    h = tanh(W @ x + s * (P @ v) + alpha * h_prev + u * w)
    """,
    name="scalar_state",
    output="h",
    context=("v",),
    shapes={"alpha": "", "beta": "", "v": "k", "s": "", "u": ""},
)
CONCAT = Cell(
    """
    i, f, g = split(W @ [h_prev, x] + b, 3)
    c = sigmoid(f) * c_prev + sigmoid(i) * tanh(g)
    o = sigmoid(V @ [c, x, h_prev])
    u, w = split([o * c, h_prev], 2)
    h = tanh(u) - 0.1 * w
    """,
    name="concat_split",
    output="h",
)
PICKED = Cell(
    "h = softmax(W @ x + U @ h_prev) * pick(h_prev, j) + A.T @ (A @ h_prev) + (M - M.T - eye) @ h_prev",
    name="picked",
    output="h",
    inputs=("x", "j"),
)
DELAYED = Cell(
    """
    u = e @ x + a @ h_prev + b @ m_prev
    m = A @ m_prev + B * u
    h = tanh(W @ x + U @ h_prev + V @ m)
    """,
    name="delayed",
    output="h",
    shapes={"e": "d", "a": "n", "b": "q", "m": "q"},
    constants={"A": np.eye(2) * 0.5, "B": np.ones(2)},
)
CELLS = (LSTM, GRU, GRU_V3, LAYER_NORM, SLSTM, LRU, SCALAR, CONCAT, PICKED, DELAYED)
EVERY = pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)


def drawn(cell: Cell, steps: int, seed: int = 0) -> Problem:
    return sample(cell, sizes=SIZES, steps=steps, batch=2, seed=seed, scales=Scales(parameters=0.5, states=1.0))


def step_inputs(cell: Cell, seed: int = 0) -> dict[str, np.ndarray]:
    """Return random values of parameters, inputs, contexts and previous states."""
    p = drawn(cell, 1, seed)
    return {**cell.array_constants, **p.arrays, **{name: value[0] for name, value in p.inputs.items()}}


def autograd_block(cell: Cell, values: Mapping[str, np.ndarray], of: str, by: str) -> np.ndarray:
    """Return ∂of/∂by for every row, `(B, n, n')`, by PyTorch through the cell's text."""
    given = {name: torch.from_numpy(np.array(value)) for name, value in values.items()}

    def step(value: torch.Tensor) -> torch.Tensor:
        return cell.evaluate({**given, by: value}, torch)[of]

    full = torch.autograd.functional.jacobian(step, given[by])
    rows, features = len(given[by]), int(np.prod(given[by].shape[1:]))
    full = full.reshape(rows, -1, rows, features)
    return np.stack([full[b, :, b].numpy() for b in range(rows)])


@EVERY
def test_blocks_of_states_are_those_of_autograd(cell: Cell) -> None:
    values = step_inputs(cell)
    blocks = block_values(jacobian(cell), values, SIZES)
    assert set(blocks) == {(of, previous(by)) for of in cell.states for by in cell.states}
    for (of, by), block in blocks.items():
        np.testing.assert_allclose(block, autograd_block(cell, values, of, by), rtol=1e-11, atol=1e-11)


@EVERY
def test_blocks_by_inputs_and_contexts(cell: Cell) -> None:
    values = step_inputs(cell, seed=1)
    by = tuple(name for name in (*cell.inputs, *cell.context) if name not in cell.integers)
    of = tuple(dict.fromkeys((*cell.states, cell.output)))
    for (value, wrt), block in block_values(jacobian(cell, of=of, by=by), values, SIZES).items():
        np.testing.assert_allclose(block, autograd_block(cell, values, value, wrt), rtol=1e-11, atol=1e-11)


def test_blocks_by_a_pre_activation() -> None:
    """δ: with the input weight W_i in front, ∂h/∂a_i W_i is what x contributes through the input gate."""
    labels = jacobian(LSTM).forward.labels
    names = {label.of: name for name, label in labels.items() if label.kind == "preactivation"}
    values = step_inputs(LSTM)
    local = block_values(jacobian(LSTM, of=("h",), by=tuple(names.values())), values, SIZES)
    total = sum(local["h", names[gate]] @ values[f"W_{gate}"] for gate in "ifgo")
    np.testing.assert_allclose(total, autograd_block(LSTM, values, "h", "x"), rtol=1e-11, atol=1e-11)


def test_a_value_by_itself_is_the_identity() -> None:
    c, o = sp.symbols("c o")
    found = jacobian(LSTM, of=("c", "h"), by=("c", "x"))
    assert found["c", "c"].is_identity
    assert found["h", "c"] == Block((Term((Diag(o * (1 - fn.tanh(c) ** 2)),)),))
    assert jacobian(LSTM, of=("x",), by=("x",))["x", "x"].is_identity
    assert jacobian(LSTM, of=("i",), by=("c",))["i", "c"].is_zero


# Structure


def test_structure_of_lstm() -> None:
    found = jacobian(LSTM)
    assert found["c", "c_prev"].is_diagonal and found["c", "c_prev"].names == {"f"}
    assert found["h", "c_prev"].is_diagonal
    assert not found["c", "h_prev"].is_diagonal
    assert found["c", "h_prev"].depends_on(("U_f",)) and not found["c", "h_prev"].depends_on(("U_o", "o"))
    assert {m for term in found["h", "h_prev"].terms for m in term.matrices} == {"U_i", "U_f", "U_g", "U_o"}
    assert "h_prev" in found.sources(found["c", "c_prev"]) and "c_prev" not in found.sources(found["c", "c_prev"])
    assert not found.is_affine


def test_a_linear_recurrence_is_affine_in_its_state() -> None:
    found = jacobian(LRU)
    assert found.is_affine and all(block.is_diagonal for block in found.blocks.values())
    assert found.sources(found["re", "re_prev"]) == {"nu", "theta"}


def test_zero_blocks() -> None:
    found = jacobian(SLSTM)
    assert found["m", "c_prev"].is_zero and found["c", "v_prev"].is_zero and not found["m", "m_prev"].is_zero


def test_disjoint_parts_of_a_concatenation_do_not_meet() -> None:
    cell = Cell("u, h = split([tanh(W @ x), h_prev], 2)", name="parts", output="u", shapes={"h": "n", "W": "n, d"})
    assert jacobian(cell)["h", "h_prev"].is_identity
    assert jacobian(cell, of=("u",), by=("h_prev",))["u", "h_prev"].is_zero


# Products


def test_products_keep_their_order_and_merge_what_commutes() -> None:
    a, b, s = sp.symbols("a b s")
    n = Size.of("n")
    one = Block((Term(),))
    assert one.then(Diag(a)).then(Diag(b)) == Block((Term((Diag(a * b),)),))
    assert one.then(Matrix("W")).then(Diag(a)) != one.then(Diag(a)).then(Matrix("W"))
    assert one.then(Matrix("W")).then(Diag(s, scalar=True)) == one.then(Diag(s, scalar=True)).then(Matrix("W"))
    assert one.then(Column(a, n)).then(Diag(s, scalar=True)).then(Row(b, n)) == Block((Term((Column(a * s, n), Row(b, n))),))
    assert (one.then(Diag(a)) + one.then(Diag(-a))).is_zero
    assert one.then(Matrix("W")) + one.then(Matrix("W")) == one.then(Diag(sp.Integer(2), scalar=True)).then(Matrix("W"))
    assert one.then(Diag(a)).then(Matrix("W")) + one.then(Diag(b)).then(Matrix("W")) == one.then(Diag(a + b)).then(Matrix("W"))
    assert one + one.then(Diag(a)) == one.then(Diag(a + 1))
    assert one.then(Diag(sp.S.Zero)).is_zero
    low, high = Range(Size(), n), Range(n, n)
    assert one.then(Select(low, n * 2)).then(Select(low, n * 2, transposed=True)).is_identity
    assert one.then(Select(low, n * 2)).then(Select(high, n * 2, transposed=True)).is_zero


# Formulas


def text(found: Jacobian) -> str:
    return "\n".join(text_lines(found).values())


def test_text_of_lstm() -> None:
    assert list(text_lines(jacobian(LSTM)).values()) == [
        "∂c_t/∂c_{t-1} = Diag(f)",
        "∂c_t/∂h_{t-1} = Diag(g ⊙ i ⊙ (1 - i)) U_i + Diag(f ⊙ c_{t-1} ⊙ (1 - f)) U_f + Diag(i ⊙ (1 - g²)) U_g",
        "∂h_t/∂c_{t-1} = Diag(f ⊙ o ⊙ (1 - tanh(c)²))",
        "∂h_t/∂h_{t-1} = Diag(g ⊙ i ⊙ o ⊙ (1 - i) ⊙ (1 - tanh(c)²)) U_i"
        " + Diag(f ⊙ o ⊙ c_{t-1} ⊙ (1 - f) ⊙ (1 - tanh(c)²)) U_f"
        " + Diag(i ⊙ o ⊙ (1 - g²) ⊙ (1 - tanh(c)²)) U_g"
        " + Diag(o ⊙ (1 - o) ⊙ tanh(c)) U_o",
    ]


def test_text_of_gru() -> None:
    assert text(jacobian(GRU)) == (
        "∂h_t/∂h_{t-1} = Diag(z)"
        " + Diag(r ⊙ (1 - r) ⊙ (1 - z) ⊙ (U_n h_{t-1} + b_hn) ⊙ (1 - g²)) U_r"
        " + Diag(z ⊙ (h_{t-1} - g) ⊙ (1 - z)) U_z"
        " + Diag(r ⊙ (1 - z) ⊙ (1 - g²)) U_n"
    )
    assert text(jacobian(GRU_V3)).endswith("U Diag(r) + Diag((1 - z) ⊙ (1 - g²)) U Diag(r ⊙ h_{t-1} ⊙ (1 - r)) U_r")


def test_text_of_other_factors() -> None:
    assert text(jacobian(DELAYED)).splitlines() == [
        "∂m_t/∂m_{t-1} = B bᵀ + A",
        "∂m_t/∂h_{t-1} = B aᵀ",
        "∂h_t/∂m_{t-1} = Diag(1 - h²) V B bᵀ + Diag(1 - h²) V A",
        "∂h_t/∂h_{t-1} = Diag(1 - h²) U + Diag(1 - h²) V B aᵀ",
    ]
    assert "W[0 : n, 0 : n]" in text(jacobian(CONCAT))
    assert "e_jᵀ" in text(jacobian(PICKED)) and "Aᵀ A" in text(jacobian(PICKED))
    lines = text(jacobian(SCALAR)).splitlines()
    assert "∂s_t/∂s_{t-1} = 0.5" in lines and "∂s_t/∂u_{t-1} = 0" in lines and "∂u_t/∂u_{t-1} = s beta" in lines


def test_latex_of_lstm() -> None:
    first, second, *_ = latex_lines(jacobian(LSTM)).values()
    assert first == r"\frac{\partial c_{t}}{\partial c_{t-1}} = \operatorname{Diag}\left(f_{t}\right)"
    assert second.endswith(r" + \operatorname{Diag}\left(i_{t} \odot \left(1 - g_{t}^{2}\right)\right)\, U_{g}")


@EVERY
def test_every_formula_prints(cell: Cell) -> None:
    found = cell.jacobian()
    assert len(found.text().splitlines()) == len(found.latex().splitlines()) == len(cell.states) ** 2
    assert found.latex().count("{") == found.latex().count("}")


@EVERY
def test_a_cell_hands_out_the_same_blocks(cell: Cell) -> None:
    found, blocks = cell.jacobian(), jacobian(cell)
    assert found.blocks == blocks.blocks and found.is_affine == blocks.is_affine
    assert found.text() == text(blocks) and found.latex().splitlines() == list(latex_lines(blocks).values())
    values = step_inputs(cell)
    for key, value in found.evaluate(values, SIZES).items():
        np.testing.assert_array_equal(value, block_values(blocks, values, SIZES)[key])


# Errors


def test_errors() -> None:
    with pytest.raises(ValueError, match="`W_i` is no value of a step"):
        jacobian(LSTM, by=("W_i",))
    with pytest.raises(ValueError, match="`j` is no value of a step"):
        jacobian(PICKED, by=("j",))
    values = step_inputs(LSTM)
    with pytest.raises(ValueError, match="values are missing for `c_prev`, `h_prev`"):
        LSTM.jacobian().evaluate({k: v for k, v in values.items() if k not in ("c_prev", "h_prev")}, SIZES)
    with pytest.raises(ValueError, match=r"different numbers of rows: \[1, 2\]"):
        step_values(jacobian(LSTM).forward, {**values, "x": values["x"][:1]}, SIZES)


# The explicit double sum


def sequence(cell: Cell, steps: int = 4) -> tuple[dict[str, np.ndarray], np.ndarray, Mapping[str, np.ndarray]]:
    """Return values of a sequence, and cotangents of its outputs and final states."""
    p = drawn(cell, steps)
    return {**cell.array_constants, **p.arrays}, p.dy, p.dfinal


def recursion(cell: Cell, values: Mapping[str, np.ndarray], dy: np.ndarray, dfinal: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the gradients by the derived backward pass."""
    steps, batch = dy.shape[:2]
    derivation = differentiate(cell)
    backward = derivation[BACKWARD].recurrence
    forward = run(derivation[FORWARD].recurrence, values, SIZES, steps, batch)
    given = {**values, **forward.sequences, derivation[BACKWARD].cotangent[cell.output]: dy}
    given |= {carry.previous: dfinal[state] for state, carry in zip(cell.states, backward.carries, strict=True)}
    result = run(backward, given, SIZES, steps, batch)
    found = {**result.results, **result.sequences}
    free = [name for name in (*cell.parameters, *cell.inputs, *cell.context) if name not in cell.integers]
    gradients = {name: found[derivation[BACKWARD].cotangent[name]] for name in free}
    return gradients | {previous(s): result.carries[c.previous] for s, c in zip(cell.states, backward.carries, strict=True)}


@EVERY
def test_the_explicit_sum_is_the_recursion(cell: Cell) -> None:
    values, dy, dfinal = sequence(cell)
    explicit, expected = explicit_gradients(cell, values, SIZES, dy, dfinal), recursion(cell, values, dy, dfinal)
    free = [name for name in (*cell.parameters, *cell.inputs, *cell.context) if name not in cell.integers]
    assert explicit.keys() == expected.keys() == {*free, *map(previous, cell.states)}
    for name, gradient in expected.items():
        np.testing.assert_allclose(explicit[name], gradient, rtol=1e-11, atol=1e-11 * np.abs(gradient).max(), err_msg=name)


@pytest.mark.parametrize("cell", [LSTM, GRU], ids=lambda cell: cell.name)
def test_the_order_of_the_product_matters(cell: Cell) -> None:
    """J_{t+1} … J_k in place of J_k … J_{t+1} is another gradient, and so is a power of one Jacobian."""
    values, dy, dfinal = sequence(cell)
    expected = recursion(cell, values, dy, dfinal)
    path = trajectory(cell, values, SIZES, 4, 2)
    jacobians = step_jacobians(path)
    direct = np.stack([path.pack({cell.output: row}) for row in dy])
    direct[-1] += path.pack(dfinal)
    ordered = explicit_cotangents(jacobians, direct)
    assert np.array_equal(sensitivity(jacobians, 2, 0), jacobians[2] @ jacobians[1])

    def double_sum(product: str) -> np.ndarray:
        totals = direct.copy()
        for t in range(4):
            for k in range(t + 1, 4):
                chain = {"ordered": range(k, t, -1), "reversed": range(t + 1, k + 1), "power": [t + 1] * (k - t)}[product]
                matrix = np.eye(direct.shape[-1])
                for j in chain:
                    matrix = matrix @ jacobians[j]
                totals[t] += np.einsum("bij,bi->bj", matrix, direct[k])
        return totals

    np.testing.assert_allclose(double_sum("ordered"), ordered[1:], rtol=1e-12, atol=1e-13)
    for wrong in ("reversed", "power"):
        gradients = immediate_gradients(path, double_sum(wrong))
        for name in cell.parameters:
            assert np.linalg.norm(gradients[name] - expected[name]) > 1e-4 * np.linalg.norm(expected[name]), (wrong, name)


def test_one_step_has_no_product() -> None:
    values, dy, dfinal = sequence(GRU, steps=1)
    explicit, expected = explicit_gradients(GRU, values, SIZES, dy, dfinal), recursion(GRU, values, dy, dfinal)
    for name, gradient in expected.items():
        np.testing.assert_allclose(explicit[name], gradient, rtol=1e-11, atol=1e-12)


def test_latex_of_the_explicit_sum() -> None:
    assert explicit_latex(GRU, "U_r") == (
        r"\frac{\partial L}{\partial U_{r}} = \sum_{t} \sum_{k \ge t} \left(\frac{\partial^{+} h_{t}}{\partial U_{r}}\right)^{\top} "
        r"\left(\frac{\partial h_{t+1}}{\partial h_{t}}\right)^{\top} \cdots \left(\frac{\partial h_{k}}{\partial h_{k-1}}\right)^{\top} "
        r"\frac{\partial L_{k}}{\partial h_{k}}"
    )
    assert explicit_latex(LSTM, "W_f").endswith(r"\qquad \mathbf{s}_{t} = \begin{bmatrix} c_{t} \\ h_{t} \end{bmatrix}")
    with pytest.raises(ValueError, match="no explicit sum for `x`"):
        explicit_latex(LSTM, "x")


# Tangents as an explicit sum


@EVERY
def test_the_explicit_sum_of_tangents_is_forward_mode(cell: Cell) -> None:
    """Against the derivative of the cell's text along the direction, by PyTorch."""
    p = drawn(cell, steps=4)
    along = directions(p, 1)
    explicit = explicit_tangents(cell, {**cell.array_constants, **p.arrays}, SIZES, along)
    names = tuple(dict.fromkeys((*cell.states, cell.output)))

    def states(moved: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return what the explicit sum is of, after each step."""
        rows, state = [], {state: moved[previous(state)] for state in cell.states}
        for t in range(p.steps):
            inputs = {name: moved[name][t : t + 1] for name in cell.inputs}
            given = {name: moved[name] for name in cell.parameters}
            y, state = unroll(cell, inputs, given, state, torch, context={name: moved[name] for name in cell.context})
            rows.append(torch.cat([torch.reshape({**state, cell.output: y[0]}[name], (p.batch, -1)) for name in names], dim=-1))
        return torch.stack(rows)

    rest = {name: torch.tensor(value) for name, value in p.arrays.items() if name not in along}
    start, direction = (tuple(torch.tensor(arrays[name]) for name in along) for arrays in (p.arrays, along))
    _, expected = torch.autograd.functional.jvp(lambda *moved: states(rest | dict(zip(along, moved, strict=True))), start, direction)
    np.testing.assert_allclose(explicit, expected.numpy(), rtol=1e-10, atol=1e-11 * float(expected.abs().max()))


def test_latex_of_the_explicit_sum_of_tangents() -> None:
    assert explicit_tangent_latex(GRU) == (
        r"\dot{h}_{k} = \sum_{t=1}^{k} \frac{\partial h_{k}}{\partial h_{k-1}} \cdots \frac{\partial h_{t+1}}{\partial h_{t}} "
        r"\left(\frac{\partial^{+} h_{t}}{\partial \theta}\, \dot{\theta} + \frac{\partial^{+} h_{t}}{\partial x_{t}}\, \dot{x}_{t}\right)"
        r" + \frac{\partial h_{k}}{\partial h_{k-1}} \cdots \frac{\partial h_{1}}{\partial h_{0}}\, \dot{h}_{0}"
    )
    assert r"\dot{\mathbf{s}}_{k} = " in explicit_tangent_latex(LSTM)
    with pytest.raises(ValueError, match="a cell with states is needed"):
        explicit_tangent_latex(Cell("y = tanh(W @ x)", name="readout", output="y"))
