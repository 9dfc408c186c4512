"""The simulator of a grid: what it computes, and that it finds what a GPU would only now and then suffer from."""

from __future__ import annotations

import collections
import importlib
import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numba import float32, int32, uint16, uint32
from simulator import Deadlock, Machine, Race

Kernel = Callable[..., None]
REALS = [np.float32, np.float64]
ORDERS = ["forward", "backward"]
FULL = 0xFFFFFFFF


@pytest.fixture(params=ORDERS)
def on(request: pytest.FixtureRequest) -> Machine:
    return Machine(order=request.param)


def test_nothing_is_in_the_way_of_the_bindings() -> None:
    """This folder has the name of NVIDIA's package, so it must not be one."""
    folders = list(importlib.import_module("cuda").__path__)
    assert importlib.import_module("cuda").__file__ is None, folders


# ---- blocks ----


def reduction(on: Machine, meets: bool = True) -> Kernel:
    cuda, real = on.cuda, on.real

    @on.device
    def meet() -> None:
        if meets:
            cuda.syncthreads()

    @on.kernel
    def kernel(x: Any, total: Any) -> None:
        own = cuda.shared.array(0, real)
        thread, block, width = cuda.threadIdx.x, cuda.blockIdx.x, cuda.blockDim.x
        own[thread] = x[block, thread]
        meet()
        while width > 1:
            width //= 2
            if thread < width:
                own[thread] += own[thread + width]
            meet()
        if thread == 0:
            total[block] = own[0]

    return kernel


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("real", REALS)
def test_a_block_reduces(real: type[np.floating], order: str) -> None:
    rng = np.random.default_rng(7)
    on = Machine(real, order)
    x, total = rng.integers(-9, 9, (3, 64)).astype(real), np.empty(3, real)
    on.launch(reduction(on), 3, 64, 64 * x.itemsize, x, total)
    np.testing.assert_array_equal(total, x.sum(1))


def test_a_block_that_does_not_meet_races(on: Machine) -> None:
    with pytest.raises(Race, match=r"shared\[\d+\]: thread \d+ of block \(\d, 0\) (reads|writes) what thread \d+ of block \(\d, 0\)"):
        on.launch(reduction(on, meets=False), 3, 64, 256, np.zeros((3, 64), np.float32), np.empty(3, np.float32))


def test_a_warp_in_step_is_no_order(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any) -> None:
        x[cuda.laneid] = 1.0
        cuda.syncwarp()
        cuda.shfl_xor_sync(FULL, x[cuda.laneid ^ 1], 1)

    with pytest.raises(Race, match=r"argument 0\[\d+\]"):
        on.launch(kernel, 1, 32, 0, np.zeros(32, np.float32))


def test_a_read_and_a_later_write_race(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any, y: Any, meets: bool) -> None:
        y[cuda.threadIdx.x] = x[1, 2, 3]
        if meets:
            cuda.syncthreads()
        if cuda.threadIdx.x == 5:
            x[1, 2, 3] = 1.0

    x, y = np.zeros((2, 3, 4)), np.empty(8)
    on.launch(kernel, 1, 8, 0, x, y, True)
    assert x[1, 2, 3] == 1.0
    with pytest.raises(Race, match=r"argument 0\[1, 2, 3\]: thread \d of block \(0, 0\) "):
        on.launch(kernel, 1, 8, 0, x, y, False)


def test_bytes_are_shared_by_types_and_by_arguments(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any, same: Any) -> None:
        words, halves = cuda.shared.array(0, uint32), cuda.shared.array(0, uint16)
        if cuda.threadIdx.x == 0:
            words[1] = 0x3F802000
        cuda.syncthreads()
        if cuda.threadIdx.x == 1:
            x[0] = halves[3] << 16 | halves[2] >> 13
            halves[2] = 0
        if cuda.threadIdx.x == 0:
            same[1] = halves[3]

    x = np.zeros(2, np.uint32)
    on.launch(kernel, 1, 2, 8, x, x)
    assert x.tolist() == [0x3F800001, 0x3F80]


