"""Names: those that look like a value of another step are no parameters, and one name is one name however it is typed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from derive import Cell, CellError
from derive.cells import REGISTRY
from derive.package import contents
from derive.package.folder import write

EARLIER = """
h_tm1 h_old h_last h_previous h_t1 h_t_1 h_tm_1 h_tminus1 h_t_minus_1 h_minus1 h_m1 h_before h_past h_lag h_lag1 h_prv hprev hprevious htm1
h_Prev h_PREV h_prev1 prev_h previous_h last_h old_h prevh Last_h h_perv h_prevv
"""


def lstm(name: str) -> str:
    """Return an LSTM whose state at the step before is called `name`."""
    return "\n".join(
        [
            *(f"{gate} = sigmoid(W_{gate} @ x + U_{gate} @ {name} + b_{gate})" for gate in "ifo"),
            f"c = f * c_prev + i * tanh(W @ x + U @ {name})",
            "h = o * tanh(c)",
        ]
    )


def made(text: str, output: str = "h", **options: Any) -> Cell:
    return Cell(text, name="cell", output=output, **options)


def refusal(text: str, output: str = "h", **options: Any) -> str:
    with pytest.raises(CellError) as caught:
        made(text, output, **options)
    return caught.value.message


# Values of another step


def test_an_element_of_an_earlier_value_is_no_parameter() -> None:
    assert refusal("h = h_prev[0] + x") == "`h_prev` is a value of the step before: only parameters have numbers"


@pytest.mark.parametrize("name", EARLIER.split())
def test_an_earlier_value_is_no_parameter(name: str) -> None:
    for text in (lstm(name), f"h = tanh(W @ x + U @ {name} + b)"):
        message = refusal(text)
        assert message.startswith(f"`{name}` ") and "`h_prev`" in message and f'`shapes={{"{name}": …}}`' in message


@pytest.mark.parametrize("declared", [{"shapes": {"h_old": "n"}}, {"fixed": ("h_old",)}])
def test_it_may_be_declared_a_parameter(declared: dict[str, Any]) -> None:
    assert "h_old" in made("h = tanh(W @ x + U @ h_old)", **declared).parameters


def test_an_assigned_name_may_be_called_so() -> None:
    it = made("h_last = h_prev\nh = tanh(W @ x + U @ h_last + V @ h_last_prev)")
    assert it.states == ("h_last", "h")


def test_names_of_other_things_are_left_alone() -> None:
    for name in ("h_0", "h_1", "h_init", "hold", "h_t0", "c_old", "b_last", "thm1", "tm1"):
        assert name in made(f"h = tanh(W @ x + U @ {name})").parameters
    assert f"h_prev{'9' * 5000}" in made(f"h = x + h_prev{'9' * 5000}").parameters
    assert all(cell.parameters is not None for cell in REGISTRY.values())


def test_two_steps_back() -> None:
    for name in ("h_tm2", "h_t2", "h_prev2", "h_t_minus_2"):
        assert "2 steps back: keep the older value in a state of its own, `h_last = h_prev`" in refusal(f"h = tanh(W @ x + U @ {name})")


def test_an_earlier_input() -> None:
    message = "`x_tm1` looks like the input `x` at an earlier step: an input has no previous value: assign it to a state, `x_last = x`"
    assert message in refusal("h = tanh(W @ x + U @ x_tm1)")


@pytest.mark.parametrize("name", ["h_prev", "h_tm1", "h_old", "h_t_1", "prev_h"])
def test_equations_that_assign_a_name_with_its_step(name: str) -> None:
    message = refusal(f"h_t = tanh(W @ x + U @ {name} + b)", "h_t")
    assert "write `h` for what the text calls `h_t`, and `h_prev` for its value at the step before" in message


def test_a_name_with_its_step_is_free_where_nothing_else_is_meant() -> None:
    assert made("h_t = tanh(W @ x + U @ h_t_prev)", "h_t").states == ("h_t",)


def test_this_step() -> None:
    message = "`x_t` looks like `x` at this step, which is written `x`"
    assert refusal("i = sigmoid(W @ x_t)\nh = i * tanh(V @ x_t) + h_prev + x").startswith(message)


# One name, however it is typed: Python reads the micro sign as the Greek letter

MICRO, MU = "\u00b5", "\u03bc"


def test_constants_and_shapes() -> None:
    for typed in (MICRO, MU):
        for written in (MICRO, MU):
            it = made(f"h = {typed} * h_prev + W @ x + x ** {typed} @ v", constants={written: 2}, shapes={"v": "d"})
            assert it.parameters == ("W", "v") and it.scalar_constants == {MU: 2}
    it = made(f"h = {MICRO} * h_prev + W @ x", shapes={MICRO: ""}, fixed=(MICRO,), init={MICRO: 0.5}, latex={MICRO: "m"})
    assert it.fixed == (MU,) and it.shapes[MU] == () and it.init == {MU: 0.5} and it.latex == {MU: "m"}


def test_inputs_outputs_and_sizes() -> None:
    it = made(f"{MICRO} = W @ {MICRO}x + V @ {MU}v", MICRO, inputs=(f"{MICRO}x",), context=(f"{MICRO}v",), shapes={f"{MU}v": MICRO})
    assert (it.output, it.inputs, it.context) == (MU, (f"{MU}x",), (f"{MU}v",)) and MU in it.sizes
    values = {f"{MICRO}x": np.ones((2, 3)), f"{MICRO}v": np.ones((2, 4)), "W": np.ones((5, 3)), "V": np.ones((5, 4))}
    assert it.evaluate(values, np)[MU].tolist() == [[7.0] * 5] * 2


def test_replace() -> None:
    it = made(f"h = {MU} * h_prev + W @ x", shapes={MU: ""})
    assert it.replace(**{MICRO: "0.5"}).parameters == ("W",)


def test_one_name_twice() -> None:
    assert f"`{MU}` is given twice" in refusal(f"h = {MU} * h_prev + W @ x", constants={MU: 1, MICRO: 2})
    assert "already declared" in refusal(f"h = {MU} * h_prev + W @ x", inputs=("x", MU, MICRO))


def test_a_ligature() -> None:
    assert made("h = ﬁrst * h_prev + W @ x", constants={"ﬁrst": 0.5}).parameters == ("W",)


# Numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -np.inf, np.float32("nan"), "nan", "inf", "1 - inf", "NaN"])
def test_no_number_is_put_for_a_name(value: Any) -> None:
    with pytest.raises(CellError, match=r"finite"):
        made("h = a * h_prev + W @ x", shapes={"a": ""}).replace(a=value)


@pytest.mark.parametrize("name", ["nan", "inf", "NaN", "Inf", "infinity"])
def test_no_number_is_a_name(name: str) -> None:
    assert "is not a number of the language: numbers are finite" in refusal(f"m = maximum(m_prev, -{name})\nh = m * x")
    assert "is not a number of the language" in refusal("h = x", constants={name: 1.0})


# Names of cells


@pytest.mark.parametrize("name", ["__init__", "__class__", "_cell", "a" * 101, "é" * 51, "lambda", "a b", "", 3, None])
def test_cells_that_cannot_be_modules(name: Any) -> None:
    with pytest.raises(CellError, match="the name of a cell"):
        Cell("h = tanh(W @ x)", name=name, output="h")


def test_a_cell_is_called_as_python_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Cell("h = tanh(W @ x)", name=MICRO, output="h")
    write(contents.files([it, Cell("h = W @ x", name="a" * 100, output="h")], cuda=False), tmp_path / "kernels_of_names")
    monkeypatch.syspath_prepend(tmp_path)
    namespace: dict[str, Any] = {}
    try:
        exec(f"from kernels_of_names import {MICRO}, {'a' * 100}", namespace)
    finally:
        for module in [name for name in sys.modules if name.startswith("kernels_of_names")]:
            del sys.modules[module]
    assert namespace[MU].Params._fields == ("W",)
