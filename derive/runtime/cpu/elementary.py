"""Elementary functions as straight lines of arithmetic: `exp`, `log`, `sin`, `tanh`, `erf` … over `Real`, for both formats.

The reductions are the textbook ones (Muller, *Elementary Functions*, 3rd ed.; Cody and Waite 1980 for constants in parts): to
|r| <= ln(2)/2 with an exact product; to 2 atanh(s) with s = f / (2 + f) for the logarithm; to |r| <= pi/4 for sine and cosine,
with pi/2 in four parts. erfc(a) = exp(-a^2) erfcx(a), and erfcx(a) (a + K) is a polynomial in (a - K) / (a + K) (Shepherd and Laframboise
1981, Math. Comp. 36:249). The constants are in `coefficients`.

Everywhere: NaN stays NaN, results underflow gradually, and both sides of every selection are computed, so no lane ever branches.
"""

from __future__ import annotations

import math

from ..common.coefficients import DOUBLE, SINGLE, Table
from .real import FLOAT64, Bits, Real, fma, horner, less_product, two_product, two_sum
from .target import TARGET

INFINITY, NAN = math.inf, math.nan


def table(x: Real) -> Table:
    return DOUBLE if x.format is FLOAT64 else SINGLE


def ln2(x: Real) -> tuple[float, float]:
    """ln(2) in two parts: the first times an exponent is not rounded before it is added to."""
    return table(x).ln2 if TARGET.fused else table(x).ln2_short


def absolute(x: Real) -> Real:
    return x.intrinsic("fabs")


def sqrt(x: Real) -> Real:
    return x.intrinsic("sqrt")


# ---- exponentials ----


def exp_parts(x: Real) -> tuple[Bits, Real]:
    """k and p with exp(x) = 2^k (1 + p); k stands in the low bits of the shifted number that rounded it."""
    constants = table(x)
    shifted = fma(x, constants.log2_e, x.format.shifter)
    k = shifted - x.format.shifter
    high, low = ln2(x)
    r = fma(k, -low, fma(k, -high, x))
    return shifted.bits(), fma(r * r, horner(r, constants.expm1), r)


def power_of_two(k: Bits, shift: int = 0) -> Real:
    """2^(k + shift), a normal number; `k` as in `exp_parts`."""
    return ((k + (k.format.bias + shift)) << k.format.fraction).real()


def scale(x: Real, k: Bits) -> Real:
    """x 2^k in two steps, so that it overflows and underflows as one rounded product would."""
    biased = k - (k.format.pattern(k.format.shifter) - 2 * k.format.bias)
    half = biased >> 1
    return x * (half << k.format.fraction).real() * ((biased - half) << k.format.fraction).real()


def exp(x: Real) -> Real:
    low, high = table(x).exp_domain
    k, p = exp_parts(x.at_least(low).at_most(high))
    return scale(1.0 + p, k)


def expm1(x: Real) -> Real:
    """exp(x) - 1; half of it at first, because 2^k overflows before it does."""
    constants = table(x)
    k, p = exp_parts(x.at_least(-2.0 * constants.one_at).at_most(constants.exp_domain[1]))
    half = power_of_two(k, -1)
    return x.select(absolute(x) < 2.0 * x.format.tiny, x, 2.0 * fma(half, p, half - 0.5))


def tanh(x: Real) -> Real:
    """(e - 1) / (e + 1) with e = exp(2 |x|) = 2^k (1 + p): an error of e is in both, and falls out of the quotient as e grows."""
    a = absolute(x).at_most(table(x).one_at)
    k, p = exp_parts(a + a)
    power = power_of_two(k)
    return (fma(power, p, power - 1.0) / fma(power, p, power + 1.0)).intrinsic("copysign", x)


def logistic_parts(x: Real) -> tuple[float, Real]:
    """c and c (1 + exp(-x)), with c a power of two so small that this is finite until x exp(x) rounds to 0."""
    low, shift = table(x).exp_domain[0], table(x).logistic_shift
    k, p = exp_parts(-x.at_least(low).at_most(40.0))
    power = power_of_two(k, -shift)
    return 2.0**-shift, fma(power, p, power) + 2.0**-shift


def sigmoid(x: Real) -> Real:
    c, divisor = logistic_parts(x)
    return c / divisor


def silu(x: Real) -> Real:
    """x sigmoid(x); 0 at minus infinity."""
    c, divisor = logistic_parts(x)
    small = x < 1.0  # the quotient would overflow for a large x, and c x lose digits of a tiny one
    finite = x.at_least(table(x).exp_domain[0])
    return x.select(small, finite, x * c) / divisor * x.select(small, c, 1.0)


