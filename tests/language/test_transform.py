"""Transformations of definitions: which equations they make, what they take together, and what they refuse."""

from __future__ import annotations

import pytest

from derive import Cell, CellError, masked, recurrent_dropout, resettable, residual, transformed, zoneout
from derive.cells import REGISTRY
from derive.language.transform import TRANSFORMATIONS

RNN, LSTM, SLSTM = REGISTRY["rnn"], REGISTRY["lstm"], REGISTRY["slstm"]


def lines(cell: Cell) -> list[str]:
    return cell.text.splitlines()


def test_zoneout_keeps_what_the_step_before_had() -> None:
    cell = zoneout(RNN)
    assert lines(cell) == ["h_new = tanh(W @ x + U @ h_prev + b)", "h = zoneout_h * h_prev + (1 - zoneout_h) * h_new"]
    assert (cell.name, cell.inputs, cell.fixed) == ("rnn_zoneout", ("x", "zoneout_h"), ("zoneout_h",))
    assert cell.shapes["zoneout_h"] == cell.shapes["h"]


def test_zoneout_of_some_states() -> None:
    """What the other states are made of stays what the step makes: h of the new c."""
    cell = zoneout(LSTM, states=["c"], name="kept")
    assert lines(cell)[-3:] == ["c_new = f * c_prev + i * g", "h = o * tanh(c_new)", "c = zoneout_c * c_prev + (1 - zoneout_c) * c_new"]
    assert (cell.name, cell.inputs) == ("kept", ("x", "zoneout_c"))


def test_an_output_map_reads_the_state_that_is_handed_on() -> None:
    cell = Cell("h = tanh(W @ x + U @ h_prev)\ny = V @ h", name="own", output="y")
    assert lines(masked(cell))[-2:] == ["h = where(mask > 0, h_step, h_prev)", "y = V @ h"]


def test_recurrent_dropout_leaves_what_is_kept_alone() -> None:
    cell = recurrent_dropout(REGISTRY["gru_v3"])
    assert lines(cell)[0] == "h_dropped = dropout_h * h_prev"
    assert lines(cell)[-2:] == ["g = tanh(W_h @ x + U_h @ (r * h_dropped) + b_h)", "h = (1 - z) * g + z * h_prev"]
    assert (cell.inputs, cell.context) == (("x",), ("dropout_h",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v = [h_prev, x]\nh = tanh(W @ v)", "v = [h_dropped, x]"),  # read as a factor alone
        ("v = [h_prev, x]\nh = tanh(W @ v) + sum(v)", None),  # read besides
        ("p = r * h_prev\nq = p + x\nh = tanh(W @ q)", "p = r * h_dropped"),
    ],
)
def test_what_a_matrix_multiplies_is_found_through_names(text: str, expected: str | None) -> None:
    cell = Cell(text, name="own", output="h", shapes={"r": "n"} if "r" in text.split() else None)
    if expected is None:
        with pytest.raises(CellError, match="no matrix multiplies h of own"):
            recurrent_dropout(cell)
    else:
        assert expected in lines(recurrent_dropout(cell))


def test_masked_hides_the_input_too() -> None:
    assert lines(masked(RNN)) == [
        "x_seen = where(mask > 0, x, 0)",
        "h_step = tanh(W @ x_seen + U @ h_prev + b)",
        "h = where(mask > 0, h_step, h_prev)",
    ]


def test_a_reset_gives_each_state_its_first_value() -> None:
    assert lines(resettable(SLSTM))[:2] == ["m_start = where(reset > 0, -1e30, m_prev)", "c_start = where(reset > 0, 0, c_prev)"]


def test_residual_makes_one_size_of_two() -> None:
    cell = residual(RNN)
    assert (lines(cell)[-1], cell.output, cell.states, cell.sizes) == ("y = x + h", "y", ("h",), ("n",))
    assert residual(cell).text.splitlines()[-1] == "y_ = x + y"


