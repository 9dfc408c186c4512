"""XLA's calls of machine code: one handler for all, which reads in a program's own words what is to be run on which arrays.

XLA hands over a *call frame*: structs whose layouts `xla/ffi/api/c_api.h` fixes, those of a 64-bit machine here. The first operand of each
call is its words (see `plan`), the other operands and the results are arrays, and the last result is memory to work in. The handler

    compares the sizes of the structs, so that a frame of another layout is refused and not misread;
    checks whole numbers that are indices;
    puts down where all arrays lie, in the first words of the memory to work in;
    runs the functions of the words, by their doors (see `table`).

It takes no lock of Python's, allocates nothing, and several threads may be in it at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..common.cache import callback
from ..cpu.compiling import inner
from ..cpu.interrupts import deferred
from ..cpu.memory import ALIGNMENT
from ..cpu.words import I32, I64, WORD, forever, word_of
from .table import DOOR, FUNCTION, KEY, ROW, SIZE, functions
from .version import INTERFACE, VERSION

# Bytes from the beginning of a struct to a member, and sizes of structs.
FRAME, FRAME_EXTENSION, FRAME_API, FRAME_STAGE, FRAME_ARGS, FRAME_RETS = 168, 8, 16, 32, 40, 80
LIST, LIST_COUNT, LIST_ITEMS = 40, 16, 32  # of arguments, and of results
BUFFER, BUFFER_DATA = 48, 24
API, API_MAJOR, API_ERROR = 56, 32, 48
EXTENSION_KIND, EXTENSION_METADATA, METADATA_MAJOR, METADATA_MINOR, METADATA_TRAITS, METADATA_STATE = 8, 24, 24, 28, 32, 40
ERROR, ERROR_MESSAGE, ERROR_CODE = 32, 16, 24
METADATA, EXECUTE = 1, 3  # kinds of extensions, stages of a program
INVALID_ARGUMENT, NOT_FOUND, INTERNAL = 3, 5, 13  # codes of errors
MAJOR, MINOR = INTERFACE

# Words of a program: how many indices are checked, how many functions are run, and how many bytes before a message.
CHECKS, WORKS, RAISED, UNKNOWN = range(4)
HEAD = 4
CHECK = 4  # words each: the operand, how many numbers it has, what they are below, bytes before the message
PLACES = 2  # where arrays lie: 0 for what has an address, words, then the other operands and the results

_TOLD = forever(np.frombuffer(b"derive: XLA's structs have other sizes than those that this package was made for\0", np.uint8).copy())
_SYMBOL = f"derive_frame_{VERSION}"
binding.add_symbol(_SYMBOL, _TOLD.ctypes.data)


def _memory(kind: ir.IntType) -> tuple[Any, Any]:
    """Return what reads a number of a kind at an address, and what writes one."""

    @intrinsic
    def load(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            found = builder.load(builder.inttoptr(values[0], kind.as_pointer()))
            return found if kind == I64 else builder.sext(found, I64)

        return types.int64(types.int64), codegen

    @intrinsic
    def store(typingctx, address, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            number = values[1] if kind == I64 else builder.trunc(values[1], kind)
            builder.store(number, builder.inttoptr(values[0], kind.as_pointer()))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return load, store


_load, _store = _memory(I64)
_load_half, _store_half = _memory(I32)


@intrinsic
def _at(typingctx, address):  # type: ignore[no-untyped-def]
    """Return an address as a pointer to words."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.inttoptr(values[0], I64.as_pointer())

    return WORD(types.int64), codegen


@intrinsic
def _told(typingctx):  # type: ignore[no-untyped-def]
    """Return the address of what is said of other layouts."""
    return types.int64(), lambda context, builder, signature, values: builder.ptrtoint(word_of(builder, _SYMBOL), I64)


@intrinsic
def _four_words(typingctx):  # type: ignore[no-untyped-def]
    """Return the address of memory on the stack, for an error."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.ptrtoint(cgutils.alloca_once(builder, I64, size=I64(ERROR // 8)), I64)

    return types.int64(), codegen


@intrinsic
def _call(typingctx, function, argument):  # type: ignore[no-untyped-def]
    """Call ``int64 function(int64)`` at an address."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.call(builder.inttoptr(values[0], ir.FunctionType(I64, [I64]).as_pointer()), [values[1]])

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _enter(typingctx, door, function, words, places):  # type: ignore[no-untyped-def]
    """Call a function by its door."""

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(I64, [I64, I64.as_pointer(), I64.as_pointer()])
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.int64(types.int64, types.int64, WORD, WORD), codegen


