"""Names of equations as C takes them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from ...calculus.naming import Names

_KEYWORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register restrict return short
signed sizeof static struct switch typedef union unsigned void volatile while asm fortran typeof bool complex imaginary alignas alignof
and and_eq bitand bitor catch char8_t char16_t char32_t class co_await co_return co_yield compl concept const_cast consteval constexpr
constinit decltype delete dynamic_cast explicit export false friend module mutable namespace new noexcept not not_eq nullptr operator or
or_eq private protected public reinterpret_cast requires static_assert static_cast template this thread_local throw true try typeid
typename using virtual wchar_t xor xor_eq
"""
_MACROS = """
I NULL EOF NAN INFINITY HUGE_VAL HUGE_VALF HUGE_VALL DOMAIN SING OVERFLOW UNDERFLOW PLOSS TLOSS MAXFLOAT M_E M_LOG2E M_LOG10E M_LN2 M_LN10
M_PI M_PI_2 M_PI_4 M_1_PI M_2_PI M_2_SQRTPI M_SQRT2 M_SQRT1_2 FP_NAN FP_INFINITE FP_ZERO FP_SUBNORMAL FP_NORMAL FP_ILOGB0 FP_ILOGBNAN
MATH_ERRNO MATH_ERREXCEPT errno math_errhandling isnan isinf isfinite isnormal signbit fpclassify isgreater isgreaterequal isless
islessequal islessgreater isunordered assert offsetof unix linux i386 near far min max small hyper interface huge IN OUT CONST
"""
_MATH = """
acos asin atan atan2 cos sin tan acosh asinh atanh cosh sinh tanh exp exp2 expm1 frexp ilogb ldexp log log10 log1p log2 logb modf scalbn
scalbln cbrt fabs hypot pow sqrt erf erfc lgamma tgamma ceil floor nearbyint rint lrint llrint round lround llround trunc fmod remainder
remquo copysign nan nextafter nexttoward fdim fmax fmin fma j0 j1 jn y0 y1 yn gamma scalb significand drem finite exp10 pow10 sincos
"""
_OTHERS = "abs labs llabs div index memcpy memmove memset memcmp strlen size_t ptrdiff_t float_t double_t signgam"

KEYWORDS = frozenset(_KEYWORDS.split())
"""Of C, and of C++, which may include the header."""
MACROS = frozenset(_MACROS.split())
"""Of the standard library, of compilers, and of systems whose headers stand beside."""
LIBRARY = frozenset([name + suffix for name in _MATH.split() for suffix in ("", "f", "l")] + _OTHERS.split())
"""Of the standard library, which compilers know without its headers."""


def spelled(name: str) -> str:
    """Return a name in letters of ASCII: Greek letters by their names, others by their numbers.

    >>> spelled("α_1"), spelled("Γ")
    ('alpha_1', 'Gamma')
    """
    return "".join(letter if letter.isascii() else _letter(letter) for letter in name)


def _letter(letter: str) -> str:
    words = unicodedata.name(letter, "").split()
    if words[:1] == ["GREEK"] and len(words) == 4 and words[2] == "LETTER":
        return words[3].capitalize() if words[1] == "CAPITAL" else words[3].lower()
    return f"u{ord(letter):x}"


class CNames(Names):
    """Names of one scope of C; `taken` are those that it must not hide."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        super().__init__((*KEYWORDS, *MACROS, *taken))

    def fresh(self, wish: str) -> str:
        """Return `wish`, as C takes it, numbered if it is taken, and take it."""
        return super().fresh(spelled(wish))
