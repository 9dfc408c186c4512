"""Constants of a cell: numbers, exact where they were given exactly, and vectors and matrices as nested tuples.

An array of NumPy is taken for what it holds; nothing here needs NumPy itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational, Real
from typing import Any

from .errors import CellError


@dataclass(frozen=True)
class ConstantArray:
    """A vector or a matrix of float64: its shape, and its numbers as tuples, of rows for a matrix."""

    shape: tuple[int, ...]
    values: tuple[Any, ...]

    def nested(self) -> list[Any]:
        """Return the numbers as lists, of rows for a matrix."""
        return [list(row) if len(self.shape) == 2 else row for row in self.values]


def plain(value: Any) -> Any:
    """Return what a value of NumPy's holds, as Python's own numbers and lists; other values as they are."""
    return value.tolist() if hasattr(value, "tolist") else value


def is_number(value: Any) -> bool:
    """Say whether a constant is meant as a number, and not as an array."""
    return not isinstance(plain(value), Sequence) or isinstance(value, str)


def number(name: str, value: Any) -> Fraction | float:
    """Return a constant that is a number; CellError if it is none that can be computed with."""
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise CellError(f"constants: `{name}` needs a finite number or an array, not {value!r}")
    return Fraction(value) if isinstance(value, Rational) else float(value)


def array(name: str, value: Any) -> ConstantArray:
    """Return a constant that is an array; CellError if it is no vector or matrix of finite numbers."""
    try:
        shape, values = _nested(value)
    except TypeError:
        raise CellError(f"constants: `{name}` needs a number or an array of numbers") from None
    if len(shape) > 2 or 0 in shape or not all(math.isfinite(v) for row in values for v in (row if len(shape) == 2 else (row,))):
        raise CellError(f"constants: `{name}` needs finite numbers in a vector or a matrix, its shape is {shape}")
    return ConstantArray(shape, values)


def content(value: Any) -> Any:
    """Return what stands for a constant in comparisons, which is equal for equal numbers however they were given."""
    if is_number(value):
        return plain(value)
    shape, values = _nested(value)
    return ConstantArray(shape, values)


def _nested(value: Any) -> tuple[tuple[int, ...], Any]:
    """Return shape and numbers of nested sequences; TypeError if they are ragged, or hold what is no number."""
    value = plain(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        parts = [_nested(part) for part in value]
        shapes = {shape for shape, _ in parts}
        if len(shapes) > 1:
            raise TypeError("rows of different lengths")
        return (len(parts), *(shapes.pop() if shapes else ())), tuple(values for _, values in parts)
    if not isinstance(value, Real):
        raise TypeError(f"{value!r} is no number")
    return (), float(value)
