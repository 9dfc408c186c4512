"""Functions that are compiled apart from their callers, once for each dtype: a caller's machine code holds a call through a *cell*.

    @apart
    def clear(out: RowMajor, m: int, n: int) -> None: ...     # a function of pointers to one dtype, integers, and tuples of those

    clear((out, m, n))                                        # in nopython code: its arguments, as a tuple

A cell is a word of memory with the function's address, which the loader finds by its name. So a function costs its callers no compile time,
and a caller from the cache meets the function of today. A cell is filled before a caller is compiled or read from the cache (see
`kernel.compiled`), and never by what runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, get_type_hints

import numba as nb
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from ..common.cache import callback
from ..common.version import VERSION
from .interrupts import deferred
from .kernel import OPTIONS, load
from .pointers import Pointer
from .words import cell, forever, from_cell

DTYPES = (types.float32, types.float64)


class _Apart:
    """A function compiled for one dtype, whose address its callers find in the cell of a symbol."""

    def __init__(self, function: Callable[..., None], kinds: list[Any], dtype: types.Float, symbol: str) -> None:
        self.function, self.dtype, self.symbol = function, dtype, symbol
        self.signature = types.void(*(_numba_type(kind, dtype) for kind in kinds))
        self.cell = cell(symbol)

    def load(self) -> None:
        """Compile it, or read it from the cache, after all that it calls: another thread may call it at once."""
        with global_compiler_lock:
            if not self.cell.value:
                load(self.function, self.dtype)
                with deferred():
                    self.cell.value = forever(self._compiled()).address

    def _compiled(self) -> Any:
        options = {name: OPTIONS[name] for name in ("error_model", "fastmath")}
        return callback(self.function, self.signature, **options)

    def call(self, builder: ir.IRBuilder, values: list[ir.Value]) -> None:
        """Emit a call through the cell."""
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(from_cell(builder, self.symbol, kind), values)


def apart(function: Callable[..., None]) -> Any:
    """Let a function be compiled apart; its annotations say what it takes: `Pointer`, ``int``, or a NamedTuple of those."""
    kinds = [kind for name, kind in get_type_hints(function).items() if name != "return"]
    text = f"{VERSION} {[_described(kind) for kind in kinds]}"
    version = hashlib.sha256(text.encode()).hexdigest()[:8]  # two versions in one process never meet
    made = {dtype: _Apart(function, kinds, dtype, f"derive{function.__name__}_{version}_{dtype}") for dtype in DTYPES}

    @intrinsic
    def call(typingctx, given):  # type: ignore[no-untyped-def]
        dtype = _dtype(given)
        if dtype not in made:
            raise nb.TypingError(f"a product needs float32 or float64 arrays, not {dtype}")

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            made[dtype].call(builder, cgutils.unpack_tuple(builder, arguments[0]))
            return context.get_dummy_value()

        return types.void(types.Tuple(made[dtype].signature.args)), codegen

    def load_apart(dtype: types.Type) -> None:
        if dtype in made:
            made[dtype].load()

    call.load_apart = load_apart
    return call


def _fields(kind: Any) -> list[Any]:
    return [get_type_hints(kind)[name] for name in kind._fields]


def _numba_type(kind: Any, dtype: types.Float) -> types.Type:
    if kind is int:
        return types.int64
    if kind is Pointer:
        return types.CPointer(dtype)
    return types.BaseTuple.from_types(tuple(_numba_type(field, dtype) for field in _fields(kind)), kind)


def _described(kind: Any) -> str:
    return kind.__name__ if kind in (int, Pointer) else f"({', '.join(map(_described, _fields(kind)))})"


def _dtype(kind: types.Type) -> types.Type | None:
    """Return what the first pointer among types points to."""
    if isinstance(kind, types.CPointer):
        return kind.dtype
    return next(filter(None, map(_dtype, kind)), None) if isinstance(kind, types.BaseTuple) else None
