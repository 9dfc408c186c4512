"""Words of memory that threads share in compiled code, without the GIL, and cells: words that compiled code finds by their names."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..common.version import VERSION, common
from .target import TARGET, is_arm, is_x86

I32, I64 = ir.IntType(32), ir.IntType(64)
WORD = types.CPointer(types.int64)
_YIELD = f"derive_yield_{VERSION}"


def forever(value: Any) -> Any:
    """Return a value that is kept until the process has ended: so long compiled code, of workers too, may look at its memory."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value


def cell(symbol: str) -> ctypes.c_void_p:
    """Return the word that compiled code finds by a name; all packages with this version of the runtime have it in common, 0 at first."""
    cells: dict[str, ctypes.c_void_p] = common.__dict__.setdefault("cells", {})
    if symbol not in cells:
        cells[symbol] = forever(ctypes.c_void_p())
        binding.add_symbol(symbol, ctypes.addressof(cells[symbol]))
    return cells[symbol]


def word_of(builder: ir.IRBuilder, symbol: str) -> ir.Value:
    """Return a pointer to the word that compiled code finds by a name."""
    return builder.module.globals.get(symbol) or ir.GlobalVariable(builder.module, I64, symbol)


def from_cell(builder: ir.IRBuilder, symbol: str, kind: ir.FunctionType) -> ir.Value:
    """Return the function whose address is in a cell."""
    return builder.inttoptr(builder.load(word_of(builder, symbol)), kind.as_pointer())


def _yielding() -> int:
    """Return the address of the system's function that lets other threads run."""
    library, name = (ctypes.windll.kernel32, "SwitchToThread") if os.name == "nt" else (ctypes.CDLL(None), "sched_yield")  # type: ignore[attr-defined,unused-ignore]
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


binding.add_symbol(_YIELD, _yielding())


@intrinsic
def read(typingctx, place, word):  # type: ignore[no-untyped-def]
    """Read a word, and then all that the thread that wrote it had written before."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load_atomic(builder.gep(arguments[0], [arguments[1]]), "acquire", 8)

    return types.int64(WORD, types.int64), codegen


@intrinsic
def write(typingctx, place, word, value):  # type: ignore[no-untyped-def]
    """Write a word, after all that this thread has written before."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place, word, value = arguments
        builder.store_atomic(value, builder.gep(place, [word]), "release", 8)
        return context.get_dummy_value()

    return types.void(WORD, types.int64, types.int64), codegen


@intrinsic
def exchange(typingctx, place, word, before, after):  # type: ignore[no-untyped-def]
    """Take a word from `before` to `after`; return whether it was `before`."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place, word, before, after = arguments
        return builder.extract_value(builder.cmpxchg(builder.gep(place, [word]), before, after, "acq_rel", "acquire"), 1)

    return types.boolean(WORD, types.int64, types.int64, types.int64), codegen


@intrinsic
def add(typingctx, place, word, value):  # type: ignore[no-untyped-def]
    """Add to a word; return what it was before."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place, word, value = arguments
        return builder.atomic_rmw("add", builder.gep(place, [word]), value, "acq_rel")

    return types.int64(WORD, types.int64, types.int64), codegen


@intrinsic
def on_stack(typingctx):  # type: ignore[no-untyped-def]
    """Return eight words on the stack of the function that asks."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return cgutils.alloca_once(builder, I64, size=I64(8))

    return WORD(), codegen


@intrinsic
def pause(typingctx):  # type: ignore[no-untyped-def]
    """Tell the processor that this thread only waits."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        if is_x86(TARGET.architecture):
            builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"), [])
        elif is_arm(TARGET.architecture):
            hint = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), [I32]), "llvm.aarch64.hint")
            builder.call(hint, [I32(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def let_others_run(typingctx):  # type: ignore[no-untyped-def]
    """Let other threads of this processor run."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), _YIELD)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen
