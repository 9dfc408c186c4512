"""The pool of threads: divisions, parts at the same time, concurrent and nested calls, forks, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import pytest
from test_crew import together, wait_until

from derive.runtime.cpu import threads
from derive.runtime.cpu.crew import AWAKE, FREE, HELPERS, RUNG, STATE, board, common, divide, task
from derive.runtime.cpu.kernel import kernel, part
from derive.runtime.cpu.pointers import address
from derive.runtime.cpu.processors import available
from derive.runtime.cpu.product import SHARED, multiply, panels
from derive.runtime.cpu.threads import get_threads, run, set_threads
from derive.runtime.cpu.words import let_others_run, read, write

ROOT = str(Path(__file__).resolve().parents[2])
WAIT = 1.0  # seconds that parts wait for others
ATTEMPTS = 30  # a worker may fall asleep between being called and being given a part: that waits for the caller then, who waits for it


@pytest.fixture(autouse=True)
def _four_threads() -> Iterator[None]:
    before = get_threads()
    set_threads(4)
    yield
    set_threads(before)
    assert (board[1:, STATE] == FREE).all()


@pytest.fixture
def _new_pool() -> Iterator[None]:
    """A pool that has no workers yet, for one test."""
    common.workers.close()
    threads._renew()
    yield
    common.workers.close()
    threads._renew()
    set_threads(4)


@kernel
def add(array: np.ndarray, step: int, first: int, last: int) -> None:
    for i in range(first, last):
        array[i] += step


@kernel
def note(calls: np.ndarray, ends: np.ndarray, first: int, last: int) -> None:
    """Count the calls of each part by its first element, and tell its last."""
    calls[first] += 1
    ends[first] = last


@nb.njit(nogil=True)
def _wait(flags: np.ndarray, count: int) -> bool:
    """Wait until the first `count` flags are set; return False if the last is set, to give up, before."""
    place = address(flags, 0)
    while True:
        found = 0
        for i in range(count):
            found += read(place, i)
        if found == count:
            return True
        if read(place, len(flags) - 1) != 0:
            return False
        let_others_run()


@nb.njit(nogil=True)
def _set(flags: np.ndarray, i: int) -> None:
    write(address(flags, 0), i, 1)


@kernel
def meet(flags: np.ndarray, met: np.ndarray, first: int, last: int) -> None:
    """Wait in each part for all others: they meet only if all run at the same time."""
    for i in range(first, last):
        _set(flags, i)
        met[i] = _wait(flags, len(met))


def parts_meet(parts: int, kernel: Any = meet, *arguments: Any) -> bool:
    """Call ``kernel(*arguments, flags, met, first, last)`` until all parts have met, or for long."""
    for _ in range(ATTEMPTS):
        flags, met = np.zeros(parts + 2, np.int64), np.zeros(parts, np.bool_)
        clock = threading.Timer(WAIT, _set, (flags, parts + 1))
        clock.start()
        run(kernel, parts, parts, *arguments, flags, met)
        clock.cancel()
        clock.join()
        if met.all():
            return True
    print(standing())
    return False


def standing() -> str:
    """Say how the workers stand, where parts have not met."""
    workers = common.workers
    said = [f"threads {get_threads()}, division {threads.division(light=False)}, helpers {board[0, HELPERS]}, closed {workers._closed}"]
    if hasattr(os, "sched_getaffinity"):
        said.append(f"caller on {threads._processor()} of {os.sched_getaffinity(0)}, workers kept off {workers._avoided}")
    for number, worker in enumerate(workers._workers, 1):
        where = os.sched_getaffinity(worker._thread.native_id) if hasattr(os, "sched_getaffinity") else ""
        said.append(f"slot {number}: {board[number].tolist()}, looks {worker._looks}, alive {worker._thread.is_alive()}, on {where}")
    return "\n".join([*said, *(f"other: {thread.name}" for thread in threading.enumerate())])


def asleep() -> bool:
    """Say whether no worker is awake, nor about to be: one whose bell was rung may not have come to a processor yet."""
    return not board[1:, AWAKE].any() and not board[1 : len(common.workers._workers) + 1, RUNG].any()


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    folders = f"import sys; sys.path[:0] = [{ROOT!r}, {ROOT + '/tests/runtime'!r}]\n"
    command = [sys.executable, "-W", "error", "-c", folders + code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 8])
def test_parts_cover_everything_once(number: int) -> None:
    """There are as many parts as threads, parts or elements, whichever are fewest: nearly equal ones, and none is empty."""
    set_threads(number)
    for count in (*range(12), 50):
        for parts in range(1, 10):
            calls, ends = np.zeros(count + 1, int), np.zeros(count + 1, int)
            run(note, count, parts, calls, ends)
            firsts = np.flatnonzero(calls)
            assert (calls[firsts] == 1).all()
            assert len(firsts) == max(1, min(number, parts, count))
            assert [0, *ends[firsts]] == [*firsts, count]
            sizes = ends[firsts] - firsts
            assert sizes.max() - sizes.min() <= 1


def test_nothing_to_do() -> None:
    """A kernel may be called for nothing, and then with an empty range."""
    array = np.zeros(5, int)
    for count, parts in [(0, 1), (0, 4), (5, 0), (0, 0)]:
        calls, ends = np.zeros(6, int), np.zeros(6, int)
        run(note, count, parts, calls, ends)
        assert calls.sum() == calls[0] <= 1 and ends[0] == count
    run(add, 0, 4, array, 1)
    assert not array.any()


def test_parts_run_at_the_same_time() -> None:
    for parts in (2, 3, 4):
        assert parts_meet(parts)


def test_workers_fall_asleep_and_are_woken() -> None:
    for _ in range(3):
        wait_until(asleep)
        assert parts_meet(4)


@pytest.mark.usefixtures("_new_pool")
def test_a_worker_that_wakes_finds_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is woken when its part is there: one that looks but once, as on a machine that is slow, would miss one that comes later."""
    monkeypatch.setattr(threads, "_looks", lambda: 1)
    for parts in (2, 3, 4):
        wait_until(asleep)
        assert parts_meet(parts)


