"""The table of vector-Jacobian products: what the cotangent `dy` of a node's value contributes to the cotangents of its operands.

Each rule but that of `Clipped` is linear in `dy`, and all make nodes of the intermediate representation only, which is why the table
applies to its own results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import sympy as sp

from ..language.sizes import Size
from . import functions as fn
from .ir import (
    Along,
    AxisSum,
    Clipped,
    Concat,
    Equation,
    FeatureSum,
    HeadSum,
    Label,
    LogSumExp,
    Map,
    MatVec,
    MatVecT,
    Merge,
    Node,
    Outer,
    Part,
    Pick,
    Repeat,
    Slice,
    Spread,
    Total,
    Transpose,
    Type,
)
from .rowfunctions import Across, Normalised, Softmax, Std
from .symbols import extent

PART = Label("part")


@dataclass(frozen=True)
class Made:
    """A contribution that is the value of a node, which gets an equation, called after `wish`, if the cotangent is wanted."""

    node: Node
    wish: str
    batched: bool


@dataclass(frozen=True)
class Placed:
    """A contribution to a part of a vector, and zero elsewhere."""

    part: Slice
    cotangent: str


Contribution = Made | Placed | Outer
"""What a rule contributes that is no expression; an outer product is summed over steps and batch if its operands vary."""
Contributions = Iterator[tuple[str, sp.Expr | Contribution]]
Rule = Callable[["Sweep", Equation, str], Contributions]


class Sweep(Protocol):
    """What a rule may use of the reverse sweep that it is part of: see `derive.calculus.adjoint`."""

    @property
    def types(self) -> Mapping[str, Type]:
        """Type of every name."""

    @property
    def active(self) -> set[str]:
        """Names that depend on what is differentiated by."""

    def part(self, node: Node, wish: str, kind: Type, label: Label = PART) -> sp.Symbol:
        """Name an intermediate value."""

    def reuse(self, expr: sp.Expr, eq: Equation) -> sp.Expr:
        """Write the values of functions that forward equations have named by those names."""

    def guarded(self, eq: Equation, term: sp.Expr) -> sp.Expr:
        """Return a contribution of an equation where a choice falls on the branch that reads the equation's value, and zero elsewhere."""

    def through(self, eq: Equation, dy: str, slope: sp.Expr) -> sp.Expr:
        """Return the cotangent `dy` of an equation times a slope, where a choice falls on the branch that reads the equation's value."""


