"""What each pass does to a derivation; that it changes no value is shown for every cell in `test_cells` and by the fuzzer."""

from __future__ import annotations

import pytest
import sympy as sp

from derive import Cell
from derive.calculus.chain import BACKWARD, FORWARD
from derive.calculus.ir import Concat, Map, MatVec, MatVecT, Outer, Recurrence
from derive.cells import get
from derive.program.passes.hoist import hoist
from derive.program.pipeline import PASSES, compile_cell, stages


def nodes(rec: Recurrence, kind: type) -> list:
    return [eq for eq in rec.equations() if isinstance(eq.node, kind)]


def after(name: str, cell: Cell):
    return dict(stages(cell))[name]


def test_every_pass_is_a_stage() -> None:
    assert [name for name, _ in stages(get("lstm"))] == ["differentiate", *(name for name, _ in PASSES)]


def test_products_of_one_operand_are_stacked() -> None:
    derivation = after("stack", get("lstm"))
    assert {eq.node.vector for eq in nodes(derivation[FORWARD].recurrence, MatVec)} == {"x", "h_prev"}
    assert len(nodes(derivation[FORWARD].recurrence, MatVec)) == 2
    assert len(nodes(derivation[BACKWARD].recurrence, MatVecT)) == 2  # δ to h_prev and to x
    assert len(nodes(derivation[BACKWARD].recurrence, Outer)) == 2


def test_a_product_with_another_operand_is_left_alone() -> None:
    products = nodes(after("stack", get("gru_v3"))[FORWARD].recurrence, MatVec)
    assert len(products) == 3  # all of x, two of h_prev, one of r * h_prev


@pytest.mark.parametrize(
    ("name", "saved"),
    [
        ("rnn", {"h", "h_prev"}),
        ("lstm", {"c", "c_prev", "h_prev", "i", "f", "g", "o"}),
        ("gru", {"h_prev", "r", "z", "g", "U_n_h_prev"}),
        ("gru_v3", {"h_prev", "r", "z", "g"}),
        ("gru_v3_concat", {"h_prev", "r", "z", "g"}),
        ("linear", set()),
        ("softmax_cross_entropy", {"lse_a"}),
    ],
)
def test_only_what_the_adjoint_needs_is_saved(name: str, saved: set[str]) -> None:
    assert set(compile_cell(get(name)).derivation.saved(FORWARD)) == saved


def test_states_are_kept_once() -> None:
    """`c` and `c_prev` are rows of one array, which has a row before the first step."""
    tape = {field.value: field.state for field in compile_cell(get("lstm"))[FORWARD].keeps}
    assert tape == {"c": True, "h": True, "f": False, "g": False, "i": False, "o": False}


def test_sums_are_folded_into_products() -> None:
    (carried,) = [eq for eq in after("accumulate", get("gru"))[BACKWARD].recurrence.body if eq.name == "dh_prev"]
    assert isinstance(carried.node, MatVecT) and carried.node.plus == "dh_prev_rest"


@pytest.mark.parametrize("text", ["s = U @ s_prev\nh = s + 0.5 * h_prev + x", "s = U @ h_prev\nh = s + where(x > 0, s, 0)"])
def test_a_product_that_is_read_elsewhere_is_formed_once(text: str) -> None:
    cell = Cell(text, name="read_twice", output="h", shapes={"x": "n", "s": "n", "U": "n, n"})
    assert len(nodes(after("accumulate", cell)[FORWARD].recurrence, MatVec)) == 1


def test_states_that_are_products_stay_when_their_sum_is_stacked() -> None:
    cell = Cell("a = A.T @ a_prev\nb = B.T @ b_prev\nh = a + b + x", name="summed", output="h", shapes={"x": "n", "a": "n", "b": "n"})
    assert {eq.name for eq in nodes(after("stack", cell)[FORWARD].recurrence, MatVecT)} == {"a", "b"}


def test_a_row_is_divided_by_its_standard_deviation_once() -> None:
    derivation = after("invert", get("lstm_layernorm"))
    for link in derivation:
        inverses = [eq.name for eq in link.recurrence.body if eq.name.startswith("inverse_")]
        assert sorted(inverses) == ["inverse_std_U_h_prev", "inverse_std_W_x", "inverse_std_c"]
        vectors = [eq.node for eq in nodes(link.recurrence, Map) if link.recurrence.types[eq.name].shape]
        assert not any(f.is_Pow and f.exp == -1 for node in vectors for f in sp.preorder_traversal(node.expr))


def test_shared_functions_are_named() -> None:
    derivation = after("share", get("lstm"))
    assert [str(eq.node.expr) for eq in derivation[BACKWARD].recurrence.body if eq.name == "tanh_c"] == ["tanh(c)"]


def test_functions_of_parameters_leave_the_loop() -> None:
    cell = Cell("h = sigmoid(a) * tanh(W @ x + U @ h_prev)", name="scaled", output="h", shapes={"a": ""})
    derivation = after("share", cell)
    assert "sigmoid_a" in {eq.name for eq in derivation[FORWARD].recurrence.prologue}


def test_regions_of_the_lstm() -> None:
    compiled = compile_cell(get("lstm"))
    forward, backward = hoist(compiled.derivation[FORWARD].recurrence), hoist(compiled.derivation[BACKWARD].recurrence)
    assert [eq.name for eq in forward.before if isinstance(eq.node, MatVec)] == ["W_ifgo_x"]
    assert not forward.after and not forward.once
    assert [eq.name for eq in backward.after] == ["dx"]


def test_a_readout_leaves_the_loop() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev)\ny = V @ h", name="with_readout", output="y", shapes={"V": "m, n"})
    regions = hoist(compile_cell(cell).derivation[FORWARD].recurrence)
    assert [eq.name for eq in regions.after] == ["y"]


def test_what_depends_on_a_context_only_is_computed_once() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev + tanh(V @ v))", name="captioner", output="h", context=("v",), shapes={"v": "k"})
    regions = hoist(compile_cell(cell).derivation[FORWARD].recurrence)
    assert [eq.node for eq in regions.once] == [MatVec("V", "v")]
    assert set(compile_cell(cell).derivation.saved(FORWARD)) == {"h", "h_prev"}


def test_a_cell_without_states_has_no_loop() -> None:
    compiled = compile_cell(get("softmax_readout"))
    assert not any(link.program.loop for link in compiled)


def test_parts_of_a_concatenation_are_stored_in_place() -> None:
    program = compile_cell(get("lstm"))[BACKWARD].program
    (stage,) = [s for s in program.loop if s.loops]
    stores = {c.equation.name: c.stores for loop in stage.loops for c in loop.computes}
    whole = {stores[f"delta_{g}"][0].array for g in "ifgo"}
    assert len(whole) == 1 and len({stores[f"delta_{g}"][0].start for g in "ifgo"}) == 4
    assert not any(isinstance(eq.node, Map) and eq.name.endswith("_copy") for eq in program.rec.body)
    assert any(isinstance(eq.node, Concat) for eq in program.rec.body)
