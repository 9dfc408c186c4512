"""The crew: the life of a slot, who is asked and who is not, arguments of any kind, many short calls, products shared by columns."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import numba as nb
import numpy as np
import pytest

from derive.runtime.cpu import product, threads, tile
from derive.runtime.cpu.crew import (
    AWAKE,
    CLAIMED,
    DONE,
    FIRST,
    FREE,
    FUNCTION,
    HELPERS,
    LAST,
    POSTED,
    STATE,
    STOP,
    TRIAL,
    WORKERS,
    WORKING,
    board,
    common,
    divide,
    serve,
    slot_of,
    task,
)
from derive.runtime.cpu.kernel import kernel, part
from derive.runtime.cpu.openmp import LIGHT, WAKING
from derive.runtime.cpu.product import GROUP, SHARED, STEPS, multiply, panels
from derive.runtime.cpu.threads import get_threads, set_threads
from derive.runtime.cpu.words import let_others_run, pause, read, write

GIVE_UP, COUNT = 14, 15  # words of the board's own slot that no crew uses
ALWAYS = 1 << 60  # looks at a slot: a worker that does not fall asleep
TIMEOUT = 60.0
DTYPES = (np.float32, np.float64)


@pytest.fixture(autouse=True)
def _board() -> Iterator[None]:
    """A board with nobody at it, before and after: a worker whose slot is cleared would have no bell."""

    def cleared() -> None:
        common.workers.close()
        threads._renew()
        board[...] = 0

    before = get_threads()
    set_threads(1)
    cleared()
    yield
    assert (board[1:, STATE] == FREE).all()
    cleared()
    set_threads(before)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.0005)


def take_processor(*, worker: bool) -> None:
    """Keep this thread to one processor, or if it is a worker to all others: a system may leave a caller and its worker on one."""
    if hasattr(os, "sched_setaffinity"):
        processors = os.sched_getaffinity(0)
        first = {min(processors)}
        with suppress(OSError):  # a system may forbid it
            os.sched_setaffinity(0, (processors - first if worker else first) or processors)


def begin_to_serve(number: int) -> None:
    take_processor(worker=True)
    serve(number, ALWAYS)


@contextmanager
def workers(count: int) -> Iterator[None]:
    """Let threads serve the first slots, and not fall asleep."""
    serving = [threading.Thread(target=begin_to_serve, args=(number,), daemon=True) for number in range(1, count + 1)]
    for thread in serving:
        thread.start()
    wait_until(lambda: bool(board[1 : count + 1, AWAKE].all()))
    board[0, HELPERS] = count
    try:
        yield
    finally:
        board[0, HELPERS], board[1 : count + 1, STOP] = 0, 1
        for thread in serving:
            thread.join(TIMEOUT)
            assert not thread.is_alive()
    assert not board[1:, AWAKE].any()
    board[1 : count + 1, STOP] = 0


def absent(count: int, *, awake: bool = True) -> None:
    """Let it seem that there are so many workers, where nobody serves."""
    board[0, HELPERS] = count
    board[1 : count + 1, AWAKE] = awake


def together(work: Callable[[int], None], count: int) -> None:
    """Call in several threads, which begin at the same time."""
    gate, ended = threading.Barrier(count, timeout=TIMEOUT), []

    def begin(number: int) -> None:
        gate.wait()
        work(number)
        ended.append(number)

    callers = [threading.Thread(target=begin, args=(number,), daemon=True) for number in range(count)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(TIMEOUT)
    assert sorted(ended) == list(range(count))


@kernel
def note(ends: np.ndarray, states: np.ndarray, first: int, last: int) -> None:
    """Note where a part ends, and the states of all slots while it runs."""
    ends[first] = last
    for number in range(states.shape[1]):
        states[first, number] = read(slot_of(number), STATE)


@kernel
def add(array: np.ndarray, step: int, first: int, last: int) -> None:
    for i in range(first, last):
        array[i] += step


@kernel
def add_slowly(array: np.ndarray, step: int, pauses: int, first: int, last: int) -> None:
    """Add, and in the caller's part wait a little: sometimes the workers are faster, sometimes it is."""
    for i in range(first, last):
        array[i] += step
    if first == 0:
        for _ in range(pauses):
            pause()


@nb.njit(nogil=True)
def _wait(word: int, value: int) -> None:
    """Wait for a word of slot 1, or until it is time to give up."""
    while read(slot_of(1), word) != value and read(slot_of(0), GIVE_UP) == 0:
        let_others_run()


@kernel
def see(states: np.ndarray, first: int, last: int) -> None:
    """Note the state of slot 1 as its worker sees it, and when its worker has ended."""
    if first == 0:
        _wait(STATE, DONE)
    states[first] = read(slot_of(1), STATE)


