"""Atoms of elementwise expressions that are no values: the number of features of a size, a constant of the cell, the identity matrix."""

from __future__ import annotations

import sympy as sp

from ..language.sizes import Size

_EXTENT, _CONSTANT = "size:", "constant:"
EYE = sp.Symbol("eye:")


def extent(size: Size) -> sp.Expr:
    """Return the number `size` as an expression over the sizes' own symbols."""
    products = (sp.Mul(sp.Integer(k), *(sp.Symbol(_EXTENT + name) for name in product.split("*"))) for product, k in size.terms)
    return sp.Add(sp.Integer(size.constant), *products)


def is_extent(symbol: sp.Symbol) -> bool:
    """Say whether `symbol` stands for a size and not for a value."""
    return bool(symbol.name.startswith(_EXTENT))


def extent_name(symbol: sp.Symbol) -> str:
    """Return the size's name that an extent symbol stands for."""
    return str(symbol.name[len(_EXTENT) :])


def constant(name: str) -> sp.Symbol:
    """Return the symbol of a cell's constant, which keeps its name in formulas; `Recurrence.constants` has its value."""
    return sp.Symbol(_CONSTANT + name)


def is_constant(symbol: sp.Symbol) -> bool:
    """Say whether `symbol` stands for a constant and not for a value."""
    return bool(symbol.name.startswith(_CONSTANT))


def constant_name(symbol: sp.Symbol) -> str:
    """Return the constant's name that a symbol stands for."""
    return str(symbol.name[len(_CONSTANT) :])


def is_value(symbol: sp.Symbol) -> bool:
    """Say whether `symbol` is the name of a value that is given or computed."""
    return symbol != EYE and not is_extent(symbol) and not is_constant(symbol)
