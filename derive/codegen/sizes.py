"""Sizes as emitted code computes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..language.sizes import Size
from .source import PRODUCT, SUM, Source, code, listed


def size_source(size: Size, name_of: Callable[[str], Source]) -> Source:
    """Return the source of a size, whose named sizes are called as `name_of` says."""
    parts = [(k, _product([*([] if abs(k) == 1 else [code("{}", abs(k))]), *map(name_of, names.split("*"))])) for names, k in size.terms]
    if size.constant or not parts:
        parts.append((size.constant, code("{}", abs(size.constant))))
    (sign, source), *rest = parts
    source = code("-{}", source, binding=SUM) if sign < 0 else source
    for sign, part in rest:
        source = code("{} {} {}", source, "-" if sign < 0 else "+", part, binding=SUM)
    return source


def _product(factors: list[Source]) -> Source:
    return factors[0] if len(factors) == 1 else replace(listed(factors, " * "), binding=PRODUCT)