def test_workers_can_be_called_ahead() -> None:
    def awake() -> bool:
        threads.call_workers()
        seen[:] |= board[1:4, AWAKE]
        return bool(seen.all())

    seen = np.zeros(3, np.int64)
    wait_until(asleep)
    wait_until(awake)
    wait_until(asleep)
    set_threads(1)
    threads.call_workers()
    assert asleep()


@pytest.mark.usefixtures("_new_pool")
def test_workers_are_started_when_they_are_needed() -> None:
    array = np.zeros(50, int)
    set_threads(1)
    run(add, 50, 4, array, 1)
    assert not common.workers._workers
    set_threads(3)
    run(add, 50, 4, array, 1)
    assert len(common.workers._workers) == board[0, HELPERS] == 2
    set_threads(4)
    together(lambda _: run(add, 50, 4, np.zeros(50, int), 1), 4)
    assert len(common.workers._workers) == board[0, HELPERS] == 3
    for number in (2, 4, 1):
        set_threads(number)
        run(add, 50, 4, array, 1)
        assert (len(common.workers._workers), board[0, HELPERS]) == (3, number - 1)
    assert (array == 5).all()
    set_threads(4)
    assert parts_meet(4)


@pytest.mark.usefixtures("_new_pool")
def test_the_caller_does_what_no_worker_does() -> None:
    """A pool that a fork has closed has no workers, and starts none."""
    run(add, 1, 1, np.zeros(1, int), 1)
    workers = list(common.workers._workers)
    common.workers.close()
    assert workers and not any(worker._thread.is_alive() for worker in workers)
    array, calls, ends = np.zeros(50, int), np.zeros(50, int), np.zeros(50, int)
    for _ in range(20):
        run(add, 50, 4, array, 1)
    run(note, 50, 4, calls, ends)
    assert (array == 20).all() and calls.sum() == 4
    threads._renew()
    assert parts_meet(4)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_workers_are_kept_off_the_processor_of_the_caller() -> None:
    run(add, 50, 4, np.zeros(50, int), 1)
    mine = os.sched_getaffinity(0)
    for processor in sorted(mine):
        common.workers._keep_off(processor)
        others = mine - {processor}
        for worker in common.workers._workers[:3] if others else ():
            assert os.sched_getaffinity(worker._thread.native_id) == others
    assert os.sched_getaffinity(0) == mine


def test_concurrent_callers() -> None:
    def work(number: int) -> None:
        array = np.zeros(12, int)
        for turn in range(2000):
            run(add, 12, 4, array, number + 1)
            assert (array == (number + 1) * (turn + 1)).all()

    together(work, 6)


@part
def _leaf(array: np.ndarray, i: int, j: int, first: int, last: int) -> None:
    for k in range(first, last):
        array[i, j, k] += 1


@part
def _branch(array: np.ndarray, i: int, first: int, last: int) -> None:
    for j in range(first, last):
        function, data = task(_leaf, (array, i, j))
        divide((function, data, array.shape[2], 4, 0))


@kernel
def tree(array: np.ndarray, first: int, last: int) -> None:
    for i in range(first, last):
        function, data = task(_branch, (array, i))
        divide((function, data, array.shape[1], 4, 0))


def test_nested_calls() -> None:
    array = np.zeros((6, 4, 10), int)
    for turn in range(50):
        run(tree, 6, 4, array)
        assert (array == turn + 1).all()

    def work(number: int) -> None:
        array = np.zeros((6, 4, 10), int)
        for turn in range(50):
            run(tree, 6, 4, array)
            assert (array == turn + 1).all()

    together(work, 3)


