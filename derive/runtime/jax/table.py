"""Compiled host functions by number, where machine code without the GIL finds them: a program of XLA has the number of what it calls.

An address is of one process, and JAX may keep a program for another one. So a number says what a function *is*: its module as it was
generated, its name, and the kinds of its arguments. With it the table has two addresses, of the function and of its *door*,

    door(function, words, places) -> 0, or 1 if the function raised an exception

which calls it with arguments that are told in words (see `cpu.entry`), and is the same for all functions of such arguments.
"""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import binding
from numba import typeof, types
from numba.extending import intrinsic

from ..common.cache import callback
from ..common.version import common, source
from ..cpu.entry import called, reading
from ..cpu.interrupts import deferred
from ..cpu.words import I64, WORD, forever, word_of
from .version import VERSION

SIZE = 1 << 14  # places; a door and a function for each choice of fields that a second derivative has
KEY, DOOR, FUNCTION = range(3)
ROW = 4  # words
SYMBOL = f"derive_functions_{VERSION}"

if not hasattr(common, f"functions_{VERSION}"):
    setattr(common, f"functions_{VERSION}", (forever(np.zeros((SIZE, ROW), np.int64)), threading.Lock()))
_table, _lock = getattr(common, f"functions_{VERSION}")
binding.add_symbol(SYMBOL, _table.ctypes.data)


def number_of(host: Any, arguments: tuple[Any, ...]) -> int:
    """Return the number of a host function for such arguments, which is compiled if it has not been, and found in the table from now on.

    Parameters
    ----------
    host : dispatcher
    arguments : tuple
        `parts`, `how`, and what it is called with.

    Raises
    ------
    RuntimeError
        If the table is full.
    """
    kinds = tuple(map(typeof, arguments))
    made = host.overloads.get(kinds) or _compiled(host, kinds)
    address = made.library.get_pointer_to_function(made.fndesc.llvm_func_name)
    number = _number(host.py_func, kinds)
    with _lock:
        place = number % SIZE
        for _ in range(SIZE):
            if _table[place, KEY] in (0, number):
                _table[place, DOOR:] = _door(kinds).address, address, 0
                _table[place, KEY] = number  # last: from now on the rest is read
                return number
            place = (place + 1) % SIZE
    raise RuntimeError(f"more than {SIZE} compiled functions are called from JAX in this process")


def _compiled(host: Any, kinds: tuple[types.Type, ...]) -> Any:
    host.compile(kinds)
    return host.overloads[kinds]


def _number(function: Any, kinds: tuple[types.Type, ...]) -> int:
    """Return 63 bits that say what a function is."""
    text = f"{function.__qualname__} {kinds}".encode()
    return int.from_bytes(hashlib.sha256(_stamp(function.__module__, function.__code__.co_filename) + text).digest()[:8]) >> 1 or 1


@lru_cache
def _stamp(module: str, file: str) -> bytes:
    return hashlib.sha256(source(module, file)).digest()


@lru_cache
def _door(kinds: tuple[types.Type, ...]) -> Any:
    """Return the compiled door of functions with such arguments."""
    # A name of its own for each, by which Numba knows it again in its cache.
    name = f"door_{hashlib.sha256(str(kinds).encode()).hexdigest()[:16]}"
    scope: dict[str, Any] = {"enter": _entering(kinds), "__name__": __name__}
    exec(compile(f"def {name}(function, words, places): return enter(function, words, places)", __file__, "exec"), scope)
    with deferred():
        return forever(callback(scope[name], types.int64(types.int64, WORD, WORD)))


def _entering(kinds: tuple[types.Type, ...]) -> Any:
    @intrinsic
    def enter(typingctx, function, words, places):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
            status = called(context, builder, values[0], kinds, reading(builder, values[1]), values[2])
            return builder.zext(status.is_error, I64)

        return types.int64(types.int64, WORD, WORD), codegen

    return enter


@intrinsic
def functions(typingctx):  # type: ignore[no-untyped-def]
    """Return the words of the table."""
    return WORD(), lambda context, builder, signature, arguments: word_of(builder, SYMBOL)
