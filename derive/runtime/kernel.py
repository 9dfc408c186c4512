"""How kernels are compiled: without the GIL, cached, divided among threads, and with the promise that no two arrays of a call overlap.

Every array that a kernel writes is memory of its own, so the promise holds.  Without it, LLVM guards each loop by comparing all pairs
of arrays, and gives up on vectorising where there are many.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from numba import njit

from .crew import divide, task

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
        It takes ``(count, helpers, awake, *arguments)``, and calls `function` for parts of 0 … count as `crew.divide` does.
    """
    inner = part(function)
    name, code = f"{function.__name__}_divided", function.__code__
    # A function of its own for each kernel, in the kernel's file: that is where Numba caches it.
    divided = _divided.__code__.replace(co_name=name, co_qualname=name, co_filename=code.co_filename, co_firstlineno=code.co_firstlineno)
    outer = FunctionType(divided, {"inner": inner, "task": task, "divide": divide}, name)
    outer.__module__ = function.__module__
    return njit(cache=True, **OPTIONS)(outer)


def part(function: Callable[..., None]) -> Any:
    """Compile ``function(*arguments, first, last)`` for `crew.task`, and only as a part of what calls it."""
    dispatcher = njit(**OPTIONS)(function)
    dispatcher._compiler._customize_flags = _part_flags  # Numba has these flags, but no public option for them
    return dispatcher


def _divided(count, helpers, awake, *arguments):  # type: ignore[no-untyped-def]
    function, data = task(inner, arguments)  # type: ignore[name-defined]  # noqa: F821
    if divide(function, data, count, helpers, awake) != 0:
        raise RuntimeError("a part of a kernel raised an exception")


def _part_flags(flags: Any) -> Any:
    flags.noalias = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    return flags
