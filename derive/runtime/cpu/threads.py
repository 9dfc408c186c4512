"""Threads for kernels: the workers that share compiled code's board (`crew`), or those of PyTorch (`openmp`), where somebody asks for them
by `pool`; how many there are, and whom a call asks.

    run(kernel, batch, parts, x, weights, out)    # kernel(x, weights, out, first, last) for each part of range(batch)

Workers are daemon threads, started when first needed and kept. One that has done its part stays awake for a moment, since to wake it takes
longer than many a kernel, and then sleeps. They end before a fork, which waits some seconds for parts in progress, and the next call on
either side starts new ones.

A system may wake a worker on the processor that its caller goes on to work on, where it waits for milliseconds: longer than many a call
lasts. So on Linux workers are kept off the processor of the last caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import numbers
import os
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from ..common.version import common
from .crew import AWAKE, BELL, HELPERS, RUNG, STOP, TRIAL, WORKERS, board, ring_one, serve, wake
from .interrupts import deferred
from .openmp import LIGHT, REGION, WAKING, team
from .processors import available

VARIABLE = "DERIVE_NUM_THREADS"
PATIENCE = 5.0  # seconds that a fork waits for parts in progress
ATTENTION = 2e-4  # seconds that a worker stays awake for the next task
NOWHERE = -1  # a processor that there is not
SAMPLE = 2000  # looks at a slot that are timed, and the fewest that a worker takes: a busy machine may hold up all that are timed


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """Return a function of Python's, which is called without the GIL."""
    function = getattr(ctypes.CDLL(None, handle=ctypes.pythonapi._handle), name)
    function.restype, function.argtypes = result, arguments
    return function


