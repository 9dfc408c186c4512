"""How compiled code of several threads shares work, without the GIL.

A worker thread *serves* a slot of the board: it waits there, awake, for a task that another thread posts, and sleeps when none has come for
a while.  `divide` calls a task for parts of a range, on its own thread and on those of workers that are free:

    function, data = task(kernel, arguments)     # in compiled code, where `arguments` is a tuple of what `kernel` takes before its range
    divide(function, data, count, helpers, awake)

Whatever no worker has begun when the caller has done its own part, the caller does too: calls may come from several threads at once, or
from inside another, and none waits for a worker that sleeps.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..common.cache import cached
from ..common.version import VERSION, common
from .target import TARGET, is_arm, is_x86

WORKERS = 254  # at most
TRIAL = WORKERS + 1  # a slot without a worker, on which the time of a look is taken
WORDS = 16  # of 8 bytes, in a slot: two cache lines, since some processors fetch them in pairs
# Words of a slot.  The first slot is the board's own; its `HELPERS` are the workers that may be asked.
STATE, AWAKE, STOP, FUNCTION, DATA, FIRST, LAST, NEXT, FAILED = range(9)
HELPERS = 0
# States of a slot.  A caller takes it from FREE to CLAIMED to POSTED and from DONE to FREE, its worker from POSTED to WORKING to DONE.
FREE, CLAIMED, POSTED, WORKING, DONE = range(5)
LOOKS = 2000  # at a slot, before a caller that waits for it lets other threads of the processor run

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
I32, I64 = ir.IntType(32), ir.IntType(64)
WORD = types.CPointer(types.int64)

# All packages with this version of the runtime have one board in a process: compiled code finds it by its name alone.  Code that is kept
# has these names in it, so they may depend on nothing that changes while its own file does not.
LAYOUT = 1  # of the board: another number for another meaning of its words
_BOARD, _YIELD = f"derive_board_{VERSION}_{LAYOUT}", f"derive_yield_{VERSION}"


def forever(value: Any) -> Any:
    """Return a value that is kept until the process has ended: so long compiled code, of workers too, may look at its memory."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))
    return value


def _board() -> np.ndarray:
    memory = forever(np.zeros((TRIAL + 2) * WORDS, np.int64))
    start = -(memory.ctypes.data // 8) % WORDS
    return memory[start : start + (TRIAL + 1) * WORDS].reshape(TRIAL + 1, WORDS)


if not hasattr(common, "board"):
    common.board = _board()
board: np.ndarray = common.board


def _yielding() -> int:
    """Return the address of the system's function that lets other threads run."""
    library, name = (ctypes.windll.kernel32, "SwitchToThread") if os.name == "nt" else (ctypes.CDLL(None), "sched_yield")  # type: ignore[attr-defined,unused-ignore]
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


binding.add_symbol(_BOARD, board.ctypes.data)
binding.add_symbol(_YIELD, _yielding())


@intrinsic
def _slot(typingctx, number):  # type: ignore[no-untyped-def]
    """Return a pointer to the words of slot `number` of the board."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        words = builder.module.globals.get(_BOARD) or ir.GlobalVariable(builder.module, I64, _BOARD)
        return builder.gep(words, [builder.mul(arguments[0], I64(WORDS))])

    return WORD(types.int64), codegen


@intrinsic
def _load(typingctx, slot, word):  # type: ignore[no-untyped-def]
    """Read a word, and then all that the thread that stored it had written before."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.load_atomic(builder.gep(arguments[0], [arguments[1]]), "acquire", 8)

    return types.int64(WORD, types.int64), codegen


@intrinsic
def _store(typingctx, slot, word, value):  # type: ignore[no-untyped-def]
    """Write a word, after all that this thread has written before."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        slot, word, value = arguments
        builder.store_atomic(value, builder.gep(slot, [word]), "release", 8)
        return context.get_dummy_value()

    return types.void(WORD, types.int64, types.int64), codegen


@intrinsic
def _exchange(typingctx, slot, before, after):  # type: ignore[no-untyped-def]
    """Take the state of a slot from `before` to `after`; return whether it was `before`."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        slot, before, after = arguments
        return builder.extract_value(builder.cmpxchg(builder.gep(slot, [I64(STATE)]), before, after, "acq_rel", "acquire"), 1)

    return types.boolean(WORD, types.int64, types.int64), codegen


@intrinsic
def _pause(typingctx):  # type: ignore[no-untyped-def]
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
def _let_others_run(typingctx):  # type: ignore[no-untyped-def]
    """Let other threads of this processor run."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I32, []), _YIELD)
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _call(typingctx, function, data, first, last):  # type: ignore[no-untyped-def]
    """Call the `function` of a task; return 1 if it raised an exception, else 0."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(I64, [I64, I64, I64])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.int64(*[types.int64] * 4), codegen


@intrinsic
def task(typingctx, kernel, arguments):  # type: ignore[no-untyped-def]
    """Return (function, data), which make the call ``kernel(*arguments, first, last)`` as long as the function that asks has not ended."""
    wanted = kernel.get_call_type(typingctx, (*arguments.types, types.int64, types.int64), {})

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        data = cgutils.alloca_once_value(builder, values[1])
        compiled = kernel.dispatcher.overloads[tuple(wanted.args)]
        name = f"task.{compiled.fndesc.mangled_name}"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(I64, [I64, I64, I64]), name)
            function.linkage = "internal"
            inner = ir.IRBuilder(function.append_basic_block())
            place, first, last = function.args
            given = cgutils.unpack_tuple(inner, inner.load(inner.inttoptr(place, data.type)))
            called = context.declare_function(builder.module, compiled.fndesc)
            called.attributes.add("noinline")
            status, _ = context.call_conv.call_function(inner, called, wanted.return_type, wanted.args, [*given, first, last])
            inner.ret(inner.zext(status.is_error, I64))
            context.active_code_library.add_linking_library(compiled.library)
        return context.make_tuple(builder, signature.return_type, [builder.ptrtoint(function, I64), builder.ptrtoint(data, I64)])

    return types.UniTuple(types.int64, 2)(kernel, arguments), codegen


