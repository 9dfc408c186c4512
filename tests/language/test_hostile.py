"""Texts that are long, deep or branch without end: each ends in kernels or in a `CellError`, in bounded time and memory."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from derive import Cell, CellError
from derive.command import show
from derive.package import contents

PATIENCE = 60  # seconds until a text counts as hanging; each takes a few at most


def chain(step: str, count: int, first: str = "x + h_prev", name: str = "a") -> str:
    """Return lines `a0 = first`, `a1 = step of a0`, … and the last one as output."""
    lines = [f"{name}{k} = " + step.replace("#", f"{name}{k - 1}") for k in range(1, count)]
    return "\n".join([f"{name}0 = {first}", *lines, f"h = {name}{count - 1} + h_prev"])


def nested(before: str, after: str, depth: int) -> str:
    return "h = x + " + before * depth + "h_prev" + after * depth


BOUNDED = {
    "thousands of parameters": "\n".join(f"a{k} = x + " + " + ".join(f"p{k}_{j}" for j in range(9)) for k in range(480))
    + "\nh = a0 + h_prev",
    "hundreds of states": "\n".join(f"s{k} = tanh(s{k}_prev + x)" for k in range(300)) + "\nh = s0",
    "states that all read one another": "\n".join(
        f"s{k} = tanh(x + {' + '.join(f's{j}_prev' for j in range(30))})" for k in range(30)
    )
    + "\nh = s0",
    "squares of squares": chain("# * #", 490),
    "functions of functions": chain("tanh(#)", 490),
    "sums of sums": chain("# + tanh(p * #)", 300),
    "matrices of matrices": chain("# * #", 300, "A", "M").replace("h = M299 + h_prev", "h = M299 @ x + h_prev"),
    "a size of 2 to the 490": chain("[#, #]", 490, "x").replace("h = a489", "h = W @ a489"),
    "a size like Fibonacci's": "a0 = x\na1 = x\n" + "\n".join(f"a{k} = [a{k - 1}, a{k - 2}]" for k in range(2, 300)) + "\nh = W @ a299",
    "split of split": "i0, j0 = split(W @ x, 2)\n"
    + "\n".join(f"i{k}, j{k} = split([i{k - 1}, j{k - 1}], 2)" for k in range(1, 200))
    + "\nh = i199",
    "a part in thousands of places": "h = W @ [" + ", ".join(["x"] * 3000) + "]",
    "thousands of parts": ", ".join(f"i{k}" for k in range(2000)) + " = split(W @ x, 2000)\nh = i0",
    "inner products": chain("(# @ #) * #", 200),
    "normalisation of normalisation": chain("layer_norm(#)", 100),
    "deep functions": nested("tanh(", ")", 95),
    "deep products": nested("tanh(W @ ", ")", 47),
    "deep fractions": nested("1/(1 + ", ")", 45),
    "deep softmax": nested("softmax(", ")", 60),
    "deep maximum": nested("maximum(x, ", ")", 60),
    "deep where": nested("where(x > 0, x, ", ")", 60),
    "a power of a power": nested("(", ")**64", 90),
    "long names": "h = h_prev + " + "a" * 20_000 + " * x + " + "b" * 20_000,
}  # fmt: skip


@contextlib.contextmanager
def patience() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError(f"no end after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("text", BOUNDED.values(), ids=BOUNDED.keys())
def test_the_whole_way_is_bounded(text: str) -> None:
    with patience():
        cell = Cell(text, name="hostile", output="h")
        assert contents.files([cell])["hostile.py"]
        for form in ("text", "latex"):
            assert show.FORMS[form](cell)
        with contextlib.suppress(CellError):
            assert cell.structure


@pytest.mark.parametrize(
    ("exponent", "message"),
    [
        ("*".join(["1"] * 2000), "nested too deeply: at most 100 levels are read"),
        ("-" * 2000 + "1", "nested too deeply"),
        ("*".join(["9" * 300] * 80), "the numbers of an exponent are too long: at most 300 digits"),
        ("*".join(["1e-300"] * 80), "the numbers of an exponent are too long"),
        ("+".join(["1/7"] * 40), None),
    ],
    ids=["factors", "signs", "large", "small", "read"],
)
def test_an_exponent_is_bounded(exponent: str, message: str | None) -> None:
    if message is None:
        assert Cell(f"h = x ** ({exponent}) + h_prev", name="power", output="h")
        return
    with pytest.raises(CellError, match=message):
        Cell(f"h = x ** ({exponent}) + h_prev", name="power", output="h")


def test_a_jacobian_that_is_too_long_says_so() -> None:
    cell = Cell(chain("layer_norm(#)", 100), name="norms", output="h")
    with pytest.raises(CellError, match="norms: the Jacobian of a step is too long to be written out"):
        _ = cell.structure
