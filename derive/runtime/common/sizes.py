"""Sizes as a table writes them: ``"n"``, ``"4*n"``, ``"d + n"``, ``"H*v"``. Arithmetic alone, which a generator may use where there is no
NumPy.
"""

from __future__ import annotations

from math import prod

Sizes = dict[str, int]
Shape = tuple[str, ...]
Terms = tuple[tuple[tuple[str, ...], int], ...]
_FORMS: dict[str, tuple[Terms, int]] = {}


def terms(size: str) -> tuple[Terms, int]:
    """Return the terms of a size such as ``"4*n + H*v + 1"``, products of names with their factors, and its constant."""
    if size not in _FORMS:
        found: list[tuple[tuple[str, ...], int]] = []
        constant = 0
        for part in size.replace("- ", "+ -").replace("+", " ").split():
            factors = part.removeprefix("-").split("*")
            names = tuple(factor for factor in factors if not factor.isdigit())
            k = prod(int(factor) for factor in factors if factor.isdigit()) * (-1 if part.startswith("-") else 1)
            if names:
                found.append((names, k))
            else:
                constant += k
        _FORMS[size] = tuple(found), constant
    return _FORMS[size]


def evaluate(size: str, sizes: Sizes) -> int:
    """Return the value of a size."""
    if size in sizes:  # most are a name alone, and shapes are asked for at every call
        return sizes[size]
    found, constant = terms(size)
    return constant + sum(k * prod(sizes[name] for name in names) for names, k in found)


def solved(size: str, value: int, sizes: Sizes) -> dict[str, int]:
    """Return the named size that a form of a given value tells, if it is the only one that is not known; it is 0 at least."""
    found, rest = terms(size)[0], value - terms(size)[1]
    unknown = [(names, k) for names, k in found if any(name not in sizes for name in names)]
    if len(unknown) != 1:
        return {}
    ((names, k),) = unknown
    missing = [name for name in names if name not in sizes]
    if len(missing) != 1:
        return {}
    rest -= sum(k * prod(sizes[name] for name in names) for names, k in found if (names, k) != unknown[0])
    return {missing[0]: max(rest // max(k * prod(sizes[name] for name in names if name != missing[0]), 1), 0)}