def _map(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    node = eq.node
    assert isinstance(node, Map)
    for name in node.operands():
        if name not in sweep.active:
            continue
        partial = sweep.reuse(fn.derivative(node.expr, sp.Symbol(name)), eq)
        if partial == 0:
            continue
        term, kind = sweep.through(eq, dy, partial), sweep.types[eq.name]
        yield name, term if kind.shape == sweep.types[name].shape else _summed(sweep, term, name, kind)


def _summed(sweep: Sweep, term: sp.Expr, name: str, kind: Type) -> sp.Expr:
    """Return the sum over features of the contribution of a vector to the number `name`; Σ -v is -Σ v."""
    sign = -1 if term.as_coeff_Mul()[0].is_negative else 1
    part = sign * term
    whole = isinstance(part, sp.Symbol) and sweep.types[part.name] == kind  # and not one number for all features
    full = part.name if whole else sweep.part(Map(part), f"d{name}_part", kind).name
    return sign * sweep.part(FeatureSum(full), f"d{name}_sum", replace(kind, shape=()))


def _clipped(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """``clip(ȳ; low, high)``: the one rule that is not linear in the cotangent (Graves 2013, arXiv:1308.0850, section 2.1)."""
    node = eq.node
    assert isinstance(node, Clipped)
    (name,) = node.operands()
    yield name, sweep.guarded(eq, fn.clip(sp.Symbol(dy), node.low, node.high))


def _normalised(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """``(ū - mean(ū) - v̂ mean(ū ⊙ v̂)) / σ``: what would move the mean or the length of v̂ changes nothing."""
    assert isinstance(eq.node, Normalised)
    if eq.node.value in sweep.active:
        along = _mean(sweep, _aligned(sweep, eq.name, dy))
        term = (sp.Symbol(dy) - _mean(sweep, dy) - sp.Symbol(eq.name) * along) / sp.Symbol(eq.node.std)
        part = Across(term, dy, eq.name, str(along), eq.node.std)
        kind = _either(sweep.types[eq.name], sweep.types[dy])
        yield eq.node.value, sweep.guarded(eq, sweep.part(part, f"d{eq.node.value}_part", kind, Label("part", eq.node.value)))


def _across(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """The value has mean 0, and so has the normalised one however it changes: what is common to all features of `dy` moves neither.

    It is subtracted before `dy` is multiplied: it may be large beside the rest, and its rounding would be what the cotangents have left.
    """
    node = eq.node
    assert isinstance(node, Across)
    value, hat, std = (sp.Symbol(name) for name in (node.value, node.normalised, node.std))
    centred, along = sp.Symbol(dy) - _mean(sweep, dy), _mean(sweep, _aligned(sweep, node.normalised, dy))
    yield node.value, sweep.guarded(eq, (centred - hat * along) / std)
    yield node.normalised, sweep.guarded(eq, -centred * sp.Symbol(node.along) / std)
    yield node.normalised, sweep.guarded(eq, -value * along / std)
    if node.std in sweep.active:
        yield node.std, _summed(sweep, sweep.through(eq, dy, -node.expr / std), node.std, sweep.types[eq.name])


def _std(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """``σ̄ v̂ / n``, of n features."""
    assert isinstance(eq.node, Std)
    yield eq.node.value, sweep.guarded(eq, sp.Symbol(dy) * sp.Symbol(eq.node.normalised) / _count(sweep.types[eq.node.value]))


def _softmax(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """``p ⊙ (p̄ - Σ p̄ ⊙ p)``: what would move the sum of p changes nothing."""
    assert isinstance(eq.node, Softmax)
    if eq.node.value in sweep.active:
        product = _aligned(sweep, eq.name, dy)
        total = sweep.part(FeatureSum(product), f"sum_{product}", replace(sweep.types[product], shape=()))
        yield eq.node.value, sweep.guarded(eq, sp.Symbol(eq.name) * (sp.Symbol(dy) - total))


def _aligned(sweep: Sweep, value: str, dy: str) -> str:
    """Name the product, feature by feature, of a value and a cotangent."""
    kind = _either(sweep.types[value], sweep.types[dy])
    return sweep.part(Map(sp.Symbol(dy) * sp.Symbol(value)), f"{dy}_{value}", kind).name


def _either(kind: Type, other: Type) -> Type:
    """Return a type of the shape of the first that has a row a sequence where one of two has."""
    return replace(kind, batched=kind.batched or other.batched)


def _count(kind: Type) -> sp.Expr:
    """Return the number of a value's features."""
    return sp.Mul(*(extent(size) for size in kind.shape))


def _mean(sweep: Sweep, name: str) -> sp.Symbol:
    """Name the mean of a value's features."""
    kind = sweep.types[name]
    total = sweep.part(FeatureSum(name), f"sum_{name}", replace(kind, shape=()))
    return sweep.part(Map(total / _count(kind)), f"mean_{name}", replace(kind, shape=()), Label("part", name, "mean"))


def _matvec(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    node = eq.node
    assert isinstance(node, MatVec)
    if node.plus:
        yield node.plus, sp.Symbol(dy)
    yield node.vector, Made(MatVecT(node.matrix, dy), f"{node.matrix}T_{dy}", sweep.types[dy].batched)
    yield node.matrix, Outer(dy, node.vector)


def _matvec_t(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    node = eq.node
    assert isinstance(node, MatVecT)
    if node.plus:
        yield node.plus, sp.Symbol(dy)
    yield node.vector, Made(MatVec(node.matrix, dy), f"{node.matrix}_{dy}", sweep.types[dy].batched)
    yield node.matrix, Outer(node.vector, dy)


def _outer(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    node = eq.node
    assert isinstance(node, Outer)
    yield node.left, Made(MatVec(dy, node.right), f"{dy}_{node.right}", sweep.types[node.right].batched)
    yield node.right, Made(MatVecT(dy, node.left), f"{dy}T_{node.left}", sweep.types[node.left].batched)


def _total(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, Total)
    yield eq.node.value, sp.Symbol(dy)


def _feature_sum(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, FeatureSum)
    yield eq.node.value, sp.Symbol(dy)


def _axis_sum(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """Each element of a row (or column) moves its sum alike: ``ȳ 1ᵀ``."""
    node = eq.node
    assert isinstance(node, AxisSum)
    along = Along(dy, 1 - node.axis, sweep.types[node.value].shape[node.axis])
    yield node.value, Made(along, f"{dy}_along", sweep.types[dy].batched)


def _along(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    node = eq.node
    assert isinstance(node, Along)
    yield node.value, Made(AxisSum(dy, 1 - node.axis), f"d{node.value}_part", sweep.types[dy].batched)


def _over_heads(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    """What is repeated is summed, what is put together is parted, and the other way round."""
    (value,) = eq.node.operands()
    yield value, Made(_TURNED[type(eq.node)](dy), f"d{value}_part", sweep.types[dy].batched)


_TURNED = {Repeat: HeadSum, HeadSum: Repeat, Merge: Part, Part: Merge}


def _log_sum_exp(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, LogSumExp)
    slope = sweep.reuse(fn.exp(sp.Symbol(eq.node.value) - sp.Symbol(eq.name)), eq)
    yield eq.node.value, sweep.through(eq, dy, slope)


def _transpose(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, Transpose)
    yield eq.node.matrix, Made(Transpose(dy), f"{dy}_T", batched=False)


def _concat(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, Concat)
    start = Size()
    for name in eq.node.parts:
        size = sweep.types[name].shape[0]
        yield name, Made(Slice(dy, start, size), f"{dy}_{name}", sweep.types[dy].batched)
        start = start + size


def _slice(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, Slice)
    yield eq.node.value, Placed(eq.node, dy)


def _pick(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    node = eq.node
    assert isinstance(node, Pick)
    spread = Spread(dy, node.index, sweep.types[node.value].shape[0])
    yield node.value, Made(spread, f"d{node.value}_part", sweep.types[dy].batched)


def _spread(sweep: Sweep, eq: Equation, dy: str) -> Contributions:
    assert isinstance(eq.node, Spread)
    yield eq.node.value, Made(Pick(dy, eq.node.index), f"d{eq.node.value}_part", sweep.types[dy].batched)


RULES: dict[type[Node], Rule] = {
    Map: _map,
    Clipped: _clipped,
    Normalised: _normalised,
    Std: _std,
    Across: _across,
    Softmax: _softmax,
    MatVec: _matvec,
    MatVecT: _matvec_t,
    Outer: _outer,
    Total: _total,
    FeatureSum: _feature_sum,
    AxisSum: _axis_sum,
    Along: _along,
    **dict.fromkeys((Repeat, HeadSum, Merge, Part), _over_heads),
    LogSumExp: _log_sum_exp,
    Transpose: _transpose,
    Concat: _concat,
    Slice: _slice,
    Pick: _pick,
    Spread: _spread,
}