_inner = njit(**OPTIONS)  # compiled as a part of what calls it


@_inner
def _may_be_asked(number, awake):  # type: ignore[no-untyped-def]
    """Say whether the worker of a slot is free, and awake where it must be `awake`."""
    slot = _slot(number)
    return _load(slot, STATE) == FREE and (not awake or _load(slot, AWAKE) != 0)


@_inner
def _claim(wanted, awake):  # type: ignore[no-untyped-def]
    """Claim at most `wanted` slots; return the last of them and how many they are.  `NEXT` of each is the one claimed before it, or 0."""
    last, claimed = 0, 0
    number, end = 1, _load(_slot(0), HELPERS)
    while claimed < wanted and number <= end:
        if _may_be_asked(number, awake) and _exchange(_slot(number), FREE, CLAIMED):
            _store(_slot(number), NEXT, last)
            last, claimed = number, claimed + 1
        number += 1
    return last, claimed


@_inner
def _post(last, claimed, function, data, count):  # type: ignore[no-untyped-def]
    """Post a task in the claimed slots: all parts of 0 … `count` but the first."""
    number, part = last, claimed
    while number > 0:
        slot = _slot(number)
        _store(slot, FUNCTION, function)
        _store(slot, DATA, data)
        _store(slot, FIRST, count * part // (claimed + 1))
        _store(slot, LAST, count * (part + 1) // (claimed + 1))
        number, part = _load(slot, NEXT), part - 1
        _store(slot, STATE, POSTED)


@_inner
def _finish(number, function, data):  # type: ignore[no-untyped-def]
    """Do the part of a slot if its worker has not begun it, else wait until it is done; return whether it failed."""
    slot, looks = _slot(number), 0
    if _exchange(slot, POSTED, CLAIMED):
        return _call(function, data, _load(slot, FIRST), _load(slot, LAST))
    while _load(slot, STATE) != DONE:
        looks += 1
        if looks < LOOKS:
            _pause()
        else:
            _let_others_run()
    return _load(slot, FAILED)


@cached(**OPTIONS)
def divide(function, data, count, helpers, awake):  # type: ignore[no-untyped-def]
    """Call a task for parts of 0 … `count`, each once, on this thread and on at most `helpers` workers; return how many failed, at the end.

    A worker that sleeps does not begin before somebody wakes it.  Where somebody does (`threads.run`), sleepers are asked too; where nobody
    does, `awake` is true, and only those are asked that look at their slots now.
    """
    number, claimed = _claim(min(helpers, count - 1), awake)
    _post(number, claimed, function, data, count)
    failed = _call(function, data, 0, count // (claimed + 1))
    while number > 0:
        failed += _finish(number, function, data)
        following = _load(_slot(number), NEXT)
        _store(_slot(number), STATE, FREE)
        number = following
    return failed


@cached(**OPTIONS)
def serve(number, patience):  # type: ignore[no-untyped-def]
    """Do the tasks of a slot, until none has come for `patience` looks or the slot is to `STOP`."""
    slot, looks = _slot(number), 0
    _store(slot, AWAKE, 1)
    while looks < patience and _load(slot, STOP) == 0:
        if _load(slot, STATE) == POSTED and _exchange(slot, POSTED, WORKING):
            _store(slot, FAILED, _call(_load(slot, FUNCTION), _load(slot, DATA), _load(slot, FIRST), _load(slot, LAST)))
            _store(slot, STATE, DONE)
            looks = 0
        else:
            looks += 1
            _pause()
    _store(slot, AWAKE, 0)
