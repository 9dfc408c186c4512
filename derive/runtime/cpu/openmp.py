"""The threads of PyTorch, for kernels that run beside it: workers that spin for it work for us instead of against us.

After an operation PyTorch's OpenMP threads stay awake for some milliseconds, in case another follows. A kernel on workers of its own shares
their cores with them. So a kernel that is called from PyTorch asks for the same threads, by `together`: a region of the GNU OpenMP library
that PyTorch has loaded, in which each thread takes parts of a range until none is left, and then serves the crew's board, so that products
inside a part are shared too. Each thread has a part, which is fastest, as long as none is held up, as by another program.

The library is looked for in what PyTorch has loaded, and never loaded. Where there is none, or another one, kernels run on the crew. So
they do where its threads are not on a processor just now: asleep, they take as long to wake as the crew's, and behind another library's
threads, as those of NumPy's products, they would be waited for at the end of every region.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numba as nb
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..common.version import VERSION
from .apart import apart
from .compiling import compiled, inner
from .crew import AWAKE, GUEST, GUESTS, SEEN, call, divide, serve_once, slot_of
from .words import I32, I64, add, cell, exchange, from_cell, on_stack, pause, read, write

PARTS_A_THREAD = 2  # where they are held up, so that one does not hold up the others by half of the work
# One of two threads was held up if both were on processors for less of a call's time than this. In one call of some dozens one is, for no
# reason that lasts: what counts is the share of such calls among the last ones, in which each weighs so much, and from where on it is much.
HELD_UP, WEIGHT, MUCH = 0.9, 0.1, 0.15
TELLING = 300_000  # nanoseconds of a call that tells
# Whom a call asks: workers of the crew, which somebody wakes; those that are awake; or, from here on, a region of so many threads.
WAKING, LIGHT, REGION = range(3)
# Words of a packet, which all threads of a region look at.
NEXT, PARTS, COUNT, LEFT, FUNCTION, DATA, FAILED = range(7)
OTHER = NEXT  # where the second thread of a region says who it is
_PARALLEL, _NUMBER, _IDENTITY = (f"derive_openmp_{what}_{VERSION}" for what in ("parallel", "number", "identity"))
GLANCE = 10_000  # nanoseconds for which a thread is looked at


class _Team:
    """The threads that regions of this process have; the functions of their library are in cells."""

    def __init__(self) -> None:
        self._threads: Any = None
        self._looked = False
        self._known = threading.local()  # each thread has a team of its own
        self._held_up = 0.0  # the share of the last calls in which a thread was

    def size(self) -> int:
        """Return how many threads a region of the calling thread has, as PyTorch was told; 0 if there are none for us."""
        if not self._looked and "torch" in sys.modules:
            self._looked = True
            self._look()
        return 0 if self._threads is None else self._threads()

    def awake(self) -> bool:
        """Say whether a thread of the calling thread's team runs just now, as it does for a while after an operation of PyTorch."""
        if not hasattr(self._known, "clock"):
            self._known.clock = self._clock()
        try:
            return self._known.clock is None or self._runs(self._known.clock)
        except OSError:  # it has ended: there is another one now
            self._known.clock = self._clock()
            return True

    def parts(self) -> int:
        """Return how many parts of a range there are for each thread."""
        known = getattr(self._known, "clock", None) is not None
        return 1 if known and self._held_up < MUCH else PARTS_A_THREAD

    def spent(self) -> tuple[int, int] | None:
        """Return the time, and that on processors of the calling thread and another of its team, in nanoseconds; None if unknown."""
        clock = getattr(self._known, "clock", None)
        try:
            return None if clock is None else (time.perf_counter_ns(), time.thread_time_ns() + time.clock_gettime_ns(clock))
        except OSError:  # it has ended
            return None

    def note(self, before: tuple[int, int] | None) -> None:
        """Hear what was `spent` before a call that ends now."""
        now = self.spent()
        if before is not None and now is not None:
            passed, used = now[0] - before[0], now[1] - before[1]
            if passed >= TELLING:
                self._held_up += WEIGHT * ((used < HELD_UP * 2 * passed) - self._held_up)

    def _clock(self) -> int | None:
        """Return the number that Linux gives the clock of that thread's time on processors; None on other systems."""
        number = other_thread(self._threads()) if cell(_IDENTITY).value else 0
        return ~number << 3 | 6 if number else None

    def _runs(self, clock: int) -> bool:
        used, begin = time.clock_gettime_ns(clock), time.perf_counter_ns()
        while (passed := time.perf_counter_ns() - begin) < GLANCE:
            pass
        return 2 * (time.clock_gettime_ns(clock) - used) >= passed

    def _look(self) -> None:
        library = _loaded(sys.modules["torch"])
        if library is not None:
            cell(_PARALLEL).value = ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value
            cell(_NUMBER).value = ctypes.cast(library.omp_get_thread_num, ctypes.c_void_p).value
            if hasattr(system := ctypes.CDLL(None), "gettid"):
                cell(_IDENTITY).value = ctypes.cast(system.gettid, ctypes.c_void_p).value
            self._threads = library.omp_get_max_threads

    def leave(self) -> None:
        """Have no threads for good: in a child of a fork they are not there, and the library would wait for them for ever."""
        self._looked, self._threads = True, None