def test_arguments_may_be_the_same_memory(on: Machine) -> None:
    def kernel(x: Any, same: Any) -> None:
        if on.cuda.threadIdx.x == 0:
            x[3] = 1.0
        else:
            same[1] = 1.0

    x = np.zeros(6, np.float32)
    with pytest.raises(Race, match=r"argument (0\[3\]|1\[1\]): "):
        on.launch(kernel, 1, 2, 0, x, x[2:])


def test_static_arrays_are_apart(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any) -> None:
        dynamic, a, b = cuda.shared.array(0, float32), cuda.shared.array((2, 4), float32), cuda.shared.array(8, int32)
        thread = cuda.threadIdx.x
        a[thread // 4, thread % 4], b[thread], dynamic[thread] = thread, 10 * thread, 100 * thread
        cuda.syncthreads()
        row, other = a[1 - thread // 4], 7 - thread
        x[cuda.blockIdx.y, cuda.blockIdx.x, thread] = row[other % 4] + b[other] + dynamic[other]

    x = np.zeros((3, 2, 8), np.float32)
    on.launch(kernel, (2, 3), 8, 32, x)
    np.testing.assert_array_equal(x, np.broadcast_to(111.0 * np.arange(8)[::-1], x.shape))


def test_local_arrays_are_private(on: Machine) -> None:
    cuda, real = on.cuda, on.real

    def kernel(x: Any) -> None:
        own, words = cuda.local.array(2, real), cuda.local.array(2, uint32)
        assert math.isnan(own[0]) and words[1] == FULL
        own[0] = cuda.threadIdx.x + 0.1
        cuda.syncthreads()
        x[cuda.threadIdx.x] = own[0]
        with pytest.raises(IndexError, match="local"):
            own[-1] = 0.0

    x = np.zeros(40)
    on.launch(kernel, 1, 40, 0, x)
    np.testing.assert_array_equal(x, (np.arange(40) + 0.1).astype(np.float32))


def test_shared_memory_is_poisoned(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any, words: Any) -> None:
        x[0], x[1] = cuda.shared.array(0, float32)[3], cuda.shared.array(4, float32)[0]
        words[0] = cuda.shared.array(0, uint16)[0]

    x, words = np.zeros(2), np.zeros(1, np.int64)
    on.launch(kernel, 1, 1, 16, x, words)
    assert np.isnan(x).all() and words[0] == 0xFFFF


# ---- indices and values ----


@pytest.mark.parametrize("index", [-1, 6, (0, 0), slice(2, 7), slice(-2, None)])
def test_an_index_outside_is_an_error(on: Machine, index: Any) -> None:
    with pytest.raises(IndexError, match=r"argument 0\[.*\] .*shape \(6,\)"):
        on.launch(lambda x: x[index], 1, 1, 0, np.zeros(6))


@pytest.mark.parametrize("index", [(-1, 0), (0, 3), (2, 0), (0, -1), 2, -1])
def test_an_index_outside_of_a_matrix_is_an_error(on: Machine, index: Any) -> None:
    with pytest.raises(IndexError, match=r"argument 1\[.*\] is outside of shape \(2, 3\)"):
        on.launch(lambda _, x: x[index], 1, 1, 0, 5, np.zeros((2, 3)))


def test_views_share_what_they_show(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any, y: Any, row: int) -> None:
        part = x[row][1:3]
        assert (part.shape, part.size, part.dtype) == ((2,), 2, np.float64)
        part[cuda.threadIdx.x] += 1.0
        y[1][cuda.threadIdx.x, 0] = x[row, 1 + cuda.threadIdx.x]

    x, y = np.arange(8.0).reshape(2, 4), np.zeros((2, 2, 2))
    on.launch(kernel, 1, 2, 0, x, y, 1)
    assert x.tolist() == [[0, 1, 2, 3], [4, 6, 7, 7]] and y[1, :, 0].tolist() == [6, 7]
    with pytest.raises(IndexError, match=r"argument 0\[1\]\[1:3\]\[2\] is outside of shape \(2,\)"):
        on.launch(kernel, 1, 3, 0, x, y, 1)


@pytest.mark.parametrize(("dtype", "value"), [(np.uint32, -1), (np.uint16, 1 << 16), (np.int32, 1 << 31), (np.uint8, 256), (np.int32, 0.5)])
def test_integers_hold_what_they_can(on: Machine, dtype: Any, value: Any) -> None:
    def kernel(x: Any) -> None:
        x[0] = value

    with pytest.raises((ValueError, TypeError)):
        on.launch(kernel, 1, 1, 0, np.zeros(1, dtype))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int64, np.bool_])
