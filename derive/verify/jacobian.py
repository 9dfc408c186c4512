"""The Jacobian of one step in numbers: its blocks at given values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp

from ..calculus.ir import Recurrence, Type
from ..calculus.jacobian import Jacobian, Key
from ..calculus.linear import Block, Column, Diag, Factor, Matrix, Range, Row, Select, Unit
from ..calculus.symbols import constant_name, extent_name, is_constant, is_extent
from ..language.sizes import Size
from .interpret import elementwise, run

Array = np.ndarray


def block_values(jacobian: Jacobian, values: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[Key, Array]:
    """Return the value of each block of a step's Jacobian, `(B, n, n')`; a scalar counts as one feature.

    Parameters
    ----------
    jacobian : Jacobian
    values : mapping
        Parameters, array constants, and `(B, ·)` arrays of inputs, contexts and previous states.  The rest of the step is computed.
    sizes : mapping
        Value of each named size.

    Raises
    ------
    ValueError
        If a value is missing.
    """
    forward = jacobian.forward
    values = step_values(forward, values, sizes)
    rows = next((len(values[name]) for name in forward.inputs if forward.batched(name)), 1)
    products = _Products(values, forward.types, forward.constants, sizes, rows)
    return {(of, by): products.block(block, of, by) for (of, by), block in jacobian.blocks.items()}


def step_values(forward: Recurrence, values: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    """Return all values of one step, from those of its inputs: `(B, ·)`, statics without batch axis.

    Raises
    ------
    ValueError
        If an input is missing.
    """
    if missing := [name for name in forward.inputs if name not in values]:
        raise ValueError(f"{forward.name}: values are missing for {', '.join(f'`{name}`' for name in missing)}")
    rows = {len(values[name]) for name in forward.inputs if forward.batched(name)} or {1}
    if len(rows) > 1:
        raise ValueError(f"{forward.name}: the values of one step have different numbers of rows: {sorted(rows)}")
    given = {name: np.asarray(values[name])[None] if name in forward.sequences else np.asarray(values[name]) for name in forward.inputs}
    step = replace(forward, written=tuple(eq.name for eq in forward.body), results=tuple(eq.name for eq in forward.prologue))
    result = run(step, given, sizes, 1, rows.pop())
    known = {name: np.asarray(values[name]) for name in forward.inputs}
    return {**known, **result.results, **{name: value[0] for name, value in result.sequences.items()}}


@dataclass(frozen=True)
class _Products:
    """Products of factors with the values of one step."""

    values: Mapping[str, Array]
    types: Mapping[str, Type]
    constants: Mapping[str, sp.Rational]
    sizes: Mapping[str, int]
    rows: int

    def block(self, block: Block, of: str, by: str) -> Array:
        total = np.zeros((self.rows, self.features(of), self.features(by)))
        for term in block.terms:
            product = np.eye(self.features(by))[None]
            for factor in reversed(term.factors):
                product = self.times(factor, product)
            total = total + product
        return total

    def features(self, name: str) -> int:
        shape = self.types[name].shape
        return shape[0].evaluate(self.sizes) if shape else 1

    def times(self, factor: Factor, right: Array) -> Array:
        """Return ``factor @ right`` for `right` of shape `(B or 1, ·, n')`."""
        match factor:
            case Diag(expr=expr):
                return self.vector(expr)[:, :, None] * right
            case Column(expr=expr, size=size):
                return self.vector(expr, size)[:, :, None] * right
            case Row(expr=expr, size=size):
                return self.vector(expr, size)[:, None, :] @ right
            case Matrix():
                return self.matrix(factor) @ right
            case Select():
                return self.selected(factor, right)
            case Unit(index=index, size=size, transposed=transposed):
                unit = (np.arange(size.evaluate(self.sizes)) == self.values[index][:, None]).astype(np.float64)
                return unit[:, None, :] @ right if transposed else unit[:, :, None] * right

    def vector(self, expr: sp.Expr, size: Size | None = None) -> Array:
        """Return the value of an expression, `(B or 1, size)`; without a size, `(B or 1, size or 1)`."""

        def atom(symbol: sp.Symbol) -> Array:
            if is_extent(symbol):
                return np.asarray(float(self.sizes[extent_name(symbol)]))
            if is_constant(symbol):
                return np.asarray(float(self.constants[constant_name(symbol)]))
            value, kind = self.values[symbol.name], self.types[symbol.name]
            value = value if kind.batched else value[None]
            return value if kind.shape else value[:, None]

        with np.errstate(all="ignore"):
            value = np.atleast_2d(elementwise(expr, atom))
        return value if size is None else np.broadcast_to(value, (len(value), size.evaluate(self.sizes)))

    def selected(self, factor: Select, right: Array) -> Array:
        span = self.span(factor.part)
        if not factor.transposed:
            return right[:, span]
        out = np.zeros((right.shape[0], factor.whole.evaluate(self.sizes), right.shape[2]))
        out[:, span] = right
        return out

    def matrix(self, factor: Matrix) -> Array:
        matrix = self.values[factor.name].T if factor.transposed else self.values[factor.name]
        return matrix[self.span(factor.rows), self.span(factor.columns)]

    def span(self, part: Range | None) -> slice:
        if part is None:
            return slice(None)
        start = part.start.evaluate(self.sizes)
        return slice(start, start + part.size.evaluate(self.sizes))
