"""What the host does for a GPU, without one: products as cuBLAS takes them, arrays and streams of other libraries, what is remembered."""

from __future__ import annotations

import ctypes
import itertools
import re
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from device import DTYPES
from numpy.lib.mixins import NDArrayOperatorsMixin

from derive.runtime.common import static
from derive.runtime.cuda import gpu as module
from derive.runtime.cuda import launch
from derive.runtime.cuda.gpu import Gpu
from derive.runtime.cuda.kind import KINDS
from generated.cuda import lstm

NAMES = {module.DATA[name]: dtype for name, dtype in DTYPES.items()}


class Array(np.ndarray):
    """An array that tells its address as CuPy's do."""

    @property
    def data(self) -> Any:
        return SimpleNamespace(ptr=self.ctypes.data)


def libraries(major: int) -> tuple[Any, Any]:
    """Return what the host uses of CuPy and of `numba.cuda`."""
    properties = {"major": major, "minor": 0, "name": b"This one", "multiProcessorCount": 4, "sharedMemPerBlockOptin": 99}
    cuda = SimpleNamespace(
        Device=lambda: SimpleNamespace(id=0),
        runtime=SimpleNamespace(getDeviceProperties=lambda number: properties | {"regsPerBlock": 65536, "maxThreadsPerBlock": 1024}),
        cublas=SimpleNamespace(gemmEx=gemm_ex),
        device=SimpleNamespace(get_cublas_handle=lambda: 0),
        get_current_stream=lambda: SimpleNamespace(ptr=7),
    )
    xp = SimpleNamespace(ndarray=Array, uint32=np.uint32, asarray=lambda value, blocking: value.view(Array), cuda=cuda)
    return xp, SimpleNamespace(external_stream=lambda pointer: pointer)


