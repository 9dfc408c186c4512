"""Threads for compiled kernels: `run` calls a function that releases the GIL once for each part of the work.

    run(kernel, batch, x, weights, out)    # kernel(x, weights, out, first, last) for each part of range(batch)

The caller's thread works too, and takes over every part that no worker has begun: so calls may come from several threads at once, or from
inside another, and never wait for a free worker. Workers are daemon threads, started when first needed and kept. They end before a fork (a
process that forks has no other thread of this module), and the next call on either side starts new ones.

A system may wake a worker on the processor that its caller goes on to work on, where it waits for milliseconds: longer than many a call
lasts. So on Linux workers are kept off the processor of the last caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

VARIABLE = "DERIVE_NUM_THREADS"
PATIENCE = 5.0  # seconds that a fork waits for parts in progress


class _Part:
    """One call of the function, made by whichever thread claims it first."""

    __slots__ = ("_call", "_claim", "_finished", "error")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._call = (function, arguments)
        self._claim, self._finished = threading.Lock(), threading.Lock()
        self._finished.acquire()
        self.error: BaseException | None = None

    def work(self) -> None:
        """Make the call, unless another thread has begun it."""
        if not self._claim.acquire(blocking=False):
            return
        function, arguments = self._call
        del self._call  # a part that waits in the queue to be skipped keeps no array alive
        try:
            function(*arguments)
        except BaseException as error:
            self.error = error
        finally:
            self._finished.release()

    def wait(self) -> None:
        self._finished.acquire()


class _Pool:
    """Workers that take parts from one queue, in one process and between two forks."""

    def __init__(self) -> None:
        self.queue: SimpleQueue[_Part | None] = SimpleQueue()
        self._workers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        self._avoided = -1  # the processor that the workers are kept off

    def grow(self, workers: int) -> None:
        """Start workers until there are as many; a pool that a fork has closed starts none."""
        if len(self._workers) >= workers:
            return
        with self._lock:
            while len(self._workers) < workers and not self._closed:
                worker = threading.Thread(target=_work, args=(self.queue,), name="derive", daemon=True)
                worker.start()
                self._workers.append(worker)
            self._avoided = -1

    def keep_off(self, processor: int) -> None:
        """Let the workers run on all processors that this thread may use but one, unless it has no other."""
        if processor == self._avoided:
            return
        self._avoided = processor
        if others := os.sched_getaffinity(0) - {processor}:
            with contextlib.suppress(OSError):  # a system may forbid it; it only helps
                for worker in self._workers:
                    os.sched_setaffinity(worker.native_id or 0, others)

    def close(self) -> None:
        """End the workers after the parts that they are at; callers make the calls that are left."""
        with self._lock:
            self._closed = True
        for _ in self._workers:
            self.queue.put(None)
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join(PATIENCE)


def _work(queue: SimpleQueue[_Part | None]) -> None:
    while (part := queue.get()) is not None:
        part.work()
        del part  # while the worker waits it holds no array


_processor = getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None
_pool = _Pool()
_threads: int | None = None


def _renew() -> None:
    """Begin with a pool without workers, on either side of a fork."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _pool.close(), after_in_parent=_renew, after_in_child=_renew)


def _positive(value: int, name: str) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


def get_threads() -> int:
    """Return how many threads kernels use: `set_threads`, else DERIVE_NUM_THREADS, else the processors this process may use."""
    global _threads
    if _threads is None:
        text = os.environ.get(VARIABLE)
        if text is None:
            _threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        else:
            try:
                _threads = _positive(int(text), VARIABLE)
            except ValueError:
                raise ValueError(f"{VARIABLE} must be a whole number of at least 1, not {text!r}") from None
    return _threads


def set_threads(n: int) -> None:
    """Let kernels use `n` threads, the caller's among them. Results do not depend on it.

    Raises
    ------
    ValueError
        If n is less than 1.
    """
    global _threads
    _threads = _positive(n, "the number of threads")


def split(total: int, parts: int, multiple: int = 1) -> list[tuple[int, int]]:
    """Divide ``range(total)`` into at most `parts` ranges (first, last), last excluded, of nearly equal size.

    Every range but the last has a multiple of `multiple` elements; none is empty, but for the one range (0, 0) of a total of 0.
    """
    blocks = -(-total // multiple)
    count = max(1, min(parts, blocks))
    edges = [min(total, blocks * i // count * multiple) for i in range(count + 1)]
    return list(pairwise(edges))


def run(function: Callable[..., Any], work: int | Sequence[tuple[int, int]], *arguments: Any) -> None:
    """Call ``function(*arguments, first, last)`` for each range, at once as far as it releases the GIL, and return when all have ended.

    Parameters
    ----------
    function : callable
        It releases the GIL if it is to gain from threads.
    work : int or sequence of (first, last)
        The ranges, or a total that is divided among `get_threads()` threads.
    *arguments
        What every call is given before its range.

    Raises
    ------
    BaseException
        What the earliest range in the sequence raised, after all have ended.
    """
    ranges = split(work, get_threads()) if isinstance(work, int) else work
    if len(ranges) <= 1:
        for first, last in ranges:
            function(*arguments, first, last)
        return
    parts = [_Part(function, (*arguments, *part)) for part in ranges]
    pool = _pool
    pool.grow(min(len(parts), get_threads()) - 1)
    if _processor is not None:
        pool.keep_off(_processor())
    for part in parts[1:]:
        pool.queue.put(part)
    for part in parts:
        part.work()
    for part in parts:
        part.wait()
    for part in parts:
        if part.error is not None:
            raise part.error