def test_arrays_of_any_type(on: Machine, dtype: Any) -> None:
    cuda = on.cuda

    def kernel(x: Any, y: Any, empty: Any) -> None:
        for i in range(y.size):
            y[i] = x[i, 0]
        assert empty.shape == (0, 3) and cuda.gridDim.y == 1

    x, y = np.array([[0], [1]], dtype), np.ones(2, dtype)
    on.launch(kernel, 1, 1, 0, x, y, np.zeros((0, 3), dtype))
    np.testing.assert_array_equal(x[:, 0], y)
    with pytest.raises(ValueError, match="argument 0"):
        on.launch(kernel, 1, 1, 0, np.zeros((2, 2), dtype).T, y, y)


def test_an_error_of_a_kernel_keeps_its_type_and_ends_all_threads(on: Machine) -> None:
    cuda, ended = on.cuda, []

    def kernel() -> None:
        try:
            if cuda.threadIdx.x == 3:
                raise ZeroDivisionError("here")
            cuda.syncthreads()
        finally:
            ended.append(cuda)

    with pytest.raises(ZeroDivisionError, match="here") as caught:
        on.launch(kernel, 2, 8, 0)
    assert caught.value.__notes__[0].startswith("in thread 3 of block")
    assert all(thread.greenlet.dead for thread in on.threads) and ended


# ---- the grid ----


def exchange(on: Machine, without: str = "") -> Kernel:
    """Three rounds in which each block reads what the next one wrote, but for one step of the barrier between."""
    cuda, ptx = on.cuda, on.ptx

    @on.kernel
    def kernel(rounds: int, x: Any, counters: Any) -> None:
        thread, block, blocks = cuda.threadIdx.x, cuda.blockIdx.x, cuda.gridDim.x
        enough = {"one": blocks - 1, "all": 1}.get(without, blocks)
        for r in range(rounds):
            if without == "order" and thread == 0:
                ptx.release_add(counters, 0, 1)
            x[r + 1, block, thread] = x[r, (block + 1) % blocks, cuda.blockDim.x - 1 - thread] + 1.0
            if without != "first":
                cuda.syncthreads()
            if thread == 0 and without not in ("release", "order"):
                ptx.release_add(counters, 0, 1)
            if thread == 0 and without != "acquire":
                while ptx.acquire(counters, 0) < enough * (r + 1):
                    pass
            if without != "second":
                cuda.syncthreads()

    return kernel


def arguments(rounds: int = 3, blocks: int = 3, threads: int = 40) -> tuple[int, np.ndarray, np.ndarray]:
    x = np.full((rounds + 1, blocks, threads), np.nan, np.float32)
    x[0] = np.arange(blocks * threads).reshape(blocks, threads)
    return rounds, x, np.zeros(1, np.uint32)


def test_blocks_exchange(on: Machine) -> None:
    rounds, x, counters = arguments()
    on.launch(exchange(on), 3, 40, 0, rounds, x, counters)
    for r in range(rounds):
        np.testing.assert_array_equal(x[r + 1], np.roll(x[r], -1, 0)[:, ::-1] + 1)
    assert counters[0] == 9


@pytest.mark.parametrize("without", ["first", "second", "acquire", "order", "one", "all"])
def test_blocks_that_do_not_wait_race(on: Machine, without: str) -> None:
    """Nothing may be left out: neither a barrier, nor the acquire, nor that the release comes last, nor one or all of the other blocks."""
    with pytest.raises(Race, match=r"argument 1\[\d, \d, \d+\]: .* of block .* of block"):
        on.launch(exchange(on, without), 3, 40, 0, *arguments())


def test_blocks_that_do_not_release_wait_for_ever(on: Machine) -> None:
    with pytest.raises(Deadlock, match=r"block \(1, 0\), at acquire: threads \[0\]; .*at syncthreads"):
        on.launch(exchange(on, "release"), 3, 40, 0, *arguments())


