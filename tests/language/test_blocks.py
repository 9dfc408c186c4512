"""Blocks, numbered parameters and functions of a cell's own: what they are read as, and what is refused where."""

from __future__ import annotations

import copy
import pickle

import pytest

from derive import Cell, CellError
from derive.language.transform import zoneout
from derive.language.unparse import unparse
from derive.language.vocabulary import MAX_COPIES, MAX_EQUATIONS

HIGHWAY = """
    z = tanh(W @ x + R[0] @ s_prev)
    for l in range(1, 4):
        t = sigmoid(R[l] @ z + l * b)   # a comment
        z = t * tanh(z) + (1 - t) * z

    s = z
"""


def plain(text: str, **options: object) -> list[str]:
    """Return the lines of a cell, written out."""
    return unparse(Cell(text, **{"name": "cell", "output": "h", **options}).equations).splitlines()  # type: ignore[arg-type]


def refused(text: str, **options: object) -> tuple[str, int, int]:
    with pytest.raises(CellError) as caught:
        Cell(text, **{"name": "cell", "output": "h", **options})  # type: ignore[arg-type]
    return caught.value.message, caught.value.line, caught.value.column


def test_a_block_is_written_out_and_each_name_assigned_once() -> None:
    cell = Cell(HIGHWAY, name="highway", output="s")
    assert unparse(cell.equations).splitlines() == [
        "z_1 = tanh(W @ x + R_0 @ s_prev)",
        "t_1 = sigmoid(R_1 @ z_1 + 1 * b)",
        "z_2 = t_1 * tanh(z_1) + (1 - t_1) * z_1",
        "t_2 = sigmoid(R_2 @ z_2 + 2 * b)",
        "z_3 = t_2 * tanh(z_2) + (1 - t_2) * z_2",
        "t = sigmoid(R_3 @ z_3 + 3 * b)",
        "z = t * tanh(z_3) + (1 - t) * z_3",
        "s = z",
    ]
    assert cell.unrolled.numbers == ("1", "2.1", "3.1", "2.2", "3.2", "2.3", "3.3", "4")
    assert cell.unrolled.versions["z_2"] == ("z", 2) and cell.unrolled.families == {"R": ("R_0", "R_1", "R_2", "R_3")}
    assert cell.states == ("s",) and cell.parameters == ("W", "R_0", "R_1", "b", "R_2", "R_3")


def test_blocks_within_blocks_and_bounds_that_are_constants() -> None:
    text = "v = V @ x\nfor i in range(N - 1):\n  for j in range(2):\n    v = W[j] @ v + (i - j) * b\nh = v + h_prev"
    lines = plain(text, constants={"N": 3})
    assert lines[1:4] == ["v_2 = W_0 @ v_1 + (0 - 0) * b", "v_3 = W_1 @ v_2 + (0 - 1) * b", "v_4 = W_0 @ v_3 + (1 - 0) * b"]
    assert lines[-1] == "h = v + h_prev"
    assert Cell(text, name="cell", output="h", constants={"N": 3}).unrolled.numbers == ("1", "2.0.0", "2.0.1", "2.1.0", "2.1.1", "3")


@pytest.mark.parametrize(
    "text",
    [
        "v = V @ x\nfor j in range(2): v = W @ v\nh = v + h_prev",
        "v = V @ x\n      \nfor j in range(2):\n\tv = W @ v\n\nh = v + h_prev",
        "    v = V @ x\nfor j in range(2):  # twice\n        # each\n        v = (W\n  @ v)\n    h = v + h_prev",
        "for j in range(1):\n        v = W @ x\n    u = W @ x\n    h = v + u + h_prev",
    ],
)
def test_indentation_means_nothing_but_in_blocks(text: str) -> None:
    lines = plain(text)
    assert lines[0].startswith("v") and lines[-1].startswith("h = ") and len(lines) in (3, 4)


