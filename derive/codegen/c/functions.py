"""The functions that formulas call and the standard library has not, as C; each is emitted where it is used.

`R` gives a constant, or a function of the library, the type of the file: ``R(0.5)`` is ``0.5f``, ``R(exp)`` is ``expf``, for float.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...calculus.functions import FUNCTIONS as ELEMENTWISE
from ...calculus.functions import Composed
from ..layout import RENAMED
from ..source import Source, name

LIBRARY = {known: known for known in ("exp", "log", "sqrt", "tanh", "erf", "sin", "cos", "floor")}
LIBRARY |= {"absolute": "fabs", "nearest": "nearbyint", "power": "pow"}
"""Functions of the standard library, by the names that emitted code has for them."""
STRING = ("memset", "memcpy")


@dataclass(frozen=True)
class Helper:
    """A function of the file: what it is for, its arguments, its lines, and which others it calls."""

    does: str
    arguments: str
    lines: tuple[str, ...]
    uses: tuple[str, ...] = ()
    result: str = "real"


def _of_one(value: str, does: str = "", *uses: str) -> Helper:
    return Helper(does, "real x", (f"return {value};",), uses)


def _of_two(value: str, does: str = "") -> Helper:
    return Helper(does, "real a, real b", (f"return {value};",))


PRODUCT = "size_t rows, size_t columns, const real *restrict matrix, const real *restrict vector, real *restrict out"
DOT = (
    "for (size_t i = 0; i < rows; ++i) {",
    "    const real *row = matrix + i * columns;",
    "    real parts[LANES] = {R(0.0)};",
    "    size_t j = 0;",
    "    for (; j + LANES <= columns; j += LANES) {",
    "        for (size_t k = 0; k < LANES; ++k) {",
    "            parts[k] += row[j + k] * vector[j + k];",
    "        }",
    "    }",
    "    real total = R(0.0);",
    "    for (size_t k = 0; k < LANES; ++k) {",
    "        total += parts[k];",
    "    }",
    "    for (; j < columns; ++j) {",
    "        total += row[j] * vector[j];",
    "    }",
)
DOT_T = (
    "for (size_t i = 0; i < rows; ++i) {",
    "    const real *row = matrix + i * columns;",
    "    for (size_t j = 0; j < columns; ++j) {",
    "        out[j] += row[j] * vector[i];",
    "    }",
    "}",
)
HELPERS: dict[str, Helper] = {
    "square": _of_one("x * x"),
    "maximum": _of_two("a > b || a != a ? a : b", "The larger one; NaN, if either is."),
    "minimum": _of_two("a < b || a != a ? a : b", "The smaller one; NaN, if either is."),
    "above": _of_two("a > b ? R(1.0) : a == b ? R(0.5) : R(0.0)"),
    "less": _of_two("a < b ? R(1.0) : R(0.0)"),
    "less_equal": _of_two("a <= b ? R(1.0) : R(0.0)"),
    "greater": _of_two("a > b ? R(1.0) : R(0.0)"),
    "greater_equal": _of_two("a >= b ? R(1.0) : R(0.0)"),
    "inside": Helper("", "real x, real bound", ("return R(fabs)(x) < bound ? R(1.0) : R(0.0);",)),
    "clip": Helper("", "real x, real low, real high", ("return x < low ? low : x > high ? high : x;",)),
    "between": Helper("", "real x, real low, real high", ("return x < low || x > high ? R(0.0) : R(1.0);",)),
    "heaviside": _of_one("x > R(0.0) ? R(1.0) : R(0.0)"),
    "sign": _of_one("x > R(0.0) ? R(1.0) : x < R(0.0) ? R(-1.0) : x"),
    "relu": _of_one("x <= R(0.0) ? R(0.0) : x"),
    "hard_tanh": _of_one("x < R(-1.0) ? R(-1.0) : x > R(1.0) ? R(1.0) : x"),
    "hard_sigmoid": _of_one("x < R(-3.0) ? R(0.0) : x > R(3.0) ? R(1.0) : (x + R(3.0)) / R(6.0)"),
    "softsign": _of_one("x / (R(1.0) + R(fabs)(x))"),
    "elu": _of_one("x > R(0.0) ? x : R(expm1)(x)"),
    "softplus": _of_one("(x < R(0.0) ? R(0.0) : x) + R(log1p)(R(exp)(-R(fabs)(x)))", "log(1 + e^x), which does not overflow."),
    "logsigmoid": _of_one("-softplus(-x)", "", "softplus"),
    "sigmoid": _of_one("R(1.0) / (R(1.0) + R(exp)(-x))"),
    "silu": _of_one("(x < R(-1e4) ? R(-1e4) : x) * sigmoid(x)", "x σ(x); 0 at minus infinity.", "sigmoid"),
    "normal_cdf": _of_one("R(0.5) * R(erfc)(-x * R(0.7071067811865476))"),
    "gelu": _of_one("(x < R(-1e4) ? R(-1e4) : x) * normal_cdf(x)", "x Φ(x); 0 at minus infinity.", "normal_cdf"),
    "multiply": Helper("out = matrix vector.", PRODUCT, (*DOT, "    out[i] = total;", "}"), ("LANES",), "void"),
    "multiply_add": Helper("out += matrix vector.", PRODUCT, (*DOT, "    out[i] += total;", "}"), ("LANES",), "void"),
    "multiply_t": Helper(
        "out = the transposed matrix vector.",
        PRODUCT,
        ("for (size_t j = 0; j < columns; ++j) {", "    out[j] = R(0.0);", "}", *DOT_T),
        result="void",
    ),
    "multiply_t_add": Helper("out += the transposed matrix vector.", PRODUCT, DOT_T, result="void"),
    "sum": Helper(
        "",
        "size_t size, const real *v",
        ("real total = R(0.0);", "for (size_t j = 0; j < size; ++j) {", "    total += v[j];", "}", "return total;"),
    ),
    "log_sum_exp": Helper(
        "log Σ_j exp(v_j), with the largest taken out, so that it does not overflow.",
        "size_t size, const real *v",
        (
            "real top = v[0];",
            "for (size_t j = 1; j < size; ++j) {",
            "    top = v[j] > top ? v[j] : top;",
            "}",
            "top = R(fabs)(top) < (real)INFINITY ? top : R(0.0);",
            "real total = R(0.0);",
            "for (size_t j = 0; j < size; ++j) {",
            "    total += R(exp)(v[j] - top);",
            "}",
            "return R(log)(total) + top;",
        ),
    ),
}
LANES = "enum { LANES = 8 };  // the terms of a product are summed in so many parts, which compilers keep in vector registers"


def function(called: str) -> Source:
    """Return what a formula calls."""
    return Source(f"R({LIBRARY[called]})") if called in LIBRARY else name(called)


def printed_helpers(read: Iterable[str]) -> list[str]:
    """Return the text of each helper that is read, or that one of those calls, in an order in which each knows what it calls."""
    wanted = set(read)
    for called in reversed(HELPERS):
        wanted.update(HELPERS[called].uses if called in wanted else ())
    for called, helper in HELPERS.items():
        wanted.update(helper.uses if called in wanted else ())
    order = sorted(HELPERS, key=lambda called: bool(HELPERS[called].uses))
    return [*([LANES] if "LANES" in wanted else []), *(_printed(called, HELPERS[called]) for called in order if called in wanted)]


def _printed(called: str, helper: Helper) -> str:
    told = [f"// {helper.does}"] if helper.does else []
    return "\n".join([*told, f"static {helper.result} {called}({helper.arguments})", "{", *(f"    {line}" for line in helper.lines), "}"])


COMPUTED = frozenset(RENAMED.get(known, known) for known, kind in ELEMENTWISE.items() if not issubclass(kind, Composed)) - {"where"}
"""The functions that a formula may call."""
assert LIBRARY.keys() | HELPERS.keys() >= COMPUTED, COMPUTED - LIBRARY.keys() - HELPERS.keys()
