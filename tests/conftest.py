"""What the tests share: where compiled kernels are kept, the generated modules, values in unusual memory, processes of their own."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
for folder in (str(ROOT), str(ROOT / "tests")):  # for `pytest` as for `python -m pytest`, and without an installation
    if folder not in sys.path:
        sys.path.append(folder)

from derive.cell import Cell  # noqa: E402
from derive.cells import SHIPPED  # noqa: E402
from derive.package import memory  # noqa: E402

pytest_plugins = ("helpers.sites",)

HARD = ("gru_v3", "lstm", "lstm_layernorm", "lstmp", "lmu", "slstm", "phased_lstm", "gru_d", "lif", "softmax_cross_entropy")
"""Cells that have between them all that is hard: where a test of every cell is left to the exhaustive run, these stay in the ordinary."""

NARROW = frozenset({*HARD, "gated_deltanet", "slstm_heads", "mamba"})
"""Cells whose kernels an ordinary run compiles for float32 too: the source is that of float64, and to compile it is most of a run."""

settings.register_profile("derive", deadline=None, max_examples=20, derandomize=True)
settings.load_profile("derive")


@pytest.fixture(scope="session", autouse=True)
def kernel_cache() -> Iterator[Path]:
    """Keep compiled kernels in one folder for all workers and runs: its contents are named by what they were made from."""
    with pytest.MonkeyPatch.context() as patch:
        if "DERIVE_CACHE_DIR" not in os.environ:
            patch.setenv("DERIVE_CACHE_DIR", str(ROOT / ".pytest_cache" / "kernels"))
        yield memory.cache_folder()


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there is none
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Let one worker run all tests of a cell that ships, and one all others of a file: what they derive and compile is made once."""
    from xdist.scheduler import LoadGroupScheduling

    class Together(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            group, (file, _, test) = super()._split_scope(nodeid), nodeid.partition("::")
            cells = (word for word in re.split(r"[][-]", test)[1:] if word in SHIPPED)
            return next(cells, file) if group == nodeid else group

    return Together(config, log) if config.getoption("dist") == "loadgroup" else None


def ordinary(cases: Iterable[Any], chosen: Container[Any]) -> list[Any]:
    """Return the cases of a test; those that are not chosen for an ordinary run are left to the exhaustive one."""
    values = [(case, case if isinstance(case, tuple) else (case,)) for case in cases]
    return [pytest.param(*each, marks=() if case in chosen else pytest.mark.exhaustive) for case, each in values]


@pytest.fixture
def threads_as_before() -> Iterator[None]:
    """Leave the numbers of threads as they were: those of the source and of generated packages."""
    runtimes = [importlib.import_module(f"{package}.runtime.cpu.threads") for package in ("derive", "generated")]
    before = [runtime.get_threads() for runtime in runtimes]
    yield
    for runtime, number in zip(runtimes, before, strict=True):
        runtime.set_threads(number)


@cache
def package(*cells: Cell) -> dict[str, ModuleType]:
    """Return modules generated for `cells`, by name: one package, whose runtime is compiled once."""
    return memory.compile_all(cells)


def generated(name: str) -> ModuleType:
    """Return the module of a cell that comes with the toolkit, from the package in the repository."""
    return importlib.import_module(f"generated.{SHIPPED[name].name}")


def at_once(work: Callable[[int], object], count: int = 4) -> None:
    """Call ``work(0)``, ``work(1)`` … from so many threads, and wait for all."""
    callers = [threading.Thread(target=work, args=(k,)) for k in range(count)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def python(code: str, *, path: Path = ROOT, **environment: str) -> str:
    """Return what a fresh interpreter prints; warnings are errors, and only `path` and what is installed can be imported."""
    command = [sys.executable, "-W", "error", "-c", code]
    env = {**os.environ, "PYTHONPATH": str(path), **environment}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env, cwd=path, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


# A process of its own gives the rights up and becomes the command: libraries with threads forbid code between `fork` and `exec`.
GIVE_UP = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: from what `exec` can give
    ctypes.CDLL(None).prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP; nobody but root has them
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def without_rights(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command that can write only where permissions let it: root's right to pass over them is taken from it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("DERIVE_CACHE", "NUMBA_", "XDG_"))}
    env |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 300, "env": env, "cwd": folder, "check": False}
    return subprocess.run([sys.executable, "-c", GIVE_UP, *command], **options)


def locked(array: np.ndarray) -> np.ndarray:
    """Return a copy that may not be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def leaves(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Return the arrays of nested NamedTuples by their dotted names; what is not an array is left out."""
    if isinstance(tree, np.ndarray):
        return {prefix: tree}
    found: dict[str, np.ndarray] = {}
    names = getattr(tree, "_fields", range(len(tree)) if isinstance(tree, tuple) else ())
    for name, value in zip(names, tree if names else (), strict=True):
        found |= leaves(value, f"{prefix}.{name}".lstrip("."))
    return found


def assert_same_bits(got: Any, want: Any) -> None:
    """Compare results bit by bit."""
    a, b = leaves(got), leaves(want)
    assert a.keys() == b.keys() and b
    for name in b:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape, name
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def assert_close(got: Any, want: Any, tolerance: float = 1e-12) -> None:
    """Compare results relative to the largest number of each array."""
    a, b = leaves(got), leaves(want)
    assert a.keys() == b.keys() and b
    for name in b:
        assert a[name].shape == b[name].shape, name
        scale = max(float(np.abs(b[name]).max(initial=0.0)), 1e-3)
        assert float(np.abs(a[name] - b[name]).max(initial=0.0)) <= tolerance * scale, name
