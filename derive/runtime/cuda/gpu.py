"""A CUDA device: memory and products by CuPy, kernels by Numba."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

from .device import Device
from .kind import Kind
from .launch import Argument, address, array, laid_out, numba_type, number
from .limits import OLDEST, Limits
from .machine import Machine
from .plan import Plan
from .tiling import Tiling

INSTALL = 'pip install "derive-rnn[cuda]", or "numba-cuda[cu13]" and "cupy-cuda13x[ctk]"'
PLAIN = 48 << 10  # bytes of shared memory that a kernel may have without asking for more
SEEN = 4096  # constants that are remembered
# Of cublasGemmEx: how numbers are kept, and what products are summed in.
DATA = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE_32F, COMPUTE_32F_TF32, COMPUTE_64F, DEFAULT = 68, 77, 70, -1


def _modules() -> tuple[Any, Any]:
    """Return CuPy and `numba.cuda`; RuntimeError says which is missing, or that there is no device."""
    try:
        import cupy
        from numba import cuda

        import_module("numba_cuda")  # without it, `numba.cuda` is another one, which Numba itself has
    except ImportError as error:
        raise RuntimeError(f"CUDA kernels need CuPy and numba-cuda, but {error}; {INSTALL}") from error
    try:
        found = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"CUDA kernels need a device and its driver, but CUDA says: {error}") from error
    if not found:
        raise RuntimeError("CUDA kernels need a device, but CUDA finds none")
    return cupy, cuda


class Gpu(Device):
    """The current CUDA device of CuPy, when the first call is made."""

    def __init__(self) -> None:
        super().__init__()
        self.xp, self.cuda = _modules()
        self.number = self.xp.cuda.Device().id
        self.limits = self._limits()
        self._constants: OrderedDict[Any, Any] = OrderedDict()
        self._functions: dict[Any, int] = {}
        self._factors = {name: (np.zeros((), name), np.ones((), name)) for name in ("float32", "float64")}  # of products, on the host

    def _limits(self) -> Limits:
        found = self.xp.cuda.runtime.getDeviceProperties(self.number)
        capability = int(found["major"]), int(found["minor"])
        if capability < OLDEST:
            name = found["name"].decode()
            raise RuntimeError(
                f"CUDA kernels need compute capability {OLDEST[0]}.{OLDEST[1]}, but {name} has {capability[0]}.{capability[1]}"
            )
        return Limits(
            capability,
            int(found["multiProcessorCount"]),
            int(found["sharedMemPerBlockOptin"]),
            int(found["regsPerBlock"]),
            int(found["maxThreadsPerBlock"]),
        )

    # Arrays

    def array(self, value: Any, argument: str) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            raise TypeError(f"{argument} lies in the host's memory: it must be an array on the device, of CuPy, PyTorch or Numba")
        found = value if isinstance(value, self.xp.ndarray) else self._taken(value, argument)
        if found.device.id != self.number:
            raise ValueError(f"{argument} lies on device {found.device.id}, but device {self.number} is the one in use")
        return found

    def _taken(self, value: Any, argument: str) -> Any:
        """Return another library's array as one of CuPy, the same memory."""
        if _is_torch(value):
            if not value.is_cuda:
                raise TypeError(f"{argument} is a tensor in the host's memory: it must be on the device")
            return self._of_tensor(value, argument)
        if hasattr(value, "__cuda_array_interface__"):
            return self.xp.asarray(value)
        if hasattr(value, "__dlpack__"):
            return self.xp.from_dlpack(value)
        raise TypeError(f"{argument} must be an array on the device, of CuPy, PyTorch or Numba, got {type(value).__name__}")

    def _of_tensor(self, value: Any, argument: str) -> Any:
        """Return a tensor as an array of CuPy: by its address, since DLPack takes tens of microseconds, before work is queued."""
        try:
            dtype = self.dtype(str(value.dtype).removeprefix("torch."))
        except TypeError:
            raise TypeError(f"{argument} is a tensor of {value.dtype}, which has no array") from None
        memory = self.xp.cuda.UnownedMemory(value.data_ptr(), value.numel() * dtype.itemsize, value, value.get_device())
        strides = tuple(step * dtype.itemsize for step in value.stride())
        return self.xp.ndarray(tuple(value.shape), dtype, self.xp.cuda.MemoryPointer(memory, 0), strides)

    def like(self, value: Any, example: Any) -> Any:
        if _is_torch(example):
            import torch

            return torch.from_dlpack(value)
        if type(example).__module__.startswith("numba"):
            return self.cuda.as_cuda_array(value, sync=False)
        return value

    @contextmanager
    def queued(self, stream: Any, example: Any) -> Iterator[None]:
        if stream is None and example is not None and _is_torch(example) and example.is_cuda:
            import torch

            stream = torch.cuda.current_stream(example.device)
        queue: AbstractContextManager[Any] = nullcontext()
        if stream is not None:
            queue = self.xp.cuda.Stream.from_external(_Address(_pointer(stream)))
        with self.xp.cuda.Device(self.number), queue:
            yield

    def dtype(self, name: str) -> Any:
        if name != "bfloat16":
            return np.dtype(name)
        try:
            import ml_dtypes
        except ImportError as error:
            raise RuntimeError(f'bfloat16 needs ml_dtypes, but {error}; pip install "ml_dtypes>=0.5" "numpy>=2.1.2"') from error
        return np.dtype(ml_dtypes.bfloat16)

    def cast(self, value: Any, dtype: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return super().cast(value, dtype)

        def make() -> tuple[Any, Any]:  # with the value itself, so that nothing else gets its number
            return value, self.xp.asarray(value.astype(dtype), blocking=True)  # whatever stream reads it

        return _remembered(self._constants, (id(value), dtype), make)[1]

    def words(self, rows: Any) -> Any:
        return super().words(rows.copy() if rows.data.ptr % 16 else rows)  # a caller's may begin anywhere

    # Work

    def multiply(self, a: Any, b: Any, out: Any, *, add: bool, tf32: bool) -> None:
        real = "float64" if out.dtype == np.float64 else "float32"
        compute = COMPUTE_64F if real == "float64" else COMPUTE_32F_TF32 if tf32 else COMPUTE_32F
        one, beta = self._factors[real][1], self._factors[real][bool(add)]
        # cuBLAS has columns contiguous: in its eyes every matrix here is transposed, and so is the product.
        (b_turned, b_line), (a_turned, a_line), (_, line) = _layout(b), _layout(a), _layout(out)
        self.xp.cuda.cublas.gemmEx(
            self.xp.cuda.device.get_cublas_handle(), b_turned, a_turned, out.shape[1], out.shape[0], a.shape[1], one.ctypes.data,
            b.data.ptr, _data(b.dtype), b_line, a.data.ptr, _data(a.dtype), a_line, beta.ctypes.data,
            out.data.ptr, _data(out.dtype), line, compute, DEFAULT,
        )  # fmt: skip

    def machine(self, kind: Kind, threads: int, plan: Plan | Tiling | None = None) -> Machine:
        from .numba_machine import NumbaMachine

        return NumbaMachine(kind, threads, plan)

    def argument(self, value: Any) -> Any:
        return array(value) if isinstance(value, self.xp.ndarray) else number(value)

    def launch(self, kernel: Any, grid: tuple[int, int], threads: int, shared: int, given: tuple[Any, ...], *, together: bool) -> None:
        arguments = [value if isinstance(value, Argument) else self.argument(value) for value in given]
        driver, stream = self.xp.cuda.driver, self.xp.cuda.get_current_stream().ptr
        try:
            function = self._function(kernel, tuple([argument.kind for argument in arguments]), shared)
            numbers, places = laid_out(arguments)
            if together:
                driver.launchCooperativeKernel(function, *grid, 1, threads, 1, 1, shared, stream, address(places))
            else:
                driver.launchKernel(function, *grid, 1, threads, 1, 1, shared, stream, address(places), 0)
            del numbers  # not before the driver has read them
        except Exception as error:
            error.add_note(
                f"{kernel.__name__}: {grid[0]} x {grid[1]} blocks of {threads} threads, {shared} bytes of shared memory"
                + (", all blocks at the same time" if together else "")
            )
            raise

    def _function(self, kernel: Any, kinds: tuple[Any, ...], shared: int) -> int:
        """Return the driver's handle of a kernel for kinds of arguments, compiled once, which may have so much shared memory."""
        key = kernel, kinds, max(shared, PLAIN)
        if key not in self._functions:
            function = kernel.compile(tuple(map(numba_type, kinds)))._codelibrary.get_cufunc()
            if shared > PLAIN:
                from numba.cuda.cudadrv.driver import binding, driver

                attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                driver.cuKernelSetAttribute(attribute, shared, function.handle, function.device.id)
            self._functions[key] = int(function.handle)
        return self._functions[key]


@dataclass(frozen=True)
class _Address:
    """A stream, by its address."""

    address: int

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


def _remembered(memory: OrderedDict[Any, Any], key: Any, make: Callable[[], Any]) -> Any:
    """Return what was made for a key, and forget the oldest of too many."""
    found = memory.get(key)
    if found is None:
        found = memory[key] = make()
        while len(memory) > SEEN:
            memory.popitem(last=False)
    return found


@lru_cache
def _data(dtype: Any) -> int:
    """Return cuBLAS's number of a dtype; its name takes NumPy longer than all else that a product asks for."""
    return DATA[dtype.name]


def _is_torch(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _pointer(stream: Any) -> int:
    """Return the address of a stream of CuPy, PyTorch, Numba or anything with ``__cuda_stream__``, or given as a number."""
    if isinstance(stream, int):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for name in ("ptr", "cuda_stream", "handle"):
        if hasattr(stream, name):
            found = getattr(stream, name)
            return int(getattr(found, "value", found) or 0)
    raise TypeError(f"stream must be a stream of CuPy, PyTorch or Numba, or its address, got {type(stream).__name__}")


def _layout(matrix: Any) -> tuple[int, int]:
    """Return, for a matrix with rows or columns contiguous, whether it is columns, and how far apart its rows (or they) are."""
    size, (rows, columns) = matrix.dtype.itemsize, matrix.shape
    by_row, by_column = matrix.strides
    if columns == 1 or by_column == size:
        return 0, max(by_row // size if rows > 1 else columns, columns, 1)
    return 1, max(by_column // size, rows, 1)
