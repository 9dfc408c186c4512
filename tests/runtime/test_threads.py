"""The pool of threads: divisions, errors, concurrent and nested calls, forks, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest

from derive.runtime import threads
from derive.runtime.threads import get_threads, run, set_threads, split

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture(autouse=True)
def _four_threads():
    before = get_threads()
    set_threads(4)
    yield
    set_threads(before)


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{code}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False)


def test_split_covers_everything_once() -> None:
    for total in range(40):
        for parts in range(1, 9):
            for multiple in (1, 2, 6):
                ranges = split(total, parts, multiple)
                assert [i for first, last in ranges for i in range(first, last)] == list(range(total))
                assert len(ranges) <= parts
                assert all(first % multiple == 0 for first, _ in ranges)
                sizes = [-(-(last - first) // multiple) for first, last in ranges]
                assert max(sizes) - min(sizes) <= 1
                assert min(sizes) > 0 or total == 0


def test_run_calls_once_for_each_range() -> None:
    for parts in range(1, 9):
        count = np.zeros(50, int)

        def add(array: np.ndarray, step: int, first: int, last: int) -> None:
            array[first:last] += step

        run(add, split(50, parts), count, 3)
        assert (count == 3).all()
    run(add, 50, count, 3)  # a total, divided among all threads
    assert (count == 6).all()
    run(add, [], count, 3)
    assert (count == 6).all()


def test_parts_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20)  # passes only if three threads are inside the function at once
    run(lambda first, last: meeting.wait(), split(3, 3))


def test_one_range_runs_in_the_calling_thread() -> None:
    names: list[str] = []
    run(lambda first, last: names.append(threading.current_thread().name), [(0, 5)])
    assert names == [threading.current_thread().name]


def test_the_earliest_error_is_raised_after_all_have_ended() -> None:
    ended: list[int] = []

    def work(first: int, last: int) -> None:
        time.sleep(0.01 * (4 - first))
        ended.append(first)
        if first in (1, 3):
            raise KeyError(first)

    for _ in range(3):
        ended.clear()
        with pytest.raises(KeyError, match="1"):
            run(work, split(4, 4))
        assert sorted(ended) == [0, 1, 2, 3]


def test_concurrent_callers() -> None:
    failures: list[int] = []

    def caller(number: int) -> None:
        for _ in range(200):
            out = np.zeros(12, int)
            run(lambda first, last, out=out: out.__setitem__(slice(first, last), number), split(12, 4))
            if not (out == number).all():
                failures.append(number)

    callers = [threading.Thread(target=caller, args=(i + 1,)) for i in range(6)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(30)
        assert not thread.is_alive()
    assert not failures


def test_nested_calls() -> None:
    total, lock = [0], threading.Lock()

    def leaf(first: int, last: int) -> None:
        with lock:
            total[0] += last - first

    def middle(first: int, last: int) -> None:
        run(leaf, split(10, 5))

    run(lambda first, last: run(middle, split(4, 4)), split(6, 6))
    assert total[0] == 6 * 4 * 10


def test_the_pool_keeps_no_argument() -> None:
    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    run(lambda thing, first, last: time.sleep(0.001), split(4, 4), thing)
    del thing
    for _ in range(100):
        gc.collect()
        if reference() is None:
            return
        time.sleep(0.01)
    pytest.fail("an argument is still held")


def test_set_threads_refuses() -> None:
    for n in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            set_threads(n)


def test_environment() -> None:
    code = "from derive.runtime.threads import get_threads; print(get_threads())"
    assert _python(code, DERIVE_NUM_THREADS="3").stdout == "3\n"
    for wrong in ("0", "many", "-2", "1.5"):
        result = _python(code, DERIVE_NUM_THREADS=wrong)
        assert result.returncode == 1 and "DERIVE_NUM_THREADS must be a whole number of at least 1" in result.stderr
    environment = {name: value for name, value in os.environ.items() if name != threads.VARIABLE}
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{code}"]
    default = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert int(default) == (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


FORK = """
import os, threading
from derive.runtime.threads import run, set_threads, split
set_threads(3)
def meet():
    barrier = threading.Barrier(3, timeout=20)
    run(lambda first, last: barrier.wait(), split(3, 3))
meet()
for _ in range(5):
    child = os.fork()
    if child == 0:
        meet()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    meet()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork() -> None:
    """Both sides of a fork work, without a warning that a process with threads forks (Python 3.12 and later; warnings are errors)."""
    result = _python(FORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_another_thread_calls() -> None:
    code = """
import os, threading
from derive.runtime.threads import run, set_threads, split
set_threads(3)
stop = False
def caller():
    while not stop:
        out = []
        run(lambda first, last: out.append(first), split(6, 3))
        assert sorted(out) == [0, 2, 4], out
def child_works():
    out = []
    run(lambda first, last: out.append(first), split(6, 3))
    return sorted(out) == [0, 2, 4]
import warnings; warnings.simplefilter("ignore")  # the caller's own thread is there at the fork
thread = threading.Thread(target=caller); thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(7 if child_works() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
stop = True; thread.join(); print("done")
"""
    result = _python(code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_exit_does_not_wait() -> None:
    begin = time.perf_counter()
    result = _python("from derive.runtime.threads import *; set_threads(4); run(lambda first, last: None, split(4, 4)); print('done')")
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")
    assert time.perf_counter() - begin < 20
