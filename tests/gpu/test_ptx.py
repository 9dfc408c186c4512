"""The runtime of GPU kernels, without a GPU: instructions in the code that the assembler takes, functions against their definition."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import python
from report import CAPABILITY, Report, available, compiled, device, report

from derive.calculus.functions import COMPARISONS, FUNCTIONS, Composed
from derive.codegen.expression import RENAMED
from derive.runtime.cpu import vector
from derive.runtime.cuda.functions import device_functions
from derive.verify.values import VALUES

UNAVAILABLE = available()
needs_compiler = pytest.mark.skipif(UNAVAILABLE is not None, reason=str(UNAVAILABLE))
if UNAVAILABLE is None:
    from numba import cuda, float32, float64, int64, uint16, uint32
    from numba.core.errors import TypingError

    from derive.runtime.cuda import ptx

INFINITY, NAN = math.inf, math.nan


# ---- instructions ----


def conversions(words: Any, halves: Any, numbers: Any) -> None:
    i = cuda.grid(1)
    words[i, 0] = ptx.pack_bf16(numbers[i, 0], numbers[i, 1])
    words[i, 1] = ptx.pack_f16(numbers[i, 0], numbers[i, 1])
    words[i, 2] = ptx.round_tf32(numbers[i, 2])
    numbers[i, 3] = ptx.widen_bf16(halves[i, 0])
    numbers[i, 4] = ptx.widen_f16(halves[i, 1])
    halves[i, 2] = ptx.narrow_bf16(numbers[i, 5])
    halves[i, 3] = ptx.narrow_f16(numbers[i, 5])
    numbers[i, 6] = ptx.tanh_fast(numbers[i, 7])
    numbers[i, 8] = ptx.exp2_fast(numbers[i, 9])


def tensor_cores(words: Any, numbers: Any) -> None:
    i = cuda.grid(1)
    a0, a1, a2, a3, b0, b1 = words[i, 0], words[i, 1], words[i, 2], words[i, 3], words[i, 4], words[i, 5]
    c0, c1, c2, c3 = float32(0), float32(0), float32(0), float32(0)
    for _ in range(4):
        c0, c1, c2, c3 = ptx.mma_bf16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)
        c0, c1, c2, c3 = ptx.mma_f16(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)
        c0, c1, c2, c3 = ptx.mma_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3)
    numbers[i, 0], numbers[i, 1], numbers[i, 2], numbers[i, 3] = c0, c1, c2, c3


def memory(counters: Any, words: Any, matrix: Any, block: int) -> None:
    ptx.cooperative()
    tile = cuda.shared.array(512, uint32)
    own = tile[256:]
    i = cuda.threadIdx.x
    ptx.prefetch(words, i + 4)
    ptx.prefetch(matrix, (block, i))
    ptx.copy_async(own, 4 * i, words, uint32(4) * uint32(i))
    ptx.copy_wait()
    cuda.syncthreads()
    if i == 0:
        ptx.release_add(counters, 0, 1)
        while ptx.acquire(counters, block) < 2:
            pass
    cuda.syncthreads()
    words[i] = own[255 - i]


def kernels() -> dict[str, tuple[Callable[..., None], tuple[Any, ...], list[str]]]:
    words, numbers = uint32[:, ::1], float32[:, ::1]
    mma = [
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    ]
    cvt = ["cvt.rn.bf16x2.f32", "cvt.rn.f16x2.f32", "cvt.rna.tf32.f32", "mov.b32", "cvt.f32.f16", "cvt.rn.bf16.f32", "cvt.rn.f16.f32"]
    order = ["red.release.gpu.global.add.u32", "ld.acquire.gpu.global.u32", "prefetch.global.L2"]
    return {
        "conversions": (conversions, (words, uint16[:, ::1], numbers), [*cvt, "tanh.approx.f32", "ex2.approx.ftz.f32"]),
        "tensor_cores": (tensor_cores, (words, numbers), mma),
        "memory": (memory, (uint32[::1], uint32[::1], numbers, int64), [*order, "cp.async.cg.shared.global", "cp.async.wait_all"]),
    }


@functools.cache
def taken(name: str) -> Report:
    kernel, signature, _ = kernels()[name]
    return report(kernel, signature, threads=64)


@needs_compiler
@pytest.mark.parametrize("name", ["conversions", "tensor_cores", "memory"])
def test_every_instruction_is_there_and_everything_is_in_registers(name: str) -> None:
    for instruction in kernels()[name][2]:
        assert f"{instruction} " in taken(name).ptx or f"{instruction};" in taken(name).ptx, instruction
    assert taken(name).local == 0
    assert 0 < taken(name).registers < 64


@needs_compiler
def test_the_report_sees_what_does_not_fit() -> None:
    def indexed(x: Any, at: Any) -> None:
        kept = cuda.local.array(64, float32)
        for k in range(64):
            kept[at[k]] += x[k]
        x[0] = kept[at[0]]

    def crowded(x: Any, at: Any) -> None:
        i = cuda.grid(1)
        kept = cuda.local.array(64, float32)
        for k in range(64):
            kept[k] = x[64 * i + k]
        for step in range(at[0]):
            for k in range(64):
                kept[k] += kept[63 - k] * x[step]
        for k in range(64):
            x[64 * i + k] = kept[k]

    signature = (float32[::1], int64[::1])
    assert report(indexed, signature).stack >= 256
    assert report(crowded, signature).local == 0
    few = report(crowded, signature, max_registers=32)
    assert few.registers <= 32 and few.spill_stores > 0 and few.spill_loads > 0
    assert taken("memory").shared == 2048


@needs_compiler
def test_a_cooperative_kernel_is_marked() -> None:
    from numba.cuda.compiler import compile_cuda

    def alone(out: Any) -> None:
        out[0] = 1

    def marked(kernel: Callable[..., None], signature: tuple[Any, ...]) -> bool:
        with device():
            return bool(compile_cuda(kernel, None, signature, cc=CAPABILITY[:2]).library.use_cooperative)

    assert marked(*kernels()["memory"][:2])
    assert not marked(alone, (uint32[::1],))


@needs_compiler
def test_what_is_not_float32_or_a_vector_of_words_is_refused() -> None:
    def wide(x: Any) -> None:
        x[0] = ptx.tanh_fast(x[0])

    def grid(x: Any) -> None:
        ptx.release_add(x, 0, 1)

    with pytest.raises(TypingError, match="argument 1 must be float32, got float64"):
        compiled(wide, (float64[::1],))
    with pytest.raises(TypingError, match="needs an array of 1 dimensions of uint32"):
        compiled(grid, (uint32[:, ::1],))


# ---- functions ----

PLAIN = device_functions(lambda function: function, float)
COMPOSED = {name for name, function in FUNCTIONS.items() if issubclass(function, Composed)}
TABLE = sorted(FUNCTIONS.keys() - {cls.info.name for cls in COMPARISONS.values()} - {"where"} - COMPOSED)
BOUNDS = (-1.5, 2.0)  # of the functions that have two
ALL = sorted(vars(PLAIN))
KINKS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.0, 3.0, -3.0, 1e-9, -1e-9, 1e-300]


def sample(name: str) -> np.ndarray:
    x = np.concatenate([np.linspace(-30, 30, 481), KINKS])
    return {"log": x[x > 0], "sqrt": x[x >= 0]}.get(name, x)


def value(name: str, *columns: np.ndarray, functions: Any = PLAIN) -> np.ndarray:
    function = getattr(functions, RENAMED.get(name, name))
    return np.array([function(*row) for row in zip(*(column.tolist() for column in columns), strict=True)])


def test_emitted_code_finds_every_name() -> None:
    assert {RENAMED.get(name, name) for name in (*TABLE, "where", "power", "square")} <= set(ALL)
    assert {name for name, function in vars(vector).items() if isinstance(function, type(vector.tanh))} <= set(ALL)


@pytest.mark.parametrize("name", TABLE)
def test_plain_python_agrees_with_the_table(name: str) -> None:
    x = sample(name)
    pairs = tuple(grid.ravel() for grid in np.meshgrid(x[::7], x[::9]))
    columns = {1: (x,), 2: pairs, 3: (x, *(np.full_like(x, bound) for bound in BOUNDS))}[FUNCTIONS[name].info.arity]
    np.testing.assert_allclose(value(name, *columns), VALUES[name](*columns), rtol=1e-12, atol=0)


def test_functions_that_the_table_has_not() -> None:
    x = sample("")
    for name, definition in {"expm1": np.expm1, "square": np.square, "erfc": np.vectorize(math.erfc)}.items():
        np.testing.assert_allclose(value(name, x), definition(x), rtol=1e-12)
    above = x[x > 1e-100]
    np.testing.assert_allclose(value("log1p", above), np.log1p(above), rtol=1e-12)
    np.testing.assert_allclose(value("power", above, np.full_like(above, -1.5)), above**-1.5, rtol=1e-12)
    assert (PLAIN.where(True, 1.0, 2.0), PLAIN.where(False, 1.0, 2.0)) == (1.0, 2.0)


LIMITS = {  # the values at minus and plus infinity
    (0, 1): ("hard_sigmoid", "normal_cdf", "sigmoid", "step"),
    (0, INFINITY): ("gelu", "relu", "silu", "softplus"),
    (-1, 1): ("erf", "hard_tanh", "sign", "softsign", "tanh"),
    (-1, INFINITY): ("elu",),
    (-INFINITY, 0): ("logsigmoid",),
    (INFINITY, INFINITY): ("absolute",),
}


@pytest.mark.parametrize("real", [float, np.float32])
def test_limits_and_nan(real: type) -> None:
    functions = device_functions(lambda function: function, real)
    for limits, name in ((limits, name) for limits, names in LIMITS.items() for name in names):
        function = getattr(functions, name)
        assert (function(real(-INFINITY)), function(real(INFINITY))) == limits, name
        assert math.isnan(function(real(NAN))) or name == "step", name
    assert math.isnan(functions.maximum(NAN, 1.0)) and math.isnan(functions.minimum(1.0, NAN))
    assert functions.above(NAN, 1.0) == functions.inside(NAN, 1.0) == functions.step(NAN) == 0


def test_single_precision_stays_single_precision() -> None:
    functions = device_functions(lambda function: function, np.float32)
    for name in TABLE:
        arity = FUNCTIONS[name].info.arity
        for x in sample(name)[::20]:
            arguments = tuple(map(np.float32, (x, *BOUNDS) if arity == 3 else (x, 2)[:arity]))
            got, want = getattr(functions, RENAMED.get(name, name))(*arguments), value(name, *np.array([arguments], float).T)[0]
            assert isinstance(got, np.float32), name
            assert abs(got - want) <= 4e-6 * max(abs(want), 1), (name, x)


def test_the_fast_gates_are_made_of_the_hardware_s_tanh() -> None:
    fast = device_functions(lambda function: function, float, fast=True, ptx=SimpleNamespace(tanh_fast=math.tanh))
    for name in ("tanh", "sigmoid", "silu"):
        np.testing.assert_allclose(value(name, sample(name), functions=fast), value(name, sample(name)), rtol=1e-12, atol=1e-14)
    assert fast.silu(-INFINITY) == 0


@functools.cache
def on_device(real: Any, fast: bool = False) -> SimpleNamespace:
    return device_functions(cuda.jit(device=True, forceinline=True), real, fast, ptx)


def caller(name: str, real: Any, fast: bool = False) -> Callable[..., None]:
    function = getattr(on_device(real, fast), name)

    def one(x: Any, out: Any) -> None:
        out[0] = function(x[0])

    def two(x: Any, out: Any) -> None:
        out[0] = function(x[0], x[1])

    def three(x: Any, out: Any) -> None:
        out[0] = function(x[0] < x[1], x[1], x[2])

    def bounded(x: Any, out: Any) -> None:
        out[0] = function(x[0], x[1], x[2])

    return {
        "where": three,
        "clip": bounded,
        "between": bounded,
        **dict.fromkeys(("above", "inside", "maximum", "minimum", "power"), two),
    }.get(name, one)


@needs_compiler
@pytest.mark.parametrize("name", ALL)
def test_a_function_of_float32_computes_in_float32_and_registers(name: str) -> None:
    text = compiled(caller(name, float32), (float32[::1], float32[::1]))
    assert ".f64" not in text
    assert ".local" not in text


@needs_compiler
@pytest.mark.parametrize("name", ALL)
def test_a_function_of_float64_computes_in_float64(name: str) -> None:
    assert ".f64" in compiled(caller(name, float64), (float64[::1], float64[::1])).replace("st.global.f64", "").replace("ld.global.f64", "")


@needs_compiler
def test_another_process_has_the_same_functions_for_a_cache() -> None:
    code = """
from hashlib import sha256
from numba import cuda, float32
from numba.cuda.serialize import dumps
from derive.runtime.cuda import ptx
from derive.runtime.cuda.functions import device_functions
from derive.verify.values import VALUES
for fast in (False, True):
    print(sha256(dumps(sorted(vars(device_functions(cuda.jit(device=True), float32, fast, ptx)).items()))).hexdigest())
"""
    assert python(code, PYTHONHASHSEED="1") == python(code, PYTHONHASHSEED="2")


@needs_compiler
@pytest.mark.parametrize("name", ["tanh", "sigmoid", "silu"])
def test_a_fast_gate_is_one_instruction_of_the_hardware(name: str) -> None:
    text = compiled(caller(name, float32, fast=True), (float32[::1], float32[::1]))
    assert text.count("tanh.approx.f32") == 1
    assert "ex2" not in text and ".f64" not in text
