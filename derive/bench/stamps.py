"""Time that compiled code notes down itself, by phase: `profile` puts these calls into a generated module."""

from __future__ import annotations

import ctypes
import os

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..runtime.cpu.compiling import inner
from ..runtime.cpu.words import I32, I64, WORD, cell, forever, from_cell, read, word_of, write

# What the caller's thread does. SHARED is all of a kernel that threads share, what its own part does among it: the rest is waiting.
PHASES = PACKING, STATES, OVER_STEPS, SUMS, SHARED, MULTIPLYING, ELEMENTWISE = range(7)
SUPPORTED = os.name == "posix"

_CLOCK, _TABLE, _MONOTONIC = "derive_bench_clock", "derive_bench_table", 1
if SUPPORTED:
    cell(_CLOCK).value = ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value

table = forever(np.zeros(len(PHASES), np.int64))  # nanoseconds by phase
binding.add_symbol(_TABLE, table.ctypes.data)


@intrinsic
def nanoseconds(typingctx):  # type: ignore[no-untyped-def]
    """Return the time of a clock that only goes forward."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = cgutils.alloca_once(builder, I64, size=I64(2))
        function = from_cell(builder, _CLOCK, ir.FunctionType(I32, [I32, place.type]))
        builder.call(function, [I32(_MONOTONIC), place])
        seconds, rest = (builder.load(builder.gep(place, [I64(word)])) for word in range(2))
        return builder.add(builder.mul(seconds, I64(10**9)), rest)

    return types.int64(), codegen


@intrinsic
def _place(typingctx):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return word_of(builder, _TABLE)

    return WORD(), codegen


@inner
def spent(first, phase, since):  # type: ignore[no-untyped-def]
    """Add the time since an earlier one to a phase, in the part that begins at 0, which the caller's thread does; return the time."""
    now = nanoseconds()
    if first == 0:
        write(_place(), phase, read(_place(), phase) + now - since)
    return now