def test_a_version_takes_no_name_that_is_there() -> None:
    assert plain("v = V @ x\nfor j in range(2):\n  v = W @ v + v_1\nh = v + h_prev")[:2] == ["v_1_ = V @ x", "v_2 = W @ v_1_ + v_1"]


def test_what_is_declared_of_a_family_holds_for_all() -> None:
    text = "v = V @ x\nfor j in range(2):\n  v = tanh(W[j] @ v)\nh = v + h_prev"
    cell = Cell(text, name="c", output="h", shapes={"W": "n, n"}, init={"W": "orthogonal"}, fixed=("W",), latex={"W": "A"})
    assert cell.declared_shapes == {"W_0": "n, n", "W_1": "n, n"} and cell.init == {"W_0": "orthogonal", "W_1": "orthogonal"}
    assert cell.fixed == ("W_0", "W_1") and cell.latex == {"W_0": "A_{0}", "W_1": "A_{1}"}
    assert Cell(text, name="c", output="h", heads="H", shared=("W",)).shared == ("W_0", "W_1")


@pytest.mark.parametrize(
    ("body", "message", "line", "column"),
    [
        (
            "for j in range(n):\n  v = W @ v",
            "a block's bounds are known beforehand: integers, or constants that are; `n` is no constant",
            2,
            15,
        ),
        ("for j in range(1.5):\n  v = W @ v", "a block's bounds are integers, this one is 1.5", 2, 15),
        ("for j in range(2, 2):\n  v = W @ v", "`range(2, 2)` is empty: the block would have no line", 2, 9),
        ("for j in range(0, 4, 2):\n  v = W @ v", "`range` takes an end, or a start and an end, got 3 arguments", 2, 9),
        ("for j in x:\n  v = W @ v", "a block runs over `range(n)` or `range(a, b)`", 2, 9),
        ("for j, k in range(2):\n  v = W @ v", "a block has one variable: `for j in range(3):`", 2, 4),
        ("for x in range(2):\n  v = W @ v", "the variable `x` of the block hides what is an input: give it another name", 2, 0),
        ("for v in range(2):\n  v = W @ v", "the variable `v` of the block hides what is assigned: give it another name", 2, 0),
        ("for tanh in range(2):\n  v = W @ v", "`tanh` is a function of the language and cannot name a value", 2, 4),
        ("for j in range(2):\n  for j in range(2):\n    v = W @ v", "`j` is the variable of a block around: give this one another", 3, 6),
        ("for j in range(2):\n  v = W @ v\nu = j * v", "`j` is the variable of a block: outside of that nothing can be called so", 4, 0),
        ("for j in range(2):\n  v = W @ v\nv = 2 * x", "`v` is assigned in a block before, in line 3: give one of them another name", 4, 0),
        ("for j in range(2):\nv = W @ v", "the block has no lines: those that `for` repeats are indented below it", 2, 0),
        (
            "for j in range(2)\n  v = W @ v",
            "a block is `for j in range(a, b):`, with integers or constants for a and b, and the lines that it repeats indented below",
            2,
            0,
        ),
        ("for j in range(2):\n  v = W @ v\n    u = v", "the line is indented further than those of its block before it", 4, 4),
        (
            "for j in range(2):\n  v = W @ v\nelse:\n  u = v",
            "`else` is a keyword of Python, not part of the language: a line is `name = expression`",
            4,
            0,
        ),
        ("for j in range(2):\n  v = W[j - 1] @ v", "`W[-1]`: parameters are numbered from 0", 3, 6),
        ("for j in range(2):\n  v = x[j] + v", "`x` is an input: only parameters have numbers", 3, 6),
        ("for j in range(2):\n  v = v[j] @ v", "`v` is assigned, in line 3: only parameters have numbers", 3, 6),
        ("for j in range(2):\n  v = v @ (v + sum(v))", "`sum` needs a vector or a matrix, `v` is a scalar", 3, 15),
        (
            "for j in range(2):\n  u = W @ u",
            "`u` is used before it is assigned, in line 3: its value at the step before is `u_prev`",
            3,
            10,
        ),
    ],
)
def test_what_is_refused_of_blocks(body: str, message: str, line: int, column: int) -> None:
    assert refused(f"v = x\n{body}\nh = tanh(v + h_prev)") == (message, line, column)


