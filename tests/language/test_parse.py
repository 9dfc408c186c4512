"""The parser: what it reads, what it refuses and how, and that text and tree are two forms of one thing."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from derive.language.errors import CellError
from derive.language.parse import parse, parse_expression
from derive.language.tree import Assignment, Binary, Call, Compare, Concat, Expr, MatMul, Name, Negative, Number, Power, Span, Transpose
from derive.language.unparse import unparse
from derive.language.vocabulary import ELEMENTWISE, FEATURES, MAX_DEPTH, MAX_EQUATIONS, MAX_TEXT

A, B, V, W = map(Name, "ABvW")


def value(text: str) -> Expr:
    """The right side of `h = text`."""
    (line,) = parse(f"h = {text}")
    return line.value


# What it reads


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("A @ B @ v", MatMul(A, MatMul(B, V))),
        ("A @ B @ W @ v", MatMul(A, MatMul(B, MatMul(W, V)))),
        ("(A @ B) @ v", MatMul(MatMul(A, B), V)),
        ("A @ (B @ v)", MatMul(A, MatMul(B, V))),
        ("A @ v * B", Binary("*", MatMul(A, V), B)),
        ("A * B @ v", MatMul(Binary("*", A, B), V)),
        ("-A @ v", MatMul(Negative(A), V)),
        ("A - B - v", Binary("-", Binary("-", A, B), V)),
        ("A / B / v", Binary("/", Binary("/", A, B), V)),
        ("+v", V),
        ("--v", Negative(Negative(V))),
        ("-v ** 2", Negative(Power(V, Fraction(2)))),
        ("v ** -1", Power(V, Fraction(-1))),
        ("v ** 0.5", Power(V, Fraction(1, 2))),
        ("v ** (1/3)", Power(V, Fraction(1, 3))),
        ("v ** (2 * 3 - 1)", Power(V, Fraction(5))),
        ("W.T @ v", MatMul(Transpose(W), V)),
        ("[v, A, B]", Concat((V, A, B))),
        ("tanh(v)", Call("tanh", (V,))),
        ("maximum(v, 0)", Call("maximum", (V, Number(Fraction(0))))),
        ("where(v <= A, B, 1)", Call("where", (Compare("<=", V, A), B, Number(Fraction(1))))),
        ("W - eye", Binary("-", W, Call("eye", ()))),
        ("0.1", Number(Fraction(1, 10))),
        ("1e-5", Number(Fraction(1, 100_000))),
        ("1_000", Number(Fraction(1000))),
    ],
)
def test_reads(text: str, tree: Expr) -> None:
    assert value(text) == tree


def test_lines_comments_and_continuation() -> None:
    equations = parse(
        """
        # a comment
        r = tanh(  # another
                v
              + A)

          h = r
        """
    )
    assert equations == (
        Assignment(("r",), Call("tanh", (Binary("+", V, A),))),
        Assignment(("h",), Name("r")),
    )


def test_split() -> None:
    assert parse("i, f = split(W @ v, 2)") == (Assignment(("i", "f"), MatMul(W, V)),)
    assert parse("(i, f) = split(v, 2)") == parse("i, f = split(v, 2)")


def test_spans_are_places_in_the_text_as_written() -> None:
    (line,) = parse("\n    \u0075\u0308ber = tanh(é + W)")
    assert isinstance(line.value, Call)
    (total,) = line.value.args
    assert isinstance(total, Binary)
    assert total.left.span == Span(2, 17, 18)
    assert total.right.span == Span(2, 21, 22)


def test_exponents_use_named_constants_which_stay_names_elsewhere() -> None:
    (line,) = parse("h = p * v ** (p + 1)", constants={"p": 0.1})
    assert line.value == Binary("*", Name("p"), Power(V, Fraction(11, 10)))


def test_every_function_is_known() -> None:
    for name in sorted(ELEMENTWISE | FEATURES):
        assert value(f"{name}(v)") == Call(name, (V,))


@pytest.mark.parametrize("name", ["T", "B", "n", "y", "np", "params", "self", "type", "match", "print", "x", "d"])
def test_any_identifier_is_a_name(name: str) -> None:
    assert parse(f"{name} = {name}_prev") == (Assignment((name,), Name(f"{name}_prev")),)


def test_expression() -> None:
    assert parse_expression(" 1 - z  # comment") == Binary("-", Number(Fraction(1)), Name("z"))


# What it refuses: message, line, column

REFUSED = {
    "": ("the text has no equation: one assignment a line is needed, such as `h = tanh(W @ x + U @ h_prev + b)`", 0, 0),
    "# only a comment": ("the text has no equation: one assignment a line is needed, such as `h = tanh(W @ x + U @ h_prev + b)`", 0, 0),
    "h = tanhh(x)": ("unknown function `tanhh` (did you mean `tanh`?)", 1, 4),
    "h = x\nr = sigmod(x)": ("unknown function `sigmod` (did you mean `sigmoid`?)", 2, 4),
    "h = np.tanh(x)": ("only a function's name can be called: write `tanh(…)`", 1, 4),
    "h = x.__class__": ("the attribute `.__class__` is not in the language: only `.T`, the transpose of a matrix, is", 1, 4),
    "h = x.T()": ("only a function's name can be called", 1, 4),
    "import os": ("a line must be `name = expression`", 1, 0),
    "tanh(x)": ("a line must be `name = expression`", 1, 0),
    "h += x": ("a line must be `name = expression`", 1, 0),
    "h: x = 1": ("a line must be `name = expression`", 1, 0),
    "g = h = x": ("two `=` on a line: one assignment a line is needed", 1, 4),
    "g = 1; h = x": ("two assignments on one line: one assignment a line is needed", 1, 7),
    "h[0] = x": ("the left side must be a name, or names before a `split`", 1, 0),
    "tanh = x": ("`tanh` is a function of the language and cannot name a value", 1, 0),
    "_h = x": ("`_h` begins with an underscore: choose another name, such as `h`", 1, 0),
    "h = tanh": ("`tanh` is a function: write `tanh(…)`", 1, 4),
    "h = tanh(x, x)": ("`tanh` takes 1 argument, got 2", 1, 4),
    "h = maximum(x)": ("`maximum` takes 2 arguments, got 1", 1, 4),
    "h = sum(x, axis=0)": ("`sum` takes plain arguments only", 1, 4),
    "h = sum(*x)": ("`sum` takes plain arguments only", 1, 4),
    "h = x % 2": ("the operator `%` is not in the language: `+ - * / ** @` are", 1, 4),
    "h = ~x": ("this operator is not in the language: unary `-` is", 1, 4),
    "h = (x + x)[0]": ("indexing is not in the language: `a, b = split(v, 2)` and `pick(v, k)` take parts of a vector", 1, 4),
    "h = x > 0": ("a comparison may only be the first argument of `where(a > b, c, d)`", 1, 4),
    "h = where(x, 0, 1)": ("the first argument of `where` must be one comparison by `<`, `<=`, `>` or `>=`", 1, 10),
    "h = where(0 < x < 1, 0, 1)": ("the first argument of `where` must be one comparison by `<`, `<=`, `>` or `>=`", 1, 10),
    "h = where(x == 1, 0, 1)": ("the first argument of `where` must be one comparison by `<`, `<=`, `>` or `>=`", 1, 10),
    "h = x if x else 1": ("`if` is not in the language: `where(a > b, c, d)` chooses elementwise", 1, 4),
    "h = x, y": ("a value is expected, not several; `[a, b]` concatenates vectors", 1, 4),
    "h = []": ("an empty concatenation: `[a, b]` needs vectors", 1, 4),
    "h = [v for v in x]": ("this form of Python (ListComp) is not in the language", 1, 4),
    "h = 'x'": ("a number is expected, not 'x'", 1, 4),
    "h = True": ("a number is expected, not 'True'", 1, 4),
    "h = 1j": ("a number is expected, not '1j'", 1, 4),
    "h = 1e999": ("the number is too large: at most 1e300", 1, 4),
    "h = " + "9" * 302: ("the number is too large: at most 1e300", 1, 4),
    "h = x ** p": ("an exponent must be a constant number; `exp(p * log(a))` is a to the power of a value p", 1, 9),
    "h = x ** 65": ("the exponent is 65: at most 64 in magnitude", 1, 9),
    "h = x ** -64.5": ("the exponent is -64.5: at most 64 in magnitude", 1, 9),
    "h = x ** (1/0)": ("division by zero", 1, 10),
    "h = split(x, 2)": ("`split` must be the whole right side of an assignment to several names: `a, b = split(v, 2)`", 1, 4),
    "a, b = x": ("several names on the left need `split(vector, 2)` on the right; values of their own have a line each", 1, 7),
    "a, b = split(x, 3)": ("there are 2 names on the left: the second argument of `split` must be 2", 1, 16),
    "a, b = split(x)": ("`split` takes a vector and the number of parts: `split(vector, 2)`", 1, 7),
    "h = pick(x, 1)": ("the index of `pick` must be the name of an input", 1, 12),
    "h = W @ lambda": ("`lambda` is a keyword of Python, not part of the language: a line is `name = expression`", 1, 8),
    "h = x\nif x:\n    s = x": ("`if` is a keyword of Python, not part of the language: a line is `name = expression`", 2, 0),
    "h = x\nwhile x:\n    s = x": (
        "`while` is a keyword of Python, not part of the language: how often lines are repeated is told beforehand, `for j in range(3):`",
        2,
        0,
    ),
}


HABITS = {
    "swish": "write `silu(…)`",
    "hardtanh": "write `hard_tanh(…)`",
    "Hardtanh": "write `hard_tanh(…)`",
    "hardsigmoid": "write `hard_sigmoid(…)`",
    "log1p": "write `log(1 + a)`",
    "expm1": "write `exp(a) - 1`",
    "atan": "there are no inverse trigonometric functions",
    "arctan": "there are no inverse trigonometric functions",
    "prelu": "write `where(a > 0, a, alpha * a)`",
    "mish": "write `a * tanh(softplus(a))`",
    "heaviside": "write `step(…)`",
    "stop_gradient": "write `detach(v)`",
    "ceil": "write `-floor(-a)`",
    "spike": "declare it with its derivative",
}


@pytest.mark.parametrize("name", HABITS)
def test_habits_of_other_packages_are_answered(name: str) -> None:
    with pytest.raises(CellError) as caught:
        parse(f"h = {name}(x)")
    assert caught.value.message.startswith(f"unknown function `{name}`: {HABITS[name]}")


@pytest.mark.parametrize("index", ["[t-1]", "_{t-1}", "{t - 1}", "(t-1)", "(t)"])
def test_there_is_no_index_of_time(index: str) -> None:
    with pytest.raises(CellError) as caught:
        parse(f"h = tanh(W @ x + U @ h{index} + b)")
    assert caught.value.message == "there is no index of time: `h` is the value at this step, `h_prev` that of a state at the step before"
    assert caught.value.column == 21
    with pytest.raises(CellError, match="there is no index of time: `h`"):
        parse("h_{t} = tanh(W @ x)")


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text: str) -> None:
    with pytest.raises(CellError) as caught:
        parse(text)
    assert (caught.value.message, caught.value.line, caught.value.column) == REFUSED[text]


def test_message_shows_line_and_caret() -> None:
    with pytest.raises(CellError) as caught:
        parse("\n    r = sigmoid(x)\n    h = r * sigmod(x)\n")
    assert str(caught.value) == (
        "line 3, column 13: unknown function `sigmod` (did you mean `sigmoid`?)\n    h = r * sigmod(x)\n            ^"
    )


@pytest.mark.parametrize(
    "text",
    [
        "h = " + "(" * 250 + "x" + ")" * 250,
        "h = " + "(" * 20_000 + "x" + ")" * 20_000,
        "h = " + "-" * 40_000 + "x",
        "h = " + "+".join(["x"] * 20_000),
        "h = " + " @ ".join(["W"] * 10_000),
        "h = " + "tanh(" * (MAX_DEPTH + 2) + "x" + ")" * (MAX_DEPTH + 2),
    ],
)
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(CellError, match="nested too deeply"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h = x # " + " " * MAX_TEXT, "at most 50000 are read"),
        ("h = x\n" * (MAX_EQUATIONS + 1), "more than 500 equations"),
        ("h = " + "9" * 5000, "the number is too large"),
        ("h = \0", "cannot be read"),
        ("h = '\\d'", "a number is expected"),
        ("h = \ud800", "cannot be read"),
        ("h = (x", "never closed"),
        ("h = x +", "invalid syntax"),
    ],
)
def test_hostile_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(CellError, match=message):
        parse(text)


@pytest.mark.parametrize("text", ["", "  ", "1, 2 = 3", "1)\nx = (2", "h = 1", "x; y", "import os"])
def test_not_one_expression(text: str) -> None:
    with pytest.raises(CellError):
        parse_expression(text)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        equations = parse(text)
    except CellError as error:
        assert str(error)
    else:
        assert parse(unparse(equations)) == equations


# Text and tree

names = st.sampled_from([Name("W"), Name("v"), Name("h_prev"), Call("eye", ())])
numbers = st.integers(0, 10**6).flatmap(lambda p: st.integers(0, 6).map(lambda q: Number(Fraction(p, 10**q))))


def _compound(parts: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    return st.one_of(
        st.builds(Negative, parts),
        st.builds(Binary, st.sampled_from("+-*/"), parts, parts),
        st.builds(Power, parts, st.fractions(-64, 64, max_denominator=9)),
        st.builds(MatMul, parts, parts),
        st.builds(Transpose, parts),
        st.builds(lambda p: Concat(tuple(p)), st.lists(parts, min_size=1, max_size=3)),
        st.builds(lambda a: Call("tanh", (a,)), parts),
        st.builds(lambda o, a, b: Call("where", (Compare(o, a, b), b, a)), st.sampled_from(["<", "<=", ">", ">="]), parts, parts),
    )


@given(st.recursive(names | numbers, _compound, max_leaves=12))
def test_text_of_a_tree_reads_as_the_tree(tree: Expr) -> None:
    equations = (Assignment(("h",), tree),)
    assert parse(unparse(equations)) == equations


@pytest.mark.parametrize(
    "text",
    [
        "h = (1 - z) * g + z * h_prev",
        "h = tanh(W_n @ x + b_in + r * (U_n @ h_prev + b_hn))",
        "h = h_prev + eps * tanh((W - W.T - gamma * eye) @ h_prev + V @ x + b)",
        "i, f, o, g = split(W @ [h_prev, x] + b, 4)",
        "h = -x ** 2 / (a * b) - (c - e)",
        "h = A @ B @ (r * x)",
        "h = where(x > 0, x, 0.25 * x) ** (1/3)",
    ],
)
def test_text_is_canonical(text: str) -> None:
    assert unparse(parse(text)) == text
