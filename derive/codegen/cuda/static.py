"""The host's expressions of values that are constant in time: NumPy's functions over whole arrays, of all heads at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import sympy as sp

from ...calculus.ir import (
    AxisSum,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Merge,
    Outer,
    Part,
    Recurrence,
    Slice,
    Transpose,
)
from ...calculus.symbols import EYE, extent_name, is_extent
from ...language.sizes import Size
from ..expression import Expressions
from ..source import PRODUCT, SUM, Source, attribute, code, listed, tuple_of

XP = "xp"  # the module of the host's arrays
HEAD, BATCH = "head", "batch"
MOVES = Concat | Merge | Part | Slice | Transpose  # no arithmetic: what they make is as it is stored


class Host(Protocol):
    """What is asked of the code that the expressions are in."""

    static_kept: set[str]

    @property
    def rec(self) -> Recurrence: ...

    def source(self, value: str) -> Source: ...

    def size(self, size: Size) -> Source: ...

    def size_of(self, named: str) -> Source: ...


def module(template: str, *parts: Source) -> Source:
    """Return a call of a function of the arrays' module."""
    return code(f"{XP}.{template}", *parts, uses=(XP,))


class Statics:
    """The expressions of one recurrence's static values."""

    def __init__(self, host: Host) -> None:
        self.host, self.rec = host, host.rec
        self.laid, self.shown = host.rec.laid, host.rec.shown

    def keeps(self, eq: Equation, matrix: bool) -> bool:
        """Say whether a value is in the dtype of storage: a `matrix` that products read, and parts of what is."""
        return matrix or (isinstance(eq.node, Merge | Part) and self.base(eq.node.value) in self.host.static_kept)

    def value(self, eq: Equation, matrix: bool) -> Source:
        """Return the expression of an equation's value; a `matrix` that products read is in the dtype of storage."""
        if not self.keeps(eq, matrix):
            return self.of(eq, self.number)
        moved = isinstance(eq.node, MOVES) and all(self.base(value) in self.host.static_kept for value in eq.node.operands())
        return self.of(eq, self.source) if moved else code("call.stored({})", self.of(eq, self.number))

    def base(self, value: str) -> str:
        return self.shown.get(value, value)

    def source(self, value: str) -> Source:
        return self.host.source(self.base(value))

    def number(self, value: str) -> Source:
        """Return a value as the host computes with it."""
        return code("call.real({})", self.source(value)) if self.base(value) in self.host.static_kept else self.source(value)

    def of(self, eq: Equation, of: Callable[[str], Source]) -> Source:
        """Return the expression of a value; `of` gives that of an operand."""
        size, headed = self.host.size, self.rec.types[eq.name].headed
        match eq.node:
            case Map(expr=expr):
                return self.elementwise(eq, expr)
            case Concat(parts=parts) if headed:
                return module("concatenate({}, axis=1)", tuple_of(self.for_each_head(part, of) for part in parts))
            case Concat(parts=parts):
                return code("call.stacked({})", listed(of(part) for part in parts))
            case Slice(value=v, start=start, size=width) if headed:  # kernels take what lies side by side
                return module("ascontiguousarray({})", code("{}[:, {} : {}]", of(v), size(start), size(start + width)))
            case Slice(value=v, start=start, size=width):
                return code("{}[{} : {}]", of(v), size(start), size(start + width))
            case Merge(value=v) | Part(value=v):
                return code("{}.reshape({})", of(v), listed(self.axes(eq.name)))
            case Transpose(matrix=m):
                return module("ascontiguousarray({})", module("swapaxes({}, 1, 2)", of(m)) if headed else code("{}.T", of(m)))
            case MatVec(matrix=m, vector=v, plus=p):
                made = self.einsum("ij,...j->...i", of(m), of(v)) if headed else code("{} @ {}", of(m), of(v), binding=PRODUCT)
                return self.plus(made, p)
            case MatVecT(matrix=m, vector=v, plus=p):
                made = self.einsum("ij,...i->...j", of(m), of(v)) if headed else code("{}.T @ {}", of(m), of(v), binding=PRODUCT)
                return self.plus(made, p)
            case Outer(left=u, right=v):
                return self.einsum("i,...j->...ij", of(u), of(v)) if headed else module("outer({}, {})", of(u), of(v))
        return self.reduced(eq, of)

    def reduced(self, eq: Equation, of: Callable[[str], Source]) -> Source:
        """Return the expression of a sum."""
        headed = self.rec.types[eq.name].headed
        match eq.node:
            case HeadSum(value=v):
                return module("sum({}, axis=0)", of(v))
            case AxisSum(value=v, axis=over):
                return module("sum({}, axis={})", of(v), code("{}", over + headed))
            case FeatureSum(value=v) if headed:
                axes = tuple(range(1, 1 + len(self.rec.types[v].shape)))
                return module("sum({}, axis={})", of(v), code("{}", axes[0] if len(axes) == 1 else str(axes)))
            case FeatureSum(value=v):
                return module("sum({})", of(v))
            case LogSumExp(value=v):
                axis, column = (Source(", axis=1"), Source("[:, None]")) if headed else (Source(""), Source(""))
                largest = module("max({}{})", of(v), axis)
                scaled = module("log({})", module("sum({}{})", module("exp({} - {}{})", of(v), largest, column), axis))
                return code("{} + {}", largest, scaled, binding=SUM)
        raise TypeError(f"{eq.name}: {type(eq.node).__name__} of static values has no code")

    @staticmethod
    def einsum(subscripts: str, one: Source, other: Source) -> Source:
        """Return a product for each head; an operand that has none is that of all."""
        return module(f'einsum("...{subscripts}", {{}}, {{}})', one, other)

    def plus(self, product: Source, more: str) -> Source:
        return code("{} + {}", product, self.number(more), binding=SUM) if more else product

    def for_each_head(self, value: str, of: Callable[[str], Source]) -> Source:
        """Return what each head has of a value, one after the other, of one that all have in common too."""
        if self.rec.types[self.base(value)].headed:
            return of(value)
        sizes = [self.host.size_of(self.rec.heads), *map(self.host.size, self.rec.types[value].shape)]
        return module("broadcast_to({}, {})", of(value), tuple_of(sizes))

    # Axes

    def axes(self, value: str) -> list[Source]:
        """Return the axes of a value that is constant in time."""
        kind = self.rec.types[value]
        heads = [self.host.size_of(self.rec.heads)] if kind.headed else []
        return [*heads, *map(self.host.size, kind.shape)]

    def elementwise(self, eq: Equation, expr: sp.Expr) -> Source:
        """Return an elementwise expression, whose operands have the axes of the result, or some of them."""
        kind = self.rec.types[eq.name]
        wanted = [*([BATCH] if kind.batched else []), *([HEAD] if kind.headed else []), *range(len(kind.shape))]
        last = kind.shape[-1] if kind.shape else Size()

        def atom(symbol: sp.Symbol) -> Source:
            if symbol == EYE:
                return module("eye({}, dtype=call.dtype)", self.host.size(last))
            if is_extent(symbol):
                return self.host.size_of(extent_name(symbol))
            return aligned(self.number(symbol.name), self.axes_in(symbol.name, len(kind.shape)), wanted)

        source = Expressions(atom, function=lambda called: attribute("static", called), typed=False).source(expr)
        found = {axis for s in expr.free_symbols if s != EYE and not is_extent(s) for axis in self.axes_in(s.name, len(kind.shape))}
        found |= {*range(len(kind.shape))} if EYE in expr.free_symbols else set()
        if found.issuperset(wanted):
            return module("asarray({}, call.dtype)", source)
        shape = [*([Source("call.batch")] if kind.batched else []), *self.axes(eq.name)]
        return module("full({}, {}, call.dtype)", tuple_of(shape), source)

    def axes_in(self, value: str, rank: int) -> list[str | int]:
        """Return which axes of a result whose shape has `rank` axes an operand has."""
        lies = self.base(value)
        kind = self.rec.types[lies]
        own: Iterable[int] = range(rank - len(kind.shape), rank)
        if value in self.laid:
            own = (self.laid[value].axis,)
        return [*([BATCH] if kind.batched else []), *([HEAD] if kind.headed else []), *own]


def aligned(array: Source, own: list[str | int], wanted: list[str | int]) -> Source:
    """Return an array with its `own` axes where a result has them; those that come first are NumPy's to add."""
    if not own:
        return array
    index = [":" if axis in own else "None" for axis in wanted]
    index = index[index.index(":") :]
    return array if "None" not in index else code("{}[{}]", array, ", ".join(index))
