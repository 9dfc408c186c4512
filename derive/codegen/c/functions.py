"""The functions that formulas call and the standard library has not, as C; each is emitted where it is used.

`R` gives a constant, or a function of the library, the type of the file: ``R(0.5)`` is ``0.5f``, ``R(exp)`` is ``expf``, for float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...calculus.functions import FUNCTIONS as ELEMENTWISE
from ...calculus.functions import Composed
from ..layout import RENAMED
from ..source import Source, name
from . import elementary
from .elementary import FORMATS, Format
from .text import INDENT, folded_head, refolded

LIBRARY = {known: known for known in ("log", "sqrt", "erf", "sin", "cos", "floor")}
LIBRARY |= {"absolute": "fabs", "nearest": "nearbyint", "power": "pow"}
"""Functions of the standard library, by the names that emitted code has for them."""
OWN = {"exp": "fast_exp", "tanh": "fast_tanh"}
"""Those that the file has instead."""


@dataclass(frozen=True)
class Helper:
    """A function of the file: what it is for, its arguments, its lines, and which others it calls."""

    does: str
    arguments: str
    lines: tuple[str, ...] | Callable[[Format], tuple[str, ...]]
    uses: tuple[str, ...] = ()
    result: str = "real"


def _of_one(value: str, does: str = "", *uses: str) -> Helper:
    return Helper(does, "real x", (f"return {value};",), uses)


def _of_two(value: str, does: str = "") -> Helper:
    return Helper(does, "real a, real b", (f"return {value};",))


PARTS = ("limited", "exponent", "fraction", "power_of_two")
PRODUCT = "size_t rows, size_t columns, const real *restrict matrix, const real *restrict vector, real *restrict out"
DOT = (
    "const size_t whole = columns / LANES * LANES;",
    "for (size_t i = 0; i < rows; ++i) {",
    "    const real *row = matrix + i * columns;",
    "    real parts[LANES] = {R(0.0)};",
    "    for (size_t j = 0; j < whole; j += LANES) {",
    "        for (size_t k = 0; k < LANES; ++k) {",
    "            parts[k] += row[j + k] * vector[j + k];",
    "        }",
    "    }",
    "    for (size_t half = LANES / 2; half > 0; half /= 2) {",
    "        for (size_t k = 0; k < half; ++k) {",
    "            parts[k] += parts[k + half];",
    "        }",
    "    }",
    "    real total = parts[0];",
    "    for (size_t j = whole; j < columns; ++j) {",
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
    "softplus": _of_one(
        "(x < R(0.0) ? R(0.0) : x) + R(log1p)(fast_exp(-R(fabs)(x)))", "log(1 + e^x), which does not overflow.", "fast_exp"
    ),
    "logsigmoid": _of_one("-softplus(-x)", "", "softplus"),
    "limited": Helper("x, but not larger than limit in magnitude; NaN as it is.", "real x, real limit", elementary.limited, ("number",)),
    "power_of_two": Helper(
        "2^k, for an exponent that the type has; 0 for the one below.", "int32_t k", elementary.power_of_two, ("number",)
    ),
    "exponent": Helper("The k in e^x = 2^k (1 + p).", "real x", elementary.exponent, ("number",), "int32_t"),
    "fraction": Helper("The p in e^x = 2^k (1 + p).", "real x, int32_t k", elementary.fraction),
    "fast_exp": Helper("e^x, in a loop with others.", "real x", elementary.fast_exp, PARTS),
    "fast_tanh": Helper("(e^2x - 1) / (e^2x + 1).", "real x", elementary.fast_tanh, PARTS),
    "sigmoid": Helper("1 / (1 + e^-x).", "real x", elementary.sigmoid, PARTS),
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
            "    total += fast_exp(v[j] - top);",
            "}",
            "return R(log)(total) + top;",
        ),
        ("fast_exp",),
    ),
}
DECLARED = {
    "LANES": "enum { LANES = 8 };  // the terms of a product are summed in so many parts, which compilers keep in vector registers",
    "number": "typedef union {{ real value; {unsigned} bits; }} number;  // to work on the bits of a number",
}


def words() -> frozenset[str]:
    """Return every name in the text of the helpers: one of the file's own would be hidden there by an argument or a variable."""
    texts = (text for helper in HELPERS.values() for form in FORMATS.values() for text in (helper.arguments, *_lines(helper, form)))
    return frozenset(found for text in texts for found in re.findall(r"[A-Za-z_]\w*", text))


def function(called: str) -> Source:
    """Return what a formula calls."""
    return Source(f"R({LIBRARY[called]})") if called in LIBRARY else name(OWN.get(called, called))


def printed_helpers(read: Iterable[str], real: str) -> list[str]:
    """Return the text of each helper that is read, or that one of those calls, after what it calls, for numbers of a type."""
    wanted = set(read)
    while more := {used for called in wanted & HELPERS.keys() for used in HELPERS[called].uses} - wanted:
        wanted |= more
    form = FORMATS[real]
    declared = [
        text.format(unsigned=form.unsigned) if called == "number" else text for called, text in DECLARED.items() if called in wanted
    ]
    return [*declared, *(_printed(called, HELPERS[called], form) for called in sorted(wanted & HELPERS.keys(), key=_depth))]


def _depth(called: str) -> tuple[int, int]:
    """Return how many calls a helper is away from one that calls none, and its place in the table."""
    below = [_depth(used)[0] for used in HELPERS[called].uses if used in HELPERS]
    return 1 + max(below, default=0), [*HELPERS].index(called)


def _lines(helper: Helper, form: Format) -> tuple[str, ...]:
    return helper.lines if isinstance(helper.lines, tuple) else helper.lines(form)


def _printed(called: str, helper: Helper, form: Format) -> str:
    told = [f"// {helper.does}"] if helper.does else []
    lines = _lines(helper, form)
    head = folded_head(f"static inline {helper.result} {called}({helper.arguments})")
    return "\n".join([*told, *head, "{", *(part for line in lines for part in refolded(f"{INDENT}{line}")), "}"])


COMPUTED = frozenset(RENAMED.get(known, known) for known, kind in ELEMENTWISE.items() if not issubclass(kind, Composed)) - {"where"}
"""The functions that a formula may call."""
assert LIBRARY.keys() | OWN.keys() | HELPERS.keys() >= COMPUTED
