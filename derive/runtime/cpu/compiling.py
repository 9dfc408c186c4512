"""How functions are compiled: without the GIL, without counts of references, and with numbers that keep their meaning.

A function is called from Python (`compiled`), or it is only a part of what calls it (`inner`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from numba import njit, types

from ..common.cache import cached
from .interrupts import deferred
from .wide import Wide

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",  # no test for zero before a division: it would stop vectorisation
    "fastmath": {"contract"},  # a multiplication and an addition may become one; NaN and infinity keep their meaning
    "_nrt": False,  # nothing is allocated, and what is given outlives the call: nobody counts who refers to it
    "no_cfunc_wrapper": True,  # a way in that nobody takes
    "pipeline_class": Wide,
}
# Of a function that is a part of what calls it: it cannot be called from Python, and costs less to compile.
inner = njit(**OPTIONS, no_cpython_wrapper=True)


def compiled(function: Callable[..., Any], *, cache: bool = True) -> Any:
    """Compile a function at its first call for each dtype, or read it from the cache, once all that it calls `apart` is there.

    So it is Python that compiles, before anything runs: compiled code would have nobody to tell that it was interrupted or failed.
    """
    dispatcher = (cached if cache else njit)(**OPTIONS)(function)
    compile_alone = dispatcher.compile

    def compile_with_others(signature: Any) -> Any:
        for dtype in set(_dtypes(signature)) or {None}:
            load(function, dtype)
        with deferred():
            return compile_alone(signature)

    dispatcher.compile = compile_with_others
    return dispatcher


def load(function: Callable[..., Any], dtype: types.Type | None) -> None:
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