@inner
def _error(frame, code, message):  # type: ignore[no-untyped-def]
    """Return an error of XLA's, with a text that ends with 0."""
    given = _four_words()
    _store(given, ERROR)
    _store(given + 8, 0)
    _store(given + ERROR_MESSAGE, message)
    _store_half(given + ERROR_CODE, code)
    return _call(_load(_load(frame + FRAME_API) + API_ERROR), given)


@inner
def _answers(frame):  # type: ignore[no-untyped-def]
    """Answer XLA's question which version of its interface we have; return whether it was one."""
    extension = _load(frame + FRAME_EXTENSION)
    if extension == 0 or _load_half(extension + EXTENSION_KIND) != METADATA:
        return False
    metadata = _load(extension + EXTENSION_METADATA)
    _store_half(metadata + METADATA_MAJOR, MAJOR)
    _store_half(metadata + METADATA_MINOR, MINOR)
    _store_half(metadata + METADATA_TRAITS, 0)
    if _load(metadata) > METADATA_STATE:
        _store(metadata + METADATA_STATE, 0)
    return True


@inner
def _item(side, k):  # type: ignore[no-untyped-def]
    """Return the struct of an operand or of a result."""
    return _load(_load(side + LIST_ITEMS) + 8 * k)


@inner
def _is_known(frame):  # type: ignore[no-untyped-def]
    """Say whether structs have the sizes that are known here; later versions may have added to them."""
    api = _load(frame + FRAME_API)
    args, rets = frame + FRAME_ARGS, frame + FRAME_RETS
    if _load(frame) < FRAME or _load(api) < API or _load_half(api + API_MAJOR) != MAJOR or _load(args) != LIST or _load(rets) != LIST:
        return False
    return (
        _load(args + LIST_COUNT) > 0
        and _load(rets + LIST_COUNT) > 0
        and _load(_item(args, 0)) >= BUFFER
        and _load(_item(rets, 0)) >= BUFFER
    )


@inner
def _lies(side, k):  # type: ignore[no-untyped-def]
    """Return the address of an operand's or of a result's numbers."""
    return _load(_item(side, k) + BUFFER_DATA)


@inner
def _put_down(frame):  # type: ignore[no-untyped-def]
    """Put down where all arrays lie; return where that is: at the first cache line of the memory to work in."""
    args, rets = frame + FRAME_ARGS, frame + FRAME_RETS
    operands, results = _load(args + LIST_COUNT), _load(rets + LIST_COUNT)
    places = -(-_lies(rets, results - 1) // ALIGNMENT) * ALIGNMENT
    _store(places, 0)
    for k in range(operands):
        _store(places + 8 * (1 + k), _lies(args, k))
    for k in range(results - 1):
        _store(places + 8 * (1 + operands + k), _lies(rets, k))
    _store(places + 8 * (operands + results), places)
    return places


@inner
def _outside(start, count, below):  # type: ignore[no-untyped-def]
    """Say whether one of so many whole numbers is negative, or not below a bound."""
    found = False
    for k in range(count):
        number = _load(start + 8 * k)
        found = found or number < 0 or number >= below
    return found


@inner
def _row(number):  # type: ignore[no-untyped-def]
    """Return the word of the table with which the row of a function begins; -1 if it has none."""
    table, place = functions(), number % SIZE
    while table[ROW * place + KEY] != number:
        if table[ROW * place + KEY] == 0:
            return -1
        place = (place + 1) % SIZE
    return ROW * place


def handle(frame):  # type: ignore[no-untyped-def]
    """Do what a call frame asks; return 0, or an error of XLA's."""
    if _answers(frame) or _load_half(frame + FRAME_STAGE) != EXECUTE:
        return 0
    if not _is_known(frame):
        return _error(frame, INTERNAL, _told())
    places, words = _put_down(frame), _lies(frame + FRAME_ARGS, 0)
    at = words + 8 * HEAD
    for _ in range(_load(words + 8 * CHECKS)):
        if _outside(_load(places + 8 * _load(at)), _load(at + 8), _load(at + 16)):
            return _error(frame, INVALID_ARGUMENT, words + _load(at + 24))
        at += 8 * CHECK
    for _ in range(_load(words + 8 * WORKS)):
        row = _row(_load(at))
        if row < 0:
            return _error(frame, NOT_FOUND, words + _load(words + 8 * UNKNOWN))
        if _enter(functions()[row + DOOR], functions()[row + FUNCTION], _at(at + 16), _at(places)) != 0:
            return _error(frame, INTERNAL, words + _load(words + 8 * RAISED))
        at += 8 * (2 + _load(at + 8))
    return 0


def handler() -> int:
    """Return the address of the compiled handler."""
    with deferred():
        return int(forever(callback(handle, types.int64(types.int64))).address)
