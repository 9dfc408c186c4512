"""The vector mathematics against mpmath, at special values, and in the machine code of the loops that it stands in."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from derive.runtime.cpu import elementary, real
from derive.runtime.cpu import vector as v
from derive.runtime.cpu.target import TARGET, is_arm, is_x86

FORMATS = (np.float64, np.float32)
INFINITY = float("inf")
NAN = float("nan")

# Greatest error in units in the last place: float64, float32.
ULP = {
    "sqrt": (0.5, 0.5),
    "exp": (1.1, 1.1),
    "log": (1, 1),
    "sin": (1, 1),
    "cos": (1, 1),
    "expm1": (2.5, 2.5),
    "log1p": (1.5, 1.5),
    "tanh": (3, 3),
    "sigmoid": (2.5, 2.5),
    "silu": (2.5, 2.5),
    "elu": (1.5, 1.5),
    "softplus": (2, 2),
    "logsigmoid": (2, 2),
    "erf": (1.5, 1.5),
    "erfc": (7, 5),
    "normal_cdf": (7, 5),
    "gelu": (7, 5),
    "softsign": (2, 2),
    "hard_sigmoid": (1.5, 1.5),
}
ANGLE_LIMIT = {np.float64: 2.0**45, np.float32: 2.0**22}
CALLS_NO_LIBRARY = [name for name in ULP if name not in ("sqrt", "hard_sigmoid")]


def softplus(x: Any) -> Any:
    return max(x, mp.mpf(0)) + mp.log1p(mp.exp(-abs(x)))


def erfc(x: Any) -> Any:
    return mp.erfc(min(max(x, mp.mpf(-500)), mp.mpf(500)))  # mpmath's own fails at 1e300; beyond, nothing changes in any format


def sigmoid(x: Any) -> Any:
    return mp.exp(min(x, mp.mpf(0))) / (1 + mp.exp(-abs(x)))


REFERENCE: dict[str, Callable[[Any], Any]] = {
    "sqrt": mp.sqrt,
    "exp": mp.exp,
    "log": mp.log,
    "sin": mp.sin,
    "cos": mp.cos,
    "expm1": mp.expm1,
    "log1p": mp.log1p,
    "tanh": mp.tanh,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "elu": lambda x: x if x > 0 else mp.expm1(x),
    "softplus": softplus,
    "logsigmoid": lambda x: -softplus(-x),
    "erf": lambda x: mp.erf(x) if abs(x) < 500 else mp.sign(x),
    "erfc": erfc,
    "normal_cdf": lambda x: erfc(-x / mp.sqrt(2)) / 2,
    "gelu": lambda x: x * erfc(-x / mp.sqrt(2)) / 2,
    "softsign": lambda x: x / (1 + abs(x)),
    "hard_sigmoid": lambda x: min(max(x + 3, mp.mpf(0)), mp.mpf(6)) / 6,
}


@pytest.fixture(params=[True, False], ids=["fused", "unfused"])
def _fused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formulas with fused multiply-adds and, with the bits of processors that have none, without."""
    if request.param and not TARGET.fused:
        pytest.skip("this processor has no fused multiply-add")
    for module in (real, elementary):
        monkeypatch.setattr(module, "TARGET", replace(TARGET, fused=request.param))


@functools.cache
def loop(name: str, contract: bool, fused: bool) -> Any:
    """`name` over an array, in place; 1024 elements at a time need no remainder and no test of overlap."""
    function = getattr(v, name)

    @njit(error_model="numpy", fastmath={"contract"} if contract else False)
    def run(x: Any) -> None:
        for start in range(0, x.size, 1024):
            block = x[start : start + 1024]
            for j in range(1024):
                block[j] = function(block[j])

    return run