def message(on: Machine) -> Kernel:
    """Pass a value through a block that does not meet: from 0 to 1 to 2, each in its first thread."""
    cuda, ptx = on.cuda, on.ptx

    @on.kernel
    def kernel(x: Any, counters: Any, reader: int) -> None:
        thread, block = cuda.threadIdx.x, cuda.blockIdx.x
        if block == 0 and thread == 0:
            x[0] = 1.0
            ptx.release_add(counters, 0, 1)
            x[1] = 1.0
        if block == 1 and thread == 0:
            while ptx.acquire(counters, 0) < 1:
                pass
            ptx.release_add(counters, 1, 1)
        if block == 2 and thread == 0:
            while ptx.acquire(counters, 1) < 1:
                pass
            x[2] = x[reader]

    return kernel


def test_what_is_known_is_passed_on(on: Machine) -> None:
    x = np.zeros(3)
    on.launch(message(on), 3, 2, 0, x, np.zeros(2, np.uint32), 0)
    assert x.tolist() == [1, 1, 1]


def test_what_follows_a_release_is_not_passed_on(on: Machine) -> None:
    with pytest.raises(Race, match=r"argument 0\[1\]"):
        on.launch(message(on), 3, 2, 0, np.zeros(3), np.zeros(2, np.uint32), 1)


def test_threads_of_a_block_may_pass_messages(on: Machine) -> None:
    cuda, ptx = on.cuda, on.ptx

    def kernel(x: Any, counters: Any, reader: int) -> None:
        if cuda.threadIdx.x == 0:
            x[0] = 1.0
            ptx.release_add(counters, 0, 1)
        if cuda.threadIdx.x == reader:
            while ptx.acquire(counters, 0) == 0:
                pass
        if cuda.threadIdx.x == 1:
            x[1] = x[0]

    on.launch(kernel, 1, 3, 0, np.zeros(2), np.zeros(1, np.uint32), 1)
    with pytest.raises(Race):
        on.launch(kernel, 1, 3, 0, np.zeros(2), np.zeros(1, np.uint32), 2)


def test_a_counter_is_not_written_in_passing(on: Machine) -> None:
    def kernel(counters: Any) -> None:
        on.ptx.release_add(counters, 0, 1)
        counters[0] = 0
        on.ptx.acquire(counters, 0)

    with pytest.raises(Race, match="counter"):
        on.launch(kernel, 1, 1, 0, np.zeros(1, np.uint32))


def test_launches_are_ordered(on: Machine) -> None:
    def kernel(x: Any, thread: int) -> None:
        if on.cuda.threadIdx.x == thread:
            x[0] += 1.0

    x = np.zeros(1)
    for thread in range(3):
        on.launch(kernel, 1, 4, 0, x, thread)
    assert x[0] == 3.0


# ---- any programs ----

Program = dict[tuple[int, int], list[tuple[Any, ...]]]  # of the threads of the blocks; accesses are (verb, byte pair, pairs)


def program(seed: int) -> Program:
    """Draw a few accesses between barriers, releases of counters of their own, and acquires of those."""
    draw, releases, threads = random.Random(seed), itertools.count(), list(itertools.product(range(3), range(3)))
    drawn: Program = {}
    meetings = [draw.randint(0, 3) for _ in range(3)]
    for block, thread in threads:
        steps: list[tuple[Any, ...]] = [("meet",)] * meetings[block]
        for _ in range(draw.randint(0, 4)):
            verb = draw.choice(["read", "write", "release", "acquire", "acquire"])
            what = (draw.randrange(12),) if verb == "acquire" else (draw.randrange(32), draw.choice([1, 2]))
            what = (next(releases),) if verb == "release" else what
            steps.insert(draw.randint(0, len(steps)), (verb, *what))
        drawn[block, thread] = steps
    last = next(releases)
    return {who: [step for step in steps if step[0] != "acquire" or step[1] < last] for who, steps in drawn.items()}