def test_how_often_lines_are_repeated() -> None:
    message, line, column = refused(f"v = x\nfor j in range({MAX_COPIES + 1}):\n  v = W @ v\nh = v + h_prev")
    assert message == f"the block is written out {MAX_COPIES + 1} times: at most {MAX_COPIES} copies of a line are made" and (
        line,
        column,
    ) == (2, 9)
    assert "written out 18 times" in refused("v = x\nfor i in range(3):\n for j in range(6):\n  v = W @ v\nh = v + h_prev")[0]
    lines = "\n".join(f"  a{k} = W @ v" for k in range(MAX_EQUATIONS // MAX_COPIES + 1))
    assert "blocks written out" in refused(f"v = x\nfor i in range({MAX_COPIES}):\n{lines}\nh = v + h_prev")[0]


def test_a_number_out_of_the_shapes_that_are_declared() -> None:
    text = "v = x\nfor j in range(3):\n  v = W[j] @ v\nh = v + h_prev"
    message, line, column = refused(text, shapes={"W_0": "n, d", "W_1": "n, n"})
    assert message == '`W[2]` is out of the shapes that are declared: W[0], W[1]; `shapes={"W": …}` is for all of them'
    assert (line, column) == (3, 6)


# Functions


def test_functions_are_put_in_at_the_tree() -> None:
    lines = plain("u = W @ x\nh = dot(u, u + h_prev) * h_prev", functions={"dot(a, b)": "a @ b"}, shapes={"W": "n, d"})
    assert lines[1] == "h = u @ (u + h_prev) * h_prev"
    assert plain("h = f(x - h_prev)", functions={"f(v)": "2 * g(v)", "g(v)": "v * v"}) == ["h = 2 * ((x - h_prev) * (x - h_prev))"]
    assert plain("for j in range(2):\n  a = f(j)\nh = a * x + h_prev", functions={"f(v)": "W @ x * v"})[0] == "a_1 = W @ x * 0"


def test_what_is_put_in_stands_where_the_call_does() -> None:
    assert refused("a = x\nh = h_prev + f(a)", functions={"f(v)": "[v, v] + sum(v @ v)"})[1:] == (2, 13)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ({"f": "x"}, "functions: 'f': a function is named with its arguments"),
        ({"f(u + 1)": "u"}, "functions: 'f(u + 1)': a function is named with its arguments"),
        ({"f()": "1"}, "functions: 'f()': a function is named with its arguments"),
        ({"tanh(u)": "u"}, "functions: `tanh` is a function of the language: give yours another name"),
        ({"f(u, u)": "u"}, "functions: `f(u, u)` has two arguments of one name"),
        ({"f(u)": "u", "f(v)": "v"}, "functions: `f` is defined twice"),
        ({"f(tanh)": "1"}, "functions: `f(tanh)`: `tanh` is a function of the language and cannot name a value"),
        ({"f(u)": "f(u) + 1"}, "functions: `f` calls itself: f → f"),
        ({"f(u)": "g(u)", "g(u)": "f(u)"}, "functions: `f` calls itself: f → g → f"),
        ({"f(u)": "u ^ 2"}, "functions: `f`: line 1, column 1: the operator `^` is not in the language: a power is `a ** 2`"),
        ({"f(u)": 3}, "functions: `f` needs a text, or two: its value and its derivative"),
        ({"f(u)": ("u",)}, "functions: `f` needs a text, or two: its value and its derivative"),
        (
            {"f(u)": ("step(u)", "h_prev * u")},
            "functions: the derivative of `f` reads `h_prev`: it may read its argument `u`",
        ),
        ({"f(u)": ("W @ u", "1")}, "functions: the value of `f` works on each element by itself: no product, sum or matrix"),
        (
            {"f(u)": ("step(u)", "detach(u)")},
            "functions: the derivative of `f` calls `detach`: it is made of",
        ),
        ({"f(u, v)": ("step(u)", "v")}, "functions: `f` has a derivative of its own, and so one argument; it has 2: u, v"),
        ({"x(u)": "u"}, "functions: `x` is an input in the text: give the function another name"),
        ({"W(u)": "u"}, "functions: `W` is a parameter in the text: give the function another name"),
        (["f(u)"], "functions needs a mapping from names"),
    ],
)
def test_what_is_refused_of_functions(functions: object, message: str) -> None:
    assert refused("h = tanh(W @ x + U @ h_prev)", functions=functions)[0].startswith(message)


