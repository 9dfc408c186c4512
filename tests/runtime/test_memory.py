"""Memory that is used again: never while anybody can see it, and never without bound."""

from __future__ import annotations

import gc
import os
import threading
from functools import partial

import numpy as np
import pytest
from conftest import python

from derive.runtime.cpu import memory
from derive.runtime.cpu.compiling import compiled
from derive.runtime.cpu.memory import ALIGNMENT, LARGE, empty
from derive.runtime.cpu.static import put_rows


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> memory._Pool:
    fresh = memory._Pool()
    monkeypatch.setattr(memory, "_pool", fresh)
    return fresh


def start(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (7, 5), (100, 333), (2, 50, 200), (0, 10_000)])
def test_arrays_are_plain(shape: tuple[int, ...], dtype: type) -> None:
    for array in (empty(shape, dtype), empty(shape, dtype, aligned=True)):
        assert array.shape == shape and array.dtype == dtype
        assert array.flags.c_contiguous and array.flags.writeable
        array[...] = 1
        assert array.sum() == array.size


def test_large_ones_begin_at_a_cache_line_and_small_ones_on_request() -> None:
    assert all(start(empty((LARGE + k,), np.float32)) % ALIGNMENT == 0 for k in range(5))
    assert all(start(empty((k,), np.float32, aligned=True)) % ALIGNMENT == 0 for k in range(1, 9))


def test_memory_is_used_again() -> None:
    array = empty((LARGE,), np.float32)
    place = start(array)
    del array
    assert start(empty((LARGE,), np.float32)) == place


def test_never_while_a_view_is_left() -> None:
    array = empty((4, LARGE), np.float32)
    array[...] = 7
    view = array[1:3, ::2].T
    del array
    gc.collect()
    other = empty((4, LARGE), np.float32)
    other[...] = 0
    assert (view == 7).all() and not np.shares_memory(view, other)


def test_what_lies_idle_is_bounded(pool: memory._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDLE", 10 * LARGE)
    arrays = [empty((LARGE,), np.uint8) for _ in range(30)]
    del arrays
    assert pool.idle <= 10 * LARGE and sum(map(len, pool.blocks.values())) == pool.idle // LARGE


def test_sizes_that_nobody_asks_for_any_more_make_room(pool: memory._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDLE", 10 * LARGE)
    stale = [empty((LARGE,), np.uint8) for _ in range(10)]
    del stale
    asked = empty((3 * LARGE,), np.uint8)
    place = start(asked)
    del asked
    assert pool.idle <= 10 * LARGE and 3 * LARGE in pool.blocks
    assert start(empty((3 * LARGE,), np.uint8)) == place


def test_a_block_beyond_the_bound_takes_nobody_elses_place(pool: memory._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDLE", 10 * LARGE)
    arrays = [empty((LARGE,), np.uint8) for _ in range(5)]
    del arrays
    idle = pool.idle
    array = empty((20 * LARGE,), np.uint8)
    del array
    assert pool.idle == idle > 0


class Returned:
    """Gives a large array back, and asks for one, when it is collected."""

    def __init__(self) -> None:
        self.own, self.array = self, empty((LARGE,), np.uint8)

    def __del__(self) -> None:
        empty((LARGE,), np.uint8)


def test_a_collection_at_any_time_leaves_the_count_right(pool: memory._Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "IDLE", 4 * LARGE)
    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for k in range(300):
            Returned()
            empty((LARGE + k % 5 * LARGE,), np.uint8)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert pool.idle == sum(size * len(blocks) for size, blocks in pool.blocks.items()) <= 4 * LARGE


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_fork_while_a_thread_has_the_pool() -> None:
    """The child must not wait for a lock that nobody there can release."""
    code = """
import os, threading, warnings
from derive.runtime.cpu import memory
warnings.simplefilter("ignore")  # a fork beside other threads is what is tested
held, over = threading.Event(), threading.Event()
def hold():
    with next(value for value in vars(memory._pool).values() if hasattr(value, "acquire")):
        held.set()
        over.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    memory.empty((1 << 20,), "float32")
    os._exit(7)
import signal, time
end = time.monotonic() + 20
while not (found := os.waitpid(child, os.WNOHANG))[0] and time.monotonic() < end:
    time.sleep(0.01)
if not found[0]:
    os.kill(child, signal.SIGKILL)
over.set()
print(os.waitstatus_to_exitcode(found[1]) if found[0] else "stuck")
"""
    assert python(code).strip() == "7"


def test_a_list_that_an_interrupt_left_empty_is_no_memory(pool: memory._Pool) -> None:
    pool.blocks[1 << 16] = []
    array = empty((1 << 16,), np.uint8)
    del array
    pool.blocks[1 << 17] = []
    pool.blocks.move_to_end(1 << 17, last=False)
    pool.idle = memory.IDLE
    pool.give(1 << 16, memory._new(1 << 16))
    assert (1 << 17) not in pool.blocks


def test_threads_never_share_a_block() -> None:
    wrong = []

    def work(mark: int) -> None:
        for turn in range(200):
            array = empty((LARGE,), np.uint8)
            array[...] = (mark + turn) % 256
            if (array != (mark + turn) % 256).any():
                wrong.append(mark)

    workers = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@partial(compiled, cache=False)
def _put(out, start, part):  # type: ignore[no-untyped-def]
    put_rows(out, start, part)


def test_arrays_below_one_another() -> None:
    def stacked(*parts: np.ndarray) -> np.ndarray:
        out = np.full((sum(map(len, parts)), *parts[0].shape[1:]), np.nan, parts[0].dtype)
        for k, part in enumerate(parts):
            _put(out, sum(map(len, parts[:k])), part)
        return out

    parts = [np.full((k, 3), k, np.float32) for k in (1, 2, 4)]
    assert np.array_equal(stacked(*parts), np.concatenate(parts))
    vectors = [np.arange(k, dtype=np.float64) for k in (2, 0, 5)]
    assert np.array_equal(stacked(*vectors), np.concatenate(vectors))
