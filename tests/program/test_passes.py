"""What each pass does to a derivation; that it changes no value is shown for every cell in `test_cells` and by the fuzzer."""

from __future__ import annotations

import pytest
import sympy as sp

from derive import Cell
from derive.calculus.chain import BACKWARD, FORWARD
from derive.calculus.derivation import differentiate
from derive.calculus.ir import Concat, Map, MatVec, MatVecT, Outer, Recurrence, Slice, Total
from derive.calculus.second import BY_INPUTS, THROUGH, TWICE, second_order
from derive.cells import get
from derive.language.sizes import Size
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


def concatenations(rec: Recurrence) -> list[tuple[str, ...]]:
    """Return the parts of what is concatenated at each step."""
    return [eq.node.parts for eq in rec.body if isinstance(eq.node, Concat)]


def test_concatenations_that_share_parts_lie_in_one() -> None:
    """With `h`, the GRU's cotangents of gates are summed beside one of the candidate, and with `x` beside another."""
    rec = after("stack", get("gru"))[BACKWARD].recurrence
    (parts,) = concatenations(rec)
    assert parts == ("delta_g", "delta_z", "delta_r", "dU_n_h_prev")
    where = {eq.name: parts[k : k + 3] for eq in nodes(rec, Slice) for k in (0, 1) if eq.node.start == Size((("n", k),) if k else ())}
    read = ({eq.node.left for eq in nodes(rec, Outer)}, {eq.node.vector for eq in nodes(rec, MatVecT)})
    assert all({where[name] for name in names} == {parts[:3], parts[1:]} for names in read)


def test_one_concatenation_lies_in_another() -> None:
    assert concatenations(after("stack", get("gru_v3"))[BACKWARD].recurrence) == [("delta_g", "delta_z", "delta_r")]


def test_a_concatenation_that_is_read_before_the_other_can_be_made_stays() -> None:
    text = "a = A @ x + B @ h_prev\nb = C @ x + D @ h_prev\ng = G @ x + E @ tanh(a * b)\nh = tanh(g)"
    rec = after("stack", Cell(text, name="early", output="h"))[BACKWARD].recurrence
    place = {eq.name: k for k, eq in enumerate(rec.body)}
    for eq in nodes(rec, Concat):
        assert all(place.get(part, -1) < place.get(eq.name, len(place)) for part in eq.node.parts)


def test_plain_sums_come_with_those_of_outer_products() -> None:
    rec = after("stack", get("gru"))[BACKWARD].recurrence
    lefts = {eq.node.left for eq in nodes(rec, Outer)}
    assert {eq.node.value for eq in nodes(rec, Total)} == lefts


def test_a_gradient_by_a_context_is_a_sum_for_each_sequence() -> None:
    """What is summed for all sequences together is no place for it."""
    cell = Cell(
        "q = W @ x + 0.5 * q_prev + mean(v)\nh = u + U @ x + 0 * q", name="driven", output="h", context=("u", "v"), shapes={"v": "p"}
    )
    for _, derivation in stages(cell):
        rec = derivation[BACKWARD].recurrence
        assert rec.types["du"].batched and any(eq.name == "du" and isinstance(eq.node, Total) for eq in rec.accumulators)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("lstm", {"dc", "dh"}),
        ("gru", {"dh"}),
        ("gru_v3", {"U_hT_delta_g", "dh"}),
        ("slstm", {"dc", "dh", "dit", "dlf", "dnn", "do"}),
    ],
)
def test_second_order_stacks_what_it_makes_again(name: str, kept: set[str]) -> None:
    """A row of all gates would take as much memory as all else that a step keeps."""
    found = compile_cell(get(name), 2)
    assert {field.value for field in found[BACKWARD].keeps} == kept
    (whole,) = (parts for parts in concatenations(found[BACKWARD].link.recurrence) if any(part.startswith("delta_") for part in parts))
    for link in (TWICE, BY_INPUTS):
        rec = found[link].link.recurrence
        assert whole in concatenations(rec) and {*whole} & {*rec.sequences} == {*whole} & kept


def test_nothing_has_the_name_of_what_its_link_reads() -> None:
    found = compile_cell(get("gru"), 2)
    for link in found:
        made = {eq.name for eq in link.link.recurrence.equations()}
        assert made.isdisjoint(link.link.reads)


@pytest.mark.parametrize("name", ["lstm", "linear_attention"])
def test_a_name_of_what_is_stacked_means_one_thing_in_all_links(name: str) -> None:
    """Formulas of a link are written with those of the links that it reads."""
    made: dict[str, object] = {}
    for link in compile_cell(get(name), 2):
        for eq in link.link.recurrence.equations():
            if isinstance(eq.node, Concat) and eq.name not in link.link.reads:
                assert made.setdefault(eq.name, eq.node) == eq.node