def verdict(drawn: Program) -> str:
    """Judge a program by the transitive closure of what comes before what."""
    order: set[tuple[Any, Any]] = set()
    accesses: list[tuple[Any, str, set[int], Any]] = []
    for who, steps in drawn.items():
        meetings, before = itertools.count(), ("begin", who)
        for i, (verb, *what) in enumerate(steps):
            here: Any = (who, i)
            if verb in ("meet", "release"):
                here = (verb, who[0], next(meetings)) if verb == "meet" else (verb, *what)
            order |= {(before, here)} | ({(("release", *what), here)} if verb == "acquire" else set())
            before = here
            if verb in ("read", "write"):
                first = what[0] // what[1] * what[1]
                accesses.append((who, verb, set(range(first, first + what[1])), here))
    places = {place: i for i, place in enumerate(dict.fromkeys(itertools.chain(*order)))}
    comes = np.zeros((len(places), len(places)), bool)
    for before, here in order:
        comes[places[before], places[here]] = True
    for i in range(len(places)):
        comes |= comes[:, i : i + 1] & comes[i : i + 1]
    if comes.diagonal().any():
        return "Deadlock"
    for (me, mine, a, i), (other, its, b, j) in itertools.combinations(accesses, 2):
        ordered = comes[places[i], places[j]] or comes[places[j], places[i]]
        if me != other and a & b and "write" in (mine, its) and not ordered:
            return "Race"
    return "none"


def outcome(on: Machine, drawn: Program) -> str:
    cuda, ptx = on.cuda, on.ptx

    def kernel(halves: Any, words: Any, counters: Any) -> None:
        for verb, *what in drawn[cuda.blockIdx.x, cuda.threadIdx.x]:
            if verb == "meet":
                cuda.syncthreads()
            elif verb == "release":
                ptx.release_add(counters, what[0], 1)
            elif verb == "acquire":
                while ptx.acquire(counters, what[0]) < 1:
                    pass
            else:
                array, at = (halves, words)[what[1] - 1], what[0] // what[1]
                if verb == "write":
                    array[at] = 0
                else:
                    assert array[at] == 0

    x = np.zeros(32, np.uint16)
    try:
        on.launch(kernel, 3, 3, 0, x, x.view(np.uint32), np.zeros(60, np.uint32))
    except (Race, Deadlock) as error:
        return type(error).__name__
    return "none"


def test_the_detector_is_exact(on: Machine) -> None:
    """Whatever order the threads run in, it finds a race in a program if and only if there is one."""
    judged = {seed: verdict(program(seed)) for seed in range(300)}
    assert min(collections.Counter(judged.values()).values()) > 20
    for seed, want in judged.items():
        got = outcome(on, program(seed))
        assert got == want or (want == "Deadlock" and got == "Race"), seed


# ---- deadlocks ----


@pytest.mark.parametrize("threads", [5, 64])
def test_a_thread_that_returned_is_waited_for(on: Machine, threads: int) -> None:
    def kernel() -> None:
        if on.cuda.threadIdx.x != 2:
            on.cuda.syncthreads()

    with pytest.raises(Deadlock) as caught:
        on.launch(kernel, 1, threads, 0)
    others = [thread for thread in range(threads) if thread != 2]
    assert f"block (0, 0), at syncthreads: threads {others}" in str(caught.value)
    assert "block (0, 0), returned: threads [2]" in str(caught.value)


def test_a_lane_that_is_elsewhere_is_waited_for(on: Machine) -> None:
    def kernel(elsewhere: Callable[[], Any]) -> None:
        if on.cuda.laneid == 7:
            elsewhere()
        else:
            on.cuda.shfl_sync(FULL, 1.0, 0)

    for elsewhere in (on.cuda.syncthreads, on.cuda.syncwarp, lambda: None):
        with pytest.raises(Deadlock, match="at shfl_sync: threads"):
            on.launch(kernel, 1, 32, 0, elsewhere)


# ---- warps ----


