"""Sizes of axes as forms over named sizes, such as `4*n` or `d + n`, and shapes made of them.

The forms that people write are linear; the number of a matrix's elements has products of names, `k*v`.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from .hints import HEADS, limit

LARGEST = 10**9


@dataclass(frozen=True, order=True)
class Size:
    """A form with integer coefficients in canonical form: `terms` sorted by name, none of them zero; a product of names is ``k*v``.

    Equal sizes compare equal and hash alike.  ``Size()`` is zero.
    """

    terms: tuple[tuple[str, int], ...] = ()
    constant: int = 0

    @classmethod
    def of(cls, name: str) -> Size:
        """Return the named size `name`."""
        return cls(((name, 1),))

    def __add__(self, other: Size | int) -> Size:
        other = other if isinstance(other, Size) else Size((), other)
        sums = dict(self.terms)
        for name, k in other.terms:
            sums[name] = sums.get(name, 0) + k
        return Size(tuple(sorted((name, k) for name, k in sums.items() if k)), self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: int | Size) -> Size:
        if isinstance(factor, Size):
            return sum((self._times(name, k) for name, k in factor.terms), self * factor.constant)
        return Size(tuple((name, k * factor) for name, k in self.terms if factor), self.constant * factor)

    __rmul__ = __mul__

    def _times(self, name: str, factor: int) -> Size:
        """Return the form times a term."""
        terms = [("*".join(sorted([*own.split("*"), *name.split("*")])), k * factor) for own, k in self.terms]
        return Size(tuple(sorted(terms))) + Size(((name, self.constant * factor),) if self.constant else ())

    def __neg__(self) -> Size:
        return self * -1

    def __sub__(self, other: Size | int) -> Size:
        return self + other * -1

    def __str__(self) -> str:
        parts = [(k, name if abs(k) == 1 else f"{abs(k)}*{name}") for name, k in self.terms]
        if self.constant or not parts:
            parts.append((self.constant, str(abs(self.constant))))
        first, *rest = parts
        return ("-" if first[0] < 0 else "") + first[1] + "".join((" - " if k < 0 else " + ") + text for k, text in rest)

    def shared(self, name: str) -> Size | None:
        """Return the form divided by the named size `name`; None if that is not a factor of it."""
        if self.constant or not all(name in product.split("*") for product, _ in self.terms):
            return None
        total = Size()
        for product, k in self.terms:
            factors = product.split("*")
            factors.remove(name)
            total += Size((("*".join(factors), k),)) if factors else Size((), k)
        return total

    @property
    def names(self) -> tuple[str, ...]:
        """The named sizes that it is made of, in order."""
        return tuple(dict.fromkeys(name for product, _ in self.terms for name in product.split("*")))

    def coefficient(self, name: str) -> int:
        """Return the factor of the named size `name`, where it is alone."""
        return dict(self.terms).get(name, 0)

    def substitute(self, values: Mapping[str, Size]) -> Size:
        """Return the form with named sizes replaced."""
        total = Size((), self.constant)
        for product, k in self.terms:
            total = total + prod((values.get(name, Size.of(name)) for name in product.split("*")), start=Size((), k))
        return total

    def evaluate(self, values: Mapping[str, int]) -> int:
        """Return its value; KeyError if a named size is missing in `values`."""
        return self.constant + sum(k * prod(values[name] for name in product.split("*")) for product, k in self.terms)


Shape = tuple[Size, ...]
"""Shape of one row: `()` a scalar, `(n,)` a vector, `(m, k)` a matrix; the batch axis is not in it."""


def elements(shape: Shape) -> Size:
    """Return the number of elements of a row of a shape."""
    return prod(shape, start=Size((), 1))


def over(whole: Size, name: str) -> Size | None:
    """Return a size over a named one that every term of it has; None if one has not."""
    if whole.constant or any(name not in product.split("*") for product, _ in whole.terms):
        return None
    total = Size()
    for product, k in whole.terms:
        names = product.split("*")
        names.remove(name)
        total = total + prod(map(Size.of, names), start=Size((), k))
    return total


def size(name: str) -> Size:
    """Return the named size `name`."""
    return Size.of(name)


def shape_text(shape: Shape) -> str:
    """Return a shape as it is declared: ``"n, d"``, ``""`` for a scalar."""
    return ", ".join(map(str, shape))


def axes_text(*leading: str, shape: Shape) -> str:
    """Return the axes of an array of rows as a tuple is written: ``(T, B, n)``, ``(n,)``, ``a scalar`` where there is none."""
    axes = [*leading, *map(str, shape)]
    return f"({', '.join(axes)}{',' if len(axes) == 1 else ''})" if axes else "a scalar"


def parse_shape(text: str) -> Shape:
    """Return the shape that `text` declares: sizes separated by commas, such as ``"4*n, n + d"``; ``""`` is a scalar.

    Raises
    ------
    ValueError
        If it is not a list of at most two positive linear forms.
    """
    if not isinstance(text, str):
        raise ValueError(f'a shape is a text such as "n, d", not {text!r}')
    shape = tuple(parse_size(part) for part in text.split(",")) if text.strip() else ()
    if len(shape) > 2:
        raise ValueError(f'"{text}" has {len(shape)} axes: a value is a scalar "", a vector "n" or a matrix "n, d"; {limit(HEADS)}')
    return shape


def parse_size(text: str) -> Size:
    """Return the size that `text` such as ``4*n + d`` denotes; ValueError if it is not a positive linear form."""
    needed = f'"{text.strip()}" is not a size: a size is a name, a number, or a sum such as 4*n + d'
    if len(text) > 200:
        raise ValueError("a size has at most 200 characters")
    try:
        form = _linear(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(needed) from None
    if any(k < 0 for _, k in form.terms) or form.constant < 0 or form == Size() or form.constant > LARGEST:
        raise ValueError(needed)
    return form


def _linear(node: ast.expr) -> Size:
    match node:
        case ast.Name(id=name):
            return Size.of(name)
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return Size((), value)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _linear(left) + _linear(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            a, b = _linear(left), _linear(right)
            if not a.terms:
                return b * a.constant
            if not b.terms:
                return a * b.constant
            if isinstance(left, ast.Name) and isinstance(right, ast.Name):
                return a * b
    raise ValueError("not linear")
