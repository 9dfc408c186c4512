"""The elementary functions of emitted GPU kernels: the names and the values of `..vector`, written with `math` alone.

    functions = device_functions(cuda.jit(device=True, forceinline=True), float32)

On the GPU `math` is libdevice; given a decorator that does nothing, the same text runs as plain Python, where `math` refuses what it always
refuses: the logarithm of 0, an exponential beyond the range. Every constant is made in the kernel's own format, since one literal would
widen float32 to float64. The bounds of `..vector` are not promised: libdevice has its own, of a few units in the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..common.coefficients import SINGLE

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


def device_functions(device: Decorator, real: Any, fast: bool = False, ptx: Any = None) -> SimpleNamespace:
    """Return the elementary functions by the names that emitted code uses.

    Parameters
    ----------
    device : callable
        Decorator of every function: ``cuda.jit(device=True, forceinline=True)``, or the identity for plain Python.
    real : type
        The format, a Numba type or a NumPy or Python class: what makes its constants.
    fast : bool
        Whether `tanh`, `sigmoid` and `silu` may come from the hardware's tanh: float32 whose results are stored in 16 bits.
    ptx : module
        Where `fast` finds ``tanh_fast``: the module of this name, or a twin for plain Python.
    """
    made = {**_plain(device, real), **_selections(device, real), **_piecewise(device, real), **_exponentials(device, real)}
    made |= _fast_gates(device, real, ptx) if fast else _gates(device, real)
    made |= _circular_single(device, real) if isinstance(real(0), np.float32) else _circular(device, real)
    made |= _bell(device, real)
    return SimpleNamespace(**made, abs=made["absolute"], heaviside=made["step"])


def _named(*functions: Function) -> dict[str, Function]:
    return {function.__name__: function for function in functions}


def _plain(device: Decorator, real: Any) -> dict[str, Function]:
    @device
    def absolute(x: Any) -> Any:
        return abs(x)

    @device
    def square(x: Any) -> Any:
        return x * x

    @device
    def sqrt(x: Any) -> Any:
        return real(math.sqrt(x))

    @device
    def log(x: Any) -> Any:
        return real(math.log(x))

    @device
    def log1p(x: Any) -> Any:
        return real(math.log1p(x))

    @device
    def power(x: Any, p: Any) -> Any:
        return real(math.pow(x, real(p)))

    return _named(absolute, square, sqrt, log, log1p, power)


def _selections(device: Decorator, real: Any) -> dict[str, Function]:
    zero, half, one = real(0), real(0.5), real(1)

    @device
    def where(condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b

    @device
    def maximum(a: Any, b: Any) -> Any:
        return a if a > b or a != a else b

    @device
    def minimum(a: Any, b: Any) -> Any:
        return a if a < b or a != a else b

    @device
    def above(a: Any, b: Any) -> Any:
        return one if a > b else half if a == b else zero

    @device
    def inside(x: Any, bound: Any) -> Any:
        return one if abs(x) < bound else zero

    @device
    def clip(x: Any, low: Any, high: Any) -> Any:
        return low if x < low else high if x > high else x

    @device
    def between(x: Any, low: Any, high: Any) -> Any:
        return zero if x < low or x > high else one

    return _named(where, maximum, minimum, above, inside, clip, between)


def _piecewise(device: Decorator, real: Any) -> dict[str, Function]:
    """Where a comparison with NaN is false, NaN is what is left."""
    zero, half, one, three, sixth, huge = real(0), real(0.5), real(1), real(3), real(1 / 6), real(2.0**60)

    @device
    def floor(x: Any) -> Any:
        return real(math.floor(x)) if abs(x) < huge else x  # what is larger is an integer

    @device
    def nearest(x: Any) -> Any:
        below = floor(x)
        rest, pair = x - below, below * half
        odd = one if pair != floor(pair) else zero
        return below if rest < half else below + one if rest > half else below + odd

    @device
    def step(x: Any) -> Any:
        return one if x > zero else zero

    @device
    def sign(x: Any) -> Any:
        return one if x > zero else -one if x < zero else x

    @device
    def relu(x: Any) -> Any:
        return zero if x <= zero else x

    @device
    def hard_tanh(x: Any) -> Any:
        return -one if x < -one else one if x > one else x

    @device
    def hard_sigmoid(x: Any) -> Any:
        return zero if x < -three else one if x > three else (x + three) * sixth

    @device
    def softsign(x: Any) -> Any:
        finite = -huge if x < -huge else huge if x > huge else x  # 1 at infinity
        return finite / (one + abs(finite))

    return _named(floor, nearest, step, sign, relu, hard_tanh, hard_sigmoid, softsign)


def _exponentials(device: Decorator, real: Any) -> dict[str, Function]:
    zero = real(0)

    @device
    def exp(x: Any) -> Any:
        return real(math.exp(x))

    @device
    def expm1(x: Any) -> Any:
        return real(math.expm1(x))

    @device
    def elu(x: Any) -> Any:
        return x if x > zero else expm1(x)

    @device
    def softplus(x: Any) -> Any:
        return (zero if x < zero else x) + real(math.log1p(math.exp(-abs(x))))

    @device
    def logsigmoid(x: Any) -> Any:
        return -softplus(-x)

    return _named(exp, expm1, elu, softplus, logsigmoid)


def _gates(device: Decorator, real: Any) -> dict[str, Function]:
    zero, one, low = real(0), real(1), real(-1e4)

    @device
    def tanh(x: Any) -> Any:
        return real(math.tanh(x))

    @device
    def sigmoid(x: Any) -> Any:
        e = real(math.exp(-abs(x)))
        return (e if x < zero else one) / (one + e)

    @device
    def silu(x: Any) -> Any:
        return (low if x < low else x) * sigmoid(x)  # 0 at minus infinity

    return _named(tanh, sigmoid, silu)


def _fast_gates(device: Decorator, real: Any, ptx: Any) -> dict[str, Function]:
    half, low = real(0.5), real(-1e4)

    @device
    def tanh(x: Any) -> Any:
        return ptx.tanh_fast(x)

    @device
    def sigmoid(x: Any) -> Any:
        return half * ptx.tanh_fast(half * x) + half

    @device
    def silu(x: Any) -> Any:
        return (low if x < low else x) * sigmoid(x)  # 0 at minus infinity

    return _named(tanh, sigmoid, silu)


def _bell(device: Decorator, real: Any) -> dict[str, Function]:
    half, low, sqrt_half = real(0.5), real(-1e4), real(math.sqrt(0.5))

    @device
    def erf(x: Any) -> Any:
        return real(math.erf(x))

    @device
    def erfc(x: Any) -> Any:
        return real(math.erfc(x))

    @device
    def normal_cdf(x: Any) -> Any:
        return half * erfc(-x * sqrt_half)

    @device
    def gelu(x: Any) -> Any:
        return (low if x < low else x) * normal_cdf(x)  # 0 at minus infinity

    return _named(erf, erfc, normal_cdf, gelu)


def _circular(device: Decorator, real: Any) -> dict[str, Function]:
    @device
    def sin(x: Any) -> Any:
        return real(math.sin(x))

    @device
    def cos(x: Any) -> Any:
        return real(math.cos(x))

    return _named(sin, cos)


def _circular_single(device: Decorator, real: Any) -> dict[str, Function]:
    """Sine and cosine in float32: libdevice's own takes float64 and local memory for large angles. NaN beyond 2^22, as in `..vector`."""
    zero, half, one, nan = real(0), real(0.5), real(1), real(math.nan)
    limit, tiny, two_over_pi = real(SINGLE.angle_limit), real(2.0**-12), real(SINGLE.two_over_pi)
    p0, p1, p2, p3 = (real(part) for part in SINGLE.half_pi)
    s0, s1, s2 = (real(c) for c in SINGLE.sin)
    c0, c1, c2 = (real(c) for c in SINGLE.cos)

    @device
    def sine_after(x: Any, turn: int) -> Any:
        """sin(x + turn π/2); the products below are exact where the hardware fuses them."""
        angle = x if abs(x) < limit else zero
        k = real(math.floor(angle * two_over_pi + half))
        r = (((angle - k * p0) - k * p1) - k * p2) - k * p3
        n, z = int(k) + turn, r * r
        cosine = one - half * z + z * z * (c0 + z * (c1 + z * c2))
        value = cosine if n & 1 else r + r * z * (s0 + z * (s1 + z * s2))
        return (-value if n & 2 else value) if abs(x) < limit else nan

    @device
    def sin(x: Any) -> Any:
        return x if abs(x) < tiny else sine_after(x, 0)

    @device
    def cos(x: Any) -> Any:
        return sine_after(x, 1)

    return _named(sin, cos)
