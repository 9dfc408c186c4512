"""Pickles of plain values: lists, tuples, dicts by strings, strings and integers, and nothing else of what a pickle can do."""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from typing import Any

CODES = {op.code.encode("latin-1")[0]: op.name for op in pickletools.opcodes}
ADMITTED = (
    *("PROTO", "FRAME", "STOP", "MARK", "NONE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
    *("EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
    *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
    *("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET"),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NEWTRUE", "NEWFALSE"),  # for NumPy's integers
)
PLAIN = "lists, tuples, dicts, strings and integers"


class Refused(ValueError):
    """A pickle has something else; it says what."""


class _Kind:
    """Stands for `numpy.dtype`, of integers alone."""

    def __init__(self, text: object, *_: object) -> None:
        if not isinstance(text, str) or not re.fullmatch("[iu][1248]", text):
            raise Refused(f"it has numbers of NumPy's kind {text!r:.40}, and may have integers only")
        self.signed, self.size, self.order = text[0] == "i", int(text[1]), "<"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


def _integer(kind: object, value: object) -> int:
    """Stands for the function of NumPy that makes a number of its bytes, which Python 2 has written as a string."""
    found = value.encode("latin-1") if isinstance(value, str) else value
    if not isinstance(kind, _Kind) or not isinstance(found, bytes) or len(found) != kind.size:
        raise Refused("it has a number of NumPy's that is none")
    return int.from_bytes(found, "big" if kind.order == ">" else "little", signed=kind.signed)


GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Kind,
    ("numpy.core.multiarray", "scalar"): _integer,
    ("numpy._core.multiarray", "scalar"): _integer,
}
"""What a pickle may name, and what stands for it here: nothing that a file names is imported or called."""


class _Operations(dict[int, Callable[[Any], None]]):
    """What is done, by the code of an operation: those that plain values need, and no others."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise Refused(f"it has the operation {CODES.get(code, code)}, and may have {PLAIN} only")


class _Unpickler(pickle._Unpickler):
    """Python's unpickler in Python: that in C makes room for as many objects as a file says there are, before there is one."""

    dispatch = _Operations({code: pickle._Unpickler.dispatch[code] for code, name in CODES.items() if name in ADMITTED})
    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; Refused if nothing does."""
        if (module, name) not in GLOBALS:
            raise Refused(f"it names {module}.{name}, and may have {PLAIN} only")
        return GLOBALS[module, name]


def _checked(operation: bytes, check: Callable[[list[Any]], None]) -> None:
    """Let an operation look at what it is done with."""
    done = _Unpickler.dispatch[operation[0]]

    def checked(unpickler: _Unpickler) -> None:
        check(unpickler.stack)
        done(unpickler)

    _Unpickler.dispatch[operation[0]] = checked


def _names(keys: list[Any]) -> None:
    """Refuse keys that are no strings: to hash a tuple of tuples of tuples has no bound on its depth."""
    if any(type(key) is not str for key in keys):
        raise Refused("it has a dict whose keys are no strings")


def _state(of: Any) -> None:
    """Refuse to set the state of anything but a kind of numbers."""
    if not isinstance(of, _Kind):
        raise Refused(f"it sets the state of an object, and may have {PLAIN} only")


_checked(pickle.SETITEM, lambda stack: _names(stack[-2:-1]))
_checked(pickle.SETITEMS, lambda stack: _names(stack[::2]))
_checked(pickle.DICT, lambda stack: _names(stack[::2]))
_checked(pickle.BUILD, lambda stack: _state(stack[-2]))


def plain(data: bytes) -> Any:
    """Return the value that a pickle of plain values has; NumPy's integers are integers, and Python 2's strings are strings.

    Raises
    ------
    Refused
        If it has anything else, or is no pickle.  Nothing that it names was imported or called.
    """
    try:
        return _Unpickler(io.BytesIO(data), encoding="latin-1").load()
    except Refused:
        raise
    except Exception as error:  # a file that is not whole may fail in any operation
        raise Refused(f"it is no whole pickle: {type(error).__name__}") from None
