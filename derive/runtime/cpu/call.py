"""A checked call of a cell's passes: what the host functions of generated modules are given."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, NamedTuple

import numpy as np

from ..common.asked import ALL
from ..common.sizes import Sizes
from .memory import empty
from .openmp import LIGHT
from .threads import begin, end

Work = tuple[Callable[..., None], tuple[Any, ...]]


class Call(NamedTuple):
    """A checked call: sizes, and every argument contiguous, as rows; what it is done on, and where that is noted, what it would run."""

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
    parts: int = 1
    how: int = LIGHT
    axes: Any = None
    empty: Callable[[tuple[int, ...], np.dtype], np.ndarray] = empty
    record: list[Work] | None = None
    asked: Container[str] = ALL

    @property
    def stored_dtype(self) -> np.dtype:
        """The dtype of what is given, handed out and kept: the one that is computed with."""
        return self.dtype

    def asking(self, names: Container[str]) -> Call:
        """Return the same, of which only such results are asked for."""
        return self._replace(asked=names)

    def run(self, work: Callable[..., None], *given: Any) -> None:
        """Run a compiled host function on its arguments, in so many parts, on the threads that the call asks."""
        begun = begin(self.how)
        work(self.parts, self.how, *given)
        end(begun)

    def add(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return the sum of two arrays, in the memory of the first."""
        self.run(_added, one, other)
        return one


class Noted(Call):
    """A call that runs nothing: it notes what it would run."""

    __slots__ = ()

    def run(self, work: Callable[..., None], *given: Any) -> None:
        assert self.record is not None
        self.record.append((work, given))


def _added(parts: int, how: int, one: np.ndarray, other: np.ndarray) -> None:
    np.add(one, other, out=one)