def test_shuffles(on: Machine) -> None:
    cuda = on.cuda

    def kernel(x: Any) -> None:
        thread, lane = cuda.threadIdx.x, cuda.laneid
        total = float(lane)
        for step in (4, 2, 1):
            total += cuda.shfl_xor_sync(FULL, total, step)
        x[0, thread] = total
        x[1, thread] = cuda.shfl_sync(FULL, 10 * lane, lane // 8)
        x[2, thread] = cuda.shfl_down_sync(FULL, thread, 3)

    x = np.zeros((3, 48))
    on.launch(kernel, 1, 48, 0, x)
    lane = np.arange(48) % 32
    np.testing.assert_array_equal(x[0], 64 * (lane // 8) + 28)
    np.testing.assert_array_equal(x[1], 10 * (lane // 8))
    np.testing.assert_array_equal(x[2], [i + 3 if i + 3 < (32 if i < 32 else 48) else i for i in range(48)])
    with pytest.raises(ValueError, match="mask"):
        on.launch(lambda: cuda.shfl_sync(0xFFFF, 1.0, 0), 1, 32, 0)


@pytest.mark.parametrize("name", ["bf16", "f16"])
def test_products_of_pairs(on: Machine, name: str) -> None:
    """Small integers and their fractions: no product or sum is rounded."""
    rng = np.random.default_rng(7)
    a, b, c = (rng.integers(-64, 64, shape) / 8 for shape in ((16, 16), (16, 8), (16, 8)))
    pack, mma, cuda = getattr(on.ptx, f"pack_{name}"), getattr(on.ptx, f"mma_{name}"), on.cuda

    def kernel(a: Any, b: Any, c: Any) -> None:
        g, k = cuda.laneid >> 2, 2 * (cuda.laneid & 3)
        lefts = [pack(a[i, j], a[i, j + 1]) for j, i in itertools.product((k, k + 8), (g, g + 8))]
        rights = [pack(b[j, g], b[j + 1, g]) for j in (k, k + 8)]
        sums = mma(*lefts, *rights, c[g, k], c[g, k + 1], c[g + 8, k], c[g + 8, k + 1])
        c[g, k], c[g, k + 1], c[g + 8, k], c[g + 8, k + 1] = sums

    d = c.copy()
    on.launch(kernel, 1, 32, 0, a, b, d)
    np.testing.assert_array_equal(d, a @ b + c)


def test_products_of_tf32(on: Machine) -> None:
    rng = np.random.default_rng(7)
    a, b, c = (rng.integers(-1000, 1000, shape) / 64 for shape in ((16, 8), (8, 8), (16, 8)))
    cuda, ptx = on.cuda, on.ptx

    def kernel(a: Any, b: Any, c: Any) -> None:
        g, t = cuda.laneid >> 2, cuda.laneid & 3
        lefts = [ptx.round_tf32(a[i, j]) for j, i in itertools.product((t, t + 4), (g, g + 8))]
        rights = [ptx.round_tf32(b[j, g]) for j in (t, t + 4)]
        sums = ptx.mma_tf32(*lefts, *rights, c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1])
        c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1] = sums

    d = c.copy()
    on.launch(kernel, 1, 32, 0, a, b, d)
    np.testing.assert_array_equal(d, (a @ b + c).astype(np.float32))


def test_a_product_needs_a_whole_warp(on: Machine) -> None:
    with pytest.raises(ValueError, match="whole warp"):
        on.launch(lambda: on.ptx.mma_bf16(*range(10)), 1, 31, 0)


# ---- copies ----


def copied(on: Machine, waits: bool = True) -> Kernel:
    cuda, ptx = on.cuda, on.ptx

    def kernel(x: Any, y: Any, shift: int) -> None:
        tile, thread = cuda.shared.array(0, uint32), cuda.threadIdx.x
        if thread < 2:
            ptx.copy_async(tile, 4 * thread, x, 4 * (1 - thread) + shift)
            if waits:
                ptx.copy_wait()
        cuda.syncthreads()
        y[thread] = tile[thread]
        ptx.prefetch(x, 1 << 40)
        ptx.cooperative()

    return kernel


def test_copies_arrive_at_the_wait(on: Machine) -> None:
    x, y = np.arange(8, dtype=np.uint32), np.zeros(8, np.uint32)
    on.launch(copied(on), 1, 8, 32, x, y, 0)
    assert y.tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    on.launch(copied(on, waits=False), 1, 8, 32, x, y, 0)
    assert (y == FULL).all()


def test_copies_are_aligned_and_inside(on: Machine) -> None:
    x, y = np.arange(8, dtype=np.uint32), np.zeros(8, np.uint32)
    for shift, error in ((2, ValueError), (4, IndexError), (-4, IndexError)):
        with pytest.raises(error):
            on.launch(copied(on), 1, 8, 32, x, y, shift)
    with pytest.raises(ValueError, match="words"):
        on.launch(copied(on), 1, 8, 32, x.astype(np.uint16), y, 0)


def test_a_copy_races_with_who_reads_before_it_arrives(on: Machine) -> None:
    cuda, ptx = on.cuda, on.ptx

    def kernel(x: Any, y: Any) -> None:
        tile = cuda.shared.array(0, uint32)
        if cuda.threadIdx.x == 0:
            ptx.copy_async(tile, 0, x, 0)
        cuda.syncthreads()
        if cuda.threadIdx.x == 0:
            ptx.copy_wait()
        y[cuda.threadIdx.x] = tile[cuda.threadIdx.x]

    with pytest.raises(Race, match="shared"):
        on.launch(kernel, 1, 4, 16, np.zeros(4, np.uint32), np.zeros(4, np.uint32))


# ---- conversions ----


def numbers() -> np.ndarray:
    """Numbers of all sizes, ties between halves of both kinds, and what is not a number."""
    rng = np.random.default_rng(7)
    bits = np.concatenate(
        [rng.integers(0, 1 << 32, 2000), rng.integers(0, 1 << 16, 500) << 16 | 0x8000, rng.integers(0, 1 << 19, 500) << 13]
    )
    near = rng.standard_normal(500).astype(np.float16).astype(np.float32)
    ties = (near + np.nextafter(near.astype(np.float16), np.float16(np.inf)).astype(np.float32)) / 2
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 65504, 65519.9, 65520, -65520, 6e-8, 2.9e-8, 1e-40], np.float32)
    return np.concatenate([bits.astype(np.uint32).view(np.float32), ties, special])


def same(got: list[int], want: np.ndarray, x: np.ndarray) -> None:
    number = ~np.isnan(x)
    np.testing.assert_array_equal(np.array(got)[number], want[number])


def test_halves_are_those_of_numpy() -> None:
    x, ptx = numbers(), Machine().ptx
    got = [ptx.narrow_f16(value) for value in x.tolist()]
    with np.errstate(all="ignore"):
        same(got, x.astype(np.float16).view(np.uint16), x)
    assert all(math.isnan(ptx.widen_f16(half)) for half in np.array(got)[np.isnan(x)].tolist())
    every = np.arange(1 << 16, dtype=np.uint16)
    np.testing.assert_array_equal([ptx.widen_f16(half) for half in every.tolist()], every.view(np.float16).astype(np.float64))
    assert ptx.pack_f16(1.0, -2.0) == 0xC0003C00


def test_brain_floats_are_those_of_torch() -> None:
    x, ptx = numbers(), Machine().ptx
    got = [ptx.narrow_bf16(value) for value in x.tolist()]
    same(got, torch.from_numpy(x).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16), x)
    assert all(math.isnan(ptx.widen_bf16(half)) for half in np.array(got)[np.isnan(x)].tolist())
    every = np.arange(1 << 16, dtype=np.uint16)
    want = torch.from_numpy(every.view(np.int16)).view(torch.bfloat16).double().numpy()
    np.testing.assert_array_equal([ptx.widen_bf16(half) for half in every.tolist()], want)
    assert ptx.pack_bf16(1.0, -2.0) == 0xC0003F80


def test_tf32_rounds_ties_away_from_zero() -> None:
    ptx = Machine().ptx
    for value, want in (
        (1 + 2**-11, 1 + 2**-10),
        (-1 - 2**-11, -1 - 2**-10),
        (1 + 2**-11 - 2**-23, 1.0),
        (3.4028e38, math.inf),
        (-math.inf, -math.inf),
    ):
        assert np.uint32(ptx.round_tf32(value)).view(np.float32) == np.float32(want)
    assert np.isnan(np.uint32(ptx.round_tf32(math.nan)).view(np.float32))


def test_fast_functions() -> None:
    ptx = Machine().ptx
    assert ptx.tanh_fast(0.5) == math.tanh(0.5) and ptx.exp2_fast(-3.0) == 0.125
    assert ptx.exp2_fast(4096.0) == math.inf and ptx.exp2_fast(-4096.0) == 0.0 and math.isnan(ptx.exp2_fast(math.nan))