def test_functions_that_a_link_computes_anyway_cost_nothing() -> None:
    """ō = h̄ ⊙ tanh(c) is no value of the tape: double backward takes the hyperbolic tangent of c as it is."""
    found = compile_cell(get("lstm"), 2)
    assert "do" not in found[TWICE].link.reads and "do" in {eq.name for eq in found[TWICE].link.recurrence.body}


def spaces(name: str, link: str, order: int = 2) -> dict[str, str]:
    return {array.name: array.space for array in compile_cell(get(name), order)[link].program.arrays.values()}


@pytest.mark.parametrize(
    ("name", "link", "order", "found"),
    [
        ("lstm", FORWARD, 2, set()),
        ("lstm", BACKWARD, 1, {"delta_ogfi_rows"}),
        ("lstm", BACKWARD, 2, {"delta_ogfi_rows"}),
        ("slstm", BACKWARD, 2, {"deltas_rows"}),
        ("lstm", BY_INPUTS, 2, {"delta_ogfi_rows", "ddh_prev_next_2_copy_rows"}),
        ("lstm", THROUGH, 2, {"deltas_5_rows"}),
        ("rnn", BACKWARD, 2, {"delta_h_rows"}),
        ("rnn", BY_INPUTS, 2, {"delta_h_rows", "ddh_prev_next_2_copy_rows"}),
    ],
)
def test_what_only_follows_the_loop_reads_has_memory_for_a_piece(name: str, link: str, order: int, found: set[str]) -> None:
    assert {array for array, space in spaces(name, link, order).items() if space == "piece"} == found
    program = compile_cell(get(name), order)[link].program
    assert program.in_pieces == bool(found) and not program.over_time().in_pieces


def test_sums_for_each_sequence_are_of_all_steps() -> None:
    cell = Cell("h = tanh(U @ h_prev + u)", name="u", output="h", inputs=(), context=("u",), shapes={"u": "n"})
    assert not compile_cell(cell)[BACKWARD].program.in_pieces


def test_delta_is_made_again_where_it_is_summed() -> None:
    """It takes a multiplication of what is read anyway: no tape holds it, and no product asks for it before the loop."""
    found = compile_cell(get("rnn"), 2)
    assert {field.value for field in found[BACKWARD].keeps} == {"dh"}
    assert [field.value for field in found[FORWARD].keeps] == ["h"]
    regions = hoist(found[TWICE].link.recurrence)
    assert "delta_h" in {eq.name for eq in regions.loop} and {"dx", "dh_prev"} <= {eq.name.rsplit("_", 1)[0] for eq in regions.after}


def test_zeros_are_not_handed_out() -> None:
    for name in ("rnn", "lstm", "gru"):
        derived = second_order(differentiate(get(name)))
        zero = {eq.name for eq in derived[BY_INPUTS].recurrence.body if isinstance(eq.node, Map) and eq.node.expr == 0}
        assert zero and zero <= {*derived[BY_INPUTS].handed}
        assert zero.isdisjoint(compile_cell(get(name), 2)[BY_INPUTS].link.handed)


def test_what_several_links_compute_is_read_or_computed_again_but_not_both() -> None:
    """`z` is a slice that the backward pass makes again; double backward, which reads both passes, needs it for values of either."""
    text = """
dW, z = split(sin(q @ (s / (1 + (tau.T @ (s2 @ hard_tanh(i @ (cos(beta) + x / (softplus(x) + 0.1) + x)))) ** 2))), 2)
tau2 = final
f2 = maximum(where(u @ (f.T @ minimum(final, layer_norm(2 / (softplus(p @ [x]) + 0.1)))) > 0.001, z, 0.1), 1)
m = w.T
R = softplus(first)
W = tanh(sum(dx) * dW) * f2 + u @ f2 + s
"""
    shapes = {
        "x": "n",
        "dx": "d",
        "q": "2*p, p",
        "s": "p",
        "tau": "d, p",
        "s2": "d, p",
        "i": "p, n",
        "beta": "n",
        "final": "3",
        "tau2": "3",
    }
    shapes |= {"u": "p, p", "f": "3, p", "p": "3, n", "f2": "p", "w": "n, 3", "first": "", "R": "", "W": "p"}
    cell = Cell(text, name="twice", output="f2", context=("dx",), fixed=("beta", "u"), shapes=shapes)
    for link in compile_cell(cell, 2):
        rec = link.link.recurrence
        assert {eq.name for eq in rec.equations()}.isdisjoint(rec.inputs)