def apply(name: str, x: Any, kind: type = np.float64, contract: bool = True) -> np.ndarray:
    x = np.asarray(x, kind)
    padded = np.zeros(-(-x.size // 1024) * 1024, kind)
    padded[: x.size] = x.ravel()
    loop(name, contract, real.TARGET.fused)(padded)
    return padded[: x.size].reshape(x.shape)


@functools.cache
def arguments(kind: type, name: str) -> np.ndarray:
    """Every magnitude of the format, the ranges where the functions bend, neighbours of the points where they change form."""
    info, rng = np.finfo(kind), np.random.default_rng(7)
    special = np.array(
        [
            0.2,
            0.3465736,
            0.41421356,
            0.5,
            0.55,
            0.70710678,
            1,
            1.41421356,
            2,
            3,
            9.01,
            10,
            10.5,
            17.3,
            20,
            28,
            36.7,
            39.6,
            87.3,
            88.7,
            103.97,
        ]
    )
    special = np.concatenate(
        [special, [708.39, 709.78, 744.44, 745.13], np.arange(1, 120) * np.pi / 2, np.pi / 2 * 2.0 ** np.arange(2, 21)]
    ).astype(kind)
    near = np.concatenate([special, np.nextafter(special, kind(0)), np.nextafter(special, kind(INFINITY))])
    magnitudes = np.exp2(rng.uniform(np.log2(float(info.smallest_subnormal)), info.maxexp - 1e-3, 250))
    bends = np.concatenate([np.exp2(rng.uniform(-30, 10, 350)), rng.uniform(0, 1.5, 250), rng.uniform(0, 110, 200)])
    positive = np.concatenate([magnitudes.astype(kind), bends.astype(kind), near])
    x = np.concatenate([positive, -positive])
    if name in ("sin", "cos"):
        x = x[np.abs(x) < ANGLE_LIMIT[kind]]
    if name in ("sqrt", "log"):
        x = positive
    return x[x > -1] if name == "log1p" else x


def error_in_ulp(got: float, want: Any, info: Any) -> float:
    if abs(want) >= (2 - mp.mpf(2) ** (-info.nmant - 1)) * mp.mpf(2) ** (info.maxexp - 1):
        return 0.0 if got == mp.sign(want) * mp.inf else INFINITY
    exponent = max(mp.frexp(want)[1] - 1, info.minexp)
    return float(abs(mp.mpf(got) - want) / mp.mpf(2) ** (exponent - info.nmant))


@pytest.mark.usefixtures("_fused")
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", ULP)
def test_error_over_the_whole_range(name: str, kind: type) -> None:
    x = arguments(kind, name)
    with mp.workdps(40):
        errors = [
            error_in_ulp(float(got), REFERENCE[name](mp.mpf(float(t))), np.finfo(kind))
            for t, got in zip(x, apply(name, x, kind), strict=True)
        ]
    worst = int(np.argmax(errors))
    assert errors[worst] <= ULP[name][FORMATS.index(kind)], f"{errors[worst]:.2f} ulp at {x[worst]!r}"


@pytest.mark.parametrize("name", ULP)
def test_single_precision_densely_against_double(name: str) -> None:
    """One float32 in 4099 over all bit patterns; the float64 function is the reference."""
    info = np.finfo(np.float32)
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    x = x[np.isfinite(x) & ((np.abs(x) < ANGLE_LIMIT[np.float32]) | (name not in ("sin", "cos")))]
    want, got = apply(name, x), apply(name, x, np.float32)
    rounded_up = np.ldexp(2 - np.ldexp(1.0, -info.nmant - 1), info.maxexp - 1)
    regular = np.abs(want) < rounded_up
    ulp = np.ldexp(1.0, np.maximum(np.frexp(want[regular])[1] - 1, info.minexp) - info.nmant)
    assert (np.abs(got[regular] - want[regular]) / ulp).max() <= ULP[name][1]
    rest = ~regular
    np.testing.assert_array_equal(got[rest], np.where(np.isnan(want[rest]), NAN, np.copysign(INFINITY, want[rest])))


def test_the_table_of_bounds_in_the_module_is_the_tested_one() -> None:
    stated = {name: (float(a), float(b)) for name, a, b in re.findall(r"`(\w+)` (\d+(?:\.\d+)?) / (\d+(?:\.\d+)?)", v.__doc__)}
    assert stated == {name: (float(a), float(b)) for name, (a, b) in ULP.items()}


@pytest.mark.usefixtures("_fused")
@pytest.mark.parametrize("name", ["sin", "cos"])
def test_single_precision_angles_next_to_every_quarter_turn(name: str) -> None:
    x = (np.arange(1, 2_670_176) * (np.pi / 2)).astype(np.float32)
    want = getattr(np, name)(x.astype(np.float64))
    error = np.abs(apply(name, x, np.float32) - want) / np.spacing(np.abs(want).astype(np.float32))
    assert error.max() <= ULP[name][1], x[error.argmax()]


@pytest.mark.parametrize("kind", FORMATS)
def test_angles_beyond_the_limit_are_nan(kind: type) -> None:
    x = [ANGLE_LIMIT[kind], -4 * ANGLE_LIMIT[kind], np.finfo(kind).max, INFINITY, -INFINITY]
    assert np.isnan(apply("sin", x, kind)).all()
    assert np.isnan(apply("cos", x, kind)).all()


# name: the values at -inf, -1, -0, 0, inf; None: not tested here
SPECIAL = {
    "exp": (0, None, 1, 1, INFINITY),
    "expm1": (-1, None, -0.0, 0.0, INFINITY),
    "log": (NAN, NAN, -INFINITY, -INFINITY, INFINITY),
    "log1p": (NAN, -INFINITY, -0.0, 0.0, INFINITY),
    "sqrt": (NAN, NAN, -0.0, 0.0, INFINITY),
    "tanh": (-1, None, -0.0, 0.0, 1),
    "sigmoid": (0, None, 0.5, 0.5, 1),
    "silu": (-0.0, None, -0.0, 0.0, INFINITY),
    "elu": (-1, None, -0.0, 0.0, INFINITY),
    "softplus": (0, None, None, None, INFINITY),
    "logsigmoid": (-INFINITY, None, None, None, -0.0),
    "sin": (NAN, None, -0.0, 0.0, NAN),
    "cos": (NAN, None, 1, 1, NAN),
    "erf": (-1, None, -0.0, 0.0, 1),
    "erfc": (2, None, 1, 1, 0),
    "normal_cdf": (0, None, 0.5, 0.5, 1),
    "gelu": (-0.0, None, -0.0, 0.0, INFINITY),
    "softsign": (-1, -0.5, -0.0, 0.0, 1),
    "relu": (0, 0, 0, 0, INFINITY),
    "hard_tanh": (-1, -1, -0.0, 0.0, 1),
    "hard_sigmoid": (0, None, 0.5, 0.5, 1),
    "absolute": (INFINITY, 1, 0.0, 0.0, INFINITY),
    "sign": (-1, -1, -0.0, 0.0, 1),
    "step": (0, 0, 0, 0, 1),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_values(name: str, kind: type) -> None:
    got = apply(name, [-INFINITY, -1, -0.0, 0.0, INFINITY, NAN], kind)
    assert got.dtype == kind
    for value, want in zip(got, (*SPECIAL[name], 0 if name == "step" else NAN), strict=True):
        if want is not None:
            np.testing.assert_equal(float(value), float(want))
            assert want != 0 or name in ("relu", "step") or np.signbit(value) == np.signbit(float(want))


@pytest.mark.parametrize("kind", FORMATS)
def test_monotone_functions_step_back_by_rounding_at_most(kind: type) -> None:
    x = np.sort(np.concatenate([np.linspace(-12, 12, 200_000), np.linspace(-0.6, 0.6, 100_000)])).astype(kind)
    for name in ("exp", "expm1", "tanh", "sigmoid", "softplus", "logsigmoid", "erf", "normal_cdf", "softsign", "elu"):
        y = apply(name, x, kind)
        bound = 2 * ULP[name][FORMATS.index(kind)] * np.spacing(np.abs(y[1:]))
        assert (np.diff(y) >= -bound).all(), name


@pytest.mark.parametrize("kind", FORMATS)
def test_rounding_does_not_depend_on_contraction(kind: type) -> None:
    for name in ULP:
        x = arguments(kind, name)
        np.testing.assert_array_equal(apply(name, x, kind, contract=True), apply(name, x, kind, contract=False), err_msg=name)
        code = next(iter(loop(name, True, TARGET.fused).inspect_llvm().values()))
        assert not re.search(r"fmul \w*contract", code), name  # a product that is not contractable never fuses, whatever the sum's flags


@njit(error_model="numpy", fastmath={"contract"})
def binary(a: Any, b: Any, out: Any) -> None:
    for j in range(a.size):
        out[0, j] = v.maximum(a[j], b[j])
        out[1, j] = v.minimum(a[j], b[j])
        out[2, j] = v.above(a[j], b[j])
        out[3, j] = v.inside(a[j], b[j])
        out[4, j] = v.where(a[j] < b[j], a[j], b[j])
        out[5, j] = v.abs(a[j])


@pytest.mark.parametrize("kind", FORMATS)
def test_functions_of_two(kind: type) -> None:
    cases = [INFINITY, -INFINITY, NAN, 0.0, 1.0, -1.0, 2.5]
    a, b = (np.ascontiguousarray(grid.ravel()).astype(kind) for grid in np.meshgrid(cases, cases))
    out = np.empty((6, a.size), kind)
    binary(a, b, out)
    above = np.where(a > b, 1, np.where(a == b, 0.5, 0))
    want = [np.maximum(a, b), np.minimum(a, b), above, np.abs(a) < b, np.where(a < b, a, b), np.abs(a)]
    np.testing.assert_array_equal(out, np.array(want, kind))


@njit(error_model="numpy")
def powers(x: Any, p: Any, out: Any) -> None:
    for j in range(x.size):
        out[j] = v.power(x[j], p)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("p", [0.375, 2.5, -1.5])
def test_power(kind: type, p: float) -> None:
    x = np.exp2(np.random.default_rng(3).uniform(-40, 40, 2000)).astype(kind)
    out = np.empty_like(x)
    powers(x, kind(p), out)
    with mp.workdps(40):
        errors = np.array([error_in_ulp(float(got), mp.mpf(float(t)) ** p, np.finfo(kind)) for t, got in zip(x, out, strict=True)])
    assert (errors <= 2 + 4 * np.abs(p * np.log(x))).all()
    ends, out = np.array([0.0, INFINITY, NAN, -1.0], kind), np.empty(4, kind)
    powers(ends, kind(p), out)
    np.testing.assert_array_equal(out, [0.0, INFINITY, NAN, NAN] if p > 0 else [INFINITY, 0.0, NAN, NAN])


def machine_code(run: Any, kind: type) -> str:
    """The instructions of the loop's function, without the wrappers that follow it."""
    run(np.ones(1024, kind))
    text = next(text for (array, *_), text in run.inspect_asm().items() if str(array.dtype) == np.dtype(kind).name)
    return text[: text.index(".Lfunc_end0") if ".Lfunc_end0" in text else text.index(".cfi_endproc")]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("name", CALLS_NO_LIBRARY)
def test_the_loop_is_packed_at_the_width_of_the_host(name: str, kind: type) -> None:
    text = machine_code(loop(name, True, TARGET.fused), kind)
    suffix = "d" if kind is np.float64 else "s"
    if is_x86(TARGET.architecture):
        arithmetic = r"\tv?(?:add|sub|mul|div|fn?m(?:add|sub)\d+)"
        widest = {16: "xmm", 32: "ymm" if TARGET.fused else "[xy]mm", 64: "[yz]mm"}[TARGET.vector_bytes]
        packed = re.findall(rf"{arithmetic}p{suffix}\t.*%{widest}", text)
        scalar = re.findall(rf"{arithmetic}s[sd]\t.*", text)
        calls = re.findall(r"\tcall\w*\t.*", text)
    elif is_arm(TARGET.architecture):
        packed = re.findall(rf"\tf(?:add|sub|mul|div|mla|mls)\.{'2d' if suffix == 'd' else '4s'}|\tf(?:add|sub|mul|div|mla|mls)\tv.*", text)
        scalar = re.findall(r"\tf(?:add|sub|mul|div|madd|msub)\t[sd]\d+.*", text)
        calls = re.findall(r"\tbl\t.*", text)
    else:
        pytest.skip("neither x86 nor ARM")
    assert len(packed) >= 2
    assert scalar == []
    assert calls == []


def test_arguments_of_mixed_or_integer_type_are_refused() -> None:
    mixed = njit(lambda a, b: v.maximum(a, b))
    with pytest.raises(TypingError, match="maximum: needs float32 or float64, the same in every argument, got float32, float64"):
        mixed(np.float32(1), np.float64(1))
    with pytest.raises(TypingError, match="exp: needs float32 or float64"):
        njit(lambda a: v.exp(a))(1)
    with pytest.raises(TypingError, match="where: the condition must be boolean"):
        njit(lambda c, a: v.where(c, a, a))(1, 1.0)


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    code = """
        import numpy as np
        from numba import njit
        from derive.runtime.cpu import vector as v

        @njit(cache=True, error_model="numpy", fastmath={"contract"})
        def kernel(a, out):
            for j in range(a.size):
                out[j] = v.tanh(a[j]) * v.sigmoid(a[j]) + v.where(a[j] > 0, v.exp(a[j]), v.log(a[j]))

        kernel(np.ones(8), np.ones(8))
        print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
    """
    script = tmp_path / "cached.py"
    script.write_text(textwrap.dedent(code))
    root = str(Path(v.__file__).parents[3])
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": root}
    counts = [
        subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert counts == [["0", "1"], ["1", "0"]]
