"""The twin of what stands for zeros: the same arithmetic, in Python, and functions of arrays that may be given it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from derive.runtime.cpu.layer import Layer


class _Nothing:
    __array_ufunc__ = None  # a number of NumPy's leaves arithmetic to it
    nbytes = 0

    def __add__(self, other: Any) -> Any:
        return other

    __radd__ = __rsub__ = __add__

    def __sub__(self, other: Any) -> Any:
        return -other

    def __neg__(self, *_: Any) -> _Nothing:
        return self

    __mul__ = __rmul__ = __truediv__ = __getitem__ = reshape = __neg__

    def __setitem__(self, place: Any, value: Any) -> None: ...

    def __float__(self) -> float:
        """Return what a number is that it is stored to."""
        return 0.0

    @property
    def T(self) -> _Nothing:
        return self


NOTHING = _Nothing()


class TwinLayer(Layer):
    """A layer that gives passes this nothing."""

    nothing: ClassVar[Any] = NOTHING


def some(*values: Any) -> bool:
    return any(value is not NOTHING for value in values)


def real_of(*arrays: Any) -> Any:
    return next((array.dtype.type for array in arrays if array is not NOTHING), float)


def clearing(function: Callable[..., None], target: int = 0) -> Callable[..., None]:
    """Return a function that writes zeros where an argument is nothing, and does nothing where the one that it writes to is."""

    def called(*given: Any) -> None:
        if given[target] is NOTHING:
            return
        if any(value is NOTHING for value in given):
            given[target][...] = 0
        else:
            function(*given)

    return called


def passing(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that does nothing where an argument is nothing."""

    def called(*given: Any) -> None:
        if not any(value is NOTHING for value in given):
            function(*given)

    return called
