"""What the compiler makes of a GPU kernel, on a machine without a GPU: PTX from Numba, registers, stack and spills from ptxas."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

CAPABILITY = (9, 0, "a")  # Hopper, with what only Hopper has


@dataclass(frozen=True)
class Report:
    """What one kernel takes.

    Attributes
    ----------
    registers : int
        Registers a thread.
    stack, spill_stores, spill_loads : int
        Bytes a thread in local memory: arrays that are no registers, and registers that were too many.
    shared : int
        Bytes of static shared memory a block.
    ptx : str
        The kernel's code.
    """

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    ptx: str

    @property
    def local(self) -> int:
        """Bytes a thread in local memory: 0 where everything is a register."""
        return self.stack + self.spill_stores + self.spill_loads


def available() -> str | None:
    """Return why kernels cannot be compiled here, None where they can."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    return None if _ptxas() else "ptxas is neither on the PATH nor in the package nvidia-cuda-nvcc"


def _ptxas() -> str | None:
    packages = importlib.util.find_spec("nvidia")
    folders = packages.submodule_search_locations if packages else None
    places = (Path(folder) / "cu13" / "bin" / "ptxas" for folder in folders or ())
    return shutil.which("ptxas") or next((str(place) for place in places if place.exists()), None)


@contextmanager
def device() -> Iterator[None]:
    """Stand in for a GPU where there is none: device functions are compiled for the current device and ask for its capability."""
    from numba import cuda
    from numba.cuda import api

    if cuda.is_available():
        yield
        return
    context = SimpleNamespace(device=SimpleNamespace(compute_capability=CAPABILITY[:2]))
    with mock.patch.object(api, "current_context", lambda: context):
        yield


def compiled(kernel: Callable[..., None], signature: tuple[Any, ...], threads: int | None = None) -> str:
    """Return the PTX of a Python function, compiled as a kernel for arguments of these Numba types and `threads` a block."""
    from numba import cuda

    with device():
        return str(cuda.compile_ptx(kernel, signature, cc=CAPABILITY, launch_bounds=(threads, 1) if threads else None)[0])


def report(
    kernel: Callable[..., None], signature: tuple[Any, ...], *, threads: int | None = None, max_registers: int | None = None
) -> Report:
    """Return what a Python function takes, compiled as a kernel; `max_registers` bounds those of a thread."""
    text = compiled(kernel, signature, threads)
    log = _assembled(text, max_registers)

    def largest(pattern: str) -> int:
        return max((int(number) for number in re.findall(pattern, log)), default=0)

    return Report(
        registers=largest(r"Used (\d+) registers"),
        stack=largest(r"(\d+) bytes stack frame"),
        spill_stores=largest(r"(\d+) bytes spill stores"),
        spill_loads=largest(r"(\d+) bytes spill loads"),
        shared=largest(r"(\d+) bytes smem"),
        ptx=text,
    )


def _assembled(text: str, max_registers: int | None) -> str:
    """Return what ptxas says while it assembles."""
    program = _ptxas()
    assert program is not None, available()
    bound = [f"--maxrregcount={max_registers}"] if max_registers else []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(text)
        command = [
            program,
            "-v",
            "-O3",
            "-arch=sm_{}{}{}".format(*CAPABILITY),
            *bound,
            str(source),
            "-o",
            str(Path(folder, "kernel.cubin")),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr
