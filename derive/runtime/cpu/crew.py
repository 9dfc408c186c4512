"""How compiled code of several threads shares work, without the GIL.

A worker thread *serves* a slot of the board: it waits there, awake, for a task that another thread posts, and sleeps when none has come for
a while.  `divide` calls a task for parts of a range, on its own thread and on those of workers that are free:

    function, data = task(kernel, arguments)     # in compiled code, where `arguments` is a tuple of what `kernel` takes before its range
    divide((function, data, count, helpers, awake))

Whatever no worker has begun when the caller has done its own part, the caller does too: calls may come from several threads at once, or
from inside another, and none waits for a worker that sleeps.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..common.version import VERSION, common
from .apart import apart
from .compiling import compiled, inner
from .words import I64, WORD, cell, exchange, forever, from_cell, let_others_run, pause, read, word_of, write

WORKERS = 254  # at most
TRIAL = WORKERS + 1  # a slot without a worker, on which the time of a look is taken
GUEST = TRIAL + 1  # the first slot of a guest: a thread of somebody else's, which serves for a while (see `openmp`)
GUESTS = 256  # at most
SLOTS = GUEST + GUESTS
WORDS = 16  # of 8 bytes, in a slot: two cache lines, since some processors fetch them in pairs
# Words of a slot.
STATE, AWAKE, STOP, FUNCTION, DATA, FIRST, LAST, NEXT, FAILED, BELL, RUNG = range(11)
# Words of the first slot, which is the board's own: the workers that may be asked, and the slots in which there have been guests.
HELPERS, SEEN = range(2)
# States of a slot.  A caller takes it from FREE to CLAIMED to POSTED and from DONE to FREE, its worker from POSTED to WORKING to DONE.
FREE, CLAIMED, POSTED, WORKING, DONE = range(5)
LOOKS = 2000  # at a slot, before a caller that waits for it lets other threads of the processor run

# All packages with this version of the runtime have one board in a process: compiled code finds it by its name alone.  Code that is kept
# has this name in it, so it may depend on nothing that changes while its own file does not.
LAYOUT = 2  # of the board: another number for another meaning of its words
_BOARD = f"derive_board_{VERSION}_{LAYOUT}"


def _board() -> np.ndarray:
    memory = forever(np.zeros((SLOTS + 1) * WORDS, np.int64))
    start = -(memory.ctypes.data // 8) % WORDS
    return memory[start : start + SLOTS * WORDS].reshape(SLOTS, WORDS)


if not hasattr(common, "board"):
    common.board = _board()
board: np.ndarray = common.board
binding.add_symbol(_BOARD, board.ctypes.data)

# A worker that sleeps waits for a lock of Python's, its `BELL`: such may be released by any thread, with or without the GIL.
_RELEASE = f"derive_release_{VERSION}"
cell(_RELEASE).value = ctypes.cast(ctypes.pythonapi.PyThread_release_lock, ctypes.c_void_p).value


@intrinsic
def slot_of(typingctx, number):  # type: ignore[no-untyped-def]
    """Return a pointer to the words of slot `number` of the board."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.gep(word_of(builder, _BOARD), [builder.mul(arguments[0], I64(WORDS))])

    return WORD(types.int64), codegen


@intrinsic
def call(typingctx, function, data, first, last):  # type: ignore[no-untyped-def]
    """Call the `function` of a task; return 1 if it raised an exception, else 0."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(I64, [I64, I64, I64])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    return types.int64(*[types.int64] * 4), codegen


@intrinsic
def task(typingctx, kernel, arguments):  # type: ignore[no-untyped-def]
    """Return (function, data), which make the call ``kernel(*arguments, first, last)`` as long as the function that asks has not ended."""
    wanted = part_type(typingctx, kernel, arguments)

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        compiled = kernel.dispatcher.overloads[tuple(wanted.args)]
        return context.make_tuple(builder, signature.return_type, make_task(context, builder, compiled, wanted, values[1]))

    return types.UniTuple(types.int64, 2)(kernel, arguments), codegen


def part_type(typingctx: Any, kernel: types.Dispatcher, arguments: types.BaseTuple) -> Any:
    """Return the signature of a kernel that is given `arguments` and a range."""
    return kernel.get_call_type(typingctx, (*arguments.types, types.int64, types.int64), {})


def make_task(context: Any, builder: ir.IRBuilder, compiled: Any, wanted: Any, arguments: ir.Value) -> list[ir.Value]:
    """Emit the function and the data of a `task`."""
    data = cgutils.alloca_once_value(builder, arguments)
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
    return [builder.ptrtoint(function, I64), builder.ptrtoint(data, I64)]


@intrinsic
def _release(typingctx, lock):  # type: ignore[no-untyped-def]
    """Release the lock at an address."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        builder.call(from_cell(builder, _RELEASE, ir.FunctionType(ir.VoidType(), [I64])), arguments)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@inner
