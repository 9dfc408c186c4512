"""First calls, which compile or load what they need: interrupted, failing, with no room for a cache, in two threads at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import python

from derive.runtime.cpu.interrupts import deferred

CALLS = """
import os, signal, sys, threading
import numba as nb
import numpy as np
from derive.runtime.cpu.openmp import LIGHT
from derive.runtime.cpu.outer import outer_sums, workspace
from derive.runtime.cpu.product import multiply_rows, panels
rng = np.random.default_rng(0)
u, v = rng.integers(-3, 4, (300, 40)).astype(np.float32), rng.integers(-3, 4, (300, 30)).astype(np.float32)
def product():
    out = np.full((40, 30), np.nan, np.float32)
    multiply_rows(1, LIGHT, u.T, panels(v), out, False)
    return bool((out == u.T @ v).all())
def both():
    summed, total = np.empty((40, 30), np.float32), np.empty(40, np.float32)
    outer_sums(1, LIGHT, workspace(u.dtype, 300, 1, (40, 30)), u, v, summed, None, None, total, False)
    return product() and bool((summed == u.T @ v).all() and (total == u.sum(0)).all())
def until_it_returns(call, error):
    failed = 0
    while failed < 30:
        try:
            return call(), failed
        except error:
            failed += 1
"""

FAILING = """
from numba.core.ccallback import CFunc
compile = CFunc.compile
seen = set()
def failing(loop):
    name = loop._pyfunc.__name__
    new = name not in seen
    seen.add(name)
    if new and not interrupt:
        raise MemoryError
    if new and threading.current_thread() is threading.main_thread():
        os.kill(os.getpid(), signal.SIGINT)
    return compile(loop)
CFunc.compile = failing
"""


def test_an_error_reaches_the_caller() -> None:
    """Each loop fails once; the call that does not fail is right."""
    code = f"{CALLS}interrupt = False\n{FAILING}right, failed = until_it_returns(both, MemoryError)\nprint(right, failed == len(seen) > 5)"
    assert python(code) == "True True\n"


@pytest.mark.skipif(os.name == "nt", reason="a process of Windows cannot interrupt itself alone")
def test_an_interrupt_reaches_the_caller() -> None:
    """Each loop is interrupted as it is made, while another thread makes its first call too."""
    prepared = f"{CALLS}interrupt = True\n{FAILING}"
    alone = "right, failed = until_it_returns(both, KeyboardInterrupt)\nprint(right, failed == len(seen) > 5)"
    assert python(prepared + alone) == "True True\n"
    other = "others = []; thread = threading.Thread(target=lambda: others.append(both())); thread.start()"
    two = "right, failed = until_it_returns(both, KeyboardInterrupt); thread.join(); print(right, others)"
    assert python(f"{prepared}{other}\n{two}") == "True [True]\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on this system")
def test_no_room_for_the_cache(tmp_path: Path) -> None:
    """What cannot be kept is compiled in memory, with one warning for all of it."""
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))"
    call = "import warnings\nwith warnings.catch_warnings(record=True) as said:\n    warnings.simplefilter('always')\n    right = product()"
    code = f"{CALLS}{full}\n{call}\nprint(right, *(warning.category.__name__ for warning in said))"
    assert python(code, NUMBA_CACHE_DIR=str(tmp_path)) == "True NotKeptWarning\n"


@pytest.mark.skipif(os.name == "nt", reason="a process of Windows cannot interrupt itself alone")
def test_interrupts_wait_for_the_end_of_a_block() -> None:
    before, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), deferred(), deferred():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append(1)
    assert done and signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt) as raised, deferred():
        os.kill(os.getpid(), signal.SIGINT)
        raise ValueError
    assert isinstance(raised.value.__context__, ValueError)

    def elsewhere() -> None:
        with deferred():
            done.append(signal.getsignal(signal.SIGINT) is before)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert done == [1, True]


TWO_PACKAGES = """
import derive
import numpy as np
from numba.core.ccallback import CFunc
from derive.package import memory
from derive.cells import REGISTRY
made, compile = [], CFunc.compile
def counting(loop):
    made.append(1)
    return compile(loop)
CFunc.compile = counting
modules = [memory.compile(REGISTRY[name]) for name in ("rnn", "mgu")]
for module in modules:
    y, _ = module.infer(np.ones((3, 2, 4), np.float32), module.init(d=4, n=5))
    print(np.isfinite(y).all(), len(made))
"""


def test_packages_of_one_version_share_their_loops() -> None:
    """Both are there before either calls: a loop is made once, whoever needs it first."""
    first, second = python(TWO_PACKAGES).splitlines()
    assert first == second and first.startswith("True ") and first != "True 0"