def elu(x: Real) -> Real:
    return x.select(x > 0.0, x, expm1(x))


# ---- logarithms ----


def log_parts(x: Real) -> tuple[Bits, Real]:
    """k + bias and m with x = 2^k m, sqrt(1/2) <= m < sqrt(2), for normal positive x."""
    form = x.format
    start = form.pattern(table(x).sqrt_half)
    moved = x.bits() + (form.pattern(1.0) - start)
    return moved >> form.fraction, ((moved & (2**form.fraction - 1)) + start).real()


def log_sum(k: Real, f: Real) -> Real:
    """k ln(2) + log(1 + f), for 1 + f between sqrt(1/2) and sqrt(2)."""
    high, low = ln2(f)
    s = f / (2.0 + f)
    z = s * s
    half_square = 0.5 * f * f
    correction = fma(s, fma(z, horner(z, table(f).atanh), half_square), k * low)
    return fma(k, high, f - (half_square - correction))


def exponent(biased: Bits) -> Real:
    """`biased` - bias as a number, by way of the low bits of 2^fraction: AVX2 converts no 64-bit integer."""
    offset = 2.0**biased.format.fraction
    return (biased | biased.format.pattern(offset)).real() - (offset + biased.format.bias)


def with_poles(x: Real, pole: float, value: Real) -> Real:
    """The logarithm's `value` for arguments above `pole`: minus infinity at it, NaN below, infinity (and NaN) as they are."""
    value = x.select(x < INFINITY, value, x)
    return x.select(x < pole, NAN, x.select(x.equals(pole), -INFINITY, value))


def log(x: Real) -> Real:
    digits = x.format.fraction + 2.0
    subnormal = x < x.format.tiny
    biased, m = log_parts(x.select(subnormal, x * 2.0**digits, x))
    k = exponent(biased) - x.select(subnormal, digits, 0.0)
    return with_poles(x, 0.0, log_sum(k, m - 1.0))


def log1p_finite(x: Real) -> Real:
    """log(1 + x) for finite x > -1: what 1 + x lost is added to the reduced argument."""
    total, lost = two_sum(x.constant(1.0), x)
    biased, m = log_parts(total)
    twice_reciprocal = (biased.taken_from(2 * x.format.bias + 1) << x.format.fraction).real()  # 2^(1 - k), 0 where k is greatest
    return log_sum(exponent(biased), fma(0.5 * lost, twice_reciprocal, m - 1.0))


def log1p(x: Real) -> Real:
    return with_poles(x, -1.0, x.select(absolute(x) < x.format.tiny, x, log1p_finite(x)))


def softplus(x: Real) -> Real:
    """logaddexp(x, 0) = max(x, 0) + log1p(exp(-|x|))."""
    return x.select(x < 0.0, 0.0, x) + log1p_finite(exp(-absolute(x)))


def logsigmoid(x: Real) -> Real:
    return -softplus(-x)


def power(x: Real, p: Real) -> Real:
    """exp(p log(x)) for a constant p that is not an integer: NaN for x < 0. The relative error grows with |p log(x)|."""
    return exp(p * log(x))


# ---- circular functions ----


def quadrant(x: Real) -> tuple[Bits, Real, Real]:
    """n mod 4 and r, as a sum of two, with x = n pi/2 + r. The first difference is exact: x - n fl(pi/2) fits the format."""
    constants, shifter, (p0, p1, p2, p3) = table(x), x.format.shifter, table(x).half_pi
    first = fma(x, constants.two_over_pi, shifter)
    n = first - shifter
    near = fma(n, -p1, less_product(x, n, p0))  # of a large n, the second part is worth a tenth of a turn
    second = fma(near, constants.two_over_pi, shifter)  # the rounding of x 2/pi may be worth a turn
    n = n + (second - shifter)
    product, product_error = two_product(n, p1)
    high, low = two_sum(less_product(x, n, p0), -product)
    low = fma(n, -p3, fma(n, -p2, low - product_error))
    total, rest = two_sum(high, low)
    return (first.bits() + second.bits()) & 3, x.select(absolute(x) < constants.angle_limit, total, NAN), rest


