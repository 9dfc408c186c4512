"""How large a tape may be that keeps all, where a forward pass chooses by itself what to keep: what the users of this package set.

To run steps again takes time, whatever the size; memory costs little until there is no more. So the limit is as high as any machine that
trains has room for in each of several layers, and a tape of many gibibytes, which a matrix at each step soon has, is not made unasked.
"""

from __future__ import annotations

import numbers
import os
from typing import Any

from .common.version import common

__all__ = ["LIMIT", "get_limit", "set_limit"]

VARIABLE = "DERIVE_TAPE_LIMIT"
LIMIT = 1 << 30  # bytes: the states of 1024 steps of 8 sequences and 8 heads with memories of 64 by 64 numbers, in float32

if not hasattr(common, "tape_limit"):
    common.tape_limit = None


def _checked(value: Any, name: str) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number of bytes, of at least 0, not {value!r}")
    return int(value)


def get_limit() -> int:
    """Return how many bytes a full tape may have where ``tape="auto"`` chooses: `set_limit`, else DERIVE_TAPE_LIMIT, else `LIMIT`."""
    if common.tape_limit is None:
        text = os.environ.get(VARIABLE)
        try:
            common.tape_limit = LIMIT if text is None else _checked(int(text), VARIABLE)
        except ValueError:
            raise ValueError(f"{VARIABLE} must be a whole number of bytes, of at least 0, not {text!r}") from None
    limit: int = common.tape_limit
    return limit


def set_limit(size: int) -> None:
    """Let a tape that ``tape="auto"`` chooses keep all as long as that has no more than `size` bytes.

    It holds for all packages that the same version of derive has generated.

    Raises
    ------
    ValueError
        If it is no whole number of at least 0.
    """
    common.tape_limit = _checked(size, "the limit of a tape")
