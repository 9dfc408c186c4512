"""Real numbers as they are traced into LLVM IR: the arithmetic that `elementary` writes its formulas in.

A formula is an ordinary Python function over `Real`. Called once while Numba lowers a kernel, it leaves its straight line of instructions
in the loop it stands in: no call and no branch, so LLVM vectorises the loop; nothing for Numba to infer, so it costs little compile time.

Rounding is fixed by the formula alone. Products and sums carry no fast-math flag, so a caller's ``fastmath={"contract"}`` changes nothing;
where a fused multiply-add is wanted, the formula says `fma`.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Union

from llvmlite import ir

from .target import TARGET

# Numba adds its fast-math flags to every instruction whose list of flags is empty; a blank flag keeps error-free transformations exact.
PLAIN = ("",)


@dataclass(frozen=True)
class Format:
    """A binary floating-point format: its LLVM type, its layout and the constants that follow from it."""

    type: ir.Type
    bits: int
    fraction: int  # stored bits of the significand
    pack: tuple[str, str]  # struct codes of the float and of the unsigned integer of its size

    @property
    def tiny(self) -> float:
        """The smallest normal number."""
        return math.ldexp(1.0, 1 - self.bias)

    @property
    def shifter(self) -> float:
        """Adding it rounds to an integer and leaves that integer in the low bits."""
        return math.ldexp(1.5, self.fraction)

    @property
    def bias(self) -> int:
        return (1 << (self.bits - self.fraction - 2)) - 1

    def pattern(self, number: float) -> int:
        """The bit pattern of `number`."""
        code, integer = self.pack
        return int(struct.unpack(integer, struct.pack(code, number))[0])


FLOAT64 = Format(ir.DoubleType(), 64, 52, ("d", "Q"))
FLOAT32 = Format(ir.FloatType(), 32, 23, ("f", "I"))
FORMATS = {64: FLOAT64, 32: FLOAT32}

Number = Union["Real", float]


@dataclass(frozen=True)
class Bits:
    """The bit pattern of a `Real`, an unsigned integer that wraps around. Shifts are logical: AVX2 has no arithmetic one at 64 bits."""

    builder: ir.IRBuilder
    value: ir.Value
    format: Format

    def _with(self, operation: str, other: Bits | int) -> Bits:
        right = other.value if isinstance(other, Bits) else ir.Constant(self.value.type, other % 2**self.format.bits)
        return Bits(self.builder, getattr(self.builder, operation)(self.value, right), self.format)

    def __add__(self, other: Bits | int) -> Bits:
        return self._with("add", other)

    def __sub__(self, other: Bits | int) -> Bits:
        return self._with("sub", other)

    def taken_from(self, number: int) -> Bits:
        """`number` - self."""
        return Bits(self.builder, ir.Constant(self.value.type, number), self.format) - self

    def __and__(self, other: Bits | int) -> Bits:
        return self._with("and_", other)

    def __or__(self, other: Bits | int) -> Bits:
        return self._with("or_", other)

    def __xor__(self, other: Bits | int) -> Bits:
        return self._with("xor", other)

    def __lshift__(self, count: int) -> Bits:
        return self._with("shl", count)

    def __rshift__(self, count: int) -> Bits:
        return self._with("lshr", count)

    def nonzero(self) -> ir.Value:
        return self.builder.icmp_unsigned("!=", self.value, ir.Constant(self.value.type, 0))

    def real(self) -> Real:
        return Real(self.builder, self.builder.bitcast(self.value, self.format.type), self.format)


@dataclass(frozen=True)
class Real:
    """A scalar of one format. Comparisons are ordered: false when an operand is NaN."""

    builder: ir.IRBuilder
    value: ir.Value
    format: Format

    def constant(self, number: Number) -> Real:
        """`number` in the format of this one, rounded once."""
        return number if isinstance(number, Real) else self._new(ir.Constant(self.format.type, number))

    def _new(self, value: ir.Value) -> Real:
        return Real(self.builder, value, self.format)

    def _with(self, operation: str, left: Number, right: Number) -> Real:
        return self._new(getattr(self.builder, operation)(self.constant(left).value, self.constant(right).value, flags=PLAIN))

    def __add__(self, other: Number) -> Real:
        return self._with("fadd", self, other)

    def __sub__(self, other: Number) -> Real:
        return self._with("fsub", self, other)

    def __mul__(self, other: Number) -> Real:
        return self._with("fmul", self, other)

    def __truediv__(self, other: Number) -> Real:
        return self._with("fdiv", self, other)

    def __rsub__(self, other: Number) -> Real:
        return self._with("fsub", other, self)

    def __rtruediv__(self, other: Number) -> Real:
        return self._with("fdiv", other, self)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> Real:
        return self._new(self.builder.fneg(self.value, flags=PLAIN))

    def _compare(self, relation: str, other: Number) -> ir.Value:
        return self.builder.fcmp_ordered(relation, self.value, self.constant(other).value)

    def __lt__(self, other: Number) -> ir.Value:
        return self._compare("<", other)

    def __le__(self, other: Number) -> ir.Value:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> ir.Value:
        return self._compare(">", other)

    def equals(self, other: Number) -> ir.Value:
        return self._compare("==", other)

    def is_nan(self) -> ir.Value:
        return self.builder.fcmp_unordered("uno", self.value, self.value)

    def select(self, condition: ir.Value, chosen: Number, otherwise: Number) -> Real:
        """`chosen` where `condition`, else `otherwise`, in this format; both are computed."""
        return self._new(self.builder.select(condition, self.constant(chosen).value, self.constant(otherwise).value))

    def at_most(self, bound: float) -> Real:
        """min(self, bound) that keeps NaN."""
        return self.select(self > bound, bound, self)

    def at_least(self, bound: float) -> Real:
        """max(self, bound) that keeps NaN."""
        return self.select(self < bound, bound, self)

    def bits(self) -> Bits:
        return Bits(self.builder, self.builder.bitcast(self.value, ir.IntType(self.format.bits)), self.format)

    def intrinsic(self, name: str, *others: Number) -> Real:
        """An LLVM intrinsic that the loop vectoriser knows: ``fabs``, ``copysign``, ``sqrt``."""
        kind = self.format.type
        signature = ir.FunctionType(kind, [kind] * (1 + len(others)))
        function = self.builder.module.declare_intrinsic(f"llvm.{name}", [kind], signature)
        return self._new(self.builder.call(function, [self.value, *(self.constant(other).value for other in others)]))


def fma(a: Real, b: Number, c: Number) -> Real:
    """a*b + c, rounded once where the target can: elsewhere it would be a library's function, called for each lane."""
    if not TARGET.fused:
        return a * b + c
    builder = a.builder
    return Real(builder, builder.fma(a.value, a.constant(b).value, a.constant(c).value), a.format)


