"""Shapes found by unification, and what is said when there are none."""

from __future__ import annotations

import numpy as np
import pytest

from derive.cell import Cell
from derive.language.errors import CellError
from derive.language.parse import parse
from derive.language.shapes import is_batched, shape_of
from derive.language.sizes import Size, parse_shape, parse_size, shape_text

LEGENDRE = {"A": np.eye(4), "B": np.ones(4)}


def cell(text: str, output: str = "h", **options: object) -> Cell:
    return Cell(text, name="c", output=output, **options)  # type: ignore[arg-type]


def shapes(of: Cell) -> dict[str, str]:
    return {name: shape_text(shape) for name, shape in of.shapes.items()}


# Sizes


def test_size_is_canonical_and_hashable() -> None:
    n, d = Size.of("n"), Size.of("d")
    assert n + d == d + n and hash(n + d) == hash(d + n)
    assert n * 2 - n == n and n - n == Size()
    assert (str(n * 4), str(n + d), str(Size((), 1)), str(Size())) == ("4*n", "d + n", "1", "0")
    assert (n * 4 + d + 1).evaluate({"n": 3, "d": 2}) == 15
    assert (n + d).names == ("d", "n")


@pytest.mark.parametrize(("text", "value"), [("n", 5), ("4*n", 20), ("n + d", 8), ("2*(n+1)", 12), ("7", 7)])
def test_sizes_are_read(text: str, value: int) -> None:
    assert parse_size(text).evaluate({"n": 5, "d": 3}) == value


@pytest.mark.parametrize("text", ["", "n*d*m", "n-1", "0", "n.T", "f(n)", "n, ", "-n", "1.5", "True"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


def test_shape_text_round_trips() -> None:
    assert parse_shape("") == ()
    assert shape_text(parse_shape("4*n,d+n")) == "4*n, d + n"


# What is found


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("h = tanh(W @ x + U @ h_prev + b)", {}, {"W": "n, d", "U": "n, n", "b": "n", "x": "d", "h": "n", "h_prev": "n"}),
        ("h = A @ B @ x", {}, {"A": "n, n", "B": "n, d"}),
        ("h = W.T @ x", {}, {"W": "d, n"}),
        ("i, f = split(W @ [x, h_prev], 2)\nh = i * f", {}, {"W": "2*n, d + n", "i": "n"}),
        ("h = tanh(alpha) * (W @ x)", {"shapes": {"alpha": ""}}, {"alpha": ""}),
        ("h = alpha * (W @ x)", {}, {"alpha": "n"}),
        ("s = s_prev + sum(x)\nh = s * s", {}, {"s": "", "s_prev": "", "h": ""}),
        ("h = e @ x + b", {"shapes": {"e": "d"}}, {"e": "d", "b": "", "h": ""}),
        ("h = (U @ x) @ (W @ s_prev) + s_prev\ns = h", {}, {"U": "n, d", "W": "n, n", "h": "n"}),
        ("h = tanh((W - W.T - g * eye) @ h_prev + V @ x)", {"constants": {"g": 0.1}}, {"W": "n, n", "V": "n, d"}),
        ("h = a * h_prev + b", {"inputs": ()}, {"h": "n", "a": "n", "b": "n"}),
        ("c = f * c_prev + W @ x\nh = P @ c", {"shapes": {"h": "p", "f": "n"}}, {"P": "p, n", "c": "n"}),
        ("l = x\nh = W @ l_prev + h_prev", {}, {"l": "d", "W": "n, d"}),
        ("h = W @ x + U @ h_prev + V @ v", {"context": ("v",), "shapes": {"v": "k"}}, {"V": "n, k"}),
        ("h = W @ x", {"shapes": {"x": "3"}}, {"W": "n, 3"}),
        (
            "m = A @ m_prev + B * (e @ x)\nh = W @ m",
            {"constants": LEGENDRE, "shapes": {"e": "d"}},
            {"m": "4", "W": "n, 4"},
        ),
        ("h = mean(W) * (W @ x)", {}, {"W": "n, d"}),
    ],
)
def test_shapes_are_found(text: str, options: dict[str, object], expected: dict[str, str]) -> None:
    found = shapes(cell(text, **options))
    assert {name: found[name] for name in expected} == expected


def test_losses_are_scalars_and_class_indices_integers() -> None:
    loss = cell("e = logsumexp(a) - pick(a, k)", "e", inputs=("a", "k"))
    assert shapes(loss) == {"a": "d", "k": "", "e": ""}
    assert loss.integers == {"k"}
    assert shapes(cell("e = logsumexp(a) * sum(y) - sum(y * a)", "e", inputs=("a", "y"))) == {"a": "d", "y": "d", "e": ""}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("h = tanh(W @ x + U @ h_prev) + x", {}),
        ("h = 0.5 * h_prev + x", {}),
        ("h = x + W @ x", {"shapes": {"W": "n, d"}}),
        ("f = sigmoid(W @ x)\nh = f * h_prev + (1 - f) * x", {}),
    ],
)
def test_x_beside_the_hidden_state_makes_d_equal_n(text: str, options: dict[str, object]) -> None:
    found = cell(text, **options)
    assert found.equal_sizes == (("d", "n"),)
    assert found.sizes == ("n",)
    assert shapes(found)["x"] == "n"


