"""Kernels on PyTorch's threads: the same bits as on the crew's, as many threads as PyTorch has, and the crew wherever that cannot be."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from conftest import at_once
from test_threads import meet, note

from derive.runtime.cpu import openmp, threads
from derive.runtime.cpu.crew import AWAKE, FREE, GUEST, STATE, board
from derive.runtime.cpu.kernel import kernel
from derive.runtime.cpu.threads import pool, run, set_threads

ROOT = str(Path(__file__).resolve().parents[2])
SIZES = ((1, 3, 5, 4), (5, 7, 3, 33), (33, 10, 20, 65))  # B, T, d, n


@pytest.fixture(autouse=True)
def _three_threads() -> Iterator[None]:
    """PyTorch has three threads, and nobody has said how many kernels use."""
    before = torch.get_num_threads(), threads.common.threads, threads.common.said
    torch.set_num_threads(3)
    threads.common.threads, threads.common.said = None, False
    assert openmp.team.size() == 3, "PyTorch as the tests have it comes with GNU OpenMP"
    yield
    torch.set_num_threads(before[0])
    threads.common.threads, threads.common.said = before[1:]
    assert (board[1:, STATE] == FREE).all() and not board[GUEST:, AWAKE].any()


@pytest.fixture
def _awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's threads count as awake, whether or not an operation has just ended."""
    monkeypatch.setattr(openmp._Team, "awake", lambda team: True)


@pytest.fixture
def _held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's threads have been held up lately."""
    monkeypatch.setattr(openmp._Team, "parts", lambda team: openmp.PARTS_A_THREAD)


def results(module: ModuleType, size: tuple[int, int, int, int], lengths: Any = None, tape: str = "full") -> list[np.ndarray]:
    """Return all that the passes of a module give."""
    batch, steps, d, n = size
    x = np.random.default_rng(0).standard_normal((steps, batch, d)).astype(np.float32)
    params = module.init(d, n, seed=1)
    y, final, kept = module.forward(x, params, lengths=lengths, tape=tape)
    grads = module.backward(y, kept, final)
    inferred, _ = module.infer(x, module.pack(params), lengths=lengths)
    return [y, inferred, *final, grads.x, *grads.params, *grads.state]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(map(np.array_equal, a, b))


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru_v3", "slstm", "lstm_layernorm", "gru"])
def test_the_same_bits_on_any_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("generated.runtime.cpu.openmp")._Team, "awake", lambda team: True)
    module = importlib.import_module(f"generated.{name}")
    own = importlib.import_module("generated.runtime.threads")
    for size in SIZES:
        lengths = np.arange(size[0]) % (size[1] + 1)
        for options in ({}, {"lengths": lengths}, {"tape": "recompute"}):
            expected = results(module, size, **options)
            for number in (1, 2, 3, 5):
                torch.set_num_threads(number)
                with own.pool("torch"):
                    assert same(results(module, size, **options), expected), (size, number, options)


def parts_of(count: int, most: int) -> list[int]:
    """Return the first elements of the parts of a call."""
    calls, ends = np.zeros(count + 1, int), np.zeros(count + 1, int)
    run(note, count, most, calls, ends)
    firsts = np.flatnonzero(calls)
    assert (calls[firsts] == 1).all() and [0, *ends[firsts]] == [*firsts, count]
    return list(map(int, firsts))


@pytest.mark.usefixtures("_awake", "_held_up")
def test_parts_cover_everything_once() -> None:
    """There are as many parts as are asked for: more than threads, so that none waits long for another."""
    with pool("torch"):
        assert threads.division(light=False) == (6, 3) and threads.division(light=True) == (3, openmp.LIGHT)
        for count in (*range(1, 12), 50):
            for most in range(1, 10):
                assert len(parts_of(count, most)) == min(count, most)


@pytest.mark.usefixtures("_awake")
def test_parts_run_on_all_threads_of_the_region() -> None:
    with pool("torch"):
        for _ in range(20):
            flags, met = np.zeros(5, np.int64), np.zeros(3, np.bool_)
            clock = threading.Timer(10.0, flags.__setitem__, (4, 1))
            clock.start()
            run(meet, 3, 3, flags, met)
            clock.cancel()
            clock.join()
            assert met.all()


@pytest.mark.usefixtures("_awake", "_held_up")
def test_pytorch_says_how_many_threads() -> None:
    with pool("torch"):
        for number in (1, 2, 4):
            torch.set_num_threads(number)
            assert threads.region() == number
            expected = (number * openmp.PARTS_A_THREAD, number) if number > 1 else (1, openmp.LIGHT)
            assert threads.division(light=False) == expected


