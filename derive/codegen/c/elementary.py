"""Exponentials and their kin as straight lines of arithmetic, which compilers turn into loops over vector registers.

The formulas are those of the kernels for the CPU (``runtime.cpu.elementary``), with the same constants. Nothing branches, and where a
comparison is needed it is one of bits: compilers must not move arithmetic of floating point across it, and leave such a loop as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...runtime.common.coefficients import DOUBLE, SINGLE, Table


@dataclass(frozen=True)
class Format:
    """A type of numbers: how many bits there are, of which the fraction, its constants, and where the functions are at their ends.

    Attributes
    ----------
    bits, fraction : int
    table : Table
    exp_end, sigmoid_end, tanh_end : float
        Beyond, in magnitude, exp is infinite or 0, and what is made of it is 0 or 1.
    """

    bits: int
    fraction: int
    table: Table
    exp_end: float
    sigmoid_end: float
    tanh_end: float

    @property
    def bias(self) -> int:
        return 2 ** (self.bits - self.fraction - 2) - 1

    @property
    def unsigned(self) -> str:
        return f"uint{self.bits}_t"

    def literal(self, value: int) -> str:
        return f"UINT{self.bits}_C({value:#x})"

    @property
    def sign(self) -> str:
        return self.literal(1 << (self.bits - 1))

    @property
    def size(self) -> str:
        """What is not the sign."""
        return self.literal((1 << (self.bits - 1)) - 1)

    @property
    def infinite(self) -> str:
        return self.literal((2 * self.bias + 1) << self.fraction)

    @property
    def shifter(self) -> float:
        """What rounds a number that is added to it: 1.5 times the power of two whose last bit is 1."""
        return 1.5 * 2.0**self.fraction

    @property
    def shifted(self) -> str:
        """The bits of that number."""
        return self.literal(((self.bias + self.fraction) << self.fraction) | (1 << (self.fraction - 1)))


FORMATS = {"float": Format(32, 23, SINGLE, 112.0, 88.0, 10.0), "double": Format(64, 52, DOUBLE, 755.0, 709.0, 20.0)}


def horner(coefficients: tuple[float, ...]) -> str:
    """Return a polynomial in r."""
    first, *rest = coefficients
    return f"(R({first!r}) + r * {horner(tuple(rest))})" if rest else f"R({first!r})"


def limited(form: Format) -> tuple[str, ...]:
    return (
        "const number given = {x}, most = {limit};",
        f"const {form.unsigned} size = given.bits & {form.size};",
        f"const {form.unsigned} nan = 0 - ({form.unsigned})(size > {form.infinite});",
        "number made;",
        f"made.bits = (given.bits & {form.sign}) | (size < most.bits ? size : most.bits) | nan;",
        "return made.value;",
    )


def power_of_two(form: Format) -> tuple[str, ...]:
    return ("number made;", f"made.bits = ({form.unsigned})(k + {form.bias}) << {form.fraction};", "return made.value;")


def exponent(form: Format) -> tuple[str, ...]:
    return (
        f"const number moved = {{x * R({form.table.log2_e!r}) + R({form.shifter!r})}};",
        f"return (int32_t)(moved.bits - {form.shifted});",
    )


def fraction(form: Format) -> tuple[str, ...]:
    high, low = form.table.ln2_short
    return (
        f"const real r = (x - (real)k * R({high!r})) - (real)k * R({low!r});",
        f"return r + r * r * {horner(form.table.expm1)};",
    )


def fast_exp(form: Format) -> tuple[str, ...]:
    return (
        f"const real c = limited(x, R({form.exp_end!r}));",
        "const int32_t k = exponent(c);",
        "return (R(1.0) + fraction(c, k)) * power_of_two(k / 2) * power_of_two(k - k / 2);",
    )


def sigmoid(form: Format) -> tuple[str, ...]:
    return (
        f"const real c = limited(-x, R({form.sigmoid_end!r}));",
        "const int32_t k = exponent(c);",
        "const real power = power_of_two(k);",
        "return R(1.0) / (R(1.0) + (power + power * fraction(c, k)));",
    )


def fast_tanh(form: Format) -> tuple[str, ...]:
    return (
        f"const real c = limited(x + x, R({2 * form.tanh_end!r}));",
        "const int32_t k = exponent(c);",
        "const real power = power_of_two(k);",
        "const real rest = power * fraction(c, k);",
        "return (rest + (power - R(1.0))) / (rest + (power + R(1.0)));",
    )
