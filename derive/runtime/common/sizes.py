"""Sizes as a table writes them: ``"n"``, ``"4*n"``, ``"d + n"``. Arithmetic alone, which a generator may use where there is no NumPy."""

from __future__ import annotations

Sizes = dict[str, int]
Shape = tuple[str, ...]
_LINEAR: dict[str, tuple[tuple[tuple[str, int], ...], int]] = {}


def linear(size: str) -> tuple[tuple[tuple[str, int], ...], int]:
    """Return the terms and the constant of a size such as ``"4*n + d + 1"``."""
    if size not in _LINEAR:
        terms: list[tuple[str, int]] = []
        constant = 0
        for part in size.replace("- ", "+ -").replace("+", " ").split():
            factor, _, name = part.rpartition("*")
            sign = -1 if part.startswith("-") else 1
            if name.lstrip("-").isdigit():
                constant += int(name)
            else:
                terms.append((name.lstrip("-"), int(factor) if factor else sign))
        _LINEAR[size] = tuple(terms), constant
    return _LINEAR[size]


def evaluate(size: str, sizes: Sizes) -> int:
    """Return the value of a size."""
    if size in sizes:  # most are a name alone, and shapes are asked for at every call
        return sizes[size]
    terms, constant = linear(size)
    return constant + sum(k * sizes[name] for name, k in terms)