def told(team: Any, monkeypatch: pytest.MonkeyPatch, passed: int, used: int) -> None:
    """Let a call take so many nanoseconds, and two threads be on processors for so many."""
    monkeypatch.setattr(team, "spent", lambda: (passed, used))
    team.note((0, 0))


def test_a_thread_has_a_part_unless_some_are_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    team = openmp._Team()
    assert team.spent() is None and team.parts() == 2  # nobody knows
    team.note(None)
    team._known.clock = -1
    assert team.spent() is None and team.parts() == 1
    for used in (2_000_000, 1_900_000, 1_700_000, 2_000_000, 1_900_000):
        told(team, monkeypatch, 1_000_000, used)
        assert team.parts() == 1  # once is nothing
    told(team, monkeypatch, 1_000_000, 1_700_000)
    told(team, monkeypatch, 1_000_000, 1_000_000)
    assert team.parts() == 2
    told(team, monkeypatch, 100_000, 200_000)
    assert team.parts() == 2  # too short to tell
    for _ in range(20):
        told(team, monkeypatch, 1_000_000, 2_000_000)
    assert team.parts() == 1


def test_calls_in_a_region_tell_how_they_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ordinary way, and as they were recorded; those on the crew do not."""
    module, own = importlib.import_module("generated.lstm"), importlib.import_module("generated.runtime.threads")
    team = importlib.import_module("generated.runtime.cpu.openmp").team
    monkeypatch.setattr(type(team), "awake", lambda team: True)
    noted: list[Any] = []
    monkeypatch.setattr(type(team), "spent", lambda team: (1, 2))
    monkeypatch.setattr(type(team), "note", lambda team, before: noted.append(before))
    x, params = np.ones((50, 33, 20), np.float32), module.init(20, 65)
    module.infer(x, params)
    assert not noted
    with own.pool("torch"):
        for _ in range(4):
            module.infer(x, params)
            assert noted
            noted.clear()


@pytest.mark.usefixtures("_held_up")
@pytest.mark.skipif(sys.platform != "linux", reason="no clocks of other threads on this system")
def test_threads_that_do_not_run_are_left_alone() -> None:
    """Asleep, or behind others: the crew does as well then, or better."""
    with pool("torch"):
        threads.division(light=False)  # learns who they are
        time.sleep(1.0)
        assert threads.division(light=False) == (3, openmp.WAKING)
        torch.set_num_threads(2)
        end = time.perf_counter() + 30.0  # others may have their processors for a while
        while threads.division(light=False) != (4, 2):
            assert time.perf_counter() < end
            torch.ones(300, 300) @ torch.ones(300, 300)
        torch.set_num_threads(3)
    other: list[tuple[int, int]] = []

    def call() -> None:
        with pool("torch"):
            other.append(threads.division(light=False))

    caller = threading.Thread(target=call)  # whose team is new
    caller.start()
    caller.join()
    ((parts, how),) = other
    assert how == openmp.WAKING or parts == how * openmp.PARTS_A_THREAD


def test_no_more_than_somebody_has_said(monkeypatch: pytest.MonkeyPatch) -> None:
    set_threads(2)
    with pool("torch"):
        assert threads.region() == 2
        torch.set_num_threads(1)
        assert threads.region() == 1
    torch.set_num_threads(3)
    threads.common.threads, threads.common.said = None, False
    monkeypatch.setenv(threads.VARIABLE, "2")
    with pool("torch"):
        assert threads.region() == 2


def test_a_pool_is_chosen_for_a_block_and_a_thread() -> None:
    seen: list[int] = []
    with pool("torch"):
        with pool("crew"):
            assert threads.region() == 0
        other = threading.Thread(target=lambda: seen.append(threads.region()))
        other.start()
        other.join()
        assert threads.region() == 3
        with pytest.raises(KeyError), pool("crew"):
            raise KeyError
        assert threads.region() == 3
    assert threads.region() == 0 and seen == [0]
    with pytest.raises(ValueError, match="the pool must be 'crew' or 'torch', not 'openmp'"), pool("openmp"):
        pass


@kernel
def fail_at(place: np.ndarray, first: int, last: int) -> None:
    for i in range(first, last):
        if i == place[0]:
            raise ValueError


@pytest.mark.usefixtures("_awake")
def test_an_exception_in_a_part_is_told_when_all_have_ended() -> None:
    for name in threads.POOLS:
        with pool(name):
            for place in (0, 5, 11):
                with pytest.raises(RuntimeError, match="a part of a kernel raised an exception"):
                    run(fail_at, 12, 6, np.array([place]))
            run(fail_at, 12, 6, np.array([12]))


def test_callers_in_several_threads_at_once() -> None:
    """Some on PyTorch's threads, with its operations between, some on the crew."""
    module = importlib.import_module("generated.lstm")
    own = importlib.import_module("generated.runtime.threads")
    expected = [results(module, size) for size in SIZES]
    wrong: list[int] = []

    def call(number: int) -> None:
        with own.pool(threads.POOLS[number % 2]):
            for turn in range(30):
                kind = (number + turn) % len(SIZES)
                if not same(results(module, SIZES[kind]), expected[kind]):
                    wrong.append(number)
                torch.ones(200, 200) @ torch.ones(200, 200)

    at_once(call)
    assert not wrong