def test_together_they_lie_in_one_order() -> None:
    """A reset clears before zoneout keeps, and a mask hides the input from all."""
    cell = transformed(RNN, ["resettable", "zoneout", "masked", "residual", "recurrent_dropout"])
    assert cell.name == "rnn_recurrent_dropout_zoneout_residual_masked_resettable"
    assert lines(cell) == [
        "h_start = where(reset > 0, 0, h_prev)",
        "x_seen = where(mask > 0, x, 0)",
        "h_dropped = dropout_h * h_start",
        "h_new = tanh(W @ x_seen + U @ h_dropped + b)",
        "h_step = zoneout_h * h_start + (1 - zoneout_h) * h_new",
        "h = where(mask > 0, h_step, h_start)",
        "y = x_seen + h",
    ]


def test_names_that_the_cell_has_are_left_alone() -> None:
    cell = Cell("h_new = W @ x\nh = tanh(h_new + U @ h_prev)", name="own", output="h")
    assert lines(zoneout(cell))[1] == "h_new_ = tanh(h_new + U @ h_prev)"


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_a_cell_of_any_kind(transformation: str) -> None:
    """Each cell of the literature is transformed, or the reason why not is told."""
    for cell in REGISTRY.values():
        try:
            found = transformed(cell, [transformation])
        except CellError as error:
            told = any(
                text in str(error) for text in ("no matrix multiplies", "is a matrix, and a mask is a vector", "output for each head")
            )
            assert not cell.states or told or (transformation, cell.name) == ("residual", "lstmp")
        else:
            assert {*found.states} == {*cell.states}
            if all(len(cell.shapes[state]) < 2 for state in cell.states):  # else some states may have no mask, and stand before the others
                assert found.states == cell.states
            assert set(found.parameters) == set(cell.parameters)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: zoneout(REGISTRY["linear"]), "zoneout: linear has no state"),
        (lambda: zoneout(LSTM, states=["d"]), "zoneout: `d` is no state of lstm"),
        (lambda: recurrent_dropout(LSTM, states=["c"]), "no matrix multiplies c of lstm: there is nothing to drop"),
        (lambda: masked(masked(RNN)), "masked: rnn_masked has a `mask` already"),
        (
            lambda: zoneout(REGISTRY["mlstm"], states=["n", "m"]),
            "`m` of mlstm is a number of each head, and a mask is a vector",
        ),
        (lambda: recurrent_dropout(REGISTRY["plasticity"], states=["Q"]), "`Q` of plasticity is a matrix, and a mask is a vector or a"),
        (lambda: residual(REGISTRY["deltanet"]), "deltanet has an output for each head, which an input is not"),
        (lambda: transformed(RNN, ["zonout"]), "there is no transformation `zonout` (did you mean `zoneout`?)"),
        (lambda: residual(Cell("h = tanh(U @ h_prev)", name="own", output="h", inputs=())), "own has no input to add to its output"),
    ],
)
def test_what_cannot_be(make, said: str) -> None:
    with pytest.raises(CellError) as error:
        make()
    assert said in str(error.value)


def test_each_head_has_its_part_of_a_mask() -> None:
    found = zoneout(REGISTRY["slstm_heads"], states=["h"])
    assert "h = part(zoneout_h) * h_prev + (1 - part(zoneout_h)) * h_new" in lines(found)
    assert str(found.shapes["zoneout_h"][0]) == "H*n" and found.states == REGISTRY["slstm_heads"].states
    assert zoneout(REGISTRY["fast_weights"]).inputs == ("x", "zoneout_h")  # and none for the matrix beside it


def test_what_is_fixed_may_be_given() -> None:
    """An input and a context without a gradient, and a name that is neither."""
    cell = Cell(
        "h = tanh(m * (W @ x)) * k", name="own", output="h", inputs=("x", "m"), context=("k",), fixed=("m", "k"), shapes={"m": "", "k": ""}
    )
    assert cell.without_gradient == {"m", "k"}
    with pytest.raises(CellError, match="fixed: `h` is not a parameter, an input or a context"):
        Cell("h = tanh(W @ x)", name="own", output="h", fixed=("h",))