def test_how_a_function_is_called() -> None:
    functions = {"f(u, v)": "u * v"}
    assert refused("h = f(W @ x) + h_prev", functions=functions) == ("`f(u, v)` takes 2 arguments, got 1", 1, 4)
    assert refused("h = f(u=x, v=x) + h_prev", functions=functions) == ("`f` takes plain arguments only", 1, 4)
    assert "did you mean `spike`" in refused("h = spke(x) + h_prev", functions={"spike(u)": ("step(u)", "1")})[0]


def test_what_grows_too_large_is_refused() -> None:
    nested = {"f(u)": "g(g(g(g(u))))", "g(u)": "k(k(k(u)))", "k(u)": "u * u + u * u"}
    assert "makes too large an expression" in refused("h = f(W @ x) + h_prev", functions=nested)[0]


def test_what_clips_is_not_read_twice() -> None:
    message = refused("h = f(clip_gradient(W @ x, -1, 1)) + h_prev", functions={"f(u)": "u * u"})[0]
    assert message == "`f` reads `u` 2 times, each with a `clip_gradient`: name it on a line of its own"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h = clip_gradient(x, 1, -1) + h_prev", "`clip_gradient(v, low, high)` needs bounds with zero between them, got 1 and -1"),
        ("h = clip_gradient(x, -b, b) + h_prev", "`clip_gradient` needs a number or a constant, not `b`"),
        ("h = scale_gradient(x, 2 * c) + h_prev", "`scale_gradient` needs a number or a constant, not `2 * c`"),
        (
            "h = clip_gradient(W, -1, 1) @ x + h_prev",
            "`W` is the same at every step, and its gradient a sum over steps: change that outside of the cell",
        ),
    ],
)
def test_what_is_refused_of_changed_gradients(text: str, message: str) -> None:
    assert refused(text, constants={"c": 2.0} if "c" in text.split() else {})[0] == message


def test_copies_pickles_and_transformations_keep_functions() -> None:
    functions = {"spike(u)": ("step(u)", "1 / (1 + abs(u)) ** 2"), "leak(v)": "0.9 * v"}
    cell = Cell("v = leak(v_prev) + W @ x\nh = spike(v - 1)", name="lif", output="h", functions=functions)
    assert copy.copy(cell) == pickle.loads(pickle.dumps(cell)) == cell and hash(copy.copy(cell)) == hash(cell)
    assert Cell(cell.text, name="lif", output="h", functions={**functions, "leak(v)": "0.8 * v"}) != cell
    kept = zoneout(cell)
    assert (
        kept.functions == {"spike(u)": functions["spike(u)"]} and unparse(kept.equations).splitlines()[0] == "v_new = 0.9 * v_prev + W @ x"
    )
    assert unparse(cell.replace(v="leak(v_prev) - x").equations).splitlines()[0] == "v = 0.9 * v_prev - x"


def test_a_value_of_a_block_is_not_replaced() -> None:
    cell = Cell(HIGHWAY, name="highway", output="s")
    with pytest.raises(CellError, match="`z` is assigned in a block"):
        cell.replace(z="x")
    assert cell.replace(b="0").parameters == ("W", "R_0", "R_1", "R_2", "R_3")