class _Elsewhere:
    """A PyTorch whose library is not there."""

    __file__ = "/nowhere/torch/__init__.py"


@pytest.mark.parametrize("other", [None, _Elsewhere(), ModuleType("torch")])
def test_without_such_a_library_it_is_the_crew(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if other is None:
        monkeypatch.delitem(sys.modules, "torch")
    else:
        monkeypatch.setitem(sys.modules, "torch", other)
    monkeypatch.setattr(threads, "team", openmp._Team())
    with pool("torch"):
        assert threads.region() == 0
        assert len(parts_of(50, 1)) == 1


def test_another_openmp_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has GNU's functions, as LLVM's has: its library has another name."""
    monkeypatch.setattr(openmp._Symbol, "file", b"/usr/lib/libiomp5.so")
    assert openmp._loaded(torch) is None


def _python(code: str) -> str:
    folders = f"import sys; sys.path[:0] = [{ROOT!r}, {ROOT + '/tests/runtime'!r}]\n"
    result = subprocess.run([sys.executable, "-c", folders + code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


FORK = """
import os, warnings
import numpy as np, torch
torch.set_num_threads(2)
from generated import lstm
from generated.runtime import threads
from generated.runtime.cpu.threads import region
x, params = np.ones((20, 33, 20), np.float32), lstm.init(20, 65)
def works():
    y, _, tape = lstm.forward(x, params)
    return np.array_equal(y, expected) and bool(np.isfinite(lstm.backward(y, tape).x).all())
expected = lstm.infer(x, params)[0]
warnings.simplefilter("ignore")  # PyTorch's threads are there at the fork
with threads.pool("torch"):
    assert region() == 2 and works()
    for _ in range(3):
        child = os.fork()
        if child == 0:
            os._exit(7 if region() == 0 and works() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        assert region() == 2 and works()
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_of_a_fork_leaves_the_region() -> None:
    assert _python(FORK) == "done\n"


INTERRUPTED = """
import signal
import numpy as np, torch
torch.set_num_threads(2)
from generated import lstm
from generated.runtime import threads
x, params = np.ones((50, 33, 20), np.float32), lstm.init(20, 65)
expected = lstm.infer(x, params)[0]
came = 0
signal.signal(signal.SIGALRM, signal.default_int_handler)
with threads.pool("torch"):
    lstm.infer(x, params)  # what is loaded for a region is loaded: LLVM's binding may free a module twice if that is interrupted
    for turn in range(20):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-3 * (turn + 1))
            for _ in range(100):  # not for ever: one that comes in a finaliser goes nowhere
                lstm.infer(x, params)
            signal.setitimer(signal.ITIMER_REAL, 0)
            for _ in range(10):  # one that came just before is raised here
                pass
        except KeyboardInterrupt:
            came += 1
        assert np.array_equal(lstm.infer(x, params)[0], expected)
print("interrupted" if came else "never")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no such timer on this system")
def test_an_interrupt_leaves_all_usable() -> None:
    assert _python(INTERRUPTED) == "interrupted\n"


BESIDE = """
import subprocess, sys
import numpy as np, torch
torch.set_num_threads(2)
from generated import gru
from generated.runtime import threads
x, params = np.ones((50, 33, 20), np.float32), gru.init(20, 65)
expected = gru.infer(x, params)[0]
spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
try:
    for name in ("torch", "crew") * 10:
        with threads.pool(name):
            torch.ones(300, 300) @ torch.ones(300, 300)
            np.ones((300, 300)) @ np.ones((300, 300))
            assert np.array_equal(gru.infer(x, params)[0], expected)
finally:
    for process in spinning: process.kill()
print("done")
"""


def test_beside_processes_and_libraries_that_spin() -> None:
    assert _python(BESIDE) == "done\n"
