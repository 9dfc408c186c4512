"""A checked call of a cell's passes: what the host functions of generated modules are given."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..common.sizes import Sizes


class Call(NamedTuple):
    """A checked call: sizes, and every argument contiguous, sequences as rows."""

    sizes: Sizes
    dtype: np.dtype
    params: Any
    weights: tuple[Any, ...] | None = None
    steps: int = 0
    batch: int = 0
    inputs: Any = None
    state: Any = None
    rows: Any = None
    keep: bool = False

    @property
    def stored_dtype(self) -> np.dtype:
        """The dtype of what is given, handed out and kept: the one that is computed with."""
        return self.dtype