@kernel
def stop(states: np.ndarray, first: int, last: int) -> None:
    """Stop the worker of slot 1 while it is at its part."""
    if first == 0:
        _wait(STATE, WORKING)
        write(slot_of(1), STOP, 1)
        _wait(STATE, DONE)
    else:
        _wait(STOP, 1)
    states[first] = read(slot_of(1), STATE)


def of_caller_and_worker(call: Any) -> tuple[int, int]:
    """Return the states of slot 1 that a caller and its worker have noted."""
    states = np.full(2, -1)
    clock = threading.Timer(TIMEOUT, board[0].__setitem__, (GIVE_UP, 1))
    clock.start()
    call.divided(2, 2, LIGHT, states)
    clock.cancel()
    clock.join()
    assert not board[0, GIVE_UP] and board[1, STATE] == FREE
    return int(states[0]), int(states[1])


def noted(count: int, helpers: int, awake: bool) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return the parts of a call, and the states of the first slots that each has seen."""
    ends, states = np.full(max(count, 1), -1), np.full((max(count, 1), 8), -1)
    note.divided(count, helpers + 1, LIGHT if awake else WAKING, ends, states)
    firsts = np.flatnonzero(ends >= 0)
    return [(int(first), int(ends[first])) for first in firsts], states[firsts]


def test_the_caller_does_what_nobody_takes() -> None:
    for present, helpers, count, awake in itertools.product((0, 1, 3, 7), (-1, 0, 1, 2, 7, 300), (0, 1, 2, 3, 10, 11), (False, True)):
        absent(present)
        parts, states = noted(count, helpers, awake)
        number = 1 + max(0, min(present, helpers, count - 1))
        assert parts == [(count * i // number, count * (i + 1) // number) for i in range(number)]
        assert (states[0, 1:number] == POSTED).all() and (states[:, number:] == FREE).all()
        assert all(states[i, i] == CLAIMED for i in range(1, number))  # taken back
        assert (board[1:, STATE] == FREE).all()


def test_a_slot_that_another_caller_has_is_left_alone() -> None:
    for state in (CLAIMED, POSTED, WORKING, DONE):
        absent(3)
        board[2, STATE] = state
        before = board[2].copy()
        parts, states = noted(9, 3, False)
        assert parts == [(0, 3), (3, 6), (6, 9)]
        assert (states[:, 2] == state).all() and (states[0, [1, 3]] == POSTED).all()
        np.testing.assert_array_equal(board[2], before)
        assert (board[[1, 3], STATE] == FREE).all()
        board[2, STATE] = FREE


def test_sleepers_are_asked_only_where_they_are_being_woken() -> None:
    absent(3)
    board[[1, 3], AWAKE] = 0
    parts, states = noted(10, 3, True)
    assert parts == [(0, 5), (5, 10)]
    assert (states[:, [1, 3]] == FREE).all() and states[0, 2] == POSTED
    assert not board[[1, 3], FUNCTION].any()
    parts, _ = noted(8, 3, False)
    assert parts == [(0, 2), (2, 4), (4, 6), (6, 8)]
    absent(3, awake=False)
    assert noted(8, 3, True)[0] == [(0, 8)]


def test_no_more_are_asked_than_may_be() -> None:
    absent(5)
    board[0, HELPERS] = 2  # of those, the first
    parts, states = noted(9, 7, True)
    assert parts == [(0, 3), (3, 6), (6, 9)]
    assert (states[:, 3:] == FREE).all()
    absent(WORKERS)
    array = np.zeros(1000, int)
    add.divided(1000, WORKERS + 1, LIGHT, array, 1)
    assert (array == 1).all()
    assert (board[1 : WORKERS + 1, LAST] - board[1 : WORKERS + 1, FIRST] > 0).all() and not board[TRIAL, FUNCTION]


def test_the_life_of_a_slot() -> None:
    with workers(1):
        for _ in range(50):
            assert of_caller_and_worker(see) == (DONE, WORKING)


def test_a_worker_ends() -> None:
    """If nobody comes; if its slot is to stop, but not before its part is done."""
    serve(1, 100)
    assert not board[1].any()
    board[1, STOP] = 1
    serve(1, ALWAYS)
    assert not board[1, AWAKE]
    board[1, STOP] = 0
    with workers(1):
        assert of_caller_and_worker(stop) == (DONE, WORKING)
        wait_until(lambda: not board[1, AWAKE])
        parts, states = noted(4, 1, False)
        assert parts == [(0, 2), (2, 4)] and states[1, 1] == CLAIMED


@kernel
def of_all_kinds(
    out: np.ndarray,
    single: np.ndarray,
    integer: int,
    real: float,
    flag: bool,
    pair: tuple[np.ndarray, int],
    same: tuple[int, int],
    nothing: None,
    first: int,
    last: int,
) -> None:
    for i in range(first, last):
        if flag and nothing is None:
            out[i] += single[i, 0] * integer + real + pair[0][i] * pair[1] + same[0] - same[1]


@kernel
def of_none(first: int, last: int) -> None:
    if first < last:
        write(slot_of(0), COUNT, read(slot_of(0), COUNT) + last - first)


def test_arguments_of_any_kind_arrive() -> None:
    absent(3)
    for dtype, flag in itertools.product((np.float32, np.float64, np.int64), (False, True)):
        out, strided = np.zeros(10), np.arange(60, dtype=dtype).reshape(10, 6)[:, ::3]
        pair = (np.arange(10.0), 7)
        of_all_kinds.divided(10, 4, LIGHT, out, strided, 3, 0.25, flag, pair, (5, 2), None)
        np.testing.assert_array_equal(out, flag * (strided[:, 0] * 3.0 + 0.25 + pair[0] * 7 + 3))
    of_none.divided(10, 4, LIGHT)
    assert board[0, COUNT] == 10
    board[0, COUNT] = 0


def test_many_short_calls() -> None:
    """Of several callers, some with workers that stay awake, some of which come and go."""

    def work(number: int) -> None:
        take_processor(worker=False)
        array, turns = np.zeros(17 + number, int), 20_000
        for turn in range(turns):
            add_slowly.divided(len(array), turn % 4 + 1, LIGHT if turn % 3 == 0 else WAKING, array, number + turn, turn % 101)
        assert (array == number * turns + turns * (turns - 1) // 2).all()

    for number, callers in [(1, 1), (1, 2), (3, 1), (3, 4)]:
        with workers(number):
            together(work, callers)
            assert (board[1:, STATE] == FREE).all()

    leave: list[int] = []

    def come_and_go(number: int) -> None:
        take_processor(worker=True)
        while not leave:
            serve(number, 300)

    serving = [threading.Thread(target=come_and_go, args=(number,), daemon=True) for number in (1, 2, 3)]
    board[0, HELPERS] = 3
    for thread in serving:
        thread.start()
    try:
        together(work, 3)
    finally:
        leave.append(1)
        for thread in serving:
            thread.join(TIMEOUT)
            assert not thread.is_alive()


@part
def _leaf(array: np.ndarray, i: int, first: int, last: int) -> None:
    for j in range(first, last):
        array[i, j] += 1


@kernel
def tree(array: np.ndarray, first: int, last: int) -> None:
    for i in range(first, last):
        function, data = task(_leaf, (array, i))
        divide((function, data, array.shape[1], 4, 1))


def test_many_short_calls_inside_others() -> None:
    def work(number: int) -> None:
        take_processor(worker=False)
        array = np.zeros((9, 5 + number), int)
        for _ in range(1000):
            tree.divided(len(array), 4, LIGHT, array)
        assert (array == 1000).all()

    with workers(3):
        for callers in (1, 3):
            together(work, callers)


def columns(dtype: type, groups: int, more: int) -> int:
    """Return a number of columns: of whole groups of panels, and some more."""
    return groups * GROUP * tile.width(nb.from_dtype(np.dtype(dtype))) + more


def operands(rng: np.random.Generator, dtype: type, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        rng.standard_normal((m, k + 3)).astype(dtype)[:, 1 : k + 1],
        panels(rng.standard_normal((k, n)).astype(dtype)),
        rng.standard_normal((m, n + 5)).astype(dtype)[:, 2 : n + 2],
    )


def products(a: np.ndarray, packed: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a product, and one that is added to `start`."""
    whole, added = np.full(start.shape, np.nan, start.dtype), start.copy()
    multiply(a, packed, whole, False)
    multiply(a, packed, added, True)
    return whole, added