@kernel
def products(a: np.ndarray, packed: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
    for i in range(first, last):
        multiply(a[i], packed, out[i], False)


@kernel
def product_while_all_are_busy(
    a: np.ndarray, packed: np.ndarray, out: np.ndarray, flags: np.ndarray, met: np.ndarray, first: int, last: int
) -> None:
    """Multiply in the first part, for which all others wait."""
    for i in range(first, last):
        _set(flags, i)
        met[i] = _wait(flags, len(met))
        if i == 0:
            multiply(a, packed, out, False)
            _set(flags, len(met))
        else:
            met[i] &= _wait(flags, len(met) + 1)


def test_products_in_kernels() -> None:
    """Whether they are shared or not, and whoever is free, they have the same bits."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((8, 40, 270)), rng.standard_normal((270, 500))
    packed, expected, out = panels(b), np.empty((8, 40, 500)), np.empty((8, 40, 500))
    assert a[0].size * 500 > SHARED
    set_threads(1)
    run(products, 8, 1, a, packed, expected)
    np.testing.assert_allclose(expected, a @ b, rtol=1e-10, atol=1e-10)
    for number in (2, 3, 4):
        set_threads(number)
        for parts in (1, 2, 4):
            for _ in range(5):
                out[:] = np.nan
                run(products, 8, parts, a, packed, out)
                np.testing.assert_array_equal(out, expected)

    out[0] = np.nan
    assert parts_meet(4, product_while_all_are_busy, a[0], packed, out[0])
    np.testing.assert_array_equal(out[0], expected[0])


def test_arguments_are_not_kept() -> None:
    array = np.zeros(50, int)
    count, reference = sys.getrefcount(array), weakref.ref(array)
    for _ in range(100):
        run(add, 50, 4, array, 1)
    assert sys.getrefcount(array) == count
    assert (array == 100).all()
    del array
    gc.collect()
    assert reference() is None


def test_set_threads_refuses() -> None:
    for n in (0, -1, 2.5, 2.0, True, False, "2", None, np.float64(2)):
        with pytest.raises(ValueError, match=f"the number of threads must be a whole number of at least 1, not {re.escape(repr(n))}"):
            set_threads(n)  # type: ignore[arg-type]
    assert get_threads() == 4
    set_threads(np.int64(2))  # type: ignore[arg-type]
    assert get_threads() == 2 and type(get_threads()) is int


def test_environment() -> None:
    code = "from derive.runtime.cpu.threads import get_threads; print(get_threads())"
    assert _python(code, DERIVE_NUM_THREADS="3").stdout == "3\n"
    for wrong in ("0", "many", "-2", "1.5"):
        result = _python(code, DERIVE_NUM_THREADS=wrong)
        assert result.returncode == 1 and "DERIVE_NUM_THREADS must be a whole number of at least 1" in result.stderr
    environment = {name: value for name, value in os.environ.items() if name != threads.VARIABLE}
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {ROOT!r})\n{code}"]
    default = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    assert int(default) == available()


FORK = """
import os
from test_threads import parts_meet, set_threads
set_threads(3)
assert parts_meet(3)
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(7 if parts_meet(3) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert parts_meet(3)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork() -> None:
    """Both sides of a fork work, without a warning that a process with threads forks (Python 3.12 and later; warnings are errors)."""
    result = _python(FORK)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


FORK_WHILE_ANOTHER_CALLS = """
import os, threading, warnings
import numpy as np
from test_threads import FREE, STATE, add, board, parts_meet, run, set_threads, tree
set_threads(3)
def works(turns):
    small, large = np.zeros(6, int), np.zeros((6, 4, 100), int)
    for _ in range(turns):
        run(add, 6, 3, small, 2)
        run(tree, 6, 3, large)
    return (small == 2 * turns).all() and (large == turns).all()
assert works(1) and parts_meet(3)
stop, wrong = False, []
def caller():
    while not stop:
        if not works(3):
            wrong.append(1)
warnings.simplefilter("ignore")  # the caller's own thread is there at the fork
callers = [threading.Thread(target=caller) for _ in range(2)]
for thread in callers: thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        free = (board[1:, STATE] == FREE).all()  # no slot is held by a thread that is not here
        os._exit(7 if free and works(5) and parts_meet(3) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
stop = True
for thread in callers: thread.join()
assert not wrong and (board[1:, STATE] == FREE).all()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_others_call() -> None:
    result = _python(FORK_WHILE_ANOTHER_CALLS)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_exit_does_not_wait() -> None:
    """A process may end while its workers are awake, and while a thread that it does not wait for calls."""
    begin = time.perf_counter()
    calls = "from test_threads import *; set_threads(4); assert parts_meet(4); print('done', flush=True)"
    caller = """
def forever():
    array = np.zeros(50, int)
    while True:
        run(add, 50, 4, array, 1)
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
"""
    for code in (calls, f"{calls}\n{caller}"):
        result = _python(code)
        assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")
    assert time.perf_counter() - begin < 60