def test_no_size_is_equated_without_need() -> None:
    lru = cell("s = a * s_prev + B @ x\nh = C @ s + D * x")
    assert (lru.equal_sizes, lru.sizes) == ((), ("d", "n"))
    assert shapes(lru)["C"] == "d, n" and shapes(lru)["h"] == "d"


def test_shape_of_any_part() -> None:
    found = cell("h = tanh((W - 0.1 * eye) @ h_prev + V @ x)")
    (line,) = found.equations
    product = line.value.args[0].left  # type: ignore[attr-defined]
    assert shape_text(shape_of(product, found.shapes)) == "n"
    assert shape_text(shape_of(product.left, found.shapes)) == "n, n"
    assert is_batched(product, found.batched) and not is_batched(product.left, found.batched)
    (alone,) = parse("a = 2 * eye")
    with pytest.raises(ValueError, match="`2 \\* eye` has no size of its own: it needs a matrix beside it"):
        shape_of(alone.value, {})


# What is refused, in full


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "r = sigmoid(W_r @ x)\nh = W_r @ h_prev * r",
            {},
            "line 2, column 5: `W_r` is (n, d): its right operand must have size d, `h_prev` has size n; "
            "`W_r` is (n, d) in `W_r @ x` (line 1) and would be (n, n) in `W_r @ h_prev` (line 2)\n    h = W_r @ h_prev * r\n        ^",
        ),
        (
            "h = W @ x",
            {"shapes": {"W": "n, k"}},
            "line 1, column 5: `W` is (n, k): its right operand must have size k, `x` has size d\n    h = W @ x\n        ^",
        ),
        (
            "h = x @ h_prev + h_prev",
            {},
            "line 1, column 5: `@` of two vectors needs equal sizes: `x` has size d, `h_prev` has size n; "
            'a state that is as wide as the input is declared so, `shapes={"h": "d"}`'
            "\n    h = x @ h_prev + h_prev\n        ^",
        ),
        (
            "s = s_prev + sigmoid(w @ x)\nh = s * x",
            {"shapes": {"s": ""}},
            "line 1, column 1: `s` is a scalar, its right side is a vector of size n; "
            '`w @ x` is a number if `w` is declared a vector, `shapes={"w": "d"}`\n    s = s_prev + sigmoid(w @ x)\n    ^',
        ),
        (
            "h = tanh((V + (2 * eye).T) @ h_prev + x)",
            {},
            "line 1, column 15: `(2 * eye).T` is `2 * eye`: leave `.T` out\n"
            "    h = tanh((V + (2 * eye).T) @ h_prev + x)\n                  ^",
        ),
        (
            "h = W * x + W @ x",
            {},
            "line 1, column 5: `W` is a matrix (n, n), `x` is a vector of size d: `*` is elementwise, write `W @ x` for their product\n"
            "    h = W * x + W @ x\n        ^",
        ),
        (
            "h = A @ B + B @ x",
            {},
            "line 1, column 5: `A @ B` multiplies two matrices: the right operand of `@` must be a vector, as in `A @ B @ v`; "
            "declare it in `shapes` if it is one\n    h = A @ B + B @ x\n        ^",
        ),
        (
            "h = sum(x) @ x",
            {},
            "line 1, column 5: `@` needs a matrix or a vector on its left, `sum(x)` is a scalar: write `*`\n    h = sum(x) @ x\n        ^",
        ),
        (
            "h = eye @ x",
            {},
            "line 1, column 5: `eye` has no size of its own: it needs a matrix beside it; `c * eye @ v` is `c * v`"
            "\n    h = eye @ x\n        ^",
        ),
        (
            "h = x.T",
            {},
            "line 1, column 5: `.T` needs a matrix, `x` is a vector of size d: `a @ b` is the inner product of two vectors, "
            "`outer(a, b)` their outer product\n"
            "    h = x.T\n        ^",
        ),
        (
            "i, f = split(x, 2)\nh = i * f",
            {},
            "line 1, column 14: `split` into 2 parts of size n needs a vector of size 2*n, it has size d"
            "\n    i, f = split(x, 2)\n                 ^",
        ),
        (
            "h = a + b + W @ x",
            {"shapes": {"a": "p", "b": "q"}},
            "line 1, column 5: `a` is a vector of size p, `b` is a vector of size q: elementwise operands have one shape\n"
            "    h = a + b + W @ x\n        ^",
        ),
        ("h = [sum(x), x]", {}, "line 1, column 6: a concatenation needs a vector, `sum(x)` is a scalar\n    h = [sum(x), x]\n         ^"),
        (
            "h = x * k + pick(x, k)",
            {"inputs": ("x", "k")},
            "line 1, column 9: `k` is the index of a `pick`, an integer: it cannot be used as a number"
            "\n    h = x * k + pick(x, k)\n            ^",
        ),
    ],
)
def test_errors_of_shapes(text: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(CellError) as caught:
        cell(text, **options)
    assert str(caught.value) == message