_acquire = _function("PyThread_acquire_lock", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_allocate = _function("PyThread_allocate_lock", ctypes.c_void_p)


def _new_lock() -> int:
    """Return the address of a new lock that is locked; it stays for ever."""
    lock: int | None = _allocate()
    if not lock:
        raise MemoryError("the system has no lock left")
    _acquire(lock, 0)
    return lock


class _Worker:
    """A thread that serves a slot of the board whenever its bell is rung."""

    def __init__(self, number: int, looks: int) -> None:
        self._slot, self._number, self._looks = board[number], number, looks
        self._bell = _new_lock()
        self._slot[[STOP, RUNG, BELL]] = 0, 0, self._bell
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="derive", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended:
            _acquire(self._bell, 1)
            self._slot[AWAKE] = 1  # before its bell may be rung again: one that was called is never neither
            self._slot[RUNG] = 0
            serve(self._number, self._looks)

    def end(self) -> None:
        self._ended = True
        self._slot[STOP] = 1
        ring_one(self._number)

    def join(self, seconds: float) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def keep_to(self, processors: set[int]) -> None:
        with contextlib.suppress(OSError):  # a system may forbid it; it only helps
            os.sched_setaffinity(self._thread.native_id or 0, processors)


class _Workers:
    """Workers, in one process and between two forks."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._lock = threading.RLock()  # a collection or a signal while it is held may run a kernel
        self._most = WORKERS  # that there can be
        self._closed = False
        self._avoided = NOWHERE  # the processor that the workers are kept off

    def call(self, helpers: int, *, anywhere: bool) -> None:
        """See that there are so many workers, and where they may run; compiled code wakes them (`crew.divide`)."""
        helpers = min(helpers, self._most)
        if len(self._workers) < helpers:
            self._grow(helpers)
        if _processor is not None:
            self._keep_off(NOWHERE if anywhere else _processor())

    def _grow(self, helpers: int) -> None:
        """Start workers until there are as many; a pool that a fork has closed starts none."""
        with deferred():  # it may be compiled now
            looks = _looks()
        with self._lock:
            try:
                while len(self._workers) < helpers and not self._closed:
                    self._workers.append(_Worker(len(self._workers) + 1, looks))
            except RuntimeError:  # the system starts no more threads: those that there are do the work
                self._most = len(self._workers)
            self._avoided = NOWHERE
            self.admit()

    def admit(self) -> None:
        """Tell compiled code how many workers there are for it."""
        if not self._closed:
            board[0, HELPERS] = min(len(self._workers), get_threads() - 1)

    def _keep_off(self, processor: int) -> None:
        """Let the workers run on all processors that this thread may use but one, unless it has no other."""
        if processor == self._avoided:
            return
        self._avoided = processor
        if others := os.sched_getaffinity(0) - {processor}:
            for worker in self._workers:
                worker.keep_to(others)

    def close(self) -> None:
        """End the workers after the parts that they are at; callers do what is left."""
        with self._lock:
            self._closed = True
        for worker in self._workers:
            worker.end()
        end = time.monotonic() + PATIENCE
        for worker in self._workers:
            worker.join(max(0.0, end - time.monotonic()))


def _looks() -> int:
    """Return how many looks at a slot a worker takes in the time that it stays awake."""
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        serve(TRIAL, SAMPLE)
        times.append(time.perf_counter() - begin)
    return max(SAMPLE, int(ATTENTION * SAMPLE / min(times)))


_processor = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def _renew() -> None:
    """Begin with a pool without workers, on either side of a fork."""
    common.workers = _Workers()


def _renew_in_child() -> None:
    board[...] = 0  # threads of the parent, which are not here, may have held slots
    _renew()


if not hasattr(common, "workers"):
    common.workers, common.threads, common.said = _Workers(), None, False
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lambda: common.workers.close(), after_in_parent=_renew, after_in_child=_renew_in_child)


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def get_threads() -> int:
    """Return how many threads kernels use: `set_threads`, else DERIVE_NUM_THREADS, else the processors this process may keep busy."""
    if common.threads is None:
        text = os.environ.get(VARIABLE)
        if text is None:
            common.threads = available()
        else:
            try:
                common.threads = _positive(int(text), VARIABLE)
            except ValueError:
                raise ValueError(f"{VARIABLE} must be a whole number of at least 1, not {text!r}") from None
    threads: int = common.threads
    return threads


def limited() -> bool:
    """Say whether somebody has said how many threads kernels use."""
    return common.said or VARIABLE in os.environ


def set_threads(n: int) -> None:
    """Let kernels use `n` threads, the caller's among them. Results do not depend on it.

    It holds for all packages that the same version of derive has generated.

    Raises
    ------
    ValueError
        If n is no whole number of at least 1.
    """
    common.threads, common.said = _positive(n, "the number of threads"), True
    common.workers.admit()


_pool: ContextVar[str] = ContextVar("derive_pool", default="crew")
POOLS = ("crew", "torch")


@contextlib.contextmanager
def pool(name: str) -> Iterator[None]:
    """Let kernels that this thread calls run on other threads, in a ``with`` statement. Results do not depend on it.

    Parameters
    ----------
    name : "crew" or "torch"
        The package's own threads, as by default; or PyTorch's, for a call between two of its operations: as many as
        ``torch.set_num_threads`` says, but no more than `set_threads` or DERIVE_NUM_THREADS. Where PyTorch is not there, or has threads
        of another library than GNU OpenMP, and in a process that was forked, it is the crew all the same.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    if name not in POOLS:
        raise ValueError(f"the pool must be {' or '.join(map(repr, POOLS))}, not {name!r}")
    before = _pool.set(name)
    try:
        yield
    finally:
        _pool.reset(before)


def region() -> int:
    """Return how many threads of PyTorch the next kernel runs on; 0 if it runs on the crew."""
    if _pool.get() == "crew":
        return 0
    threads = team.size()
    return min(threads, get_threads()) if threads and limited() else threads


def division(light: bool) -> tuple[int, int]:
    """Return into how many parts a pass is divided, and whom it asks (`openmp.together`); one that is `light` wakes nobody."""
    threads = region()
    if threads == 1:
        return 1, LIGHT
    if threads == 0 or light or not team.awake():
        return threads or get_threads(), LIGHT if light else WAKING
    return threads * team.parts(), threads


def begin(how: int) -> tuple[int, int] | None:
    """See that whoever a call asks is there; return what `end` is given when it has ended."""
    if how == WAKING:
        ready()
    return team.spent() if how >= REGION else None


def end(begun: tuple[int, int] | None) -> None:
    """Note how a call went that runs in a region."""
    if begun is not None:
        team.note(begun)


def ready(*, anywhere: bool = False) -> None:
    """See that there are workers, as many as may be asked, and off this thread's processor; `anywhere`, if others will ask them."""
    if (threads := get_threads()) > 1:
        common.workers.call(threads - 1, anywhere=anywhere)


def call_workers() -> None:
    """Wake all workers: there will soon be work for them."""
    ready()
    wake()


def run(kernel: Any, count: int, most: int, *arguments: Any) -> None:
    """Call a kernel, compiled by `kernel.kernel`, for at most so many parts of 0 … `count`, from Python."""
    _, how = division(light=False)
    begun = begin(how)
    kernel.divided(count, most, how, *arguments)
    end(begun)
