"""Threads for kernels: `run` divides one call among the caller's thread and workers, which share compiled code's board (`crew`).

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
from collections.abc import Callable
from typing import Any

from ..common.version import common
from .crew import HELPERS, STOP, TRIAL, WORKERS, board, serve
from .interrupts import deferred

VARIABLE = "DERIVE_NUM_THREADS"
PATIENCE = 5.0  # seconds that a fork waits for parts in progress
ATTENTION = 2e-4  # seconds that a worker stays awake for the next task
SAMPLE = 2000  # looks at a slot that are timed


class _Worker:
    """A thread that serves a slot of the board when it is called."""

    def __init__(self, number: int, looks: int) -> None:
        self._slot, self._number, self._looks = board[number], number, looks
        self._slot[STOP] = 0
        self._bell = threading.Lock()
        self._bell.acquire()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="derive", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while self._bell.acquire() and not self._ended:
            serve(self._number, self._looks)

    def wake(self) -> None:
        """Let it serve again, though it may be awake: it may be about to sleep."""
        with contextlib.suppress(RuntimeError):  # somebody else has rung just now
            if self._bell.locked():
                self._bell.release()

    def end(self) -> None:
        self._ended = True
        self._slot[STOP] = 1
        self.wake()

    def join(self, seconds: float) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def keep_to(self, processors: set[int]) -> None:
        with contextlib.suppress(OSError):  # a system may forbid it; it only helps
            os.sched_setaffinity(self._thread.native_id or 0, processors)


class _Pool:
    """Workers, in one process and between two forks."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []
        self._lock = threading.RLock()  # a collection or a signal while it is held may run a kernel
        self._most = WORKERS  # that there can be
        self._closed = False
        self._avoided = -1  # the processor that the workers are kept off

    def call(self, helpers: int) -> None:
        """Wake so many workers."""
        helpers = min(helpers, self._most)
        if len(self._workers) < helpers:
            self._grow(helpers)
        if _processor is not None:
            self._keep_off(_processor())
        for worker in self._workers[:helpers]:
            worker.wake()

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
            self._avoided = -1
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
    return int(ATTENTION * SAMPLE / min(times)) + 1


_processor = getattr(ctypes.PyDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def _renew() -> None:
    """Begin with a pool without workers, on either side of a fork."""
    common.pool = _Pool()


def _renew_in_child() -> None:
    board[...] = 0  # threads of the parent, which are not here, may have held slots
    _renew()


if not hasattr(common, "pool"):
    common.pool, common.threads = _Pool(), None
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lambda: common.pool.close(), after_in_parent=_renew, after_in_child=_renew_in_child)


def _positive(value: Any, name: str) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")
    return int(value)


def get_threads() -> int:
    """Return how many threads kernels use: `set_threads`, else DERIVE_NUM_THREADS, else the processors this process may use."""
    if common.threads is None:
        text = os.environ.get(VARIABLE)
        if text is None:
            common.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        else:
            try:
                common.threads = _positive(int(text), VARIABLE)
            except ValueError:
                raise ValueError(f"{VARIABLE} must be a whole number of at least 1, not {text!r}") from None
    threads: int = common.threads
    return threads


def set_threads(n: int) -> None:
    """Let kernels use `n` threads, the caller's among them. Results do not depend on it.

    It holds for all packages that the same version of derive has generated.

    Raises
    ------
    ValueError
        If n is no whole number of at least 1.
    """
    common.threads = _positive(n, "the number of threads")
    common.pool.admit()


def run(kernel: Callable[..., Any], count: int, parts: int, *arguments: Any) -> None:
    """Call ``kernel(*arguments, first, last)`` for parts of 0 … `count`, and return when all have ended.

    Parameters
    ----------
    kernel : compiled by `kernel.kernel`
    count, parts : int
        There are at most so many parts, and at most one a thread (`HELPERS` sees to it); threads that have none help with products.
    *arguments
        What every call is given before its range.
    """
    call_workers()
    kernel(count, parts - 1, False, *arguments)


def call_workers() -> None:
    """Wake all workers: there is work for them, or soon will be."""
    if (threads := get_threads()) > 1:
        common.pool.call(threads - 1)