def horner(x: Real, coefficients: tuple[float, ...]) -> Real:
    """The polynomial with `coefficients` from the constant term upwards."""
    total = x.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = fma(total, x, coefficient)
    return total


def two_sum(a: Real, b: Real) -> tuple[Real, Real]:
    """The rounded sum and its exact error (Knuth), whatever the order of magnitudes."""
    total = a + b
    from_b = total - a
    return total, (a - (total - from_b)) + (b - from_b)


def two_product(a: Real, b: Number) -> tuple[Real, Real]:
    """The rounded product and its exact error: of the halves of a and b (Dekker 1971) where no multiply-add is fused."""
    product = a * b
    if TARGET.fused:
        return product, fma(a, b, -product)
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(a.constant(b))
    return product, a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)


def _halves(a: Real) -> tuple[Real, Real]:
    """a as a sum of two numbers of half its bits (Veltkamp), for |a| far from overflow."""
    scaled = a * (2.0 ** (a.format.fraction // 2 + 1) + 1.0)
    high = scaled - (scaled - a)
    return high, a - high


def less_product(x: Real, a: Real, b: float) -> Real:
    """x - a*b, exactly, where that fits the format and the product is between x/2 and 2x."""
    if TARGET.fused:
        return fma(a, -b, x)
    product, error = two_product(a, b)
    return (x - product) - error