def _ring(number):  # type: ignore[no-untyped-def]
    """Let the worker of a slot serve again, though it may be awake: it may be about to sleep."""
    slot = slot_of(number)
    if read(slot, BELL) != 0 and exchange(slot, RUNG, 0, 1):
        _release(read(slot, BELL))


@compiled
def wake():  # type: ignore[no-untyped-def]
    """Wake all workers that may be asked."""
    for number in range(1, read(slot_of(0), HELPERS) + 1):
        _ring(number)


@compiled
def ring_one(number):  # type: ignore[no-untyped-def]
    """Wake the worker of a slot."""
    _ring(number)


@inner
def _may_be_asked(number, awake):  # type: ignore[no-untyped-def]
    """Say whether the worker of a slot is free, and awake where it must be `awake`."""
    slot = slot_of(number)
    return read(slot, STATE) == FREE and (not awake or read(slot, AWAKE) != 0)


@inner
def _claim(wanted, awake):  # type: ignore[no-untyped-def]
    """Claim at most `wanted` slots; return the last of them and how many they are.  `NEXT` of each is the one claimed before it, or 0."""
    last, claimed = _claim_among(1, read(slot_of(0), HELPERS), wanted, awake, 0, 0)
    return _claim_among(GUEST, read(slot_of(0), SEEN), wanted, True, last, claimed)


@inner
def _claim_among(start, count, wanted, awake, last, claimed):  # type: ignore[no-untyped-def]
    """Go on claiming, among so many slots from `start`."""
    number = start
    while claimed < wanted and number < start + count:
        if _may_be_asked(number, awake) and exchange(slot_of(number), STATE, FREE, CLAIMED):
            write(slot_of(number), NEXT, last)
            last, claimed = number, claimed + 1
        number += 1
    return last, claimed


@inner
def _post(last, claimed, function, data, count):  # type: ignore[no-untyped-def]
    """Post a task in the claimed slots: all parts of 0 … `count` but the first."""
    number, part = last, claimed
    while number > 0:
        slot = slot_of(number)
        write(slot, FUNCTION, function)
        write(slot, DATA, data)
        write(slot, FIRST, count * part // (claimed + 1))
        write(slot, LAST, count * (part + 1) // (claimed + 1))
        number, part = read(slot, NEXT), part - 1
        write(slot, STATE, POSTED)


@inner
def _finish(number, function, data):  # type: ignore[no-untyped-def]
    """Do the part of a slot if its worker has not begun it, else wait until it is done; return whether it failed."""
    slot, looks = slot_of(number), 0
    if exchange(slot, STATE, POSTED, CLAIMED):
        return call(function, data, read(slot, FIRST), read(slot, LAST))
    while read(slot, STATE) != DONE:
        looks += 1
        if looks < LOOKS:
            pause()
        else:
            let_others_run()
    return read(slot, FAILED)


@apart
def divide(function: int, data: int, count: int, helpers: int, awake: int) -> int:
    """Call a task for parts of 0 … `count`, each once, on this thread and on at most `helpers` workers; return how many failed, at the end.

    Those that sleep are woken, also to help with products of the parts, and when their parts are there: one that has woken finds its own.
    Where `awake` is not 0, only those are asked that look at their slots now.
    """
    number, claimed = _claim(min(helpers, count - 1), awake != 0)
    _post(number, claimed, function, data, count)
    if awake == 0:
        wake()
    failed = call(function, data, 0, count // (claimed + 1))
    while number > 0:
        failed += _finish(number, function, data)
        following = read(slot_of(number), NEXT)
        write(slot_of(number), STATE, FREE)
        number = following
    return failed


@inner
def serve_once(slot):  # type: ignore[no-untyped-def]
    """Do the task that is posted in a slot; return whether there was one."""
    if read(slot, STATE) != POSTED or not exchange(slot, STATE, POSTED, WORKING):
        return False
    write(slot, FAILED, call(read(slot, FUNCTION), read(slot, DATA), read(slot, FIRST), read(slot, LAST)))
    write(slot, STATE, DONE)
    return True


@compiled
def serve(number, patience):  # type: ignore[no-untyped-def]
    """Do the tasks of a slot, until none has come for `patience` looks or the slot is to `STOP`."""
    slot, looks = slot_of(number), 0
    write(slot, AWAKE, 1)
    while looks < patience and read(slot, STOP) == 0:
        if serve_once(slot):
            looks = 0
        else:
            looks += 1
            pause()
    write(slot, AWAKE, 0)