def shapes(dtype: type) -> Iterator[tuple[int, int, int]]:
    """Sizes of products that are shared: few rows, columns with tails, sums of one block and of several."""
    for m, (groups, more) in itertools.product(range(1, 21), ((1, 1), (2, 0), (3, -1), (4, 17))):
        for k in (STEPS - 1, STEPS, STEPS + 1, 2 * STEPS + 3):
            n = columns(dtype, groups, more)
            if m * k * n >= SHARED:
                yield m, k, n
    for m, k in ((1, 3 * STEPS + 1), (2, STEPS), (3, STEPS + 2)):
        yield m, k, -(-SHARED // (m * k)) + 1
    yield product.BLOCK_ROWS + 3, STEPS + 1, columns(dtype, 3, 5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_columns_have_the_same_bits_in_any_part(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for m, k, n in shapes(dtype):
        a, packed, start = operands(rng, dtype, m, k, n)
        absent(0)
        expected = products(a, packed, start)
        np.testing.assert_array_equal(expected[0][0], products(a[:1], packed, start[:1])[0][0])
        groups = -(-n // columns(dtype, 1, 0))
        for present in (1, 2, 3):
            board[1:] = 0
            absent(present)
            found = products(a, packed, start)
            for got, want in zip(found, expected, strict=True):
                np.testing.assert_array_equal(got, want)
            asked = min(present, groups - 1)
            parts = [(groups * i // (asked + 1), groups * (i + 1) // (asked + 1)) for i in range(1, asked + 1)]
            assert [(slot[FIRST], slot[LAST]) for slot in board[1 : asked + 1]] == parts
            assert not board[asked + 1 :, LAST].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_which_products_are_shared(dtype: type) -> None:
    """Large ones, with workers that are awake."""
    rng = np.random.default_rng(1)
    n = columns(dtype, 2, 3)
    for m in (1, 2, 7):
        for large, awake in itertools.product((False, True), repeat=2):
            k = -(-SHARED // (m * n)) - (not large)
            assert (m * k * n >= SHARED) == large
            board[...] = 0
            absent(3, awake=awake)
            products(*operands(rng, dtype, m, k, n))
            assert board[2, LAST] == (3 if large and awake else 0)
    board[...] = 0
    absent(3)
    products(*operands(rng, dtype, 300, 300, columns(dtype, 1, 0)))  # a single group of columns
    assert not board[1:, LAST].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_shared_with_workers(dtype: type) -> None:
    rng = np.random.default_rng(2)
    sizes = [(1, 3 * STEPS, columns(dtype, 5, 1)), (8, STEPS, columns(dtype, 4, 9)), (20, STEPS + 5, columns(dtype, 7, -1))]
    given = [operands(rng, dtype, *size) for size in sizes]
    expected = [products(*operand) for operand in given]
    seen: set[int] = set()  # states of a slot: nothing but products is posted
    end = time.monotonic() + TIMEOUT

    def work(number: int) -> None:
        take_processor(worker=False)
        turn = 0
        while turn < 50 or (WORKING not in seen and time.monotonic() < end):
            turn += 1
            for operand, wanted in zip(given, expected, strict=True):
                for got, want in zip(products(*operand), wanted, strict=True):
                    np.testing.assert_array_equal(got, want)

    def watch() -> bool:
        seen.add(int(board[1, STATE]))
        return WORKING in seen

    with workers(3):
        caller = threading.Thread(target=together, args=(work, 2), daemon=True)
        caller.start()
        wait_until(watch)
        caller.join(TIMEOUT)
        assert not caller.is_alive()


@kernel
def many_products(a: np.ndarray, packed: np.ndarray, out: np.ndarray, states: np.ndarray, first: int, last: int) -> None:
    for i in range(first, last):
        multiply(a, packed, out[i], False)


def test_products_of_parts_are_shared_with_free_workers() -> None:
    """Two parts on three threads: the third takes columns of both, and the bits are the same."""
    rng = np.random.default_rng(3)
    a, packed, start = operands(rng, np.float64, 7, STEPS + 1, columns(np.float64, 5, 3))
    want, _ = products(a, packed, start)
    out = np.empty((2, *want.shape))
    absent(2)
    many_products.divided(2, 2, LIGHT, a, packed, out, start)
    for got in out:
        np.testing.assert_array_equal(got, want)
    assert board[2, LAST] == 6
    with workers(2):
        for _ in range(50):
            out[:] = np.nan
            many_products.divided(2, 2, LIGHT, a, packed, out, start)
            for got in out:
                np.testing.assert_array_equal(got, want)


@kernel
def _refusing(out: Any, first: int, last: int) -> None:
    for i in range(first, last):
        if i == 3:
            raise ValueError("three")
        out[i] = 1


@pytest.mark.parametrize("count", [1, 2])
def test_a_part_that_raises_is_told(count: int) -> None:
    """Whichever thread has it: nothing is left undone in silence."""
    set_threads(count)
    with pytest.raises(RuntimeError, match="a part of a kernel raised an exception"):
        threads.run(_refusing, 4, count, np.zeros(4))
    threads.run(_refusing, 3, count, np.zeros(4))
    assert (board[1:, STATE] == FREE).all()


def test_helpers_are_not_counted_by_a_pool_that_a_fork_has_closed() -> None:
    set_threads(3)
    old = common.workers
    old.close()
    threads._renew()
    threads.call_workers()
    old.admit()
    assert board[0, HELPERS] == 2


def test_more_threads_than_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common.workers, "_workers", [SimpleNamespace(end=lambda: None, join=lambda seconds: None)] * WORKERS)
    monkeypatch.setattr(common.workers, "_grow", lambda helpers: pytest.fail("all slots have a worker"))
    monkeypatch.setattr(common.workers, "_keep_off", lambda processor: None)
    set_threads(WORKERS + 50)
    threads.call_workers()
    assert board[0, HELPERS] == WORKERS
