"""How kernels are compiled: without the GIL, cached, and with the promise that no two arrays of a call overlap.

Every array that a kernel writes is memory of its own, so the promise holds.  Without it, LLVM guards each loop by comparing all pairs
of arrays, and gives up on vectorising where there are many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",  # no test for zero before a division: it would stop vectorisation
    "fastmath": {"contract"},  # a multiplication and an addition may become one; NaN and infinity keep their meaning
}


def kernel(function: Callable[..., None]) -> Any:
    """Compile `function` at its first call for each dtype."""
    dispatcher = njit(**OPTIONS)(function)
    dispatcher._compiler._customize_flags = _without_aliasing  # Numba has the flag, but no public option for it
    return dispatcher


def _without_aliasing(flags: Any) -> Any:
    flags.noalias = True
    return flags