def gpu(major: int = 9) -> Gpu:
    """Return a device of which only the host's part works."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_modules", lambda: libraries(major))
        return Gpu()


def columns(address: int, kind: int, turned: int, rows: int, count: int, line: int) -> np.ndarray:
    """Return a matrix whose columns begin `line` elements apart, as BLAS reads it."""
    dtype, (height, width) = NAMES[kind], (count, rows) if turned else (rows, count)
    assert line >= max(height, 1)
    memory = (ctypes.c_char * (((width - 1) * line + height) * dtype.itemsize)).from_address(address)
    found = np.ndarray((height, width), dtype, memory, strides=(dtype.itemsize, line * dtype.itemsize))
    return found.T if turned else found


def gemm_ex(
    handle: int, a_turned: int, b_turned: int, m: int, n: int, k: int, alpha: int, a: int, a_kind: int, a_line: int,
    b: int, b_kind: int, b_line: int, beta: int, c: int, c_kind: int, c_line: int, compute: int, algorithm: int,
) -> None:  # fmt: skip
    """Do what cublasGemmEx does."""
    wide = np.dtype(np.float64 if compute == module.COMPUTE_64F else np.float32)
    factors = [np.ndarray((), wide, (ctypes.c_char * wide.itemsize).from_address(place)) for place in (alpha, beta)]
    left, right = columns(a, a_kind, a_turned, m, k, a_line), columns(b, b_kind, b_turned, k, n, b_line)
    out = columns(c, c_kind, 0, m, n, c_line)
    before = out.astype(wide) if factors[1] else 0.0
    out[...] = factors[0] * (left.astype(wide) @ right.astype(wide)) + factors[1] * before


def lying(values: np.ndarray, how: str) -> Array:
    """Return a matrix in memory of its own, or as columns of one, or turned."""
    if how == "turned":
        return values.T.copy().T.view(Array)
    room = np.full((len(values), values.shape[1] + 3), np.nan, values.dtype)
    room[:, 1:-2] = values
    return room[:, 1:-2].view(Array) if how == "columns" else values.copy().view(Array)


@pytest.mark.parametrize(
    "dtypes", [("float32",) * 2, ("float64",) * 2, ("bfloat16", "float32"), ("bfloat16",) * 2, ("float16", "float32")], ids=str
)
@pytest.mark.parametrize("shape", [(4, 5, 6), (1, 5, 6), (4, 1, 6), (4, 5, 1), (1, 1, 6), (1, 5, 1), (4, 1, 1), (1, 1, 1)], ids=str)
def test_products(shape: tuple[int, int, int], dtypes: tuple[str, str]) -> None:
    """Of small integers, which nothing rounds."""
    rng = np.random.default_rng(0)
    m, k, n = shape
    a, b, c = (rng.integers(-3, 4, extent).astype(DTYPES[dtypes[last]]) for extent, last in (((m, k), 0), ((k, n), 0), ((m, n), 1)))
    want = a.astype(float) @ b.astype(float)
    for how_a, how_b, how_c, add in itertools.product(
        ("rows", "columns", "turned"), ("rows", "columns", "turned"), ("rows", "columns"), (False, True)
    ):
        out = lying(c, how_c)
        gpu().multiply(lying(a, how_a), lying(b, how_b), out, add=add, tf32=False)
        np.testing.assert_array_equal(out.astype(float), want + (c.astype(float) if add else 0.0))


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1)], ids=str)
def test_an_axis_of_one_element_may_have_any_stride(shape: tuple[int, int]) -> None:
    """Other libraries say what they like there."""
    values = np.arange(4, dtype=np.float32)[: max(shape)].reshape(shape)
    given = np.lib.stride_tricks.as_strided(values, strides=[4 if size > 1 else 4000 for size in shape]).view(Array)
    for a, b in ((given, values.T.copy().view(Array)), (values.T.copy().view(Array), given)):
        out = np.zeros((a.shape[0], b.shape[1]), np.float32).view(Array)
        gpu().multiply(a, b, out, add=False, tf32=False)
        np.testing.assert_array_equal(out, np.array(a) @ np.array(b))


def test_arrays_must_lie_on_the_device() -> None:
    host = "x lies in the host's memory: it must be an array on the device, of CuPy, PyTorch or Numba"
    for value, error, message in (
        (np.float32(3), TypeError, host),
        (np.arange(3), TypeError, host),
        (torch.ones(3), TypeError, "x is a tensor in the host's memory: it must be on the device"),
        ([1.0], TypeError, "x must be an array on the device, of CuPy, PyTorch or Numba, got list"),
        (None, TypeError, "x must be an array on the device, of CuPy, PyTorch or Numba, got NoneType"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            gpu().array(value, "x")


def test_arrays_must_lie_on_the_device_in_use() -> None:
    it = gpu()
    it.xp.ndarray = SimpleNamespace
    with pytest.raises(ValueError, match="x lies on device 3, but device 0 is the one in use"):
        it.array(SimpleNamespace(device=SimpleNamespace(id=3)), "x")


def test_streams_of_many_kinds() -> None:
    protocol = type("Stream", (), {"__cuda_stream__": lambda self: (0, 7)})()
    for stream, address in (
        (7, 7),
        (protocol, 7),
        (SimpleNamespace(ptr=7), 7),
        (SimpleNamespace(cuda_stream=7), 7),
        (SimpleNamespace(handle=ctypes.c_void_p(7)), 7),
        (SimpleNamespace(handle=ctypes.c_void_p(None)), 0),
    ):
        assert module._pointer(stream) == address
    with pytest.raises(TypeError, match="stream must be a stream of CuPy, PyTorch or Numba, or its address, got ndarray"):
        module._pointer(np.zeros(3))


def test_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEEN", 2)
    memory: Any = module.OrderedDict()
    made = [module._remembered(memory, key, lambda key=key: [key]) for key in (1, 2, 1, 3, 3)]
    assert made == [[1], [2], [1], [3], [3]] and made[0] is made[2] and made[3] is made[4]
    assert list(memory) == [2, 3]


def test_words_are_of_aligned_memory() -> None:
    """What a caller gives may begin anywhere; what is aligned is the same memory."""
    it, room = gpu(), np.zeros(64, np.float32).view(Array)
    first = -room.data.ptr // 4 % 4
    for offset in range(4):
        rows = room[first + offset :][:24].reshape(3, 8)
        rows[...] = np.arange(24).reshape(3, 8)
        words = it.words(rows)
        assert words.data.ptr % 16 == 0 and (words.data.ptr == rows.data.ptr) == (offset == 0)
        np.testing.assert_array_equal(words.view(np.float32), np.arange(24))


def test_constants_are_brought_once() -> None:
    it, constant = gpu(), np.array([1.0, 2.5])
    first, narrow = it.cast(constant, np.dtype(np.float32)), it.cast(constant, np.dtype(np.float16))
    assert it.cast(constant, np.dtype(np.float32)) is first and (first.dtype, narrow.dtype) == (np.float32, np.float16)
    assert it.cast(constant.copy(), np.dtype(np.float32)) is not first
    np.testing.assert_array_equal(narrow, constant)


class Kernel:
    """A kernel as Numba has it; what it was compiled for is noted."""

    __name__ = "kernel"

    def __init__(self) -> None:
        self.signatures: list[Any] = []

    def compile(self, signature: Any) -> Any:
        self.signatures.append(signature)
        return SimpleNamespace(_codelibrary=SimpleNamespace(get_cufunc=lambda: SimpleNamespace(handle=40 + len(self.signatures))))


def driver() -> tuple[Any, list[Any]]:
    """Return a driver that notes what it is given: how a kernel is to be run, and the first numbers of its arguments."""
    ran: list[Any] = []

    def launch(function: int, *given: int) -> None:
        *shape, shared, stream, places = given[:9]
        read = [ctypes.c_int64.from_address(place).value for place in (ctypes.c_int64 * 12).from_address(places)]
        ran.append((function, shape, shared, stream, read, len(given) == 9))

    return SimpleNamespace(launchKernel=lambda *given: launch(*given), launchCooperativeKernel=launch), ran


def test_a_launch_gives_the_driver_what_the_kernel_reads() -> None:
    """A number is itself; an array two empty fields, its number of elements, bytes of one, address, shape and strides."""
    from numba import types

    it, kernel, values = gpu(), Kernel(), np.zeros((3, 8), np.float16)[:, :5].view(Array)
    it.xp.cuda.driver, ran = driver()
    for together in (False, True):
        it.launch(kernel, (2, 3), 64, 100, (-4, values, True, 7), together=together)
    fields = [-4, 0, 0, 15, 2, values.data.ptr, 3, 5, 16, 2, 1, 7]
    assert ran == [(41, [2, 3, 1, 64, 1, 1], 100, 7, fields, together) for together in (False, True)]
    assert kernel.signatures == [(types.int64, types.Array(types.uint16, 2, "A"), types.boolean, types.int64)]


def test_types_of_arguments_are_those_that_numba_finds() -> None:
    from numba import typeof

    square = np.zeros((4, 4), np.float32)
    for values in (square, square.T, square[:, :2], square[0], square[:, 0], np.zeros((1, 4)), np.zeros((0, 4)), np.zeros(3, np.int64)):
        assert launch.numba_type(launch.array(values.view(Array)).kind) == typeof(values)
    for number in (3, -(2**40), True):
        assert launch.numba_type(launch.number(number).kind) == typeof(number)


def test_what_a_launch_was_is_said_where_it_fails() -> None:
    it = gpu()
    it.xp.cuda.driver = SimpleNamespace(launchCooperativeKernel=lambda *given: [][0])
    with pytest.raises(IndexError) as caught:
        it.launch(Kernel(), (9, 1), 32, 100, (1,), together=True)
    assert caught.value.__notes__ == ["kernel: 9 x 1 blocks of 32 threads, 100 bytes of shared memory, all blocks at the same time"]


def test_an_old_device_is_refused() -> None:
    assert (gpu().limits.capability, gpu().limits.processors, gpu().limits.shared) == ((9, 0), 4, 99)
    with pytest.raises(RuntimeError, match=r"CUDA kernels need compute capability 8\.0, but This one has 7\.0"):
        gpu(major=7)


def test_launches_that_differ_in_threads_alone_are_of_one_kernel() -> None:
    """Numba's cache takes them for one: none may be compiled for fewer threads."""
    pytest.importorskip("numba_cuda")
    from derive.runtime.cuda.numba_machine import NumbaMachine

    kernels = [lstm.make_forward_loop(NumbaMachine(KINDS["float32"], threads)) for threads in (32, 256)]
    assert [kernel.targetoptions["launch_bounds"] for kernel in kernels] == [(256, 1), (256, 1)]


# Functions of parameters alone


class Elsewhere(NDArrayOperatorsMixin):
    """An array as CuPy has it: NumPy's functions take it, but it never becomes one of NumPy's by itself."""

    __cuda_array_interface__ = property(lambda self: {})

    def __init__(self, value: np.ndarray) -> None:
        self.value = value

    def __array__(self, *arguments: Any, **named: Any) -> np.ndarray:
        raise TypeError("implicit conversion")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **named: Any) -> Elsewhere:
        return Elsewhere(getattr(ufunc, method)(*map(bare, inputs), **named))

    def __array_function__(self, function: Any, types: Any, given: Any, named: Any) -> Any:
        found = function(*map(bare, given), **named)
        return Elsewhere(found) if isinstance(found, np.ndarray) else found

    def astype(self, dtype: Any) -> Elsewhere:
        return Elsewhere(self.value.astype(dtype))


def bare(value: Any) -> Any:
    return value.value if isinstance(value, Elsewhere) else value


FUNCTIONS = {name: function for name, function in vars(static).items() if callable(function) and not name.startswith("_") and name != "Any"}
ARGUMENTS = {"maximum": 2, "minimum": 2, "above": 2, "inside": 2, "where": 3, "clip": 3, "between": 3}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_parameters_take_arrays_of_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    special = {key: lambda x, loop=loop: Elsewhere(loop(x.value).astype(x.value.dtype)) for key, loop in static._LOOPS.items()}
    monkeypatch.setitem(sys.modules, "cupyx.scipy.special", SimpleNamespace(**special))
    rng = np.random.default_rng(0)
    values = [abs(rng.standard_normal(9)).astype(np.float32) - (name != "log" and name != "sqrt") for _ in range(ARGUMENTS.get(name, 1))]
    values[0] = values[0] > 0 if name == "where" else values[0]
    values = [values[0], -abs(values[1]), abs(values[2])] if name in ("clip", "between") else values
    got, want = FUNCTIONS[name](*map(Elsewhere, values)), FUNCTIONS[name](*values)
    assert isinstance(got, Elsewhere) and got.value.dtype == want.dtype == np.float32
    np.testing.assert_array_equal(got.value, want)
