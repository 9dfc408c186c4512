"""The table of vector-Jacobian products: what the cotangent `dy` of a node's value contributes to the cotangents of its operands.

Each rule is linear in `dy` and makes nodes of the intermediate representation only, which is why the table applies to its own results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import sympy as sp

from ..language.sizes import Size
from . import functions as fn
from .ir import Concat, Equation, FeatureSum, LogSumExp, Map, MatVec, MatVecT, Node, Outer, Pick, Slice, Spread, Total, Transpose, Type


class Sweep(Protocol):
    """What a rule may use of the reverse sweep that it is part of: see `derive.calculus.adjoint`."""

    @property
    def types(self) -> Mapping[str, Type]:
        """Type of every name."""

    @property
    def active(self) -> set[str]:
        """Names that depend on what is differentiated by."""

    @property
    def slices(self) -> Mapping[str, list[tuple[Slice, str]]]:
        """Cotangents of slices, by the vector that they are slices of."""

    def part(self, node: Node, wish: str, kind: Type) -> sp.Symbol:
        """Name an intermediate value."""

    def add(self, name: str, term: sp.Expr) -> None:
        """Contribute `term` to the cotangent of `name`."""

    def add_node(self, name: str, node: Node, wish: str, batched: bool) -> None:
        """Contribute a node's value to the cotangent of `name`."""

    def add_outer(self, name: str, left: str, right: str) -> None:
        """Contribute an outer product to the cotangent of the matrix `name`."""

    def reuse(self, expr: sp.Expr, eq: Equation) -> sp.Expr:
        """Write the values of functions that forward equations have named by those names."""

    def through(self, eq: Equation, dy: str, slope: sp.Expr) -> sp.Expr:
        """Return the cotangent `dy` of an equation times a slope, where a choice falls on the branch that reads the equation's value."""


def _map(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Map)
    for name in node.operands():
        if name not in sweep.active:
            continue
        partial = sweep.reuse(fn.derivative(node.expr, sp.Symbol(name)), eq)
        if partial == 0:
            continue
        term, kind = sweep.through(eq, dy, partial), sweep.types[eq.name]
        if kind.shape != sweep.types[name].shape:
            whole = isinstance(term, sp.Symbol) and sweep.types[term.name] == kind  # and not one number for all features
            full = term.name if whole else sweep.part(Map(term), f"d{name}_part", kind).name
            term = sweep.part(FeatureSum(full), f"d{name}_sum", Type((), kind.batched))
        sweep.add(name, term)


def _matvec(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, MatVec)
    if node.plus:
        sweep.add(node.plus, sp.Symbol(dy))
    sweep.add_node(node.vector, MatVecT(node.matrix, dy), f"{node.matrix}T_{dy}", sweep.types[dy].batched)
    sweep.add_outer(node.matrix, dy, node.vector)


def _matvec_t(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, MatVecT)
    if node.plus:
        sweep.add(node.plus, sp.Symbol(dy))
    sweep.add_node(node.vector, MatVec(node.matrix, dy), f"{node.matrix}_{dy}", sweep.types[dy].batched)
    sweep.add_outer(node.matrix, node.vector, dy)


def _outer(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Outer)
    sweep.add_node(node.left, MatVec(dy, node.right), f"{dy}_{node.right}", sweep.types[node.right].batched)
    sweep.add_node(node.right, MatVecT(dy, node.left), f"{dy}T_{node.left}", sweep.types[node.left].batched)


def _total(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Total)
    sweep.add(node.value, sp.Symbol(dy))


def _feature_sum(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, FeatureSum)
    sweep.add(node.value, sp.Symbol(dy))


def _log_sum_exp(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, LogSumExp)
    slope = sweep.reuse(fn.exp(sp.Symbol(node.value) - sp.Symbol(eq.name)), eq)
    sweep.add(node.value, sweep.through(eq, dy, slope))


def _transpose(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Transpose)
    sweep.add_node(node.matrix, Transpose(dy), f"{dy}_T", False)


def _concat(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Concat)
    start = Size()
    for name in node.parts:
        size = sweep.types[name].shape[0]
        sweep.add_node(name, Slice(dy, start, size), f"{dy}_{name}", sweep.types[dy].batched)
        start = start + size


def _slice(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Slice)
    if node.value in sweep.active:
        sweep.slices[node.value].append((node, dy))


def _pick(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Pick)
    sweep.add_node(node.value, Spread(dy, node.index, sweep.types[node.value].shape[0]), f"d{node.value}_part", sweep.types[dy].batched)


def _spread(sweep: Sweep, eq: Equation, dy: str) -> None:
    node = eq.node
    assert isinstance(node, Spread)
    sweep.add_node(node.value, Pick(dy, node.index), f"d{node.value}_part", sweep.types[dy].batched)


RULES: dict[type[Node], Callable[[Sweep, Equation, str], None]] = {
    Map: _map,
    MatVec: _matvec,
    MatVecT: _matvec_t,
    Outer: _outer,
    Total: _total,
    FeatureSum: _feature_sum,
    LogSumExp: _log_sum_exp,
    Transpose: _transpose,
    Concat: _concat,
    Slice: _slice,
    Pick: _pick,
    Spread: _spread,
}
