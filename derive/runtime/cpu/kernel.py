"""How kernels are compiled: without the GIL, cached, divided among threads, and with the promise that no two arrays of a call overlap.

Every array that a kernel writes is memory of its own, so the promise holds.  Without it, LLVM guards each loop by comparing all pairs
of arrays, and gives up on vectorising where there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

from numba import njit, types

from ..common.cache import cached
from .crew import task
from .interrupts import deferred
from .openmp import together

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # no test for zero before a division: it would stop vectorisation
    "fastmath": {"contract"},  # a multiplication and an addition may become one; NaN and infinity keep their meaning
}


def kernel(function: Callable[..., None]) -> Any:
    """Compile ``function(*arguments, first, last)`` for `threads.run`, at its first call for each dtype.

    Returns
    -------
    dispatcher
        In compiled code it takes ``(count, parts, how, *arguments)``, and calls `function` for parts of 0 … count on the threads of
        `openmp.together`.
    """
    inner = part(function)
    name, code = f"{function.__name__}_divided", function.__code__
    # A function of its own for each kernel, in the kernel's file: that is where Numba caches it.
    divided = _divided.__code__.replace(co_name=name, co_qualname=name, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno)
    outer = FunctionType(divided, {"inner": inner, "task": task, "together": together}, name)
    outer.__module__ = function.__module__
    return compiled(outer, cache=True)


def host(function: Callable[..., Any]) -> Any:
    """Compile a host function, which is given all its arrays, ``function(parts, how, *arguments)``, at its first call for each dtype."""
    return compiled(function, cache=True)


def compiled(function: Callable[..., Any], *, cache: bool = False) -> Any:
    """Compile a function at its first call for each dtype, or read it from the cache, once all that it calls `apart` is there.

    So it is Python that compiles, before anything runs: compiled code would have nobody to tell that it was interrupted or failed.
    """
    dispatcher = (cached if cache else njit)(**OPTIONS)(function)
    compile_alone = dispatcher.compile

    def compile_with_others(signature: Any) -> Any:
        for dtype in set(_dtypes(signature)):
            load(function, dtype)
        with deferred():
            return compile_alone(signature)

    dispatcher.compile = compile_with_others
    return dispatcher


def load(function: Callable[..., Any], dtype: types.Type) -> None:
    """Compile for a dtype, or read from the cache, what a function calls apart, itself or in functions that it calls (see `apart`)."""
    for name in function.__code__.co_names:
        called: Any = function.__globals__.get(name)
        if hasattr(called, "load_apart"):
            called.load_apart(dtype)
        elif hasattr(called, "py_func"):
            load(called.py_func, dtype)


def _dtypes(kinds: Iterable[types.Type]) -> Iterator[types.Type]:
    """Yield the dtypes of arrays, of those in tuples too."""
    for kind in kinds:
        yield from [kind.dtype] if isinstance(kind, types.Array) else _dtypes(kind.types) if isinstance(kind, types.BaseTuple) else ()


def part(function: Callable[..., None]) -> Any:
    """Compile ``function(*arguments, first, last)`` for `crew.task`, and only as a part of what calls it."""
    dispatcher = compiled(function)
    dispatcher._compiler._customize_flags = _part_flags  # Numba has these flags, but no public option for them
    return dispatcher


def _divided(count, parts, how, *arguments):  # type: ignore[no-untyped-def]
    function, data = task(inner, arguments)  # type: ignore[name-defined]  # noqa: F821
    if together(function, data, count, parts, how) != 0:
        raise RuntimeError("a part of a kernel raised an exception")


def _part_flags(flags: Any) -> Any:
    flags.noalias = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    return flags