class _Symbol(ctypes.Structure):
    """What the loader tells of an address."""

    _fields_ = (("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p))


def _loaded(torch: Any) -> Any:
    """Return the library that PyTorch is linked with, with what is asked of it, if it is GNU's OpenMP; else None."""
    if not hasattr(os, "RTLD_NOLOAD") or not getattr(torch, "__file__", None):
        return None
    try:
        library = ctypes.PyDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"), mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        address, found = ctypes.cast(library.GOMP_parallel, ctypes.c_void_p), _Symbol()
        library.omp_get_thread_num, library.omp_get_max_threads  # noqa: B018 - AttributeError if it has no such function
        if not ctypes.CDLL(None).dladdr(address, ctypes.byref(found)):
            return None
    except (OSError, AttributeError):
        return None
    return library if Path(os.fsdecode(found.file or b"")).name.startswith("libgomp") else None


team = _Team()
cell(_PARALLEL), cell(_NUMBER), cell(_IDENTITY)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=team.leave)


def _asked(symbol: str) -> Any:
    """Return the intrinsic that calls the function in a cell, which takes nothing and returns a small number."""

    @intrinsic
    def number(typingctx):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.sext(builder.call(from_cell(builder, symbol, ir.FunctionType(I32, [])), []), I64)

        return types.int64(), codegen

    return number


_thread_number, _thread_identity = _asked(_NUMBER), _asked(_IDENTITY)


@intrinsic
def _region(typingctx, member, packet, threads):  # type: ignore[no-untyped-def]
    """Call ``member(packet)`` on each thread of a new region of so many; return when all have ended."""
    wanted = member.get_call_type(typingctx, (packet,), {})

    def codegen(context, builder, signature, values):  # type: ignore[no-untyped-def]
        function = _entry(context, builder, member, wanted)
        kind = ir.FunctionType(ir.VoidType(), [function.type, values[1].type, I32, I32])
        builder.call(from_cell(builder, _PARALLEL, kind), [function, values[1], builder.trunc(values[2], I32), I32(0)])
        return context.get_dummy_value()

    return types.void(member, packet, threads), codegen


def _entry(context: Any, builder: ir.IRBuilder, member: Any, wanted: Any) -> ir.Function:
    """Return the function ``void (int64 *packet)`` that calls `member`, made once in a module."""
    compiled = member.dispatcher.overloads[tuple(wanted.args)]
    name = f"region.{compiled.fndesc.mangled_name}"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [I64.as_pointer()]), name)
        function.linkage = "internal"
        inner = ir.IRBuilder(function.append_basic_block())
        called = context.declare_function(builder.module, compiled.fndesc)
        context.call_conv.call_function(inner, called, wanted.return_type, wanted.args, [function.args[0]])
        inner.ret_void()
        context.active_code_library.add_linking_library(compiled.library)
    return function


@inner
def _do_parts(packet):  # type: ignore[no-untyped-def]
    """Do parts until none is left to begin."""
    parts, count = read(packet, PARTS), read(packet, COUNT)
    part = add(packet, NEXT, 1)
    while part < parts:
        add(packet, FAILED, call(read(packet, FUNCTION), read(packet, DATA), count * part // parts, count * (part + 1) // parts))
        add(packet, LEFT, -1)
        part = add(packet, NEXT, 1)


@inner
def _guest():  # type: ignore[no-untyped-def]
    """Take a slot for guests, and return its number; 0 if none is free."""
    for number in range(GUEST, GUEST + GUESTS):
        if exchange(slot_of(number), AWAKE, 0, 1):
            seen = read(slot_of(0), SEEN)
            while seen < number - GUEST + 1 and not exchange(slot_of(0), SEEN, seen, number - GUEST + 1):
                seen = read(slot_of(0), SEEN)
            return number
    return 0


@inner
def _help(packet):  # type: ignore[no-untyped-def]
    """Serve a slot of the board until all parts of the packet are done."""
    number = _guest()
    if number == 0:
        return
    while read(packet, LEFT) > 0:
        if not serve_once(slot_of(number)):
            pause()
    write(slot_of(number), AWAKE, 0)


@inner
def _member(packet):  # type: ignore[no-untyped-def]
    """Do what each thread of a region does, the caller too: another may have been faster to take the only part."""
    _do_parts(packet)
    _help(packet)


@inner
def _tell(packet):  # type: ignore[no-untyped-def]
    if _thread_number() == 1:
        write(packet, OTHER, _thread_identity())


@compiled
def other_thread(threads):  # type: ignore[no-untyped-def]
    """Return what the system calls the second thread of a region; 0 if there is none."""
    packet = on_stack()
    write(packet, OTHER, 0)
    _region(_tell, packet, threads)
    return read(packet, OTHER)


@apart
def together(function: int, data: int, count: int, parts: int, how: int) -> int:
    """Call a task for at most so many parts of 0 … `count`, each once; return how many failed, when all have ended.

    `how` says on whom, beside this thread: on workers of the crew, one a part (`WAKING`, or `LIGHT`: see `crew.divide`), or on a region of
    so many threads, which take parts one after the other.
    """
    if how < REGION:
        return divide((function, data, count, parts - 1, nb.int64(how == LIGHT)))
    packet, parts = on_stack(), max(min(parts, count), 1)
    write(packet, NEXT, 0)
    write(packet, PARTS, parts)
    write(packet, COUNT, count)
    write(packet, LEFT, parts)
    write(packet, FUNCTION, function)
    write(packet, DATA, data)
    write(packet, FAILED, 0)
    _region(_member, packet, how)
    return read(packet, FAILED)
