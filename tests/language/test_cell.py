"""What a cell knows of itself, what it refuses, and what `replace` makes of it."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import pytest

from derive.cell import Cell
from derive.language.errors import CellError

LSTM = """
    i = sigmoid(W_i @ x + U_i @ h_prev + b_i)
    f = sigmoid(W_f @ x + U_f @ h_prev + b_f)
    g = tanh(W_g @ x + U_g @ h_prev + b_g)
    o = sigmoid(W_o @ x + U_o @ h_prev + b_o)
    c = f * c_prev + i * g
    h = o * tanh(c)
"""
GRU = """
    r = sigmoid(W_r @ x + U_r @ h_prev + b_r)
    z = sigmoid(W_z @ x + U_z @ h_prev + b_z)
    g = tanh(W_n @ x + b_in + r * (U_n @ h_prev + b_hn))
    h = (1 - z) * g + z * h_prev
"""


def lstm(**options: object) -> Cell:
    return Cell(LSTM, name="lstm", output="h", **options)  # type: ignore[arg-type]


def gru(**options: object) -> Cell:
    return Cell(GRU, name="gru", output="h", **options)  # type: ignore[arg-type]


def cell(text: str, output: str = "h", **options: object) -> Cell:
    return Cell(text, name="c", output=output, **options)  # type: ignore[arg-type]


def test_attributes_of_the_lstm() -> None:
    it = lstm()
    assert it.states == ("c", "h")
    assert it.parameters == ("W_i", "U_i", "b_i", "W_f", "U_f", "b_f", "W_g", "U_g", "b_g", "W_o", "U_o", "b_o")
    assert it.sizes == ("d", "n") and it.equal_sizes == () and it.integers == frozenset()
    assert it.batched == {"x", "h_prev", "c_prev", "i", "f", "g", "o", "c", "h"}


def test_names_are_free() -> None:
    it = cell("T = tanh(np @ x + params @ T_prev + n)\nB = T * y + d", "B")
    assert it.parameters == ("np", "params", "n", "y", "d") and it.states == ("T",)
    assert it.sizes == ("d", "n")


def test_parameter_only_values_are_not_batched() -> None:
    it = cell("a = exp(-exp(nu))\nh = a * h_prev + W @ x")
    assert "a" not in it.batched


def test_constants_keep_their_names_and_their_values() -> None:
    it = cell("h = h_prev + dt * (A @ h_prev) ** p + W @ x", constants={"dt": 0.1, "p": 2, "A": [[0.0, 1.0], [1.0, 0.0]]})
    assert it.parameters == ("W",)
    assert it.scalar_constants == {"dt": 0.1, "p": Fraction(2)}
    assert set(it.array_constants) == {"A"} and not it.array_constants["A"].flags.writeable


def test_equality_is_by_content() -> None:
    constants = [{"A": np.eye(2)}, {"A": np.eye(2)}, {"A": 2 * np.eye(2)}]
    a, b, c = (cell("h = A @ h_prev + W @ x", constants=k) for k in constants)
    assert a == b and hash(a) == hash(b) and a != c and a != lstm()
    assert pickle.loads(pickle.dumps(a)) == a


def test_families_of_names_are_no_typos() -> None:
    assert gru().parameters[-1] == "b_hn"
    cell("gate = sigmoid(W @ x + gate1)\nh = gate * h_prev")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("h = tanh(W @ x + U @ hh_prev)", {}, "`hh_prev` makes `hh` a state, but no line assigns `hh`"),
        ("h = tanh(W @ x + U @ c_prev)", {}, "`c_prev` makes `c` a state, but no line assigns `c`"),
        ("h = W @ x\nh = tanh(h)", {}, "`h` is assigned twice, first in line 1: give one of them another name"),
        ("x = W @ h_prev\nh = x", {}, "`x` is an input and cannot be assigned: choose another name"),
        ("h = c + W @ x\nc = h", {}, "`c` is used before it is assigned, in line 2: its value at the step before is `c_prev`"),
        ("h = tanh(W @ x)\nh_prev = h", {}, "`h_prev` is the value of `h` at the step before and cannot be assigned: assign `h`"),
        (
            "h = tanh(b) * x_prev + x",
            {},
            "`x` is an input, which has no previous value: assign it to a state, `x_last = x`, and read `x_last_prev`",
        ),
        ("h = W @ x + h_perv + U @ h_prev", {}, 'looks like `h_prev`; if it is a parameter, say so with `shapes={"h_perv": …}`'),
        ("gate = W @ x\nh = gate * gaet", {}, "`gaet` is used once and looks like `gate`"),
        ("h = W @ x", {"output": "y"}, "the output `y` is not assigned by any line"),
        ("h = W @ x", {"inputs": ("x", "u")}, "the input `u` is never used"),
        ("h = W @ x", {"inputs": "x"}, 'inputs needs a tuple of names, such as ("x",), not a text'),
        ("h = W @ x", {"fixed": ("V",)}, "fixed: `V` is not a parameter"),
        ("h = W @ x", {"init": {"h": 1.0}}, "init: `h` is not a parameter"),
        ("h = W @ x", {"init": {"W": float("nan")}}, "init: `W` needs a finite number or the name of a rule, not nan"),
        ("h = W @ x", {"latex": {"W": 1}}, "latex: `W` needs a text, not 1"),
        ("h = W @ x", {"shapes": {"V": "n"}}, "shapes: `V` is not a parameter, an input, a state or an assigned name"),
        ("h = W @ x", {"shapes": {"W": "n, k, l"}}, 'shapes: `W`: "n, k, l" has 3 axes'),
        ("h = W @ x", {"shapes": {"W": "n-1, d"}}, 'shapes: `W`: "n-1" is not a size'),
        ("h = W @ x", {"constants": {"dt": 0.1}}, "constants: `dt` is not a name that the text reads"),
        ("h = dt * x", {"constants": {"dt": "a"}}, "constants: `dt` needs a finite number or an array, not 'a'"),
        ("h = W @ x", {"context": ("x",)}, "context: `x` is already declared in inputs"),
    ],
)
def test_errors_of_names_and_declarations(text: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(CellError) as caught:
        cell(text, **options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_declaring_silences_the_typo_check() -> None:
    assert "h_perv" in cell("h = W @ x + h_perv + U @ h_prev", shapes={"h_perv": "n"}).parameters


def test_an_error_points_to_its_place() -> None:
    with pytest.raises(CellError) as caught:
        cell("\n    a = W @ x\n    h = tanh(a + U @ hh_prev)\n")
    error = caught.value
    assert (error.line, error.column) == (3, 21)
    assert str(error).splitlines()[1:] == ["    h = tanh(a + U @ hh_prev)", "                     ^"]


# replace


def test_a_constant_gate_is_folded_away() -> None:
    it = lstm(init={"b_f": 1.0, "b_o": 0.5}, latex={"o": "o"}).replace(o="1", name="lstm_open")
    assert it.text.splitlines()[-1] == "h = tanh(c)"
    assert it.name == "lstm_open" and "W_o" not in it.parameters
    assert it.init == {"b_f": 1.0} and it.latex == {}


def test_biases_vanish() -> None:
    it = gru().replace(b_r="0", b_z="0", b_in="0", b_hn=0)
    assert it.text == (
        "r = sigmoid(W_r @ x + U_r @ h_prev)\nz = sigmoid(W_z @ x + U_z @ h_prev)\n"
        "g = tanh(W_n @ x + r * (U_n @ h_prev))\nh = (1 - z) * g + z * h_prev"
    )


def test_degenerate_gates_leave_the_plain_network() -> None:
    assert gru().replace(r="1", z="0", b_hn="0").text == "g = tanh(W_n @ x + b_in + U_n @ h_prev)\nh = g"
    it = lstm().replace(i="1", f="0", o="1")
    assert it.text == "g = tanh(W_g @ x + U_g @ h_prev + b_g)\nc = g\nh = tanh(c)"
    assert it.states == ("h",)


def test_replace_by_an_expression_with_a_new_parameter() -> None:
    it = lstm().replace(f="1 - i", b_o="beta * b_c")
    assert it.text.splitlines()[1] == "f = 1 - i"
    assert {"beta", "b_c"} <= set(it.parameters) and "b_o" not in it.parameters


def test_a_constant_output_keeps_its_shape() -> None:
    it = lstm().replace(o="0")
    assert it.text == "h = 0" and it.shapes["h"] == lstm().shapes["h"] and it.inputs == ()


def test_replace_leaves_the_original_alone() -> None:
    original = lstm()
    original.replace(o="1")
    assert original == lstm()


@pytest.mark.parametrize(
    ("expressions", "message"),
    [({"q": "1"}, "replace: `q` is neither assigned nor a parameter"), ({"h_prev": "0"}, "replace: `h_prev` is neither")],
)
def test_replace_refuses_unknown_names(expressions: dict[str, str], message: str) -> None:
    with pytest.raises(CellError) as caught:
        lstm().replace(**expressions)  # type: ignore[arg-type]
    assert message in str(caught.value)