def sine_of(x: Real, turn: int) -> Real:
    """sin(x + turn pi/2)."""
    constants = table(x)
    n, r, rest = quadrant(x)
    n = n + turn
    z = r * r
    sine = r + fma(r * z, horner(z, constants.sin), rest)
    half = 0.5 * z
    near_one = 1.0 - half
    cosine = near_one + (((1.0 - near_one) - half) + fma(z * z, horner(z, constants.cos), -(r * rest)))
    value = x.select((n & 1).nonzero(), cosine, sine)
    return (value.bits() ^ ((n & 2) << (x.format.bits - 2))).real()


def sin(x: Real) -> Real:
    return x.select(absolute(x) < x.format.tiny, x, sine_of(x, 0))


def cos(x: Real) -> Real:
    return sine_of(x, 1)


# ---- error function ----


def erfc_times(a: Real, square: Real, lost: Real, factor: Real) -> Real:
    """factor erfc(a) for 0 <= a <= `erfc_end`, where a^2 = square + lost."""
    centre = table(a).erfcx_centre
    k, p = exp_parts(-square)
    e = 1.0 + p
    inverse = 1.0 / (a + centre)
    scaled = horner((a - centre) * inverse, table(a).erfcx) * inverse
    return scale(fma(-e, lost, e) * scaled * factor, k)


def erfc_positive(x: Real) -> Real:
    """erfc(|x|)."""
    a = absolute(x).at_most(table(x).erfc_end)
    return erfc_times(a, *two_product(a, a), a.constant(1.0))


def erfc(x: Real) -> Real:
    tail = erfc_positive(x)
    return x.select(x < 0.0, 2.0 - tail, tail)


def erf(x: Real) -> Real:
    far = (1.0 - erfc_positive(x)).intrinsic("copysign", x)
    return x.select(absolute(x) < 1.0, fma(x, horner(x * x, table(x).erf), x), far)


def half_erfc_of(a: Real, factor: Real) -> Real:
    """factor erfc(a / sqrt(2)) / 2: the square is exact, only the slow erfcx sees the rounded quotient."""
    square, lost = two_product(a, a)
    return erfc_times(a * table(a).sqrt_half, 0.5 * square, 0.5 * lost, 0.5 * factor)


def normal_cdf(x: Real) -> Real:
    """erfc(-x / sqrt(2)) / 2."""
    a = absolute(x).at_most(table(x).erfc_end * math.sqrt(2.0))
    tail = half_erfc_of(a, a.constant(1.0))
    return x.select(x > 0.0, 1.0 - tail, tail)


def gelu(x: Real) -> Real:
    """x Phi(x) = max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2."""
    a = absolute(x).at_most(table(x).erfc_end * math.sqrt(2.0))
    tail = half_erfc_of(a, a)
    return x.select(x < 0.0, -tail, x - tail)


# ---- piecewise functions ----


def softsign(x: Real) -> Real:
    """x / (1 + |x|); 1 at infinity."""
    a = absolute(x).at_most(2.0 ** (x.format.fraction + 2))
    return (a / (1.0 + a)).intrinsic("copysign", x)


def relu(x: Real) -> Real:
    return x.select(x <= 0.0, 0.0, x)


def hard_tanh(x: Real) -> Real:
    return x.at_least(-1.0).at_most(1.0)


def hard_sigmoid(x: Real) -> Real:
    """min(max(x + 3, 0), 6) / 6."""
    return (x + 3.0).at_least(0.0).at_most(6.0) / 6.0


def maximum(a: Real, b: Real) -> Real:
    return a.select(a.builder.or_(a > b, a.is_nan()), a, b)


def minimum(a: Real, b: Real) -> Real:
    return a.select(a.builder.or_(a < b, a.is_nan()), a, b)


def clip(x: Real, low: Real, high: Real) -> Real:
    return x.select(x < low, low, x.select(x > high, high, x))


def between(x: Real, low: Real, high: Real) -> Real:
    return x.select(x < low, 0.0, x.select(x > high, 0.0, 1.0))


def sign(x: Real) -> Real:
    return x.select(x > 0.0, 1.0, x.select(x < 0.0, -1.0, x))


def floor(x: Real) -> Real:
    return x.intrinsic("floor")


def nearest(x: Real) -> Real:
    """The nearest integer; of two as near, the even one."""
    return x.intrinsic("rint")


def step(x: Real) -> Real:
    return x.select(x > 0.0, 1.0, 0.0)


def above(a: Real, b: Real) -> Real:
    return a.select(a > b, 1.0, a.select(a.equals(b), 0.5, 0.0))


def inside(x: Real, bound: Real) -> Real:
    return x.select(absolute(x) < bound, 1.0, 0.0)
