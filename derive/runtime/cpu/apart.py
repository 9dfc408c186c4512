"""Functions that are compiled apart from their callers, once for each dtype: a caller's machine code holds a call through a *cell*.

    @apart
    def clear(out: RowMajor, m: int, n: int) -> None: ...     # a function of pointers to one dtype, integers, and tuples of those;
                                                              # it returns nothing, or a number where it says ``-> int``

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
from .compiling import OPTIONS, load
from .interrupts import deferred
from .pointers import Pointer
from .words import I64, cell, forever, from_cell

DTYPES = (types.float32, types.float64)
ANY = (None,)  # of a function without pointers


class _Apart:
    """A function compiled for one dtype, whose address its callers find in the cell of a symbol."""

    def __init__(self, function: Callable[..., Any], kinds: dict[str, Any], dtype: types.Float, symbol: str) -> None:
        self.function, self.dtype, self.symbol = function, dtype, symbol
        result, *given = (_numba_type(kinds[name], dtype) for name in ("return", *(name for name in kinds if name != "return")))
        self.signature = result(*given)
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
        return callback(self.function, self.signature, OPTIONS["pipeline_class"], **options)

    def call(self, builder: ir.IRBuilder, values: list[ir.Value]) -> ir.Value:
        """Emit a call through the cell."""
        result = ir.VoidType() if self.signature.return_type == types.void else I64
        kind = ir.FunctionType(result, [value.type for value in values])
        return builder.call(from_cell(builder, self.symbol, kind), values)


def apart(function: Callable[..., Any]) -> Any:
    """Let a function be compiled apart; its annotations say what it takes: `Pointer`, ``int``, or a NamedTuple of those."""
    kinds = get_type_hints(function)
    text = f"{VERSION} {[_described(kind) for kind in kinds.values()]}"
    version = hashlib.sha256(text.encode()).hexdigest()[:8]  # two versions in one process never meet
    dtypes = DTYPES if any(map(_points, kinds.values())) else ANY
    made = {dtype: _Apart(function, kinds, dtype, f"derive{function.__name__}_{version}_{dtype}") for dtype in dtypes}

    @intrinsic
    def call(typingctx, given):  # type: ignore[no-untyped-def]
        dtype = _dtype(given)
        if dtype not in made:
            raise nb.TypingError(f"a product needs float32 or float64 arrays, not {dtype}")

        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            result = made[dtype].call(builder, cgutils.unpack_tuple(builder, arguments[0]))
            return context.get_dummy_value() if signature.return_type == types.void else result

        return made[dtype].signature.return_type(types.Tuple(made[dtype].signature.args)), codegen

    def load_apart(dtype: types.Type | None) -> None:
        known = dtype if dtypes == DTYPES else None
        if known in made:
            made[known].load()

    call.load_apart, call.made = load_apart, made
    return call


def _fields(kind: Any) -> list[Any]:
    return [get_type_hints(kind)[name] for name in kind._fields]


def _points(kind: Any) -> bool:
    """Say whether a kind of argument is a pointer, or has one."""
    return kind is Pointer or (hasattr(kind, "_fields") and any(map(_points, _fields(kind))))


def _numba_type(kind: Any, dtype: types.Float) -> types.Type:
    if kind is type(None):
        return types.void
    if kind is int:
        return types.int64
    if kind is Pointer:
        return types.CPointer(dtype)
    return types.BaseTuple.from_types(tuple(_numba_type(field, dtype) for field in _fields(kind)), kind)


def _described(kind: Any) -> str:
    return kind.__name__ if kind in (int, Pointer, type(None)) else f"({', '.join(map(_described, _fields(kind)))})"


def _dtype(kind: types.Type) -> types.Type | None:
    """Return what the first pointer among types points to."""
    if isinstance(kind, types.CPointer):
        return kind.dtype
    return next(filter(None, map(_dtype, kind)), None) if isinstance(kind, types.BaseTuple) else None
